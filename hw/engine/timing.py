"""Latencies of the engine in cycles, from which its blocks are built; no Amaranth.

The performance model reads them too, so neither side types them again.
"""

from dataclasses import dataclass
from typing import ClassVar

from trilight.hw.contract.device import Device

__all__ = ["EngineTiming"]


@dataclass(frozen=True)
class EngineTiming:
    """Latencies of a device's engine.

    Parameters
    ----------
    device : Device
    """

    device: Device

    FILL_START: ClassVar = 1
    """From a block's last activation to the begin of its filling."""
    FILL_STAGES: ClassVar = 4
    """From a step along the Gray path to its sum: rom, activation, sign, running sum."""
    FILL_END: ClassVar = FILL_STAGES + 1
    """From the last entry's step to the begin of the next filling."""
    RELEASE: ClassVar = 2
    """From a block's last word to the filling of its tables anew."""
    EXPECT: ClassVar = 1
    """From rows being expected to the first word that waited for it."""
    TAKE: ClassVar = 1
    """From an operation's hand-over to the row stream's taking it."""
    TAKEN: ClassVar = 2
    """From that to the next operation's hand-over."""
    LOOKUP_READ: ClassVar = 1
    """From the start of a look-up to its first read, which then happens once a code."""

    @property
    def full(self) -> int:
        """From the last entry's step to a word that may be looked up in the table."""
        return self.FILL_STAGES - self.device.read_latency + 1

    @property
    def fill(self) -> int:
        """From a block's last activation to its first word, besides one for each entry."""
        return self.FILL_START + self.full

    @property
    def row(self) -> int:
        """From the transfer of a row's last word to its sum."""
        return self.device.row_latency

    @property
    def lookup_rom(self) -> int:
        """From the start of a look-up to its first read of the rom, which then happens once a
        code."""
        return self.LOOKUP_READ + self.device.read_latency

    @property
    def lookup(self) -> int:
        """From the start of a look-up to its first channel."""
        return self.lookup_rom + 2
