"""The ECPIX-5: an ECP5-5G behind an FT2232H."""

from amaranth_boards.ecpix5 import ECPIX545Platform, ECPIX585Platform

from .families.board import Oscillator
from .families.ecp5 import ECP5Board

__all__ = ["Ecpix545F", "Ecpix585F"]


class Ecpix585F(ECP5Board):
    """LambdaConcept ECPIX-5 with an LFE5UM5G-85F."""

    name = "ecpix5-85f"
    title = "LambdaConcept ECPIX-5 85F"
    platform_class = ECPIX585Platform
    oscillator = Oscillator("clk100", 100_000_000)
    max_baud = 12_000_000
    loader = ("--board", "ecpix5")
    usb = (0x0403, 0x6010)


class Ecpix545F(Ecpix585F):
    """LambdaConcept ECPIX-5 with an LFE5UM5G-45F."""

    name = "ecpix5-45f"
    title = "LambdaConcept ECPIX-5 45F"
    platform_class = ECPIX545Platform
