"""Energy of a computation from its arithmetic and memory reads, on no particular chip.

Kinds of computation that no one chip runs become comparable by published energies of single
operations in one technology (``operations_45nm.json``, with source and bands): so many additions
and multiplications of each format, and so many bits read from on-chip memories of a given size.
Control, registers, wires and clocks are outside, so that this is no chip's energy.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import PowerError

from .coefficients import Z95
from .estimate import DRAWS, SEED, Interval

__all__ = ["BOUNDARY", "MemoryRead", "Work", "WorkEnergy", "energy_of_work"]

BOUNDARY = "arithmetic_and_memory_reads"
"""Boundary of these energies."""

FILE = "operations_45nm.json"


@dataclass(frozen=True)
class MemoryRead:
    """Bits that are read from a memory."""

    bits: float
    memory_bytes: int


@dataclass(frozen=True)
class Work:
    """Operations of a computation."""

    operations: Mapping[str, float]
    """Count of each operation of the table, such as ``add_int16``."""
    reads: tuple[MemoryRead, ...]

    def count(self, what: str) -> float:
        """Additions (``"add"``) or multiplications (``"multiply"``) of all formats."""
        return sum(n for name, n in self.operations.items() if name.startswith(what))


@dataclass(frozen=True, eq=False)
class WorkEnergy:
    """Modelled energy of some work, in nanojoules."""

    arithmetic_nj: float
    memory_nj: float
    """Both at central values."""
    samples_nj: NDArray[np.float64]
    """Samples of the sum; all energies of a process share their draws."""

    def to_dict(self) -> dict[str, Any]:
        """Return figure, interval and what they rest on, ready for JSON."""
        table = _table()
        return {"value": self.arithmetic_nj + self.memory_nj, "unit": "nJ",
                "provenance": "modelled", "boundary": BOUNDARY,
                "interval": asdict(Interval.of(self.samples_nj)),
                "arithmetic": self.arithmetic_nj, "memory": self.memory_nj,
                "coefficients": table["id"], "source": table["source"],
                "conditions": table["conditions"]}

    def ratio(self, other: "WorkEnergy") -> Interval:
        """Return how many times the energy of another this is: what both do not know cancels."""
        return Interval.of(self.samples_nj / other.samples_nj)


@cache
def _table() -> dict[str, Any]:
    text = resources.files("trilight.sw.power").joinpath(FILE).read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


@cache
def _factors() -> NDArray[np.float64]:
    """Errors of arithmetic and of memory in each draw, ``[DRAWS, 2]``."""
    draws = np.random.default_rng(SEED).standard_normal((DRAWS, 2))
    bands = [_table()[part]["factor"] for part in ("arithmetic", "memory")]
    factors: NDArray[np.float64] = np.exp(draws * np.log(bands) / Z95)
    return factors


def _access_pj(memory_bytes: int) -> float:
    """Energy of an access to a memory of some size, in picojoules."""
    points = _table()["memory"]["accesses"]
    sizes = [math.log(point["bytes"]) for point in points]
    energies = [math.log(point["pj"]) for point in points]
    size = math.log(memory_bytes)
    right = next((i for i in range(1, len(sizes) - 1) if size <= sizes[i]), len(sizes) - 1)
    left = right - 1
    slope = (energies[right] - energies[left]) / (sizes[right] - sizes[left])
    return math.exp(energies[left] + slope * (size - sizes[left]))


def energy_of_work(work: Work) -> WorkEnergy:
    """Return the modelled energy of some work.

    Raises
    ------
    PowerError
        The table lacks one of its operations.
    """
    known = _table()["arithmetic"]["operations"]
    if unknown := sorted(set(work.operations) - set(known)):
        raise PowerError(f"operations must be of {', '.join(sorted(known))}, not "
                         f"{', '.join(unknown)}")
    arithmetic = 1e-3 * sum(n * known[name]["pj"] for name, n in work.operations.items())
    width = _table()["memory"]["access_bits"]
    memory = 1e-3 * sum(read.bits / width * _access_pj(read.memory_bytes) for read in work.reads)
    return WorkEnergy(arithmetic, memory, _factors() @ np.array([arithmetic, memory]))
