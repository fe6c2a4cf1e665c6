"""The command that generates text."""

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from trilight.hw.support.boards import DEFAULT_BOARD, board_device, board_names
from trilight.hw.support.terminal import Console
from trilight.sw.api import open_board, report
from trilight.sw.checkpoint.model import is_imported
from trilight.sw.errors import TargetError
from trilight.sw.host.generation import MAX_TOKENS, check_request
from trilight.sw.model.bundled import bundled_model, default_model_path
from trilight.sw.model.model import Model
from trilight.sw.model.text import prompt_for
from trilight.sw.report.display import print_report

from .console import check_folder, progress_bar, tell_changes, write_file, write_json
from .display import TextDisplay
from .imported import Boards, generate_text
from .options import BoardsOption, JsonOption, ModelOption, QuietOption, refuse_boards

__all__ = ["default_model_of", "generate"]

MAX_WAVES = 32
WAVES_MB = 27
"""Tokens whose signals are drawn at most, and about how large each makes the file."""

TimeoutOption = Annotated[float, typer.Option(
    "--timeout", metavar="SECONDS", help="Of --boards: silence after which one counts as dead.")]

RestartsOption = Annotated[int, typer.Option(
    "--restarts", min=0, help="Of --boards: failures in a row that are recovered from, by a "
                              "restart and the sequences fed again. 0 makes the first an error.")]


def generate(
    prompt: Annotated[list[str], typer.Option(
        "--prompt", "-p", help="Text to go on from, at least one character. Given more than once, "
                               "the chip computes two at once.")],
    tokens: Annotated[int, typer.Option(
        "--tokens", "-n", help=f"Characters to generate, at most {MAX_TOKENS:,}.")] = 200,
    temperature: Annotated[float, typer.Option(
        "--temperature", "-t", help="0 takes the likeliest character always, 1 follows the "
                                    "model's probabilities.")] = 0.8,
    seed: Annotated[int, typer.Option(
        "--seed", "-s", help="The same seed gives the same text on every target. Of several "
                             "prompts the second has the next seed, and so on.")] = 0,
    target: Annotated[str, typer.Option(
        "--target", help="What runs the model: reference (integers in NumPy), rtl, netlist or "
                         "bitstream (the chip, simulated before and after synthesis and as a "
                         "bitstream configures it; bitstream:FILE for your own), serial:PORT "
                         "(a board).")] = "reference",
    boot: Annotated[bool, typer.Option(
        "--boot", help="Of a simulated chip: write the weights into its memory, as a boot from "
                       "flash does, rather than send them through its pins. Either way it is "
                       "asked, through its pins, for their CRC.")] = False,
    from_source: Annotated[bool, typer.Option(
        "--from-source", help="Synthesise and compile the chip of --target netlist, although the "
                              "released one is bundled.")] = False,
    waves: Annotated[Path | None, typer.Option(
        "--waves", metavar="FILE", help="Of a simulated chip: draw all its signals into this file "
                                        "while it runs, as VCD, for GTKWave or Surfer; at most "
                                        f"{MAX_WAVES} tokens, prompt included.")] = None,
    model: ModelOption = None,
    boards: BoardsOption = 1,
    timeout: TimeoutOption = 20.0,
    restarts: RestartsOption = 2,
    whole: Annotated[bool, typer.Option(
        "--report", help="Show all of the report: where each figure comes from, what it leaves "
                         "out, where the power goes.")] = False,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Generate text, shown as it arrives, then report speed, energy and quality."""
    for path in (json_file, waves):
        check_folder(path)
    console = Console(stderr=True)
    if model is not None and is_imported(model):
        spoken = generate_text(model, prompt, tokens=tokens, temperature=temperature, seed=seed,
                               boards=Boards(boards, target, timeout, restarts), console=console)
        if json_file is not None:
            write_json(json_file, spoken)
        return
    refuse_boards(boards)
    loaded = Model.load(model or default_model_of(target))
    for number, text in enumerate(prompt):
        if not loaded.tokenizer:  # which takes any text as it is
            prompt[number], changes = prompt_for(loaded.vocab, text)
            tell_changes(changes, "the prompt")
    if waves is not None:
        _check_waves(waves, prompt, tokens)
    seeds = range(seed, seed + len(prompt))
    for text, own_seed in zip(prompt, seeds, strict=True):
        check_request(loaded, text, tokens=tokens, temperature=temperature, seed=own_seed)
    with open_board(target, progress=lambda text: console.print(escape(text), style="dim"),
                    from_source=from_source, boot=boot, waves=waves) as board:
        with progress_bar(console, f"Loading the model into {target}") as advance:
            board.load(loaded, progress=advance)
        if boot:
            console.print("weights written into the memory as by a boot from flash, all else sent "
                          "through the pins; asked there, the chip gives the right CRC of them",
                          style="dim")
        stream = board.generate_many(prompt, tokens=tokens, temperature=temperature, seeds=seeds)
        with closing(stream), TextDisplay(prompt, live=sys.stdout.isatty() and not quiet) as show:
            for token in stream:
                show(token)
        results = report(board)
    if json_file is not None:
        write_json(json_file, results)
    if not quiet:
        console.print()
        print_report(results, console, whole=whole)


def _check_waves(waves: Path, prompts: Sequence[str], tokens: int) -> None:
    """Refuse a file that would be of many gigabytes, or that cannot be written."""
    drawn = sum(len(text) - 1 + tokens for text in prompts)
    if drawn > MAX_WAVES:
        raise TargetError(f"waves of {drawn:,} tokens, prompt included, would take "
                          f"{drawn * WAVES_MB / 1000:,.1f} GB; at most {MAX_WAVES} are drawn, as "
                          'with --prompt A --tokens 1')
    write_file(waves, b"")


def default_model_of(target: str) -> Path:
    """Return the largest bundled model that the board in a target's name holds, or the default."""
    _, _, board = target.partition(":")
    if board != DEFAULT_BOARD and board in board_names():
        return bundled_model(board_device(board)) or default_model_path()
    return default_model_path()
