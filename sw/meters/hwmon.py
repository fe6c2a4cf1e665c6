"""Power sensors that Linux shows under ``/sys/class/hwmon``, such as an INA226."""

from pathlib import Path
from typing import Any

from trilight.sw.errors import MeterError

from .base import Meter, MeterOptions
from .files import read_text
from .ina import CHIPS, missing_shunt
from .polling import ElectricalMeter

__all__ = ["HwmonMeter", "hwmon_meter"]

ROOT = Path("/sys/class/hwmon")

UNKNOWN_GAIN_LIMIT = 0.05
"""Taken for a sensor whose data sheet is not known here."""


class HwmonMeter(ElectricalMeter):
    """A hwmon device with a voltage and a current.

    Parameters
    ----------
    options
        Name of the chip or of the folder (``ina226``, ``hwmon3``) as argument; settings ``shunt``,
        the true shunt in ohms if the kernel was told another one, ``tolerance``, ``rate`` in Hz.
    root
        Folder of the devices.
    """

    def __init__(self, options: MeterOptions, root: Path = ROOT) -> None:
        options.only("shunt", "tolerance", "rate")
        if not options.argument:
            raise MeterError("hwmon needs the name of the sensor, as in hwmon:ina226")
        self._folder = _find(options.argument, root)
        self._type = read_text(self._folder / "name")
        chip = CHIPS.get(self._type)
        super().__init__(options, chip.default_boundary if chip else "board", 20.0)
        self._chip = chip
        # in0 of these chips is the voltage over the shunt, in1 the supply.
        self._volts = self._folder / "in1_input"
        self._amperes = self._folder / "curr1_input"
        for path in (self._volts, self._amperes):
            if not path.is_file():
                raise MeterError(f"{self._folder} ({self._type}) has no {path.name}: it shows no "
                                 "voltage or no current, so it cannot meter power")
        shunt = self._folder / "shunt_resistor"  # microohm
        told = int(read_text(shunt)) * 1e-6 if shunt.is_file() else None
        if chip is not None and chip.shunt_ohms is None and told is None and (
                "shunt" not in options.settings):
            raise missing_shunt(options.spec)
        self._ohms = options.positive("shunt", told or 1.0)
        self._scale = told / self._ohms if told else 1.0
        self._known = told is not None or "shunt" in options.settings
        self._tolerance = options.number("tolerance", 0.01)

    def read(self) -> tuple[float, float]:
        return (int(read_text(self._volts)) * 1e-3,
                int(read_text(self._amperes)) * 1e-3 * self._scale)

    def limits(self, volts: float, amperes: float) -> dict[str, Any]:
        chip = self._chip
        step_a = 1e-3 * self._scale  # the kernel shows whole milliamperes
        if chip is None or not self._known:
            gain, offset_a = UNKNOWN_GAIN_LIMIT, step_a
            accuracy = "assumed: no data sheet of this sensor is known here"
        else:
            gain = chip.shunt_gain_limit + chip.bus_gain_limit + self._tolerance
            offset_a = chip.shunt_offset_limit / chip.per_ampere(self._ohms) + step_a / 2
            accuracy = (f"data sheet limits, shunt {self._ohms:g} ohm to {self._tolerance:g}, "
                        f"kernel's step of {step_a * 1e3:g} mA")
        return {
            "type": f"hwmon {self._type}", "serial": self._folder.name,
            "range_a": (None if chip is None or not self._known else
                        chip.shunt_full_scale / chip.per_ampere(self._ohms)),
            "gain_limit": gain, "offset_limit_w": offset_a * volts, "accuracy": accuracy,
            "burden_v": amperes * self._ohms if self._known else None}


def _find(wanted: str, root: Path) -> Path:
    """The folder of a device, by folder name or by the name of its chip."""
    names = {folder: read_text(folder / "name") for folder in sorted(root.glob("hwmon*"))
             if (folder / "name").is_file()}
    found = [folder for folder, name in names.items() if wanted in (folder.name, name)]
    if len(found) == 1:
        return found[0]
    present = ", ".join(f"{name} ({folder.name})" for folder, name in names.items()) or "none"
    if found:
        raise MeterError(f"there are {len(found)} sensors {wanted!r}; name one of "
                         f"{', '.join(folder.name for folder in found)}")
    raise MeterError(f"no sensor {wanted!r} under {root}; there are: {present}. An INA226 joins by "
                     "dtoverlay=i2c-sensor,ina226 on a Raspberry Pi")


def hwmon_meter(options: MeterOptions) -> Meter:
    """Meter ``hwmon:NAME``."""
    return HwmonMeter(options)
