"""Coefficients of one's own board, from its power while it runs the calibration designs.

The measured power is linear in the coefficients, and each of them has a prior: the published
value with its band. The fit is the most likely set given both, found in the logarithm of the
coefficients, so that none becomes negative and none that the designs say little about runs away.
What is stated as its uncertainty is how badly it predicts a design that it was not shown.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import PowerError

from .activity import Activity
from .coefficients import DOUBLING, TERMS, Z95, Coefficient, CoefficientSet, Form
from .designs import load_designs
from .estimate import Conditions, Interval, estimate_power, scales_uw

__all__ = ["Point", "calibration_points", "fit", "load_fit", "predict", "save_fit"]

PLAUSIBLE = 10.0
"""Measured over expected power, or its inverse, beyond which a unit must be wrong. The prior's own
band is a factor of 3 at its widest."""

SIGMAS = 5.0
"""Distance that a fitted coefficient may have from its prior, in standard deviations."""

STEPS = 100
TOLERANCE = 1e-10


@dataclass(frozen=True, kw_only=True)
class Point:
    """A calibration design at a clock: one value of power to measure."""

    name: str
    """Name of the bitstream, for example ``ff-64@48MHz``."""
    clock_hz: float
    """Nominal; replace it by the measured one where that is known."""
    activity: Activity
    hfosc: bool = True
    """True if the clock is the internal oscillator's."""

    @property
    def design(self) -> str:
        return self.name.partition("@")[0]


def calibration_points() -> list[Point]:
    """Return every calibration design at every clock, in the order in which to measure them."""
    return [Point(name=f"{name}@{clock_hz // 1_000_000}MHz", clock_hz=float(clock_hz),
                  activity=design.activity)
            for name, design in load_designs().items() for clock_hz in design.clocks_hz]


def fit(
    points: Sequence[Point],
    watts: Sequence[float],
    watts_sigma: Sequence[float],
    prior: CoefficientSet,
    *,
    voltage_v: float | None = None,
    temperature_c: float | None = None,
    conditions: Mapping[str, Any] | None = None,
) -> CoefficientSet:
    """Fit the coefficients to measured power.

    Parameters
    ----------
    points
        What was measured: at least three designs of ``calibration_points``.
    watts, watts_sigma
        Power of the core rails at each point and its standard uncertainty, in watts.
    prior
        Published coefficients; their bands say how far each may move.
    voltage_v
        At which it was measured; the prior's reference by default. The fit holds at it.
    temperature_c
        Of the die; the prior's by default.
    conditions
        What else is to be kept: board serial, meter, date.

    Returns
    -------
    CoefficientSet
        With ``calibration`` ``board``. Its ``conditions`` hold those given and ``voltage_v``,
        ``temperature_c``, ``points`` (measured and fitted power of each, and what a fit without
        its design predicts), ``residual`` and ``leave_one_out``: the worst factor, less 1, by
        which a fitted and a left-out design were missed.

    Raises
    ------
    PowerError
        Too few designs, or numbers that cannot be power of these designs: of unequal number, not
        positive, or so far from what is expected that their unit must be another.
    """
    if not len(points) == len(watts) == len(watts_sigma):
        raise PowerError(f"each point needs a power and an uncertainty: there are {len(points)} "
                         f"points, {len(watts)} powers and {len(watts_sigma)} uncertainties")
    designs = list(dict.fromkeys(point.design for point in points))
    if len(designs) < 3:
        raise PowerError("a fit needs at least 3 designs, not "
                         f"{', '.join(designs) or 'none'}; measure more of the calibration designs")
    for point, power, error in zip(points, watts, watts_sigma, strict=True):
        if not (math.isfinite(power) and power > 0 and math.isfinite(error) and error > 0):
            raise PowerError(f"power and uncertainty of {point.name} must be positive watts, "
                             f"not {power!r} and {error!r}")
    volts = prior.reference_voltage_v if voltage_v is None else voltage_v
    celsius = prior.temperature_c if temperature_c is None else temperature_c
    start = _moved(prior, volts, celsius)
    terms = [term for term in TERMS if term in prior.coefficients]
    matrix = np.array([[_scales(point, start, volts, celsius)[term] for term in terms]
                       for point in points])
    measured, sigma = np.array(watts) * 1e6, np.array(watts_sigma) * 1e6
    table = [start.coefficients[term] for term in terms]
    centre = np.log([c.value for c in table])
    band = np.array([c.sigma for c in table])
    _check_unit(points, measured, matrix @ np.exp(centre))

    logs, covariance = _solve(matrix, measured, sigma, centre, band)
    for c, log, middle, width, term in zip(table, logs, centre, band, terms, strict=True):
        if abs(log - middle) > SIGMAS * width:
            raise PowerError(
                f"the fit puts {term} at {math.exp(log):.3g} {c.unit}, far outside the band of "
                f"{c.low:.3g} to {c.high:.3g}: the measurements do not belong to these designs, "
                "or contain power of something else; check the rail, and which bitstream ran when")
    fitted = matrix @ np.exp(logs)
    left_out = np.empty(len(points))
    for design in designs:
        without = np.array([point.design != design for point in points])
        others, _ = _solve(matrix[without], measured[without], sigma[without], centre, band)
        left_out[~without] = matrix[~without] @ np.exp(others)

    # Noise of the measurements stays in the bands, and the bands never vanish.
    factors = np.exp(Z95 * np.maximum(np.sqrt(np.diag(covariance)), 1e-3))
    told = [bool(column.any()) for column in matrix.T]
    coefficients = {
        term: Coefficient(value=float(np.exp(log)), unit=c.unit, factor=float(factor),
                          status="measured", source=f"fit to {len(points)} measurements of a "
                                                    f"board; before: {c.source}")
        for term, c, log, factor, some in zip(terms, table, logs, factors, told, strict=True)
        if some}
    missed = _worst(left_out, measured)
    made = replace(
        start, id=f"{prior.id}-board", calibration="board",
        form=Form(factor=1 + max(missed, 1e-6), status="measured",
                  source="worst miss of a design by a fit that was not shown it"),
        coefficients={**start.coefficients, **coefficients},
        conditions={
            **(conditions or {}),
            "voltage_v": volts,
            "temperature_c": celsius,
            "prior": {"id": prior.id, "sha256": prior.sha256},
            "residual": _worst(fitted, measured),
            "leave_one_out": missed,
            "points": [
                {"name": point.name, "clock_hz": point.clock_hz, "measured_w": power,
                 "sigma_w": s, "fitted_w": f * 1e-6, "left_out_w": o * 1e-6}
                for point, power, s, f, o in zip(
                    points, map(float, watts), map(float, watts_sigma), fitted.tolist(),
                    left_out.tolist(), strict=True)]})
    return CoefficientSet.from_json(made.to_json())


