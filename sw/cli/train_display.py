"""Words of ``trilight train``: before a training what is trained, after it what came of it."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from rich.markup import escape

from trilight.hw.support.terminal import Console
from trilight.sw.model.model import Model
from trilight.sw.quality.evaluate import WINDOW_CHARACTERS
from trilight.sw.reference.continuation import continue_text
from trilight.sw.train.corpus import Corpus
from trilight.sw.train.repeats import WINDOW
from trilight.sw.train.shape import memory_fill

from .train_result import TrainingRun

if TYPE_CHECKING:
    from trilight.sw.train.float_file import FloatModel

__all__ = ["announce", "show_float", "show_model"]

_MANY_REPEATS = 0.01
"""Share of the held-out text that is told of; prose that repeats nothing has far less."""


def announce(console: Console, run: TrainingRun) -> None:
    """Show text, network and training before it begins."""
    trainer = run.trainer
    config, options, corpus = trainer.config, trainer.options, trainer.corpus
    parameters = sum(value.numel() for value in trainer.network.parameters())
    size = (f"{config.ternary_weights:,} ternary weights fill "
            f"{memory_fill(config, run.chip):.1%} of the weight memory of {run.chip.name}"
            if options.network == "ternary" else f"{parameters:,} real weights")
    unit = "sub-words" if corpus.tokenizer else "characters"
    lines = [
        (f"[bold]{escape(corpus.name)}[/]: {len(corpus.train):,} {unit} to train on, "
         f"{len(corpus.held_out):,} held out, {len(corpus.vocab)} distinct"),
        (f"[bold]{options.network}[/]: d_model {config.d_model}, {config.n_layers} layers, "
         f"d_hidden {config.d_hidden}; {size}"),
        (f"[bold]training[/]: {options.steps:,} steps of {options.batch_size} x "
         f"{options.bptt_length} {unit}, seed {options.seed}, {trainer.device.type}, "
         f"{'bf16' if options.bf16 else 'fp32'} products{', compiled' * options.compiled}"),
    ]
    if run.ensemble:
        lines.append(f"[bold]teachers[/]: {len(run.ensemble)}, with {run.synthetic:,} synthetic "
                     + unit)
    console.print("\n".join(lines), highlight=False)
    if corpus.held_out_repeats > _MANY_REPEATS:
        console.print(
            f"{corpus.held_out_repeats:.1%} of the held-out text, in windows of {WINDOW} "
            "characters, is in the text to train on too: what is measured on it will look better "
            "than on new text. --drop-repeats leaves repeated lines out of the training.",
            style="yellow", highlight=False)


def _prompt(corpus: Corpus) -> str:
    """Return a word whose characters are sure to be in the vocabulary."""
    words = corpus.held_out_text.split()
    return max(words[:50], key=len, default=corpus.vocab[0])[:20]


def show_model(console: Console, model: Model, out: Path, corpus: Corpus) -> None:
    """Show a model's text and quality, or its accuracy, and the command that runs it."""
    about = model.provenance
    if task := about.get("task"):
        console.print(
            f"\n{task['lines']:,} held-out lines, integer model: [bold]{task['accuracy']:.1%}[/] "
            f"told right, standard error {task['standard_error']:.1%}\n"
            f"{escape(str(out))}: {out.stat().st_size:,} bytes, {about['ternary_weights']:,} "
            f"ternary weights. Ask it with\n  trilight classify --model {escape(quote(str(out)))} "
            "TEXT", highlight=False, soft_wrap=True)
        return
    stateful, windows, unit = about["quality"], about["quality_windows"], corpus.unit
    prompt = _prompt(corpus)
    tokens = continue_text(model, prompt, 300, seed=1, temperature=0.8)
    console.print(prompt + model.decode(tokens), style="italic", markup=False, highlight=False)
    console.print(
        f"\nheld-out text, integer model: [bold]{stateful['nats_per_char']:.4f}[/] nats/{unit}, "
        f"{stateful['bits_per_byte']:.3f} bits/byte stateful; "
        f"{windows['nats_per_char']:.4f} nats/{unit}, {windows['bits_per_byte']:.3f} bits/byte in "
        f"windows of {windows['window_characters']}\n"
        f"the real-valued network has {about['float_nats_per_char']:.4f} nats/{unit}: rounding "
        f"costs {about['float_to_integer_gap']:+.4f}\n"
        f"{escape(str(out))}: {out.stat().st_size:,} bytes. Run it with\n"
        f"  trilight generate --model {escape(quote(str(out)))} --prompt {escape(quote(prompt))}",
        highlight=False, soft_wrap=True)


def show_float(console: Console, model: "FloatModel", out: Path, unit: str) -> None:
    """Show the quality of a network that no board runs, and the command that it teaches by."""
    about = model.provenance
    stateful = about["float_nats_per_char"]
    console.print(
        f"\nheld-out text: {f'[bold]{stateful:.4f}[/] nats/{unit} stateful; ' if stateful else ''}"
        f"[bold]{about['float_nats_per_char_windows']:.4f}[/] nats/{unit} in windows of "
        f"{WINDOW_CHARACTERS}\n{escape(str(out))}: {out.stat().st_size:,} bytes."
        + (" Teach a model with\n  trilight train --teacher "
           f"{escape(quote(str(out)))} ..." if model.kind == "float" else ""),
        highlight=False, soft_wrap=True)
