"""The contract of imported models in NumPy: what every other form must equal, bit for bit.

Integers of 64 bits hold every intermediate value; what is wider than that in a line is a Python
integer. One stream at a time, since each has its own scales.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.imported import FORMATS
from trilight.hw.contract.trits import FILE_CODE
from trilight.sw.errors import TokenError

from .model import ImportedMatrix, ImportedModel

__all__ = [
    "SIGMOID_TAIL",
    "ImportedReference",
    "Quantised",
    "Saturations",
    "Trace",
    "down_epsilon",
    "multiply",
    "quantise",
    "rshift",
    "scale_rows",
    "sigmoid",
    "silu",
]

Integers = NDArray[np.int64]

Trace = Callable[[str, int, Integers], None]
"""Called with a stage's name, its layer and its values."""


def _tail() -> Integers:
    positions = np.arange(FORMATS.table_entries + 1) / (1 << FORMATS.table_steps)
    values = np.rint(np.ldexp(1 / (1 + np.exp(positions)), FORMATS.sigmoid_bits)).astype(np.int64)
    values[-1] = 0
    values.flags.writeable = False
    return values


SIGMOID_TAIL = _tail()
"""``round(2**24 * sigmoid(-k / 256))`` for k from 0, and 0 at the end."""

_TRITS = np.zeros((256, 5), np.int64)
for _code, _trits in FILE_CODE.to_trits.items():
    _TRITS[_code] = _trits

_ONE = 1 << FORMATS.sigmoid_bits


@dataclass
class Saturations:
    """Values that left their range and were clipped, and the largest that came, by what they are.

    Attributes
    ----------
    counts : dict of int
        Clipped values; nothing of what never was.
    peaks : dict of int
        Largest magnitudes before clipping.
    """

    counts: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)

    def clip(self, what: str, values: Integers, bits: int) -> Integers:
        """``values`` clipped to integers of ``bits``, those that change counted."""
        maximum = (1 << bits - 1) - 1
        clipped = np.clip(values, -maximum - 1, maximum)
        self.peaks[what] = max(self.peaks.get(what, 0), int(np.abs(values).max()))
        changed = int(np.count_nonzero(clipped != values))
        if changed:
            self.counts[what] = self.counts.get(what, 0) + changed
        return clipped

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def rshift(values: Any, bits: int) -> Any:
    """``values / 2**bits`` to nearest, halves up; of no bits the values."""
    return values if bits == 0 else (values + (1 << bits - 1)) >> bits


def shifted(value: int, left: int) -> int:
    """``value * 2**left``, rounded down."""
    return value << left if left >= 0 else value >> -left


@dataclass(frozen=True)
class Quantised:
    """Codes of a matrix' input, and what its sums are to be multiplied by.

    Attributes
    ----------
    codes : int64 array [columns]
        In [-127, 127].
    mantissa, fraction : int
        A sum times ``mantissa / 2**fraction`` is the layer's result; 0 for an input of zeros.
    down, peak : int
        The largest magnitude times its gain, and the shift that has brought it to its width.
    squares : int
        Sum of squares, epsilon included, as the root is taken of it.
    """

    codes: Integers
    mantissa: int
    fraction: int
    down: int = 0
    peak: int = 0
    squares: int = 0


