"""``trilight train``: from a text file to a model file."""

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, StrEnum
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from trilight.hw.contract.device import Device
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import DEFAULT_BOARD, board_device
from trilight.hw.support.extras import pip_install
from trilight.hw.support.terminal import Console
from trilight.sw.errors import TrainingError
from trilight.sw.model.model import Model
from trilight.sw.quality.evaluate import PROTOCOLS, WINDOW_CHARACTERS, evaluate
from trilight.sw.reference.continuation import continue_text
from trilight.sw.task.classifier import accuracy, decide
from trilight.sw.train.corpus import Corpus, read_corpus, read_labelled
from trilight.sw.train.export import build_model
from trilight.sw.train.recipe import load_recipe, recipe_names
from trilight.sw.train.shape import choose_config, memory_fill

from .console import tell_changes

if TYPE_CHECKING:
    from trilight.sw.train.distill import DistillationData
    from trilight.sw.train.distill import Progress as TargetProgress
    from trilight.sw.train.float_file import FloatModel
    from trilight.sw.train.trainer import Progress, Trainer

__all__ = ["CHECKPOINT_NAME", "train_command"]

CHECKPOINT_NAME = "trilight-training.pt"

MAX_WIDE, MAX_LAYERS = 8192, 128
"""Largest width and depth: far more than a board holds or a computer trains in a year."""

_INTERRUPTED = 130
_LOG_EVERY_S = 30.0
_SETTINGS = ("network", "synthetic_batch", "characters", "minutes", "d_model", "layers",
             "hidden", "seed", "optimizer", "learning_rate", "weight_decay", "dropout",
             "state_reset", "ternary_threshold", "ema", "precision", "compile_")
_NO_SETTING = {"recipe", "corpus", "out", "checkpoint", "resume", "force", "help"}
"""Options that a recipe cannot hold."""
_FEWEST_TO_COMPILE = 3_000_000
"""Compiling takes as long as about this many characters save."""
_TARGET_FILES = "soft-targets-*.safetensors"
_FLOAT_SHAPE = {"d_model": 256, "layers": 4, "hidden": 512}
_LINES_TOGETHER = 64
"""Labelled lines of a step."""
_TRANSFORMER_WINDOW = {"bptt_length": WINDOW_CHARACTERS, "batch_size": 8}
"""It knows only positions that it was trained on: as many as it is measured on. A step reads as
many characters as of the others."""


