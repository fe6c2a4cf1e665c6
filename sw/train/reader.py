"""Order in which a text is read while training."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .distill import DistillationData, SoftTargets

__all__ = ["Chunk", "LineReader", "Reader"]

_SORTED_TOGETHER = 8
"""Batches of lines that are sorted by length together, so that little of them is padding."""


class Chunk(NamedTuple):
    """Chunk of every sequence of a batch, read in one step."""

    tokens: Tensor
    """``[T, B]``."""
    targets: Tensor
    """The characters after these, ``[T, B]``."""
    soft: SoftTargets | None
    """Soft targets of the same places, ``[T, B, K]``."""
    first: bool
    """True if a pass begins, so that the state of before means nothing."""
    weights: Tensor | None = None
    """Share of each target in the loss, ``[T, B]``, adding up to 1; equal ones unless given."""


class Reader:
    """Reader of a text as a batch of sequences, again and again.

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
    device
        Where the text lies, and its soft targets: a step then moves nothing.
    """

    def __init__(self, data: DistillationData, *, batch_size: int, bptt_length: int, seed: int,
                 device: str | torch.device = "cpu") -> None:
        self.batch_size = batch_size
        self._tokens = torch.from_numpy(data.tokens).to(device)
        self._soft = None if data.soft is None else data.soft.to(device)
        self._bptt_length = bptt_length
        self._seed = seed
        self._length = (len(data.tokens) - 1) // batch_size
        self._pass = -1
        self._start = 0
        # Of a step: places of each sequence's characters from those of the first one's first.
        self._steps = (torch.arange(bptt_length + 1, device=device)[:, None]
                       + torch.arange(batch_size, device=device) * self._length)

    @property
    def chunks(self) -> int:
        """Steps of one pass over the text."""
        return self._length // self._bptt_length

    def chunk(self, step: int) -> Chunk:
        """Return what is read in a step, counted from 0."""
        number, chunk = divmod(step, self.chunks)
        if number != self._pass:
            self._start = int(np.random.default_rng([self._seed, number]).integers(
                len(self._tokens)))
            self._pass = number
        places = (self._steps + (self._start + chunk * self._bptt_length)) % len(self._tokens)
        tokens = self._tokens[places]
        return Chunk(tokens[:-1], tokens[1:],
                     None if self._soft is None else self._soft.at(places[:-1]), chunk == 0)


class LineReader:
    """Reader of lines in random order, each from a clean state, with more weight on their labels.

    The label is the last character but one of a line, after a tab. Lines of about one length are
    read together; what the shorter ones lack is padding without weight.

    Parameters
    ----------
    tokens
        Lines, each ended by ``newline``.
    newline
        Token of the line end.
    batch_size
        Lines of a step.
    label_weight
        Weight of the labels beside all other characters together.
    seed
    """

    def __init__(self, tokens: NDArray[np.int64], *, newline: int, batch_size: int,
                 label_weight: float, seed: int) -> None:
        self.batch_size = batch_size
        ends = np.flatnonzero(tokens == newline)
        self._lines = [line[:-1] for line in np.split(tokens, ends + 1)[:len(ends)]]
        self._newline = newline
        self._label_share = label_weight / (label_weight + 1)
        self._seed = seed

    def chunk(self, step: int) -> Chunk:
        """Return what is read in a step, counted from 0."""
        group, number = divmod(step, _SORTED_TOGETHER)
        rng = np.random.default_rng([self._seed, group])
        together = self.batch_size * _SORTED_TOGETHER
        drawn = rng.choice(len(self._lines), together, replace=len(self._lines) < together)
        chosen = sorted(drawn.tolist(), key=lambda i: len(self._lines[i]))
        begin = int(rng.permutation(_SORTED_TOGETHER)[number]) * self.batch_size
        lines = [self._lines[i] for i in chosen[begin:begin + self.batch_size]]
        longest = max(map(len, lines))
        padded = np.full((longest, len(lines)), self._newline)
        weights = np.zeros((longest - 1, len(lines)))
        others = sum(len(line) - 2 for line in lines)
        for column, line in enumerate(lines):
            padded[:len(line), column] = line
            weights[:len(line) - 2, column] = (1 - self._label_share) / others
            weights[len(line) - 2, column] = self._label_share / len(lines)
        tokens = torch.from_numpy(padded)
        return Chunk(tokens[:-1], tokens[1:], None, first=True,
                     weights=torch.from_numpy(weights).float())
