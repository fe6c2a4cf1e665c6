"""Boards' memories and the field's figures, read from the files beside this one."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from trilight.sw.errors import PlanError

__all__ = ["FieldRow", "Figure", "PlanBoard", "field_rows", "plan_board", "plan_boards"]


@dataclass(frozen=True)
class Figure:
    """A number and how it is known."""

    value: float
    kind: str
    """``stated`` by a maker or author, or ``assumed``."""
    source: str


@dataclass(frozen=True, kw_only=True)
class PlanBoard:
    """A board that weights are streamed on."""

    name: str
    part: str
    memory: str
    roofline: bool
    """True for no design of this project: its figures bound what any could do."""
    megabytes: Figure
    """Size of the memory that weights lie in."""
    megabytes_per_s: Figure
    """Rate that a long read of that memory sustains."""
    clock_mhz: Figure
    """Clock of the engine."""
    max_lanes: Figure
    """Weight bytes that an engine could take in a cycle."""
    weight_bytes_on_chip: Figure
    watts: Figure
    """Power of the whole board, busy."""
    watts_from_to: tuple[float, float]
    """Range that this power is expected in."""

    @property
    def lanes(self) -> int:
        """Byte lanes that take what the memory gives, or as many as fit."""
        wanted = -(-int(self.megabytes_per_s.value * 1e6) // int(self.clock_mhz.value * 1e6))
        return max(1, min(int(self.max_lanes.value), wanted))


@dataclass(frozen=True)
class FieldRow:
    """A published figure and what it covers."""

    name: str
    model: str
    figure: str
    kind: str
    covers: str
    source: str


def plan_boards() -> dict[str, PlanBoard]:
    """All boards by name."""
    return {name: _board(name, entry) for name, entry in _read("memories.toml").items()}


def plan_board(name: str) -> PlanBoard:
    """The board of a name.

    Raises
    ------
    PlanError
        There is none.
    """
    boards = plan_boards()
    if name not in boards:
        raise PlanError(f"no memory is known of a board {name!r}; take one of "
                        f"{', '.join(boards)}")
    return boards[name]


def field_rows() -> list[FieldRow]:
    """The field's figures."""
    return [FieldRow(**row) for row in _read("field.toml")["row"]]


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _board(name: str, entry: dict[str, Any]) -> PlanBoard:
    figures = {key: Figure(*value) for key, value in entry.items()
               if isinstance(value, list) and key != "watts_from_to"}
    low, high = entry["watts_from_to"]
    return PlanBoard(name=name, part=entry["part"], memory=entry["memory"],
                     roofline=entry.get("roofline", False), watts_from_to=(low, high), **figures)
