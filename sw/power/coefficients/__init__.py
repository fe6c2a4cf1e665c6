"""Energies per event, a file for each family of devices, each number with its source and band.

A family is a file ``NAME.json`` beside this one. Terms that a family lacks cannot be modelled for
it; an activity that has them is refused.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

from trilight.sw.errors import PowerError
from trilight.sw.records import read_record

from ..activity import Activity

__all__ = ["REPEATS", "TERMS", "Calibration", "Coefficient", "CoefficientSet", "Evidence", "Form",
           "families", "load_coefficients"]

Status = Literal["measured", "derived", "assumed"]

Calibration = Literal["uncalibrated", "published", "board"]
"""Basis of a set: ``uncalibrated``, no measurement of the family's core; ``published``,
measurements that others made of this part; ``board``, a fit to measurements of one's own board."""

Z95 = 1.6448536269514722
"""95th percentile of the standard normal: a lognormal's 90 % band is its median x/÷ e^(Z95 s)."""

TERMS: dict[str, str] = {
    "leakage": "uA",
    "clock": "pJ",
    "ff": "pJ",
    "net": "pJ",
    "ebr": "pJ",
    "spram": "pJ",
    "dsp": "pJ",
    "hfosc": "uW",
    "pll": "uW",
    "ebr_repeat": "pJ",
    "spram_repeat": "pJ",
}
"""Terms of the model, in the order in which their random numbers are drawn, and their units."""

REPEATS = {"ebr_repeat": "ebr", "spram_repeat": "spram"}
"""Terms of a read at the address that was read last, and that of any other read, which is a factor
of the repeated one: their bands err together. A family without the first counts all reads alike."""

DOUBLING = "leakage_doubling"
"""Not a term: the rise in temperature that doubles leakage, in kelvins."""

MAX_VALUE, MAX_FACTOR = 1e9, 1e6
"""Beyond any coefficient and any doubt about it; within, no estimate overflows."""

MIN_VOLTS, MAX_VOLTS = 0.1, 10.0
"""Core voltages of any chip."""

REQUIRED = {"leakage", "clock", "ff", "net", DOUBLING}


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """A coefficient: its 90 % band runs from ``value / factor`` to ``value * factor``."""

    value: float
    unit: Literal["uA", "uW", "pJ", "K"]
    factor: float
    status: Status
    source: str

    @property
    def low(self) -> float:
        """5th percentile."""
        return self.value / self.factor

    @property
    def high(self) -> float:
        """95th percentile."""
        return self.value * self.factor

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return math.log(self.factor) / Z95


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A metered design that the coefficients were not derived from."""

    name: str
    source: str
    activity: Activity
    clock_hz: float
    voltage_v: float
    hfosc: bool
    measured_mw: tuple[float, float]
    """Power of VCC and VCCPLL as the source lets one say, from and to."""
    meter_sigma: float
    """Standard deviation of the meter's error, relative."""
    unknown_repeats: tuple[str, ...]
    """Terms of ``REPEATS`` whose share in the reads is not known: any, from none to all."""
    counts: bool
    """False if it is shown beside the model only, since its counts rest on guesses."""
    note: str

    @property
    def middle_mw(self) -> float:
        """Geometric mean of the two ends."""
        return math.sqrt(self.measured_mw[0] * self.measured_mw[1])


@dataclass(frozen=True, kw_only=True)
class Form:
    """Error of the model's form: a factor of the whole power, the same for a design at any clock.

    Its 90 % band is x/÷ ``factor``.
    """

    factor: float
    status: Status
    source: str

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return math.log(self.factor) / Z95


@dataclass(frozen=True, kw_only=True)
class CoefficientSet:
    """Coefficients of one family, at one voltage and temperature."""

    id: str
    part: str
    calibration: Calibration
    reference_voltage_v: float
    """Core voltage at which the coefficients hold."""
    nominal_voltage_v: float
    """Core voltage of a design when nothing else is stated."""
    temperature_c: float
    """Temperature at which leakage is stated."""
    counting: str
    coefficients: dict[str, Coefficient]
    evidence: tuple[Evidence, ...] = ()
    """Metered designs that decide which of the draws over the bands count how much."""
    form: Form | None = None
    """Error of the model's form; ``None`` takes the formula as it is."""
    conditions: Mapping[str, Any] = field(default_factory=dict)
    """Conditions of a fit: board, meter, date, residuals, error of the left-out designs."""
    sha256: str
    """SHA-256 of the file they came from."""

    @classmethod
    def from_json(cls, text: str) -> "CoefficientSet":
        """Read a coefficient file.

        Raises ``PowerError`` when it is not one, or lacks a term of the model.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PowerError(f"no coefficient file: {error}") from error
        if isinstance(data, dict):
            data["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        made = read_record(cls, data, PowerError, "coefficient file")
        units = {**TERMS, DOUBLING: "K"}
        if wrong := {name: c.unit for name, c in made.coefficients.items()
                     if units.get(name) != c.unit}:
            raise PowerError(f"coefficient set {made.id!r} may hold {units}, not {wrong}")
        if missing := REQUIRED - set(made.coefficients):
            raise PowerError(f"coefficient set {made.id!r} must hold {', '.join(sorted(missing))}")
        if made.calibration not in get_args(Calibration):
            raise PowerError(f"coefficient set {made.id!r} must be one of "
                             f"{', '.join(get_args(Calibration))}, not {made.calibration!r}")
        for name, c in made.coefficients.items():
            if not (0 < c.value <= MAX_VALUE and 1 < c.factor <= MAX_FACTOR):
                raise PowerError(f"coefficient {name} must be above 0 and at most {MAX_VALUE:g}, "
                                 f"with a band factor above 1 and at most {MAX_FACTOR:g}, not "
                                 f"{c.value} and {c.factor}")
        if made.form is not None and not 1 < made.form.factor <= MAX_FACTOR:
            raise PowerError(f"the factor of the model's form must be above 1 and at most "
                             f"{MAX_FACTOR:g}, not {made.form.factor}")
        for volts in (made.reference_voltage_v, made.nominal_voltage_v):
            if not MIN_VOLTS <= volts <= MAX_VOLTS:
                raise PowerError(f"coefficient set {made.id!r} must be for a core voltage of "
                                 f"{MIN_VOLTS} to {MAX_VOLTS} V, not {volts}")
        return made

    def to_json(self) -> str:
        """Return the text of a coefficient file; ``from_json`` reads it."""
        data = asdict(self)
        del data["sha256"]
        return json.dumps(data, indent=2) + "\n"


def families() -> list[str]:
    """Names of the families that there are coefficients for."""
    return sorted(file.name.removesuffix(".json") for file in resources.files(__name__).iterdir()
                  if file.name.endswith(".json"))


@cache
def load_coefficients(part: str = "ice40up5k") -> CoefficientSet:
    """Return the coefficient set that ships for a family.

    Raises ``PowerError`` when there is none.
    """
    if part not in families():
        raise PowerError(f"no power coefficients for part {part!r}; there are some for "
                         f"{', '.join(families())}")
    file = resources.files(__name__).joinpath(f"{part}.json")
    return CoefficientSet.from_json(file.read_text(encoding="utf-8"))
