"""Commands that make a bitstream and put it on a board."""

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trilight.hw.contract.device import Device
from trilight.hw.contract.errors import BoardError, BuildError, RegressionError, TimingError
from trilight.hw.flow.build import (
    DEFAULT_SEEDS,
    BoardDesign,
    Build,
    Netlist,
    build,
    design_sha256,
    elaborate,
    find_board,
    synthesise,
)
from trilight.hw.support.boards import DEFAULT_BOARD, board_names
from trilight.hw.support.files import write_whole
from trilight.hw.support.terminal import Console
from trilight.hw.support.tools import Progress

from .calibration import calibration_board
from .families.board import FamilyBoard
from .guard import Comparison, GuardRecord, check, compare, load_record, number, record
from .guards import record_path
from .images import Speech, make_image
from .programmer import Part, find_programmer
from .releases import (
    bitstream_path,
    load_bitstream,
    load_release,
    module_path,
    pack_bitstream,
    release_path,
)

__all__ = ["BOARD_FIGURES", "RELEASE", "RELEASE_MODULE", "bitstream_for", "board_with",
           "build_command", "flash_design", "guard_command"]

RELEASE = "trilight.release_figures"
"""Entry points group of functions that add figures to a release: each takes a netlist and a
progress callback, and returns JSON-able fields."""

BOARD_FIGURES = "trilight.board_figures"
"""Entry points group of functions that add what a board's chip does to a build: each takes a
``Device`` and the clock in Hz, and returns JSON-able fields."""

RELEASE_MODULE = "trilight.release_module"
"""Entry points group of what compiles a release's netlist: takes the same, and returns a compressed
WebAssembly module."""

TERMINAL_BAUD = 1_000_000
"""Fastest rate that most serial programs list."""

BoardArgument = Annotated[str, typer.Argument(
    help="Board: " + ", ".join(board_names()) + ".", autocompletion=board_names,
    metavar="BOARD")]
FrequencyOption = Annotated[float | None, typer.Option(
    "--frequency", "-f", metavar="HZ", help="Clock of the chip. Default: the board's, which its "
                                            "timing meets; 48e6 on an iCEBreaker.")]
BaudOption = Annotated[float | None, typer.Option(
    "--baud", metavar="BAUD", help="Speed of the serial port. Default: the fastest that the clock "
                                     "and the USB bridge can do.")]
TerminalOption = Annotated[bool, typer.Option(
    "--terminal", help="A chip that any serial program can talk with, at up to "
                       f"{TERMINAL_BAUD:,} baud unless --baud says else. Boards with an ECP5 or a "
                       "GW2A have it anyway; on a UP5K it takes the second sequence's place.")]
SeedsOption = Annotated[str | None, typer.Option(
    "--seeds", metavar="LIST", help="Seeds of the placement to try, such as 1-5 or 2,7. Default: "
                                    "that of the released bitstream, or "
                                    f"{DEFAULT_SEEDS[0]}-{DEFAULT_SEEDS[-1]} for another design.")]
MAX_SEEDS = 1000
GUARD_SEEDS = "1"
RECORD_SEEDS = "1-5"


