"""Baseline ``numba``: the integer model compiled to machine code, one core.

Numba hands LLVM plain loops, which become vector instructions of this very processor. A matrix is
held by columns, so that a loop over rows adds ``x[column]`` times a column of trits in 16-bit
lanes: wide enough by the number formats, and free of sums across lanes. The forward pass is written
once more for speed alone: several times that of the exported C.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trilight.hw.contract.numbers import NUMBERS
from trilight.sw.errors import BenchError
from trilight.sw.model.model import COLUMNS_OF_16_BITS, Matrix, Model
from trilight.sw.reference.sampler import Rng, temperature_to_fixed
from trilight.sw.reference.tables import GUMBEL, SIGMOID, SILU

from . import BaselineInfo

__all__ = ["CompiledBaseline"]

ACT = NUMBERS.act_max
SCALE_FRAC = NUMBERS.scale_frac
MAX_SCALE = (1 << NUMBERS.scale_bits) - 1
RESIDUAL = 1 << NUMBERS.residual_bits - 1
GATE = 1 << NUMBERS.gate_bits - 1
INDEX = 1 << NUMBERS.index_bits - 1
LOGIT = 1 << NUMBERS.logit_bits - 1
TAP_FRAC, PREV_SHIFT, NORM_SHIFT = NUMBERS.tap_frac, NUMBERS.prev_shift, NUMBERS.norm_shift
FORGET_BITS, MIX_SHIFT, GLU_SHIFT = NUMBERS.forget_bits, NUMBERS.mix_shift, NUMBERS.glu_shift
NOISE_SHIFT, RNG_BITS, RNG_STEP = NUMBERS.noise_shift, NUMBERS.rng_bits, NUMBERS.rng_step
RNG_TAPS = NUMBERS.rng_taps

Int8 = NDArray[np.int8]
Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]


class _Weights(NamedTuple):
    """A model's arrays, layers stacked, matrices by columns."""

    gates: Int8
    """[L, d, 3 d]: forget, candidate, gate."""
    mix_out: Int8
    """[L, d, d]."""
    glu: Int8
    """[L, d, 2 H]: gate, up."""
    glu_down: Int8
    """[L, H, d]."""
    scales: Int32
    """[L, 7], in the order of computation."""
    tap_now: Int32
    tap_prev: Int32
    forget_bias: Int32
    glu_tap: Int32
    """[L]."""
    embedding: Int8
    """[V, d]."""
    head: Int8
    """[d, V]."""
    head_bias: Int32
    constants: Int32
    """Embedding scale, head scale, head tap."""


def _columns(*matrices: Matrix) -> Int8:
    return np.ascontiguousarray(np.vstack([matrix.trits for matrix in matrices]).T)


def _pack(model: Model) -> _Weights:
    layers = model.layers
    return _Weights(
        gates=np.stack([_columns(x.forget, x.candidate, x.gate) for x in layers]),
        mix_out=np.stack([_columns(x.mix_out) for x in layers]),
        glu=np.stack([_columns(x.glu_gate, x.glu_up) for x in layers]),
        glu_down=np.stack([_columns(x.glu_down) for x in layers]),
        scales=np.array([[m.scale for m in x.matrices.values()] for x in layers], np.int32),
        tap_now=np.stack([x.tap_now for x in layers]).astype(np.int32),
        tap_prev=np.stack([x.tap_prev for x in layers]).astype(np.int32),
        forget_bias=np.stack([x.forget_bias for x in layers]).astype(np.int32),
        glu_tap=np.array([x.glu_tap for x in layers], np.int32),
        embedding=np.ascontiguousarray(model.embedding),
        head=np.ascontiguousarray(model.embedding.T),
        head_bias=model.head_bias.astype(np.int32),
        constants=np.array([model.embed_scale, model.head_scale, model.head_tap], np.int32))


@njit(cache=True)
def _rshift(value: int, bits: int) -> int:
    return (value + (1 << (bits - 1))) >> bits


