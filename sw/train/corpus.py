"""Training text: read, checked, split and turned into tokens. Needs no PyTorch."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import CorpusError
from trilight.sw.model.model import Model
from trilight.sw.model.subword import SubwordTokenizer, train_subwords
from trilight.sw.model.text import read_text
from trilight.sw.task.lines import SEPARATOR, LabelledLine, label_characters, read_lines

from .repeats import repeated_share, without_repeats

__all__ = ["FEWEST_CHARACTERS", "Corpus", "read_corpus", "read_labelled"]

FEWEST_CHARACTERS = 10_000
"""A shorter text teaches nothing, and its held-out part measures nothing."""

_HELD_OUT_LINES = 0.05
"""Share of labelled lines that is held out, where no number is given."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Corpus:
    """A text split into a training part and a held-out part."""

    name: str
    """File name, without its folder."""
    sha256: str
    """Digest of the file's bytes."""
    vocab: tuple[str, ...]
    """The character of each token, in order of code point; of sub-words as in ``Model.vocab``."""
    train: NDArray[np.int64]
    """Tokens that are trained on."""
    held_out: NDArray[np.int64]
    """Tokens that the result is measured on."""
    held_out_text: str
    """The held-out part as text."""
    development: bool = False
    """True if it was divided for choosing between methods; see ``read_corpus``."""
    tokenizer: str = ""
    """``tokenizer.json`` of sub-word tokens; empty if a token is a character."""
    drops_repeats: bool = False
    """True if repeated lines are left out of the training part."""
    held_out_repeats: float = 0.0
    """Share of the held-out text that is in the training part too; see ``repeated_share``."""
    changes: tuple[str, ...] = ()
    """Differences from the file, a clause each."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label of each character that stands for one, of labelled lines; empty of a plain text."""
    held_out_lines: tuple[LabelledLine, ...] = ()
    """Held-out part of labelled lines."""

    @property
    def unit(self) -> str:
        """Name of a token in figures: ``char`` or ``token``."""
        return "token" if self.tokenizer else "char"

    @property
    def held_out_part(self) -> str:
        """Name of the part of the text that is held out."""
        if self.held_out_lines:
            return (f"{len(self.held_out_lines):,} lines"
                    f"{' before those of the result' if self.development else ', the last'}")
        return "last 5 % of the first 90 %" if self.development else "last 10 %"

    @property
    def split(self) -> str:
        """Split of the text, in words."""
        kind = f", {len(self.vocab):,} sub-words" if self.tokenizer else ""
        return (f"{self.held_out_part} held out, what is before trained on{kind}"
                f"{', without repeated lines' if self.drops_repeats else ''}")