class Accelerator(StrEnum):
    """Device that trains the network."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class NetworkKind(StrEnum):
    """Kind of network that is trained."""

    TERNARY = "ternary"
    FLOAT = "float"
    TRANSFORMER = "transformer"


class Optimizer(StrEnum):
    """Optimizer of the matrices; ``adamw`` steps all else."""

    ADAMW = "adamw"
    MUON = "muon"


class Compile(StrEnum):
    """Choice of compiled code."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Precision(StrEnum):
    """Arithmetic of the trainer's matrix products."""

    AUTO = "auto"
    BF16 = "bf16"
    FP32 = "fp32"


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
        min=1, max=15, help="How many of the 16 sequences of a batch are synthetic. "
                            "\\[default: 15]")] = None,
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
    development: Annotated[bool, typer.Option(
        "--development", help="For choosing between methods: leave the last 10 % of the text "
                              "alone and hold out the last 5 % of what remains.")] = False,
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
    if find_spec("torch") is None:
        raise TrainingError("training needs PyTorch, which is not installed; "
                            + pip_install("trilight[train]"))
    if characters is not None and minutes is not None:
        raise TrainingError("--characters and --minutes exclude each other; give one of them")
    teachers = teacher or []
    if synthetic and not teachers:
        raise TrainingError("--synthetic needs a --teacher that generates the text")
    folder = checkpoint or out.parent / (out.name + ".checkpoint")
    saved = folder / CHECKPOINT_NAME
    _check_paths(out, saved, resume=resume, force=force)
    chip = context.obj.memory if recipe and context.obj.memory else board_device(board)
    if label_weight and (teachers or network is not NetworkKind.TERNARY):
        raise TrainingError("--label-weight goes with --network ternary and without --teacher")
    if held_out_lines and not label_weight:
        raise TrainingError("--held-out-lines needs --label-weight")
    text = (read_labelled(corpus, max_vocab=chip.max_vocab, held_out=held_out_lines,
                          development=development) if label_weight else
            read_corpus(corpus, max_vocab=chip.max_vocab, development=development))
    tell_changes(text.changes, corpus.name)

    import torch

    from trilight.sw.train.trainer import (
        Options,
        Trainer,
        bf16_is_faster,
        characters_in,
        compiler_works,
    )

    if threads is not None:
        torch.set_num_threads(threads)
    place = _torch_device(device)
    console = Console()
    faster = bf16_is_faster(place)
    bf16 = faster if precision is Precision.AUTO else precision is Precision.BF16
    ensemble = _load_teachers(teachers, text, place, bf16=bf16)
    distillation, names = None, ""
    if resume:
        _refuse_settings(context)
    if ensemble:
        names = json.dumps([synthetic, [model.sha256 for model in ensemble]])
        distillation = _distillation(console, targets_folder or folder, ensemble, text, synthetic,
                                     place)
    if resume:
        trainer = Trainer.resume(saved, text, distillation=distillation, teachers=names,
                                 device=place)
    else:
        ternary = network is NetworkKind.TERNARY
        config = (choose_config(len(text.vocab), chip, d_model=d_model, layers=layers,
                                hidden=hidden) if ternary else
                  ModelConfig(vocab_size=len(text.vocab),
                              d_model=d_model or _FLOAT_SHAPE["d_model"],
                              n_layers=layers or _FLOAT_SHAPE["layers"],
                              d_hidden=hidden or _FLOAT_SHAPE["hidden"]))

        def given(value: float | None, *, model: float, other: float) -> float:
            return value if value is not None else model if ternary else other

        length = characters or Options.characters
        options = Options(
            network=network.value, seed=seed, ema_decay=ema, optimizer=optimizer.value,
            learning_rate=given(learning_rate, model=5e-3, other=2e-3),
            weight_decay=given(weight_decay, model=0.05, other=0.1),
            dropout=given(dropout, model=0.0 if ensemble else 0.1, other=0.3),
            state_reset=given(state_reset, model=0.0 if label_weight else 0.125, other=0.0),
            ternary_threshold=ternary_threshold,
            synthetic_batch=synthetic_batch or Options.synthetic_batch,
            **(_TRANSFORMER_WINDOW if network is NetworkKind.TRANSFORMER else {}),
            **(_labelled_batch(text, label_weight) if label_weight else {}),
            bf16=bf16,
            compiled=(length >= _FEWEST_TO_COMPILE and minutes is None and not label_weight
                      and compiler_works(place)
                      if compile_ is Compile.AUTO else compile_ is Compile.ON),
            characters=length)
        if minutes is not None:
            options = replace(options, characters=characters_in(
                minutes, config, text, options, device=place))
        trainer = Trainer(config, text, options, distillation=distillation, teachers=names,
                          device=place)
    if trainer.options.bf16 and not faster:
        console.print("This processor emulates bf16 products, which takes up to a hundred times as "
                      "long; train from scratch with --precision auto.", style="yellow")
    run = _Run(trainer, out, chip, tuple(teachers), synthetic, ensemble, recipe)
    _announce(console, run)
    again = _resume_line(context)
    if not _train(console, trainer, saved):
        console.print(f"Stopped after {trainer.characters:,} characters. Go on with\n  "
                      + escape(again), soft_wrap=True)
        raise typer.Exit(_INTERRUPTED)
    model = _finish(console, run)
    try:
        model.save(out)
    except OSError as error:
        raise TrainingError(f"cannot write {out}: {error.strerror}; the training is kept, "
                            f"make room and go on with\n  {again}") from error
    for file in (saved, *folder.glob(_TARGET_FILES)):
        file.unlink()
    with suppress(OSError):  # the folder may hold files of the user's
        folder.rmdir()
    if isinstance(model, Model):
        _show(console, model, out, _prompt(text))
    else:
        _show_float(console, model, out)


