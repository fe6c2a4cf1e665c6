"""Quality of a model on a text, computed by the integer reference."""

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from trilight.hw.config import NUMBERS
from trilight.sw.errors import EvaluationError
from trilight.sw.model import Model
from trilight.sw.reference.model import ReferenceModel

__all__ = ["BLOCK_CHARACTERS", "PROTOCOLS", "Progress", "evaluate", "log_softmax", "quality"]

BLOCK_CHARACTERS = 256
"""Characters fed to one block of the ``blocks`` protocol."""

PROTOCOLS = ("streamed", "blocks")

Progress = Callable[[int, int], None]
"""Called with the characters scored and the characters in all."""

Tokens = NDArray[np.int64]


def evaluate(model: Model, text: str, protocol: str = "streamed", *, streams: int = 64,
             progress: Progress | None = None) -> dict[str, Any]:
    """How well a model predicts a text.

    With the protocol ``streamed`` the text is split into ``streams`` equal contiguous streams
    (what is left over is not used), state is carried along each, and every character but the first
    of each stream is scored. With ``blocks`` it is split into blocks of 256 characters, the last
    one shorter; each starts from zero state and scores the character after each of its own, so
    that every character of the text but the first is scored with 1 to 256 characters before it.

    Parameters
    ----------
    model : Model
    text : str
    protocol : str
        ``"streamed"`` or ``"blocks"``.
    streams : int
        Streams, or blocks computed at a time, which do not change the result of ``blocks``.
    progress : callable, optional

    Returns
    -------
    dict
        Ready for JSON: ``protocol``, ``streams`` or ``block_characters``, ``nats_per_char``,
        ``bits_per_char``, ``bits_per_byte`` (bytes of the scored characters in UTF-8),
        ``characters_scored``, ``bytes_scored``, ``model_sha256``, ``text_sha256``.

    Raises
    ------
    EvaluationError
        If the protocol is unknown or the text too short for it.
    UnknownCharacterError
        If the model's vocabulary lacks characters of the text.
    """
    if protocol not in PROTOCOLS:
        raise EvaluationError(f"protocol must be {' or '.join(PROTOCOLS)}, not {protocol!r}")
    if streams < 1:
        raise EvaluationError(f"streams must be positive, not {streams}")
    fewest = 2 * streams if protocol == "streamed" else 2
    if len(text) < fewest:
        raise EvaluationError(f"a text must have at least {fewest} characters for the protocol "
                              f"{protocol!r}, not {len(text)}; take a longer one or fewer streams")
    tokens = np.array(model.encode(text), np.int64)
    if protocol == "streamed":
        setting = {"streams": streams}
        batches = [_streams(tokens, streams)]
    else:
        setting = {"block_characters": BLOCK_CHARACTERS}
        batches = list(_blocks(tokens, streams))
    scored = sum(targets.size for _, targets in batches)
    token_bytes = np.array([len(character.encode()) for character in model.vocab])
    bytes_scored = sum(int(token_bytes[targets].sum()) for _, targets in batches)
    nats, done = 0.0, 0
    # The products are small: threads would wait for each other longer than they work, and for
    # ever on a busy computer.
    with threadpool_limits(1, "blas"):
        for inputs, targets in batches:
            for step_nats in _losses(model, inputs, targets):
                nats += float(step_nats.sum())
                done += len(step_nats)
                if progress is not None:
                    progress(done, scored)
    return {
        "protocol": protocol,
        **setting,
        "nats_per_char": nats / scored,
        "bits_per_char": nats / scored / math.log(2),
        "bits_per_byte": nats / bytes_scored / math.log(2),
        "characters_scored": scored,
        "bytes_scored": bytes_scored,
        "model_sha256": model.sha256,
        "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def quality(model: Model, text: str, *, streams: int = 64,
            progress: Progress | None = None) -> dict[str, dict[str, Any]]:
    """Results of ``evaluate`` by protocol; ``progress`` counts each protocol anew."""
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


def _streams(tokens: Tokens, streams: int) -> tuple[Tokens, Tokens]:
    """Inputs and targets [streams, steps]."""
    length = len(tokens) // streams
    table = tokens[:streams * length].reshape(streams, length)
    return table[:, :-1], table[:, 1:]


def _blocks(tokens: Tokens, at_a_time: int) -> Iterator[tuple[Tokens, Tokens]]:
    """Inputs and targets [blocks, steps] of some blocks after others; the short one last."""
    inputs, targets = tokens[:-1], tokens[1:]
    whole = len(inputs) // BLOCK_CHARACTERS * BLOCK_CHARACTERS
    batch = at_a_time * BLOCK_CHARACTERS
    for start in range(0, whole, batch):
        span = slice(start, min(start + batch, whole))
        yield (inputs[span].reshape(-1, BLOCK_CHARACTERS),
               targets[span].reshape(-1, BLOCK_CHARACTERS))
    if whole < len(inputs):
        yield inputs[None, whole:], targets[None, whole:]


def _losses(model: Model, inputs: Tokens, targets: Tokens) -> Iterator[NDArray[np.float64]]:
    """Nats of each target, step by step, from zero state."""
    streams = len(inputs)
    reference = ReferenceModel(model, streams)
    for fed, wanted in zip(inputs.T, targets.T, strict=True):
        yield -log_softmax(reference.step(fed))[np.arange(streams), wanted]