def build_command(
    board: BoardArgument = DEFAULT_BOARD,
    frequency: FrequencyOption = None,
    baud: BaudOption = None,
    seeds: SeedsOption = None,
    terminal: TerminalOption = False,
    out: Annotated[Path, typer.Option(
        "--out", "-o", metavar="FOLDER", help="Where the results go.")] = Path("build"),
    release: Annotated[bool, typer.Option(
        "--release", help="Also keep figures in the package, where reports and trilight boards "
                          "find them, and a bitstream that is small enough, which trilight "
                          "flash writes. Of the iCEBreaker also simulate the netlist with the "
                          "bundled model and compile it to WebAssembly, for trilight "
                          "demo.")] = False,
    wasm: Annotated[bool, typer.Option(
        "--wasm", help="Do nothing but compile the released netlist to WebAssembly again: after a "
                       "change of the sources that left the design as it was.")] = False,
    verilog: Annotated[Path | None, typer.Option(
        "--verilog", metavar="FILE", help="Do nothing but write the design as Verilog, before "
                                          "synthesis, with the board's pins as its ports.")] = None,
) -> None:
    """Make a bitstream: synthesise, place, route, pack.

    Writes bitstream, netlist and figures. A design that misses its clock is an error.
    """
    console = Console(stderr=True)
    progress = _printer(console)
    if terminal and (release or wasm):
        raise BuildError("what is released has the board's own terminal or none; leave out "
                         "--terminal, or leave out --release and --wasm")
    chosen = board_with(board, frequency=frequency, baud=baud, terminal=terminal)
    if verilog is not None:
        _replace(verilog, elaborate(chosen, progress).verilog.read_bytes())
        console.print(f"written to {escape(str(verilog))}", style="dim")
        return
    if wasm:
        _renew_module(chosen, progress)
        console.print(f"compiled into {escape(str(module_path(board)))}", style="dim")
        return
    built = build(chosen, seeds=_seeds(chosen, seeds), progress=progress)
    built = replace(built, figures=built.figures | _board_figures(chosen, built.bitstream))
    _write_results(built, out)
    _print_figures(built.figures, console)
    console.print(f"written to {escape(str(out))}", style="dim")
    if release:
        _release(built, progress)
        console.print(f"released in {escape(str(release_path(board)))}", style="dim")


def board_with(name: str, *, frequency: float | None, baud: float | None,
               terminal: bool) -> BoardDesign:
    """Return the board of this name, with a terminal if that is asked for and it has none.

    Raises
    ------
    BoardError
        There is no such board, or it can not do this.
    """
    board = find_board(name, frequency=frequency, baud=baud)
    if not terminal or board.device_config.terminal:
        return board
    if not isinstance(board, FamilyBoard):
        raise BoardError(f"{name} is of no family whose chip has a terminal; leave out --terminal")
    if baud is None and board.default_baud is None:
        baud = min(board.max_baud, TERMINAL_BAUD)
    return find_board(name, frequency=frequency, baud=baud, device=board.terminal_device)


def _board_figures(board: BoardDesign, bitstream: Path) -> dict[str, Any]:
    """Name of a board, the way it is written, and the doings of its chip."""
    figures: dict[str, Any] = {"bitstream_bytes": bitstream.stat().st_size}
    if isinstance(board, FamilyBoard):
        figures |= {"flashed_bytes": board.flashed_bytes(bitstream.read_bytes()),
                    "title": board.title, "family": board.toolchain.name,
                    "device": board.device_config.name}
        if board.flash_slots:
            figures |= {"configuration_hz": board.configuration_hz, "image_bytes": len(
                make_image("bundled", board.device_config, Speech()))}
        for entry in entry_points(group=BOARD_FIGURES):
            more: Callable[[Device, float], dict[str, Any]] = entry.load()
            figures |= more(board.device_config, board.clock_hz)
    return figures


def _release(built: Build, progress: Progress) -> None:
    """Keep a build's figures; a bundled bitstream; and of the board of the demo its netlist,
    counted, as a module that runs everywhere."""
    board = built.netlist.board
    if isinstance(board, FamilyBoard) and board.ready_made:
        _replace(bitstream_path(board.name), pack_bitstream(built.bitstream.read_bytes()))
    if board.name == DEFAULT_BOARD:
        _release_module(built.netlist, built.figures | _release_figures(built.netlist, progress),
                        progress)
    else:
        _replace(release_path(board.name), (json.dumps(built.figures, indent=2) + "\n").encode())


def _release_module(netlist: Netlist, figures: dict[str, Any], progress: Progress) -> None:
    """Keep a netlist as a module, and its figures, which say which module is theirs."""
    board = netlist.board.name
    for entry in entry_points(group=RELEASE_MODULE):
        compile_module: Callable[[Netlist, Progress], bytes] = entry.load()
        module = compile_module(netlist, progress)
        figures = figures | {"module_sha256": hashlib.sha256(gzip.decompress(module)).hexdigest()}
        _replace(module_path(board), module)
    _replace(release_path(board), (json.dumps(figures, indent=2) + "\n").encode())


def _renew_module(board: BoardDesign, progress: Progress) -> None:
    """Compile the netlist of the released design again.

    Raises
    ------
    BuildError
        The design is another one, or nothing is released.
    """
    netlist = synthesise(board, progress)
    figures = load_release(board.name)
    if figures is None or netlist.design_sha256 != figures["design_sha256"]:
        raise BuildError(f"the design of {board.name} is not the released one, so its figures have "
                         f"to be made again too: trilight build {board.name} --release")
    _release_module(netlist, figures, progress)


