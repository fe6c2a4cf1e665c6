"""Pins of memories outside the FPGA: registers, clocks and directions of their wires."""

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import io

__all__ = ["connect_flash", "connect_sdram"]


def _request(platform: Any, name: str) -> Any:
    """Request a resource with all of its wires left as they are."""
    wires = [wire.name for wire in platform.lookup(name).ios]
    return platform.request(name, dir=dict.fromkeys(wires, "-"))


def connect_flash(m: Module, platform: Any, pins: Any, name: str = "spi_flash_4x") -> None:
    """Connect ``FlashPins``: registers in every pin, and a clock that rises in mid-cycle.

    A nibble leaves the flash at the end of its clock's cycle and has until the end of the next one
    to arrive, 21 ns at 48 MHz; W25Q parts take 7.
    """
    flash = _request(platform, name)
    m.submodules.flash_clock = clock = io.DDRBuffer(io.Direction.Output, flash.clk)
    m.submodules.flash_select = select = io.FFBuffer(io.Direction.Output, flash.cs)
    m.d.comb += [clock.o[0].eq(0), clock.o[1].eq(pins.clock), select.o.eq(pins.select)]
    for k in range(4):
        m.submodules[f"flash_wire_{k}"] = wire = io.FFBuffer(io.Direction.Bidir, flash.dq[k])
        m.d.comb += [wire.o.eq(pins.o[k]), wire.oe.eq(pins.oe[k]), pins.i[k].eq(wire.i)]


def connect_sdram(m: Module, platform: Any, pins: Any, name: str = "sdram") -> None:
    """Connect ``SdramPins``: registers in every pin, and a clock that rises in mid-cycle.

    So commands have half a cycle before the edge and half behind it. Data come 5.4 ns (tAC) after
    the edge before the last and stay for 2.7 ns (tOH) after the last, and are taken in mid-cycle
    between: at 100 MHz with a margin of about 2 ns on either side, wires and pads left out.
    """
    sdram = _request(platform, name)

    def out(part: str, value: Any, port: Any = None) -> None:
        m.submodules[f"sdram_{part}"] = pin = io.FFBuffer(
            io.Direction.Output, getattr(sdram, part) if port is None else port)
        m.d.comb += pin.o.eq(value)

    m.submodules.sdram_clock = clock = io.DDRBuffer(io.Direction.Output, sdram.clk)
    m.d.comb += [clock.o[0].eq(0), clock.o[1].eq(1)]
    for part, value in (("ras", ~pins.command[2]), ("cas", ~pins.command[1]),
                        ("we", ~pins.command[0]), ("ba", pins.bank),
                        ("a", pins.address[:len(sdram.a)]), ("dqm", pins.mask)):
        out(part, value)
    for part in ("cs", "clk_en"):
        if hasattr(sdram, part):
            out(part, 1)
    m.submodules.sdram_data = data = io.DDRBuffer(io.Direction.Bidir, sdram.dq)
    m.d.comb += [data.o[0].eq(pins.o), data.o[1].eq(pins.o), data.oe.eq(pins.oe),
                 pins.i.eq(Cat(data.i[1]))]