def _labelled_batch(corpus: Corpus, label_weight: float) -> dict[str, Any]:
    """Return options of a training on labelled lines, whose steps have lines of about one length.

    ``bptt_length`` is their mean, by which characters are counted.
    """
    lines = corpus.train.tolist().count(corpus.vocab.index("\n"))
    return {"label_weight": label_weight, "batch_size": _LINES_TOGETHER,
            "bptt_length": max(1, round(len(corpus.train) / lines))}


def _resume_line(context: typer.Context) -> str:
    """The command that goes on with this training: all options that no checkpoint keeps."""
    words = ["trilight", "train"]
    for option in context.command.params:
        name, source = option.name or "", context.get_parameter_source(option.name or "")
        if name in _SETTINGS or name == "resume" or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        flag = option.opts[0]
        for each in value if isinstance(value, list | tuple) else [value]:
            words += [flag] if each is True else [
                flag, str(each.value if isinstance(each, Enum) else each)]
    return " ".join(map(quote, [*words, "--resume"]))


@dataclass(frozen=True)
class _Run:
    """A training run and where it comes from."""

    trainer: "Trainer"
    out: Path
    chip: Device
    teacher_files: tuple[Path, ...]
    synthetic: int
    ensemble: "list[FloatModel]"
    recipe: str | None


def _load_teachers(paths: Sequence[Path], corpus: Corpus, device: str, *,
           bf16: bool) -> "list[FloatModel]":
    """Load the teachers."""
    from trilight.sw.train.float_file import FloatModel

    ensemble = [FloatModel.load(path, device=device) for path in paths]
    for path, model in zip(paths, ensemble, strict=True):
        if model.kind != "float":
            raise TrainingError(f"{path} is a network of the kind {model.kind!r}; a teacher must "
                                "be one of the kind 'float'")
        model.network.bf16 = bf16
        if model.vocab != corpus.vocab:
            raise TrainingError(f"{path} knows other characters than {corpus.name} has; train the "
                                "teacher on the same text")
        # One that saw less teaches that the rest is unlikely; one that saw more tells of what is
        # held out.
        trained_on = model.provenance.get("corpus_sha256"), model.provenance.get("split")
        if trained_on != (corpus.sha256, corpus.split):
            raise TrainingError(f"{path} was not trained on the same part of the same text "
                                f"({corpus.split}); train it again, with the same --corpus and "
                                f"with{'' if corpus.development else 'out'} --development")
    return ensemble


def _distillation(console: Console, folder: Path, ensemble: "list[FloatModel]", corpus: Corpus,
             synthetic: int, device: str) -> "tuple[DistillationData, DistillationData | None]":
    """Make soft targets of the corpus and synthetic text, or find them in the folder.

    They do not depend on the seed of the training, which varies the rest.
    """
    from trilight.sw.train.distill import DistillationData, generate_synthetic, soft_targets

    networks = [model.network for model in ensemble]
    key = sha256(repr((corpus.sha256, corpus.split, synthetic,
                       [model.sha256 for model in ensemble])).encode()).hexdigest()[:16]

    def stored(name: str, what: str,
               work: "Callable[[TargetProgress], DistillationData]") -> "DistillationData":
        path = folder / f"soft-targets-{name}-{key}.safetensors"
        found = DistillationData.load(path)
        if found is None:
            with Bar(TextColumn(what), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
                     TextColumn("left"), TimeRemainingColumn(), console=console, transient=True,
                     disable=not console.is_terminal) as bar:
                task, logged = bar.add_task("", total=None), monotonic()

                def report(done: int, total: int) -> None:
                    nonlocal logged
                    bar.update(task, completed=done, total=total)
                    if not console.is_terminal and monotonic() - logged >= _LOG_EVERY_S:
                        logged = monotonic()
                        console.print(f"{what}: {done:,} of {total:,} characters", highlight=False)

                found = work(report)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                found.save(path)
            except OSError as error:
                raise TrainingError(f"cannot write {path}: {error}; make room, or name another "
                                    "folder with --checkpoint") from error
        return found

    real = stored("corpus", "computing soft targets", lambda progress: soft_targets(
        corpus.train, networks, device=device, progress=progress))
    if not synthetic:
        return real, None
    return real, stored(
        "synthetic", "generating synthetic text", lambda progress: generate_synthetic(
            corpus.train, networks, synthetic, seed=1, device=device, progress=progress))


