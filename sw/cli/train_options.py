"""Choices of a training, and the values that stand where none is given."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from trilight.hw.contract.device import Device
from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import TrainingError
from trilight.sw.model.model import Model
from trilight.sw.quality.evaluate import WINDOW_CHARACTERS
from trilight.sw.train.corpus import Corpus
from trilight.sw.train.shape import choose_config

__all__ = ["Accelerator", "Compile", "NetworkKind", "Optimizer", "Precision",
           "chosen_values", "is_compiled", "network_shape", "step_size", "torch_device"]

_FEWEST_TO_COMPILE = 3_000_000
"""Compiling takes as long as about this many characters save."""


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


def torch_device(device: Accelerator) -> str:
    """Return the name by which PyTorch knows the device.

    Raises
    ------
    TrainingError
        A CUDA device is asked for, and there is none.
    """
    import torch

    present = torch.cuda.is_available()
    if device is Accelerator.CUDA and not present:
        raise TrainingError("PyTorch finds no CUDA device; use --device cpu")
    return "cuda" if present and device is not Accelerator.CPU else "cpu"


def network_shape(network: NetworkKind, vocab_size: int, chip: Device, base: Model | None = None,
                  *, d_model: int | None, layers: int | None, hidden: int | None) -> ModelConfig:
    """Return the shape of a network, of which any part may be given.

    A ternary one fills the memory of ``chip``, unless it goes on from ``base``.

    Raises
    ------
    TrilightError
        ``choose_config`` finds no shape that fits.
    """
    if base:
        d_model = d_model or base.config.d_model
        layers = layers or base.config.n_layers
        hidden = hidden or base.config.d_hidden
    if network is NetworkKind.TERNARY:
        return choose_config(vocab_size, chip, d_model=d_model, layers=layers, hidden=hidden)
    return ModelConfig(vocab_size=vocab_size, d_model=d_model or _FLOAT_SHAPE["d_model"],
                       n_layers=layers or _FLOAT_SHAPE["layers"],
                       d_hidden=hidden or _FLOAT_SHAPE["hidden"])


def chosen_values(network: NetworkKind, given: Mapping[str, float | None], *, distilled: bool,
                  labelled: bool) -> dict[str, Any]:
    """Return learning rate, weight decay, dropout and state reset: as given, or by the network."""
    values = ({"learning_rate": 5e-3, "weight_decay": 0.05, "dropout": 0.0 if distilled else 0.1,
               "state_reset": 0.0 if labelled else 0.125}
              if network is NetworkKind.TERNARY else
              {"learning_rate": 2e-3, "weight_decay": 0.1, "dropout": 0.3, "state_reset": 0.0})
    return values | {name: value for name, value in given.items() if value is not None}


def step_size(network: NetworkKind, corpus: Corpus, label_weight: float | None, *,
              batch: int | None, context: int | None,
              synthetic_batch: int | None) -> dict[str, Any]:
    """Return the options of a step's size: as given, or by the network and the corpus.

    Steps on labelled lines have lines of about one length; ``bptt_length`` is their mean, by which
    characters are counted.

    Raises
    ------
    TrainingError
        No sequence of the corpus would be left, or labelled lines are to be cut.
    """
    values: dict[str, Any] = {"batch_size": 16, "bptt_length": 128}
    if network is NetworkKind.TRANSFORMER:
        values = dict(_TRANSFORMER_WINDOW)
    if label_weight:
        if context:
            raise TrainingError("--context does not go with --label-weight: lines are read whole")
        lines = corpus.train.tolist().count(corpus.vocab.index("\n"))
        values = {"label_weight": label_weight, "batch_size": _LINES_TOGETHER,
                  "bptt_length": max(1, round(len(corpus.train) / lines))}
    values |= {name: value for name, value in (("batch_size", batch), ("bptt_length", context))
               if value}
    most = values["batch_size"] - 1
    if synthetic_batch and synthetic_batch > most:
        raise TrainingError(f"--synthetic-batch must leave one of the {most + 1} sequences of a "
                            f"batch to the corpus, so it is at most {most}, not {synthetic_batch}")
    return values | {"synthetic_batch": synthetic_batch or most}


def is_compiled(choice: Compile, characters: int, device: str, *, steady: bool) -> bool:
    """Tell if a training runs as compiled code.

    Parameters
    ----------
    choice : Compile
    characters : int
        Length of the training.
    device : str
    steady : bool
        False if its length is in time, or its steps differ in length: both take no compiled code
        unless it is asked for.
    """
    from trilight.sw.train.machine import compiler_works

    if choice is not Compile.AUTO:
        return choice is Compile.ON
    return steady and characters >= _FEWEST_TO_COMPILE and compiler_works(device)