def bitstream_for(board: BoardDesign, seeds: str | None, progress: Progress) -> bytes:
    """Return the bitstream of a board: that of the seeds, or the one of the released design.

    The latter is bundled for some boards, and then nothing is placed; a design that
    was changed is built.

    Raises
    ------
    BuildError
        It cannot be built, or the bundled one is damaged.
    """
    if seeds is None and (ready := _ready_made(board)) is not None:
        progress(f"taking the released bitstream of {board.name}, as its design is unchanged")
        return ready
    return build(board, seeds=_seeds(board, seeds), progress=progress).bitstream.read_bytes()


def _ready_made(board: BoardDesign) -> bytes | None:
    """Return the released bitstream of a board, if it is of this very design."""
    released = load_release(board.name)
    data = load_bitstream(board.name)
    if released is None or data is None or design_sha256(board) != released["design_sha256"]:
        return None
    return data


def flash_design(name: str | None, progress: Progress) -> None:
    """Build a calibration design and write it into an iCEBreaker's flash memory, where it starts.

    Parameters
    ----------
    name
        Design and clock, such as ``ff-64@48MHz``; ``None`` for the accelerator.
    progress
        Called with a short message when something that takes seconds begins.

    Raises
    ------
    BuildError, BoardError
        It cannot be built or written, or there is no such design.
    """
    programmer = find_programmer(find_board())
    board = find_board() if name is None else calibration_board(name)
    built = build(board, seeds=_seeds(board), progress=progress)
    programmer.write([Part(what=name or "the accelerator", offset=0,
                           data=built.bitstream.read_bytes(), suffix=built.bitstream.suffix)],
                     progress)


def guard_command(
    board: BoardArgument = DEFAULT_BOARD,
    seeds: Annotated[str | None, typer.Option(
        "--seeds", metavar="LIST", help="Seeds of the placement, such as 1-5. Default: 1, and "
                                        f"{RECORD_SEEDS} with --update.")] = None,
    update: Annotated[bool, typer.Option(
        "--update", help="Record the figures of this build instead, better or worse.")] = False,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the comparison to this file as JSON.")] = None,
) -> None:
    """Check that a build has not become worse.

    Synthesises, places and simulates the board's build with the bundled model, and
    compares area, clock, cycles and activity with those recorded. Each has a tolerance, and the
    exit status is 2 if one is exceeded. Results that are in the cache take no time.
    """
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise RegressionError(f"cannot write {json_file}: there is no folder {json_file.parent}; "
                              "make it first")
    console = Console(stderr=True)
    progress = _printer(console)
    path = record_path(board)
    recorded = None
    try:
        recorded = load_record(path)
    except FileNotFoundError:
        # What is released was agreed to as well.
        released = load_release(board)
        recorded = None if released is None else record(released)
        if recorded is None and not update:
            raise RegressionError(f"nothing is recorded for {board}; trilight guard {board} "
                                  "--update does it") from None
    except RegressionError as error:
        if not update:
            raise
        progress(str(error))
    chosen = _parse_seeds(seeds or (RECORD_SEEDS if update else GUARD_SEEDS))
    built_for = find_board(board)
    try:
        figures = build(built_for, seeds=chosen, progress=progress).figures
    except TimingError as error:
        # The clock is one figure of several: the record says whether it once was better.
        figures = error.figures
    figures = figures | _release_figures(synthesise(built_for, progress), progress)
    comparisons = []
    if recorded is not None:
        try:
            comparisons = compare(figures, recorded)
        except RegressionError as error:
            if not update:
                raise
            progress(str(error))
        _print_comparisons(comparisons, Console())
        _print_changed_inputs(record(figures), recorded, console)
    if json_file is not None:
        _replace(json_file, (json.dumps([{
            "figure": c.guarded.name, "unit": c.guarded.unit, "recorded": c.recorded,
            "found": c.found, "worse_by": c.worse, "allowed": c.allowed, "failed": c.failed,
        } for c in comparisons], indent=2) + "\n").encode())
    if update:
        _replace(path, (json.dumps(record(figures), indent=2) + "\n").encode())
        console.print(f"recorded in {escape(str(path))}", style="dim")
        return
    check(comparisons)
    if any(comparison.worse < 0 for comparison in comparisons):
        console.print("Something has become better: trilight guard --update keeps it so.")


