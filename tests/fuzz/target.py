"""What is fuzzed: a parser of foreign bytes, and what may come of it."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from trilight.sw.errors import TrilightError

__all__ = ["AnyOf", "Target", "as_file", "same_json"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A parser under test."""

    what: str
    """The parser, for people."""
    parse: Callable[[bytes], None]
    """Parses an input and uses the result as the program would. Raises one of ``refusals`` for an
    input that it refuses, ``AssertionError`` for one that breaks a promise."""
    refusals: tuple[type[TrilightError], ...]
    """The only errors that may escape."""
    seeds: Callable[[], Iterable[bytes]]
    """Legal inputs to begin with, the same every time."""
    mutate: Callable[[bytes, int], bytes | None] | None = None
    """Changes the structure of an input: takes it and a seed, returns another or ``None`` if it
    has no structure."""
    longest: int = 4096
    """Bytes of the longest input that is tried."""

    def accepts(self, data: bytes) -> bool:
        """Whether an input is parsed; any error but a refusal escapes."""
        try:
            self.parse(data)
        except self.refusals:
            return False
        return True


@dataclass(frozen=True)
class AnyOf:
    """Tries every reader of a file, and refuses what all of them refuse; each promises errors."""

    readers: Mapping[Callable[[Path], object], tuple[type[TrilightError], ...]]

    def __call__(self, data: bytes) -> None:
        refused = [error for reader in self.readers if (error := self.refusal(reader, data))]
        if len(refused) == len(self.readers):
            raise refused[0]

    def refusal(self, reader: Callable[[Path], object], data: bytes) -> TrilightError | None:
        """The error of one of the readers, if it refuses an input."""
        try:
            # Each finds the input, whatever the one before left.
            reader(as_file(data))
        except TrilightError as error:
            if not isinstance(error, self.readers[reader]):
                raise AssertionError(f"{reader.__name__} does not promise {error!r}") from error
            return error
        return None


MEMORY = Path("/dev/shm")
"""A folder in memory where there is one; elsewhere opening a file takes longer than parsing it."""


@cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="trilight-fuzz-", dir=MEMORY if MEMORY.is_dir() else None)


def as_file(data: bytes, name: str = "input") -> Path:
    """A file that holds ``data``, until the next call."""
    path = Path(_folder().name) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def same_json(first: object, second: object) -> bool:
    """Whether two objects have the same JSON text; not-a-number equals itself there."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
