"""The iCEBreaker bitsy: an iCE40 UP5K without a serial bridge; an adapter goes to two pins."""

from typing import Any

from amaranth_boards.icebreaker_bitsy import ICEBreakerBitsyPlatform
from amaranth_boards.resources import UARTResource

from .families.board import Oscillator
from .families.up5k import UP5KBoard

__all__ = ["IcebreakerBitsy"]


class IcebreakerBitsy(UP5KBoard):
    """1BitSquared iCEBreaker bitsy, version 1: receive at pin P0, transmit at pin P1."""

    name = "icebreaker-bitsy"
    title = "1BitSquared iCEBreaker bitsy"
    oscillator = Oscillator("clk12", 12_000_000)
    max_baud = 3_000_000
    led = "led_g"
    damage_led = "led_r"
    flash = "spi_flash_1x"
    loader = ("--board", "icebreaker-bitsy", "--dfu")
    extra_resources = (UARTResource(0, rx="47", tx="44"),)

    def base_platform(self) -> Any:
        return ICEBreakerBitsyPlatform()
