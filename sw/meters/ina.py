"""INA219, INA226 and INA260 on an I2C bus, through smbus2.

Registers and limits are those of the data sheets SBOS448G, SBOS547B and SBOS656C (Texas
Instruments). Current and voltage are computed here from the raw shunt and bus registers, so the
chips' calibration registers, which round, are left alone.
"""

import errno
from dataclasses import dataclass
from typing import Any, Protocol

from trilight.sw.errors import MeterError

from .base import Boundary, Meter, MeterOptions
from .polling import ElectricalMeter

__all__ = ["CHIPS", "Bus", "Chip", "InaMeter", "ina219_meter", "ina226_meter", "ina260_meter",
           "missing_shunt"]

CONFIGURATION, SHUNT_OR_CURRENT, BUS_VOLTAGE = 0x00, 0x01, 0x02
MANUFACTURER, DIE = 0xFE, 0xFF
TEXAS_INSTRUMENTS = 0x5449  # "TI"


class Bus(Protocol):
    """Part of ``smbus2.SMBus`` that is used; words are little-endian on it."""

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        """A word; raises ``OSError`` if no chip answers."""
        ...

    def write_word_data(self, i2c_addr: int, register: int, value: int) -> None:
        """Write a word; raises ``OSError`` if no chip answers."""
        ...


@dataclass(frozen=True, kw_only=True)
class Chip:
    """Differences between the chips."""

    name: str
    configuration: int
    """Written at the start: averaging, continuous conversion of shunt and bus."""
    rate_hz: float
    """Readings a second at that averaging, a little fewer than the chip's own."""
    shunt_ohms: float | None
    """Shunt of the module that is usually sold; ``None``: the user has to say."""
    internal_shunt: bool = False
    shunt_lsb: float
    """Step of register 1: volts, or amperes with an internal shunt."""
    shunt_full_scale: float
    """Volts, or amperes with an internal shunt."""
    bus_lsb_v: float
    bus_shift: int = 0
    """Flags below the voltage in its register."""
    die: int | None = None
    shunt_gain_limit: float
    shunt_offset_limit: float
    """Volts, or amperes with an internal shunt."""
    bus_gain_limit: float
    default_boundary: Boundary = "board"

    def per_ampere(self, ohms: float) -> float:
        """Units of register 1 that an ampere makes with a shunt of ``ohms``."""
        return 1.0 if self.internal_shunt else ohms


CHIPS = {
    # 32 V, gain 1/8 (320 mV), 128 samples of 12 bits averaged on both channels: 2 x 68 ms.
    "ina219": Chip(name="ina219", configuration=0x3FFF, rate_hz=7, shunt_ohms=0.1,
                   shunt_lsb=10e-6, shunt_full_scale=0.32, bus_lsb_v=4e-3, bus_shift=3,
                   shunt_gain_limit=0.01, shunt_offset_limit=200e-6, bus_gain_limit=0.01),
    # 16 samples of 1.1 ms averaged on both channels: 35 ms.
    "ina226": Chip(name="ina226", configuration=0x4527, rate_hz=28, shunt_ohms=None,
                   shunt_lsb=2.5e-6, shunt_full_scale=81.92e-3, bus_lsb_v=1.25e-3, die=0x2260,
                   shunt_gain_limit=0.001, shunt_offset_limit=10e-6, bus_gain_limit=0.001,
                   default_boundary="fpga_core"),
    # The same, with 2 milliohm inside.
    "ina260": Chip(name="ina260", configuration=0x6527, rate_hz=28, shunt_ohms=2e-3,
                   internal_shunt=True, shunt_lsb=1.25e-3, shunt_full_scale=15.0,
                   bus_lsb_v=1.25e-3, die=0x2270, shunt_gain_limit=0.005,
                   shunt_offset_limit=5e-3, bus_gain_limit=0.005),
}


def _swap(word: int, *, signed: bool = False) -> int:
    """Other byte order: the chips send the high byte first, SMBus expects the low one."""
    return int.from_bytes(word.to_bytes(2, "little"), "big", signed=signed)


