"""The cache: what is cut, thinned out, of others or cannot be used is made again or said."""

import errno
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest
from filelock import FileLock

from trilight.hw.contract.errors import BuildError, CacheError
from trilight.hw.support import cache as cache_module
from trilight.hw.support.cache import MANIFEST, cache_root, cached, digest
from trilight.hw.support.tools import run_all

KEY = digest("design")
NAMED = r"TRILIGHT_CACHE"

posix = pytest.mark.skipif(platform.system() == "Windows", reason="users and modes of POSIX")


class Maker:
    """Fills an entry, and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, work: Path) -> None:
        self.made += 1
        (work / "library").write_bytes(b"\x7fELF" + bytes(5000))
        (work / "part").mkdir()
        (work / "part" / "design.v").write_text("module top; endmodule\n")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRILIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def make() -> Maker:
    return Maker()


def whole(folder: Path) -> bool:
    return ((folder / "library").read_bytes() == b"\x7fELF" + bytes(5000)
            and (folder / "part" / "design.v").read_text() == "module top; endmodule\n")


def cut(folder: Path) -> None:
    (folder / "library").write_bytes((folder / "library").read_bytes()[:2000])


def changed(folder: Path) -> None:
    data = bytearray((folder / "library").read_bytes())
    data[1000] ^= 1
    (folder / "library").write_bytes(data)


def replaced(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("a file")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda folder: (folder / "library").write_bytes(b""),
    "cut": cut,
    "changed": changed,
    "deleted": lambda folder: (folder / "part" / "design.v").unlink(),
    "no list": lambda folder: (folder / MANIFEST).unlink(),
    "empty list": lambda folder: (folder / MANIFEST).write_bytes(b""),
    "other list": lambda folder: (folder / MANIFEST).write_text('{"files": {"library": 3}}'),
    "no files": lambda folder: [shutil.rmtree(folder), folder.mkdir()],
    "a file": replaced,
}


def test_an_entry_is_made_once(root: Path, make: Maker) -> None:
    folder = cached("kind", KEY, make)
    assert folder == root / "kind" / KEY
    assert whole(folder)
    assert cached("kind", KEY, make) == folder
    assert make.made == 1


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_made_again_once(root: Path, make: Maker,
                                            damage: Callable[[Path], object]) -> None:
    folder = cached("kind", KEY, make)
    damage(folder)
    assert whole(cached("kind", KEY, make))
    assert whole(cached("kind", KEY, make))
    assert make.made == 2
    assert [path.name for path in (root / "kind").iterdir() if path.suffix != ".lock"] == [KEY]


def test_a_disk_that_keeps_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is not what is read: it is tried once, and the folder named."""
    made = []

    def make(work: Path) -> None:
        made.append(work)
        (work / "library").write_bytes(b"code")

    monkeypatch.setattr(cache_module, "_sync", lambda path: path.name == "library"
                        and path.write_bytes(b""))
    with pytest.raises(CacheError, match=rf"{KEY} does not hold what was written .*{NAMED}"):
        cached("kind", KEY, make)
    assert len(made) == 1


def test_files_reach_the_disk_before_their_list_and_that_before_the_name(
        root: Path, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    def sync(path: Path) -> None:
        assert not (root / "kind" / KEY).exists()
        synced.append(path.name)

    monkeypatch.setattr(cache_module, "_sync", sync)
    cached("kind", KEY, make)
    assert synced[:3] == ["library", "design.v", MANIFEST]
    assert synced[3].startswith(KEY[:16])


def give_away(root: Path, monkeypatch: pytest.MonkeyPatch, user: int = 65534) -> None:
    """Let all that is in the cache belong to another user than asks for it."""
    if os.getuid() == 0:
        for path in (root, *root.rglob("*")):
            os.chown(path, user, user)
    else:
        own = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: own + 1)


@posix
def test_code_of_another_user_is_not_run(root: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
                                         ) -> None:
    folder = cached("kind", KEY, make)
    give_away(folder, monkeypatch)
    again = cached("kind", KEY, make, code=True)
    assert make.made == 2
    assert again.stat().st_uid in (os.getuid(), again.parent.stat().st_uid)
    assert whole(again)


