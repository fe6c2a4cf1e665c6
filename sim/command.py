"""The command that offers a virtual board to other programs."""

import enum
from typing import Annotated

import typer
from rich.markup import escape

from trilight.hw.support.boards import DEFAULT_BOARD, board_names
from trilight.hw.support.terminal import Console
from trilight.sim.bitstream.target import bitstream_target
from trilight.sw.errors import TargetError
from trilight.sw.host.targets import TargetOptions

from .board import netlist_target, rtl_target, serve_pty

__all__ = ["board_command"]


class SimulationKind(enum.StrEnum):
    """Designs that can be simulated."""

    RTL = "rtl"
    NETLIST = "netlist"
    BITSTREAM = "bitstream"


def board_command(
    board: Annotated[str, typer.Argument(
        help="Board: " + ", ".join(board_names()) + ".", autocompletion=board_names)
    ] = DEFAULT_BOARD,
    target: Annotated[SimulationKind, typer.Option(
        "--target", "-t", help="rtl: the design before synthesis, the fastest; netlist: the "
                               "synthesised cells; bitstream: what the bits of a file that is "
                               "flashed configure.")] = SimulationKind.RTL,
    bitstream: Annotated[str, typer.Option(
        "--bitstream", "-b", metavar="[BOARD:]FILE[@BAUD]",
        help="Of the target bitstream: the file, and the speed of its serial port unless that is "
             "a quarter of the clock. Default: the released build, made again.")] = "",
    pty: Annotated[bool, typer.Option(
        "--pty", help="As a serial device of this computer, whose path is printed.")] = False,
) -> None:
    """Run a virtual board until Ctrl-C.

    Any program that talks to a board on a serial port can use it instead, at any speed, such as
    trilight generate --target serial:PATH.
    """
    if not pty:
        raise TargetError("a virtual board by itself has no use; add --pty to get a serial "
                          f"device, or run trilight generate --target {target.value}")
    console = Console(stderr=True)
    if target is SimulationKind.BITSTREAM and board != DEFAULT_BOARD:
        raise TargetError(f"the board of a bitstream is named with it: --bitstream {board}:FILE")
    if bitstream and target is not SimulationKind.BITSTREAM:
        raise TargetError(f"--bitstream is for --target bitstream, not {target.value}")
    options = TargetOptions(
        bitstream if target is SimulationKind.BITSTREAM else board,
        progress=lambda text: console.print(escape(text), style="dim"))
    open_target = {SimulationKind.RTL: rtl_target, SimulationKind.NETLIST: netlist_target,
                   SimulationKind.BITSTREAM: bitstream_target}[target]
    virtual = open_target(options)
    try:
        serve_pty(virtual, lambda path: print(path, flush=True))
    except KeyboardInterrupt:
        console.print(f"stopped after {virtual.cycles:,} cycles", style="dim")
    finally:
        virtual.close()
