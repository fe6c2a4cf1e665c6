"""Anomalies: lines that surprise a model which was trained on usual ones.

A folder holds ``train.txt``, usual lines; and ``development.tsv`` and ``test.tsv``, lines of the
same source, each with a tab and ``normal`` or ``anomaly``. Nothing is learnt from the labels: a
line's score is the bits that the model needs for the most surprising of its characters, read in
order as ``trilight score`` does. The sum over a line, which is larger for a kind of line that has
more in it that is open, tells less.
"""

import math
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import EvaluationError
from trilight.sw.model.model import Model
from trilight.sw.quality.evaluate import character_losses

from .lines import LabelledLine, read_lines

__all__ = ["ANOMALY", "DEVELOPMENT", "NORMAL", "TEST", "TRAIN", "anomaly_auc", "auc", "auc_of",
           "line_surprises", "read_scored"]

TRAIN, DEVELOPMENT, TEST = "train.txt", "development.tsv", "test.tsv"
"""Files of a task of anomalies."""

NORMAL, ANOMALY = "normal", "anomaly"

_STREAMS = 64
"""Stretches of a file that are read side by side, each from zero state: far faster than one."""


def read_scored(path: str | os.PathLike[str]) -> tuple[LabelledLine, ...]:
    """Read lines that are labelled ``normal`` or ``anomaly``.

    Raises
    ------
    CorpusError
        They cannot be read, or are all of one kind.
    EvaluationError
        One has another label.
    """
    lines = read_lines(path).lines
    if strange := {line.label for line in lines} - {NORMAL, ANOMALY}:
        raise EvaluationError(f"lines of {path} must be labelled {NORMAL} or {ANOMALY}, not "
                              f"{min(strange)!r}")
    return lines


def line_surprises(lines: Sequence[str], nats: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the bits of the most surprising character of each line, its line end included.

    Parameters
    ----------
    lines
        Without their ends.
    nats
        Loss of each character of the lines joined, NaN where there is none.
    """
    ends = np.cumsum([len(line) + 1 for line in lines])
    bits = np.nan_to_num(nats) / math.log(2)
    found: NDArray[np.float64] = np.maximum.reduceat(bits, [0, *ends[:-1]])
    return found


def auc(usual: NDArray[np.float64], strange: NDArray[np.float64]) -> tuple[float, float]:
    """Return the area under the curve of hits against false alarms, with its standard error.

    The probability that a strange line has a higher score than a usual one, equal ones counted
    half (the statistic of Mann and Whitney); its error by Hanley and McNeil, Radiology 143 (1982).
    """
    ordered = np.sort(usual)
    below = np.searchsorted(ordered, strange, "left")
    upto = np.searchsorted(ordered, strange, "right")
    area = float((below + upto).mean() / 2 / len(usual))
    # As of accuracy: a sample's own spread is too sure near 1.
    a = min(area, 1 - 0.5 / min(len(usual), len(strange)))
    variance = (a * (1 - a) + (len(strange) - 1) * (a / (2 - a) - a * a)
                + (len(usual) - 1) * (2 * a * a / (1 + a) - a * a)) / (len(usual) * len(strange))
    return area, math.sqrt(variance)


def auc_of(scores: NDArray[np.float64], lines: Sequence[LabelledLine]) -> tuple[float, float]:
    """Return ``auc`` of the scores of labelled lines."""
    strange = np.array([line.label == ANOMALY for line in lines])
    return auc(scores[~strange], scores[strange])


def anomaly_auc(model: Model, lines: Sequence[LabelledLine]) -> tuple[float, float]:
    """Return how well a model's surprise tells anomalies, as ``auc`` does.

    The lines are read as 64 stretches side by side; where one begins, a character is not counted,
    nor are the last few of all.
    """
    texts = [line.text for line in lines]
    nats = character_losses(model, "".join(text + "\n" for text in texts), streams=_STREAMS)
    return auc_of(line_surprises(texts, nats), lines)
