"""The calibration of the power model on one board, with a meter in its core rail.

Small designs of known activity are flashed one after the other and metered; the energies per event
that explain their powers become a coefficient set of this very board. Then the accelerator is
predicted, and only then measured: that error is how far the model is to be believed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, ClassVar, Protocol

from trilight.sw.errors import CalibrationError, MeterError
from trilight.sw.records import read_record, utc_now

from .analysis import student_factor
from .base import BEGIN, END, SYSTEM_CLOCK, Clock, Meter, Recording, check_plausible
from .correction import Correction, correction_from
from .files import read_kept, write_kept

__all__ = ["CALIBRATED_BOUNDARY", "Accelerator", "Calibration", "NamedPoint", "Reading",
           "check_meter", "measure_point", "readings_of", "run_points"]

SCHEMA = "trilight/calibration/v1"

CALIBRATED_BOUNDARY = "fpga_core"
"""Boundary of the power model, which has to be metered."""

Ask = Callable[[str], object]


class NamedPoint(Protocol):
    """A design that is metered, as far as the metering has to know it."""

    @property
    def name(self) -> str:
        """Design and clock, unique."""
        ...

    @property
    def clock_hz(self) -> float:
        """Clock in hertz."""
        ...


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Power of one design."""

    point: str
    clock_hz: float
    watts: float
    """Mean of the repeats."""
    sigma_w: float
    """Standard uncertainty: of the mean, and of the meter."""
    runs_w: tuple[float, ...]
    volts: float | None
    utc: str


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """The accelerator, predicted before it was measured."""

    predicted_w: float
    predicted_low_w: float
    predicted_high_w: float
    measured_w: float
    measured_u_k2_w: float
    utc: str

    def __post_init__(self) -> None:
        if not (self.predicted_w > 0 and self.measured_w > 0):
            raise CalibrationError("the accelerator's power must be above 0, not "
                                   f"{self.predicted_w} W predicted, {self.measured_w} W measured")

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_w / self.measured_w - 1

    @property
    def stated_uncertainty(self) -> float:
        """Error that the calibrated model may have on this board, as a fraction: the one that was
        found, and what the meter leaves open."""
        return math.hypot(self.error, self.measured_u_k2_w / self.measured_w)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "error": self.error,
                "stated_uncertainty": self.stated_uncertainty}


