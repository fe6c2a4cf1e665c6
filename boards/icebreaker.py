"""The iCEBreaker: a Lattice iCE40 UP5K with a 12 MHz oscillator and a USB serial port."""

from typing import Any, ClassVar

from amaranth.build import Attrs, Pins, Resource
from amaranth_boards.icebreaker import ICEBreakerPlatform

from .families.board import Oscillator
from .families.up5k import UP5KBoard

__all__ = ["Icebreaker"]


class Icebreaker(UP5KBoard):
    """1BitSquared iCEBreaker.

    No lamp is lit unless an image is damaged, so that the power metered is the chip's. The first
    pin of PMOD1A is high during a run.
    """

    name = "icebreaker"
    title = "1BitSquared iCEBreaker"
    oscillator = Oscillator("clk12", 12_000_000)
    max_baud = 12_000_000
    loader = ("--board", "ice40_generic")
    usb = (0x0403, 0x6010)
    flash: ClassVar[str | None] = "spi_flash_1x"
    damage_led = "led_r"
    slot_button = "button"
    busy = "busy"
    extra_resources = (Resource("busy", 0, Pins("1", dir="o", conn=("pmod", 0)),
                                Attrs(IO_STANDARD="SB_LVCMOS")),)

    def base_platform(self) -> Any:
        return ICEBreakerPlatform()