@njit(cache=True)
def _clip(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


@njit(cache=True)
def _quantise(value: int) -> int:
    return _clip(_rshift(value, TAP_FRAC), -ACT, ACT)


@njit(cache=True)
def _index(product: int, bias: int) -> int:
    return _clip((product >> SCALE_FRAC) + bias, -INDEX, INDEX - 1) + INDEX


@njit(cache=True)
def _multiply(columns: Int8, x: Int16, sums: Int16) -> None:
    """``sums [rows] = matrix x``; ``columns [columns, rows]``."""
    sums[:] = 0
    for column in range(columns.shape[0]):
        factor = x[column]
        weights = columns[column]
        for row in range(sums.shape[0]):
            sums[row] += np.int16(np.int16(weights[row]) * factor)


@njit(cache=True)
def _magnitude(q: Int16) -> int:
    total = 0
    for value in q:
        total += abs(int(value))
    return max(total, 1)


@njit(cache=True)
def _effective(scale: int, magnitude: int) -> int:
    return min((scale << NORM_SHIFT) // magnitude, MAX_SCALE)


@njit(cache=True)
def _advance(w: _Weights, token: int, h: Int32, x_prev: Int32, x: Int32) -> None:
    """Feed a token: the residual stream after the last layer goes to ``x``."""
    n_layers, d, _ = w.mix_out.shape
    hidden = w.glu_down.shape[1]
    q, v = np.empty(d, np.int16), np.empty(hidden, np.int16)
    gates, glu, out = np.empty(3 * d, np.int16), np.empty(2 * hidden, np.int16), np.empty(
        d, np.int16)
    for i in range(d):
        x[i] = w.embedding[token, i] * w.constants[0]
    for layer in range(n_layers):
        scale = w.scales[layer]
        for i in range(d):
            before = x_prev[layer, i] << PREV_SHIFT
            q[i] = _quantise(x[i] * w.tap_now[layer, i] + before * w.tap_prev[layer, i])
            x_prev[layer, i] = _clip(_rshift(x[i], PREV_SHIFT), -ACT, ACT)
        _multiply(w.gates[layer], q, gates)
        magnitude = _magnitude(q)
        forget, candidate, gate = (_effective(scale[0], magnitude), _effective(scale[1], magnitude),
                                   _effective(scale[2], magnitude))
        for i in range(d):
            f = SIGMOID[_index(gates[i] * forget, w.forget_bias[layer, i])]
            c = SILU[_index(gates[d + i] * candidate, 0)]
            g = SILU[_index(gates[2 * d + i] * gate, 0)]
            state = c + _rshift(f * (h[layer, i] - c), FORGET_BITS)
            h[layer, i] = state
            q[i] = _clip(_rshift(g * state, MIX_SHIFT), -ACT, ACT)
        _multiply(w.mix_out[layer], q, out)
        for i in range(d):
            x[i] = _clip(x[i] + _rshift(out[i] * scale[3], SCALE_FRAC),
                         -RESIDUAL, RESIDUAL - 1)
            q[i] = _quantise(x[i] * w.glu_tap[layer])
        _multiply(w.glu[layer], q, glu)
        magnitude = _magnitude(q)
        glu_gate, up = _effective(scale[4], magnitude), _effective(scale[5], magnitude)
        for i in range(hidden):
            a = SILU[_index(glu[i] * glu_gate, 0)]
            b = _clip(_rshift(glu[hidden + i] * up, SCALE_FRAC), -GATE, GATE - 1)
            v[i] = _clip(_rshift(a * b, GLU_SHIFT), -ACT, ACT)
        _multiply(w.glu_down[layer], v, out)
        for i in range(d):
            x[i] = _clip(x[i] + _rshift(out[i] * scale[6], SCALE_FRAC),
                         -RESIDUAL, RESIDUAL - 1)


@njit(cache=True)
def _logits(w: _Weights, x: Int32, logits: Int32) -> None:
    q = np.empty(len(x), np.int16)
    sums = np.empty(len(logits), np.int16)
    for i in range(len(x)):
        q[i] = _quantise(x[i] * w.constants[2])
    _multiply(w.head, q, sums)
    scale = _effective(w.constants[1], _magnitude(q))
    for i in range(len(logits)):
        logits[i] = _clip(_rshift(sums[i] * scale, SCALE_FRAC) + w.head_bias[i],
                          -LOGIT, LOGIT - 1)


@njit(cache=True)
def _sample(logits: Int32, temperature: int, state: int) -> tuple[int, int]:
    """The next token and the generator's next state."""
    best, token = -(1 << 40), 0
    for i in range(len(logits)):
        noisy = logits[i] + _rshift(temperature * GUMBEL[state & 0xFF], NOISE_SHIFT)
        if noisy > best:
            best, token = noisy, i
        new = 0
        for tap in RNG_TAPS:
            new ^= state >> tap
        state = (state >> RNG_STEP) | ((new & 0xFF) << (RNG_BITS - RNG_STEP))
    return token, state


@njit(cache=True)
def _generate(w: _Weights, prompt: Int32, temperature: int, state: int, generated: Int32) -> None:
    n_layers, d, _ = w.mix_out.shape
    h, x_prev = np.zeros((n_layers, d), np.int32), np.zeros((n_layers, d), np.int32)
    x, logits = np.empty(d, np.int32), np.empty(len(w.embedding), np.int32)
    for token in prompt[:-1]:
        _advance(w, token, h, x_prev, x)
    token = prompt[-1]
    for n in range(len(generated)):
        _advance(w, token, h, x_prev, x)
        _logits(w, x, logits)
        token, state = _sample(logits, temperature, state)
        generated[n] = token


class CompiledBaseline:
    """The integers of the reference, compiled."""

    def __init__(self, model: Model) -> None:
        if max(model.config.d_model, model.config.d_hidden) > COLUMNS_OF_16_BITS:
            raise BenchError("the compiled baseline adds up in 16 bits, which sums of at most "
                             f"{COLUMNS_OF_16_BITS} columns fit; take --baseline numpy for "
                             f"{model.config}")
        self._weights = _pack(model)
        self.generate([0], tokens=1, temperature=0, seed=0)  # compiles

    @property
    def info(self) -> BaselineInfo:
        return BaselineInfo(
            name="numba", arithmetic="integers, compiled by LLVM",
            software={name: version(name) for name in ("numba", "llvmlite", "numpy")},
            model_bytes=sum(array.nbytes for array in (*self._weights, SIGMOID, SILU, GUMBEL)))

    def generate(self, prompt: Sequence[int], *, tokens: int, temperature: float,
                 seed: int) -> list[int]:
        generated = np.empty(tokens, np.int32)
        _generate(self._weights, np.array(prompt, np.int32), temperature_to_fixed(temperature),
                  Rng(seed).state, generated)
        result: list[int] = generated.tolist()
        return result
