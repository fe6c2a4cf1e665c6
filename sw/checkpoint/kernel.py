"""The contract of imported models compiled by Numba: one stream, one core.

A weight byte indexes the table of its five columns' partial sums, as in the engine, and the tables
are filled along the engine's path of additions. Weights are read where they are mapped, so the
memory beside the file is that of a few vectors. ``reference.py`` is the contract; this equals it.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trilight.hw.contract.imported import FORMATS
from trilight.hw.contract.trits import FILE_CODE
from trilight.sw.errors import TokenError

from .model import ImportedMatrix, ImportedModel
from .reference import SIGMOID_TAIL, Saturations

__all__ = ["CompiledReference"]

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]
Int16 = NDArray[np.int16]
Bytes = NDArray[np.uint8]

STEP_DIGIT = np.array([digit for digit, _ in FILE_CODE.steps], np.int64)
STEP_SIGN = np.array([sign for _, sign in FILE_CODE.steps], np.int16)
ACT_MAX = FORMATS.act_max
Y_BITS, RECIPROCAL_SHIFT = FORMATS.y_bits, FORMATS.reciprocal_shift
SQUARE_BITS, NORM_SHIFT, ROOT_BITS = FORMATS.square_bits, FORMATS.norm_bits - 1, FORMATS.root_bits
SCALE_BITS, Z_FRAC, Z_BITS = FORMATS.scale_bits, FORMATS.z_frac, FORMATS.z_bits
SIGMOID_BITS, ONE = FORMATS.sigmoid_bits, 1 << FORMATS.sigmoid_bits
INSIDE, ENTRIES = FORMATS.z_frac - FORMATS.table_steps, FORMATS.table_entries
PRODUCT_SHIFT = FORMATS.product_shift
EPSILON, EPSILON_SHIFT = FORMATS.epsilon, FORMATS.epsilon_shift
EPSILON_DROP = FORMATS.epsilon_drop
MAX_EPSILON, MAX_LEFT = FORMATS.max_epsilon, FORMATS.max_left_shift
RESIDUAL_BITS = FORMATS.residual_bits
LOGIT_BITS, LOGIT_FRAC = FORMATS.logit_bits, FORMATS.logit_frac
PRODUCT_FRAC = 2 * (Z_FRAC - PRODUCT_SHIFT)
INVERSE_UNIT = FORMATS.scale_bits + FORMATS.inverse_bits - 2
COUNTED = ("i", "f", "gate", "residual", "logits")
KINDS = len(COUNTED)
_OWN = 0
_GIVEN = 1


@njit(cache=True)
def _rshift(value: int, bits: int) -> int:
    return value if bits == 0 else (value + (1 << (bits - 1))) >> bits


@njit(cache=True)
def _shifted(value: int, left: int) -> int:
    """``value * 2**left`` of a natural number, rounded down."""
    return value << left if left >= 0 else value >> min(-left, 63)


@njit(cache=True)
def _length(value: int) -> int:
    """Bits of a natural number."""
    bits = 0
    while value:
        value >>= 1
        bits += 1
    return bits


@njit(cache=True)
def _root(square: int) -> int:
    """Whole part of a square root, a bit at a time from above."""
    root = 0
    for bit in range(ROOT_BITS, -1, -1):
        tried = root | (1 << bit)
        if tried * tried <= square:
            root = tried
    return root


@njit(cache=True)
def _share(extra: int, left: int) -> int:
    """The epsilon's share, at most ``MAX_EPSILON``."""
    if left > 0 and _length(extra) + left > 60:
        return MAX_EPSILON if extra else 0
    return min(_shifted(extra, left), MAX_EPSILON)


