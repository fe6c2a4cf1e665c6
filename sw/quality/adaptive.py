"""Quality of a model that learns while it reads a text, and the surprise of each of its lines.

The text is one sequence from zero state, scored before it is learnt from, as of a device that reads
it once. So these figures are no figures of the model alone, and stand beside those, never in their
place.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from trilight.sw.errors import EvaluationError
from trilight.sw.model.model import Model
from trilight.sw.reference.adaptation import Adaptation
from trilight.sw.reference.model import ReferenceModel

from .evaluate import Progress, log_softmax

__all__ = ["adaptive_summary", "line_bits", "read_losses", "read_once"]

_REPORTED = 1024
"""Characters between two reports of progress."""

_PARTS = 64
"""Pieces of a text whose means give its standard error."""


def read_losses(model: Model, text: str, *, adaptation: Adaptation | None = None,
                progress: Progress | None = None) -> NDArray[np.float64]:
    """Return the loss of each character of a text in nats, the first one NaN.

    Parameters
    ----------
    text
        Read as one sequence from zero state.
    adaptation
        Learns from the text as it goes.

    Raises
    ------
    EvaluationError
        If the text has fewer than two characters.
    UnknownCharacterError
        If the model's vocabulary lacks characters of the text.
    """
    nats: NDArray[np.float64] = _read(model, text, [adaptation], progress)[0]
    return nats


def read_once(model: Model, text: str, *, rows: int, token_rows: int = 0,
              progress: Progress | None = None) -> dict[str, dict[str, Any]]:
    """Measure a model that reads a text once: as it is, and with what it learns meanwhile.

    Parameters
    ----------
    rows
        Rows for pairs of tokens, a power of two; 0 leaves out order 2.
    token_rows
        Rows for single tokens, a power of two; 0 for one each.

    Returns
    -------
    dict
        By what learns, ``static``, ``order_1`` and ``orders_1_and_2``: ``adaptive_summary`` and
        the ``bytes`` that were learnt.

    Raises
    ------
    EvaluationError, UnknownCharacterError
        As ``read_losses``, or a number of rows is no power of two.
    """
    for option, number in (("--adapt-rows", rows), ("--adapt-token-rows", token_rows)):
        if number & number - 1:
            raise EvaluationError(f"{option} must be a power of two or 0, not {number:,}")
    orders = {"order_1": 0, **({"orders_1_and_2": rows} if rows else {})}
    learning = {"static": None, **{
        name: Adaptation(model.config.vocab_size, rows=pairs, token_rows=token_rows)
        for name, pairs in orders.items()}}
    losses = _read(model, text, list(learning.values()), progress)
    return {name: {**adaptive_summary(text, nats),
                   "bytes": 0 if adaptation is None else len(adaptation.to_bytes())}
            for (name, adaptation), nats in zip(learning.items(), losses, strict=True)}


def _read(model: Model, text: str, learning: Sequence[Adaptation | None],
          progress: Progress | None) -> NDArray[np.float64]:
    """Return the losses [learning, characters] of a text, whose logits are computed once."""
    tokens = model.encode(text)
    if len(tokens) < 2:
        raise EvaluationError(f"a text must have at least 2 characters to be read, not "
                              f"{len(tokens)}")
    nats = np.full((len(learning), len(tokens)), np.nan)
    reference = ReferenceModel(model)
    # The products are small: threads would wait for each other longer than they work.
    with threadpool_limits(1, "blas"):
        for place, token in enumerate(tokens[:-1], 1):
            static = reference.step([token])[0]
            for losses, adaptation in zip(nats, learning, strict=True):
                logits = static
                if adaptation is not None:
                    adaptation.read(token)
                    logits = adaptation.biased(static)
                    adaptation.draw(logits)
                losses[place] = -log_softmax(logits)[tokens[place]]
            if progress is not None and (place % _REPORTED == 0 or place == len(tokens) - 1):
                progress(place, len(tokens) - 1)
    return nats


def adaptive_summary(text: str, nats: NDArray[np.float64]) -> dict[str, Any]:
    """Return the mean of losses of ``read_losses``, with the standard error over the text.

    Returns
    -------
    dict
        Ready for JSON: ``nats_per_char``, ``bits_per_byte``, ``standard_error`` (nats per
        character, from the spread of the means of 64 consecutive pieces), ``halves`` (nats per
        character of the first and second half), ``characters_scored``.
    """
    scored = nats[1:]
    pieces = [piece.mean() for piece in np.array_split(scored, min(_PARTS, len(scored)))]
    half = len(scored) // 2
    return {
        "nats_per_char": float(scored.mean()),
        "bits_per_byte": float(scored.sum() / math.log(2) / len(text[1:].encode())),
        "standard_error": float(np.std(pieces, ddof=1) / math.sqrt(len(pieces)))
        if len(pieces) > 1 else None,
        "halves": [float(scored[:half].mean()), float(scored[half:].mean())] if half else None,
        "characters_scored": len(scored),
    }


def line_bits(text: str, nats: NDArray[np.float64]) -> Iterator[tuple[str, float]]:
    """Yield each line of a text with the bits that it took, its line end included.

    The first character of a text, which is not predicted, counts nothing.
    """
    begin = 0
    for line in text.splitlines(keepends=True):
        end = begin + len(line)
        yield line.rstrip("\n"), float(np.nansum(nats[begin:end]) / math.log(2))
        begin = end
