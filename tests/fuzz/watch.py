"""Watches over what a parser does besides parsing: nothing that it reads may run."""

import codecs
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["FORBIDDEN", "watched"]

FORBIDDEN = ("pickle.find_class", "exec", "compile", "marshal.loads", "code.__new__",
             "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect",
             "socket.bind", "ctypes.dlopen")
"""Audit events of Python: to build, load or run code, to start a program, to use a network."""

# Imported when they are first asked for: by json for whatever looks like them, by recordings of
# instruments for what is not UTF-8.
for _encoding in ("utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be", "utf-32-le", "cp1252"):
    codecs.lookup(_encoding)

_watching = False
_installed = False


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event in FORBIDDEN:
        # Not an Exception, so that no clause for damaged input takes it for one.
        raise SystemExit(f"a parser caused {event} {arguments!r}"[:500])


@contextmanager
def watched() -> Iterator[None]:
    """Within, any of ``FORBIDDEN`` ends the program; modules must have been imported before."""
    global _watching, _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    before, _watching = _watching, True
    try:
        yield
    finally:
        _watching = before
