"""Learning while reading: a table of logit biases that follows what a model reads.

The table has a row for each previous token, and, with order 2, rows for pairs of previous tokens,
found by a hash. A token's biases are added to its logits. When the next token is read, it gains a
unit in the rows of its context, and a token drawn from the model's own distribution loses one. As
the expected loss is the distribution itself, that is an unbiased gradient step of the loss, and it
takes no exponential, no sum and no division (``docs/adaptation.md``).
"""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilight.hw.contract.numbers import NUMBERS
from trilight.sw.errors import TokenError

from .model import Integers, saturate
from .sampler import Rng, Sampler

__all__ = ["Adaptation", "hashed_row"]


def hashed_row(token: int, before: int, rows: int) -> int:
    """Return the row of a pair of tokens: ``(token + 5 before + (token << 4)) mod rows``.

    Parameters
    ----------
    token, before
        The token read last, and the one before it.
    rows
        A power of two.
    """
    return (token * 17 + before * 5) & rows - 1


class Adaptation:
    """Biases of one sequence, and what they learn.

    Parameters
    ----------
    rows
        Rows for pairs of tokens, a power of two; 0 leaves out order 2.
    token_rows
        Rows for single tokens, a power of two, found by a token's low bits; 0 for one each.
    seed
        Of the draws while reading, in [0, 2**32 - 1].

    Attributes
    ----------
    first : int8 array [token_rows or V, V]
        Biases by previous token, eighths of a nat.
    second : int8 array [rows, V]
        Biases by the hash of the two previous tokens.
    """

    def __init__(self, vocab_size: int, *, rows: int = 0, token_rows: int = 0,
                 seed: int = 0) -> None:
        for number in (rows, token_rows):
            if number & number - 1:
                raise ValueError(f"rows must be a power of two or 0, not {number}")
        self.first: NDArray[np.int8] = np.zeros((token_rows or vocab_size, vocab_size), np.int8)
        self.second: NDArray[np.int8] = np.zeros((rows, vocab_size), np.int8)
        self.sampler = Sampler(seed, 1.0)
        self._token = self._before = 0
        self._drawn: int | None = None

    def reset(self) -> None:
        """Forget what was learnt, and the context."""
        self.first[...] = 0
        self.second[...] = 0
        self.begin()

    def begin(self) -> None:
        """Begin another text: the context is forgotten, what was learnt is kept."""
        self._token = self._before = 0
        self._drawn = None

    def read(self, token: int) -> None:
        """Take the token that came next: learn from it, and make it the context.

        Raises
        ------
        TokenError
            It is not in the vocabulary.
        """
        if not 0 <= token < self.first.shape[1]:
            raise TokenError(f"a token must be in [0, {self.first.shape[1] - 1}], not {token}")
        if self._drawn is not None and self._drawn != token:
            for row in self._rows():
                _step(row, token, 1)
                _step(row, self._drawn, -1)
        self._before, self._token = self._token, token
        self._drawn = None

    def biased(self, logits: Integers) -> Integers:
        """Return logits [V] with the biases of the context added, Q9.6, saturated."""
        bias = sum((row[:len(logits)].astype(np.int32) for row in self._rows()),
                   np.zeros(1, np.int32))
        return saturate(logits + (bias << NUMBERS.adapt_shift), NUMBERS.logit_bits)

    def draw(self, biased: ArrayLike) -> None:
        """Draw the token that is to lose what the next token read gains, at temperature 1."""
        self._drawn = self.sampler.sample(biased)

    def draw_with(self, rng: Rng, biased: ArrayLike) -> None:
        """Draw it with the random bytes of a sequence, as a device does."""
        self.sampler.rng = rng
        self.draw(biased)

    def _rows(self) -> list[NDArray[np.int8]]:
        rows = [self.first[self._token % len(self.first)]]
        if len(self.second):
            rows.append(self.second[hashed_row(self._token, self._before, len(self.second))])
        return rows

    def to_bytes(self) -> bytes:
        """Return what was learnt, row after row, order 1 first."""
        return self.first.tobytes() + self.second.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, vocab_size: int, *, rows: int = 0, token_rows: int = 0,
                   seed: int = 0) -> Self:
        """Return an adaptation that goes on from ``to_bytes``.

        Raises
        ------
        ValueError
            The size is another.
        """
        made = cls(vocab_size, rows=rows, token_rows=token_rows, seed=seed)
        size = made.first.size + made.second.size
        if len(data) != size:
            raise ValueError(f"biases of {vocab_size} tokens and {rows} rows take {size:,} bytes, "
                             f"not {len(data):,}")
        values = np.frombuffer(data, np.int8)
        made.first[...] = values[:made.first.size].reshape(made.first.shape)
        made.second[...] = values[made.first.size:].reshape(made.second.shape)
        return made


def _step(row: NDArray[np.int8], token: int, by: int) -> None:
    limit = (1 << NUMBERS.adapt_bits - 1) - 1
    row[token] = np.clip(int(row[token]) + by, -limit - 1, limit)
