"""Times of memories outside the chip in cycles, as their readers make them; no Amaranth.

The performance model reads them, so that neither side types them again.
"""

from dataclasses import dataclass
from typing import ClassVar

from trilight.hw.contract.device import Device
from trilight.hw.contract.outside import QuadFlash, Sdram

__all__ = ["OutsideTiming"]

FLASH_HEAD = 8 + 6 + 2
"""Clocks of a read's command, address and mode."""


@dataclass(frozen=True)
class OutsideTiming:
    """Pace of a device's memory outside.

    Parameters
    ----------
    device : Device
        One whose weights stream.
    """

    device: Device

    ACCESS: ClassVar = 2
    """Cycles from a reader's wish to its request, besides one until the next may choose."""

    @property
    def transfers(self) -> int:
        """Nibbles or beats of a weight word: the cycles that it takes at least."""
        bits = 16 * self.device.packing.word_units
        outside = self.device.outside
        if isinstance(outside, QuadFlash):
            return bits // 4
        if isinstance(outside, Sdram):
            return max(bits // outside.data_bits, 1)
        return 1

    @property
    def word(self) -> float:
        """Cycles from a word to the next, on average: with closed rows and refreshes."""
        outside = self.device.outside
        if not isinstance(outside, Sdram):
            return self.transfers
        columns = 1 << outside.column_bits
        row = (columns + outside.precharge + outside.activate) / columns
        refresh = outside.precharge + outside.refresh + outside.activate + 1
        return self.transfers * row / (1 - refresh / outside.interval)

    @property
    def seek(self) -> int:
        """Cycles from a request, while words of another come, to its first word."""
        outside = self.device.outside
        if isinstance(outside, QuadFlash):
            return (2 + outside.deselect + FLASH_HEAD + outside.dummy + self.transfers - 1
                    + outside.delay + 2)
        if isinstance(outside, Sdram):
            return (3 + outside.precharge + outside.activate + self.transfers + outside.cas
                    + outside.delay + 3)
        return 2

    @property
    def usable(self) -> float:
        """Share of the memory's cycles that bring weights when it is read in order."""
        return self.transfers / self.word
