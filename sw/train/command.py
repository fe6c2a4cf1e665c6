"""``trilight train``: from a text file to a model file."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from trilight.hw.config import UP5K, CapacityError, DeviceConfig, ModelConfig
from trilight.sw.errors import ModelDoesNotFitError, TrainingError
from trilight.sw.evaluate import evaluate
from trilight.sw.model import Model
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.reference.sampler import Sampler

from .corpus import Corpus, read_corpus
from .export import build_model

if TYPE_CHECKING:
    from .trainer import Progress, Trainer

__all__ = ["CHECKPOINT_NAME", "choose_config", "train_command"]

CHECKPOINT_NAME = "trilight-training.pt"

_DEVICE = UP5K
_INTERRUPTED = 130
_LOG_EVERY_S = 30.0
_SETTINGS = ("characters", "minutes", "d_model", "layers", "hidden", "seed", "learning_rate",
             "dropout", "precision")
_SPLIT = "first 90 % trained on, last 10 % held out"


class Device(StrEnum):
    """Where the network is trained."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """Arithmetic of the trainer's matrix products."""

    AUTO = "auto"
    BF16 = "bf16"
    FP32 = "fp32"


def train_command(
    context: typer.Context,
    corpus: Annotated[Path, typer.Option(help="Text to learn from, UTF-8.")],
    out: Annotated[Path, typer.Option(help="Model file to write, e.g. mine.safetensors.")],
    characters: Annotated[int | None, typer.Option(
        min=1, help="Characters to train on, the text read again and again. "
                    "[default: 15,000,000]")] = None,
    minutes: Annotated[float | None, typer.Option(
        min=0.01, help="Train for about this long instead, by the speed of a short trial.",
    )] = None,
    d_model: Annotated[int, typer.Option(help="Width of the model.")] = 160,
    layers: Annotated[int, typer.Option(help="Layers.")] = 3,
    hidden: Annotated[int | None, typer.Option(
        help="Width of the gated unit. [default: the largest that fits the device]")] = None,
    seed: Annotated[int, typer.Option(
        min=0, help="Start of all randomness; on one machine it decides the model.")] = 1,
    learning_rate: Annotated[float, typer.Option(min=1e-6, max=1.0)] = 5e-3,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.9)] = 0.1,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.AUTO,
    precision: Annotated[Precision, typer.Option(
        help="Arithmetic of matrix products; auto takes the faster.")] = Precision.AUTO,
    threads: Annotated[int | None, typer.Option(
        min=1, help="Processor threads. [default: one for each core]")] = None,
    checkpoint: Annotated[Path | None, typer.Option(
        help="Folder for the checkpoint. [default: next to --out]")] = None,
    resume: Annotated[bool, typer.Option(
        "--resume", help="Go on from the checkpoint; its shape and settings hold.")] = False,
) -> None:
    """Train a model on a text file, measure it and write it.

    The first 90 % of the text are trained on; the rest is held out, and the finished integer model
    is measured on it. Ctrl-C saves a checkpoint and prints how to go on.
    """
    if find_spec("torch") is None:
        raise TrainingError("training needs PyTorch, which is not installed; "
                            "pip install 'trilight[train]'")
    if characters is not None and minutes is not None:
        raise TrainingError("--characters and --minutes exclude each other; give one of them")
    folder = checkpoint or out.parent / (out.name + ".checkpoint")
    saved = folder / CHECKPOINT_NAME
    _check_paths(out, saved, resume=resume)
    text = read_corpus(corpus, max_vocab=_DEVICE.max_vocab)

    import torch

    from .trainer import Options, Trainer, bf16_is_faster, characters_in

    if threads is not None:
        torch.set_num_threads(threads)
    place = _torch_device(device)
    if resume:
        _refuse_settings(context)
        trainer = Trainer.resume(saved, text, device=place)
    else:
        config = choose_config(text, d_model=d_model, layers=layers, hidden=hidden)
        options = Options(
            seed=seed, learning_rate=learning_rate, dropout=dropout,
            bf16=(bf16_is_faster(place) if precision is Precision.AUTO
                  else precision is Precision.BF16),
            characters=characters or Options.characters)
        if minutes is not None:
            options = replace(options, characters=characters_in(
                minutes, config, text, options, device=place))
        trainer = Trainer(config, text, options, device=place)
    console = Console()
    _announce(console, trainer)
    again = " ".join(["trilight train --corpus", quote(str(corpus)), "--out", quote(str(out)),
                      *(["--checkpoint", quote(str(folder))] if checkpoint else []), "--resume"])
    if not _train(console, trainer, saved):
        console.print(f"Stopped after {trainer.characters:,} characters. Go on with\n  "
                      + escape(again), soft_wrap=True)
        raise typer.Exit(_INTERRUPTED)
    model = _finish(console, trainer, out.name)
    try:
        model.save(out)
    except OSError as error:
        raise TrainingError(f"cannot write {out}: {error.strerror}; the training is kept, "
                            f"make room and go on with\n  {again}") from error
    saved.unlink()
    with suppress(OSError):  # the folder may hold files of the user's
        folder.rmdir()
    _show(console, model, out, _prompt(text))


