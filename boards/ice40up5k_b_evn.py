"""Lattice's iCE40 UltraPlus breakout board: no serial bridge; an adapter goes to header J3."""

from typing import Any

from amaranth_boards.ice40_up5k_b_evn import ICE40UP5KBEVNPlatform
from amaranth_boards.resources import UARTResource

from .families.board import Oscillator
from .families.up5k import UP5KBoard

__all__ = ["Ice40Up5kBEvn"]


class Ice40Up5kBEvn(UP5KBoard):
    """Lattice iCE40UP5K-B-EVN: transmit at pin 22A of header J3, receive at pin 8A."""

    name = "ice40up5k-b-evn"
    title = "Lattice iCE40UP5K-B-EVN"
    oscillator = Oscillator("clk12", 12_000_000)
    max_baud = 3_000_000
    led = "led_g"
    damage_led = "led_r"
    flash = "spi_flash_1x"
    flash_bytes = 1 << 22
    loader = ("--board", "ice40_generic")
    usb = (0x0403, 0x6010)
    extra_resources = (UARTResource(0, rx="4", tx="12"),)

    def base_platform(self) -> Any:
        return ICE40UP5KBEVNPlatform()