@dataclass
class Calibration:
    """State of a calibration; kept in a file after every step."""

    RENAMED: ClassVar[Mapping[str, str]] = {"facts": "metadata"}

    meter: str
    board: str
    utc: str
    correction: Correction | None = None
    readings: dict[str, Reading] = field(default_factory=dict)
    prediction: dict[str, Any] | None = None
    """Prediction of the accelerator's watts, kept before it is measured."""
    accelerator: Accelerator | None = None
    metadata: dict[str, Any] | None = None
    """Metadata of the meter."""

    @classmethod
    def begin(cls, meter: str, board: str) -> "Calibration":
        """A calibration with nothing done yet."""
        return cls(meter=meter, board=board, utc=utc_now())

    @classmethod
    def resume(cls, path: Path, *, meter: str, board: str) -> "Calibration":
        """Go on from a file.

        Raises
        ------
        CalibrationError
            It is not there, something else, or of another meter or board.
        """
        found = cls.load(path)
        if (found.meter, found.board) != (meter, board):
            raise CalibrationError(f"{path} is of meter {found.meter!r} on board {found.board!r}, "
                                   f"not of {meter!r} on {board!r}; repeat those, or begin another "
                                   "file with --state")
        return found

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read a file; raises ``CalibrationError`` if it is not there or something else."""
        data = read_kept(path, "calibration", lambda kept: kept, failure=CalibrationError)
        if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
            raise CalibrationError(f"{path} is no calibration of this version")
        return read_record(cls, data, CalibrationError, f"calibration in {path}")

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self),
                "accelerator": self.accelerator and self.accelerator.to_dict()}

    def save(self, path: Path) -> None:
        """Write the file in one go; raises ``CalibrationError`` if it cannot be written."""
        write_kept(path, "calibration", self.to_dict(), indent=2, failure=CalibrationError)


def check_meter(meter: Meter, *, ohms: float, tolerance: float, ask: Ask, seconds: float = 5.0,
                clock: Clock = SYSTEM_CLOCK) -> Correction:
    """Check a meter with nothing and with a resistor behind it.

    Parameters
    ----------
    meter
        Not started; records volts and amperes.
    ohms, tolerance
        The resistor, and the limit of its error as a fraction.
    ask
        Shows what to connect, and returns when it is done.
    seconds
        How long each is read.

    Raises
    ------
    MeterError
        The readings make no sense.
    """
    def read(text: str) -> Recording:
        ask(text)
        meter.start()
        meter.mark(f"{BEGIN}check")
        clock.sleep(seconds)
        meter.mark(f"{END}check")
        return meter.stop()

    nothing = read("Leave the load side of the meter open, supply on, and press Enter. ")
    loaded = read(f"Connect the resistor of {ohms:g} ohm as the only load, and press Enter. ")
    return correction_from(nothing, loaded, ohms=ohms, tolerance=tolerance)


def measure_point(meter: Meter, point: NamedPoint, *, repeats: int, settle_s: float,
                  average_s: float, clock: Clock = SYSTEM_CLOCK,
                  tick: Callable[[float], None] = lambda _seconds: None
                  ) -> tuple[Reading, Recording]:
    """Meter a design that runs: settle, then ``repeats`` means.

    Parameters
    ----------
    tick
        Called with the seconds that went by since the last call.

    Raises
    ------
    MeterError
        No readings in a repeat, or impossible ones.
    """
    def wait(seconds: float) -> None:
        start = clock.now()
        while (left := start + seconds - clock.now()) > 0:
            clock.sleep(min(1.0, left))
            tick(min(1.0, left))

    wait(settle_s)
    meter.start()
    spans = []
    for repeat in range(repeats):
        label = f"{point.name}, repeat {repeat + 1}"
        meter.mark(BEGIN + label)
        begin = clock.now()
        wait(average_s)
        spans.append((begin, clock.now()))
        meter.mark(END + label)
    recording = meter.stop()
    if recording.clock != "host":
        raise MeterError("a calibration needs a meter that this program reads itself, or manual, "
                         "not a recording on another clock")
    if not recording.metadata.synthetic:
        check_plausible(recording, spans[0][0], spans[-1][1])
    runs = []
    for begin, end in spans:
        inside = recording.between(begin, end)
        if not inside.any():
            raise MeterError(f"the meter gave no reading in {average_s:g} s of {point.name}")
        runs.append(float(recording.watts[inside].mean()))
    watts = fmean(runs)
    spread = student_factor(repeats) * stdev(runs) / math.sqrt(repeats) if repeats > 2 else 0.0
    metadata = recording.metadata
    sigma = math.hypot(spread, metadata.gain_limit * watts / math.sqrt(3),
                       metadata.offset_limit_w / math.sqrt(3))
    volts = None if recording.volts is None else float(recording.volts.mean())
    return Reading(point=point.name, clock_hz=point.clock_hz, watts=watts, sigma_w=sigma,
                   runs_w=tuple(runs), volts=volts, utc=utc_now()), recording


def run_points(calibration: Calibration, points: Sequence[NamedPoint], meter: Meter,
               flash: Callable[[str], None], save: Callable[[], None], *, repeats: int = 5,
               settle_s: float = 10.0, average_s: float = 10.0, clock: Clock = SYSTEM_CLOCK,
               begun: Callable[[NamedPoint], None] = lambda _point: None,
               tick: Callable[[float], None] = lambda _seconds: None) -> None:
    """Flash and meter every design that ``calibration`` has no reading of.

    Parameters
    ----------
    flash
        Puts the design of that name on the board, running.
    save
        Called after every design.
    begun
        Called with each design before it is flashed.
    tick
        As in ``measure_point``.

    Raises
    ------
    CalibrationError
        The meter is not in the core's supply.
    """
    if meter.boundary != CALIBRATED_BOUNDARY:
        raise CalibrationError(f"the power model is of the FPGA's core, and meter {meter.name!r} "
                               f"says it meters {meter.boundary}; wire it into the core rail and "
                               f"add boundary={CALIBRATED_BOUNDARY}")
    for point in points:
        if point.name in calibration.readings:
            continue
        begun(point)
        flash(point.name)
        reading, recording = measure_point(meter, point, repeats=repeats, settle_s=settle_s,
                                           average_s=average_s, clock=clock, tick=tick)
        calibration.readings[point.name] = reading
        calibration.metadata = asdict(recording.metadata)
        save()


def readings_of(calibration: Calibration, points: Sequence[NamedPoint]
                ) -> tuple[list[float], list[float]]:
    """Watts and standard uncertainties in the order of ``points``.

    Raises ``CalibrationError`` if some are missing.
    """
    if missing := [point.name for point in points if point.name not in calibration.readings]:
        raise CalibrationError(f"there is no reading of {', '.join(missing)} yet")
    readings: Mapping[str, Reading] = calibration.readings
    return ([readings[point.name].watts for point in points],
            [readings[point.name].sigma_w for point in points])