def quantise(values: Integers, matrix: ImportedMatrix, extra: int | None = None,
             extra_shift: int = 0) -> Quantised:
    """Codes of ``values`` for a matrix, by its gains and the largest magnitude.

    Parameters
    ----------
    values : int64 array [columns]
        In any unit: it cancels.
    matrix : ImportedMatrix
    extra, extra_shift : int
        ``extra * 2**extra_shift`` is what the epsilon is a share of, in squares of the unit of
        ``values``. Behind a block's norm it follows from the values, and is not given.
    """
    y = values * matrix.gain
    peak = int(np.abs(y).max())
    if peak == 0:
        return Quantised(np.zeros(len(values), np.int64), 0, 0)
    down = peak.bit_length() - FORMATS.y_bits
    magnitude = np.abs(y) >> down if down >= 0 else np.abs(y) << -down
    peak = shifted(peak, -down)
    bits = FORMATS.reciprocal_shift
    reciprocal = -((-FORMATS.act_max << bits) // peak)
    codes = np.minimum(rshift(magnitude * reciprocal, bits), FORMATS.act_max) * np.sign(y)
    squares, unit = _sum_of_squares(values, matrix, extra, extra_shift)
    even = (2 * FORMATS.root_bits - squares.bit_length()) // 2
    squares = shifted(squares, 2 * even)
    root = math.isqrt(squares)
    # peak * 2**(down - gain_frac) / (root * 2**(unit - even)) * scale * 2**-scale_frac
    quotient = peak * matrix.scale // root
    drop = quotient.bit_length() - FORMATS.scale_bits
    fraction = matrix.scale_frac - drop - (down - matrix.gain_frac) + unit - even
    return Quantised(codes, quotient >> drop, fraction, down, peak, squares)


def _sum_of_squares(values: Integers, matrix: ImportedMatrix, extra: int | None,
                    extra_shift: int) -> tuple[int, int]:
    """Sum of squares behind a norm's gain, epsilon included, and the exponent of its root's unit.

    The root of the sum times two to that exponent has the unit of ``values``.
    """
    down = int(np.abs(values).max()).bit_length() - FORMATS.square_bits
    small = values >> down if down >= 0 else values << -down
    if matrix.norm is None:
        gained, unit = small, down
    else:
        shift = FORMATS.norm_bits - 1
        gained, unit = rshift(small * matrix.norm, shift), down + shift - matrix.norm_frac
    total = int((gained * gained).sum())
    if extra is None:
        # The norm before leaves a mean square of 1, gains aside: the epsilon's share of it.
        own = int((small * small).sum()) >> FORMATS.epsilon_drop
        share = shifted(own * FORMATS.epsilon,
                        2 * (down - unit) - FORMATS.epsilon_shift + FORMATS.epsilon_drop)
    else:
        share = min(shifted(extra * FORMATS.epsilon,
                            extra_shift - 2 * unit - FORMATS.epsilon_shift), FORMATS.max_epsilon)
    return max(total + share, 1), unit


def multiply(matrix: ImportedMatrix, codes: Integers) -> Integers:
    """Sums [rows] of a ternary matrix times codes, by tables of partial sums.

    A weight byte is the address of its five columns' partial sum, as in the engine; here the
    tables are made by a matrix product, not along the path that the engine takes.
    """
    groups = np.zeros(matrix.weights.shape[0] * 5, np.int64)
    groups[:len(codes)] = codes
    tables = groups.reshape(-1, 5) @ _TRITS.T
    sums = np.zeros(matrix.rows, np.int64)
    for table, weights in zip(tables, matrix.weights, strict=True):
        sums += table[weights]
    return sums


def scale_rows(sums: Integers, quantised: Quantised, frac: int) -> Integers:
    """Sums as results of a BitLinear layer with ``frac`` fraction bits."""
    shift = quantised.fraction - frac
    product = sums * quantised.mantissa
    if shift < 0:
        return product << min(-shift, FORMATS.max_left_shift)
    result: Integers = rshift(product, min(shift, 62))
    return result


def sigmoid(z: Integers) -> Integers:
    """Sigmoid of pre-activations, in [0, 2**24], interpolated between table entries."""
    inside = FORMATS.z_frac - FORMATS.table_steps
    magnitude = np.abs(z)
    index = np.minimum(magnitude >> inside, FORMATS.table_entries - 1)
    between = magnitude & (1 << inside) - 1
    low, high = SIGMOID_TAIL[index], SIGMOID_TAIL[index + 1]
    tail = low + rshift((high - low) * between, inside)
    tail = np.where(magnitude >> inside >= FORMATS.table_entries, 0, tail)
    return np.where(z < 0, tail, _ONE - tail)


def silu(z: Integers) -> Integers:
    """``z * sigmoid(z)`` of pre-activations, in their format."""
    result: Integers = rshift(z * sigmoid(z), FORMATS.sigmoid_bits)
    return result


class ImportedReference:
    """Imported model on one stream of tokens.

    Parameters
    ----------
    model : ImportedModel

    Attributes
    ----------
    state : int64 array [layers, hidden]
        Recurrent state, ``FORMATS.z_frac`` fraction bits.
    saturations : Saturations
        Of all tokens since the stream began.
    """

    def __init__(self, model: ImportedModel) -> None:
        self.model = model
        self.state: Integers = np.zeros((model.shape.layers, model.shape.hidden), np.int64)
        self.saturations = Saturations()

    def reset(self) -> None:
        """Begin a stream of tokens."""
        self.state[...] = 0
        self.saturations = Saturations()

    def step(self, token: int, trace: Trace | None = None) -> Integers:
        """Feed a token.

        Parameters
        ----------
        token : int
        trace : callable, optional
            Called with each stage's values: of each matrix ``input``, ``norm`` (``down``, ``peak``,
            ``squares``, ``mantissa`` and ``fraction`` of ``Quantised``), ``codes`` and ``sums``,
            and ``z`` where it has pre-activations.

        Returns
        -------
        int64 array [V]
            Logits with ``FORMATS.logit_frac`` fraction bits.

        Raises
        ------
        TokenError
            The vocabulary has no such token.
        """
        shape = self.model.shape
        if not 0 <= token < shape.vocabulary:
            raise TokenError(f"tokens must be in [0, {shape.vocabulary - 1}], not {token}")
        x = self.model.embedding[token].astype(np.int64)
        return self.logits(self.advance(x, range(shape.layers), trace), trace)

    def advance(self, x: Integers, layers: range, trace: Trace | None = None) -> Integers:
        """Pass a residual vector [hidden] through some of the layers, whose state goes on."""
        show = trace or _ignore
        for layer in layers:
            x = self._mix(layer, x, show)
            x = self._glu(layer, x, show)
        return x

    def logits(self, x: Integers, trace: Trace | None = None) -> Integers:
        """Logits [V] of the residual vector behind the last layer."""
        show, layers = trace or _ignore, self.model.shape.layers
        sums, quantised = self._product(self.model.head, "head", layers, x, show)
        logits = self.saturations.clip(
            "logits", scale_rows(sums, quantised, FORMATS.logit_frac), FORMATS.logit_bits)
        show("logits", layers, logits)
        return logits

    def feed(self, tokens: Sequence[int]) -> NDArray[np.int64]:
        """Logits [tokens, V] of a sequence from a clean state."""
        self.reset()
        return np.stack([self.step(token) for token in tokens])

    def _product(self, matrix: ImportedMatrix, name: str, layer: int, values: Integers,
                 show: Trace, extra: int | None = None,
                 extra_shift: int = 0) -> tuple[Integers, Quantised]:
        quantised = quantise(values, matrix, extra, extra_shift)
        show(f"{name}.input", layer, values)
        show(f"{name}.norm", layer, np.array([quantised.down, quantised.peak, quantised.squares,
                                              quantised.mantissa, quantised.fraction]))
        show(f"{name}.codes", layer, quantised.codes)
        sums = multiply(matrix, quantised.codes)
        show(f"{name}.sums", layer, sums)
        return sums, quantised

    def _pre_activation(self, name: str, layer: int, show: Trace, sums: Integers,
                        quantised: Quantised) -> Integers:
        z = self.saturations.clip(name, scale_rows(sums, quantised, FORMATS.z_frac),
                                  FORMATS.z_bits)
        show(f"{name}.z", layer, z)
        return z

    def _add(self, x: Integers, sums: Integers, quantised: Quantised) -> Integers:
        added = x + scale_rows(sums, quantised, self.model.residual_frac)
        return self.saturations.clip("residual", added, FORMATS.residual_bits)

    def _mix(self, layer: int, x: Integers, show: Trace) -> Integers:
        """The recurrent half of a layer."""
        matrices = self.model.layers[layer]
        candidate = silu(self._pre_activation(
            "i", layer, show, *self._product(matrices["i"], "i", layer, x, show)))
        forget = sigmoid(self._pre_activation(
            "f", layer, show, *self._product(matrices["f"], "f", layer, x, show)))
        bounds = self.model.lower_bounds
        if bounds is not None and layer > 0:
            bound = bounds[layer].astype(np.int64)
            forget = bound + rshift((_ONE - bound) * forget, FORMATS.sigmoid_bits)
        show("forget", layer, forget)
        state = candidate + rshift(forget * (self.state[layer] - candidate), FORMATS.sigmoid_bits)
        self.state[layer] = state
        show("state", layer, state)
        gate, _ = self._product(matrices["g"], "g", layer, x, show)
        mixed = rshift(gate * silu(state), FORMATS.product_shift)
        show("mixed", layer, mixed)
        # The gate's norm leaves its mean square as the unit of the epsilon.
        x = self._add(x, *self._product(
            matrices["o"], "o", layer, mixed, show, int((gate * gate).sum()),
            2 * (FORMATS.z_frac - FORMATS.product_shift)))
        show("residual", layer, x)
        return x

    def _glu(self, layer: int, x: Integers, show: Trace) -> Integers:
        """The gated linear unit of a layer."""
        matrices = self.model.layers[layer]
        sums, quantised = self._product(matrices["gate"], "gate", layer, x, show)
        gate, up = np.split(sums, 2)
        gated = rshift(silu(self._pre_activation("gate", layer, show, gate, quantised)) * up,
                       FORMATS.product_shift)
        show("gated", layer, gated)
        x = self._add(x, *self._product(matrices["down"], "down", layer, gated, show,
                                        *down_epsilon(quantised, self.model.shape.inner)))
        show("residual", layer, x)
        return x


def down_epsilon(quantised: Quantised, columns: int) -> tuple[int, int]:
    """Return what the epsilon is a share of in the squares that ``down`` sums, and its shift.

    Parameters
    ----------
    quantised : Quantised
        Of gate and up: the scale of up has stayed outside, so the epsilon is divided by it.
    columns : int
    """
    minimum = 1 << FORMATS.scale_bits - 1
    unit = FORMATS.scale_bits + FORMATS.inverse_bits - 2
    inverse = (1 << unit) // max(quantised.mantissa, minimum)
    shift = 2 * (quantised.fraction - unit + FORMATS.z_frac - FORMATS.product_shift)
    return columns * inverse * inverse, shift


def _ignore(stage: str, layer: int, values: Integers) -> None:
    pass
