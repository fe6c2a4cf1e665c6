"""Core power of an iCE40 UP5K from what a design does in a clock cycle.

    P = V I_leak + f (V/V0)^2 sum_k E_k n_k + P_oscillators (V/V0)^2

``n_k`` are events per clock cycle, counted on the synthesised netlist (``Activity``); ``E_k`` are
energies per event from a coefficient set, each with a source and a 90 % band. The bands become an
interval by a seeded Monte Carlo over lognormal coefficients. The boundary is the FPGA core, VCC and
VCCPLL: I/O banks, flash, USB bridge, LEDs and regulator losses are outside. See ``docs/report.md``.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from .errors import PowerError

__all__ = [
    "BOUNDARY",
    "Activity",
    "Coefficient",
    "CoefficientSet",
    "Interval",
    "PowerEstimate",
    "estimate_power",
    "load_coefficients",
]

BOUNDARY = "fpga_core"
"""What every figure of this module covers: the rails VCC and VCCPLL of the FPGA, nothing else."""

NOMINAL_VOLTAGE = 1.2
"""Core supply in volts when nothing else is stated; the UP5K's range is 1.14 to 1.26 V."""

DRAWS = 5000
SEED = 20_117
Z95 = 1.6448536269514722
"""95th percentile of the standard normal: a lognormal's 90 % band is its median x/÷ e^(Z95 s)."""

