"""The Tang Nano 20K: a Gowin GW2AR-18 behind a BL616, which is programmer and serial port."""

from amaranth.build import Attrs, Clock, Pins, PinsN, Resource
from amaranth.vendor import GowinPlatform
from amaranth_boards.resources import UARTResource

from .families.board import Oscillator
from .families.gw2a import GW2ABoard

__all__ = ["TangNano20k", "TangNano20kPlatform"]

LVCMOS33 = Attrs(IO_TYPE="LVCMOS33")


class TangNano20kPlatform(GowinPlatform):
    """Pins of Sipeed's Tang Nano 20K, from its schematic."""

    part = "GW2AR-LV18QN88C8/I7"
    family = "GW2AR-18C"
    default_clk = "clk27"
    resources = (
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), LVCMOS33),
        UARTResource(0, rx="70", tx="69", attrs=LVCMOS33),
        Resource("led", 0, PinsN("15", dir="o"), LVCMOS33),
    )
    connectors = ()


class TangNano20k(GW2ABoard):
    """Sipeed Tang Nano 20K."""

    name = "tang-nano-20k"
    title = "Sipeed Tang Nano 20K"
    platform_class = TangNano20kPlatform
    oscillator = Oscillator("clk27", 27_000_000)
    default_baud = max_baud = 115_200
    led = "led"
    loader = ("--board", "tangnano20k")
    usb = (0x0403, 0x6010)
