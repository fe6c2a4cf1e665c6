"""The OrangeCrab: an ECP5 with USB of its own and no serial bridge; an adapter goes to two pins."""

from amaranth.build import Attrs, PinsN, Resource
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_85FPlatform
from amaranth_boards.resources import UARTResource

from .families.board import Oscillator
from .families.ecp5 import ECP5Board, boot_flash

__all__ = ["Orangecrab85F"]


class Orangecrab85F(ECP5Board):
    """OrangeCrab r0.2.1 with an LFE5U-85F: receive at pin 0, transmit at pin 1."""

    name = "orangecrab-85f"
    title = "OrangeCrab r0.2 85F"
    platform_class = OrangeCrabR0_2_85FPlatform
    oscillator = Oscillator("clk", 48_000_000)
    default_hz = 72_000_000
    default_baud = 2_000_000
    max_baud = 3_000_000
    loader = ("--board", "orangeCrab", "--dfu")
    usb = (0x1209, 0x5af0)
    led = "led_g"
    damage_led = "led_r"
    extra_resources = (
        UARTResource(0, rx="N17", tx="M18", attrs=Attrs(IO_TYPE="LVCMOS33")),
        boot_flash(cs_n="U17", copi="U18", cipo="T18", wp_n="R18", hold_n="N18"),
        Resource("led_g", 0, PinsN("M3", dir="o"), Attrs(IO_TYPE="LVCMOS33")),
        Resource("led_r", 0, PinsN("K4", dir="o"), Attrs(IO_TYPE="LVCMOS33")),
    )
    flash = "boot_flash"
