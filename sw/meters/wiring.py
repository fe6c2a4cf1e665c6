"""Wiring of each kind of meter into a core rail, in words for the terminal."""

__all__ = ["wiring"]

_RAIL = ("On an iCEBreaker the core rail opens at J14: cut the trace between its two pads.\n"
         "One pad is +1V2, from the regulator; the other is VCORE, to the FPGA's core and PLL.")

_SHUNT = """  +1V2 side of J14  ->  IN+
  VCORE side of J14 ->  IN-  and  VBUS
  GND of the board  ->  GND of the module and of the computer that reads it
  3.3 V, SDA, SCL   ->  that computer's I2C (on a Raspberry Pi: pins 1, 3, 5)
  IN+ to IN-        ->  shunt of 1 ohm, 1 % or better, in place of the module's own"""

_TEXTS = {
    "ina226": f"{_RAIL}\n\n{_SHUNT}",
    "hwmon": f"{_RAIL}\n\n{_SHUNT}",
    "ina219": (f"{_RAIL}\n\n{_SHUNT}\n\nAn INA219 may be off by 0.2 mA with it, an INA226 by "
               "0.01 mA."),
    "ina260": ("An INA260 shows steps of 1.25 mA: too coarse for a core rail. Take an INA226 with "
               "1 ohm."),
    "joulescope": f"{_RAIL}\n\n  +1V2 side of J14  ->  IN+\n  VCORE side of J14 ->  OUT+\n"
                  "  GND of the board  ->  IN- (and OUT-)",
    "manual": f"{_RAIL}\n\n  +1V2 side of J14  ->  ammeter's mA input\n"
              "  VCORE side of J14 ->  ammeter's COM\n\n"
              "Choose a range whose burden is below 30 mV at 20 mA, and measure VCORE too.",
    "fake": "A dry run: nothing is connected, and the readings are made up.",
}


def wiring(meter: str) -> str:
    """Return what to connect for a meter as the user writes it."""
    name = meter.partition(":")[0].partition(",")[0]
    return _TEXTS.get(name, f"{_RAIL}\n\nPut the meter between the two pads.")