def _check_paths(out: Path, saved: Path, *, resume: bool, force: bool) -> None:
    """Refuse before the training what would fail after it, or destroy an earlier one."""
    if out.is_dir():
        raise TrainingError(f"--out must name a file, not the folder {out}")
    if not out.parent.is_dir():
        raise TrainingError(f"the folder of --out, {out.parent}, does not exist; create it first")
    if out.exists() and not force:
        raise TrainingError(f"{out} is there already, and a training would write over it; give "
                            "another --out, or add --force")
    if saved.exists() and not resume:
        raise TrainingError(f"{saved} holds an unfinished training; add --resume to go on with "
                            "it, or delete it to start again")


def _refuse_settings(context: typer.Context) -> None:
    """Refuse options that a checkpoint has decided already."""
    sources = {name: context.get_parameter_source(name) for name in _SETTINGS}
    given = [name for name, source in sources.items()
             if source and source.name not in ("DEFAULT", "DEFAULT_MAP")]
    if given:
        names = ", ".join("--" + name.rstrip("_").replace("_", "-") for name in given)
        raise TrainingError(f"--resume goes on with the settings of the checkpoint; leave out "
                            f"{names}, or train from scratch without --resume")


def _torch_device(device: Accelerator) -> str:
    import torch

    present = torch.cuda.is_available()
    if device is Accelerator.CUDA and not present:
        raise TrainingError("PyTorch finds no CUDA device; use --device cpu")
    return "cuda" if present and device is not Accelerator.CPU else "cpu"


def _announce(console: Console, run: _Run) -> None:
    trainer = run.trainer
    config, options, corpus = trainer.config, trainer.options, trainer.corpus
    parameters = sum(value.numel() for value in trainer.network.parameters())
    size = (f"{config.ternary_weights:,} ternary weights fill "
            f"{memory_fill(config, run.chip):.1%} of the weight memory of {run.chip.name}"
            if options.network == "ternary" else f"{parameters:,} real weights")
    lines = [
        (f"[bold]{escape(corpus.name)}[/]: {len(corpus.train):,} characters to train on, "
         f"{len(corpus.held_out):,} held out, {len(corpus.vocab)} distinct"),
        (f"[bold]{options.network}[/]: d_model {config.d_model}, {config.n_layers} layers, "
         f"d_hidden {config.d_hidden}; {size}"),
        (f"[bold]training[/]: {options.steps:,} steps of {options.batch_size} x "
         f"{options.bptt_length} characters, seed {options.seed}, {trainer.device.type}, "
         f"{'bf16' if options.bf16 else 'fp32'} products{', compiled' * options.compiled}"),
    ]
    if run.ensemble:
        lines.append(f"[bold]teachers[/]: {len(run.ensemble)}, with {run.synthetic:,} synthetic "
                     "characters")
    console.print("\n".join(lines), highlight=False)


