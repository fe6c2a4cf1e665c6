"""Latencies of the sequencer and its divider in cycles, from which they are built; no Amaranth.

The performance model reads them too, so neither side types them again.
"""

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.program import Header

__all__ = ["DIVISION", "FETCH", "HEADER", "NO_DIVISION", "SEEN"]

DIVISION = NUMBERS.scale_bits + NUMBERS.norm_shift + 2
"""A division of a scale by the norm's sum."""

NO_DIVISION = 1
"""The same for a scale that is used as it is."""

HEADER = Header.OPS + 2
"""Cycles to read the program's header."""

FETCH = 3
"""Cycles to read an operation's first two words."""

SEEN = 1
"""Cycles from a result until the sequencer sees that it is complete."""
