"""Helpers that commands share: a progress bar, and files that can or cannot be written."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from trilight.hw.support.files import write_whole
from trilight.hw.support.terminal import Console
from trilight.sw.errors import PerformanceError, ReportError, TrilightError

__all__ = ["MAX_CLOCK_HZ", "check_clock", "check_folder", "progress_bar", "replace_json",
           "stoppable", "tell_changes", "write_file", "write_json"]


@contextmanager
def stoppable(console: Console) -> Iterator[None]:
    """A command that goes on where it was stopped: an error is told in one line, as is Ctrl-C."""
    try:
        yield
    except TrilightError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on", style="dim")
        raise typer.Exit(130) from None


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, which goes when it is done; nothing elsewhere."""
    with Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
                  TimeRemainingColumn(), console=console, transient=True,
                  disable=not console.is_terminal or console.quiet) as bar:
        task = bar.add_task(escape(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


MAX_CLOCK_HZ = 1e9
"""Fastest clock of an FPGA: more than the fastest ones' clock networks carry."""


def check_clock(hertz: float) -> None:
    """Refuse a clock that no FPGA has, such as one in the wrong unit.

    Raises
    ------
    PerformanceError
        It is not positive, or beyond ``MAX_CLOCK_HZ``.
    """
    if not 0 < hertz <= MAX_CLOCK_HZ:
        raise PerformanceError(f"the clock has to be a positive number of hertz, at most "
                               f"{MAX_CLOCK_HZ:g}, not {hertz:g}; 48 MHz is written 48e6")


def tell_changes(changes: Sequence[str], what: str) -> None:
    """Say on standard error what of a text is read otherwise than it was written."""
    if changes:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(
            f"{what}: {', '.join(changes)}", style="dim")


def check_folder(path: Path | None) -> None:
    """Refuse a file that cannot be written before the work is done rather than after it."""
    if path is None:
        return
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ReportError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise ReportError(f"cannot write {path}: it is a folder; name a file in it")
    # Devices and pipes are written to, other files are replaced.
    if not os.access(path if path.exists() and not path.is_file() else folder, os.W_OK):
        raise ReportError(f"cannot write {path}: you may not write there; name another place")


def write_json(path: Path, results: Mapping[str, Any]) -> None:
    """Write an object to a file."""
    write_file(path, _json(results))


def replace_json(path: Path, results: Mapping[str, Any]) -> None:
    """Write an object to a file that is there as a whole or not at all, and make its folder.

    Raises
    ------
    ReportError
        It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, _json(results))
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}") from error


def _json(results: Mapping[str, Any]) -> bytes:
    return (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode()


def write_file(path: Path, data: bytes) -> None:
    """Write a file, or raise ``ReportError``."""
    try:
        write_whole(path, data)
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror}") from error
