"""Speed of the virtual board, and of some ways to compile it.

The design is compiled in each way, and all of them run in turn with the same bytes on the pins.
Each must send the same bytes back. Times are processor times of all threads together.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.table import Table

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import ADDRESS, MAX_WORDS, RUN, Command, RunFlag, Slip
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import BoardDesign, Hdl, elaborate, find_board, synthesise
from trilight.hw.support.boards import DEFAULT_BOARD
from trilight.hw.support.terminal import Console
from trilight.hw.support.tools import Progress
from trilight.sim.sliced.chips import LANES, Chips
from trilight.sw.cli.console import check_folder, write_json
from trilight.sw.errors import SimulationError
from trilight.sw.host.frames import Frame, encode_frame
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model

from .compile import (
    COMPILER_FLAGS,
    RECIPE,
    VERILATOR_FLAGS,
    WRITE_CXXRTL,
    CompileRecipe,
    NativeBench,
)

__all__ = ["NETLIST_RECIPES", "RECIPES", "compare", "simulation_speed_command"]

MODEL = ModelConfig(vocab_size=65, d_model=40, n_layers=2, d_hidden=100)
"""Small, because loading is slow; a cycle of it costs what one of a large model does."""

CYCLES = {"rtl": 600_000, "netlist": 150_000}
ROUNDS = 5
IDLE = 200

SPLIT = VERILATOR_FLAGS.index("--output-split")

RECIPES = {
    "as it is": RECIPE,
    "smaller code (-Os)": CompileRecipe(
        compiler=tuple("-Os" if flag == "-O2" else flag for flag in COMPILER_FLAGS)
    ),
    "no vectors (-fno-slp-vectorize)": CompileRecipe(
        compiler=(*COMPILER_FLAGS, "-fno-slp-vectorize")
    ),
    "any processor (-mcpu=baseline)": CompileRecipe(compiler=(*COMPILER_FLAGS, "-mcpu=baseline")),
    "one function (no --output-split)": CompileRecipe(
        verilator=(*VERILATOR_FLAGS[:SPLIT], *VERILATOR_FLAGS[SPLIT + 2 :])
    ),
    "two threads (--threads 2)": CompileRecipe(verilator=(*VERILATOR_FLAGS, "--threads", "2")),
    "CXXRTL": CompileRecipe(yosys=WRITE_CXXRTL, verilator=()),
}
"""Recipes that are compared, by name."""

GATES = """
read_verilog -lib -D ICE40_U +/ice40/cells_sim.v
read_verilog design.v
hierarchy -top {top}
techmap -autoproc -map cells.v t:SB_LUT4 t:SB_CARRY t:SB_DFF*
opt
techmap
abc -g AND,OR,XOR,ANDNOT,ORNOT,MUX
opt_clean
write_verilog -noattr design.v
"""
"""LUTs, carries and flip-flops by their models, and the logic between flip-flops, memories and
multipliers made again, of gates."""

NETLIST_RECIPES = {"gates for LUTs (Yosys' abc -g)": CompileRecipe(yosys=GATES)}
"""Recipes that are compared besides, of a netlist: other ways to write its cells."""


TOGETHER = {f"{LANES} chips at once, in step": 0, f"{LANES} chips at once, out of step": 1}
"""Many chips of a netlist at once: how many bytes' times each begins after the one before.

Chips in step ask their memories for the same rows in the same cycle, as mutants of one program do;
chips out of step do not, as those with models of their own."""


def _frames(model: Model, device: Device) -> tuple[bytes, bytes]:
    """Bytes that load a model, and those that start a run which does not end soon."""
    pieces = [(address + start, units[start:start + MAX_WORDS])
              for address, units in compile_image(model, device).segments
              for start in range(0, len(units), MAX_WORDS)]
    load = b"".join(
        encode_frame(Frame(1 + number % 255, Command.WRITE,
                           ADDRESS.pack(address) + units.astype("<u2").tobytes()))
        for number, (address, units) in enumerate(pieces))
    run = RUN.pack(RunFlag.RESET | RunFlag.SEED | RunFlag.CLEAR, 0, 1, 60_000, 256, 1)
    return load, encode_frame(Frame(254 if len(pieces) % 255 != 254 else 1, Command.RUN, run))


class _Together:
    """Chips that all do the same, each begun some bytes' times after the one before."""

    def __init__(self, chips: Chips, step: int) -> None:
        self._chips = chips
        self._step = step
        self._first = chips.lane(0)
        self.read = self._first.read

    def write(self, data: bytes) -> None:
        for lane in range(LANES):
            # An END between frames is nothing.
            delayed = bytes([Slip.END]) * (lane * self._step) + data
            self._chips.call("bench_write", lane, delayed, len(delayed))

    def run(self, maximum: int, *, idle: int | None = None) -> int:
        return self._first.run(maximum, idle=idle)

    @property
    def idle(self) -> bool:
        return self._first.idle

    def close(self) -> None:
        self._first.close()
        self._chips.close()