def predict(activity: Activity, clock_hz: float, fitted: CoefficientSet, *,
            voltage_v: float | None = None, temperature_c: float | None = None,
            pll: bool = False, hfosc: bool = False) -> Interval:
    """Predict the power of a design, in watts, from fitted coefficients.

    The interval has the fit's error on left-out designs as the error of the model's form, and the
    bands that remain, which are those of the prior for what no calibration design has, such as the
    PLL. Voltage and
    temperature are those of the fit by default.

    Raises
    ------
    PowerError
        If the coefficients are not from ``fit``, or as ``estimate_power``.
    """
    if "leave_one_out" not in fitted.conditions:
        raise PowerError(f"coefficient set {fitted.id!r} is no fit to a board; use estimate_power, "
                         "or calibrate a board first")
    estimate = estimate_power(
        activity, clock_hz, pll=pll, hfosc=hfosc, coefficients=fitted, temperature_c=temperature_c,
        voltage_v=fitted.reference_voltage_v if voltage_v is None else voltage_v)
    return estimate.power_mw.scaled(1e-3)


def save_fit(fitted: CoefficientSet, path: Path) -> None:
    """Write a fit as a coefficient file; raises ``PowerError`` where that is not possible."""
    try:
        path.write_text(fitted.to_json(), encoding="utf-8")
    except OSError as error:
        raise PowerError(f"the coefficients cannot be written to {path}: {error.strerror}"
                         ) from error


def load_fit(path: Path) -> CoefficientSet:
    """Read a coefficient file; raises ``PowerError`` for one that is missing or damaged."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PowerError(f"the coefficients in {path} cannot be read: {error}") from error
    return CoefficientSet.from_json(text)


def _moved(prior: CoefficientSet, volts: float, celsius: float) -> CoefficientSet:
    """The same coefficients, stated for another voltage and temperature."""
    squared = (volts / prior.reference_voltage_v) ** 2
    warmer = 2 ** ((celsius - prior.temperature_c) / prior.coefficients[DOUBLING].value)
    factors = {term: warmer if term == "leakage" else squared for term in TERMS}
    return replace(
        prior, reference_voltage_v=volts, temperature_c=celsius, evidence=(), form=None,
        coefficients={name: replace(c, value=c.value * factors.get(name, 1))
                      for name, c in prior.coefficients.items()})


def _scales(point: Point, coefficients: CoefficientSet, volts: float, celsius: float,
            ) -> dict[str, float]:
    return scales_uw(point.activity, Conditions(
        clock_hz=point.clock_hz, voltage_v=volts, temperature_c=celsius, hfosc=point.hfosc),
        coefficients)


def _check_unit(points: Sequence[Point], measured: NDArray[np.float64],
                expected: NDArray[np.float64]) -> None:
    ratios = measured / expected
    typical = float(np.median(ratios))
    if 1 / PLAUSIBLE <= typical <= PLAUSIBLE:
        return
    example = int(np.argsort(ratios)[len(ratios) // 2])
    raise PowerError(
        f"the measured power is typically {typical:.3g} times what these designs can draw: "
        f"{points[example].name} is said to take {measured[example] * 1e-6:.3g} W where "
        f"{expected[example] * 1e-6:.3g} W are expected. Power is in watts, from amperes and "
        "volts; was it milliamperes or milliwatts, or is the meter on another rail?")


def _worst(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> float:
    return float(np.exp(np.abs(np.log(predicted / measured)).max()) - 1)


def _solve(matrix: NDArray[np.float64], measured: NDArray[np.float64], sigma: NDArray[np.float64],
           centre: NDArray[np.float64], band: NDArray[np.float64],
           ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Most likely logarithms of the coefficients, and their covariance (Levenberg-Marquardt)."""
    def residuals(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([(matrix @ np.exp(logs) - measured) / sigma, (logs - centre) / band])

    def slope(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([matrix * np.exp(logs) / sigma[:, None], np.diag(1 / band)])

    logs, damping = centre, 1e-3
    cost = float((residuals(logs) ** 2).sum())
    for _ in range(STEPS):
        jacobian = slope(logs)
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)),
                               -jacobian.T @ residuals(logs))
        tried = float((residuals(logs + step) ** 2).sum())
        if tried > cost:
            damping *= 10
            continue
        logs, damping = logs + step, damping / 10
        if cost - tried <= TOLERANCE * cost:
            break
        cost = tried
    jacobian = slope(logs)
    return logs, np.asarray(np.linalg.inv(jacobian.T @ jacobian), dtype=np.float64)
