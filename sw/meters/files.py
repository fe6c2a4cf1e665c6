"""JSON files that a measurement keeps, and what the kernel shows as files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from trilight.sw.errors import MeterError, TrilightError

__all__ = ["read_kept", "read_text", "write_kept"]

Built = TypeVar("Built")


def read_text(path: Path) -> str:
    """Text of a file of the kernel, spaces around it cut off."""
    return path.read_text(encoding="ascii").strip()


def write_kept(path: Path, what: str, data: object, *, indent: int | None = None,
               failure: type[TrilightError] = MeterError) -> None:
    """Write ``data`` as JSON in one go, so that no file is ever half written.

    Raises ``failure``, which says which ``what`` could not be written, and why.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(json.dumps(data, indent=indent) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise failure(f"cannot write the {what} {path}: {error.strerror}") from error


def read_kept(path: Path, what: str, build: Callable[[Any], Built], *,
              failure: type[TrilightError] = MeterError) -> Built:
    """Build what ``write_kept`` wrote; raises ``failure`` if it is not there, or no JSON."""
    try:
        return build(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise failure(f"cannot read the {what} {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise failure(f"{path} is no {what}: {error}") from error
