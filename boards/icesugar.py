"""The iCESugar: an iCE40 UP5K behind an iCELink, which is programmer and serial port."""

from typing import Any

from amaranth_boards.icesugar import ICESugarPlatform

from .families.board import Oscillator
from .families.up5k import UP5KBoard

__all__ = ["Icesugar"]


class Icesugar(UP5KBoard):
    """MuseLab iCESugar 1.5."""

    name = "icesugar"
    title = "MuseLab iCESugar"
    oscillator = Oscillator("clk12", 12_000_000)
    # What the iCELink is described with; it may pass more. So slow a bit takes a long counter,
    # which is what limits the clock.
    default_baud = max_baud = 115_200
    default_hz = 42_000_000
    led = "led_g"
    damage_led = "led_r"
    flash = "spi_flash_1x"
    flash_bytes = 1 << 23
    loader_hint = ("copy the bitstream onto the drive iCELink that the board shows; a model, which "
                   "--save writes as a file, goes there with MuseLab's icesprog and its option -o")
    usb = (0x1d50, 0x602b)

    def base_platform(self) -> Any:
        return ICESugarPlatform()
