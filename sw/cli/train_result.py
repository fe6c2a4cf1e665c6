"""Result of a training: the model that is written, measured, with where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from trilight.hw.contract.device import Device
from trilight.hw.support.terminal import Console
from trilight.sw.model.model import Model
from trilight.sw.quality.evaluate import PROTOCOLS, evaluate
from trilight.sw.task.classifier import accuracy, decide
from trilight.sw.train.export import build_model
from trilight.sw.train.shape import memory_fill

if TYPE_CHECKING:
    from trilight.sw.train.float_file import FloatModel
    from trilight.sw.train.trainer import Trainer

__all__ = ["TrainingRun", "finish"]


@dataclass(frozen=True)
class TrainingRun:
    """A training run and where it comes from."""

    trainer: "Trainer"
    out: Path
    chip: Device
    teacher_files: tuple[Path, ...]
    synthetic: int
    writers: int
    """Synthetic texts that were written side by side."""
    soft_targets_top: int | None
    ensemble: "list[FloatModel]"
    recipe: str | None
    start_file: Path | None
    energy: Mapping[str, Any] = field(default_factory=dict)
    """See ``trilight.sw.train.energy``: of the last sitting, where it was counted."""


def finish(console: Console, run: TrainingRun) -> "Model | FloatModel":
    """Turn the network into what is written, measured, with a note of where it comes from."""
    from trilight.sw.train.float_file import FloatModel
    from trilight.sw.train.loss import stateful_loss, windows_loss
    from trilight.sw.train.network import Network

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
    model = build_model(config, corpus.vocab, arrays, {}, corpus.tokenizer)
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
    }, corpus.tokenizer)


def _origin(run: TrainingRun) -> dict[str, Any]:
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
        "held_out_repeats": corpus.held_out_repeats,
        "command": _reproduce(run),
        "seed": options.seed,
        "steps": trainer.step,
        "characters_seen": trainer.characters,
        "training_seconds": round(trainer.seconds),
        **({"training_energy": dict(run.energy)} if run.energy else {}),
        "training_loss_nats_per_char": trainer.loss,
        **({"start": {"file": run.start_file.name, "sha256": options.start_sha256}}
           if run.start_file else {}),
        "teachers": [{"sha256": model.sha256, **model.provenance} for model in run.ensemble],
        "torch": torch.__version__,
        "trilight": version("trilight"),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _reproduce(run: TrainingRun) -> str:
    """Return the command line of an uninterrupted run of the same outcome."""
    import torch

    from trilight.sw.train.options import Options

    trainer = run.trainer
    config, options = trainer.config, trainer.options
    words = ["trilight", "train", "--corpus", trainer.corpus.name, "--out", run.out.name,
             *(["--from", run.start_file.name] if run.start_file else []),
             *(word for path in run.teacher_files for word in ("--teacher", path.name)),
             *(["--synthetic", run.synthetic, "--synthetic-batch", options.synthetic_batch,
                "--synthetic-writers", run.writers] if run.synthetic else []),
             *(["--soft-targets-top", run.soft_targets_top] if run.soft_targets_top else []),
             "--network", options.network, "--batch", options.batch_size,
             *([] if options.label_weight else ["--context", options.bptt_length]),
             "--characters", options.characters, "--d-model", config.d_model,
             "--layers", config.n_layers, "--hidden", config.d_hidden, "--seed", options.seed,
             "--learning-rate", f"{options.learning_rate:g}",
             "--weight-decay", f"{options.weight_decay:g}", "--dropout", f"{options.dropout:g}",
             "--ema", f"{options.ema_decay:g}", "--state-reset", f"{options.state_reset:g}",
             *(["--subwords", len(trainer.corpus.vocab)]
               if trainer.corpus.tokenizer and not run.start_file else []),
             *(["--development"] if trainer.corpus.development else []),
             *(["--drop-repeats"] if trainer.corpus.drops_repeats else []),
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