def _start(hdl: Hdl, recipe: CompileRecipe | int, model: Model, progress: Progress
           ) -> NativeBench | _Together:
    """A bench that is generating tokens."""
    bench = (NativeBench(hdl, progress=progress, recipe=recipe)
             if isinstance(recipe, CompileRecipe) else _Together(Chips(hdl, progress), recipe))
    load, run = _frames(model, hdl.board.device_config)
    bench.write(load)
    bench.run(100_000_000, idle=IDLE)
    bench.read()
    bench.write(run)
    bench.run(5000)
    if bench.idle:
        raise SimulationError("the chip does not run what it was sent")
    return bench


def compare(hdl: Hdl, recipes: Mapping[str, CompileRecipe | int], *, cycles: int,
            rounds: int = ROUNDS, progress: Progress) -> dict[str, list[float]]:
    """Cycles per second of each recipe in each round, those of many chips added up.

    Raises
    ------
    SimulationError
        Two of them do not send the same bytes.
    """
    model = Model.random(MODEL, 1)
    benches = {}
    for name, recipe in recipes.items():
        progress(f"{hdl.kind}, {name}")
        benches[name] = _start(hdl, recipe, model, progress)
    speeds: dict[str, list[float]] = {name: [] for name in recipes}
    for turn in range(rounds):
        progress(f"{hdl.kind}, round {turn + 1} of {rounds}")
        for name, bench in benches.items():
            began = time.process_time()
            bench.run(cycles)
            chips = LANES if isinstance(bench, _Together) else 1
            speeds[name].append(chips * cycles / (time.process_time() - began))
    sent = [bench.read() for bench in benches.values()]
    for bench in benches.values():
        bench.close()
    # They do not all begin in the same cycle, so some have sent a little more.
    shortest = min(map(len, sent))
    if not shortest or len({data[:shortest] for data in sent}) != 1:
        raise SimulationError("compiled in different ways, the design sends different bytes")
    return speeds


def _print(speeds: dict[str, list[float]], kind: str, console: Console) -> None:
    table = Table(kind, box=None)
    table.add_column("cycles/s", justify="right")
    table.add_column("ratio", justify="right")
    first = next(iter(speeds.values()))
    for name, found in speeds.items():
        ratio = median(a / b for a, b in zip(found, first, strict=True))
        table.add_row(name, f"{median(found):,.0f}", f"{ratio:.2f}")
    console.print(table)


def simulation_speed_command(
    kinds: Annotated[list[str] | None, typer.Argument(
        metavar="[rtl|netlist]...", help="What to simulate. Default: both.")] = None,
    board: Annotated[str, typer.Option(
        "--board", metavar="NAME", help="Board whose design is simulated.")] = DEFAULT_BOARD,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the speeds to this file as JSON.")] = None,
) -> None:
    """Compare ways to compile the virtual board, in cycles a second.

    All of them run in turn with the same bytes on the pins, so that what else the computer does
    hits all alike. The first time takes minutes.
    """
    check_folder(json_file)
    console = Console(stderr=True)
    make: dict[str, Callable[[BoardDesign, Progress], Hdl]] = {
        "rtl": elaborate,
        "netlist": synthesise,
    }
    chosen: Sequence[str] = kinds or list(make)
    for kind in chosen:
        if kind not in make:
            raise typer.BadParameter(f"{kind} is neither rtl nor netlist")

    def say(text: str) -> None:
        console.print(text, style="dim", markup=False)

    found = {}
    for kind in chosen:
        hdl = make[kind](find_board(board), say)
        recipes = RECIPES | (NETLIST_RECIPES | TOGETHER if kind == "netlist" else {})
        found[kind] = compare(hdl, recipes, cycles=CYCLES[kind], progress=say)
        _print(found[kind], kind, Console())
    if json_file is not None:
        write_json(json_file, {"board": board, "cycles_per_s": found})
