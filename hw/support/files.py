"""Files that are there as a whole or not at all."""

import contextlib
import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file; what was there before stays until all of it has been written.

    Raises
    ------
    OSError
        It cannot be written; nothing of it is left, and an older file is as it was.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        path.write_bytes(data)  # a device or pipe, which no other file can replace
        return
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
