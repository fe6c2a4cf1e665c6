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
    """Cycles from a block's last activation until its filling begins."""
    FILL_STAGES: ClassVar = 4
    """Cycles from a step along the Gray path to its sum: ROM, activation, sign, running sum."""
    FILL_END: ClassVar = FILL_STAGES + 1
    """Cycles from the last entry's step until the next filling begins."""
    RELEASE: ClassVar = 2
    """Cycles from a block's last word to the filling of its tables anew."""
    EXPECT: ClassVar = 1
    """Cycles from rows being expected to the first word that waited for it."""
    TAKE: ClassVar = 1
    """Cycles from an operation's hand-over until the row stream takes it."""
    TAKEN: ClassVar = 2
    """Cycles from an operation's being taken to the next one's hand-over."""
    LOOKUP_READ: ClassVar = 1
    """Cycles from the start of a look-up to its first read; one read a code follows."""

    @property
    def full(self) -> int:
        """Cycles from the last entry's step to the first word that may be looked up."""
        return self.FILL_STAGES - self.device.read_latency + 1

    @property
    def fill(self) -> int:
        """Cycles from a block's last activation to its first word, besides one for each entry."""
        return self.FILL_START + self.full

    @property
    def row(self) -> int:
        """Cycles from the transfer of a row's last word to its sum."""
        return self.device.row_latency

    @property
    def lookup_rom(self) -> int:
        """Cycles from the start of a look-up to its first read of the rom; one read a code follows.
        """
        return self.LOOKUP_READ + self.device.read_latency

    @property
    def lookup(self) -> int:
        """Cycles from the start of a look-up to its first channel."""
        return self.lookup_rom + 2
