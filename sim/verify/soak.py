"""Tokens by the hundred thousand: compiled design against reference, every stage, many models.

Models of random legal shapes and parameters are loaded through the pins, one after the other, and
run as a host would: prompts, generations, continuations, one sequence or two. Everything that the
traces show, every token and every counter has to equal the integer reference's.
"""

import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from trilight.hw.flow.build import BoardDesign, Hdl, elaborate, find_board, synthesise
from trilight.hw.support.boards import DEFAULT_BOARD, board_names
from trilight.hw.support.terminal import Console
from trilight.hw.support.tools import Progress as Say
from trilight.sim.native.bench import Bench
from trilight.sim.native.compile import NativeBench
from trilight.sim.sliced.chips import LANES, Chips
from trilight.sw.cli.console import stoppable, write_json

from .soak_campaign import SoakCampaign, soak, soak_together
from .soak_session import run_model

__all__ = ["soak_command"]


class SoakTarget(StrEnum):
    """Designs that can be run."""

    RTL = "rtl"
    NETLIST = "netlist"


def _print(total: dict[str, Any], console: Console) -> None:
    table = Table(box=None, show_header=False)
    for name, value in total.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    console.print(table)


def soak_command(
    target: Annotated[SoakTarget, typer.Option(
        help="rtl: before synthesis, fast; netlist: the cells of the bitstream.")] = SoakTarget.RTL,
    board: Annotated[str, typer.Option(
        help="Board whose design runs: " + ", ".join(board_names()) + ".")] = DEFAULT_BOARD,
    tokens: Annotated[int, typer.Option(min=1, help="How many to compare in all.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="All that is drawn follows from it.")] = 1,
    out: Annotated[Path | None, typer.Option(
        help="File of the results, which a later call goes on with. Default: "
             "build/soak/TARGET-SEED.jsonl, and BOARD before TARGET for another one.")] = None,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the totals to this file as JSON.")] = None,
    chips: Annotated[int, typer.Option(
        min=1, max=LANES, help="Chips of a netlist that one simulation runs at once, a model in "
                               "each.")] = 1,
    only: Annotated[int | None, typer.Option(
        min=0, help="Run the model of this number alone, for instance one that differed.")] = None,
) -> None:
    """Compare a compiled design with the integer reference, token by token and stage by stage.

    Draws models of legal shapes, corner cases among them, and runs prompts and generations of one
    sequence and of two. Ends at the first difference and says which model shows it. Ctrl-C loses
    only the models in progress: the same command goes on.
    """
    console = Console(stderr=True)
    make: dict[str, Callable[[BoardDesign, Say], Hdl]] = {"rtl": elaborate, "netlist": synthesise}

    def say(text: str) -> None:
        console.print(text, style="dim", markup=False)

    with stoppable(console):
        hdl = make[target](find_board(board), say)
        device = hdl.board.device_config

        def chip() -> Bench:
            return NativeBench(hdl, progress=say)

        if only is not None:
            _print(vars(run_model(chip, device, seed, only)), Console())
            return
        stem = f"{target}-{seed}" if board == DEFAULT_BOARD else f"{board}-{target}-{seed}"
        campaign = SoakCampaign(out or Path("build") / "soak" / f"{stem}.jsonl", hdl, seed)
        together = Chips(hdl, say) if chips > 1 else None
        with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                      TextColumn("tokens"), TimeRemainingColumn(), console=console) as bar:
            task = bar.add_task(target, total=tokens, completed=campaign.tokens)

            def show(done: int) -> None:
                bar.update(task, completed=done)

            if together is None:
                soak(chip, device, campaign, tokens, show)
            else:
                soak_together(together, campaign, tokens, chips, show)
        total = campaign.to_dict()
        _print(total, Console())
        console.print(f"results of each model: {campaign.journal.path}", style="dim")
        if json_file is not None:
            write_json(json_file, {"command": shlex.join(["trilight", *sys.argv[1:]]), **total})
