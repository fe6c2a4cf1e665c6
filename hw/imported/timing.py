"""Latencies of the vector unit of imported models in cycles, from which its blocks are built.

No Amaranth: the performance model reads them too, so neither side types them again.
"""

from trilight.hw.contract.imported import FORMATS

__all__ = ["ACT", "ARGUMENT", "BEGIN", "CREDIT", "DOWN_SCALE", "ENABLE", "GATED", "PEAK",
           "PEAK_DONE", "PRODUCT", "QUOTIENT_BITS", "RESIDUAL", "RESULT", "RESULT_READY", "SCALE",
           "SCALED", "SHIFTER_BITS", "SILU", "SQUARES"]

# ---- Of a column on its way to a code; a column is asked for at stage 0

PRODUCT = 4
"""Stage at which a value times its gain is there."""

PEAK = PRODUCT + 2
"""Stage by which the largest magnitude includes it."""

ACT = PRODUCT + 4
"""Stage at which its code leaves."""

SQUARES = 8
"""Stage by which the sum of squares includes it."""

# ---- Of a row; its sum is there at stage 0

SCALED = 4
"""Stage at which the sum times its multiplier is there."""

RESIDUAL = SCALED + 1
"""Stage at which a residual channel is written, or a logit leaves."""

ARGUMENT = RESIDUAL
"""Stage at which the argument of a sigmoid is there."""

GATED = ARGUMENT + 5
"""Stage at which the sigmoid is there."""

SILU = GATED + 3
"""Stage at which SiLU, or a forget gate, is there."""

RESULT = SILU + 3
"""Stage at which a state, or a gated value, is written."""

# ---- Of the serial part of a norm, whose steps take a cycle for each bit, and one

QUOTIENT_BITS = FORMATS.y_bits + FORMATS.scale_bits - (FORMATS.root_bits - 1)
"""Width of the longest quotient: an aligned magnitude times a scale by a root, whose first bit
is 1."""

SHIFTER_BITS = max(FORMATS.y_total_bits, FORMATS.max_epsilon.bit_length() + 1)
"""Width of the widest number that is aligned."""

_SHIFT = SHIFTER_BITS.bit_length() + 1
_DIVIDE = QUOTIENT_BITS + 1
_MULTIPLY = FORMATS.scale_bits + 1
_ROOT = FORMATS.root_bits + 1

PEAK_DONE = _SHIFT + _DIVIDE + 2
"""Cycles from the largest magnitude until a vector's codes may begin."""

SCALE = _SHIFT + _DIVIDE + _MULTIPLY + 1
"""Cycles from the largest magnitude until the squares are awaited."""

DOWN_SCALE = SCALE + _DIVIDE + 2 * _MULTIPLY
"""The same, where the epsilon comes from another matrix."""

RESULT_READY = _MULTIPLY + _SHIFT + 1 + _SHIFT + _ROOT + _DIVIDE + 1
"""Cycles from the sum of squares to the multiplier."""

# ---- Between the blocks

BEGIN = 1
"""Cycles from the beginning of a token, or a result's being taken, to the next operation."""

CREDIT = 1
"""Cycles from a value's being written to its first pass."""

ENABLE = 1
"""Cycles from a multiplier's being taken until its rows are enabled."""
