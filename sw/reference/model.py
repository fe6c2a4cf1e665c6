"""The model in integers: what the gateware must compute, bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilight.hw.config import NUMBERS
from trilight.sw.errors import TokenError
from trilight.sw.model import Layer, Matrix, Model

from .tables import SIGMOID, SILU

__all__ = ["ReferenceModel", "Trace", "norm", "rshift", "saturate"]

Integers = NDArray[np.int32]

Trace = Callable[[str, int, Integers], None]
"""Called with a stage's name, its layer and its values [streams, n]."""


def rshift(values: Integers, bits: int) -> Integers:
    """``values / 2**bits`` to nearest, halves up."""
    return (values + (1 << bits - 1)) >> bits


def saturate(values: Integers, bits: int) -> Integers:
    """``values`` clipped to the range of a two's-complement integer of ``bits``."""
    return np.clip(values, -(1 << bits - 1), (1 << bits - 1) - 1)


def _clip_activation(values: Integers) -> Integers:
    return np.clip(values, -NUMBERS.act_max, NUMBERS.act_max)


def norm(y: Integers) -> Integers:
    """L1 norm: ``24 * y / mean|y|``, rounded and clipped to [-127, 127].

    Parameters
    ----------
    y : int32 array [streams, d]
        In the range of int12.

    Returns
    -------
    int32 array [streams, d]
    """
    magnitude = np.maximum(np.abs(y).sum(axis=1, keepdims=True, dtype=np.int32), 1)
    scale = NUMBERS.norm_gain * y.shape[1] << NUMBERS.norm_frac
    reciprocal = np.minimum(scale // magnitude, (1 << NUMBERS.scale_bits) - 1)
    return _clip_activation(rshift(y * reciprocal, NUMBERS.norm_frac))


class _Product:
    """Requantised products of matrices that share their input, stacked by rows."""

    def __init__(self, *matrices: Matrix) -> None:
        # float32 holds every partial sum exactly: they are integers below 2**24.
        stacked = np.vstack([matrix.trits for matrix in matrices]).astype(np.float32)
        self._weights = np.ascontiguousarray(stacked.T)
        self._scales = np.concatenate(
            [np.full(len(matrix.trits), matrix.scale, np.int32) for matrix in matrices])

    def __call__(self, activations: Integers) -> Integers:
        sums = (activations.astype(np.float32) @ self._weights).astype(np.int32)
        sums *= self._scales
        return rshift(sums, NUMBERS.scale_frac)


class _ReferenceLayer:
    """One layer, its matrices in float32 and its other parameters in int32."""

    def __init__(self, layer: Layer) -> None:
        self.gates = _Product(layer.forget, layer.candidate, layer.gate)
        self.mix_out = _Product(layer.mix_out)
        self.glu = _Product(layer.glu_gate, layer.glu_up)
        self.glu_down = _Product(layer.glu_down)
        self.tap_now = layer.tap_now.astype(np.int32)
        self.tap_prev = layer.tap_prev.astype(np.int32)
        self.forget_bias = layer.forget_bias.astype(np.int32)


def _look_up(table: Integers, index: Integers) -> Integers:
    return table.take(saturate(index, NUMBERS.index_bits) + (1 << NUMBERS.index_bits - 1))


class ReferenceModel:
    """Runs a model on several independent token streams at once.

    Parameters
    ----------
    model : Model
    streams : int
        Token streams, each with its own state.

    Attributes
    ----------
    h : int32 array [L, streams, d]
        Recurrent state of each layer, Q3.8.
    x_prev : int32 array [L, streams, d]
        Previous input of each layer, Q5.6.
    """

    def __init__(self, model: Model, streams: int = 1) -> None:
        if streams < 1:
            raise ValueError(f"streams must be positive, not {streams}")
        config = model.config
        self.model = model
        self.streams = streams
        self._embedding = model.embedding.astype(np.int32) * model.embed_scale
        self._layers = [_ReferenceLayer(layer) for layer in model.layers]
        self._head = _Product(Matrix(model.embedding, model.head_scale))
        self._head_bias = model.head_bias
        self.h: Integers = np.zeros((config.n_layers, streams, config.d_model), np.int32)
        self.x_prev: Integers = np.zeros_like(self.h)

    def reset(self) -> None:
        """Zero the state of every stream."""
        self.h[...] = 0
        self.x_prev[...] = 0

    def step(self, tokens: ArrayLike, trace: Trace | None = None) -> Integers:
        """Feed one token to each stream.

        Parameters
        ----------
        tokens : integer array [streams]
        trace : callable, optional
            Called as ``trace(stage, layer, values)`` in the order of the hardware: ``x`` with
            layer -1 for the embedding; ``y q h u x q v x`` for each layer; ``q`` and ``logits``
            with layer L for the head. The values must not be changed.

        Returns
        -------
        int32 array [streams, V]
            Logits, Q9.6.

        Raises
        ------
        TokenError
            If there is not one token for each stream, or one is not in [0, V).
        """
        show = trace or _ignore
        x = self._advance(tokens, show)
        q = norm(x)
        show("q", len(self._layers), q)
        logits = saturate(self._head(q) + self._head_bias, NUMBERS.logit_bits)
        show("logits", len(self._layers), logits)
        return logits

    def feed(self, tokens: ArrayLike) -> None:
        """Feed one token to each stream without computing logits; see ``step``."""
        self._advance(tokens, _ignore)

    def _advance(self, tokens: ArrayLike, show: Trace) -> Integers:
        """Feed tokens through all layers; the residual stream [streams, d] after the last."""
        x: Integers = self._embedding[self._checked(tokens)]
        show("x", -1, x)
        for number, layer in enumerate(self._layers):
            y = rshift(x * layer.tap_now + self.x_prev[number] * layer.tap_prev, NUMBERS.tap_frac)
            y = saturate(y, NUMBERS.residual_bits)
            self.x_prev[number] = x
            show("y", number, y)
            q = norm(y)
            show("q", number, q)
            forget, candidate, gate = np.split(layer.gates(q), 3, axis=1)
            f = _look_up(SIGMOID, forget + layer.forget_bias)
            c = _look_up(SILU, candidate)
            h = c + rshift(f * (self.h[number] - c), NUMBERS.forget_bits)
            self.h[number] = h
            show("h", number, h)
            g = _look_up(SILU, gate)
            u = _clip_activation(rshift(g * h, NUMBERS.mix_shift))
            show("u", number, u)
            x = saturate(x + layer.mix_out(u), NUMBERS.residual_bits)
            show("x", number, x)
            q = norm(x)
            show("q", number, q)
            glu_gate, up = np.split(layer.glu(q), 2, axis=1)
            a = _look_up(SILU, glu_gate)
            b = saturate(up, NUMBERS.gate_bits)
            v = _clip_activation(rshift(a * b, NUMBERS.glu_shift))
            show("v", number, v)
            x = saturate(x + layer.glu_down(v), NUMBERS.residual_bits)
            show("x", number, x)
        return x

    def _checked(self, tokens: ArrayLike) -> NDArray[Any]:
        array: NDArray[Any] = np.asarray(tokens)
        if array.shape != (self.streams,) or not np.issubdtype(array.dtype, np.integer):
            raise TokenError(f"tokens must be {self.streams} integers, one for each stream, "
                             f"not {array.dtype} {list(array.shape)}")
        most = self.model.config.vocab_size - 1
        if array.min() < 0 or array.max() > most:
            raise TokenError(f"tokens must be in [0, {most}], not {array.min()} ... {array.max()}")
        return array


def _ignore(stage: str, layer: int, values: Integers) -> None:
    pass
