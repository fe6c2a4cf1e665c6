"""Results that are costly to make, kept by content: made once, whole or not at all.

What lies in the cache may be cut by a power failure, thinned out by a cleaner of old files or put
there by another user, and some of it is code that will run. So each entry has a list of its files
with sizes and digests, written last, and is compared with it whenever it is asked for. One that
is not whole is made anew.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
from filelock import FileLock

from trilight.hw.contract.errors import CacheError

__all__ = ["MANIFEST", "cache_root", "cached", "digest", "zig_environment"]

MANIFEST = "manifest.json"
"""Names, sizes in bytes and SHA-256 of an entry's other files."""

VARIABLE = "TRILIGHT_CACHE"
_ADVICE = f"set the environment variable {VARIABLE} to another folder"

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

_NO_LOCKS = frozenset(getattr(errno, name) for name in
                      ("ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL")
                      if hasattr(errno, name))
"""Errors of file systems without locks, such as an NFS without its lock service."""

_FULL = frozenset(getattr(errno, name) for name in ("ENOSPC", "EDQUOT") if hasattr(errno, name))


def cache_root() -> Path:
    """Folder of the cache: ``TRILIGHT_CACHE``, or the user's cache folder.

    In one that belongs to another user it is a folder of this user's own, ``user-UID``.

    Raises
    ------
    CacheError
        There is no home folder, and so no cache folder in it.
    """
    chosen = _chosen_root()
    if _user() is None or _owner(chosen) in (None, _user()):
        return chosen
    return chosen / f"user-{_user()}"


def zig_environment() -> dict[str, str]:
    """Return the variables with which zig keeps what it compiles in this cache."""
    zig = str(cache_root() / "zig")
    return {"ZIG_GLOBAL_CACHE_DIR": zig, "ZIG_LOCAL_CACHE_DIR": zig}


def _chosen_root() -> Path:
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).absolute()
    try:
        return platformdirs.user_cache_path("trilight", appauthor=False)
    except RuntimeError as error:
        # No HOME, and no line in /etc/passwd either, as of a container's user.
        raise CacheError("this user has no home folder, so there is no place for the cache; "
                         + _ADVICE.replace("another", "a")) from error


def _user() -> int | None:
    """Number of this user; ``None`` where users have none, as on Windows."""
    return os.getuid() if hasattr(os, "getuid") else None


def _owner(path: Path) -> int | None:
    """Number of the user that a file belongs to, if it is there."""
    try:
        return path.stat().st_uid
    except OSError:
        return None


def digest(*parts: str | bytes) -> str:
    """SHA-256 of the parts, each preceded by its length, as 64 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


def cached(kind: str, key: str, make: Callable[[Path], None], *, code: bool = False) -> Path:
    """Folder ``kind/key`` of the cache, filled by ``make`` unless it is there and whole.

    ``make`` receives an empty folder, which takes its final name only when ``make`` returns: an
    error or an interruption leaves nothing behind. Of several processes that ask for the same
    key, one makes it and the others wait. An entry that another user could have written is not
    used; one of the administrator is, in a cache that belongs to the administrator.

    Parameters
    ----------
    kind : str
        What sort of result it is, a folder name.
    key : str
        ``digest`` of everything that the result depends on.
    make : callable
        Fills the folder it is given with files.
    code : bool
        It holds programs or libraries that are to be run where they lie.

    Returns
    -------
    pathlib.Path
        The filled folder. Not to be written to.

    Raises
    ------
    CacheError
        The cache cannot be written to, does not keep what is written, or nothing may be run there.
    """
    root, chosen = cache_root(), _chosen_root()
    shelf = root / kind
    final = shelf / key
    if root != chosen and _owner(chosen) == 0 and _whole(chosen / kind / key):
        final = chosen / kind / key
    elif not _whole(final):
        with _writing(shelf):
            shelf.mkdir(parents=True, exist_ok=True)
            _check_executable(shelf, code)
            with _lock(shelf, key):
                if not _whole(final):
                    _make(shelf, key, make)
    _check_executable(final, code)
    return final


def _whole(folder: Path) -> bool:
    """Tell if an entry's files are those of its list, and were written by nobody else."""
    try:
        files = json.loads((folder / MANIFEST).read_bytes())["files"]
        return _own(folder) and _own(folder / MANIFEST) and all(
            _own(folder / name)
            and (folder / name).stat().st_size == size
            and _sha256(folder / name) == sha256
            for name, (size, sha256) in files.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _own(path: Path) -> bool:
    """Tell if a file is this user's or the administrator's, and nobody else may write to it."""
    if _user() is None:
        return True
    found = path.stat()
    return found.st_uid in (_user(), 0) and not found.st_mode & _OTHERS_WRITE


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make(shelf: Path, key: str, make: Callable[[Path], None]) -> None:
    """Fill an entry, in the place of one that is not whole."""
    final = shelf / key
    work = Path(tempfile.mkdtemp(prefix=f"{key[:16]}.", dir=shelf))
    try:
        make(work)
        _seal(work)
        # Without locks another process may have been faster.
        if not _whole(final):
            _put_away(final, work.with_suffix(".old"))
            work.replace(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not _whole(final):
        raise CacheError(f"the cache folder {final} does not hold what was written to it; check "
                         f"its disk, or {_ADVICE}")


def _put_away(path: Path, aside: Path) -> None:
    """Remove a damaged entry, whatever it is; a process that uses one of its files keeps that."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(aside)
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()


def _seal(folder: Path) -> None:
    """List an entry's files, after all of them have reached the disk."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        path.chmod(path.stat().st_mode & ~_OTHERS_WRITE)
        files[path.relative_to(folder).as_posix()] = (path.stat().st_size, _sha256(path))
        _sync(path)
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
    manifest.chmod(manifest.stat().st_mode & ~_OTHERS_WRITE)
    _sync(manifest)
    # For others who share the cache, as far as this user lets others read at all.
    mask = os.umask(0o022)
    os.umask(mask)
    folder.chmod(0o755 & ~mask)
    _sync(folder)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


@contextlib.contextmanager
def _lock(shelf: Path, key: str) -> Iterator[None]:
    """Hold an entry's lock, and clear away what a process left that was killed while it did.

    Where the file system has no locks, processes may make the same entry at once; each has a folder
    of its own, and the first to finish wins.
    """
    path = shelf / f"{key}.lock"
    path.touch()
    lock = FileLock(path)
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        yield
        return
    try:
        for remains in shelf.glob(f"{key[:16]}.*"):
            if remains.is_dir():
                shutil.rmtree(remains, ignore_errors=True)
        yield
    finally:
        lock.release()
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def _writing(shelf: Path) -> Iterator[None]:
    """Turn the system's errors about files in the cache into one that names the folder."""
    try:
        yield
    except OSError as error:
        concerned = error.filename is None or str(error.filename).startswith(str(cache_root()))
        if error.errno in _FULL:
            raise CacheError(f"no space is left for the cache folder {shelf}; free some there, or "
                             + _ADVICE) from error
        if not concerned:
            raise
        raise CacheError(f"the cache folder {shelf} cannot be written to: "
                         f"{error.strerror or error}; {_ADVICE}") from error


def _check_executable(folder: Path, code: bool) -> None:
    """Refuse a folder that code cannot be run in, before that has been compiled."""
    if not code or not hasattr(os, "statvfs") or not hasattr(os, "ST_NOEXEC"):
        return
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise CacheError(f"nothing may be executed in the cache folder {folder}, whose file system "
                         f"is mounted noexec; {_ADVICE}")