def choose_config(corpus: Corpus, *, d_model: int, layers: int, hidden: int | None,
                  device: DeviceConfig = _DEVICE) -> ModelConfig:
    """Return the shape of a model for a corpus, checked against a device.

    Parameters
    ----------
    corpus
        Gives the vocabulary's size.
    d_model, layers
        As in ``ModelConfig``.
    hidden
        As in ``ModelConfig``, or ``None`` for the largest that fits.
    device
        What must hold the model.

    Raises
    ------
    ModelDoesNotFitError
        If it does not fit.
    """
    def config(d_hidden: int) -> ModelConfig:
        return ModelConfig(vocab_size=len(corpus.vocab), d_model=d_model, n_layers=layers,
                           d_hidden=d_hidden)

    if hidden is None:
        fitting = (h for h in range(device.max_columns, 0, -1) if not config(h).misfits(device))
        # Nothing fits: the message then is about the smallest legal unit.
        hidden = next(fitting, device.min_rows)
    chosen = config(hidden)
    try:
        chosen.check_fits(device)
    except CapacityError as error:
        raise ModelDoesNotFitError(f"{error}\nTry a smaller --d-model, --layers or --hidden, or "
                                   "a corpus with fewer distinct characters") from error
    return chosen


def _check_paths(out: Path, saved: Path, *, resume: bool) -> None:
    """Refuse before the training what would fail after it, or destroy an earlier one."""
    if out.is_dir():
        raise TrainingError(f"--out must name a file, not the folder {out}")
    if not out.parent.is_dir():
        raise TrainingError(f"the folder of --out, {out.parent}, does not exist; create it first")
    if saved.exists() and not resume:
        raise TrainingError(f"{saved} holds an unfinished training; add --resume to go on with "
                            "it, or delete it to start anew")


def _refuse_settings(context: typer.Context) -> None:
    """Refuse options that a checkpoint has decided already."""
    sources = {name: context.get_parameter_source(name) for name in _SETTINGS}
    given = [name for name, source in sources.items() if source and source.name != "DEFAULT"]
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise TrainingError(f"--resume goes on with the settings of the checkpoint; leave out "
                            f"{names}, or train anew without --resume")


def _torch_device(device: Device) -> str:
    import torch

    present = torch.cuda.is_available()
    if device is Device.CUDA and not present:
        raise TrainingError("PyTorch finds no CUDA device; use --device cpu")
    return "cuda" if present and device is not Device.CPU else "cpu"


def _announce(console: Console, trainer: "Trainer") -> None:
    config, options, corpus = trainer.config, trainer.options, trainer.corpus
    console.print(
        f"[bold]{escape(corpus.name)}[/]: {len(corpus.train):,} characters to train on, "
        f"{len(corpus.held_out):,} held out, {len(corpus.vocab)} distinct\n"
        f"[bold]model[/]: d_model {config.d_model}, {config.n_layers} layers, d_hidden "
        f"{config.d_hidden}; {config.ternary_weights:,} ternary weights fill "
        f"{config.weight_words:,} of {_DEVICE.weight_words:,} weight words\n"
        f"[bold]training[/]: {options.steps:,} steps of {options.streams} x {options.context} "
        f"characters, seed {options.seed}, {trainer.device.type}, "
        f"{'bf16' if options.bf16 else 'fp32'} products", highlight=False)


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


