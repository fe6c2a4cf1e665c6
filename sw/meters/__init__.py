"""Measured power: meters, the protocol of a measurement, and the calibration of the power model.

``base`` says what a meter is, ``session`` how a measurement goes, ``analysis`` what comes out of
it; the other modules are meters. See ``docs/measuring.md``.
"""

from .analysis import Measurement
from .base import Meter, Recording, meter_names, open_meter
from .session import SessionLog, measure

__all__ = ["Measurement", "Meter", "Recording", "SessionLog", "measure", "meter_names",
           "open_meter"]
