"""Activation and noise tables, as ``docs/number-formats.md`` defines them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.noise import BYTE, NoiseFormat
from trilight.hw.contract.numbers import NUMBERS

__all__ = ["GUMBEL", "SIGMOID", "SILU", "gumbel_table"]

Table = NDArray[np.int32]

_ENTRIES = 1 << NUMBERS.index_bits


def _fixed(values: NDArray[Any], fraction_bits: int) -> Table:
    """Nearest fixed-point values, halves to even; read-only."""
    table: Table = np.rint(np.ldexp(values, fraction_bits)).astype(np.int32)
    table.flags.writeable = False
    return table


# An index stands for the middle of its step, so that the tables of -z follow from those of z.
_Z = np.ldexp(np.arange(_ENTRIES) - _ENTRIES // 2 + 0.5, -NUMBERS.index_frac)
_LOGISTIC = 1 / (1 + np.exp(-_Z))

SIGMOID: Table = _fixed(_LOGISTIC - 2.0**-(NUMBERS.forget_bits + 1), NUMBERS.forget_bits)
"""uint12, Q0.12, for table indices -128 ... 127; that of ``~i`` is 4095 minus that of ``i``."""

SILU: Table = _fixed(_Z * _LOGISTIC, NUMBERS.gate_frac)
"""int12, Q3.8, for table indices -128 ... 127; that of ``~i`` is that of ``i`` minus 16 i + 8."""


def gumbel_table(noise: NoiseFormat) -> Table:
    """Gumbel noise by the index of a draw, ``NUMBERS.gumbel_frac`` fraction bits.

    An entry is the quantile in the middle of the draws that it stands for. With a mantissa, draws
    count from the upper end of the distribution: a draw w stands for ``1 - (w + 0.5) / 2**bits``.
    """
    if not noise.mantissa_bits:
        below = (np.arange(noise.entries) + 0.5) / noise.entries
        return _fixed(-np.log(-np.log(below)), NUMBERS.gumbel_frac)
    steps = 1 << noise.mantissa_bits
    zeros, mantissa = np.divmod(np.arange(noise.entries), steps)
    zeros = np.minimum(zeros, noise.draw_bits - 1)
    one = np.ldexp(1.0, noise.draw_bits - 1 - zeros)
    first = np.floor(one * (1 + mantissa / steps))
    count = np.maximum(one / steps, 1)
    above = (first + count / 2) / 2.0**noise.draw_bits
    return _fixed(-np.log(-np.log1p(-above)), NUMBERS.gumbel_frac)


GUMBEL: Table = gumbel_table(BYTE)
"""int12, Q3.8: quantiles of the Gumbel distribution at (i + 0.5) / 256."""
