"""The network without its integers, written apart from the reference: what that is held against."""

import numpy as np
from numpy.typing import NDArray

from trilight.sw.model.model import Matrix, Model

__all__ = ["FloatReference"]


class FloatReference:
    """The network of a model in real numbers: no rounding, no tables, only the ranges.

    What ``docs/number-formats.md`` rounds is not rounded here, so the difference between this and
    ``ReferenceModel`` is what the integers cost.

    Attributes
    ----------
    h : float64 array [L, d]
        Recurrent state of each layer.
    x_prev : float64 array [L, d]
        Previous input of each layer.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.h = np.zeros((len(model.layers), model.config.d_model))
        self.x_prev = np.zeros_like(self.h)

    def step(self, token: int) -> NDArray[np.float64]:
        """Feed a token; logits [V] in nats."""
        def product(matrix: Matrix, values: NDArray[np.float64], unit: float,
                    gain: float = 1) -> NDArray[np.float64]:
            return matrix.trits @ values * min(matrix.scale * gain / 32768, 1) * unit

        def norm(y: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
            """Counts, and the gain that brings their magnitudes to 4096 together."""
            q = np.clip(64 * y, -127, 127)
            return q, 4096 / max(np.abs(q).sum(), 1)

        def silu(z: NDArray[np.float64]) -> NDArray[np.float64]:
            z = np.clip(z, -8, 8)
            return z * _logistic(z)

        model = self.model
        x = model.embedding[token].astype(np.float64) * model.embed_scale / 64
        for n, layer in enumerate(model.layers):
            q, gain = norm((x * layer.tap_now + self.x_prev[n] * layer.tap_prev) / 128)
            self.x_prev[n] = np.clip(x, -127 / 8, 127 / 8)
            f = _logistic(product(layer.forget, q, 1 / 16, gain) + layer.forget_bias / 16)
            c = silu(product(layer.candidate, q, 1 / 16, gain))
            self.h[n] = f * self.h[n] + (1 - f) * c
            g = silu(product(layer.gate, q, 1 / 16, gain))
            u = np.clip(32 * g * self.h[n], -127, 127)
            x = np.clip(x + product(layer.mix_out, u, 1 / 64), -32, 32)
            q, gain = norm(x * layer.glu_tap / 128)
            a = silu(product(layer.glu_gate, q, 1 / 16, gain))
            b = np.clip(product(layer.glu_up, q, 1 / 256, gain), -8, 8)
            v = np.clip(16 * a * b, -127, 127)
            x = np.clip(x + product(layer.glu_down, v, 1 / 64), -32, 32)
        q, gain = norm(x * model.head_tap / 128)
        head = Matrix(model.embedding, model.head_scale)
        logits: NDArray[np.float64] = product(head, q, 1 / 64, gain) + model.head_bias / 64
        return logits


def _logistic(z: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1 / (1 + np.exp(-z))
    return result
