"""Records that a measurement keeps as JSON files, and what the kernel shows as files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from trilight.hw.support.files import write_whole
from trilight.sw.errors import MeterError, TrilightError
from trilight.sw.records import json_ready, read_record

__all__ = ["Kept", "read_text"]


def read_text(path: Path) -> str:
    """Text of a file of the kernel, spaces around it cut off."""
    return path.read_text(encoding="ascii").strip()


class Kept:
    """A dataclass that can be kept: what it is in words, what its files state, what it raises."""

    KIND: ClassVar[str]
    SCHEMA: ClassVar[str | None] = None
    FAILURE: ClassVar[type[TrilightError]] = MeterError
    INDENT: ClassVar[int | None] = 2

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-able fields of the same names, and its schema."""
        return {**({"schema": self.SCHEMA} if self.SCHEMA else {}), **json_ready(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Undo ``to_dict``; raises ``FAILURE`` for anything else."""
        if cls.SCHEMA:
            data = dict(data) if isinstance(data, Mapping) else {}
            if (schema := data.pop("schema", None)) != cls.SCHEMA:
                raise cls.FAILURE(f"no {cls.KIND}: schema {schema!r} is not {cls.SCHEMA!r}")
        return read_record(cls, data, cls.FAILURE, cls.KIND)

    def save(self, path: Path) -> None:
        """Write a file, whole or not at all; raises ``FAILURE`` if it cannot be written."""
        try:
            write_whole(path, (json.dumps(self.to_dict(), indent=self.INDENT) + "\n").encode())
        except OSError as error:
            raise self.FAILURE(f"cannot write the {self.KIND} {path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote; raises ``FAILURE`` if it is not there or something else."""
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except cls.FAILURE as error:
            raise cls.FAILURE(f"{path}: {error}") from error
        except OSError as error:
            raise cls.FAILURE(f"cannot read the {cls.KIND} {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise cls.FAILURE(f"{path} is no {cls.KIND}: {error}") from error
