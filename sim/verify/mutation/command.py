"""Small faults in gateware and host, and whether the tests notice: ``trilight mutation``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from trilight.hw.flow.build import find_board
from trilight.hw.support.boards import DEFAULT_BOARD, board_device, board_names
from trilight.hw.support.terminal import Console
from trilight.sw.cli.console import progress_bar, write_json
from trilight.sw.errors import SimulationError

from . import host
from .benches import BenchCampaign
from .campaign import MutantOutcome, MutationCampaign
from .mutants import Mutant
from .results import asked_again, document, survivors, table

DEFAULT_SEED = 1
DEFAULT_FOLDER = Path("build") / "mutation"

mutation_commands = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="Mutate gateware or host, and count which mutants the tests notice.")

Number = Annotated[int, typer.Option(help="About how many mutants.", min=1)]
Seed = Annotated[int, typer.Option(min=0, help="What all random choices follow from.")]
Folder = Annotated[Path, typer.Option(help="Where results are kept; a campaign goes on from them.")]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the figures there.")]


def _report(found: dict[str, object], title: str, path: Path | None) -> None:
    Console().print(table(found, title))
    if path is not None:
        write_json(path, found)


def _read(path: Path) -> dict[str, Any]:
    """Return what ``--json`` wrote."""
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if not {"all", "modules", "not_killed", "seed"} <= found.keys():
            raise ValueError("it has other fields")
    except (OSError, ValueError, AttributeError) as error:
        raise SimulationError(f"{path} is not what a campaign's --json wrote: {error}") from error
    return found


@mutation_commands.command()
def gateware(
    number: Number = 2000,
    limit: Annotated[int | None, typer.Option(
        help="Try only the first of them, which are a sample of all.", min=1)] = None,
    seed: Seed = DEFAULT_SEED,
    quick: Annotated[bool, typer.Option(
        "--quick", help="Without the large models, which few mutants need.")] = False,
    again: Annotated[Path | None, typer.Option(
        "--again", metavar="FILE", exists=True, dir_okay=False,
        help="Only the survivors in a file of --json, of the same design, after the regression has "
             "learnt to say more.")] = None,
    board: Annotated[str, typer.Option(
        "--board", "-b", metavar="NAME", autocompletion=board_names,
        help="Board whose design is mutated; one with the default board's sizes, which the "
             "regression is written for.")] = DEFAULT_BOARD,
    asked: Annotated[Literal["pins", "benches", "tests"], typer.Option(
        help="Who is asked. pins: the campaign's own regression, through the chip's pins; benches: "
             "the cocotb benches, block by block; tests: tests/hw, of mutants of the sources.",
    )] = "pins",
    folder: Folder = DEFAULT_FOLDER,
    json_path: Json = None,
) -> None:
    """Mutate the gateware and run the regression, the benches or tests against each mutant.

    Results are written as they come; Ctrl-C loses nothing, and the same command goes on.
    """
    console = Console(stderr=True)
    if asked != "pins":
        if quick or again is not None or limit is not None or board != DEFAULT_BOARD:
            raise SimulationError("--quick, --again, --limit and --board are of --asked pins; "
                                  f"--asked {asked} tries --number mutants of the default board")
        _asked_otherwise(asked, number, seed, folder, json_path, console)
        return

    def say(text: str) -> None:
        console.print(escape(text), style="dim")

    known, sizes = board_device(), board_device(board)
    if replace(sizes, name=known.name, weight_memory=known.weight_memory) != known:
        raise SimulationError(f"the regression is written for the sizes of the {known.name}, and "
                              f"those of {board} are others; choose {DEFAULT_BOARD} or a board of "
                              "the same sizes, and see trilight soak for the others")
    earlier = None if again is None else _read(again)
    if earlier is not None:
        seed = earlier["seed"]
    console.print(f"seed: {seed}")
    campaign = MutationCampaign(
        find_board(board), number=number, seed=seed, folder=folder, thorough=not quick,
        mutants=None if earlier is None else [Mutant(result.mutation, result.sources)
                                              for result in survivors(earlier)], progress=say)
    if earlier is not None and earlier.get("design_sha256") != campaign.prepared.design_sha256:
        raise SimulationError(f"{again} is of another design; run the whole campaign")
    total = min(len(campaign.mutants), limit or len(campaign.mutants))
    finished = 0
    with progress_bar(console, "mutants") as show:
        def count(outcome: MutantOutcome) -> None:
            nonlocal finished
            finished += 1
            show(finished, total)
            if outcome.verdict == "survived":
                say(f"survives: {outcome.mutation}")

        try:
            results = campaign.run(count, limit)
        except KeyboardInterrupt:
            say(f"stopped; the same command goes on from {campaign.journal.path}")
            raise SystemExit(130) from None
    command = (f"trilight mutation gateware --number {number} --seed {seed}"
               + f" --board {board}" * (board != DEFAULT_BOARD))
    if earlier is not None:
        found = asked_again(earlier, results)
    else:
        found = document(results, chosen=len(campaign.mutants), seed=seed,
                         command=command + " --quick" * quick + f" --limit {limit}" * bool(limit),
                         design_sha256=campaign.prepared.design_sha256)
    _report(found, "gateware", json_path)


def _asked_otherwise(asked: str, number: int, seed: int, folder: Path, json_path: Path | None,
                     console: Console) -> None:
    """Ask the benches or the tests."""
    def say(text: str) -> None:
        console.print(escape(text), style="dim")

    console.print(f"seed: {seed}")
    facts = {}
    if asked == "benches":
        campaign = BenchCampaign(find_board(), number=number, seed=seed, folder=folder,
                                 progress=say)
        results, chosen = campaign.run(
            lambda result: say(f"survives: {result.module} {result.mutation}")
            if result.verdict == "survived" else None), campaign.chosen
        facts = {"design_sha256": campaign.design_sha256}
    else:
        results, chosen = host.campaign(folder / "host", number, seed, 1, say, "gateware")
    found = document(results, chosen=chosen, seed=seed, **facts, command=(
        f"trilight mutation gateware --asked {asked} --number {number} --seed {seed}"))
    _report(found, f"gateware, asked: {asked}", json_path)


@mutation_commands.command(name="host")
def host_command(
    number: Number = 300,
    seed: Seed = DEFAULT_SEED,
    processes: Annotated[int, typer.Option(help="Mutants at once.", min=1)] = 1,
    each: Annotated[int | None, typer.Option(
        help="As many mutants of each module, in place of --number of all.", min=1)] = None,
    modules: Annotated[list[str] | None, typer.Option(
        "--module", metavar="FILE", help="Only this module, as sw/meters/units.py; may be "
                                         "repeated.")] = None,
    part: Annotated[Literal["core", "rest"], typer.Option(
        help="core: reference, compiler and driver; rest: what measures, reports, trains and "
             "builds.")] = "core",
    folder: Folder = DEFAULT_FOLDER,
    json_path: Json = None,
) -> None:
    """Mutate the host's Python, and run the tests that are about it against each mutant.

    mutmut does the work, in a copy of the sources; what it has found out it keeps.
    """
    console = Console(stderr=True)
    console.print(f"seed: {seed}")
    results, chosen = host.campaign(folder / "host", number, seed, processes,
                                  lambda text: console.print(escape(text), style="dim"), part,
                                  each=each, only=modules or ())
    size = f"--number {number}" if each is None else f"--each {each}"
    found = document(results, chosen=chosen, seed=seed, command=" ".join([
        f"trilight mutation host {size} --seed {seed}",
        *([f"--part {part}"] if part != "core" else []),
        *(f"--module {module}" for module in modules or ())]))
    _report(found, "host", json_path)


@mutation_commands.command()
def show(path: Annotated[Path, typer.Argument(
        metavar="FILE", help="What --json wrote.", exists=True, dir_okay=False)]) -> None:
    """Print the figures of a campaign."""
    _report(_read(path), path.stem, None)
