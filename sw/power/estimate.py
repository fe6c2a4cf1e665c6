"""Power and its interval, from activity and coefficients.

    P = V I_leak 2^((T - T0)/D) + f (V/V0)^2 sum_k E_k n_k + P_oscillators (V/V0)^2

The bands of the coefficients become an interval by a seeded Monte Carlo over lognormals, of which
those count most that metered designs bear out; the model's form is a factor of its own. All
estimates with the same seed share their draws, so that two designs err in the same direction and
their ratio is better known than either.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import PowerError

from .activity import Activity
from .coefficients import (
    DOUBLING,
    REPEATS,
    TERMS,
    Calibration,
    CoefficientSet,
    Evidence,
    load_coefficients,
)

__all__ = ["ACTIVITY", "BOUNDARY", "FORM", "Conditions", "Interval", "PowerEstimate", "draw_form",
           "draw_terms", "estimate_power", "ratio_interval", "scales_uw"]

BOUNDARY = "fpga_core"
"""Boundary of every figure of this module: the rails VCC and VCCPLL of the FPGA, nothing else."""

DRAWS = 5000
SEED = 20_117

OVERSAMPLING = 20
"""Number of draws over the bands from which evidence chooses one."""

ACTIVITY = "activity"
"""Name of the activity's own share in the variance."""

FORM = "form"
"""Name of the share of the model's form."""

EVENT_OF = {"clock": "clock_nets", "ff": "ff_clocked", "net": "net_transitions",
            "ebr": "ebr_accesses", "spram": "spram_accesses", "dsp": "dsp_ops"}
"""Terms that are an energy per event, and their events."""

REPEATS_OF = {"ebr_repeat": "ebr_repeats", "spram_repeat": "spram_repeats"}
"""Terms of reads at the same address, and their events, which are among those of ``REPEATS``."""


@dataclass(frozen=True)
class Interval:
    """Percentiles of a figure; ``p05`` to ``p95`` is its 90 % interval."""

    p05: float
    p50: float
    p95: float

    @classmethod
    def of(cls, samples: NDArray[np.float64]) -> "Interval":
        """Percentiles of samples."""
        return cls(*map(float, np.percentile(samples, (5, 50, 95))))

    def scaled(self, factor: float) -> "Interval":
        """Multiply by a positive number."""
        return Interval(self.p05 * factor, self.p50 * factor, self.p95 * factor)

    def reciprocal(self, numerator: float = 1.0) -> "Interval":
        """Divide ``numerator`` by the figure; the ends change places."""
        return Interval(numerator / self.p95, numerator / self.p50, numerator / self.p05)


MAX_VOLTS = 2.0
"""More than the core of any family here is made for, and less than a number in millivolts."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """An operating point.

    Raises ``PowerError`` for a clock that is not positive, and for a voltage or a temperature that
    no die works at.
    """

    clock_hz: float
    voltage_v: float
    temperature_c: float
    pll: bool = False
    hfosc: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clock_hz) and self.clock_hz > 0):
            raise PowerError("the clock must be a positive number of hertz, "
                             f"not {self.clock_hz!r}")
        if not 0 < self.voltage_v <= MAX_VOLTS:
            raise PowerError("the core voltage must be a positive number of volts, at most "
                             f"{MAX_VOLTS:g}, not {self.voltage_v!r}")
        if not -60 <= self.temperature_c <= 150:
            raise PowerError("the die's temperature must be from -60 to 150 degrees Celsius, "
                             f"not {self.temperature_c!r}")


@dataclass(frozen=True, kw_only=True)
class PowerEstimate:
    """Modelled core power, in milliwatts."""

    power_mw: Interval
    nominal_mw: float
    """Power with every coefficient at its central value; a little below the median of the sum."""
    split_mw: dict[str, float]
    """Parts of ``nominal_mw``; they add up to it."""
    variance_share: dict[str, float]
    """Share of each coefficient's uncertainty in the variance of the total, of the model's form,
    and of the activity's spread between windows where windows were given; adds up to 1. What
    evidence ties together is counted one by one."""
    clock_hz: float
    voltage_v: float
    temperature_c: float
    draws: int
    seed: int
    coefficients: CoefficientSet
    samples_mw: NDArray[np.float64] = field(repr=False, compare=False)
    """The Monte Carlo's [draws]."""

    @property
    def calibration(self) -> Calibration:
        """Calibration that the coefficients rest on."""
        return self.coefficients.calibration


@cache
def _normal_draws(draws: int, seed: int) -> NDArray[np.float64]:
    """Standard normal numbers [draws, terms], the same ones for every design of a comparison."""
    others = len(TERMS) - len(REPEATS)
    return np.hstack([np.random.default_rng(seed).standard_normal((draws, others)),
                      np.random.default_rng([seed, 3]).standard_normal((draws, len(REPEATS)))])


