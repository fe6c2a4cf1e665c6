"""Activation and noise tables, as ``docs/number-formats.md`` defines them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.numbers import NUMBERS

__all__ = ["GUMBEL", "SIGMOID", "SILU"]

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

GUMBEL: Table = _fixed(-np.log(-np.log((np.arange(256) + 0.5) / 256)), NUMBERS.gumbel_frac)
"""int12, Q3.8: quantiles of the Gumbel distribution at (i + 0.5) / 256."""
