"""The order in which a text is read while training."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .lessons import Lessons

__all__ = ["Chunk", "Reader"]


class Chunk(NamedTuple):
    """What the streams of a text read in one step."""

    tokens: Tensor
    """``[T, B]``."""
    targets: Tensor
    """The characters after these, ``[T, B]``."""
    expected: Tensor | None
    """Log-probabilities of these by the teachers, ``[T, B, V]``."""
    first: bool
    """Whether a pass begins, so that the state of before means nothing."""


class Reader:
    """Reads a text again and again at several places side by side.

    Each pass starts at another place of the text, drawn from seed and pass.

    Parameters
    ----------
    lessons
        The text, longer than ``streams * context``.
    streams
        Places.
    context
        Characters of each that a step reads.
    seed
    """

    def __init__(self, lessons: Lessons, *, streams: int, context: int, seed: int) -> None:
        self.streams = streams
        self._lessons = lessons
        self._context = context
        self._seed = seed
        self._length = (len(lessons.tokens) - 1) // streams
        self._pass = -1
        self._places: NDArray[np.int64] = np.empty((0, streams), np.int64)

    @property
    def windows(self) -> int:
        """Steps of one pass over the text."""
        return self._length // self._context

    def window(self, step: int) -> Chunk:
        """Return what is read in a step, counted from 0."""
        number, window = divmod(step, self.windows)
        if number != self._pass:
            start = np.random.default_rng([self._seed, number]).integers(len(self._lessons.tokens))
            self._places = (start + np.arange(self._length + 1)[:, None]
                            + np.arange(self.streams) * self._length) % len(self._lessons.tokens)
            self._pass = number
        begin = window * self._context
        places = self._places[begin:begin + self._context + 1]
        tokens = torch.from_numpy(self._lessons.tokens[places])
        expected = self._lessons.expected
        return Chunk(
            tokens[:-1], tokens[1:],
            None if expected is None else torch.from_numpy(expected[places[:-1]]).float(),
            window == 0)