@cache
def _doubling_draws(draws: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng([seed, 1]).standard_normal(draws)


def _window_weights(windows: int, draws: int, seed: int) -> NDArray[np.float64]:
    """Share of each window in each of the bootstrap's samples [draws, windows]."""
    rng = np.random.default_rng([seed, 2])
    return rng.multinomial(windows, np.full(windows, 1 / windows), draws) / windows


def scales_uw(activity: Activity, at: Conditions, coefficients: CoefficientSet,
              ) -> dict[str, float]:
    """Microwatts per unit of each coefficient, by term; leakage at its own temperature.

    Raises ``PowerError`` for transitions counted in another way than the coefficients were
    derived for, and for events that the family has no coefficient for.
    """
    if activity.counting != coefficients.counting:
        raise PowerError(f"coefficient set {coefficients.id!r} is for transitions counted as "
                         f"{coefficients.counting!r}, not {activity.counting!r}")
    squared = (at.voltage_v / coefficients.reference_voltage_v) ** 2
    uw_per_pj = at.clock_hz * 1e-6 * squared
    scales = {"leakage": at.voltage_v, "hfosc": squared * at.hfosc, "pll": squared * at.pll}
    scales |= {term: uw_per_pj * getattr(activity, event) for term, event in EVENT_OF.items()}
    for term, event in REPEATS_OF.items():
        scales[term] = 0.0
        if term in coefficients.coefficients:
            scales[term] = uw_per_pj * getattr(activity, event)
            scales[REPEATS[term]] -= scales[term]
    if unknown := [term for term in TERMS
                   if scales[term] and term not in coefficients.coefficients]:
        raise PowerError(f"coefficient set {coefficients.id!r} has no energy for "
                         f"{', '.join(unknown)}, which the design uses")
    return {term: scales[term] for term in TERMS if term in coefficients.coefficients}


def _prior_samples(coefficients: CoefficientSet, draws: int, seed: int) -> NDArray[np.float64]:
    """Draws over the bands [draws, terms of the set], in the order of ``TERMS``."""
    table = coefficients.coefficients
    order = list(TERMS)
    terms = [term for term in TERMS if term in table]
    normal = _normal_draws(draws, seed)
    logs = np.empty((draws, len(terms)))
    for k, term in enumerate(terms):
        own = normal[:, order.index(term)]
        if (fresh := REPEATS.get(term)) in table:
            shared = table[fresh].sigma
            logs[:, k] = shared * normal[:, order.index(fresh)] + own * math.sqrt(
                max(table[term].sigma**2 - shared**2, 0.0))
        else:
            logs[:, k] = table[term].sigma * own
    central = np.array([table[term].value for term in terms])
    return central * np.exp(logs)


def _log_likelihood(evidence: Evidence, coefficients: CoefficientSet,
                    samples: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Logarithm of how likely the metered power is, by draw, but for a constant."""
    at = Conditions(clock_hz=evidence.clock_hz, voltage_v=evidence.voltage_v,
                    temperature_c=coefficients.temperature_c, hfosc=evidence.hfosc)
    ends = []
    for repeated in (0.0, 1.0):
        repeats = {REPEATS_OF[term]: repeated * getattr(evidence.activity, EVENT_OF[REPEATS[term]])
                   for term in evidence.unknown_repeats}
        scales = scales_uw(replace(evidence.activity, **repeats), at, coefficients)
        ends.append(samples @ np.array(list(scales.values())) * 1e-3)
    share = np.random.default_rng([seed, 5]).random(len(samples))
    power = (1 - share) * ends[0] + share * ends[1]
    form = coefficients.form.sigma if coefficients.form else 0.0
    missed: NDArray[np.float64] = np.log(power / evidence.middle_mw)
    return -0.5 * (missed / math.hypot(evidence.meter_sigma, form)) ** 2


@lru_cache(maxsize=8)
def _posterior_samples(text: str, draws: int, seed: int) -> NDArray[np.float64]:
    """``draws`` of the draws over the bands of a set, each as often as its evidence is likely."""
    coefficients = CoefficientSet.from_json(text)
    samples = _prior_samples(coefficients, draws * OVERSAMPLING, seed)
    logs = sum((_log_likelihood(each, coefficients, samples, seed)
                for each in coefficients.evidence if each.counts), np.zeros(len(samples)))
    weights = np.cumsum(np.exp(logs - logs.max()))
    # In even steps through the weights, which adds less noise than drawing again; then in an
    # order without meaning, for other draws stand beside these.
    chosen = np.searchsorted(weights, (np.arange(draws) + 0.5) / draws * weights[-1])
    return samples[np.random.default_rng([seed, 6]).permutation(chosen)]


def draw_terms(coefficients: CoefficientSet, terms: Sequence[str], temperature_c: float,
               draws: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Central values [terms] and samples [draws, terms] of coefficients, leakage at a temperature.

    Evidence moves both: central values are then the medians of the samples.
    """
    table = coefficients.coefficients
    weighed = any(each.counts for each in coefficients.evidence)
    everything = (_posterior_samples(coefficients.to_json(), draws, seed) if weighed
                  else _prior_samples(coefficients, draws, seed))
    order = [term for term in TERMS if term in table]
    samples = everything[:, [order.index(term) for term in terms]].copy()
    central = (np.median(samples, axis=0) if weighed
               else np.array([table[term].value for term in terms]))
    warmer = temperature_c - coefficients.temperature_c
    if warmer and "leakage" in terms:
        k = list(terms).index("leakage")
        doubling = table[DOUBLING]
        central[k] *= 2 ** (warmer / doubling.value)
        samples[:, k] *= 2 ** (warmer / (doubling.value * np.exp(
            _doubling_draws(draws, seed) * doubling.sigma)))
    return central, samples


def draw_form(coefficients: CoefficientSet, draws: int, seed: int) -> NDArray[np.float64]:
    """Factors of the whole power [draws] that the model's form leaves open."""
    if coefficients.form is None:
        return np.ones(draws)
    normal = np.random.default_rng([seed, 4]).standard_normal(draws)
    factors: NDArray[np.float64] = np.exp(coefficients.form.sigma * normal)
    return factors


def estimate_power(
    activity: Activity,
    clock_hz: float,
    *,
    voltage_v: float | None = None,
    temperature_c: float | None = None,
    pll: bool = False,
    hfosc: bool = False,
    windows: Sequence[Activity] = (),
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
        Core supply in volts, the family's nominal one by default; dynamic power goes with its
        square, leakage with the voltage.
    temperature_c
        Of the die, in degrees Celsius, that of the coefficients by default; leakage goes with it.
    pll, hfosc
        Whether the PLL and the internal high-frequency oscillator run.
    windows
        Activity of the windows that ``activity`` is the mean of. Their spread, resampled, is then
        part of the interval.
    coefficients
        Coefficient set; the UP5K's by default.
    draws, seed
        Size and seed of the Monte Carlo. Estimates with the same seed share their draws, so that
        two designs err in the same direction.

    Raises
    ------
    PowerError
        If the clock or the voltage is not positive, if the activity's transitions were counted
        in a way that the coefficients were not derived for, or if the family has no coefficient
        for something that the design uses.
    """
    chosen = coefficients or load_coefficients()
    at = Conditions(
        clock_hz=clock_hz, pll=pll, hfosc=hfosc,
        voltage_v=chosen.nominal_voltage_v if voltage_v is None else voltage_v,
        temperature_c=chosen.temperature_c if temperature_c is None else temperature_c)
    scales = scales_uw(activity, at, chosen)
    terms = list(scales)
    scale_mw = np.array(list(scales.values())) * 1e-3
    central, samples = draw_terms(chosen, terms, at.temperature_c, draws, seed)
    nominal = central * scale_mw
    spread = samples * scale_mw
    total = spread.sum(axis=1)
    variance = dict(zip(terms, spread.var(axis=0).tolist(), strict=True))
    if windows:
        per_window = np.array([list(scales_uw(window, at, chosen).values())
                               for window in windows]) * 1e-3
        deviation = _window_weights(len(windows), draws, seed) @ (
            per_window - per_window.mean(axis=0))
        total = total + (samples * deviation).sum(axis=1)
        variance[ACTIVITY] = float((deviation @ central).var())
    form = draw_form(chosen, draws, seed)
    if chosen.form is not None:
        variance[FORM] = float((nominal.sum() * form).var())
    total = total * form
    whole = sum(variance.values())
    return PowerEstimate(
        power_mw=Interval.of(total),
        nominal_mw=float(nominal.sum()),
        split_mw=dict(zip(terms, nominal.tolist(), strict=True)),
        variance_share={name: value / whole for name, value in variance.items()},
        clock_hz=at.clock_hz,
        voltage_v=at.voltage_v,
        temperature_c=at.temperature_c,
        draws=draws,
        seed=seed,
        coefficients=chosen,
        samples_mw=total,
    )


def ratio_interval(a: PowerEstimate, b: PowerEstimate) -> Interval:
    """Interval of the ratio of two powers, draw by draw: what both do not know cancels.

    Raises ``PowerError`` for estimates that do not share their draws and coefficients.
    """
    if (a.draws, a.seed, a.coefficients) != (b.draws, b.seed, b.coefficients):
        raise PowerError("a ratio needs two estimates with the same coefficients, draws and seed, "
                         f"not {a.coefficients.id!r} with {a.draws} draws of seed {a.seed} and "
                         f"{b.coefficients.id!r} with {b.draws} of {b.seed}")
    return Interval.of(a.samples_mw / b.samples_mw)
