"""Counted designs: those that a board is calibrated with, and those whose power is published.

What each does in a cycle is kept beside this file with the hash of the netlist that it was counted
on; ``trilight power --check`` counts it again.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from .activity import Activity
from .coefficients import CoefficientSet
from .estimate import Interval, estimate_power

__all__ = [
    "CountedDesign",
    "Measurement",
    "PowerCheck",
    "check_published",
    "load_designs",
    "published_measurements",
    "read_tools",
    "write_designs",
]

FILE = "designs_ice40up5k.json"


@dataclass(frozen=True, kw_only=True)
class CountedDesign:
    """A design and what it does in a cycle."""

    netlist_sha256: str
    """SHA-256 of the netlist that the activity was counted on."""
    cells: dict[str, int]
    clocks_hz: list[int]
    """Clocks at which a board is calibrated with it; none for a published one."""
    activity: Activity


def read_tools() -> dict[str, str]:
    """Return the versions of the tools that the designs were counted with."""
    text = resources.files("trilight.sw.power").joinpath(FILE).read_text(encoding="utf-8")
    return dict(json.loads(text)["tools"])


@cache
def load_designs() -> dict[str, CountedDesign]:
    """Return the counted designs, by name."""
    text = resources.files("trilight.sw.power").joinpath(FILE).read_text(encoding="utf-8")
    return {name: CountedDesign(**{**design, "activity": Activity.from_dict(design["activity"])})
            for name, design in json.loads(text)["designs"].items()}


def write_designs(designs: Mapping[str, CountedDesign], tools: Mapping[str, str]) -> Path:
    """Replace the counted designs that are kept in the package, and return their file."""
    path = Path(str(resources.files("trilight.sw.power").joinpath(FILE)))
    data = {"tools": dict(tools), "designs": {name: asdict(d) for name, d in designs.items()}}
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return path


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A published measurement of VCC and VCCPLL together."""

    name: str
    design: str
    """Name in ``load_designs`` of a design equivalent to the one that was measured."""
    clock_hz: float
    voltage_v: float
    measured_mw: float
    hfosc: bool
    pll: bool


@cache
def published_measurements() -> list[Measurement]:
    """Return the measurements that the UP5K's coefficients were derived from."""
    file = resources.files("trilight.sw.power").joinpath("published_ice40up5k.json")
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    volts = data["voltage_v"]
    return [Measurement(
        name=row["name"], design=row["design"], clock_hz=row["clock_hz"], voltage_v=volts,
        measured_mw=(row["core_ua"] + row["vccpll_ua"]) * volts * 1e-3,
        hfosc=row.get("hfosc", False), pll=row.get("pll", False)) for row in data["measurements"]]


@dataclass(frozen=True, kw_only=True)
class PowerCheck:
    """The model beside a published measurement."""

    measurement: Measurement
    modelled_mw: Interval

    @property
    def ratio(self) -> float:
        """Modelled over measured."""
        return self.modelled_mw.p50 / self.measurement.measured_mw

    @property
    def inside(self) -> bool:
        """True if the measurement lies in the model's 90 % interval."""
        return self.modelled_mw.p05 <= self.measurement.measured_mw <= self.modelled_mw.p95


def check_published(designs: Mapping[str, Activity],
                    coefficients: CoefficientSet | None = None) -> list[PowerCheck]:
    """Model every published measurement.

    Parameters
    ----------
    designs
        Activity of the equivalent designs, by name.
    coefficients
        The UP5K's by default.
    """
    return [PowerCheck(measurement=m, modelled_mw=estimate_power(
        designs[m.design], m.clock_hz, voltage_v=m.voltage_v, hfosc=m.hfosc, pll=m.pll,
        coefficients=coefficients).power_mw) for m in published_measurements()]
