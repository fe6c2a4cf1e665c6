"""Calibration: whether a model is as sure as it should be.

Two figures, of the predictions of a protocol of ``evaluate``: the expected calibration error, and
the scale of the logits at which the loss is least, below 1 of a model that is too sure (Guo and
others, *On Calibration of Modern Neural Networks*, 2017, whose temperature is its inverse).
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.numbers import NUMBERS
from trilight.sw.errors import EvaluationError
from trilight.sw.model.model import Model

__all__ = ["Calibration", "scale_head"]

_SCALES = np.linspace(0.6, 1.4, 17)
"""Scales whose losses are summed up; the best is found between them."""

_BINS = 15


class Calibration:
    """Sums over predictions, to which ``add`` adds."""

    def __init__(self) -> None:
        self._losses = np.zeros(len(_SCALES))
        self._sure, self._right = np.zeros(_BINS), np.zeros(_BINS)
        self._count = 0

    def add(self, log_probs: NDArray[np.float64], wanted: NDArray[np.int64]) -> None:
        """Add predictions ``log_probs [N, V]`` of the tokens ``wanted [N]``."""
        rows = np.arange(len(wanted))
        for number, scale in enumerate(_SCALES):
            scaled = scale * log_probs
            self._losses[number] += (np.log(np.exp(scaled).sum(-1)) - scaled[rows, wanted]).sum()
        best = log_probs.argmax(-1)
        sure = np.exp(log_probs[rows, best])
        bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
        self._sure += np.bincount(bins, sure, _BINS)
        self._right += np.bincount(bins, best == wanted, _BINS)
        self._count += len(wanted)

    def figures(self) -> dict[str, Any]:
        """Return the figures, ready for JSON.

        Returns
        -------
        dict
            ``best_scale`` of the logits, within [0.6, 1.4]; ``gain_nats_per_char``, how much less
            the loss would be with it; ``expected_error``, the mean difference between the
            probability of the likeliest token and the share of times that it is right, over 15
            bins of that probability.
        """
        losses = self._losses / self._count
        middle = int(np.clip(losses.argmin(), 1, len(losses) - 2))
        # The loss is a convex function of the scale, and close to a parabola over three of them.
        curve = np.polynomial.Polynomial.fit(_SCALES[middle - 1:middle + 2],
                                             losses[middle - 1:middle + 2], 2)
        [best] = curve.deriv().roots().real
        best = float(np.clip(best, _SCALES[middle - 1], _SCALES[middle + 1]))
        return {
            "best_scale": best,
            "gain_nats_per_char": float(losses[np.isclose(_SCALES, 1)][0] - curve(best)),
            "expected_error": float(np.abs(self._sure - self._right).sum() / self._count),
        }


def scale_head(model: Model, scale: float) -> Model:
    """Return a model whose logits are ``scale`` times as large, with another provenance to come.

    The head's multiplier and biases are rounded to their formats.

    Raises
    ------
    EvaluationError
        The multiplier would leave its range.
    """
    multiplier = round(model.head_scale * scale)
    if not 1 <= multiplier < 1 << NUMBERS.scale_bits:
        raise EvaluationError(f"the head's multiplier is {model.head_scale:,} and can be "
                              f"1 to {(1 << NUMBERS.scale_bits) - 1:,}, so a scale of {scale:g} "
                              "cannot be had")
    limit = 1 << NUMBERS.logit_bits - 1
    bias = np.clip(np.rint(model.head_bias * scale), -limit, limit - 1).astype(np.int32)
    return replace(model, head_scale=multiplier, head_bias=bias)
