"""The command that builds many designs and shows which are worth building."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from trilight.hw.flow.ice40 import ICE40
from trilight.hw.flow.toolchain import block_rams
from trilight.hw.support.boards import DEFAULT_BOARD, board_names, load_board
from trilight.hw.support.terminal import Console
from trilight.sw.errors import ExploreError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model

from .cluster import run_tasks
from .plot import draw
from .results import SweepResult, csv_text, evaluate, pareto
from .sweep import Sweep, parse_sweep
from .tasks import Store, Task, board_tools, tasks_of

__all__ = ["explore_command"]

NUMBERS_METAVAR = "N,N,..."

FILE_WIDTH = 180
"""Width of a table that goes into a file."""


def explore_command(
    sweep_file: Annotated[Path | None, typer.Argument(
        metavar="[SWEEP]",
        help="TOML file that describes the sweep; options go before it.")] = None,
    board: Annotated[str | None, typer.Option(
        "--board", "-b", metavar="NAME", autocompletion=board_names,
        help="Board whose chip is built: " + ", ".join(board_names())
             + f". Default: {DEFAULT_BOARD}.")] = None,
    clock: Annotated[str | None, typer.Option(
        "--clock", metavar="HZ,HZ,...", help="Clocks to build for. Default: the board's.")] = None,
    seeds: Annotated[str | None, typer.Option(
        "--seeds", metavar="LIST", help="Placement seeds of each design, such as 1-5. "
                                        "Default: 1-3.")] = None,
    device: Annotated[list[str] | None, typer.Option(
        "--device", metavar="NAME=N,N", help="Capacity of the chip, such as sequences=1,2 or "
                                             "max_rows=512,1024; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(
        "--model", metavar="NAME=N,N", help="Sizes of the model, such as d_model=120,160; may be "
                                            "repeated. Default: those of the bundled "
                                            "model.")] = None,
    sequences: Annotated[str | None, typer.Option(
        "--sequences", metavar=NUMBERS_METAVAR, help="Sequences generated at once.")] = None,
    out: Annotated[Path, typer.Option(
        "--out", "-o", metavar="FOLDER", help="Where results are kept and the table, the JSON and "
                                              "the plot go.")] = Path("build/explore"),
    activity: Annotated[bool, typer.Option(
        "--activity/--no-activity", help="Also simulate each netlist with each model, for the "
                                         "energy.")] = True,
    cluster: Annotated[str | None, typer.Option(
        "--cluster", metavar="ADDRESS", help="A Dask scheduler with certificates, such as "
                                             "tls://host:8786, whose workers have this release. "
                                             "Default: processes of this computer.")] = None,
    workers: Annotated[int | None, typer.Option(
        "--workers", metavar="N", min=1, help="Processes on this computer.")] = None,
) -> None:
    """Build many designs, and show which of them no other beats.

    Synthesises, places and routes every combination of clocks, capacities and seeds, counts the
    activity of each netlist with each model, and computes cycles from the models' sizes. Results
    are kept as they come: after Ctrl-C the same command goes on where it stopped, and a larger
    sweep uses what a smaller one has found. A design that does not fit or misses its clock is a
    result too.

    [dim]trilight explore --clock 24e6,36e6,48e6 --device sequences=1,2[/]
    """
    console = Console(stderr=True)
    options: dict[str, Any] = {"device": _assignments(device), "model": _assignments(model)}
    for name, text, kind in (("clock_hz", clock, float), ("sequences", sequences, int)):
        if text is not None:
            options[name] = _numbers(text, kind)
    if board is not None:
        options["board"] = board
    if seeds is not None:
        options["seeds"] = _ranges(seeds)
    sweep = parse_sweep(sweep_file, options, Model.load(default_model_path()).config)
    counted = load_board(sweep.board).toolchain is ICE40
    if activity and not counted:
        console.print(f"The energy of a cell is known for the {ICE40.name} alone, so none is "
                      f"computed for {sweep.board}.")
    activity = activity and counted
    store = Store(out)
    tasks = tasks_of(sweep, activity=activity)
    every = [task for group in tasks.values() for task in group]
    known = sum(store.get(task) is not None for task in every)
    try:
        with _bar(console) as bar:
            work = bar.add_task(f"{len(tasks)} designs", total=len(every), completed=known)

            def done(task: Task, result: dict[str, Any]) -> None:
                bar.update(work, advance=1)
                if not console.is_terminal:
                    console.print(f"{bar.tasks[work].completed:.0f} of {len(every)}: {task.name}")
                if why := result.get("failed"):
                    bar.console.print(f"{task.name}: {escape(why)}", style="dim")

            run_tasks(tasks, store, done, address=cluster, workers=workers)
    finally:
        # After an interruption too: what there is, is shown.
        outcomes, waiting = evaluate(sweep, store)
        if outcomes:
            _publish(outcomes, sweep, out, console)
        if waiting:
            console.print(f"{waiting} points have no results yet; the same command goes on.")


def _publish(outcomes: list[SweepResult], sweep: Sweep, out: Path, console: Console) -> None:
    best = pareto(outcomes)
    screen = Console()
    _print(outcomes, best, screen if screen.is_terminal else Console(width=FILE_WIDTH))
    (out / "points.json").write_text(json.dumps(
        [outcome.to_dict() | {"pareto": outcome in best} for outcome in outcomes], indent=1))
    (out / "points.csv").write_text(csv_text(outcomes, best))
    written = ["points.json", "points.csv"]
    if best:
        draw(outcomes, best, _caption(sweep), out / "pareto.png")
        written.append("pareto.png")
    console.print(f"written to {escape(str(out))}: {', '.join(written)}", style="dim")


def _caption(sweep: Sweep) -> str:
    tools = ", ".join(f"{name} {version}" for name, version in board_tools(sweep.board).items())
    seeds = ", ".join(map(str, sweep.seeds))
    return (f"Board {sweep.board}. Area and clock: placed and routed, worst-case static timing, "
            f"seeds {seeds}. Cycles: computed, equal to the chip's counters. Energy: modelled from "
            "activity counted on the netlist with random weights; "
            "bars are 90 % intervals, and "
            f"cover the FPGA core alone. The line joins what no other point beats. Tools: {tools}.")


def _print(outcomes: list[SweepResult], best: list[SweepResult], console: Console) -> None:
    table = Table("", "clock", "device", "model", "sequences", box=None)
    for heading in ("logic", "block RAM", "max MHz", "cycles", "used", "tokens/s", "mW",
                    "tokens/J"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for o in outcomes:
        sizes = o.point.model.to_dict()
        table.add_row(
            "*" if o in best else "", f"{o.point.design.clock_hz / 1e6:g}",
            " ".join(f"{name}={value}" for name, value in o.point.design.device) or "-",
            f"V{sizes['vocab_size']} d{sizes['d_model']} L{sizes['n_layers']} "
            f"H{sizes['d_hidden']}", str(o.point.sequences),
            "" if o.logic is None else f"{o.logic:,}",
            "" if o.resources is None else str(block_rams(o.resources)),
            "" if o.fmax_median_hz is None else f"{o.fmax_median_hz / 1e6:.1f}",
            f"{o.cycles_per_token:,.10g}", f"{o.utilisation:.3f}",
            "" if o.tokens_per_s is None else f"{o.tokens_per_s:,.0f}",
            "" if o.power_mw is None else f"{o.power_mw.p50:.1f}",
            "" if o.tokens_per_joule is None else f"{o.tokens_per_joule.p50:,.0f}",
            escape(o.failed) if o.failed else
            f"{o.seeds_met} of {len(o.fmax_hz or {})} seeds meet the clock")
    console.print(table)
    console.print("* no other point beats it in area, speed and energy. max MHz: median of the "
                  "seeds.", style="dim")


def _bar(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                    TextColumn("tasks"), TimeElapsedColumn(), TextColumn("left"),
                    TimeRemainingColumn(), console=console, transient=True,
                    disable=not console.is_terminal)


def _numbers(text: str, kind: type) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise ExploreError(f"numbers with commas between them are wanted, not {text!r}") from error


def _ranges(text: str) -> list[int]:
    """Numbers and ranges, separated by commas."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, end = part.partition("-")
        start, *_ = _numbers(first, int)
        found += range(start, (_numbers(end, int)[0] if dash else start) + 1)
    return found


def _assignments(assignments: list[str] | None) -> dict[str, list[int]]:
    found = {}
    for text in assignments or []:
        name, equals, values = text.partition("=")
        if not equals:
            raise ExploreError(f"NAME=N,N is wanted, such as sequences=1,2, not {text!r}")
        found[name] = _numbers(values, int)
    return found
