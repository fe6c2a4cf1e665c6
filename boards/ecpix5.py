"""The ECPIX-5: an ECP5-5G behind an FT2232H."""

from amaranth.build import Attrs, PinsN, Resource
from amaranth_boards.ecpix5 import ECPIX545Platform, ECPIX585Platform

from .families.board import Oscillator
from .families.ecp5 import ECP5Board, boot_flash

__all__ = ["Ecpix545F", "Ecpix585F"]


class Ecpix585F(ECP5Board):
    """LambdaConcept ECPIX-5 with an LFE5UM5G-85F."""

    name = "ecpix5-85f"
    title = "LambdaConcept ECPIX-5 85F"
    platform_class = ECPIX585Platform
    oscillator = Oscillator("clk100", 100_000_000)
    default_baud = 2_000_000
    max_baud = 12_000_000
    led = "led_g"
    damage_led = "led_r"
    extra_resources = (
        boot_flash(cs_n="AA2", copi="AD2", cipo="AE2", wp_n="AF2", hold_n="AE1"),
        Resource("led_g", 0, PinsN("R21", dir="o"), Attrs(IO_TYPE="LVCMOS33")),
        Resource("led_r", 0, PinsN("T23", dir="o"), Attrs(IO_TYPE="LVCMOS33")),
    )
    flash = "boot_flash"
    loader = ("--board", "ecpix5")
    usb = (0x0403, 0x6010)


class Ecpix545F(Ecpix585F):
    """LambdaConcept ECPIX-5 with an LFE5UM5G-45F."""

    name = "ecpix5-45f"
    title = "LambdaConcept ECPIX-5 45F"
    platform_class = ECPIX545Platform
    default_baud = 1_000_000
