"""Structured pruning: hidden units and channels that leave a model, and its cycles with them.

What is kept is what matters most by a rule: the mean magnitude of an activation on text, times
the number of trits, not 0, of the columns that take it. Needs no PyTorch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import TrainingError
from trilight.sw.model.model import Model
from trilight.sw.reference.model import ReferenceModel

__all__ = ["Importance", "importance", "pruned"]

_STREAMS = 64
_STEPS = 256
"""Characters of each stream: enough for means that a few thousand more would not change."""

_NORMED = {"mix": ("forget", "candidate", "gate"), "glu": ("glu_gate", "glu_up")}
"""Matrices that take the output of a norm, by the branch that it begins."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """Scores of the units of a model, the higher the more one matters; only the order counts."""

    channels: Scores
    """Channels of the residual stream, [d]: shares of norms' sums, times trits."""
    state: tuple[Scores, ...]
    """Channels of each layer's MLGRU, [d]."""
    hidden: tuple[Scores, ...]
    """Hidden units of each layer's GLU, [H]."""


def importance(model: Model, tokens: Sequence[int] | NDArray[np.int64]) -> Importance:
    """Measure how much the units of a model matter on a text.

    Parameters
    ----------
    model
    tokens
        Text, of which the first characters of 64 equal parts are fed.
    """
    length = len(tokens) // _STREAMS
    parts = np.asarray(tokens)[:length * _STREAMS].reshape(_STREAMS, length)[:, :_STEPS]
    norms: list[Scores] = []
    sums: dict[str, list[Scores]] = {"u": [], "v": []}

    def watch(stage: str, layer: int, values: NDArray[Any]) -> None:
        if stage == "q":
            norms.append(np.abs(values).sum(0, dtype=np.float64))
        elif stage in sums:
            sums[stage].append(np.abs(values).sum(0, dtype=np.float64))

    reference = ReferenceModel(model, _STREAMS)
    # The products are small: threads would wait for each other longer than they work.
    with threadpool_limits(1):
        for column in parts.T:
            reference.step(column, watch)
    layers = len(model.layers)
    readers = [_trits(*(getattr(layer, name).trits for name in names))
               for layer in model.layers for names in _NORMED.values()]
    each = len(readers) + 1
    channels = sum(
        _mean(norms[number::each]) / max(_mean(norms[number::each]).sum(), 1) * trits
        for number, trits in enumerate([*readers, _trits(model.embedding)]))
    return Importance(
        channels=np.asarray(channels),
        state=tuple(_mean(sums["u"][i::layers]) * _trits(model.layers[i].mix_out.trits)
                    for i in range(layers)),
        hidden=tuple(_mean(sums["v"][i::layers]) * _trits(model.layers[i].glu_down.trits)
                     for i in range(layers)))


def _mean(values: Sequence[Scores]) -> Scores:
    return np.asarray(np.mean(values, axis=0))


def _trits(*matrices: NDArray[np.int8]) -> Scores:
    """Trits that are not 0, of each column."""
    return np.asarray(sum(np.count_nonzero(matrix, axis=0) for matrix in matrices), np.float64)


def pruned(arrays: Mapping[str, NDArray[Any]], before: ModelConfig, after: ModelConfig,
           scores: Importance) -> dict[str, NDArray[Any]]:
    """Return the arrays of a model without its least important units.

    What a trit stands for stays as it is, and so do all other numbers of what is kept.

    Parameters
    ----------
    arrays
        Those of ``start.model_arrays``.
    before, after
        Shape of the model, and of what is to be left of it.
    scores

    Raises
    ------
    TrainingError
        ``after`` is larger than ``before`` in some way, or has other layers or tokens.
    """
    for name, had in before.to_dict().items():
        wanted = after.to_dict()[name]
        if wanted > had or (wanted != had and name not in ("d_model", "d_hidden")):
            raise TrainingError(
                f"the model has {name} {had}, and a training that goes on from it can not make "
                f"it {wanted}; only --d-model and --hidden can be given, as large or smaller")
    channels = _best(scores.channels, after.d_model)
    kept: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        *path, leaf = name.split(".")
        layer = int(path[1]) if path else 0
        places = {"channels": channels, "state": _best(scores.state[layer], after.d_model),
                  "hidden": _best(scores.hidden[layer], after.d_hidden)}
        for axis, unit in enumerate(_AXES.get(leaf, ())):
            if unit:
                array = array.take(places[unit], axis)
        kept[name] = array
    return kept


_AXES: Mapping[str, tuple[str, ...]] = {
    "embedding": ("", "channels"),
    "forget": ("state", "channels"),
    "candidate": ("state", "channels"),
    "gate": ("state", "channels"),
    "mix_out": ("channels", "state"),
    "glu_gate": ("hidden", "channels"),
    "glu_up": ("hidden", "channels"),
    "glu_down": ("channels", "hidden"),
    "tap_now": ("channels",),
    "tap_prev": ("channels",),
    "forget_bias": ("state",),
}
"""Units along each axis of an array; all others have none."""


def _best(scores: Scores, count: int) -> NDArray[np.intp]:
    """Places of the highest scores, in their order in the model."""
    return np.sort(np.argsort(-scores, kind="stable")[:count])