@njit(cache=True)
def _quantise(values: Int64, gain: Int32, gain_frac: int, norm: Int32, norm_frac: int, scale: int,
              scale_frac: int, mode: int, extra: int, extra_shift: int,
              codes: Int16) -> tuple[int, int]:
    """Codes of values, and mantissa and fraction bits of the scale."""
    n = len(values)
    peak = 0
    largest = 0
    for k in range(n):
        peak = max(peak, abs(values[k] * gain[k]))
        largest = max(largest, abs(values[k]))
    if peak == 0:
        codes[:] = 0
        return 0, 0
    down = _length(peak) - Y_BITS
    peak = _shifted(peak, -down)
    reciprocal = -((-(ACT_MAX << RECIPROCAL_SHIFT)) // peak)
    square_down = _length(largest) - SQUARE_BITS
    total, plain = 0, 0
    for k in range(n):
        y = values[k] * gain[k]
        code = min(_rshift(_shifted(abs(y), -down) * reciprocal, RECIPROCAL_SHIFT), ACT_MAX)
        codes[k] = -code if y < 0 else code
        small = values[k] >> square_down if square_down >= 0 else values[k] << -square_down
        gained = _rshift(small * norm[k], NORM_SHIFT) if len(norm) else small
        total += gained * gained
        plain += small * small
    unit = square_down + NORM_SHIFT - norm_frac if len(norm) else square_down
    if mode == _OWN:
        total += _shifted((plain >> EPSILON_DROP) * EPSILON,
                          2 * (square_down - unit) - EPSILON_SHIFT + EPSILON_DROP)
    else:
        total += _share(extra * EPSILON, extra_shift - 2 * unit - EPSILON_SHIFT)
    total = max(total, 1)
    even = (2 * ROOT_BITS - _length(total)) // 2
    quotient = peak * scale // _root(_shifted(total, 2 * even))
    drop = _length(quotient) - SCALE_BITS
    return quotient >> drop, scale_frac - drop - (down - gain_frac) + unit - even


@njit(cache=True)
def _tables(codes: Int16, tables: Int16) -> None:
    """Partial sums [groups, 256] by weight byte, along the path of one addition each."""
    five = np.zeros(5, np.int16)
    for group in range(tables.shape[0]):
        first = 5 * group
        for k in range(5):
            five[k] = codes[first + k] if first + k < len(codes) else 0
        total = np.int16(0)
        tables[group, 0] = 0
        for k in range(len(STEP_DIGIT)):
            total += STEP_SIGN[k] * five[STEP_DIGIT[k]]
            tables[group, k + 1] = total
            tables[group, 128 + k + 1] = -total


@njit(cache=True)
def _multiply(weights: Bytes, tables: Int16, sums: Int32) -> None:
    groups, rows = weights.shape
    sums[:rows] = 0
    whole = groups - groups % 4
    for group in range(0, whole, 4):
        for row in range(rows):
            sums[row] += (np.int32(tables[group, weights[group, row]])
                          + tables[group + 1, weights[group + 1, row]]
                          + tables[group + 2, weights[group + 2, row]]
                          + tables[group + 3, weights[group + 3, row]])
    for group in range(whole, groups):
        for row in range(rows):
            sums[row] += tables[group, weights[group, row]]


@njit(cache=True)
def _scaled(total: int, mantissa: int, shift: int) -> int:
    product = total * mantissa
    if shift < 0:
        return product << min(-shift, MAX_LEFT)
    return _rshift(product, min(shift, 62))


@njit(cache=True)
def _clip(value: int, bits: int, counts: Int64, which: int) -> int:
    maximum = (1 << (bits - 1)) - 1
    clipped = min(max(value, -maximum - 1), maximum)
    if clipped != value:
        counts[which] += 1
    counts[KINDS + which] = max(counts[KINDS + which], abs(value))
    return clipped


@njit(cache=True)
def _sigmoid(z: int) -> int:
    magnitude = abs(z)
    index = magnitude >> INSIDE
    tail = 0
    if index < ENTRIES:
        low, high = SIGMOID_TAIL[index], SIGMOID_TAIL[index + 1]
        tail = low + _rshift((high - low) * (magnitude & ((1 << INSIDE) - 1)), INSIDE)
    return tail if z < 0 else ONE - tail


@njit(cache=True)
def _silu(z: int) -> int:
    return _rshift(z * _sigmoid(z), SIGMOID_BITS)


@njit(cache=True)
def _forget(sums: Int32, rows: int, mantissa: int, shift: int, bounds: Int32, counts: Int64,
            out: Int64) -> None:
    for row in range(rows):
        gate = _sigmoid(_clip(_scaled(sums[row], mantissa, shift), Z_BITS, counts, 1))
        if len(bounds):
            bound = int(bounds[row])
            gate = bound + _rshift((ONE - bound) * gate, SIGMOID_BITS)
        out[row] = gate


@njit(cache=True)
def _advance_state(sums: Int32, mantissa: int, shift: int, forget: Int64, counts: Int64,
                   state: Int64) -> None:
    for row in range(len(state)):
        candidate = _silu(_clip(_scaled(sums[row], mantissa, shift), Z_BITS, counts, 0))
        state[row] = candidate + _rshift(forget[row] * (state[row] - candidate), SIGMOID_BITS)


@njit(cache=True)
def _mixed(sums: Int32, state: Int64, out: Int64) -> int:
    """Gate times SiLU of the state, and the sum of the gate's squares."""
    squares = 0
    for row in range(len(state)):
        gate = int(sums[row])
        out[row] = _rshift(gate * _silu(int(state[row])), PRODUCT_SHIFT)
        squares += gate * gate
    return squares


@njit(cache=True)
def _gated(sums: Int32, inner: int, mantissa: int, shift: int, counts: Int64, out: Int64) -> None:
    for row in range(inner):
        gate = _clip(_scaled(sums[row], mantissa, shift), Z_BITS, counts, 2)
        out[row] = _rshift(_silu(gate) * int(sums[inner + row]), PRODUCT_SHIFT)


@njit(cache=True)
def _add(x: Int64, sums: Int32, mantissa: int, shift: int, counts: Int64) -> None:
    for row in range(len(x)):
        x[row] = _clip(int(x[row]) + _scaled(sums[row], mantissa, shift), RESIDUAL_BITS, counts, 3)


@njit(cache=True)
def _logits(sums: Int32, mantissa: int, shift: int, counts: Int64, out: Int64) -> None:
    for row in range(len(out)):
        out[row] = _clip(_scaled(sums[row], mantissa, shift), LOGIT_BITS, counts, 4)


_NO_GAINS = np.zeros(0, np.int32)
_NO_GAINS.flags.writeable = False


class CompiledReference:
    """Imported model on one stream of tokens, as ``ImportedReference`` does.

    Parameters
    ----------
    model : ImportedModel
    """

    def __init__(self, model: ImportedModel) -> None:
        shape = model.shape
        self.model = model
        self.state: Int64 = np.zeros((shape.layers, shape.hidden), np.int64)
        # Clipped values by kind, then the largest magnitudes.
        self._counts: Int64 = np.zeros(2 * KINDS, np.int64)
        widest = max(shape.hidden, shape.inner)
        self._codes: Int16 = np.zeros(widest, np.int16)
        self._tables: Int16 = np.zeros((-(-widest // 5), 256), np.int16)
        self._sums: Int32 = np.zeros(max(shape.vocabulary, 2 * shape.inner, shape.hidden), np.int32)
        self._forget: Int64 = np.zeros(shape.hidden, np.int64)
        self._mixed: Int64 = np.zeros(shape.hidden, np.int64)
        self._gated: Int64 = np.zeros(shape.inner, np.int64)

    @property
    def saturations(self) -> Saturations:
        """Values that were clipped since the stream began."""
        found = self._counts.tolist()
        counts = zip(COUNTED, found[:KINDS], strict=True)
        peaks = zip(COUNTED, found[KINDS:], strict=True)
        return Saturations({name: count for name, count in counts if count}, dict(peaks))

    def reset(self) -> None:
        """Begin a stream of tokens."""
        self.state[...] = 0
        self._counts[...] = 0

    def step(self, token: int) -> Int64:
        """Feed a token; return logits [V] with ``FORMATS.logit_frac`` fraction bits.

        Raises
        ------
        TokenError
            The vocabulary has no such token.
        """
        shape = self.model.shape
        if not 0 <= token < shape.vocabulary:
            raise TokenError(f"tokens must be in [0, {shape.vocabulary - 1}], not {token}")
        return self.logits(self.advance(self.model.embedding[token].astype(np.int64),
                                        range(shape.layers)))

    def advance(self, x: Int64, layers: range) -> Int64:
        """Pass a residual vector [hidden] through some of the layers, whose state goes on."""
        x = x.copy()
        for layer in layers:
            self._layer(layer, x)
        return x

    def logits(self, x: Int64) -> Int64:
        """Logits [V] of the residual vector behind the last layer."""
        logits: Int64 = np.empty(self.model.shape.vocabulary, np.int64)
        mantissa, fraction = self._product(self.model.head, x)
        _logits(self._sums, mantissa, fraction - LOGIT_FRAC, self._counts, logits)
        return logits

    def feed(self, tokens: Sequence[int]) -> Int64:
        """Logits [tokens, V] of a sequence from a clean state."""
        self.reset()
        return np.stack([self.step(token) for token in tokens])

    def _product(self, matrix: ImportedMatrix, values: Int64, mode: int = _OWN, extra: int = 0,
                 extra_shift: int = 0) -> tuple[int, int]:
        """Sums of a matrix into ``self._sums``; mantissa and fraction bits of their scale."""
        codes = self._codes[:matrix.columns]
        norm = _NO_GAINS if matrix.norm is None else matrix.norm
        scale: tuple[int, int] = _quantise(
            values, matrix.gain, matrix.gain_frac, norm, matrix.norm_frac, matrix.scale,
            matrix.scale_frac, mode, extra, extra_shift, codes)
        tables = self._tables[:len(matrix.weights)]
        _tables(codes, tables)
        _multiply(matrix.weights, tables, self._sums)
        return scale

    def _layer(self, layer: int, x: Int64) -> None:
        matrices, counts = self.model.layers[layer], self._counts
        bounds = self.model.lower_bounds
        mantissa, fraction = self._product(matrices["f"], x)
        _forget(self._sums, len(x), mantissa, fraction - Z_FRAC,
                bounds[layer] if bounds is not None and layer > 0 else _NO_GAINS, counts,
                self._forget)
        mantissa, fraction = self._product(matrices["i"], x)
        _advance_state(self._sums, mantissa, fraction - Z_FRAC, self._forget, counts,
                       self.state[layer])
        self._product(matrices["g"], x)
        squares = _mixed(self._sums, self.state[layer], self._mixed)
        mantissa, fraction = self._product(matrices["o"], self._mixed, _GIVEN, squares,
                                           PRODUCT_FRAC)
        _add(x, self._sums, mantissa, fraction - self.model.residual_frac, counts)
        mantissa, fraction = self._product(matrices["gate"], x)
        inner = self.model.shape.inner
        _gated(self._sums, inner, mantissa, fraction - Z_FRAC, counts, self._gated)
        inverse = (1 << INVERSE_UNIT) // max(mantissa, 1 << SCALE_BITS - 1)
        mantissa, fraction = self._product(
            matrices["down"], self._gated, _GIVEN, inner * inverse * inverse,
            2 * (fraction - INVERSE_UNIT) + PRODUCT_FRAC)
        _add(x, self._sums, mantissa, fraction - self.model.residual_frac, counts)
