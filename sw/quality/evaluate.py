"""Quality of a model on a text, computed by the integer reference."""

import hashlib
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from trilight.hw.contract.numbers import NUMBERS
from trilight.sw.errors import EvaluationError
from trilight.sw.model.model import Model
from trilight.sw.reference.model import ReferenceModel

from .calibration import Calibration

__all__ = ["PROTOCOLS", "WINDOW_CHARACTERS", "Predictor", "PredictorFactory", "Progress",
           "character_losses", "evaluate", "log_softmax", "quality", "summary"]

WINDOW_CHARACTERS = 256
"""Characters fed to one window of the ``windows`` protocol."""

PROTOCOLS = ("stateful", "windows")

Progress = Callable[[int, int], None]
"""Called with the characters scored and the characters in all."""

Tokens = NDArray[np.int64]


class Predictor(Protocol):
    """Predictor of the next token of several independent sequences, from zero state."""

    def step(self, tokens: Tokens, /) -> NDArray[np.float64]:
        """Feed one token to each stream; return log-probabilities [streams, V] of the next."""


PredictorFactory = Callable[[int], Predictor]
"""Function that makes a predictor of a number of streams."""


def evaluate(model: Model, text: str, protocol: str = "stateful", *, streams: int = 64,
             progress: Progress | None = None) -> dict[str, Any]:
    """Measure how well a model predicts a text.

    With the protocol ``stateful`` the text is split into ``streams`` equal contiguous streams
    (what is left over is not used), state is carried along each, and every character but the first
    of each stream is scored. With ``windows`` it is split into windows of 256 characters, the last
    one shorter; each starts from zero state and scores the character after each of its own, so
    that every character of the text but the first is scored with 1 to 256 characters before it.

    Parameters
    ----------
    protocol
        ``"stateful"`` or ``"windows"``.
    streams
        Streams, or windows computed at a time, which do not change the result of ``windows``.

    Returns
    -------
    dict
        Ready for JSON: ``protocol``, ``streams`` or ``window_characters``, ``nats_per_char``,
        ``bits_per_char``, ``bits_per_byte`` (bytes of the scored characters in UTF-8),
        ``characters_scored``, ``bytes_scored``, ``model_sha256``, ``text_sha256``, and
        ``calibration``, what ``Calibration.figures`` returns.

    Raises
    ------
    EvaluationError
        If the protocol is unknown or the text too short for it.
    UnknownCharacterError
        If the model's vocabulary lacks characters of the text.
    """
    calibration = Calibration()
    nats = character_losses(model, text, protocol, streams=streams, progress=progress,
                            calibration=calibration)
    return {**summary(model, text, nats, protocol, streams=streams),
            "calibration": calibration.figures()}


def summary(model: Model, text: str, nats: NDArray[np.float64], protocol: str, *,
            streams: int = 64) -> dict[str, Any]:
    """Return what ``evaluate`` does but for the calibration, from losses of
    ``character_losses``."""
    scored = ~np.isnan(nats)
    token_bytes = np.array([len(text) for text in model.token_bytes])
    bytes_scored = int(token_bytes[np.array(model.encode(text), np.int64)[scored]].sum())
    total = float(nats[scored].sum())
    setting = ({"streams": streams} if protocol == "stateful"
               else {"window_characters": WINDOW_CHARACTERS})
    return {
        "protocol": protocol,
        **setting,
        "nats_per_char": total / scored.sum(),
        "bits_per_char": total / scored.sum() / math.log(2),
        "bits_per_byte": total / bytes_scored / math.log(2),
        "characters_scored": int(scored.sum()),
        "bytes_scored": bytes_scored,
        "model_sha256": model.sha256,
        "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def character_losses(model: Model, text: str, protocol: str = "stateful", *, streams: int = 64,
                     predictor: PredictorFactory | None = None,
                     progress: Progress | None = None,
                     calibration: Calibration | None = None) -> NDArray[np.float64]:
    """Loss of each character of a text in nats, NaN where the protocol scores none.

    Parameters
    ----------
    model, text, protocol, streams, progress
        As in ``evaluate``.
    predictor
        Makes what predicts in the model's place, with the model's vocabulary: called with a
        number of streams. The integer reference of ``model`` unless given.
    calibration
        Every prediction that is scored is added to it.

    Raises
    ------
    EvaluationError, UnknownCharacterError
        As in ``evaluate``.
    """
    if protocol not in PROTOCOLS:
        raise EvaluationError(f"protocol must be {' or '.join(PROTOCOLS)}, not {protocol!r}")
    if streams < 1:
        raise EvaluationError(f"streams must be positive, not {streams}")
    fewest = 2 * streams if protocol == "stateful" else 2
    if len(text) < fewest:
        raise EvaluationError(f"a text must have at least {fewest} characters for the protocol "
                              f"{protocol!r}, not {len(text)}; take a longer one or fewer streams")
    tokens = np.array(model.encode(text), np.int64)
    batches = ([_streams(len(tokens), streams)] if protocol == "stateful"
               else list(_windows(len(tokens), streams)))
    scored, done = sum(batch[:, 1:].size for batch in batches), 0
    nats = np.full(len(tokens), np.nan)
    # The products are small: threads would wait for each other longer than they work, and for
    # ever on a busy computer.
    with threadpool_limits(1, "blas"):
        for batch in batches:
            rows = np.arange(len(batch))
            state = predictor(len(batch)) if predictor else _Integers(model, len(batch))
            for fed, wanted in pairwise(batch.T):
                predicted = state.step(tokens[fed])
                nats[wanted] = -predicted[rows, tokens[wanted]]
                if calibration is not None:
                    calibration.add(predicted, tokens[wanted])
                done += len(rows)
                if progress is not None:
                    progress(done, scored)
    return nats


def quality(model: Model, text: str, *, streams: int = 64,
            progress: Progress | None = None) -> dict[str, dict[str, Any]]:
    """Results of ``evaluate`` by protocol; ``progress`` counts each protocol again."""
    return {protocol: evaluate(model, text, protocol, streams=streams, progress=progress)
            for protocol in PROTOCOLS}


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Natural logarithms of the probabilities that integer logits stand for.

    Parameters
    ----------
    logits : integer array [..., V]
        Q9.6.
    """
    nats = np.ldexp(logits.astype(np.float64), -NUMBERS.logit_frac)
    # 16 bits keep logits within 512 nats, so neither end leaves double precision.
    result: NDArray[np.float64] = nats - np.log(np.exp(nats).sum(axis=-1, keepdims=True))
    return result


def _streams(length: int, streams: int) -> NDArray[np.int64]:
    """Positions [streams, steps + 1] in a text: the last of each row is only predicted."""
    steps = length // streams
    return np.arange(streams * steps).reshape(streams, steps)


def _windows(length: int, at_a_time: int) -> Iterator[NDArray[np.int64]]:
    """Positions [windows, steps + 1] of some windows after others; the short one last."""
    whole = (length - 1) // WINDOW_CHARACTERS
    span = np.arange(WINDOW_CHARACTERS + 1)
    for first in range(0, whole, at_a_time):
        starts = np.arange(first, min(first + at_a_time, whole)) * WINDOW_CHARACTERS
        yield starts[:, None] + span
    if whole * WINDOW_CHARACTERS < length - 1:
        yield np.arange(whole * WINDOW_CHARACTERS, length)[None, :]


class _Integers:
    """The integer reference as a predictor."""

    def __init__(self, model: Model, streams: int) -> None:
        self._reference = ReferenceModel(model, streams)

    def step(self, tokens: Tokens) -> NDArray[np.float64]:
        return log_softmax(self._reference.step(tokens))
