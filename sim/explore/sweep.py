"""A sweep: which designs to build, for which models, at which clocks."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from trilight.hw.contract.device import Device
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import BoardDesign, find_board
from trilight.hw.support.boards import DEFAULT_BOARD, board_device, load_board
from trilight.sw.errors import ExploreError

__all__ = ["Point", "Sweep", "SweepDesign", "parse_sweep"]

DEVICE = tuple(f.name for f in fields(Device) if f.type is int)
MODEL = tuple(f.name for f in fields(ModelConfig))


MAX_COMBINATIONS = 100_000
"""Combinations of values in a sweep; each takes seconds at least."""

MAX = 1 << 31
"""Largest number: more than any memory has, and what tools take for a seed."""

MAX_SIZE = 1 << 9
"""Largest size of a model; the time to work out its cycles grows with rows and layers."""


@dataclass(frozen=True, kw_only=True)
class SweepDesign:
    """A chip to synthesise: a board's, with a clock and a capacity."""

    board: str
    clock_hz: float
    device: tuple[tuple[str, int], ...] = ()
    """Fields of ``Device`` that differ from those of the board's."""

    @property
    def device_config(self) -> Device:
        changes: dict[str, Any] = dict(self.device)
        return replace(board_device(self.board), **changes)

    def make(self) -> BoardDesign:
        """The board; raises ``BoardError`` for a clock that it can not make."""
        return find_board(self.board, frequency=self.clock_hz, device=self.device_config)

    def to_dict(self) -> dict[str, Any]:
        return {"board": self.board, "clock_hz": self.clock_hz, "device": dict(self.device)}


@dataclass(frozen=True, kw_only=True)
class Point:
    """A design that runs a model."""

    design: SweepDesign
    model: ModelConfig
    sequences: int = 1
    """Sequences generated at once."""

    def to_dict(self) -> dict[str, Any]:
        return {**self.design.to_dict(), "model": asdict(self.model), "sequences": self.sequences}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All combinations of some values of each parameter.

    Parameters
    ----------
    board : str
    clock_hz : tuple of float
    seeds : tuple of int
        Of the placement. They are tries of one design, not designs.
    sequences : tuple of int
        Sequences generated at once.
    device : mapping
        By field of ``Device``, values to try.
    model : mapping
        The same by field of ``ModelConfig``.
    """

    board: str = DEFAULT_BOARD
    clock_hz: tuple[float, ...] = (48e6,)
    seeds: tuple[int, ...] = (1, 2, 3)
    sequences: tuple[int, ...] = (1,)
    device: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    model: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ExploreError("a sweep needs at least one placement seed, such as --seeds 1")
        for parameters, known in ((self.device, DEVICE), (self.model, MODEL)):
            for name in parameters:
                if name not in known:
                    raise ExploreError(f"there is no parameter {name!r} to sweep; there is "
                                       f"{', '.join(known)}")
        count = prod(map(len, (self.clock_hz, self.seeds, self.sequences, *self.device.values(),
                               *self.model.values())))
        if count > MAX_COMBINATIONS:
            raise ExploreError(f"a sweep has at most {MAX_COMBINATIONS:,} combinations of "
                               f"values, not {count:,}")

    def designs(self) -> list[SweepDesign]:
        """Every chip of the sweep."""
        usual = board_device(self.board)
        return [SweepDesign(board=self.board, clock_hz=clock, device=tuple(
                    (name, value) for name, value in zip(self.device, values, strict=True)
                    if value != getattr(usual, name)))
                for values in product(*self.device.values()) for clock in self.clock_hz]

    def models(self) -> list[ModelConfig]:
        """Every model of the sweep; raises ``ExploreError`` for sizes that make none."""
        if missing := [name for name in MODEL if name not in self.model]:
            raise ExploreError(f"a model has no {', '.join(missing)}")
        try:
            return [ModelConfig(**dict(zip(MODEL, values, strict=True)))
                    for values in product(*(self.model[name] for name in MODEL))]
        except ValueError as error:
            raise ExploreError(str(error)) from error

    def points(self) -> Iterator[Point]:
        """Every combination that there can be, in a fixed order."""
        for design, model, sequences in product(self.designs(), self.models(), self.sequences):
            if sequences <= design.device_config.sequences:
                yield Point(design=design, model=model, sequences=sequences)


def parse_sweep(path: Path | None, options: Mapping[str, Any],
                default_model: ModelConfig) -> Sweep:
    """Make a sweep of a TOML file and of options, which go before it.

    Parameters
    ----------
    path : pathlib.Path, optional
        Keys are those of ``Sweep``; a value may stand alone or in a list.
    options : mapping
        The same, values given.
    default_model : ModelConfig
        For sizes that neither names.

    Raises
    ------
    ExploreError
        The file can not be read, or does not describe a sweep.
    BoardError
        There is no board of its name.
    """
    text: dict[str, Any] = {}
    if path is not None:
        try:
            text = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ExploreError(f"sweep {path} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ExploreError(f"sweep {path} is not TOML: {error}") from error
    known = {f.name for f in fields(Sweep)}
    if unknown := set(text) - known:
        raise ExploreError(f"sweep {path}: there is no {', '.join(sorted(unknown))}; a sweep has "
                           f"{', '.join(sorted(known))}")
    merged: dict[str, Any] = {}
    for name in known:
        if name in ("device", "model"):
            given = text.get(name, {})
            if not isinstance(given, dict):
                raise ExploreError(f"sweep {path}: {name} is a table, [{name}], not {given!r}")
            maximum = MAX_SIZE if name == "model" else MAX
            merged[name] = {key: _values(value, int, f"{name}.{key}", maximum=maximum)
                            for key, value in {**given, **options.get(name, {})}.items()}
        elif name == "board":
            merged[name] = options.get(name, text.get(name, Sweep.board))
            if not isinstance(merged[name], str):
                raise ExploreError(f"sweep {path}: board is a name, not {merged[name]!r}")
        elif (value := options.get(name, text.get(name))) is not None:
            merged[name] = _values(value, float if name == "clock_hz" else int, name,
                                   minimum=int(name != "seeds"))
    merged.setdefault("clock_hz", (float(load_board(merged["board"]).default_hz),))
    merged["model"] = {name: merged["model"].get(name, (value,))
                       for name, value in default_model.to_dict().items()} | merged["model"]
    return Sweep(**merged)


def _values(value: Any, kind: type, name: str, *, minimum: int = 1,
            maximum: int = MAX) -> tuple[Any, ...]:
    """A value or a list of them as a tuple, each once."""
    values = value if isinstance(value, list | tuple) else [value]
    try:
        if any(isinstance(one, bool | str) or kind(one) != one or not minimum <= one <= maximum
               for one in values):
            raise TypeError
        return tuple(dict.fromkeys(kind(one) for one in values))
    except (TypeError, ValueError, OverflowError) as error:
        raise ExploreError(f"{name} has to be numbers from {minimum} to {maximum:,}, not {value!r}"
                           ) from error
