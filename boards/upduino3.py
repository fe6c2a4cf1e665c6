"""The UPduino 3: an iCE40 UP5K with a 12 MHz oscillator that a solder bridge connects."""

from typing import Any, ClassVar

from amaranth.build import Attrs, Pins, Resource
from amaranth_boards.resources import UARTResource
from amaranth_boards.upduino_v3 import UpduinoV3Platform

from .families.board import Oscillator
from .families.up5k import UP5KBoard

__all__ = ["Upduino3", "Upduino3Osc"]


class Upduino3(UP5KBoard):
    """tinyVision.ai UPduino 3 as it is sold: clocked by the FPGA's own oscillator.

    Its serial line shares pins with the flash memory, which is held unselected.
    """

    name = "upduino3"
    title = "tinyVision.ai UPduino 3"
    oscillator: ClassVar[Oscillator | None] = None
    default_hz = 24_000_000
    default_baud: ClassVar[int | None] = 115_200
    max_baud = 12_000_000
    led = "led_g"
    loader = ("--board", "ice40_generic", "--cable", "ft232")
    usb = (0x0403, 0x6014)
    extra_resources = (
        UARTResource(0, rx="15", tx="14"),
        Resource("led_g", 0, Pins("39", dir="o", invert=True)),
        Resource("flash_select", 0, Pins("16", dir="o"), Attrs(IO_STANDARD="SB_LVCMOS")),
    )
    held = {"flash_select": 1}  # noqa: RUF012 - a class's data, which nothing changes

    def base_platform(self) -> Any:
        return UpduinoV3Platform()


class Upduino3Osc(Upduino3):
    """UPduino 3 whose bridge OSC is closed: the 12 MHz oscillator arrives at pin 20."""

    name = "upduino3-osc"
    title = "tinyVision.ai UPduino 3, bridge OSC closed"
    oscillator = Oscillator("clk12", 12_000_000)
    clock_on_pad = False
    default_hz = 45_000_000
    default_baud = None
