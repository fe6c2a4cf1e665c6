"""``trilight training-speed``: characters a second of training on this computer."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from trilight.hw.support.terminal import Console

from .console import check_folder, write_json

__all__ = ["training_speed_command"]


def training_speed_command(
    steps: Annotated[int, typer.Option(
        "--steps", min=1, metavar="N", help="Steps of the trainer that are timed.")] = 40,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the speeds to this file as JSON.")] = None,
) -> None:
    """Measure the speed of training on one core of this computer, in characters a second.

    The model fills the default board. It is trained on random text, as written and compiled. The
    core's own time counts, so that other programs slow the run down but hardly change the figure.
    """
    # PyTorch is needed here, and nowhere on the way to the help.
    from trilight.sw.train.benchmark import measure
    from trilight.sw.train.machine import bf16_is_faster

    check_folder(json_file)
    table = Table("code", "products", "characters/s of a core", "by the clock", "start", box=None)
    bf16 = bf16_is_faster("cpu")
    results = [measure(compiled=compiled, bf16=bf16, steps=steps) for compiled in (False, True)]
    for result in results:
        table.add_row("compiled" if result["compiled"] else "as written",
                      "bf16" if bf16 else "fp32", f"{result['characters_per_core_s']:,.0f}",
                      f"{result['characters_per_s']:,.0f}", f"{result['seconds_to_start']:.0f} s")
    Console().print(table)
    if json_file is not None:
        write_json(json_file, {"speeds": results})
