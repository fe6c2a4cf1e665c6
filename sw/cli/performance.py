"""The command that shows the cycles of a model, and where they go."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import DEFAULT_BOARD, board_device, board_names, load_board
from trilight.hw.support.terminal import Console
from trilight.sw.errors import PerformanceError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.report.performance import Performance, predict

from .console import check_clock, check_folder, write_json

__all__ = ["performance_command"]

SIZES = ("vocab_size", "d_model", "n_layers", "d_hidden")

MAX_WIDE, MAX_LAYERS = 2048, 64
"""Sizes of a model, at most: far larger ones would be computed for minutes."""


def performance_command(
    model: Annotated[Path | None, typer.Option(
        "--model", "-m", metavar="FILE",
        help="Model file. Default: the bundled one.")] = None,
    d_model: Annotated[int | None, typer.Option(
        "--d-model", metavar="N", max=MAX_WIDE,
        help="Channels, instead of the model's.")] = None,
    d_hidden: Annotated[int | None, typer.Option(
        "--d-hidden", metavar="N", max=MAX_WIDE,
        help="Hidden units of the GLU, instead of the model's.")] = None,
    n_layers: Annotated[int | None, typer.Option(
        "--n-layers", metavar="N", max=MAX_LAYERS,
        help="Layers, instead of the model's.")] = None,
    vocab_size: Annotated[int | None, typer.Option(
        "--vocab-size", metavar="N", max=MAX_WIDE,
        help="Tokens, instead of the model's.")] = None,
    model_shape: Annotated[str | None, typer.Option(
        "--model-shape", metavar="V,D,L,H",
        help="All four sizes at once: tokens, channels, layers, hidden units.")] = None,
    sequences: Annotated[int, typer.Option(
        "--sequences", metavar="N", help="Sequences that are generated at once.")] = 1,
    board: Annotated[str, typer.Option(
        "--board", metavar="NAME", help="Board whose chip is computed.")] = DEFAULT_BOARD,
    clock: Annotated[float | None, typer.Option(
        "--clock", metavar="HZ", help="Clock, for tokens per second. Default: the "
                                      "board's.")] = None,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the results to this file as JSON.")] = None,
) -> None:
    """Show how many cycles a token takes, by stage, and what the weight memory waits for.

    Computed from the sizes alone; nothing is simulated, and the model need not exist. Exact to the
    cycle for weights on the chip or from flash, within 1 % for weights from SDRAM.

    A board whose weights stream from outside: trilight performance --board ulx3s-85f-sdram
    --model-shape 1024,320,5,544 --clock 75e6
    """
    check_folder(json_file)
    clock = float(load_board(board).default_hz) if clock is None else clock
    check_clock(clock)
    if model_shape is not None:
        vocab_size, d_model, n_layers, d_hidden = _shape(model_shape)
    given = dict(zip(SIZES, (vocab_size, d_model, n_layers, d_hidden), strict=True))
    sizes = {name: value for name, value in given.items() if value is not None}
    if len(sizes) < len(SIZES):
        sizes = Model.load(model or default_model_path()).config.to_dict() | sizes
    try:
        config = ModelConfig(**sizes)
    except ValueError as error:
        raise PerformanceError(str(error)) from error
    found = predict(config, sequences=sequences, device=board_device(board))
    results = found.to_dict() | {"clock_hz": clock,
                                 "tokens_per_s": clock / found.cycles_per_token,
                                 "roofline_tokens_per_s": clock / found.roofline_cycles}
    _print(found, results, Console())
    if json_file is not None:
        write_json(json_file, results)


def _shape(text: str) -> tuple[int, int, int, int]:
    """Sizes of a model, as one option gives them."""
    try:
        vocab_size, d_model, n_layers, d_hidden = map(int, text.split(","))
    except ValueError:
        raise PerformanceError(f"a model's shape is four whole numbers with commas between them, "
                               f"such as 1024,320,5,544, not {text!r}") from None
    return vocab_size, d_model, n_layers, d_hidden


def _homes(model: ModelConfig) -> str:
    """The smallest board that holds a model, as a sentence."""
    devices = [(board_device(name), name) for name in board_names()]
    fits = sorted((device.weight_words * device.packing.block, name) for device, name in devices
                  if not model.violations(device))
    if fits:
        return f"The smallest memory that holds it is that of {fits[0][1]}."
    need = model.weight_words(devices[0][0].packing) * 8
    return (f"No board of this release holds it: its weights take {need / 1e6:,.1f} MB, and "
            f"{model.d_model * model.n_layers:,} channels have to fit block RAM.")


def _print(found: Performance, results: dict[str, Any], console: Console) -> None:
    sizes = ", ".join(f"{name} {value}" for name, value in found.model.to_dict().items())
    console.print(f"{sizes}; sequences at once: {found.sequences}", highlight=False)
    console.print()
    table = Table("stage", box=None)
    for heading in ("cycles", "words", "used"):
        table.add_column(heading, justify="right")
    table.add_column("the weight memory waits for")
    for stage in found.stages:
        name = stage.name if found.sequences == 1 else f"{stage.name}, sequence {stage.sequence}"
        used = stage.weights / (found.device.packing.block * stage.cycles)
        table.add_row(name, f"{stage.cycles:,}", f"{stage.words:,}", f"{used:.3f}",
                      ", ".join(f"{what} {cycles}" for what, cycles in stage.gaps.items()))
    console.print(table)
    console.print()
    summary = Table(box=None, show_header=False)
    summary.add_row("cycles per token", f"{found.cycles_per_token:,g}", "computed")
    summary.add_row("cycles per token of a prompt", f"{found.prompt_cycles_per_token:,g}",
                    "computed")
    summary.add_row("cycles per token, roofline", f"{found.roofline_cycles:,g}",
                    f"weights / {found.device.packing.block}: no gap, no padding")
    summary.add_row("weights used per lane and cycle", f"{found.utilisation:.4f}", "")
    summary.add_row("tokens per second", f"{results['tokens_per_s']:,.0f}",
                    f"at {results['clock_hz'] / 1e6:g} MHz; roofline "
                    f"{results['roofline_tokens_per_s']:,.0f}")
    if found.device.streamed:
        summary.add_row("memory outside, use of its bandwidth", f"{found.outside_use:.3f}",
                        "of what rows and refreshes leave")
        summary.add_row("cycles that the engine waits for it",
                        f"{found.gaps.get('memory outside', 0):,g}",
                        "per token; the chip counts them within 3 %")
    summary.add_row("what binds", found.binds, ", ".join(
        f"{what} {cycles:,.0f}" for what, cycles in found.limits.items()))
    summary.add_row("weight memory", f"{found.model.weight_words(found.device.packing):,}",
                    f"of {found.device.weight_words:,} words")
    console.print(summary)
    for violation in found.violations:
        console.print(f"Does not fit {found.device.name}: {violation}")
    if found.violations:
        console.print(_homes(found.model))
