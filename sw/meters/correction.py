"""The check of a meter with a load whose current is known, and the correction that follows."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from trilight.sw.errors import MeterError
from trilight.sw.records import utc_now

from .base import Boundary, Meter, Recorded, Recording
from .files import Kept

__all__ = ["CorrectedMeter", "Correction", "correction_from"]

SUSPICIOUS_GAIN = 0.05
"""A meter that is off by more is rather wired, configured or fitted with a shunt wrongly."""


@dataclass(frozen=True, kw_only=True)
class Correction(Kept):
    """Correction of a meter's current to the true one: ``gain * (reading - offset_a)``.

    Raises ``ValueError`` unless the gain is positive.
    """

    KIND: ClassVar[str] = "correction"

    gain: float
    offset_a: float
    u_gain: float
    """Standard uncertainty of the gain, as a fraction."""
    u_offset_a: float
    """Standard uncertainty of the offset, in amperes."""
    method: str
    """Description of what was done, with the values."""
    meter: str
    utc: str

    def __post_init__(self) -> None:
        if not self.gain > 0:
            raise ValueError(f"the gain must be positive, not {self.gain!r}")

    @property
    def warning(self) -> str | None:
        """Advice on what to look into before the meter is believed, if anything."""
        if abs(self.gain - 1) <= SUSPICIOUS_GAIN:
            return None
        return (f"the meter reads {1 / self.gain:.3f} times the current of the known load; before "
                "relying on the correction, check the value of the shunt and the resistor")

    def apply(self, recording: Recording) -> Recording:
        """Correct a recording; raises ``MeterError`` if it lacks volts and amperes."""
        if recording.volts is None or recording.amperes is None:
            raise MeterError("a correction is of the current: it needs a meter that records volts "
                             f"and amperes, and {recording.metadata.type} records power alone")
        amperes = self.gain * (recording.amperes - self.offset_a)
        root3 = math.sqrt(3)  # metadata hold limits, of which a standard uncertainty is 1/sqrt(3)
        volts = float(recording.volts.mean()) if recording.volts.size else 0.0
        metadata = replace(
            recording.metadata, calibration=f"{self.method}, {self.utc}",
            gain_limit=self.u_gain * root3, offset_limit_w=self.u_offset_a * root3 * volts,
            accuracy=f"known-load check; the meter's own: {recording.metadata.accuracy}")
        warnings = (*recording.warnings, *([self.warning] if self.warning else []))
        return replace(recording, amperes=amperes, watts=recording.volts * amperes,
                       metadata=metadata, warnings=warnings)


def correction_from(open_circuit: Recording, loaded: Recording, *, ohms: float,
                    tolerance: float) -> Correction:
    """Correction from two recordings: nothing connected, and a resistor as the only load.

    Parameters
    ----------
    open_circuit, loaded
        Recordings by the same meter, of a few seconds each.
    ohms
        Resistor.
    tolerance
        Limit of its error, as a fraction: 0.01 for one of 1 %.

    Raises
    ------
    MeterError
        No volts and amperes, or a current that does not tell the two recordings apart.
    """
    if not (ohms > 0 and math.isfinite(ohms)):
        raise MeterError(f"the resistor must be a positive number of ohms, not {ohms!r}")
    means, errors = [], []
    for what, recording in (("open circuit", open_circuit), ("resistor", loaded)):
        if recording.volts is None or recording.amperes is None or recording.t_s.size < 2:
            raise MeterError(f"the check needs two or more readings of volts and amperes with the "
                             f"{what}, and {recording.metadata.type} gave {recording.t_s.size} of "
                             + ("power" if recording.amperes is None else "both"))
        means.append((float(recording.volts.mean()), float(recording.amperes.mean())))
        errors.append(float(np.std(recording.amperes, ddof=1)) / math.sqrt(recording.t_s.size))
    (_, offset), (volts, reading) = means
    if not volts > 0:
        raise MeterError(f"the voltage with the resistor must be positive, not {volts:.4g} V; is "
                         "the meter connected the right way round?")
    expected = volts / ohms
    if not reading - offset > 10 * math.hypot(*errors):
        raise MeterError(f"the current with the resistor, {reading:.4g} A, is hardly above that of "
                         f"the open circuit, {offset:.4g} A; is the resistor connected behind the "
                         "meter, and its value between a tenth and ten times the device's load?")
    gain = expected / (reading - offset)
    return Correction(
        gain=gain, offset_a=offset, u_offset_a=errors[0], meter=loaded.metadata.type,
        u_gain=math.hypot(tolerance / math.sqrt(3), math.hypot(*errors) / (reading - offset)),
        method=f"{ohms:g} ohm ({tolerance:.3g} relative tolerance) at {volts:.4g} V, "
               f"{reading:.6g} A read for {expected:.6g} A",
        utc=utc_now())


class CorrectedMeter:
    """A meter whose recordings are corrected."""

    def __init__(self, meter: Meter, correction: Correction) -> None:
        self._meter = meter
        self.correction = correction

    @property
    def name(self) -> str:
        return self._meter.name

    @property
    def boundary(self) -> Boundary:
        return self._meter.boundary

    def start(self) -> None:
        self._meter.start()

    def mark(self, label: str) -> None:
        self._meter.mark(label)

    def stop(self) -> Recording:
        return self.correction.apply(self._meter.stop())

    def read(self) -> Recording:
        """The recording of a meter that is a file; raises ``MeterError`` for any other."""
        if not isinstance(self._meter, Recorded):
            raise MeterError(f"meter {self.name} is no file; use it in a measurement")
        return self.correction.apply(self._meter.read())
