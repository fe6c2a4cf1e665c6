"""The ULX3S: an ECP5 of four sizes behind an FT231X."""

from typing import ClassVar

from amaranth.build import Attrs, Pins, Resource
from amaranth_boards.ulx3s import ULX3S_25F_Platform, ULX3S_45F_Platform, ULX3S_85F_Platform

from .families.board import Oscillator
from .families.ecp5 import ECP5Board

__all__ = ["Ulx3s25F", "Ulx3s45F", "Ulx3s85F"]


class Ulx3s45F(ECP5Board):
    """Radiona ULX3S with an LFE5U-45F."""

    name = "ulx3s-45f"
    title = "Radiona ULX3S 45F"
    platform_class = ULX3S_45F_Platform
    oscillator = Oscillator("clk25", 25_000_000)
    default_hz = 90_000_000
    max_baud = 3_000_000
    led = "led"
    # The second of the row of lamps.
    damage_led = "led_damage"
    extra_resources = (Resource("led_damage", 0, Pins("C2", dir="o"), Attrs(IO_TYPE="LVCMOS33")),)
    flash: ClassVar[str | None] = "spi_flash"
    loader = ("--board", "ulx3s")
    usb = (0x0403, 0x6015)


class Ulx3s85F(Ulx3s45F):
    """Radiona ULX3S with an LFE5U-85F."""

    name = "ulx3s-85f"
    title = "Radiona ULX3S 85F"
    platform_class = ULX3S_85F_Platform
    default_hz = 75_000_000
    default_baud = 2_000_000


class Ulx3s25F(Ulx3s45F):
    """Radiona ULX3S with an LFE5U-25F, whose block RAM holds half the bundled model."""

    name = "ulx3s-25f"
    title = "Radiona ULX3S 25F"
    platform_class = ULX3S_25F_Platform
    default_hz = 75_000_000