def _print_comparisons(comparisons: Sequence[Comparison], console: Console) -> None:
    table = Table("", "figure", "unit", box=None)
    for heading in ("recorded", "found", "change", "allowed"):
        table.add_column(heading, justify="right")
    for c in comparisons:
        mark = "[red]worse[/]" if c.failed else "[green]better[/]" if c.worse < 0 else "ok"
        table.add_row(mark, c.guarded.name, c.guarded.unit, number(c.recorded),
                      number(c.found), c.share, number(c.allowed))
    console.print(table)


def _print_changed_inputs(found: GuardRecord, recorded: GuardRecord, console: Console) -> None:
    """Say what else may have changed the figures than the gateware."""
    for tool, version in found["tools"].items():
        before = recorded["tools"].get(tool)
        if before != version:
            console.print(f"{tool} is {version}; the record was made with {before}")
    if found["model_sha256"] != recorded["model_sha256"]:
        console.print("The bundled model is another one than the record was made with.")


def _printer(console: Console) -> Progress:
    return lambda text: console.print(escape(text), style="dim")


def _seeds(board: BoardDesign, text: str | None = None) -> Sequence[int]:
    """Return the seeds that were asked for; otherwise a design that is released gets its file."""
    if text is not None:
        return _parse_seeds(text)
    released = load_release(board.name)
    return ([released["seed"]]
            if released is not None and design_sha256(board) == released["design_sha256"]
            else DEFAULT_SEEDS)


def _parse_seeds(text: str) -> list[int]:
    """Numbers and ranges, separated by commas."""
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            seeds += range(int(first), int(last if dash else first) + 1)[:MAX_SEEDS + 1]
    except ValueError as error:
        raise BuildError(f"seeds are numbers and ranges such as 1-5 or 2,7, not {text!r}"
                         ) from error
    if len(seeds) > MAX_SEEDS:
        raise BuildError(f"at most {MAX_SEEDS} seeds are tried, and {text!r} is more")
    return list(dict.fromkeys(seeds))


def _release_figures(netlist: Netlist, progress: Progress) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for entry in entry_points(group=RELEASE):
        more: Callable[[Netlist, Progress], dict[str, Any]] = entry.load()
        figures |= more(netlist, progress)
    return figures


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that it is never seen half written.

    Raises
    ------
    BuildError
        It cannot be written.
    """
    try:
        write_whole(path, data)
    except OSError as error:
        raise BuildError(f"{path} cannot be written: {error.strerror}; name another place, or make "
                         "that one writable") from error


def _write_results(built: Build, out: Path) -> None:
    stem = f"trilight-{built.figures['board']}"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(f"the results cannot be written to {out}: {error.strerror}; choose "
                         "another folder with --out") from error
    _replace(out / f"{stem}{built.bitstream.suffix}", built.bitstream.read_bytes())
    _replace(out / f"{stem}.v", built.netlist.verilog.read_bytes())
    _replace(out / f"{stem}.json", (json.dumps(built.figures, indent=2) + "\n").encode())


def _print_figures(figures: dict[str, Any], console: Console) -> None:
    table = Table(box=None, show_header=False)
    table.add_row("clock", f"{figures['clock_hz'] / 1e6:g} MHz, {figures['clock_source']}")
    tolerance = figures["clock_tolerance"]
    table.add_row("serial port", f"{figures['baud']:,.0f} baud"
                  + (f", {100 * tolerance:g} % more or less" if tolerance else ""))
    for seed, fmax in figures["fmax_hz"].items():
        table.add_row(f"seed {seed}", f"{fmax / 1e6:.2f} MHz"
                      + (", taken" if int(seed) == figures["seed"] else ""))
    if not figures["timing_signed_off"]:
        table.add_row("timing", "not signed off: the tool's delays are not complete")
    table.add_row("cells", ", ".join(f"{name} {n:,}" for name, n in figures["resources"].items()))
    table.add_row("bitstream", figures["bitstream_sha256"])
    console.print(table)
