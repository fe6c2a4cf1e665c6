"""Decisions of a model that was trained on labelled lines.

A decision is the likeliest token after a text and a tab, so any target takes it: a prompt, one
token, temperature 0.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from trilight.sw.errors import ModelError, PromptError
from trilight.sw.host.driver import Board
from trilight.sw.model.model import Model
from trilight.sw.model.text import plain_text
from trilight.sw.reference.model import ReferenceModel

from .lines import SEPARATOR, LabelledLine

__all__ = ["Decision", "accuracy", "confusion", "decide", "decide_on", "labels_of", "prompt_of"]

_TOGETHER = 64
"""Texts of one length that the reference works on at once."""


@dataclass(frozen=True)
class Decision:
    """Label that a model gives to a text."""

    text: str
    label: str | None
    """``None`` if the model's likeliest token is no label."""
    cycles: int | None
    """Clock cycles from the first character to the label, of a target that has a clock."""


def labels_of(model: Model) -> Mapping[str, str]:
    """Return the label of each character of a model's vocabulary that stands for one.

    Raises
    ------
    ModelError
        The model was not trained on labelled lines.
    """
    labels = model.provenance.get("labels")
    if not (isinstance(labels, Mapping) and labels and SEPARATOR in model.vocab and all(
            isinstance(name, str) and character in model.vocab
            for character, name in labels.items())):
        raise ModelError("the model tells no labels apart; trilight train --label-weight trains "
                         "one on a file of lines, each a text, a tab and a label")
    return labels


def prompt_of(model: Model, text: str) -> str:
    """Return the prompt that asks for a text's label.

    A model that knows no capital letter, other than those that stand for labels, gets the text in
    lower case.

    Raises
    ------
    PromptError
        The text is empty, or has characters that no text had that the model was trained on.
    """
    labels = labels_of(model)
    known = set(model.vocab) - set(labels) - {SEPARATOR, "\n"}
    plain, _ = plain_text(text)
    if not any(character.isupper() for character in known):
        plain = plain.lower()
    if not plain:
        raise PromptError("there is nothing to classify in an empty text")
    if unknown := sorted(set(plain) - known):
        raise PromptError(f"the model knows no {', '.join(map(repr, unknown))}, which "
                          f"{text[:60]!r} has; leave them out or write them another way")
    return plain + SEPARATOR


def decide(model: Model, texts: Sequence[str]) -> list[Decision]:
    """Return the integer reference's decisions, several texts of one length at a time."""
    labels = labels_of(model)
    prompts = [prompt_of(model, text) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: len(prompts[i]))
    found: dict[int, str | None] = {}
    for _, group in groupby(order, key=lambda i: len(prompts[i])):
        same = list(group)
        for begin in range(0, len(same), _TOGETHER):
            chosen = same[begin:begin + _TOGETHER]
            tokens = np.array([model.encode(prompts[i]) for i in chosen])
            reference = ReferenceModel(model, len(chosen))
            for column in tokens.T[:-1]:
                reference.feed(column)
            likeliest = reference.step(tokens[:, -1]).argmax(axis=1)
            found |= {i: labels.get(model.vocab[token])
                      for i, token in zip(chosen, likeliest.tolist(), strict=True)}
    return [Decision(text, found[i], None) for i, text in enumerate(texts)]


def decide_on(board: Board, model: Model, texts: Sequence[str], *,
              progress: Callable[[int, int], None] | None = None) -> Iterator[Decision]:
    """Yield a board's decisions, one text after the other.

    Parameters
    ----------
    board
        With ``model`` loaded.
    progress
        Called with the texts done and the texts in all.
    """
    labels = labels_of(model)
    for number, text in enumerate(texts, 1):
        with closing(board.generate(prompt_of(model, text), tokens=1, temperature=0.0)) as stream:
            token = next(iter(stream))
            for _ in stream:
                raise AssertionError("one token was asked for")
        run = board.last_run
        assert run is not None
        cycles = None if run.cycles is None else run.cycles + (run.prompt_cycles or 0)
        yield Decision(text, labels.get(token.text), cycles)
        if progress is not None:
            progress(number, len(texts))


def accuracy(decisions: Sequence[Decision], lines: Sequence[LabelledLine]) -> dict[str, Any]:
    """Return how many decisions are right, with the standard error of their share.

    Returns
    -------
    dict
        Ready for JSON: ``lines``, ``right``, ``accuracy``, ``standard_error`` (binomial).
    """
    right = sum(decision.label == line.label
                for decision, line in zip(decisions, lines, strict=True))
    share = right / len(lines)
    return {"lines": len(lines), "right": right, "accuracy": share,
            "standard_error": math.sqrt(share * (1 - share) / len(lines))}


def confusion(decisions: Sequence[Decision], lines: Sequence[LabelledLine]
              ) -> dict[str, dict[str, int]]:
    """Return how often each label was given to lines of each label; no label counts as ``?``."""
    counts: dict[str, dict[str, int]] = {}
    for decision, line in zip(decisions, lines, strict=True):
        row = counts.setdefault(line.label, {})
        given = decision.label or "?"
        row[given] = row.get(given, 0) + 1
    return counts
