"""Models of several kinds side by side. Needs PyTorch."""

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from trilight.hw.config import ModelConfig
from trilight.sw.evaluate import BLOCK_CHARACTERS, PROTOCOLS, evaluate
from trilight.sw.model import Model

from .corpus import Corpus
from .float_file import FORMAT, FloatModel
from .trainer import blocks_loss, streamed_loss

__all__ = ["measure", "multiplications", "quantised"]

_INT8_MAX = 127
_MATRIX_DIMENSIONS = 2


def multiplications(config: ModelConfig, kind: str) -> int:
    """Multiplications that one character takes, looked-up or computed functions left out.

    Parameters
    ----------
    config
        Shape.
    kind
        ``ternary``, ``float`` or ``transformer``. The last attends to half of a window of
        ``BLOCK_CHARACTERS`` on average.
    """
    d, hidden, layers, vocab = (config.d_model, config.d_hidden, config.n_layers,
                                config.vocab_size)
    if kind == "ternary":
        # Taps 2d, one multiplier per row of a matrix 5d + 2H, state d, products g h and a b
        # d + H, tap of the second norm d; tap of the head and a multiplier per logit.
        return layers * (10 * d + 3 * hidden) + d + vocab
    norms = 2 * d * (2 * layers + 1)
    if kind == "float":
        return config.ternary_weights + layers * (4 * d + hidden) + norms
    rotations = 4 * d
    attention = 2 * d * (BLOCK_CHARACTERS + 1) // 2
    return config.ternary_weights + layers * (rotations + attention + hidden) + norms


def quantised(model: FloatModel) -> FloatModel:
    """Return a network whose matrices are rounded to 8 bits, each row with a scale of its own."""
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        for value in network.parameters():
            if value.ndim == _MATRIX_DIMENSIONS:
                step = value.abs().amax(1, keepdim=True).clamp(min=1e-12) / _INT8_MAX
                value.copy_((value / step).round() * step)
    return FloatModel(model.kind, network, model.vocab, model.provenance)


def measure(path: Path, text: Corpus) -> list[dict[str, Any]]:
    """Return a row for a model, or two for a network in floating point: as it is, and in 8 bits.

    Raises
    ------
    ModelFileError, TrainingError
        The file is no model.
    """
    return _ternary(path, text) if _is_ternary(path) else _float(path, text)


def _is_ternary(path: Path) -> bool:
    """Whether it is no network in floating point; a file that is neither is ``Model``'s matter."""
    try:
        with safe_open(path, "np") as file:
            return (file.metadata() or {}).get("format") != FORMAT
    except (OSError, SafetensorError):
        return True


def _ternary(path: Path, text: Corpus) -> list[dict[str, Any]]:
    model = Model.load(path)
    words = model.config.weight_words
    return [{
        "file": path.name,
        "kind": "ternary",
        "format": "trits",
        "weights": model.config.ternary_weights,
        "weight_bytes": 8 * words,
        "multiplications_per_char": multiplications(model.config, "ternary"),
        **{f"nats_per_char_{protocol}":
           evaluate(model, text.held_out_text, protocol)["nats_per_char"]
           for protocol in PROTOCOLS},
        "sha256": model.sha256,
        "command": model.provenance.get("command"),
    }]


def _float(path: Path, text: Corpus) -> list[dict[str, Any]]:
    model = FloatModel.load(path)
    config = model.network.config
    return [{
        "file": path.name,
        "kind": each.kind,
        "format": form,
        "weights": config.ternary_weights,
        "weight_bytes": size * config.ternary_weights,
        "multiplications_per_char": multiplications(config, each.kind),
        "nats_per_char_streamed": (None if each.kind == "transformer" else
                                   streamed_loss(each.network, text.held_out)),
        "nats_per_char_blocks": blocks_loss(each.network, text.held_out),
        "sha256": each.sha256,
        "command": each.provenance.get("command"),
    } for each, form, size in ((model, "float32", 4), (quantised(model), "int8", 1))]
