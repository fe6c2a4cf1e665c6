"""Memories outside the FPGA that weights stream from: sizes and timing. Standard library only.

A board says which one it has. Times are in cycles of the clock that drives the memory.
"""

from dataclasses import dataclass, fields

from .errors import CapacityError

__all__ = ["Outside", "QuadFlash", "Sdram", "WordPort"]


@dataclass(frozen=True, kw_only=True)
class _Timed:
    """Values of which each is a count of something."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (type(value) is int and value >= 0):
                raise CapacityError(f"{field.name} of a memory must be a whole number, at least 0, "
                                    f"not {value!r}")


@dataclass(frozen=True, kw_only=True)
class QuadFlash(_Timed):
    """Serial flash that is read over four wires, a nibble per clock.

    Command 0xEB of the Winbond W25Q family (W25Q128JV data sheet, "Fast Read Quad I/O"): 8 clocks
    of command, 6 of address, 2 of mode, ``dummy``, then nibbles for as long as clocks come.
    """

    megabytes: int = 16
    first_byte: int = 1 << 20
    """Address of weight word 0; the bitstream lies below."""
    dummy: int = 4
    wake: int = 256
    """Cycles from release out of power-down to the first command: tRES1, 3 us, with a margin."""
    deselect: int = 4
    """Cycles between two commands: tSHSL2, 50 ns."""
    delay: int = 3
    """Cycles from a clock pulse to its nibble: registers in the pins of both ways."""

    @property
    def bytes(self) -> int:
        """Bytes that weights may fill."""
        return (self.megabytes << 20) - self.first_byte


@dataclass(frozen=True, kw_only=True)
class Sdram(_Timed):
    """Synchronous DRAM of single data rate.

    Defaults are those of a part of speed grade 7 at 100 MHz (ISSI IS42S16160G, Alliance
    AS4C32M16SB, both of which ULX3S boards carry).
    """

    data_bits: int = 16
    """16 or 32."""
    column_bits: int = 9
    row_bits: int = 13
    bank_bits: int = 2
    cas: int = 3
    activate: int = 2
    """Cycles from ACTIVATE to READ or WRITE: tRCD, 20 ns."""
    active: int = 5
    """Cycles from ACTIVATE to PRECHARGE: tRAS, 45 ns."""
    precharge: int = 2
    """Cycles from PRECHARGE to ACTIVATE: tRP, 20 ns."""
    refresh: int = 7
    """Cycles from REFRESH to the next command: tRFC, 66 ns."""
    write_recovery: int = 2
    """Cycles from WRITE to PRECHARGE: tWR, 15 ns."""
    interval: int = 760
    """Cycles between two REFRESHes: 7.81 us (64 ms / 8,192 rows), less a little for a row's end."""
    power_up: int = 20_000
    """Cycles from a stable clock to the first command: 200 us."""
    delay: int = 2
    """Registers of the pins, both ways together."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_bits not in (16, 32):
            raise CapacityError(f"data_bits of an SDRAM must be 16 or 32, not {self.data_bits}")

    @property
    def beats(self) -> int:
        """Words of its own width that it holds."""
        return 1 << self.column_bits + self.row_bits + self.bank_bits

    @property
    def bytes(self) -> int:
        """Bytes that weights may fill."""
        return self.beats * self.data_bits // 8


@dataclass(frozen=True, kw_only=True)
class WordPort(_Timed):
    """A memory behind a controller that gives whole weight words, such as one of LiteDRAM.

    In simulation also the memory without its waiting cycles: a word comes in every cycle, or after
    random pauses.
    """

    words: int = 1 << 22
    """Weight words that it holds."""
    latency: int = 1
    """Cycles from a request to its first word, in simulation."""
    pauses: int = 0
    """Chance of a pause before a word in 256ths, in simulation."""
    seed: int = 1
    """Seed of the pauses."""


Outside = QuadFlash | Sdram | WordPort
