"""The kept corpus: of what the fuzzer has found, what reaches more than the seeds."""

import sys
from hashlib import sha1
from pathlib import Path
from types import FrameType
from typing import Any

from .target import Target

__all__ = ["keep", "reached"]

Step = tuple[str, int, int]
"""A file and two of its lines, run one after the other."""


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
    """Add to the kept inputs what reaches more, smallest first; return how many bytes are kept.

    Parameters
    ----------
    target : Target
    found : Path
        Folder of inputs.
    kept : dict
        Inputs by name; those found are added.
    most : int
        Bytes to keep.
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
