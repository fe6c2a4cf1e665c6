"""Results that are costly to make, kept by content: made once, whole or not at all."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

from trilight.hw.contract.errors import BuildError

__all__ = ["cache_root", "cached", "digest"]


def cache_root() -> Path:
    """Folder of the cache: ``TRILIGHT_CACHE``, or the user's cache folder."""
    if chosen := os.environ.get("TRILIGHT_CACHE"):
        return Path(chosen).absolute()
    return platformdirs.user_cache_path("trilight", appauthor=False)


def digest(*parts: str | bytes) -> str:
    """SHA-256 of the parts, each preceded by its length, as 64 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


def cached(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Folder ``kind/key`` of the cache, filled by ``make`` if it is not there yet.

    ``make`` receives an empty folder, which takes its final name only when ``make`` returns: an
    error or an interruption leaves nothing behind. Of several processes that ask for the same
    key, one makes it and the others wait.

    Parameters
    ----------
    kind : str
        What sort of result it is, a folder name.
    key : str
        ``digest`` of everything that the result depends on.
    make : callable
        Fills the folder it is given.

    Returns
    -------
    pathlib.Path
        The filled folder. Not to be written to.

    Raises
    ------
    BuildError
        The cache cannot be written to.
    """
    shelf = cache_root() / kind
    final = shelf / key
    if final.is_dir():
        return final
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        (shelf / f"{key}.lock").touch()
    except OSError as error:
        raise BuildError(f"the cache folder {shelf} cannot be written to: {error.strerror}; set "
                         "the environment variable TRILIGHT_CACHE to another") from error
    with FileLock(shelf / f"{key}.lock"):
        if final.is_dir():
            return final
        for remains in shelf.glob(f"{key[:16]}.*"):
            # Of a process that was killed: whoever works on this key holds the lock.
            shutil.rmtree(remains, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f"{key[:16]}.", dir=shelf))
        try:
            make(work)
            work.replace(final)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    with contextlib.suppress(OSError):
        (shelf / f"{key}.lock").unlink()
    return final
