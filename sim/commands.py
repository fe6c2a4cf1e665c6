"""The command that offers a virtual board to other programs."""

import enum
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from trilight.sw.errors import TargetError
from trilight.sw.targets import TargetOptions

from .board import netlist_target, rtl_target, serve_pty

__all__ = ["board_command"]


class Kind(enum.StrEnum):
    """Designs that can be simulated."""

    RTL = "rtl"
    NETLIST = "netlist"


def board_command(
    target: Annotated[Kind, typer.Option(
        "--target", "-t", help="netlist: the synthesised cells; rtl: the design before "
                               "synthesis, which is faster.")] = Kind.RTL,
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
    options = TargetOptions(progress=lambda text: console.print(escape(text), style="dim"))
    open_target = {Kind.RTL: rtl_target, Kind.NETLIST: netlist_target}[target]
    board = open_target(options)
    try:
        serve_pty(board, lambda path: print(path, flush=True))
    except KeyboardInterrupt:
        console.print(f"stopped after {board.cycles:,} cycles", style="dim")
    finally:
        board.close()
