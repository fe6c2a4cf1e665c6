"""The Colorlight i5 and i9 on MuseLab's extension board: ECP5 modules with a DAPLink."""

from amaranth.build import Attrs, Clock, Pins, PinsN, Resource
from amaranth.vendor import LatticeECP5Platform
from amaranth_boards.resources import UARTResource

from .families.board import Oscillator
from .families.ecp5 import ECP5Board, boot_flash

__all__ = ["ColorlightI5", "ColorlightI5Platform", "ColorlightI9", "ColorlightI9Platform"]

LVCMOS33 = Attrs(IO_TYPE="LVCMOS33")


class ColorlightI5Platform(LatticeECP5Platform):
    """Pins of an i5 7.0 on its extension board, from MuseLab's Colorlight-FPGA-Projects."""

    device = "LFE5U-25F"
    package = "BG381"
    speed = "6"
    default_clk = "clk25"
    resources = (
        Resource("clk25", 0, Pins("P3", dir="i"), Clock(25e6), LVCMOS33),
        UARTResource(0, rx="H18", tx="J17", attrs=LVCMOS33),
        boot_flash(cs_n="R2", copi="W2", cipo="V2", wp_n="", hold_n=""),
        Resource("led", 0, PinsN("U16", dir="o"), LVCMOS33),
    )
    connectors = ()


class ColorlightI9Platform(ColorlightI5Platform):
    """Pins of an i9 7.2: a larger part, and the lamp elsewhere."""

    device = "LFE5U-45F"
    resources = (*ColorlightI5Platform.resources[:-1],
                 Resource("led", 0, PinsN("L2", dir="o"), LVCMOS33))


class ColorlightI5(ECP5Board):
    """Colorlight i5, an LFE5U-25F, whose block RAM holds half the bundled model."""

    name = "colorlight-i5"
    title = "Colorlight i5"
    platform_class = ColorlightI5Platform
    oscillator = Oscillator("clk25", 25_000_000)
    # So slow a bit takes a long counter, which limits the clock.
    default_hz = 75_000_000
    default_baud = max_baud = 115_200
    led = "led"
    flash = "boot_flash"
    flash_bytes = 1 << 21
    loader = ("--board", "colorlight-i5")


class ColorlightI9(ColorlightI5):
    """Colorlight i9, an LFE5U-45F."""

    name = "colorlight-i9"
    title = "Colorlight i9"
    platform_class = ColorlightI9Platform
    flash_bytes = 1 << 23
    loader = ("--board", "colorlight-i9")