@posix
def test_a_cache_of_another_user_gets_a_folder_for_each(root: Path, make: Maker,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    cached("kind", KEY, make)
    root.chmod(0o777)
    give_away(root, monkeypatch)
    mine = root / f"user-{os.getuid()}"
    assert cache_root() == mine
    assert cached("kind", KEY, make) == mine / "kind" / KEY
    assert cached("kind", KEY, make) == mine / "kind" / KEY
    assert make.made == 2


@posix
def test_a_cache_of_the_administrator_is_shared(root: Path, make: Maker,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read where it lies; what it lacks goes into this user's own folder."""
    folder = cached("kind", KEY, make)
    assert folder.stat().st_mode & 0o022 == 0
    real = cache_module._owner
    monkeypatch.setattr(cache_module, "_owner", lambda path: 0 if path == root else real(path))
    monkeypatch.setattr(cache_module, "_user", lambda: 1234)
    monkeypatch.setattr(cache_module, "_own", lambda path: True)
    assert cached("kind", KEY, make) == folder
    assert cached("kind", digest("other"), make) == root / "user-1234" / "kind" / digest("other")
    assert make.made == 2


@posix
@pytest.mark.parametrize("name", ["", "library", MANIFEST])
def test_what_others_may_write_to_is_made_again(root: Path, make: Maker, name: str) -> None:
    folder = cached("kind", KEY, make)
    (folder / name).chmod(0o777)
    assert whole(cached("kind", KEY, make))
    assert make.made == 2
    assert (folder / name).stat().st_mode & 0o022 == 0


@posix
def test_files_written_for_a_group_are_taken_back(root: Path, make: Maker) -> None:
    before = os.umask(0o002)
    try:
        cached("kind", KEY, make)
        cached("kind", KEY, make)
    finally:
        os.umask(before)
    assert make.made == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(root: Path, make: Maker, monkeypatch: pytest.MonkeyPatch,
                                     number: int) -> None:
    def acquire(self: FileLock) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", acquire)
    assert whole(cached("kind", KEY, make))
    assert whole(cached("kind", KEY, make))
    assert make.made == 1


def test_without_locks_the_first_to_finish_wins(root: Path, make: Maker,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    def acquire(self: FileLock) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "acquire", acquire)
    other = Maker()

    def slowly(work: Path) -> None:
        make(work)
        cached("kind", KEY, other)

    assert whole(cached("kind", KEY, slowly))
    assert (make.made, other.made) == (1, 1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said(root: Path, number: int) -> None:
    def make(work: Path) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(CacheError, match=f"no space is left for the cache folder .*{NAMED}"):
        cached("kind", KEY, make)
    assert [path for path in (root / "kind").iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO])
def test_a_cache_that_cannot_be_written_is_named(root: Path, number: int,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(self: Path, *args: object, **settings: object) -> None:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(CacheError, match=f"kind cannot be written to: .*{NAMED}"):
        cached("kind", KEY, lambda work: None)


def test_an_error_about_something_else_is_not_the_caches(root: Path) -> None:
    def make(work: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "no such program", "verilator")

    with pytest.raises(FileNotFoundError, match="verilator"):
        cached("kind", KEY, make)


@pytest.mark.skipif(not hasattr(os, "ST_NOEXEC"), reason="file systems of Linux")
def test_a_file_system_without_execution(root: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
                                         ) -> None:
    """It is said before the minutes of compiling, and of an entry that is there already."""
    real = os.statvfs(root.parent)
    assert not real.f_flag & os.ST_NOEXEC
    noexec = os.statvfs_result((*real[:8], real.f_flag | os.ST_NOEXEC, real[9]))
    monkeypatch.setattr(os, "statvfs", lambda folder: noexec)
    with pytest.raises(CacheError, match=f"nothing may be executed in .*kind.* noexec; .*{NAMED}"):
        cached("kind", KEY, make, code=True)
    assert make.made == 0
    cached("kind", KEY, make)
    with pytest.raises(CacheError, match="noexec"):
        cached("kind", KEY, make, code=True)


@posix
def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, make: Maker) -> None:
    import pwd

    def nobody(user: int) -> None:
        raise KeyError(user)

    for name in ("TRILIGHT_CACHE", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(RuntimeError):
        platformdirs.user_cache_path("trilight")
    with pytest.raises(CacheError, match=f"no home folder.*set .*{NAMED} to a folder"):
        cached("kind", KEY, make)


# ---- What the tools of a build meet


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_does_not_hide_the_compilers_error(tmp_path: Path) -> None:
    fail = [sys.executable, "-c", "raise SystemExit('expected a semicolon')"]
    with pytest.raises(BuildError, match=r"(?s)failed while trying; the log /dev/full cannot be "
                                         "written .*expected a semicolon"):
        run_all([fail], tmp_path, Path("/dev/full"), what="trying")


def test_a_tool_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"failed while trying: .*no-such-tool cannot be started"):
        run_all([[str(tmp_path / "no-such-tool")]], tmp_path, tmp_path / "log", what="trying")


def test_a_cleaner_between_two_programs(root: Path) -> None:
    """Each is another process, as of a user who starts one and then the next."""
    script = f"""
from trilight.hw.support.cache import cached
def make(work):
    print("made")
    (work / "library").write_text("code")
print((cached("kind", "{KEY}", make) / "library").read_text())
"""
    def run() -> str:
        return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True,
                              text=True).stdout

    assert run() == "made\ncode\n"
    assert run() == "code\n"
    (root / "kind" / KEY / "library").unlink()
    assert run() == "made\ncode\n"
