"""Handler of errors that nobody else has caught: one sentence, and never a traceback.

It rests on the standard library alone, for it is also there when something else cannot be imported.
"""

import datetime
import errno
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path

from trilight.hw.contract.errors import TrilightError
from trilight.hw.support.extras import missing

__all__ = ["FAILED", "FAULT", "INTERRUPTED", "run"]

FAILED = 2
"""Exit status after an error that the user can do something about."""
FAULT = 70
"""Exit status after a fault of Trilight's own; ``EX_SOFTWARE`` of sysexits.h."""
INTERRUPTED = 130
"""Exit status after Ctrl-C."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


def run(program: Callable[[], object]) -> int:
    """Run a program and return its exit status.

    What standard output and standard error lack a character for is shown as another one.

    Parameters
    ----------
    program
        Returns its exit status; anything but an integer is success.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        try:
            code = program()
        except SystemExit as exit_:
            code = exit_.code
            if isinstance(code, str):
                _say(code)
                code = 1
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read has had enough, as head has.
        _give_up_output()
        code = 128 + 13
    except Exception as error:
        code = FAULT
        if sentence := _sentence(error):
            code = FAILED
            _say(sentence)
        else:
            _say(_fault(error))
        if isinstance(error, OSError):
            _give_up_output()
    if code == INTERRUPTED:
        _say("Interrupted.", error=False)
    return code if type(code) is int else 0


def _sentence(error: Exception) -> str | None:
    """Return what to tell of an error that has a known cause outside of Trilight."""
    if isinstance(error, TrilightError):
        return str(error)
    if isinstance(error, ImportError) and not (error.name or "").startswith("trilight"):
        return missing(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory for this; end other programs, or ask for less"
    if isinstance(error, RecursionError) and any(
            Path(frame.filename).parent.name in ("json", "tomllib")
            for frame in traceback.extract_tb(error.__traceback__)):
        return ("a file nests its lists or objects deeper than any that Trilight writes; it is "
                "damaged, take it again from where it came")
    if isinstance(error, EOFError):
        return "the input ended where an answer was expected; start it where one can be typed"
    if isinstance(error, OSError) and error.errno in _FULL:
        where = error.filename or "where the output goes"
        return f"no space is left on the disk ({where}); free some there, or write elsewhere"
    if isinstance(error, OSError) and error.filename is not None:
        return (f"{os.fsdecode(error.filename)}: {error.strerror or error}; check its name, and "
                "that you may read or write there")
    if isinstance(error, OSError) and error.errno is not None:
        return (f"the system refuses: {error.strerror or error}; trilight doctor shows what works "
                "on this computer")
    return None


def _fault(error: Exception) -> str:
    """Write the trace of an unknown error to a file; return what to tell of it."""
    trace = "".join([
        f"command: {sys.argv}\npython: {sys.version}\nplatform: {platform.platform()}\n",
        *traceback.format_exception(error)])
    name = f"trilight-fault-{datetime.datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    path = Path(tempfile.gettempdir()) / name
    try:
        path.write_text(trace, encoding="utf-8", errors="backslashreplace")
        where = f"what happened is in {path}; please report it with that file"
    except OSError:
        where = f"please report it with these lines:\n{trace}"
    kind = type(error).__name__
    return f"this is a fault of Trilight, not of yours ({kind}: {error}); {where}"


def _say(text: str, *, error: bool = True) -> None:
    """Print on standard error, whatever state that is in."""
    try:
        try:
            from rich.markup import escape

            from trilight.hw.support.terminal import Console
        except ImportError:
            print(f"Error: {text}" if error else text, file=sys.stderr)
        else:
            Console(stderr=True, soft_wrap=True, highlight=False).print(
                f"[bold red]Error:[/] {escape(text)}" if error else escape(text))
    except OSError:
        pass  # Nobody can be told.


def _give_up_output() -> None:
    """Let nothing more be written to standard output, which Python would try at its end."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # Python's own, as of a test
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
