"""The pico-ice: an iCE40 UP5K beside an RP2040, which gives it a clock and a serial port."""

from typing import Any

from amaranth.build import Attrs, Clock, Pins, PinsN, Resource
from amaranth.vendor import LatticeICE40Platform
from amaranth_boards.resources import SPIFlashResources, UARTResource

from .families.board import Oscillator
from .families.up5k import UP5KBoard

__all__ = ["PicoIce", "PicoIcePlatform"]


class PicoIcePlatform(LatticeICE40Platform):
    """Pins of tinyVision.ai's pico-ice, from its schematic and its ``pico_ice.pcf``."""

    device = "iCE40UP5K"
    package = "SG48"
    default_clk = "clk12"
    resources = (
        Resource("clk12", 0, Pins("35", dir="i"), Clock(12e6),
                 Attrs(GLOBAL=True, IO_STANDARD="SB_LVCMOS")),
        UARTResource(0, rx="27", tx="25", attrs=Attrs(IO_STANDARD="SB_LVCMOS")),
        Resource("led_g", 0, PinsN("39", dir="o"), Attrs(IO_STANDARD="SB_LVCMOS")),
        Resource("led_r", 0, PinsN("41", dir="o"), Attrs(IO_STANDARD="SB_LVCMOS")),
        *SPIFlashResources(0, cs_n="16", clk="15", copi="14", cipo="17",
                           attrs=Attrs(IO_STANDARD="SB_LVCMOS")),
    )
    connectors = ()


class PicoIce(UP5KBoard):
    """tinyVision.ai pico-ice with its default firmware: 12 MHz, and a serial port over USB."""

    name = "pico-ice"
    title = "tinyVision.ai pico-ice"
    oscillator = Oscillator("clk12", 12_000_000)
    # The RP2040 passes 7.8 Mbaud; a USB port of full speed about one.
    # So slow a bit takes a long counter, which limits the clock: what the PLL makes next to 40 MHz.
    default_baud = max_baud = 1_000_000
    default_hz = 39_750_000
    led = "led_g"
    damage_led = "led_r"
    # The RP2040 drives its pins only while it writes it.
    flash = "spi_flash_1x"
    flash_bytes = 1 << 22
    dfu_is_linear = True
    loader = ("--dfu", "--vid", "0x1209", "--pid", "0xb1c0", "--altsetting", "0")
    usb = (0x1209, 0xb1c0)

    def base_platform(self) -> Any:
        return PicoIcePlatform()