def _reproduce(trainer: "Trainer", out: str) -> str:
    """Return the command line of an uninterrupted run of the same outcome."""
    import torch

    config, options = trainer.config, trainer.options
    words = ["trilight", "train", "--corpus", trainer.corpus.name, "--out", out,
             "--characters", options.characters, "--d-model", config.d_model,
             "--layers", config.n_layers, "--hidden", config.d_hidden, "--seed", options.seed,
             "--learning-rate", f"{options.learning_rate:g}", "--dropout", f"{options.dropout:g}",
             "--device", trainer.device.type, "--precision", "bf16" if options.bf16 else "fp32",
             "--threads", torch.get_num_threads()]
    return " ".join(quote(str(word)) for word in words)


def _finish(console: Console, trainer: "Trainer", out: str) -> Model:
    """Round the network to integers, measure both, and note where the model comes from."""
    import torch

    config, options, corpus = trainer.config, trainer.options, trainer.corpus
    arrays = trainer.network.arrays()
    model = build_model(config, corpus.vocab, arrays, {})
    with console.status("measuring the real-valued network"):
        float_nats = trainer.held_out_loss()
    results = {}
    for protocol in ("streamed", "blocks"):
        with console.status(f"measuring the integer model, {protocol}"):
            results[protocol] = {
                "dataset": corpus.name,
                "split": "last 10 %",
                **evaluate(model, corpus.held_out_text, protocol),
            }
    provenance = {
        "corpus": corpus.name,
        "corpus_sha256": corpus.sha256,
        "split": _SPLIT,
        "train_characters": len(corpus.train),
        "held_out_characters": len(corpus.held_out),
        "command": _reproduce(trainer, out),
        "seed": options.seed,
        "steps": trainer.step,
        "characters_seen": trainer.characters,
        "training_seconds": round(trainer.seconds),
        "training_loss_nats_per_char": trainer.loss,
        "float_nats_per_char": float_nats,
        "integer_nats_per_char": results["streamed"]["nats_per_char"],
        "float_to_integer_gap": results["streamed"]["nats_per_char"] - float_nats,
        "quality": results["streamed"],
        "quality_blocks": results["blocks"],
        "ternary_weights": config.ternary_weights,
        "weight_words": config.weight_words,
        "weight_words_present": _DEVICE.weight_words,
        "weight_memory_fill": config.weight_words / _DEVICE.weight_words,
        "torch": torch.__version__,
        "trilight": version("trilight"),
        "date": datetime.now(UTC).date().isoformat(),
    }
    return build_model(config, corpus.vocab, arrays, provenance)


def _prompt(corpus: Corpus) -> str:
    """Return a word whose characters are sure to be in the vocabulary."""
    words = corpus.held_out_text.split()
    return max(words[:50], key=len, default=corpus.vocab[0])[:20]


def _sample(model: Model, prompt: str, length: int = 300, seed: int = 1,
            temperature: float = 0.8) -> str:
    """Let the integer reference continue a prompt."""
    reference, sampler = ReferenceModel(model), Sampler(seed, temperature)
    tokens = model.encode(prompt)
    for token in tokens[:-1]:
        reference.feed([token])
    for _ in range(length):
        tokens.append(sampler.sample(reference.step(tokens[-1:])[0]))
    return model.decode(tokens)


def _show(console: Console, model: Model, out: Path, prompt: str) -> None:
    about = model.provenance
    streamed, blocks = about["quality"], about["quality_blocks"]
    console.print(_sample(model, prompt), style="italic", markup=False, highlight=False)
    console.print(
        f"\nheld-out text, integer model: [bold]{streamed['nats_per_char']:.4f}[/] nats/char, "
        f"{streamed['bits_per_byte']:.3f} bits/byte streamed; "
        f"{blocks['nats_per_char']:.4f} nats/char, {blocks['bits_per_byte']:.3f} bits/byte in "
        f"blocks of {blocks['block_characters']}\n"
        f"the real-valued network has {about['float_nats_per_char']:.4f} nats/char: rounding "
        f"costs {about['float_to_integer_gap']:+.4f}\n"
        f"{escape(str(out))}: {out.stat().st_size:,} bytes. Run it with\n"
        f"  trilight generate --model {escape(quote(str(out)))} --prompt {escape(quote(prompt))}",
        highlight=False, soft_wrap=True)
