"""The steps of a guided calibration, from the check of the meter to the measured accelerator."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from trilight.hw.support.terminal import Console
from trilight.sw.errors import CalibrationError, MeterError
from trilight.sw.power import Activity, CoefficientSet, Interval, estimate_power
from trilight.sw.power.estimate import BOUNDARY
from trilight.sw.power.fit import Point, fit, predict
from trilight.sw.records import utc_now

from .analysis import student_factor
from .base import BEGIN, END, SYSTEM_CLOCK, Clock, Meter, check_plausible, wait
from .calibrate import Accelerator, Calibration, Reading, check_meter
from .correction import CorrectedMeter
from .fake import FakeMeter
from .session import measure

__all__ = ["Flash", "Guide", "GuidedDesign", "Pretence"]

Flash = Callable[[str | None], None]
"""Puts the calibration design of a name on the board, running; ``None`` is the accelerator."""

FLASH_S = 15.0
"""About what writing a bitstream takes, for the announcement."""


@dataclass(frozen=True, kw_only=True)
class GuidedDesign:
    """The accelerator as the model sees it."""

    busy: Activity
    idle: Activity
    clock_hz: float
    pll: bool
    cycles_per_token: float

    def predict(self, fitted: CoefficientSet) -> Interval:
        """Watts while it computes, by the coefficients of a board."""
        return predict(self.busy, self.clock_hz, fitted, pll=self.pll)


@dataclass
class Guide:
    """A calibration with all that it needs.

    Its steps do one thing each, keep it in ``state`` and skip what is there already. ``generate``
    makes the accelerator generate tokens, as ``measure`` wants it.
    """

    calibration: Calibration
    state: Path
    meter: Meter
    points: Sequence[Point]
    prior: CoefficientSet
    accelerator: GuidedDesign
    flash: Flash
    generate: Callable[[float], int]
    console: Console
    clock: Clock = SYSTEM_CLOCK
    repeats: int = 5
    """Means per design, three or more."""
    settle_s: float = 10.0
    average_s: float = 10.0

    def save(self) -> None:
        """Keep what is done."""
        self.calibration.save(self.state)

    def announce(self) -> None:
        """Say what will happen and how long it takes."""
        left = [point for point in self.points if point.name not in self.calibration.readings]
        each = self.settle_s + self.repeats * self.average_s
        minutes = len(left) * (each + FLASH_S) / 60
        self._say(f"{len(left)} of {len(self.points)} designs to flash and to meter, "
                  f"{self.settle_s:g} s to settle and {self.repeats} x {self.average_s:g} s each: "
                  f"about {minutes:.0f} minutes. Ctrl-C at any time; the same command goes on.")

    def check_meter(self, ohms: float, tolerance: float, ask: Callable[[str], object]) -> None:
        """Check the meter with a resistor, and correct it from then on."""
        if self.calibration.correction is None:
            self.calibration.correction = check_meter(
                self.meter, ohms=ohms, tolerance=tolerance, ask=ask, clock=self.clock)
            self.save()
        correction = self.calibration.correction
        self._say(f"Meter: true current = {correction.gain:.5f} x (reading - "
                  f"{correction.offset_a * 1e3:.4g} mA), gain to {2 * correction.u_gain:.2%} "
                  "(k = 2)")
        if correction.warning:
            self._warn(correction.warning)

    def run_points(self) -> None:
        """Flash and meter every design that there is no reading of.

        Raises
        ------
        CalibrationError
            The meter is not in the core's supply.
        MeterError
            It gave no readings in a repeat, or impossible ones.
        """
        if self.meter.boundary != BOUNDARY:
            raise CalibrationError(f"the power model is of the FPGA's core, and meter "
                                   f"{self.meter.name!r} says it meters {self.meter.boundary}; "
                                   f"wire it into the core rail and add boundary={BOUNDARY}")
        calibration = self.calibration
        with self._progress() as (show, tick):
            for point in self.points:
                if point.name not in calibration.readings:
                    show(point.name)
                    self.flash(point.name)
                    calibration.readings[point.name] = self._measure(point, tick)
                    self.save()
        table = Table("design", "clock", "mW", "± (k = 2)", box=None)
        for point in self.points:
            reading = self.calibration.readings[point.name]
            table.add_row(escape(point.name), f"{point.clock_hz / 1e6:g} MHz",
                          f"{reading.watts * 1e3:.4f}", f"{2 * reading.sigma_w * 1e3:.4f}")
        self.console.print(table)

    def _measure(self, point: Point, tick: Callable[[float], None]) -> Reading:
        """Meter a design that runs: settle, then the means."""
        clock, meter = self.clock, self._corrected
        wait(clock, self.settle_s, tick)
        meter.start()
        spans = []
        for repeat in range(self.repeats):
            label = f"{point.name}, repeat {repeat + 1}"
            meter.mark(BEGIN + label)
            spans.append(wait(clock, self.average_s, tick))
            meter.mark(END + label)
        recording = meter.stop()
        metadata = recording.metadata
        if recording.clock != "host":
            raise MeterError("a calibration needs a meter that this program reads itself, or "
                             "manual, not a recording on another clock")
        if not metadata.synthetic:
            check_plausible(recording, spans[0][0], spans[-1][1])
        insides = [recording.between(*span) for span in spans]
        if not all(inside.any() for inside in insides):
            raise MeterError(f"the meter gave no reading in {self.average_s:g} s of {point.name}")
        runs = [float(recording.watts[inside].mean()) for inside in insides]
        watts = fmean(runs)
        spread = student_factor(len(runs)) * stdev(runs) / math.sqrt(len(runs))
        self.calibration.metadata = asdict(metadata)
        return Reading(
            point=point.name, clock_hz=point.clock_hz, watts=watts, runs_w=tuple(runs),
            sigma_w=math.hypot(spread, metadata.gain_limit * watts / math.sqrt(3),
                               metadata.offset_limit_w / math.sqrt(3)),
            volts=None if recording.volts is None else float(recording.volts.mean()),
            utc=utc_now())

    def fit_coefficients(self) -> CoefficientSet:
        """Fit the coefficients to what was metered; every design needs a reading."""
        calibration = self.calibration
        kept = calibration.readings
        if missing := [point.name for point in self.points if point.name not in kept]:
            raise CalibrationError(f"there is no reading of {', '.join(missing)} yet")
        volts = [reading.volts for reading in kept.values() if reading.volts is not None]
        fitted = fit(self.points, [kept[point.name].watts for point in self.points],
                     [kept[point.name].sigma_w for point in self.points], self.prior,
                     voltage_v=float(np.mean(volts)) if volts else None,
                     conditions={"board": calibration.board, "meter": calibration.metadata,
                                 "correction": calibration.correction and asdict(
                                     calibration.correction), "date": calibration.utc})
        table = Table("term", "unit", "published", "this board", "90 % band", box=None)
        for name, new in fitted.coefficients.items():
            old = self.prior.coefficients.get(name)
            table.add_row(name, new.unit, "" if old is None else f"{old.value:.4g}",
                          f"{new.value:.4g}", f"{new.low:.4g} to {new.high:.4g}")
        self.console.print(table)
        self._say(f"A design that the fit was not shown is missed by "
                  f"{fitted.conditions['leave_one_out']:.1%} at worst, one that it was by "
                  f"{fitted.conditions['residual']:.1%}")
        return fitted

    def try_accelerator(self, fitted: CoefficientSet) -> Accelerator:
        """Predict the accelerator, then measure it; the prediction is kept before that."""
        predicted = self.accelerator.predict(fitted)
        self.calibration.prediction = {**asdict(predicted), "utc": utc_now()}
        self.calibration.accelerator = None
        self.save()
        self._say(f"Accelerator, predicted: {predicted.p50 * 1e3:.3f} mW "
                  f"({predicted.p05 * 1e3:.3f} to {predicted.p95 * 1e3:.3f})")
        self.flash(None)
        with self.console.status("measuring the accelerator"):
            result = measure(self._corrected, self.generate, seconds=self.average_s,
                             windows=self.repeats, idle_seconds=self.settle_s, clock=self.clock)
        quantity = result.joules_per_token
        relative = (quantity.u_k2 or 0.0) / (quantity.value or 1.0)
        tried = Accelerator(predicted_w=predicted.p50, predicted_low_w=predicted.p05,
                            predicted_high_w=predicted.p95, measured_w=result.active_w,
                            measured_u_k2_w=relative * result.active_w, utc=utc_now())
        self.calibration.accelerator = tried
        self.save()
        self._say(f"Accelerator, measured:  {tried.measured_w * 1e3:.3f} mW "
                  f"± {tried.measured_u_k2_w * 1e3:.3f} (k = 2)")
        self._say(f"Predicted / measured:   {tried.predicted_w / tried.measured_w:.3f}; the "
                  f"calibrated model is stated to ±{tried.stated_uncertainty:.1%} on this board")
        for warning in result.warnings:
            self._warn(warning)
        return tried

    def run(self) -> CoefficientSet:
        """The steps in turn; returns the coefficients of this board.

        Their ``conditions`` hold, under ``accelerator``, how far its prediction was off.
        """
        self.run_points()
        fitted = self.fit_coefficients()
        tried = self.try_accelerator(fitted)
        return replace(fitted, conditions={**fitted.conditions, "accelerator": tried.to_dict()})

    @property
    def _corrected(self) -> Meter:
        correction = self.calibration.correction
        return self.meter if correction is None else CorrectedMeter(self.meter, correction)

    @contextmanager
    def _progress(self) -> Iterator[tuple[Callable[[str], None], Callable[[float], None]]]:
        """A bar over the seconds of the designs that are left."""
        left = sum(p.name not in self.calibration.readings for p in self.points)
        total = left * (self.settle_s + self.repeats * self.average_s)
        with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(),
                      console=self.console, transient=True,
                      disable=not self.console.is_terminal) as bar:
            task = bar.add_task("", total=total or None)

            def show(name: str) -> None:
                if self.console.is_terminal:
                    bar.update(task, description=escape(name))
                else:
                    self.console.print(f"flash and meter {name}", markup=False, highlight=False)

            yield show, lambda seconds: bar.advance(task, seconds)

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _warn(self, text: str) -> None:
        self.console.print(f"Note: {text}", style="yellow", markup=False, highlight=False,
                           soft_wrap=True)


class Pretence:
    """A board that is not there: a meter whose readings follow coefficients kept secret.

    They are drawn from the bands of the published ones (``prior``) with a seed, so that a
    calibration has something to find. The meter is set to what the flashed design would use; the
    clock goes on while the board generates.
    """

    def __init__(self, meter: Meter, points: Sequence[Point], accelerator: GuidedDesign,
                 prior: CoefficientSet, clock: Clock, seed: int = 1) -> None:
        if not isinstance(meter, FakeMeter):
            raise CalibrationError(f"a dry run needs the meter fake, not {meter.name!r}")
        self._meter = meter
        self._points = {point.name: point for point in points}
        self._accelerator = accelerator
        self._clock = clock
        rng = np.random.default_rng(seed)
        self.truth = replace(prior, evidence=(), form=None, coefficients={
            name: replace(c, value=c.value * float(np.exp(c.sigma * rng.standard_normal())))
            for name, c in prior.coefficients.items()})
        """The secret."""

    def flash(self, name: str | None) -> None:
        """Pretend that the design of that name runs; ``None`` is the accelerator."""
        if name is None:
            design = self._accelerator
            idle, busy = (self._watts(activity, design.clock_hz, pll=design.pll, hfosc=False)
                          for activity in (design.idle, design.busy))
        else:
            point = self._points[name]
            idle = busy = self._watts(point.activity, point.clock_hz, pll=False,
                                      hfosc=point.hfosc)
        self._meter.profile = replace(self._meter.profile, idle=idle, busy=busy)

    def _watts(self, activity: Activity, clock_hz: float, *, pll: bool, hfosc: bool) -> float:
        return estimate_power(activity, clock_hz, voltage_v=self._meter.profile.volts, pll=pll,
                              hfosc=hfosc, coefficients=self.truth).nominal_mw * 1e-3

    def generate(self, seconds: float) -> int:
        """Pretend that tokens are generated."""
        self._clock.sleep(seconds)
        design = self._accelerator
        return round(seconds * design.clock_hz / design.cycles_per_token)

    def connect(self, ohms: float) -> Callable[[str], str]:
        """Return what answers the meter's check: the resistor, put where it is asked for."""
        def answer(text: str) -> str:
            watts = self._meter.profile.volts ** 2 / ohms if "resistor" in text else 0.0
            self._meter.profile = replace(self._meter.profile, idle=watts, busy=watts)
            return ""

        return answer
