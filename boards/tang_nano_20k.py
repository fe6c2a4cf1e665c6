"""The Tang Nano 20K: a Gowin GW2AR-18 behind a BL616, which is programmer and serial port."""

from typing import ClassVar

from amaranth.build import Attrs, Clock, Pins, PinsN, Resource
from amaranth.vendor import GowinPlatform
from amaranth_boards.resources import SDRAMResource, SPIFlashResources, UARTResource

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
        Resource("led_damage", 0, PinsN("16", dir="o"), LVCMOS33),
        *SPIFlashResources(0, cs_n="60", clk="59", copi="61", cipo="62", attrs=LVCMOS33),
        # Inside the package; places of the die, from apicula's doc/sdram.md.
        SDRAMResource(
            0, clk="IOR11B", cke="IOL13A", cs_n="IOL14B", we_n="IOL12B", cas_n="IOL14A",
            ras_n="IOL13B", dqm="IOL12A IOR11A IOL18A IOR15B", ba="IOR13A IOR12A",
            a="IOR14A IOR13B IOR14B IOR15A IOL16B IOL17B IOL16A IOL17A IOL15B IOL15A IOR12B",
            dq=("IOL3A IOL3B IOL8A IOL8B IOL9A IOL9B IOL11A IOL11B IOR9B IOR9A IOR5B IOR6A IOR5A "
                "IOR4B IOR3B IOR3A IOL39B IOL39A IOL35B IOL35A IOL30B IOL30A IOL20A IOL18B IOR17A "
                "IOR16A IOR16B IOR17B IOR18A IOR18B IOR44A IOR44B"), attrs=LVCMOS33),
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
    damage_led = "led_damage"
    flash: ClassVar[str | None] = "spi_flash_1x"
    flash_bytes = 1 << 23
    loader = ("--board", "tangnano20k")
    usb = (0x0403, 0x6010)
