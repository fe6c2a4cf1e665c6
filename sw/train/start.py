"""The numbers that a training begins with if it goes on from a model file. Needs no PyTorch.

A model file has the trits, not the real numbers that they were rounded from. What begins the
training are real numbers that round to the same model: 0 for each 0, and for each other trit one
magnitude, the same in all of a matrix, so chosen that the mean over the matrix, zeros included, is
what its multiplier stands for.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.numbers import NUMBERS
from trilight.sw.errors import TrainingError
from trilight.sw.model.model import Model

from .scales import SCALES, head_gain, weight_of

__all__ = ["model_arrays", "real_numbers"]

Arrays = Mapping[str, NDArray[Any]]

_EMBEDDING_MEAN = 0.4
"""Mean magnitude of the embedding's real numbers, as of one that begins from random ones. The file
does not say it, for ``embed_scale`` is a number of its own."""


def model_arrays(model: Model) -> dict[str, NDArray[Any]]:
    """Return the arrays that ``export.build_model`` makes this model of.

    As those of ``Network.arrays()``: trits and, under ``<name>.weight``, the value of a trit of +1;
    of all else the real values.
    """
    d = model.config.d_model
    arrays: dict[str, NDArray[Any]] = {
        "embedding": model.embedding,
        "embed_scale": np.array(model.embed_scale * 2.0**-NUMBERS.residual_frac),
        "head_gain": np.array(head_gain(model.head_scale, d)),
        "head_tap": np.array(model.head_tap * 2.0**-NUMBERS.tap_frac),
        "head_bias": model.head_bias * 2.0**-NUMBERS.logit_frac,
    }
    for number, layer in enumerate(model.layers):
        part: dict[str, NDArray[Any]] = {
            "tap_now": layer.tap_now * 2.0**-NUMBERS.tap_frac,
            "tap_prev": layer.tap_prev * 2.0**-NUMBERS.tap_frac,
            "forget_bias": layer.forget_bias * 2.0**-NUMBERS.index_frac,
            "glu_tap": np.array(layer.glu_tap * 2.0**-NUMBERS.tap_frac),
        }
        for name, matrix in layer.matrices.items():
            part[name] = matrix.trits
            part[f"{name}.weight"] = np.array(weight_of(matrix.scale, SCALES[name], d))
        arrays |= {f"layers.{number}.{name}": value for name, value in part.items()}
    return arrays


def real_numbers(arrays: Arrays, ternary_threshold: float) -> dict[str, NDArray[np.float32]]:
    """Return a network's parameters that round to these arrays.

    Parameters
    ----------
    arrays
        Those of ``model_arrays``, or of ``prune.pruned``.
    ternary_threshold
        That of the training: weights below this part of a matrix's mean magnitude become 0.

    Raises
    ------
    TrainingError
        A matrix has fewer zeros than the threshold leaves room for.
    """
    found = {}
    for name, value in arrays.items():
        leaf = name.rpartition(".")[2]
        if leaf == "weight":
            continue
        real = np.asarray(value, np.float64)
        if leaf in SCALES or leaf == "embedding":
            share = float(np.abs(real).mean())
            if share * ternary_threshold >= 1:
                raise TrainingError(
                    f"{name} has {1 - share:.0%} zeros, and with a --ternary-threshold of "
                    f"{ternary_threshold:g} it must have more than "
                    f"{1 - 1 / ternary_threshold:.0%}; give the threshold that the model was "
                    "trained with")
            mean = float(arrays.get(f"{name}.weight", _EMBEDDING_MEAN))
            real = real * (mean / max(share, 1 / real.size))
        found[name] = real.astype(np.float32)
    return found
