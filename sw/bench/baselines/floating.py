"""Baselines ``torch`` and ``cuda``: the model in PyTorch's float32, on the processor or a GPU.

Weights, taps and biases are the model file's integers as real numbers. Activations saturate where
those of the integers do, which the model was trained with, but nothing is rounded: the text
therefore leaves that of the integers after some tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trilight.hw.contract.numbers import NUMBERS
from trilight.sw.errors import BenchError
from trilight.sw.model.model import Layer, Matrix, Model

from . import BaselineInfo
from .stepwise import StepwiseBaseline

__all__ = ["CudaBaseline", "FloatBaseline", "Network", "Stepper"]

TAP = 2.0**-NUMBERS.tap_frac
INDEX = 2.0**-NUMBERS.index_frac
RESIDUAL = 2.0**-NUMBERS.residual_frac
SCALE = 2.0**-NUMBERS.scale_frac
ACT = float(NUMBERS.act_max)
INDEX_LIMIT = 2.0 ** (NUMBERS.index_bits - 1 - NUMBERS.index_frac)
GATE_LIMIT = 2.0 ** (NUMBERS.gate_bits - 1 - NUMBERS.gate_frac)
RESIDUAL_LIMIT = 2.0 ** (NUMBERS.residual_bits - 1 - NUMBERS.residual_frac)
PREV_LIMIT = ACT * RESIDUAL * 2.0**NUMBERS.prev_shift
COUNTS = 2.0**NUMBERS.norm_shift
"""Sum of the magnitudes of a normed vector, in counts."""
MIX_COUNTS = 2.0 ** (2 * NUMBERS.gate_frac - NUMBERS.mix_shift)
GLU_COUNTS = 2.0 ** (2 * NUMBERS.gate_frac - NUMBERS.glu_shift)


def _weights(matrix: Matrix, unit: float) -> nn.Parameter:
    """A matrix in the unit of its results per count of its input."""
    return _vector(matrix.trits, matrix.scale * SCALE * unit)


def _vector(values: NDArray[Any], unit: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values * unit, dtype=torch.float32), requires_grad=False)


class _Normed(nn.Module):
    """Matrices whose input is normed: the norm scales their results, as far as a scale reaches."""

    def __init__(self, *matrices: Matrix, unit: float) -> None:
        super().__init__()
        rows = [np.full(len(matrix.trits), matrix.scale) for matrix in matrices]
        self.trits = _vector(np.vstack([matrix.trits for matrix in matrices]), unit)
        self.scales = _vector(np.concatenate(rows), SCALE)

    def forward(self, q: Tensor, gain: Tensor) -> Tensor:
        return functional.linear(q, self.trits) * (self.scales * gain).clamp(max=1)


def _norm(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return counts, and the gain that brings their magnitudes to ``COUNTS`` together."""
    q = _clip(y / RESIDUAL, ACT)
    return q, COUNTS / q.abs().sum().clamp(min=1)


def _clip(x: Tensor, limit: float) -> Tensor:
    return x.clamp(-limit, limit)


def _silu(x: Tensor) -> Tensor:
    return functional.silu(_clip(x, INDEX_LIMIT))


class _Layer(nn.Module):
    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.tap_now = _vector(layer.tap_now, TAP)
        self.tap_prev = _vector(layer.tap_prev, TAP)
        self.forget_bias = _vector(layer.forget_bias, INDEX)
        self.glu_tap = layer.glu_tap * TAP
        self.gates = _Normed(layer.forget, layer.candidate, layer.gate, unit=INDEX)
        self.mix_out = _weights(layer.mix_out, unit=RESIDUAL)
        self.glu_gate = _Normed(layer.glu_gate, unit=INDEX)
        self.glu_up = _Normed(layer.glu_up, unit=2.0**-NUMBERS.gate_frac)
        self.glu_down = _weights(layer.glu_down, unit=RESIDUAL)

    def forward(self, x: Tensor, x_prev: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residual stream after the layer, and its new state."""
        normed = _norm(x * self.tap_now + x_prev * self.tap_prev)
        forget, candidate, gate = self.gates(*normed).chunk(3)
        c = _silu(candidate)
        h = torch.lerp(c, h, _clip(forget + self.forget_bias, INDEX_LIMIT).sigmoid())
        u = _clip(_silu(gate) * h * MIX_COUNTS, ACT)
        x = _clip(x + functional.linear(u, self.mix_out), RESIDUAL_LIMIT)
        normed = _norm(x * self.glu_tap)
        a = _silu(self.glu_gate(*normed))
        b = _clip(self.glu_up(*normed), GATE_LIMIT)
        v = _clip(a * b * GLU_COUNTS, ACT)
        return _clip(x + functional.linear(v, self.glu_down), RESIDUAL_LIMIT), h


class Network(nn.Module):
    """The model for inference, one token at a time."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(layer) for layer in model.layers)
        self.embedding = _vector(model.embedding, model.embed_scale * RESIDUAL)
        self.head = _Normed(Matrix(model.embedding, model.head_scale), unit=1.0)
        self.head_bias = _vector(model.head_bias, 1.0)
        self.head_tap = model.head_tap * TAP

    def start(self) -> Tensor:
        """State after a reset: ``h`` and ``x_prev`` of each layer, ``[L, 2, d]``."""
        return self.embedding.new_zeros((len(self.layers), 2, self.embedding.shape[1]))

    def forward(self, token: int, state: Tensor) -> Tensor:
        """Feed a token; the logits [V] in Q9.6 steps, which are not whole numbers here."""
        x = self.embedding[token]
        for number, layer in enumerate(self.layers):
            h, x_prev = state[number]
            following, new = layer(x, x_prev, h)
            state[number, 0], state[number, 1] = new, _clip(x, PREV_LIMIT)
            x = following
        logits: Tensor = self.head(*_norm(x * self.head_tap)) + self.head_bias
        return logits


class Stepper:
    """A network with its state; logits are rounded, as the sampler takes integers."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.reset()

    def reset(self) -> None:
        self._state = self._network.start()

    @torch.inference_mode()
    def feed(self, token: int) -> None:
        self._network(token, self._state)

    @torch.inference_mode()
    def step(self, token: int) -> NDArray[Any]:
        logits: NDArray[Any] = self._network(token, self._state).round().int().cpu().numpy()
        return logits


class FloatBaseline(StepwiseBaseline):
    """The model as PyTorch runs it for inference."""

    def __init__(self, model: Model, place: str = "cpu") -> None:
        network = Network(model).to(place)
        super().__init__(Stepper(network))
        self._bytes = sum(tensor.nbytes for tensor in network.parameters())

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    @property
    def info(self) -> BaselineInfo:
        return BaselineInfo(name="torch", arithmetic="float32",
                            software={"torch": torch.__version__}, model_bytes=self._bytes)


class CudaBaseline(FloatBaseline):
    """The same on a GPU; raises ``BenchError`` without one of NVIDIA that PyTorch can use."""

    def __init__(self, model: Model) -> None:
        if not torch.cuda.is_available():
            raise BenchError("baseline cuda needs an NVIDIA GPU that PyTorch can use, and there "
                             "is none; leave it out")
        super().__init__(model, "cuda")

    @property
    def info(self) -> BaselineInfo:
        return replace(super().info, name="cuda", device=torch.cuda.get_device_name(),
                       boundary="gpu", meter="nvml")
