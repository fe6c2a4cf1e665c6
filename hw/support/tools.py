"""Running the tools of a build, and stopping them when the build stops."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from trilight.hw.contract.errors import BuildError

__all__ = ["Progress", "no_progress", "python_tool", "run_all"]

Progress = Callable[[str], None]
"""Called with a short message when something that takes seconds begins."""

LOG_LINES = 15
POLL_S = 0.02

BEAT_S = 30
"""Between two signs of life of something that takes long."""


def no_progress(_message: str) -> None:
    """Say nothing."""


def python_tool(package: str, function: str) -> list[str]:
    """Command line that calls ``package.function(arguments)``: YoWASP tools need no ``PATH``."""
    return [sys.executable, "-c",
            f"import sys, {package}; sys.exit({package}.{function}(sys.argv[1:]))"]


def run_all(
    commands: Iterable[Sequence[str]],
    folder: Path,
    log: Path,
    *,
    progress: Progress = no_progress,
    what: str,
    about: str = "",
    env: Mapping[str, str] | None = None,
) -> None:
    """Run commands in a folder, as many at once as there are processors.

    Parameters
    ----------
    commands : iterable of sequences of str
        In the order in which to start them. The first to fail stops the others.
    folder : pathlib.Path
        Where they run.
    log : pathlib.Path
        Where their output goes; kept only if one fails.
    progress : callable
        Called with ``what``, again whenever another quarter of several commands is done, and every
        ``BEAT_S`` seconds.
    what : str
        What they do, to be read after "while": "placing and routing".
    about : str
        How long it takes on an ordinary computer, if that is long: "about a minute".
    env : mapping, optional
        Variables that are added to the environment.

    Raises
    ------
    BuildError
        A command failed; the text has the end of its output and the path of all of it.
    """
    waiting = list(commands)
    total = len(waiting)
    running: list[tuple[subprocess.Popen[bytes], Path]] = []
    environment = {**os.environ, **(env or {})}
    done = 0
    progress(f"{what}, {about}" if about else what)
    began = time.monotonic()
    beat = BEAT_S
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                output = folder / f"output{total - len(waiting)}"
                with output.open("wb") as stream:
                    running.append((_start(waiting.pop(0), folder, environment, stream, what),
                                    output))
            time.sleep(POLL_S)
            if (passed := time.monotonic() - began) > beat:
                progress(f"{what}, {passed:.0f} s so far")
                beat += BEAT_S
            for process, output in [pair for pair in running if pair[0].poll() is not None]:
                running.remove((process, output))
                if process.returncode != 0:
                    raise _failure(what, process, output, log)
                output.unlink()
                done += 1
                if done < total and 4 * done // total > 4 * (done - 1) // total:
                    progress(f"{what}, {100 * done // total} %")
    finally:
        for process, _ in running:
            _kill(process)


def _start(command: Sequence[str], folder: Path, environment: Mapping[str, str],
           stream: BinaryIO, what: str) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as error:
        raise BuildError(f"failed while {what}: {command[0]} cannot be started "
                         f"({error.strerror or error}); trilight doctor shows what is missing"
                         ) from error


def _failure(what: str, process: "subprocess.Popen[bytes]", output: Path, log: Path) -> BuildError:
    text = output.read_text(errors="replace").rstrip()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text + "\n")
        whole = f"the whole log is in {log}"
    except OSError as error:
        # Such as that of a full disk, of which the command itself may have failed.
        whole = f"the log {log} cannot be written ({error.strerror or error})"
    if process.returncode < 0:
        text += f"\n(stopped by signal {-process.returncode}; too little memory is a usual cause)"
    tail = "\n  ".join(text.splitlines()[-LOG_LINES:])
    return BuildError(f"failed while {what}; {whole}, its end is\n  {tail}")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process and what it has started, which share a session of their own."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