def read_corpus(path: str | os.PathLike[str], *, max_vocab: int, development: bool = False,
                subwords: int | None = None, like: Model | None = None,
                drop_repeats: bool = False) -> Corpus:
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
    subwords
        Size of a vocabulary of sub-words, learnt from what is trained on; without it tokens are
        characters.
    like
        Model whose tokens are taken; those of the text unless given.
    drop_repeats
        Leave out of the training part the lines that it has twice, and those that are held out;
        see ``repeats.without_repeats``. The held-out part stays as it is.

    Raises
    ------
    CorpusError
        If the file cannot be read, is not text, is shorter than ``FEWEST_CHARACTERS`` or has more
        distinct characters than ``max_vocab``, or so few are the sub-words, or if it has
        characters that ``like`` does not know.
    ModelError, MissingPackageError
        As in ``trilight.sw.model.subword.train_subwords``.
    """
    path = Path(path)
    read = read_text(path)
    text = read.text
    if len(text) < FEWEST_CHARACTERS:
        raise CorpusError(f"corpus {path} must have at least {FEWEST_CHARACTERS:,} characters, "
                          f"not {len(text):,}; a good model takes about a million")
    end = len(text)
    split = end * 9 // 10
    if development:
        end, split = split, split * 95 // 100
    changes, parts = list(read.changes), (text[:split], text[split:end])
    if drop_repeats:
        kept, dropped = without_repeats(parts[0], parts[1].splitlines())
        changes.append(f"{dropped:,} repeated lines left out, {split - len(kept):,} characters")
        parts = kept, parts[1]
        if len(kept) < FEWEST_CHARACTERS:
            raise CorpusError(f"corpus {path} has {len(kept):,} characters to train on without "
                              f"its repeats, and {FEWEST_CHARACTERS:,} are the fewest; bring more "
                              "text, or leave out --drop-repeats")
    tokenizer = like.tokenizer if like else ""
    if subwords:
        if subwords > max_vocab:
            raise CorpusError(f"the device can hold a vocabulary of {max_vocab:,} tokens, not "
                              f"{subwords:,}; ask for fewer sub-words, or for another --board")
        tokenizer = train_subwords(parts[:1], subwords)
    if tokenizer:
        encoder = SubwordTokenizer(tokenizer)
        vocab = encoder.vocab
        train, held_out = (np.array(encoder.encode(part), np.int64) for part in parts)
    else:
        vocab = _vocabulary(path, text, max_vocab, like)
        train, held_out = (_encode(part, vocab) for part in parts)
    return Corpus(name=path.name, sha256=read.sha256, vocab=vocab, train=train,
                  held_out=held_out, held_out_text=parts[1], development=development,
                  tokenizer=tokenizer, drops_repeats=drop_repeats,
                  held_out_repeats=repeated_share(*parts), changes=tuple(changes))


def read_labelled(path: str | os.PathLike[str], *, max_vocab: int, held_out: int | None = None,
                  development: bool = False, like: Model | None = None) -> Corpus:
    """Read a UTF-8 file of lines ``text TAB label``; the last lines are held out.

    Lines to train on whose text is held out too, for the result or for choosing between methods,
    are left out.

    Parameters
    ----------
    path
        The file.
    max_vocab
        Most distinct characters that the device can hold, those of labels included.
    held_out
        Lines; a twentieth unless given.
    development
        For choosing between methods: the last lines are left alone, and as many before them are
        held out.
    like
        As for ``read_corpus``; characters that stand for labels are among its tokens.

    Raises
    ------
    CorpusError
        The file cannot be read, holds other lines, too few, or characters that ``like`` does not
        know.
    """
    path = Path(path)
    read = read_lines(path)
    count = held_out or max(1, round(len(read.lines) * _HELD_OUT_LINES))
    if len(read.lines) < (2 + development) * count:
        raise CorpusError(f"{path} has {len(read.lines):,} lines, too few to hold out {count:,}"
                          f"{' twice' if development else ''}; hold out fewer")
    train, tested = read.lines[:-count], read.lines[-count:]
    unseen = {line.text for line in tested}
    if development:
        train, tested = train[:-count], train[-count:]
        unseen |= {line.text for line in tested}
    kept = [line for line in train if line.text not in unseen]
    changes = list(read.changes)
    if repeated := len(train) - len(kept):
        changes.append(f"{repeated:,} lines left out that repeat a held-out one")
    labels = label_characters((line.label for line in read.lines),
                              set().union(*(line.text for line in read.lines)) | {SEPARATOR})
    texts = [_joined(part, {name: key for key, name in labels.items()})
             for part in (kept, tested)]
    if len(texts[0]) < FEWEST_CHARACTERS:
        raise CorpusError(f"{path} must have at least {FEWEST_CHARACTERS:,} characters to train "
                          f"on, not {len(texts[0]):,}")
    vocab = _vocabulary(path, "".join(texts), max_vocab, like)
    return Corpus(name=path.name, sha256=read.sha256, vocab=vocab, train=_encode(texts[0], vocab),
                  held_out=_encode(texts[1], vocab), held_out_text=texts[1],
                  development=development, changes=tuple(changes), labels=labels,
                  held_out_lines=tuple(tested))


def _joined(lines: Sequence[LabelledLine], character_of: Mapping[str, str]) -> str:
    return "".join(f"{line.text}{SEPARATOR}{character_of[line.label]}\n" for line in lines)


def _vocabulary(path: Path, text: str, max_vocab: int,
                like: Model | None) -> tuple[str, ...]:
    """Return the distinct characters of a text, or those of a model.

    More than the device can hold are refused, and others than those of the model.
    """
    counts = Counter(text)
    if like is not None:
        if unknown := sorted(set(counts) - set(like.vocab)):
            shown = " ".join(f"{c!r} ({counts[c]:,}x)" for c in unknown[:12])
            raise CorpusError(f"corpus {path} has {len(unknown)} characters that the model of "
                              f"--from does not know; replace or remove them: "
                              f"{shown}{' ...' if len(unknown) > 12 else ''}")
        return like.vocab
    if len(counts) > max_vocab:
        rare = sorted(counts, key=lambda c: (counts[c], c))[:len(counts) - max_vocab]
        shown = " ".join(f"{c!r} ({counts[c]:,}x)" for c in rare[:12])
        raise CorpusError(f"corpus {path} has {len(counts)} distinct characters, but the device "
                          f"can hold {max_vocab}; replace or remove the {len(rare)} rarest: "
                          f"{shown}{' ...' if len(rare) > 12 else ''}")
    return tuple(sorted(counts))


def _encode(text: str, vocab: Sequence[str]) -> NDArray[np.int64]:
    token_of = {character: token for token, character in enumerate(vocab)}
    return np.array([token_of[character] for character in text], np.int64)
