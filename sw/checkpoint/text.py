"""Text from an imported model, and how well it predicts one."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.imported import FORMATS
from trilight.sw.errors import EvaluationError, PromptError

from .model import ImportedModel
from .run import Progress, Runner, open_runner
from .tokens import Tokenizer, open_tokenizer

__all__ = ["generate_pieces", "text_quality"]

_END_OF_TEXT = 2
"""``eos_token_id`` of the published models."""
_SHOWN_BEFORE = 16
"""Tokens that are decoded again with each new one, since a piece's text depends on its neighbours.
"""


def generate_pieces(model: ImportedModel, prompt: str, *, tokens: int, temperature: float,
                    seed: int) -> Iterator[str]:
    """Continue a prompt; yields pieces of text as they arrive.

    Tokens are drawn from ``softmax(logits / temperature)`` by Gumbel noise of NumPy's generator
    with that seed; at temperature 0 the likeliest is taken. The text ends early where the model
    ends it.

    Raises
    ------
    PromptError
        The prompt has no token, or temperature or number of tokens is out of range.
    TokenError, MissingPackageError
        The model has no tokenizer, or the package that reads it is missing.
    """
    if not 0 <= temperature < math.inf or tokens < 1:
        raise PromptError("temperature must be 0 or more and tokens at least 1, not "
                          f"{temperature} and {tokens}")
    tokenizer = open_tokenizer(model.tokenizer)
    runner = open_runner(model)
    context = tokenizer.encode(prompt)
    if not context:
        raise PromptError("the prompt has no token; give at least one character")
    return _pieces(runner, tokenizer, context, tokens, temperature, np.random.default_rng(seed))


def _pieces(runner: Runner, tokenizer: Tokenizer, context: Sequence[int], tokens: int,
            temperature: float, rng: np.random.Generator) -> Iterator[str]:
    *before, token = context
    for fed in before:
        runner.step(fed)
    shown = list(context[-_SHOWN_BEFORE:])
    for _ in range(tokens):
        token = _draw(runner.step(token), temperature, rng)
        if token == _END_OF_TEXT:
            return
        known = tokenizer.decode(shown)
        shown = [*shown, token]
        yield tokenizer.decode(shown)[len(known):]
        shown = shown[-_SHOWN_BEFORE:]


def _draw(logits: NDArray[np.int64], temperature: float, rng: np.random.Generator) -> int:
    if temperature == 0:
        return int(np.argmax(logits))
    noise = rng.gumbel(size=len(logits))
    return int(np.argmax(np.ldexp(logits.astype(np.float64), -FORMATS.logit_frac) / temperature
                         + noise))


def text_quality(model: ImportedModel, text: str, *, max_tokens: int | None = None,
                 progress: Progress | None = None) -> dict[str, float | int | str]:
    """How well a model predicts a text: nats per token and bits per byte.

    The text is one stream from a clean state; every token after the first is scored, and counted
    with the bytes that it adds to the text.

    Returns
    -------
    dict
        Ready for JSON: ``tokens_scored``, ``bytes_scored``, ``nats_per_token``,
        ``bits_per_byte``, ``saturations``, ``model_sha256``.

    Raises
    ------
    EvaluationError
        The text has fewer than two tokens.
    TokenError, MissingPackageError
        The model has no tokenizer, or the package that reads it is missing.
    """
    tokenizer = open_tokenizer(model.tokenizer)
    tokens = tokenizer.encode(text)
    if max_tokens is not None:
        tokens = tokens[:max_tokens + 1]
    if len(tokens) < 2:
        raise EvaluationError("a text must have at least two tokens to be scored; take a longer "
                              "one")
    runner = open_runner(model)
    nats = 0.0
    for done, (fed, wanted) in enumerate(pairwise(tokens), 1):
        logits = np.ldexp(runner.step(fed).astype(np.float64), -FORMATS.logit_frac)
        peak = float(logits.max())
        nats += peak + math.log(float(np.exp(logits - peak).sum())) - float(logits[wanted])
        if progress is not None:
            progress(done, len(tokens) - 1)
    scored = len(tokens) - 1
    size = len(tokenizer.decode(tokens).encode()) - len(tokenizer.decode(tokens[:1]).encode())
    return {"tokens_scored": scored, "bytes_scored": size, "nats_per_token": nats / scored,
            "bits_per_byte": nats / math.log(2) / max(size, 1),
            "saturations": runner.saturations.total, "model_sha256": model.sha256}
