"""Text from an imported model, and how well it predicts one."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.imported import FORMATS
from trilight.sw.errors import EvaluationError, PromptError

from .model import ImportedModel
from .run import Progress, Stream, open_runner
from .tokens import Tokenizer, open_tokenizer

__all__ = ["Feed", "Score", "generate_pieces", "local_feed", "score_tokens", "text_quality",
           "text_tokens"]

Feed = Callable[[Mapping[int, Sequence[int]]], Mapping[int, NDArray[np.int64]]]
"""Feeds tokens to sequences by number; returns the logits after the last token of each."""

_END_OF_TEXT = 2
"""``eos_token_id`` of the published models."""
_SHOWN_BEFORE = 16
"""Tokens that are decoded again with each new one, since a piece's text depends on its neighbours.
"""


def local_feed(model: ImportedModel) -> Feed:
    """Sequences in this process, one after the other."""
    runners: dict[int, Stream] = {}

    def feed(tokens: Mapping[int, Sequence[int]]) -> dict[int, NDArray[np.int64]]:
        found = {}
        for sequence, more in tokens.items():
            runner = runners.setdefault(sequence, open_runner(model))
            for token in more:
                found[sequence] = runner.step(token)
        return found

    return feed


def generate_pieces(model: ImportedModel, prompts: Sequence[str], *, tokens: int,
                    temperature: float, seed: int,
                    feed: Feed | None = None) -> Iterator[tuple[int, str]]:
    """Continue prompts; yields numbers of prompts and pieces of text as they arrive.

    Tokens are drawn from ``softmax(logits / temperature)`` by Gumbel noise of NumPy's generator
    with that seed, of the second prompt with the next seed, and so on; at temperature 0 the
    likeliest is taken. A text ends early where the model ends it.

    Parameters
    ----------
    model : ImportedModel
    prompts : sequence of str
    tokens : int
    temperature : float
    seed : int
    feed : callable, optional
        What runs the model. Default: this process.

    Raises
    ------
    PromptError
        A prompt has no token, or temperature or number of tokens is out of range.
    TokenError, MissingPackageError
        The model has no tokenizer, or the package that reads it is missing.
    """
    if not 0 <= temperature < math.inf or tokens < 1:
        raise PromptError("temperature must be 0 or more and tokens at least 1, not "
                          f"{temperature} and {tokens}")
    tokenizer = open_tokenizer(model.tokenizer)
    contexts = [tokenizer.encode(prompt) for prompt in prompts]
    if not all(contexts):
        raise PromptError("the prompt has no token; give at least one character")
    writers = {number: _Writer(tokenizer, context, temperature, seed + number)
               for number, context in enumerate(contexts)}
    return _pieces(feed or local_feed(model), dict(enumerate(contexts)), writers, tokens)


class _Writer:
    """Draws the tokens of one sequence, and knows what text each adds."""

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int], temperature: float,
                 seed: int) -> None:
        self._tokenizer = tokenizer
        self._shown = list(context[-_SHOWN_BEFORE:])
        self._temperature = temperature
        self._rng = np.random.default_rng(seed)

    def draw(self, logits: NDArray[np.int64]) -> int:
        if self._temperature == 0:
            return int(np.argmax(logits))
        noise = self._rng.gumbel(size=len(logits))
        scaled = np.ldexp(logits.astype(np.float64), -FORMATS.logit_frac) / self._temperature
        return int(np.argmax(scaled + noise))

    def text(self, token: int) -> str:
        known = self._tokenizer.decode(self._shown)
        shown = [*self._shown, token]
        self._shown = shown[-_SHOWN_BEFORE:]
        return self._tokenizer.decode(shown)[len(known):]


def _pieces(feed: Feed, fed: dict[int, Sequence[int]], writers: Mapping[int, _Writer],
            tokens: int) -> Iterator[tuple[int, str]]:
    for _ in range(tokens):
        if not fed:
            return
        logits = feed(fed)
        fed = {}
        for number, values in logits.items():
            token = writers[number].draw(values)
            if token != _END_OF_TEXT:
                fed[number] = [token]
                yield number, writers[number].text(token)


@dataclass(frozen=True)
class Score:
    """Score of tokens that were predicted.

    Attributes
    ----------
    tokens : int
        Scored: all but the first.
    nats : float
        Of all of them.
    saturations : int
    """

    tokens: int
    nats: float
    saturations: int


def score_tokens(stream: Stream, tokens: Sequence[int], progress: Progress | None = None) -> Score:
    """Feed tokens from a clean state, and score each but the first."""
    stream.reset()
    nats = 0.0
    for done, (fed, wanted) in enumerate(pairwise(tokens), 1):
        logits = np.ldexp(stream.step(fed).astype(np.float64), -FORMATS.logit_frac)
        peak = float(logits.max())
        nats += peak + math.log(float(np.exp(logits - peak).sum())) - float(logits[wanted])
        if progress is not None:
            progress(done, len(tokens) - 1)
    return Score(len(tokens) - 1, nats, stream.saturations.total)


def text_tokens(tokenizer: Tokenizer, text: str, max_tokens: int | None = None) -> list[int]:
    """Tokens of a text, no more than ``max_tokens`` to be scored.

    Raises
    ------
    EvaluationError
        There are fewer than two.
    """
    tokens = tokenizer.encode(text)
    if max_tokens is not None:
        tokens = tokens[:max_tokens + 1]
    if len(tokens) < 2:
        raise EvaluationError("a text must have at least two tokens to be scored; take a longer "
                              "one")
    return tokens


def text_quality(model: ImportedModel, text: str, *, max_tokens: int | None = None,
                 stream: Stream | None = None,
                 progress: Progress | None = None) -> dict[str, float | int | str]:
    """Measure how well a model predicts a text: nats per token and bits per byte.

    The text is one stream from a clean state; every token after the first is scored, and counted
    with the bytes that it adds to the text.

    Parameters
    ----------
    model : ImportedModel
    text : str
    max_tokens : int, optional
    stream : Stream, optional
        What runs the model. Default: this process.
    progress : callable, optional

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
    tokens = text_tokens(tokenizer, text, max_tokens)
    score = score_tokens(stream or open_runner(model), tokens, progress)
    size = len(tokenizer.decode(tokens).encode()) - len(tokenizer.decode(tokens[:1]).encode())
    return {"tokens_scored": score.tokens, "bytes_scored": size,
            "nats_per_token": score.nats / score.tokens,
            "bits_per_byte": score.nats / math.log(2) / max(size, 1),
            "saturations": score.saturations, "model_sha256": model.sha256}
