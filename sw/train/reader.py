"""Order in which a text is read while training."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .distill import DistillationData

__all__ = ["Chunk", "Reader"]


class Chunk(NamedTuple):
    """Chunk of every sequence of a batch, read in one step."""

    tokens: Tensor
    """``[T, B]``."""
    targets: Tensor
    """The characters after these, ``[T, B]``."""
    log_probs: Tensor | None
    """Soft targets: log-probabilities by the teachers, ``[T, B, V]``."""
    first: bool
    """True if a pass begins, so that the state of before means nothing."""


class Reader:
    """Reads a text as a batch of sequences, again and again.

    Each pass starts at another place of the text, drawn from seed and pass.

    Parameters
    ----------
    data
        Text, longer than ``batch_size * bptt_length``.
    batch_size
        Sequences.
    bptt_length
        Characters of each that a step reads.
    seed
    """

    def __init__(
        self, data: DistillationData, *, batch_size: int, bptt_length: int, seed: int
    ) -> None:
        self.batch_size = batch_size
        self._data = data
        self._bptt_length = bptt_length
        self._seed = seed
        self._length = (len(data.tokens) - 1) // batch_size
        self._pass = -1
        self._places: NDArray[np.int64] = np.empty((0, batch_size), np.int64)

    @property
    def windows(self) -> int:
        """Steps of one pass over the text."""
        return self._length // self._bptt_length

    def window(self, step: int) -> Chunk:
        """Return what is read in a step, counted from 0."""
        number, window = divmod(step, self.windows)
        if number != self._pass:
            start = np.random.default_rng([self._seed, number]).integers(len(self._data.tokens))
            self._places = (start + np.arange(self._length + 1)[:, None]
                            + np.arange(self.batch_size) * self._length) % len(self._data.tokens)
            self._pass = number
        begin = window * self._bptt_length
        places = self._places[begin:begin + self._bptt_length + 1]
        tokens = torch.from_numpy(self._data.tokens[places])
        log_probs = self._data.log_probs
        return Chunk(
            tokens[:-1], tokens[1:],
            None if log_probs is None else torch.from_numpy(log_probs[places[:-1]]).float(),
            window == 0)
