"""``trilight training-speed``: tokens a second, memory and joules of training on this computer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from trilight.hw.support.terminal import Console

from .console import check_folder, write_json
from .train_options import Accelerator, torch_device

if TYPE_CHECKING:
    from trilight.sw.train.benchmark import Speed

__all__ = ["training_speed_command"]


def training_speed_command(
    steps: Annotated[int, typer.Option(
        "--steps", min=1, metavar="N", help="Steps of the trainer that are timed.")] = 40,
    device: Annotated[Accelerator, typer.Option(
        help="auto: the processor, and a GPU too if PyTorch finds one.")] = Accelerator.AUTO,
    batch: Annotated[int | None, typer.Option(
        min=1, help="Sequences of a step. \\[default: 16]")] = None,
    context: Annotated[int | None, typer.Option(
        min=1, help="Characters of each. \\[default: 128]")] = None,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the speeds to this file as JSON.")] = None,
) -> None:
    """Measure what a training step takes on a core of this processor, and on a GPU if there is one.

    The model fills the default board, and is trained on random text in several forms: with the
    recurrence written out as autograd has it, as one operator, compiled, and as a Transformer of
    as many weights. A core's own time counts, so that other programs slow the run down but hardly
    change the figure.
    """
    # PyTorch is needed here, and nowhere on the way to the help.
    from trilight.sw.train.benchmark import FORMS, measure
    from trilight.sw.train.machine import bf16_is_faster

    check_folder(json_file)
    found = torch_device(device)
    places = ["cpu", "cuda"] if device is Accelerator.AUTO and found == "cuda" else [found]
    speeds = []
    for place in places:
        bf16 = bf16_is_faster(place)
        for form in FORMS:
            with Console().status(f"{form.name}, {place}"):
                speeds.append(measure(form, device=place, bf16=bf16, steps=steps,
                                      batch_size=batch, context=context))
    Console().print(_table(speeds))
    if json_file is not None:
        write_json(json_file, {"speeds": [speed.to_dict() for speed in speeds]})


def _table(speeds: "list[Speed]") -> Table:
    table = Table("form", "device", "products", "tokens/s", "of the first", "kept for backward, MB",
                  "of the first", "peak, MB", "J/step", "start, s", box=None)
    first: dict[str, tuple[float, int]] = {}
    for speed in speeds:
        rate = speed.tokens_per_core_s or speed.tokens_per_s
        base = first.setdefault(speed.device, (rate, speed.saved_bytes))
        table.add_row(
            speed.form, speed.device, "bf16" if speed.bf16 else "fp32", f"{rate:,.0f}",
            f"{rate / base[0]:.2f}", f"{speed.saved_bytes / 1e6:,.1f}",
            f"{speed.saved_bytes / base[1]:.2f}",
            "-" if speed.peak_bytes is None else f"{speed.peak_bytes / 1e6:,.1f}",
            "-" if speed.joules_per_step is None else f"{speed.joules_per_step:.3g}",
            f"{speed.seconds_to_start:.0f}")
    return table
