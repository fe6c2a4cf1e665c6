"""Training text: read, checked, split and turned into tokens. Needs no PyTorch."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import CorpusError
from trilight.sw.model.text import read_text

__all__ = ["FEWEST_CHARACTERS", "Corpus", "read_corpus"]

FEWEST_CHARACTERS = 10_000
"""A shorter text teaches nothing, and its held-out part measures nothing."""

@dataclass(frozen=True, eq=False, kw_only=True)
class Corpus:
    """A text split into a training part and a held-out part.

    Attributes
    ----------
    name : str
        File name, without its folder.
    sha256 : str
        Digest of the file's bytes.
    vocab : tuple of str
        Its distinct characters in order of code point: the character of each token.
    train, held_out : int64 arrays
        Tokens that are trained on, and that the result is measured on.
    held_out_text : str
        The held-out part as text.
    development : bool
        Whether it was divided for choosing between methods; see ``read_corpus``.
    changes : tuple of str
        What is other than in the file, a clause each.
    """

    name: str
    sha256: str
    vocab: tuple[str, ...]
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]
    held_out_text: str
    development: bool = False
    changes: tuple[str, ...] = ()

    @property
    def held_out_part(self) -> str:
        """Which part of the text is held out, in words."""
        return "last 5 % of the first 90 %" if self.development else "last 10 %"

    @property
    def split(self) -> str:
        """Split of the text, in words."""
        return f"{self.held_out_part} held out, what is before trained on"


def read_corpus(path: str | os.PathLike[str], *, max_vocab: int,
                development: bool = False) -> Corpus:
    """Read a UTF-8 text file.

    The first 90 % of the characters are trained on, and the rest is held out.

    Parameters
    ----------
    path
        The file; see ``trilight.sw.model.text`` for what becomes of its line ends.
    max_vocab
        Most distinct characters that the device can hold.
    development
        For choosing between methods: the last 10 % of the text are left alone, and of what
        remains the first 95 % are trained on and the rest is held out.

    Raises
    ------
    CorpusError
        If the file cannot be read, is not text, is shorter than ``FEWEST_CHARACTERS`` or has more
        distinct characters than ``max_vocab``.
    """
    path = Path(path)
    read = read_text(path)
    text = read.text
    if len(text) < FEWEST_CHARACTERS:
        raise CorpusError(f"corpus {path} must have at least {FEWEST_CHARACTERS:,} characters, "
                          f"not {len(text):,}; a good model takes about a million")
    counts = Counter(text)
    if len(counts) > max_vocab:
        rare = sorted(counts, key=lambda c: (counts[c], c))[:len(counts) - max_vocab]
        shown = " ".join(f"{c!r} ({counts[c]:,}x)" for c in rare[:12])
        raise CorpusError(f"corpus {path} has {len(counts)} distinct characters, but the device "
                          f"can hold {max_vocab}; replace or remove the {len(rare)} rarest: "
                          f"{shown}{' ...' if len(rare) > 12 else ''}")
    vocab = tuple(sorted(counts))
    token_of = {character: token for token, character in enumerate(vocab)}
    tokens = np.array([token_of[character] for character in text], np.int64)
    end = len(text)
    split = end * 9 // 10
    if development:
        end, split = split, split * 95 // 100
    return Corpus(name=path.name, sha256=read.sha256, vocab=vocab,
                  train=tokens[:split], held_out=tokens[split:end],
                  held_out_text=text[split:end], development=development,
                  changes=read.changes)