@contextmanager
def _stop_on_signal() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or termination; a second Ctrl-C interrupts as usual."""
    caught: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def catch(number: int, _frame: object) -> None:
        caught.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in signals:
        signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _train(console: Console, trainer: "Trainer", checkpoint: Path) -> bool:
    """Run the schedule under a progress bar; whether it was completed.

    Where there is no terminal, a line now and then takes the bar's place.
    """
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TextColumn("loss {task.fields[loss]:.4f} nats/char"),
               TextColumn("{task.fields[speed]:,.0f} char/s"), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=True))
    with (_stop_on_signal() as caught,
          Bar(*columns, console=console, disable=not console.is_terminal) as bar):
        task = bar.add_task("", total=trainer.options.steps, completed=trainer.step,
                            loss=trainer.loss, speed=0.0)
        logged = monotonic()

        def report(now: "Progress") -> None:
            nonlocal logged
            bar.update(task, completed=now.step, loss=now.loss, speed=now.characters_per_s)
            last = now.step == now.steps
            if not console.is_terminal and (last or monotonic() - logged >= _LOG_EVERY_S):
                logged = monotonic()
                console.print(f"step {now.step:,} of {now.steps:,}, loss {now.loss:.4f} nats/char, "
                              f"{now.characters_per_s:,.0f} char/s", highlight=False)

        return trainer.run(report=report, stop=lambda: bool(caught), checkpoint=checkpoint)


def _reproduce(run: _Run) -> str:
    """Return the command line of an uninterrupted run of the same outcome."""
    import torch

    from trilight.sw.train.trainer import Options

    trainer = run.trainer
    config, options = trainer.config, trainer.options
    words = ["trilight", "train", "--corpus", trainer.corpus.name, "--out", run.out.name,
             *(word for path in run.teacher_files for word in ("--teacher", path.name)),
             *(["--synthetic", run.synthetic, "--synthetic-batch", options.synthetic_batch]
               if run.synthetic else []),
             "--network", options.network,
             "--characters", options.characters, "--d-model", config.d_model,
             "--layers", config.n_layers, "--hidden", config.d_hidden, "--seed", options.seed,
             "--learning-rate", f"{options.learning_rate:g}",
             "--weight-decay", f"{options.weight_decay:g}", "--dropout", f"{options.dropout:g}",
             "--ema", f"{options.ema_decay:g}", "--state-reset", f"{options.state_reset:g}",
             *(["--development"] if trainer.corpus.development else []),
             *(["--optimizer", options.optimizer]
               if options.optimizer != Options.optimizer else []),
             *(["--ternary-threshold", f"{options.ternary_threshold:g}"]
               if options.ternary_threshold != Options.ternary_threshold else []),
             *(["--recipe", Path(run.recipe).name] if run.recipe else []),
             *(["--label-weight", f"{options.label_weight:g}",
                "--held-out-lines", len(trainer.corpus.held_out_lines)]
               if options.label_weight else []),
             "--device", trainer.device.type, "--precision", "bf16" if options.bf16 else "fp32",
             "--compile", "on" if options.compiled else "off",
             "--threads", torch.get_num_threads()]
    return " ".join(quote(str(word)) for word in words)


def _finish(console: Console, run: _Run) -> "Model | FloatModel":
    """Turn the network into what is written, measured, with a note of where it comes from."""
    from trilight.sw.train.float_file import FloatModel
    from trilight.sw.train.network import Network
    from trilight.sw.train.trainer import stateful_loss, windows_loss

    trainer = run.trainer
    config, corpus = trainer.config, trainer.corpus
    network = trainer.result()
    with console.status("measuring the network"):
        float_windows = windows_loss(network, corpus.held_out)
        # A Transformer sees nothing but its window.
        float_stateful = (None if trainer.options.network == "transformer"
                          else stateful_loss(network, corpus.held_out))
    provenance = {**_origin(run), "float_nats_per_char": float_stateful,
                  "float_nats_per_char_windows": float_windows}
    if not isinstance(network, Network):
        return FloatModel(trainer.options.network, network, corpus.vocab, provenance)
    arrays = network.arrays()
    model = build_model(config, corpus.vocab, arrays, {})
    results = {}
    for protocol in PROTOCOLS:
        with console.status(f"measuring the integer model, {protocol}"):
            results[protocol] = {
                "dataset": corpus.name,
                "split": corpus.held_out_part,
                **evaluate(model, corpus.held_out_text, protocol),
            }
    nats = results["stateful"]["nats_per_char"]
    if corpus.labels:
        provenance["labels"] = dict(corpus.labels)
        unmeasured = build_model(config, corpus.vocab, arrays, provenance)
        provenance["task"] = {"dataset": corpus.name, "split": corpus.held_out_part, **accuracy(
            decide(unmeasured, [line.text for line in corpus.held_out_lines]),
            corpus.held_out_lines)}
    return build_model(config, corpus.vocab, arrays, {
        **provenance,
        "integer_nats_per_char": nats,
        "float_to_integer_gap": nats - float_stateful,
        "quality": results["stateful"],
        "quality_windows": results["windows"],
        "ternary_weights": config.ternary_weights,
        "weight_words": config.weight_words(run.chip.packing),
        "weight_words_present": run.chip.weight_words,
        "weight_memory_fill": memory_fill(config, run.chip),
    })


def _origin(run: _Run) -> dict[str, Any]:
    """Return what led to a network."""
    import torch

    trainer = run.trainer
    corpus, options = trainer.corpus, trainer.options
    return {
        "corpus": corpus.name,
        "corpus_sha256": corpus.sha256,
        "split": corpus.split,
        "train_characters": len(corpus.train),
        "held_out_characters": len(corpus.held_out),
        "command": _reproduce(run),
        "seed": options.seed,
        "steps": trainer.step,
        "characters_seen": trainer.characters,
        "training_seconds": round(trainer.seconds),
        "training_loss_nats_per_char": trainer.loss,
        "teachers": [{"sha256": model.sha256, **model.provenance} for model in run.ensemble],
        "torch": torch.__version__,
        "trilight": version("trilight"),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _prompt(corpus: Corpus) -> str:
    """Return a word whose characters are sure to be in the vocabulary."""
    words = corpus.held_out_text.split()
    return max(words[:50], key=len, default=corpus.vocab[0])[:20]


def _show(console: Console, model: Model, out: Path, prompt: str) -> None:
    about = model.provenance
    if task := about.get("task"):
        console.print(
            f"\n{task['lines']:,} held-out lines, integer model: [bold]{task['accuracy']:.1%}[/] "
            f"told right, standard error {task['standard_error']:.1%}\n"
            f"{escape(str(out))}: {out.stat().st_size:,} bytes, {about['ternary_weights']:,} "
            f"ternary weights. Ask it with\n  trilight classify --model {escape(quote(str(out)))} "
            "TEXT", highlight=False, soft_wrap=True)
        return
    stateful, windows = about["quality"], about["quality_windows"]
    tokens = continue_text(model, prompt, 300, seed=1, temperature=0.8)
    console.print(prompt + model.decode(tokens), style="italic", markup=False, highlight=False)
    console.print(
        f"\nheld-out text, integer model: [bold]{stateful['nats_per_char']:.4f}[/] nats/char, "
        f"{stateful['bits_per_byte']:.3f} bits/byte stateful; "
        f"{windows['nats_per_char']:.4f} nats/char, {windows['bits_per_byte']:.3f} bits/byte in "
        f"windows of {windows['window_characters']}\n"
        f"the real-valued network has {about['float_nats_per_char']:.4f} nats/char: rounding "
        f"costs {about['float_to_integer_gap']:+.4f}\n"
        f"{escape(str(out))}: {out.stat().st_size:,} bytes. Run it with\n"
        f"  trilight generate --model {escape(quote(str(out)))} --prompt {escape(quote(prompt))}",
        highlight=False, soft_wrap=True)


def _show_float(console: Console, model: "FloatModel", out: Path) -> None:
    about = model.provenance
    stateful = about["float_nats_per_char"]
    console.print(
        f"\nheld-out text: {f'[bold]{stateful:.4f}[/] nats/char stateful; ' if stateful else ''}"
        f"[bold]{about['float_nats_per_char_windows']:.4f}[/] nats/char in windows of "
        f"{WINDOW_CHARACTERS}\n{escape(str(out))}: {out.stat().st_size:,} bytes."
        + (" Teach a model with\n  trilight train --teacher "
           f"{escape(quote(str(out)))} ..." if model.kind == "float" else ""),
        highlight=False, soft_wrap=True)
