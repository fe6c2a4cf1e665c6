"""The kept corpus, one archive: of what the fuzzer has found, what reaches more than the seeds."""

import sys
import zipfile
from collections.abc import Mapping
from hashlib import sha1
from pathlib import Path
from types import FrameType
from typing import Any

from .target import Target

__all__ = ["ARCHIVE", "keep", "pack", "reached", "read_all", "unpack"]

ARCHIVE = Path(__file__).resolve().parent / "corpus.zip"

FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""Date of every entry, so that equal inputs make equal archives."""

Step = tuple[str, int, int]
"""A file and two of its lines, run one after the other."""


def read_all(path: Path = ARCHIVE) -> dict[str, dict[str, bytes]]:
    """Return every kept input by name, by parser."""
    inputs: dict[str, dict[str, bytes]] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            parser, _, name = entry.partition("/")
            inputs.setdefault(parser, {})[name] = archive.read(entry)
    return inputs


def unpack(parser: str, folder: Path, path: Path = ARCHIVE) -> None:
    """Write the kept inputs of a parser into a folder, as a fuzzer reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in read_all(path).get(parser, {}).items():
        (folder / name).write_bytes(data)


def pack(inputs: Mapping[str, Mapping[str, bytes]], path: Path = ARCHIVE) -> None:
    """Write the archive; it depends on the inputs alone."""
    with zipfile.ZipFile(path, "w") as archive:
        for parser, kept in sorted(inputs.items()):
            for name, data in sorted(kept.items()):
                entry = zipfile.ZipInfo(f"{parser}/{name}", FIRST_DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, data, compresslevel=9)


def reached(target: Target, data: bytes) -> set[Step]:
    """Steps that the package takes to parse an input."""
    steps: set[Step] = set()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not frame.f_globals.get("__name__", "").startswith("trilight."):
            return None
        before = 0

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            steps.add((name, before, frame.f_lineno))
            before = frame.f_lineno
            return line

        return line

    sys.settrace(enter)
    try:
        target.accepts(data)
    finally:
        sys.settrace(None)
    return steps


def keep(target: Target, found: Path, kept: dict[str, bytes], maximum: int) -> int:
    """Add to the kept inputs, by name, what reaches more of a folder of inputs, smallest first.

    Returns how many bytes are kept, ``maximum`` at the most.
    """
    known: set[Step] = set()
    # Seeds twice: the first time, modules are imported as well.
    for data in [*target.seeds(), *target.seeds(), *kept.values()]:
        known |= reached(target, data)
    total = sum(map(len, kept.values()))
    for data in sorted((path.read_bytes() for path in found.iterdir()), key=len):
        if total + len(data) > maximum:
            break
        if new := reached(target, data) - known:
            known |= new
            total += len(data)
            kept[sha1(data).hexdigest()] = data
    return total
