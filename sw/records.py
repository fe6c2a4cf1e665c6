"""Dataclasses from what JSON holds, every field of the type that it is declared with, and back."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, get_origin

import msgspec
import numpy as np

from .errors import TrilightError

__all__ = ["MAX", "json_ready", "read_record", "utc_now"]

MAX = 1e18
"""Magnitude of a number, whatever it counts: Python's reader of JSON knows infinities, and integers
without end that no float can hold."""

Record = TypeVar("Record")


def read_record(kind: type[Record], data: object, error: type[TrilightError], what: str) -> Record:
    """Build a dataclass from a JSON object.

    Parameters
    ----------
    kind
        A dataclass. Its fields are numbers, texts, float64 arrays of one dimension, containers, or
        such dataclasses. Its own checks of its values apply as well. Keys that had another name in
        earlier versions stand in its ``RENAMED``, if it has one: old name to new.
    data
        What ``json.loads`` returned.
    error
        Is raised if ``data`` is no such record: a field is missing, unknown or of another type, or
        a number outside of an array, where it may stand for a reading that is missing, is not
        within ``MAX``.
    what
        What it should be, for the message, such as ``"correction"``.
    """
    if not isinstance(data, Mapping):
        raise error(f"no {what}: it is {type(data).__name__}, not an object")
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # any dataclass
    for old, new in getattr(kind, "RENAMED", {}).items():
        if old in data and old not in known:
            raise error(f"no {what}: {old!r} is called {new!r} now; rename it in the file")
    if unknown := set(data) - known:
        raise error(f"no {what}: it has no {', '.join(sorted(map(repr, unknown)))}")
    try:
        made: Record = msgspec.convert(data, kind, dec_hook=_array)
    except (msgspec.ValidationError, UnicodeEncodeError) as cause:
        # The latter of a text that JSON can hold and UTF-8 cannot: half of a surrogate pair.
        raise error(f"no {what}: {cause}") from cause
    if any(not abs(number) <= MAX for number in _numbers(made)):
        raise error(f"no {what}: its numbers must be from {-MAX:g} to {MAX:g}")
    return made


def json_ready(value: Any) -> Any:
    """Undo ``read_record``: dataclasses become objects, tuples and arrays become lists."""
    if is_dataclass(value):
        return {field.name: json_ready(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: json_ready(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(each) for each in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def utc_now() -> str:
    """Return the time of day, ISO 8601 in UTC, to a second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _array(kind: type, value: object) -> object:
    if get_origin(kind) is not np.ndarray:
        raise NotImplementedError(kind)
    if not isinstance(value, list):
        raise ValueError(f"Expected `array`, got `{type(value).__name__}`")
    if odd := [one for one in value if isinstance(one, bool) or not isinstance(one, int | float)]:
        raise ValueError(f"Expected `float` in an array, got `{type(odd[0]).__name__}`")
    try:
        return np.array(value, np.float64)
    except OverflowError as error:
        raise ValueError(f"Number out of range: {error}") from error


def _numbers(made: object) -> Iterator[float]:
    """Every number outside of an array."""
    values: list[Any] = [made]
    while values:
        value = values.pop()
        if isinstance(value, int | float):
            yield value
        elif isinstance(value, Mapping):
            values += value.values()
        elif isinstance(value, list | tuple):
            values += value
        elif is_dataclass(value):
            values += [getattr(value, field.name) for field in fields(value)]
