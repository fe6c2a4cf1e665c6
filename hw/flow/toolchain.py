"""The face of a vendor family's tools: what a build asks of them, and nothing of a board.

Yosys synthesises for every family, nextpnr places and routes, and a packer of the family writes
the bitstream. A toolchain says how these are called and reads what they report.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["REPORT", "Placement", "Toolchain", "block_rams", "logic", "nextpnr_placement"]

REPORT = "report.json"
"""Ending of the file in which nextpnr says what it reached, after the seed."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Figures of a placed and routed design.

    Parameters
    ----------
    fmax_hz : int
        Highest frequency of the slowest clock; 0 if the tool found no clock.
    used : mapping
        Number of places taken on the part, by the tool's name for their kind.
    """

    fmax_hz: int
    used: Mapping[str, int]


class Toolchain(Protocol):
    """Toolchain of a family: synthesis, placement, bitstream, and models of its cells.

    Every command runs in a folder that holds ``design.json``, the netlist, and ``design.`` with
    the ending ``constraints``; files of one placement are named after its seed.
    """

    @property
    def name(self) -> str:
        """Name of the family in the tools' words, such as ``ice40``."""

    @property
    def extra(self) -> str:
        """Extra of the package that installs the tools."""

    @property
    def packages(self) -> Sequence[str]:
        """Distributions that place, route and pack, whose versions a build records."""

    @property
    def constraints(self) -> str:
        """Ending of the file of constraints, as an Amaranth platform writes it."""

    @property
    def bitstream(self) -> str:
        """Ending of a bitstream's name."""

    @property
    def signs_off(self) -> bool:
        """True if the timing that the tools report may be relied on."""

    @property
    def library(self) -> str:
        """Yosys commands that declare the family's cells."""

    @property
    def cells(self) -> str:
        """File in ``trilight.sim.cells`` with the behaviour of what synthesis maps to."""

    @property
    def coefficients(self) -> str:
        """Name of the family's energies in ``trilight.sw.power.coefficients``."""

    @property
    def simulation(self) -> str:
        """Yosys commands, a line each, that ready a mapped design for simulation alone."""

    def synthesis(self, top: str) -> str:
        """Return the Yosys command that maps ``top`` to the family's cells."""

    def place(self, options: Sequence[str], frequency_hz: float, seed: int) -> list[str]:
        """Return the command that places and routes for a part, given its options."""

    def pack(self, options: Sequence[str], seed: int) -> list[str]:
        """Return the command that makes a bitstream of a placement."""

    def placement(self, report: Mapping[str, Any]) -> Placement:
        """Return what nextpnr's report says."""

    def resources(self, cells: Counter[str], used: Mapping[str, int]) -> dict[str, int]:
        """Return numbers of cells by what they are: as synthesised, and as placed."""

    def pins(self, constraints: str) -> dict[str, str]:
        """Return the design's ports by the number of their pin, from the file of constraints."""


def logic(resources: Mapping[str, int]) -> int:
    """Return the logic cells or look-up tables in a build's ``resources``, by the family's count.
    """
    return next(resources[name] for name in ("lc", "lut4") if name in resources)


def block_rams(resources: Mapping[str, int]) -> int:
    """Return the block RAMs in a build's ``resources``."""
    return next(resources[name] for name in ("ebr", "bsram") if name in resources)


def nextpnr_placement(report: Mapping[str, Any]) -> Placement:
    """Read nextpnr's report, which has the same form for every family."""
    # A constant that nextpnr takes for a clock has no frequency.
    frequencies = [clock["achieved"] for clock in report["fmax"].values()]
    return Placement(
        fmax_hz=round(min(frequencies, default=0.0) * 1e6),
        used={name: cells["used"] for name, cells in report["utilization"].items()})