class InaMeter(ElectricalMeter):
    """One of the chips.

    Parameters
    ----------
    options
        ``BUS[/ADDRESS]`` as argument (default 1/0x40); settings ``shunt`` in ohms and
        ``tolerance``, the limit of its error as a fraction.
    chip
        One of ``CHIPS``.
    bus
        An open bus; by default the one that the options name, opened at the start.
    """

    def __init__(self, options: MeterOptions, chip: Chip, bus: Bus | None = None) -> None:
        options.only("shunt", "tolerance", "rate")
        super().__init__(options, chip.default_boundary, chip.rate_hz)
        number, _, address = (options.argument or "1").partition("/")
        try:
            self._bus_number, self._address = int(number, 0), int(address or "0x40", 0)
        except ValueError as error:
            raise MeterError(f"{chip.name} needs bus and address, as in {chip.name}:1/0x40, "
                             f"not {options.argument!r}") from error
        if chip.shunt_ohms is None and "shunt" not in options.settings:
            raise missing_shunt(options.spec)
        self._chip = chip
        # An internal shunt is part of the register's scale and of its limits.
        self._ohms = options.positive("shunt", chip.shunt_ohms or 1.0)
        self._tolerance = options.number("tolerance", 0.0 if chip.internal_shunt else 0.01)
        self._bus = bus
        self._configured = False

    def start(self) -> None:
        self._configured = False
        super().start()

    def read(self) -> tuple[float, float]:
        bus = self._open()
        shunt = _swap(bus.read_word_data(self._address, SHUNT_OR_CURRENT), signed=True)
        volts = _swap(bus.read_word_data(self._address, BUS_VOLTAGE)) >> self._chip.bus_shift
        return (volts * self._chip.bus_lsb_v,
                shunt * self._chip.shunt_lsb / self._chip.per_ampere(self._ohms))

    def limits(self, volts: float, amperes: float) -> dict[str, Any]:
        chip, per_ampere = self._chip, self._chip.per_ampere(self._ohms)
        return {
            "type": chip.name, "serial": f"i2c-{self._bus_number}/{self._address:#04x}",
            "range_a": chip.shunt_full_scale / per_ampere,
            "gain_limit": chip.shunt_gain_limit + chip.bus_gain_limit + self._tolerance,
            "offset_limit_w": chip.shunt_offset_limit / per_ampere * volts,
            "accuracy": f"data sheet limits, shunt {self._ohms:g} ohm to {self._tolerance:g}",
            "burden_v": amperes * self._ohms}

    def _open(self) -> Bus:
        if self._bus is None:
            from smbus2 import SMBus

            try:
                self._bus = SMBus(self._bus_number)
            except OSError as error:
                raise MeterError(f"I2C bus {self._bus_number} cannot be opened "
                                 f"({error.strerror}); switch I2C on (raspi-config on a Raspberry "
                                 "Pi), and join the group i2c") from error
        if not self._configured:
            self._configure(self._bus)
            self._configured = True
        return self._bus

    def _configure(self, bus: Bus) -> None:
        chip = self._chip
        try:
            if chip.die is not None:
                found = (_swap(bus.read_word_data(self._address, MANUFACTURER)),
                         _swap(bus.read_word_data(self._address, DIE)))
                # The last four bits count revisions.
                if found[0] != TEXAS_INSTRUMENTS or found[1] >> 4 != chip.die >> 4:
                    raise MeterError(f"at {self._address:#04x} is no {chip.name}: it says "
                                     f"manufacturer {found[0]:#06x} and die {found[1]:#06x}, not "
                                     f"{TEXAS_INSTRUMENTS:#06x} and {chip.die:#06x}")
            bus.write_word_data(self._address, CONFIGURATION, _swap(chip.configuration))
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise MeterError(f"{self._address:#04x} on bus {self._bus_number} is held by the "
                                 f"kernel's driver; use hwmon:{chip.name} instead") from error
            raise MeterError(f"nothing answers at {self._address:#04x} on I2C bus "
                             f"{self._bus_number} ({error}); check SDA, SCL, ground and supply, "
                             f"and look with i2cdetect -y {self._bus_number}") from error


def missing_shunt(spec: str) -> MeterError:
    """The error for an INA226 without a shunt value."""
    return MeterError(f"meter {spec!r} needs the value of its shunt in ohms, as in "
                      f"{spec},shunt=1.0; modules are sold with 0.1, 0.01 and 0.002 ohm (marked "
                      "R100, R010, R002), and a core rail wants 1 ohm")


def ina219_meter(options: MeterOptions) -> Meter:
    """Meter ``ina219[:BUS/ADDRESS]``."""
    return InaMeter(options, CHIPS["ina219"])


def ina226_meter(options: MeterOptions) -> Meter:
    """Meter ``ina226[:BUS/ADDRESS],shunt=OHM``."""
    return InaMeter(options, CHIPS["ina226"])


def ina260_meter(options: MeterOptions) -> Meter:
    """Meter ``ina260[:BUS/ADDRESS]``."""
    return InaMeter(options, CHIPS["ina260"])
