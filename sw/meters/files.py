"""JSON files that a measurement keeps."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from trilight.sw.errors import MeterError

__all__ = ["read_kept", "write_kept"]

Built = TypeVar("Built")


def write_kept(path: Path, what: str, data: object, *, indent: int | None = None) -> None:
    """Write ``data`` as JSON; ``MeterError`` says which ``what`` could not be written, and why."""
    try:
        path.write_text(json.dumps(data, indent=indent) + "\n", encoding="utf-8")
    except OSError as error:
        raise MeterError(f"cannot write the {what} {path}: {error.strerror}") from error


def read_kept(path: Path, what: str, build: Callable[[Any], Built]) -> Built:
    """Build what ``write_kept`` wrote; raises ``MeterError`` if it is not there, or no JSON."""
    try:
        return build(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise MeterError(f"cannot read the {what} {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise MeterError(f"{path} is no {what}: {error}") from error
