"""Speed of training on this computer: ``trilight training-speed``."""

from dataclasses import replace
from pathlib import Path
from time import monotonic, process_time
from typing import Annotated

import numpy as np
import torch
import typer
from rich.table import Table

from trilight.hw.support.boards import board_device
from trilight.hw.support.terminal import Console
from trilight.sw.cli.console import check_folder, write_json

from .corpus import Corpus
from .shape import choose_config
from .trainer import Options, Trainer, bf16_is_faster

__all__ = ["measure", "training_speed_command"]

_VOCABULARY = "".join(map(chr, range(32, 97)))
_WARM_UP_STEPS = 5


def measure(*, compiled: bool, bf16: bool, steps: int = 40) -> dict[str, float | bool]:
    """Train on random text with one thread.

    Returns
    -------
    dict
        ``compiled``, ``bf16``, ``characters_per_core_s`` (by processor time),
        ``characters_per_s`` (by the clock) and ``seconds_to_start``, compilation included.
    """
    torch.set_num_threads(1)
    tokens = np.random.default_rng(1).integers(len(_VOCABULARY), size=200_000)
    corpus = Corpus(name="random", sha256="", vocab=tuple(_VOCABULARY), train=tokens,
                    held_out=tokens[:0], held_out_text="")
    began = monotonic()
    options = replace(Options(), compiled=compiled, bf16=bf16)
    trainer = Trainer(choose_config(len(_VOCABULARY), board_device()), corpus, options)
    for _ in range(_WARM_UP_STEPS):
        trainer.advance()
    ready, busy, first = monotonic(), process_time(), trainer.characters
    for _ in range(steps):
        trainer.advance()
    characters = trainer.characters - first
    return {
        "compiled": compiled,
        "bf16": bf16,
        "characters_per_core_s": characters / (process_time() - busy),
        "characters_per_s": characters / (monotonic() - ready),
        "seconds_to_start": ready - began,
    }


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
