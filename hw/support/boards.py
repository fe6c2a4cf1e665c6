"""Boards and their devices by name, from the entry points of packages. Standard library only."""

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from trilight.hw.contract.device import Device
from trilight.hw.contract.errors import BoardError

__all__ = ["BOARDS", "DEFAULT_BOARD", "DEVICES", "board_device", "board_names", "load_board",
           "make_board"]

BOARDS = "trilight.boards"
"""Entry points group of boards: each is called without arguments, or with some of its own."""

DEVICES = "trilight.devices"
"""Entry points group of boards' devices, for hosts that have no gateware. A board that is not in it
is asked itself, which takes the gateware's extra."""

DEFAULT_BOARD = "icebreaker"
"""The board of every command that is not told another."""


def board_names() -> list[str]:
    """Return the names of the boards that are installed, sorted."""
    return sorted({point.name for point in entry_points(group=BOARDS)})


def load_board(name: str) -> Any:
    """Return what makes the board of this name: its class, with its data.

    Raises
    ------
    BoardError
        There is none, or its package cannot be imported.
    """
    points = entry_points(group=BOARDS, name=name)
    if not points:
        raise BoardError(f"there is no board {name!r}; there is {', '.join(board_names())}")
    point = next(iter(points))
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise BoardError(f"board {name!r} is named by {point.value}, which cannot be loaded: "
                         f"{error}; install or repair the package that brings it") from error


def make_board(name: str, **parameters: Any) -> Any:
    """Return the board of this name.

    ``parameters`` are its own, such as a frequency; one that is ``None`` is left out.

    Raises
    ------
    BoardError
        There is none, its package cannot be imported, or it can not be made so.
    """
    make = load_board(name)
    return make(**{key: value for key, value in parameters.items() if value is not None})


@cache
def board_device(name: str = DEFAULT_BOARD) -> Device:
    """Return the device of the board of this name: what the chip has room for there.

    Raises
    ------
    BoardError
        There is none, or its package cannot be imported.
    """
    points = entry_points(group=DEVICES, name=name)
    device = next(iter(points)).load() if points else load_board(name).device
    assert isinstance(device, Device), f"{name} is listed with something else than a device"
    return device
