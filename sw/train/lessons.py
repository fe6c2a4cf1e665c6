"""What a network learns from: text, and what teachers expect after each of its characters.

A teacher's expectations say more than the character that followed, and a text that teachers make
up never ends: between them a small network hardly learns by heart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from .network import State

__all__ = ["Lessons", "Progress", "Teacher", "make_up_text", "with_expectations"]

_FLOOR = -20.0
"""Log-probabilities below it are raised to it: they weigh nothing, and fit float16."""

_WARM_UP = 256
"""Characters before a piece of text from which its state comes."""

_TOGETHER = 64
_WINDOW = 128
_WRITERS = 256
_CHAPTER = 4096
"""Characters that are made up after a place of the corpus before the next is drawn."""

Progress = Callable[[int, int], None]
"""Called with the characters done and the characters in all."""


class Teacher(Protocol):
    """A trained network."""

    def start(self, streams: int) -> State: ...
    def __call__(self, tokens: Tensor, state: State) -> tuple[Tensor, State]: ...


@dataclass(frozen=True, eq=False)
class Lessons:
    """A text to learn from.

    Attributes
    ----------
    tokens : int64 array [N]
    expected : float16 array [N, V] or None
        Log-probabilities of what follows each character, as the teachers see it.
    """

    tokens: NDArray[np.int64]
    expected: NDArray[np.float16] | None = None

    def save(self, path: Path) -> None:
        """Write both arrays to a safetensors file.

        Raises
        ------
        OSError
            It cannot be written.
        """
        assert self.expected is not None
        path.write_bytes(save({"tokens": self.tokens.astype(np.uint8),
                               "expected": self.expected}))

    @classmethod
    def load(cls, path: Path) -> "Lessons | None":
        """Read what ``save`` wrote; ``None`` if there is no whole file."""
        try:
            found = load_file(path)
            return cls(found["tokens"].astype(np.int64), found["expected"])
        except (OSError, KeyError, SafetensorError):
            return None


class _Panel:
    """Several teachers as one: the mean of their probabilities."""

    def __init__(self, teachers: Sequence[Teacher], streams: int) -> None:
        self._teachers = teachers
        self._states = [teacher.start(streams) for teacher in teachers]

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:
        """Return the probabilities ``[T, B, V]`` of what follows each of ``tokens [T, B]``."""
        total = torch.zeros(())
        for number, teacher in enumerate(self._teachers):
            logits, self._states[number] = teacher(tokens, self._states[number])
            total = total + logits.softmax(-1)
        return total / len(self._teachers)


def _stored(probabilities: Tensor) -> NDArray[np.float16]:
    return probabilities.log().clamp(min=_FLOOR).half().cpu().numpy()


def with_expectations(tokens: NDArray[np.int64], teachers: Sequence[Teacher], *,
                      device: str = "cpu", progress: Progress | None = None) -> Lessons:
    """Let teachers read a text; each piece of it begins with the state of the text before it."""
    length = -(-len(tokens) // _TOGETHER)
    padded = np.concatenate([np.zeros(_WARM_UP, np.int64), tokens,
                             np.zeros(length * _TOGETHER - len(tokens), np.int64)])
    starts = np.arange(_TOGETHER) * length
    pieces = torch.from_numpy(padded[starts + np.arange(_WARM_UP + length)[:, None]]).to(device)
    panel = _Panel(teachers, _TOGETHER)
    panel.read(pieces[:_WARM_UP])
    expected = []
    for begin in range(_WARM_UP, _WARM_UP + length, _WINDOW):
        window = panel.read(pieces[begin:begin + _WINDOW])
        expected.append(_stored(window.transpose(0, 1)))
        if progress is not None:
            progress(min((begin - _WARM_UP + _WINDOW) * _TOGETHER, len(tokens)), len(tokens))
    table = np.concatenate(expected, axis=1)
    return Lessons(tokens, table.reshape(-1, table.shape[-1])[:len(tokens)])


def make_up_text(corpus: NDArray[np.int64], teachers: Sequence[Teacher], characters: int, *,
                 seed: int, device: str = "cpu", progress: Progress | None = None) -> Lessons:
    """Let teachers continue places of a corpus with text of their own.

    Parameters
    ----------
    corpus
        Tokens, more than 256.
    teachers
        Draw each character from the mean of their probabilities.
    characters
        At least so many are made up.
    seed
        Of the places and of the draws.
    """
    generator = torch.Generator(device).manual_seed(seed)
    places = np.random.default_rng(seed)
    chapters = -(-characters // (_WRITERS * _CHAPTER))
    tokens = torch.empty((_WRITERS, chapters * _CHAPTER), dtype=torch.int64)
    expected: NDArray[np.float16] | None = None
    for first in range(0, chapters * _CHAPTER, _CHAPTER):
        starts = places.integers(len(corpus) - _WARM_UP, size=_WRITERS)
        before = torch.from_numpy(corpus[starts + np.arange(_WARM_UP)[:, None]]).to(device)
        panel = _Panel(teachers, _WRITERS)
        following = panel.read(before)[-1]
        for place in range(first, first + _CHAPTER):
            drawn = torch.multinomial(following, 1, generator=generator)
            tokens[:, place] = drawn[:, 0].cpu()
            following = panel.read(drawn.T)[0]
            if expected is None:
                expected = np.empty((*tokens.shape, following.shape[-1]), np.float16)
            expected[:, place] = _stored(following)
            if progress is not None and place % _WINDOW == 0:
                progress((place + 1) * _WRITERS, tokens.numel())
    assert expected is not None
    return Lessons(tokens.flatten().numpy(), expected.reshape(-1, expected.shape[-1]))


