"""The calibration of the power model on one board, with a meter in its core rail.

Small designs of known activity are flashed one after the other and metered; the energies per event
that explain their powers become a coefficient set of this very board. Then the accelerator is
predicted, and only then measured: that error is how far the model is to be believed.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from trilight.sw.errors import CalibrationError, TrilightError
from trilight.sw.records import utc_now

from .base import BEGIN, END, SYSTEM_CLOCK, Clock, Meter, Recording
from .correction import Correction, correction_from
from .files import Kept

__all__ = ["Accelerator", "Calibration", "Reading", "check_meter"]

Ask = Callable[[str], object]


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
class Calibration(Kept):
    """State of a calibration; kept in a file after every step."""

    KIND: ClassVar[str] = "calibration"
    SCHEMA: ClassVar[str] = "trilight/calibration/v1"
    FAILURE: ClassVar[type[TrilightError]] = CalibrationError
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

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"accelerator": self.accelerator and self.accelerator.to_dict()}


def check_meter(meter: Meter, *, ohms: float, tolerance: float, ask: Ask, seconds: float = 5.0,
                clock: Clock = SYSTEM_CLOCK) -> Correction:
    """Check a meter that records volts and amperes with nothing and with a resistor behind it.

    Parameters
    ----------
    ohms, tolerance
        The resistor, and the limit of its error as a fraction.
    ask
        Function that shows what to connect, and returns when it is done.
    seconds
        Length of each recording.

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
