"""A design that a bitstream configures: its cells, pins and clock."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Cell", "PllSetting", "RecoveredDesign"]


@dataclass(frozen=True)
class Cell:
    """A cell of the netlist."""

    kind: str
    name: str
    parameters: Mapping[str, str]
    """Verilog constants by name."""
    inputs: Mapping[str, list[str]]
    """Nets or constants by port, lowest bit first."""
    outputs: Mapping[str, list[str]]
    """Nets by port, lowest bit first."""


@dataclass(frozen=True)
class PllSetting:
    """Dividers of the PLL, as ``trilight.boards.families.up5k.PllSettings`` has them."""

    divr: int
    divf: int
    divq: int
    filter_range: int

    def output_hz(self, reference_hz: float) -> float:
        """Frequency that the PLL makes of a reference."""
        return reference_hz * (self.divf + 1) / ((self.divr + 1) << self.divq)


@dataclass(frozen=True)
class RecoveredDesign:
    """Design that a bitstream configures."""

    cells: list[Cell]
    pins: dict[str, str]
    """``input`` or ``inout`` by port; an output is an ``inout`` too."""
    pll: PllSetting | None
    """Settings of the PLL, if it runs."""

    def clock_hz(self, reference_hz: float) -> float:
        """Frequency that the PLL makes of a pad's; that of the pad without a PLL."""
        return self.pll.output_hz(reference_hz) if self.pll else reference_hz

    def count(self) -> dict[str, int]:
        """Return the number of cells by kind."""
        kinds = [cell.kind for cell in self.cells]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}
