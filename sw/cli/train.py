"""``trilight train``: from a text file to a model file."""

import json
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from trilight.hw.support.boards import DEFAULT_BOARD, board_device
from trilight.hw.support.extras import pip_install
from trilight.hw.support.terminal import Console
from trilight.sw.errors import TrainingError
from trilight.sw.model.model import Model
from trilight.sw.train.corpus import read_corpus, read_labelled
from trilight.sw.train.energy import processor_energy
from trilight.sw.train.recipe import load_recipe, recipe_names

from .console import tell_changes
from .train_display import announce, show_float, show_model
from .train_options import (
    Accelerator,
    Compile,
    NetworkKind,
    Optimizer,
    Precision,
    chosen_values,
    is_compiled,
    network_shape,
    step_size,
    torch_device,
)
from .train_progress import train
from .train_result import TrainingRun, finish
from .train_resume import CHECKPOINT_NAME, check_paths, refuse_settings, resume_line
from .train_start import check_start, load_start, start_numbers
from .train_targets import TARGET_FILES, load_teachers, prepare_targets

__all__ = ["train_command"]

MAX_WIDE, MAX_LAYERS = 8192, 128
"""Largest width and depth: far more than a board holds or a computer trains in a year."""

_INTERRUPTED = 130
_NO_SETTING = {"recipe", "corpus", "out", "checkpoint", "resume", "force", "help"}
"""Options that a recipe cannot hold."""


def _use_recipe(context: typer.Context, name: str | None) -> str | None:
    """Take what a recipe says for the options that are not given."""
    if name is not None:
        options = {option.name for option in context.command.params if option.name} - _NO_SETTING
        recipe = load_recipe(name, {option.rstrip("_") for option in options})
        context.default_map = {
            **(context.default_map or {}),
            **{key + "_" * (key not in options): value for key, value in recipe.train.items()}}
        context.obj = recipe
    return name


