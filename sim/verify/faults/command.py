"""Command line of the fault campaigns: ``trilight faults --help``."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

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

from trilight.hw.support.boards import DEFAULT_BOARD, board_names
from trilight.hw.support.terminal import Console
from trilight.sw.cli.console import replace_json, tell_changes
from trilight.sw.errors import FaultsError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.model.text import read_text
from trilight.sw.report.summary import Row, write_section

from .campaign import EMULATED, TARGETS, UPSETS, file_stem, run_batches, run_one, summarise
from .loss import KINDS as LOSS_KINDS
from .loss import Losses, plot
from .loss import summarise as summarise_losses
from .pins import design_info
from .session import OUTCOMES

faults_commands = typer.Typer(no_args_is_help=True, add_completion=False,
                              pretty_exceptions_enable=False)

console = Console(stderr=True)

Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where results are kept.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything that is random.")]
BoardName = Annotated[str, typer.Option(
    "--board", "-b", metavar="NAME", autocompletion=board_names,
    help="Board whose design is simulated: " + ", ".join(board_names()) + ".")]


@faults_commands.callback()
def campaigns() -> None:
    """Inject faults and count what becomes of them.

    A campaign that was interrupted goes on where it was; the same seed gives the same faults.
    """


@faults_commands.command()
def link(
    count: Annotated[int, typer.Option(
        "--sessions", "-n", min=1, help="Some 38 faults come to a session.")] = 2700,
    seed: Seed = 1,
    target: Annotated[str, typer.Option(
        "--target", "-t", help=f"What is at the other end of the line: {', '.join(TARGETS)}; "
                               "device is the one emulated by the integer reference, hanging "
                               "that one as a chip that hangs.")] = "device",
    board: BoardName = DEFAULT_BOARD,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = 1,
    only: Annotated[int | None, typer.Option(
        "--only", metavar="NUMBER", help="Make the session of this number alone, and show what "
                                         "became of its requests.")] = None,
    out: Out = Path("build/faults"),
) -> None:
    """Faults of the line, of other programs and of the power, under a driver at work.

    A session opens a device, loads a model and generates after one sequence or two, ten times; each
    request has one to eight faults of one kind. All tokens are compared with the integer reference.
    After an error, requests without faults follow until their tokens are right. It fails if a token
    was wrong without an error, if a request did not end, or if the device did not come back.
    """
    if target not in TARGETS:
        raise FaultsError(f"there is no target {target!r}; there are {', '.join(TARGETS)}")
    if target in EMULATED and board != DEFAULT_BOARD:
        raise FaultsError(f"target {target} is the integer reference and no {board}; choose its "
                          "design with --target rtl or --target netlist")
    if only is not None:
        outcomes = run_one(target, seed, only, board)
        print(json.dumps([outcome.to_dict() for outcome in outcomes], indent=1))
        raise typer.Exit(int(any(outcome.bad for outcome in outcomes)))
    _campaign(target, board, seed, count, jobs, out)


@faults_commands.command()
def memory(
    count: Annotated[int, typer.Option(
        "--sessions", "-n", min=1, help="Sessions, each with one flipped bit.")] = 400,
    seed: Seed = 1,
    checked: Annotated[bool, typer.Option(
        "--weights/--others", help="Bits of the weights in use, which the chip checks, or of all "
                                   "other memories, which it does not.")] = True,
    board: BoardName = DEFAULT_BOARD,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = 1,
    out: Out = Path("build/faults"),
) -> None:
    """Flipped bits in the memories of the chip before synthesis, while a driver is at work.

    With --weights it fails unless each of them is found, by the request during which it was flipped
    or by the next one, and the tokens are right again. With --others it shows what becomes of them.
    """
    _campaign("weights" if checked else "memories", board, seed, count, jobs, out)


@faults_commands.command()
def loss(
    corpus: Annotated[Path, typer.Option(
        "--corpus", metavar="FILE", help="Text of which the end is scored.")],
    flips: Annotated[int, typer.Option("--flips", "-n", min=1, help="Of each kind.")] = 32,
    characters: Annotated[int, typer.Option(
        "--characters", min=32, help="How many are scored.")] = 1024,
    model: Annotated[Path | None, typer.Option(
        "--model", metavar="FILE", help="Default: the bundled one.")] = None,
    seed: Seed = 1,
    out: Out = Path("build/faults"),
) -> None:
    """Measure what a flipped bit costs in nats per character, by the integer reference.

    One bit is flipped at a time: of a weight, a multiplier, a table, or of the state of a text in
    progress. It plots the distributions if matplotlib is installed.
    """
    chosen = Model.load(model or default_model_path())
    read = read_text(corpus)
    tell_changes(read.changes, corpus.name)
    losses = Losses(chosen, read.text, characters)
    changes: dict[str, list[float]] = {kind: [] for kind in LOSS_KINDS}
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        for kind in bar.track(LOSS_KINDS, description="kinds"):
            number = 0
            while len(changes[kind]) < flips:
                changes[kind] += losses.changes(kind, seed, number)
                number += 1
    document = {"command": _command(), "seed": seed, "characters": characters,
                "model_sha256": chosen.sha256, "nats_per_char": losses.nats,
                "kinds": summarise_losses(changes), "changes": changes}
    replace_json(out / "loss.json", document)
    table = Table("bit of", "flips", "mean", "median", "p90", "max", "above 0.01")
    for kind, row in summarise_losses(changes).items():
        table.add_row(kind, f"{row['flips']:.0f}",
                      *(f"{row[name]:+.4f}" for name in ("mean", "median", "p90", "max")),
                      f"{row['above_0.01']:.0%}")
    Console().print(table)
    console.print(f"change in nats per character, from {losses.nats:.3f}; seed {seed}; "
                  f"{out / 'loss.json'}", style="dim")
    if plot(changes, out / "loss.svg"):
        console.print(f"{out / 'loss.svg'}", style="dim")


def _command() -> str:
    return shlex.join(["trilight", *sys.argv[1:]])


def _leave_topic(out: Path, seed: int) -> None:
    """Leave what the campaigns of this seed so far have given for the summary of all checks."""
    rows: list[Row] = []
    for target in (*TARGETS, *UPSETS):
        try:
            document = json.loads((out / f"{target}.json").read_text())
        except (OSError, ValueError):
            continue
        if document["seed"] != seed:
            continue
        rows.append((f"{target}: injected", document["injected"], "faults"))
        rows += [(f"{target}: {outcome}", number, "requests")
                 for outcome, number in document["outcomes"].items() if number]
    write_section("faults", "Faults", rows, seed=seed, command="make faults")


def _campaign(target: str, board: str, seed: int, count: int, jobs: int, out: Path) -> None:
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("sessions", total=count)
        outcomes = run_batches(
            target, seed, count, out, board=board, jobs=jobs,
            progress=lambda done, faults, bad: bar.update(
                task, completed=min(done, count), description=f"sessions, {faults:,} faults"
                + (f", [red]{bad} went wrong[/]" if bad else "")))
    document = {"command": _command(), "board": board, **design_info(target, board),
                **summarise(target, seed, outcomes)}
    path = out / f"{file_stem(target, board)}.json"
    replace_json(path, document)
    _leave_topic(out, seed)
    table = Table("kind", "faults", "requests", *OUTCOMES, "median s", "most s")
    for name, row in [*document["kinds"].items(), ("all", {**document, "seconds": None})]:
        seconds = row["seconds"] or {"median": float("nan"), "max": float("nan")}
        table.add_row(name, *(f"{number:,}" for number in (
            row["injected"], row["requests"], *row["outcomes"].values())),
            *(f"{value:.3f}" for value in seconds.values()))
    Console(width=max(console.width, 150)).print(table)
    console.print(f"seed {seed}; {path}", style="dim")
    if document["bad"]:
        first = document["bad"][0]
        console.print(f"[red]{len(document['bad'])} requests went as they must not[/], the first "
                      f"in session {first['session']}: {first['outcome']}, "
                      f"{escape(first['detail'])}; repeat it with --only {first['session']}")
        raise typer.Exit(1)