Status = Literal["measured", "derived", "assumed"]


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Events per clock cycle, averaged over a window of a gate-level simulation.

    Raises ``PowerError`` for negative or non-finite counts.
    """

    clock_nets: float
    """Global clock nets that complete a period: 1 for one clock that always runs."""
    ff_clocked: float
    """Flip-flops whose clock net runs, whether or not they are enabled or change."""
    net_transitions: float
    """Value changes (both edges count) of routed nets: outputs of logic cells, flip-flops, block
    RAM, SPRAM and DSP; clock nets and the dedicated carry chain are not routed nets."""
    ebr_accesses: float
    """Block RAM port accesses: enabled reads and enabled writes of 16 bits."""
    spram_accesses: float
    """SPRAM accesses of 16 bits: selected, not in standby."""
    dsp_ops: float
    """8x8 multiplications; a 16x16 product counts as four."""
    io_edges: float
    """Value changes of output pins. Outside the core's boundary; kept for a board-level figure."""
    cycles: int
    """Length of the window in clock cycles."""
    counting: str = "gate_zero_delay"
    """How transitions were counted; has to match the coefficient set's counting."""

    def __post_init__(self) -> None:
        for name in EVENTS:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise PowerError(f"activity {name} must be a number of events per cycle, "
                                 f"zero or more, not {value!r}")
        if self.cycles < 1:
            raise PowerError(f"an activity window must be at least one cycle, not {self.cycles}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Activity":
        """Build an activity from a JSON object; names that are not fields are ignored.

        Raises ``PowerError`` naming fields that are missing.
        """
        known = {f.name for f in fields(cls)}
        if missing := known - {"counting"} - set(data):
            raise PowerError(f"activity lacks {', '.join(sorted(missing))}; "
                             f"it has {', '.join(sorted(data)) or 'nothing'}")
        return cls(**{name: data[name] for name in known & set(data)})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


EVENTS = tuple(f.name for f in fields(Activity) if f.name not in {"cycles", "counting"})


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """A coefficient: its 90 % band runs from ``value / factor`` to ``value * factor``."""

    value: float
    unit: Literal["uA", "uW", "pJ"]
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


PARTS: dict[str, str] = {
    "leakage": "uA",
    "clock": "pJ",
    "ff": "pJ",
    "net": "pJ",
    "ebr": "pJ",
    "spram": "pJ",
    "dsp": "pJ",
    "hfosc": "uW",
    "pll": "uW",
}
"""Terms of the model, in the order in which their random numbers are drawn, and their units."""


@dataclass(frozen=True, kw_only=True)
class CoefficientSet:
    """Coefficients of one part, at one voltage and temperature."""

    id: str
    part: str
    reference_voltage_v: float
    temperature_c: float
    counting: str
    coefficients: dict[str, Coefficient]
    sha256: str
    """Of the file they came from."""

    @classmethod
    def from_json(cls, text: str) -> "CoefficientSet":
        """Read a coefficient file.

        Raises ``PowerError`` when it is not one, or lacks a term of the model.
        """
        try:
            data = json.loads(text)
            table = {name: Coefficient(**entry) for name, entry in data["coefficients"].items()}
            made = cls(**{**data, "coefficients": table},
                       sha256=hashlib.sha256(text.encode()).hexdigest())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PowerError(f"not a coefficient file: {error}") from error
        units = {name: c.unit for name, c in made.coefficients.items()}
        if units != PARTS:
            raise PowerError(f"coefficient set {made.id!r} must hold {PARTS}, not {units}")
        for name, c in made.coefficients.items():
            if not (c.value > 0 and c.factor > 1):
                raise PowerError(f"coefficient {name} must be positive with a band factor above "
                                 f"1, not {c.value} and {c.factor}")
        return made


@cache
def load_coefficients(part: str = "ice40up5k") -> CoefficientSet:
    """Return the coefficient set that ships for a part.

    Raises ``PowerError`` when there is none.
    """
    file = resources.files("trilight.sw").joinpath(f"coefficients_{part}.json")
    if not file.is_file():
        raise PowerError(f"no power coefficients for part {part!r}; there are some for ice40up5k")
    return CoefficientSet.from_json(file.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Interval:
    """Percentiles of a figure; ``p05`` to ``p95`` is its 90 % interval."""

    p05: float
    p50: float
    p95: float

    def scaled(self, factor: float) -> "Interval":
        """Multiply by a positive number."""
        return Interval(self.p05 * factor, self.p50 * factor, self.p95 * factor)

    def reciprocal(self, numerator: float = 1.0) -> "Interval":
        """Divide ``numerator`` by the figure; the ends change places."""
        return Interval(numerator / self.p95, numerator / self.p50, numerator / self.p05)


@dataclass(frozen=True, kw_only=True)
class PowerEstimate:
    """Modelled core power, in milliwatts."""

    power_mw: Interval
    nominal_mw: float
    """With every coefficient at its central value; a little below the median of the sum."""
    split_mw: dict[str, float]
    """Parts of ``nominal_mw``; they add up to it."""
    variance_share: dict[str, float]
    """Share of each coefficient's uncertainty in the variance of the total; adds up to 1."""
    clock_hz: float
    voltage_v: float
    draws: int
    seed: int
    coefficients: CoefficientSet


@cache
def _normal_draws(draws: int, seed: int) -> NDArray[np.float64]:
    """Standard normal numbers [draws, parts], the same ones for every design of a comparison."""
    return np.random.default_rng(seed).standard_normal((draws, len(PARTS)))


def estimate_power(
    activity: Activity,
    clock_hz: float,
    *,
    voltage_v: float = NOMINAL_VOLTAGE,
    pll: bool = False,
    hfosc: bool = False,
    coefficients: CoefficientSet | None = None,
    draws: int = DRAWS,
    seed: int = SEED,
) -> PowerEstimate:
    """Estimate the power of the core rails while a design does ``activity`` at ``clock_hz``.

    Parameters
    ----------
    activity
        Events per clock cycle.
    clock_hz
        Clock frequency in hertz, positive.
    voltage_v
        Core supply in volts; dynamic power goes with its square, leakage with the voltage.
    pll, hfosc
        Whether the PLL and the internal high-frequency oscillator run.
    coefficients
        Coefficient set; the UP5K's by default.
    draws, seed
        Size and seed of the Monte Carlo. Estimates with the same seed share their draws, so that
        two designs err in the same direction.

    Raises
    ------
    PowerError
        If the clock or the voltage is not positive, or if the activity's transitions were counted
        in a way that the coefficients were not derived for.
    """
    chosen = coefficients or load_coefficients()
    if not (math.isfinite(clock_hz) and clock_hz > 0):
        raise PowerError(f"the clock must be a positive number of hertz, not {clock_hz!r}")
    if not (math.isfinite(voltage_v) and voltage_v > 0):
        raise PowerError(f"the core voltage must be a positive number of volts, not {voltage_v!r}")
    if activity.counting != chosen.counting:
        raise PowerError(f"coefficient set {chosen.id!r} is for transitions counted as "
                         f"{chosen.counting!r}, not {activity.counting!r}")

    squared = (voltage_v / chosen.reference_voltage_v) ** 2
    uw_per_pj = clock_hz * 1e-6 * squared
    scale_uw = {
        "leakage": voltage_v,
        "clock": uw_per_pj * activity.clock_nets,
        "ff": uw_per_pj * activity.ff_clocked,
        "net": uw_per_pj * activity.net_transitions,
        "ebr": uw_per_pj * activity.ebr_accesses,
        "spram": uw_per_pj * activity.spram_accesses,
        "dsp": uw_per_pj * activity.dsp_ops,
        "hfosc": squared * hfosc,
        "pll": squared * pll,
    }
    table = [chosen.coefficients[name] for name in PARTS]
    nominal = np.array([scale_uw[name] * c.value
                        for name, c in zip(PARTS, table, strict=True)]) * 1e-3
    spread = np.exp(_normal_draws(draws, seed) * np.array([c.sigma for c in table]))
    samples = nominal * spread
    variance = samples.var(axis=0)
    p05, p50, p95 = cast(list[float], np.percentile(samples.sum(axis=1), (5, 50, 95)).tolist())
    return PowerEstimate(
        power_mw=Interval(p05, p50, p95),
        nominal_mw=float(nominal.sum()),
        split_mw=dict(zip(PARTS, nominal.tolist(), strict=True)),
        variance_share=dict(zip(PARTS, (variance / variance.sum()).tolist(), strict=True)),
        clock_hz=clock_hz,
        voltage_v=voltage_v,
        draws=draws,
        seed=seed,
        coefficients=chosen,
    )