def train_command(
    context: typer.Context,
    corpus: Annotated[Path, typer.Option(help="Text to learn from, UTF-8.")],
    out: Annotated[Path, typer.Option(help="Model file to write, e.g. mine.safetensors.")],
    from_: Annotated[Path | None, typer.Option(
        "--from", metavar="FILE", help="Model file to go on from, in place of random numbers: its "
                                       "characters and shape. A smaller --hidden or --d-model "
                                       "prunes the units that matter least first.")] = None,
    board: Annotated[str, typer.Option(
        help="Board whose memory the model is to fill.")] = DEFAULT_BOARD,
    recipe: Annotated[str | None, typer.Option(
        "--recipe", is_eager=True, callback=_use_recipe, metavar="NAME",
        help=f"Settings, where no other option is given, and the memory to fill: "
             f"{', '.join(recipe_names())}, or a .toml file.")] = None,
    teacher: Annotated[list[Path] | None, typer.Option(
        help="Teacher of a distillation: a network that --network float trained on the same text. "
             "Repeat it for an ensemble, whose probabilities are the mean.")] = None,
    synthetic: Annotated[int, typer.Option(
        min=0, help="Characters of synthetic text that the teachers generate, to train on beside "
                    "the corpus."
    )] = 0,
    synthetic_batch: Annotated[int | None, typer.Option(
        min=1, help="How many sequences of a batch are synthetic. \\[default: all but one]",
    )] = None,
    batch: Annotated[int | None, typer.Option(
        min=1, max=65_536, help="Sequences that a step reads side by side; hundreds fill a GPU. "
                                "\\[default: 16; labelled lines: 64; transformer: 8]")] = None,
    context_: Annotated[int | None, typer.Option(
        "--context", min=1, max=65_536,
        help="Characters of each that a step reads, and gradients reach back. "
             "\\[default: 128; transformer: 256]")] = None,
    synthetic_writers: Annotated[int, typer.Option(
        min=1, max=65_536, help="Synthetic texts that are written side by side; thousands on a "
                                "GPU.")] = 256,
    soft_targets_top: Annotated[int | None, typer.Option(
        min=1, metavar="K", help="Keep soft targets of the K most probable tokens of each place; "
                                 "a large vocabulary needs it. \\[default: of all, or 64 where "
                                 "there are more than 256]")] = None,
    targets_folder: Annotated[Path | None, typer.Option(
        "--soft-targets", metavar="FOLDER",
        help="Keep soft targets and synthetic text here, for other seeds and settings; a gigabyte "
             "for ten million characters. \\[default: with the checkpoint, and deleted with it]",
    )] = None,
    characters: Annotated[int | None, typer.Option(
        min=1, help="Characters to train on, the text read again and again. "
                    "\\[default: 15,000,000]")] = None,
    minutes: Annotated[float | None, typer.Option(
        min=0.01, help="Train for about this long instead, by the speed of a short trial.",
    )] = None,
    network: Annotated[NetworkKind, typer.Option(
        help="ternary: a model for a board. float: the same structure in floating point, a "
             "teacher. transformer: for comparison.")] = NetworkKind.TERNARY,
    d_model: Annotated[int | None, typer.Option(
        min=1, max=MAX_WIDE, help="Width of the model. "
                                   "\\[default: what fills the board; float: 256]")] = None,
    layers: Annotated[int | None, typer.Option(
        min=1, max=MAX_LAYERS, help="Layers. "
                                     "\\[default: what fills the board; float: 4]")] = None,
    hidden: Annotated[int | None, typer.Option(
        min=1, max=MAX_WIDE, help="Width of the gated unit. "
                                   "\\[default: what fills the board; float: 512]")] = None,
    seed: Annotated[int, typer.Option(
        min=0, help="Start of all randomness; on one machine it decides the model.")] = 1,
    optimizer: Annotated[Optimizer, typer.Option(
        help="What steps the matrices: adamw, or muon, which learns more from a character and "
             "takes a quarter longer for it.")] = Optimizer.ADAMW,
    learning_rate: Annotated[float | None, typer.Option(
        min=1e-6, max=1.0, help="The highest. \\[default: 0.005; float: 0.002]")] = None,
    weight_decay: Annotated[float | None, typer.Option(
        min=0.0, help="\\[default: 0.05; float: 0.1]")] = None,
    dropout: Annotated[float | None, typer.Option(
        min=0.0, max=0.9, help="Share of a branch's inputs left out. "
                               "\\[default: 0.1, with teachers 0; float: 0.3]")] = None,
    state_reset: Annotated[float | None, typer.Option(
        min=0.0, max=1.0, help="Probability that the state of a sequence is reset before a "
                               "chunk, as a device's is before a prompt. "
                               "\\[default: 0.125; float: 0]")] = None,
    ternary_threshold: Annotated[float, typer.Option(
        min=0.05, max=5.0, help="Magnitude, in parts of a matrix's mean, below which a weight "
                                "becomes 0: more makes more zeros.")] = 0.5,
    ema: Annotated[float, typer.Option(
        min=0.0, max=0.9999, help="Decay of the exponential moving average (EMA) of the weights, "
                                  "which becomes the model; 0 takes the last weights.")] = 0.995,
    label_weight: Annotated[float | None, typer.Option(
        min=0.01, max=1000.0, metavar="W",
        help="The corpus is a file of lines, each a text, a tab and a label, and the model is to "
             "tell the labels (trilight classify): their weight beside all other characters; "
             "10 is a start.")] = None,
    held_out_lines: Annotated[int | None, typer.Option(
        min=1, help="Of labelled lines: how many of the last are held out. "
                    "\\[default: a twentieth]")] = None,
    subwords: Annotated[int | None, typer.Option(
        min=256, max=32_768, metavar="N",
        help="Tokens are N sub-words (byte-level BPE), learnt from the text, in place of "
             "characters; any text is then a prompt. Needs the extra tokens.")] = None,
    development: Annotated[bool, typer.Option(
        "--development", help="For choosing between methods: leave the last 10 % of the text "
                              "alone and hold out the last 5 % of what remains.")] = False,
    drop_repeats: Annotated[bool, typer.Option(
        "--drop-repeats", help="Leave out of the text to train on the lines of 32 characters or "
                               "more that it has twice, and those that are held out.")] = False,
    device: Annotated[Accelerator, typer.Option(help="Where to train.")] = Accelerator.AUTO,
    precision: Annotated[Precision, typer.Option(
        help="Arithmetic of matrix products; auto takes the faster.")] = Precision.AUTO,
    compile_: Annotated[Compile, typer.Option(
        "--compile", help="Run as compiled code, which is faster after a minute and takes a C++ "
                          "compiler; auto does so for a long training.")] = Compile.AUTO,
    threads: Annotated[int | None, typer.Option(
        min=1, help="Processor threads. \\[default: one for each core]")] = None,
    checkpoint: Annotated[Path | None, typer.Option(
        help="Folder for the checkpoint. \\[default: next to --out]")] = None,
    resume: Annotated[bool, typer.Option(
        "--resume", help="Go on from the checkpoint; its shape and settings hold.")] = False,
    force: Annotated[bool, typer.Option(
        "--force", help="Write over the file of --out, if there is one.")] = False,
) -> None:
    """Train a model on a text file, measure it and write it.

    The first 90 % of the text are trained on; the rest is held out, and the finished integer model
    is measured on it. Ctrl-C saves a checkpoint and prints how to go on.
    """
    if characters is not None and minutes is not None:
        raise TrainingError("--characters and --minutes exclude each other; give one of them")
    teachers = teacher or []
    if synthetic and not teachers:
        raise TrainingError("--synthetic needs a --teacher that generates the text")
    folder = checkpoint or out.parent / (out.name + ".checkpoint")
    saved = folder / CHECKPOINT_NAME
    check_paths(out, saved, resume=resume, force=force)
    if find_spec("torch") is None:
        raise TrainingError("training needs PyTorch, which is not installed; "
                            + pip_install("trilight[train]"))
    chip = context.obj.memory if recipe and context.obj.memory else board_device(board)
    if label_weight and (teachers or network is not NetworkKind.TERNARY):
        raise TrainingError("--label-weight goes with --network ternary and without --teacher")
    if label_weight and subwords:
        raise TrainingError("--label-weight goes with characters, and without --subwords")
    if held_out_lines and not label_weight:
        raise TrainingError("--held-out-lines needs --label-weight")
    if from_ and subwords:
        raise TrainingError("--from goes on with the tokens of its model; leave out --subwords")
    if drop_repeats and label_weight:
        raise TrainingError("--drop-repeats is for plain text; of labelled lines those that are "
                            "held out too are left out anyway")
    base = load_start(from_, network)
    text = (read_labelled(corpus, max_vocab=chip.max_vocab, held_out=held_out_lines,
                          development=development, like=base) if label_weight else
            read_corpus(corpus, max_vocab=chip.max_vocab, development=development,
                        subwords=subwords, like=base, drop_repeats=drop_repeats))
    tell_changes(text.changes, corpus.name)

    import torch

    from trilight.sw.train.machine import bf16_is_faster, characters_in
    from trilight.sw.train.options import Options
    from trilight.sw.train.trainer import Trainer

    if threads is not None:
        torch.set_num_threads(threads)
    place = torch_device(device)
    console = Console()
    faster = bf16_is_faster(place)
    bf16 = faster if precision is Precision.AUTO else precision is Precision.BF16
    ensemble = load_teachers(teachers, text, place, bf16=bf16)
    distillation, names = None, ""
    if resume:
        refuse_settings(context)
    if ensemble:
        names = json.dumps([synthetic, [model.sha256 for model in ensemble]])
        distillation = prepare_targets(console, targets_folder or folder, ensemble, text,
                                       synthetic, writers=synthetic_writers,
                                       top=soft_targets_top, device=place)
    if resume:
        trainer = Trainer.resume(saved, text, distillation=distillation, teachers=names,
                                 device=place)
        check_start(trainer.options, base)
    else:
        config = network_shape(network, len(text.vocab), chip, base, d_model=d_model,
                               layers=layers, hidden=hidden)
        length = characters or Options.characters
        given = {"learning_rate": learning_rate, "weight_decay": weight_decay, "dropout": dropout,
                 "state_reset": state_reset}
        step = step_size(network, text, label_weight, batch=batch, context=context_,
                         synthetic_batch=synthetic_batch)
        options = Options(
            network=network.value, seed=seed, ema_decay=ema, optimizer=optimizer.value,
            **chosen_values(network, given, distilled=bool(ensemble), labelled=bool(label_weight)),
            ternary_threshold=ternary_threshold, **step, bf16=bf16, characters=length,
            start_sha256=base.sha256 if base else "",
            compiled=is_compiled(compile_, length, place,
                                 steady=minutes is None and not label_weight))
        if minutes is not None:
            options = replace(options, characters=characters_in(
                minutes, config, text, options, device=place))
        trainer = Trainer(config, text, options, distillation=distillation, teachers=names,
                          device=place,
                          start=start_numbers(base, config, text, options) if base else None)
    if trainer.options.bf16 and not faster:
        console.print("This processor emulates bf16 products, which takes up to a hundred times as "
                      "long; train from scratch with --precision auto.", style="yellow")
    _carry_out(console, TrainingRun(trainer, out, chip, tuple(teachers), synthetic,
                                    synthetic_writers, soft_targets_top, ensemble, recipe, from_),
               saved, resume_line(context))


def _carry_out(console: Console, run: TrainingRun, saved: Path, again: str) -> None:
    """Train, write the model and show it.

    Parameters
    ----------
    saved : Path
        The checkpoint, which is deleted at the end.
    again : str
        Command that goes on from it.
    """
    trainer, out = run.trainer, run.out
    announce(console, run)
    with processor_energy() as energy:
        finished = train(console, trainer, saved)
    if not finished:
        console.print(f"Stopped after {trainer.characters:,} characters. Go on with\n  "
                      + escape(again), soft_wrap=True)
        raise typer.Exit(_INTERRUPTED)
    model = finish(console, replace(run, energy=energy))
    try:
        model.save(out)
    except OSError as error:
        raise TrainingError(f"cannot write {out}: {error.strerror}; the training is kept, "
                            f"make room and go on with\n  {again}") from error
    for file in (saved, *saved.parent.glob(TARGET_FILES)):
        file.unlink()
    with suppress(OSError):  # the folder may hold files of the user's
        saved.parent.rmdir()
    if isinstance(model, Model):
        show_model(console, model, out, trainer.corpus)
    else:
        show_float(console, model, out, trainer.corpus.unit)
