"""The model in integers: what the gateware must compute, bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilight.hw.contract.numbers import NUMBERS
from trilight.sw.errors import TokenError
from trilight.sw.model.model import Layer, Matrix, Model

from .tables import SIGMOID, SILU

__all__ = ["ReferenceModel", "Trace", "effective_scale", "quantise", "rshift", "saturate"]

Integers = NDArray[np.int32]
"""Arrays of int32; of models with very many columns, some are int64."""

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


def quantise(tapped: Integers) -> Integers:
    """Input of a norm, ``clip127(rshift(tapped, 7))``, int8 before its magnitude is known.

    Parameters
    ----------
    tapped : int32 array [streams, d]
        The residual stream times its taps.
    """
    return _clip_activation(rshift(tapped, NUMBERS.tap_frac))


def effective_scale(scales: Integers, q: Integers) -> Integers:
    """Multipliers of the matrices behind an L1 norm: ``min(32767, (m << 12) // max(sum|q|, 1))``.

    Parameters
    ----------
    scales : int32 array [matrices]
    q : int32 array [streams, columns]
        The matrices' common input.

    Returns
    -------
    int32 array [streams, matrices]
    """
    magnitude = np.maximum(np.abs(q).sum(axis=1, keepdims=True, dtype=np.int32), 1)
    scaled: Integers = (scales << NUMBERS.norm_shift) // magnitude
    return np.minimum(scaled, (1 << NUMBERS.scale_bits) - 1)


class _Product:
    """Products of matrices that share their input, stacked by rows, times their multipliers."""

    def __init__(self, *matrices: Matrix) -> None:
        # float32 holds every partial sum exactly: they are integers below 2**24.
        stacked = np.vstack([matrix.trits for matrix in matrices]).astype(np.float32)
        self._weights = np.ascontiguousarray(stacked.T)
        # Of many columns, products with a scale take more than 32 bits.
        largest = NUMBERS.act_max * stacked.shape[1] << NUMBERS.scale_bits
        self._dtype = np.int32 if largest < 1 << 31 else np.int64
        self._scales = np.array([matrix.scale for matrix in matrices], np.int32)
        self._rows = [len(matrix.trits) for matrix in matrices]

    def __call__(self, activations: Integers, *, normed: bool) -> Integers:
        """Fixed-point products [streams, rows], ``scale_frac`` more fraction bits than results.

        Of a normed input only the direction counts.
        """
        sums: Integers = (activations.astype(np.float32) @ self._weights).astype(self._dtype)
        scales = effective_scale(self._scales, activations) if normed else self._scales[np.newaxis]
        sums *= np.repeat(scales, self._rows, axis=1)
        return sums


def _requantise(products: Integers) -> Integers:
    return rshift(products, NUMBERS.scale_frac)


class _ReferenceLayer:
    """One layer, its matrices in float32 and its other parameters in int32."""

    def __init__(self, layer: Layer) -> None:
        self.gates = _Product(layer.forget, layer.candidate, layer.gate)
        self.mix_out = _Product(layer.mix_out)
        self.glu = _Product(layer.glu_gate, layer.glu_up)
        self.glu_down = _Product(layer.glu_down)
        self.tap_now = layer.tap_now.astype(np.int32)
        self.tap_prev = layer.tap_prev.astype(np.int32)
        self.glu_tap = layer.glu_tap
        self.forget_bias = layer.forget_bias.astype(np.int32)


def _look_up(table: Integers, products: Integers, bias: Integers | int = 0) -> Integers:
    """Entries for products and a bias in table steps; a step's index is its lower end."""
    index = saturate((products >> NUMBERS.scale_frac) + bias, NUMBERS.index_bits)
    return table.take(index + (1 << NUMBERS.index_bits - 1))


class ReferenceModel:
    """Model on several independent token streams at once.

    Parameters
    ----------
    streams
        Token streams, each with its own state.

    Attributes
    ----------
    h : int32 array [L, streams, d]
        Recurrent state of each layer, Q3.8.
    x_prev : int32 array [L, streams, d]
        Previous input of each layer, Q4.3, in [-127, 127].
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
        trace
            Called as ``trace(stage, layer, values)`` in the order of the hardware: ``x`` with
            layer -1 for the embedding; ``q h u x q v x`` for each layer; ``q`` and ``logits``
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
        q = quantise(x * self.model.head_tap)
        show("q", len(self._layers), q)
        logits = saturate(_requantise(self._head(q, normed=True)) + self._head_bias,
                          NUMBERS.logit_bits)
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
            before = self.x_prev[number] << NUMBERS.prev_shift
            q = quantise(x * layer.tap_now + before * layer.tap_prev)
            self.x_prev[number] = _clip_activation(rshift(x, NUMBERS.prev_shift))
            show("q", number, q)
            forget, candidate, gate = np.split(layer.gates(q, normed=True), 3, axis=1)
            f = _look_up(SIGMOID, forget, layer.forget_bias)
            c = _look_up(SILU, candidate)
            h = c + rshift(f * (self.h[number] - c), NUMBERS.forget_bits)
            self.h[number] = h
            show("h", number, h)
            g = _look_up(SILU, gate)
            u = _clip_activation(rshift(g * h, NUMBERS.mix_shift))
            show("u", number, u)
            x = saturate(x + _requantise(layer.mix_out(u, normed=False)), NUMBERS.residual_bits)
            show("x", number, x)
            q = quantise(x * layer.glu_tap)
            show("q", number, q)
            glu_gate, up = np.split(layer.glu(q, normed=True), 2, axis=1)
            a = _look_up(SILU, glu_gate)
            b = saturate(_requantise(up), NUMBERS.gate_bits)
            v = _clip_activation(rshift(a * b, NUMBERS.glu_shift))
            show("v", number, v)
            x = saturate(x + _requantise(layer.glu_down(v, normed=False)), NUMBERS.residual_bits)
            show("x", number, x)
        return x

    def _checked(self, tokens: ArrayLike) -> NDArray[Any]:
        array: NDArray[Any] = np.asarray(tokens)
        if array.shape != (self.streams,) or not np.issubdtype(array.dtype, np.integer):
            raise TokenError(f"tokens must be {self.streams} integers, one for each stream, "
                             f"not {array.dtype} {list(array.shape)}")
        maximum = self.model.config.vocab_size - 1
        if array.min() < 0 or array.max() > maximum:
            raise TokenError(f"tokens must be in [0, {maximum}], "
                             f"not {array.min()} ... {array.max()}")
        return array


def _ignore(stage: str, layer: int, values: Integers) -> None:
    pass
