"""Text as models are trained on it, whoever wrote the file.

The same text has several forms: with a byte order mark or without, with the line ends of Windows or
of Unix, with an accent as a part of its letter or after it. One reader gives one of them, so that
what a training held out is what an evaluation measures on.
"""

import hashlib
import os
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from trilight.sw.errors import CorpusError

__all__ = ["PlainText", "plain_text", "prompt_for", "read_text"]

_BYTE_ORDER_MARK = "\ufeff"

_OTHER_ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte order marks of text in other encodings, which iconv can convert."""

_CONTROLS = frozenset(map(chr, range(32))) - frozenset("\t\n\r\f")


@dataclass(frozen=True)
class PlainText:
    """A text, and what was changed of it."""

    text: str
    """Text without a byte order mark, lines ending in ``\\n``, in Unicode's normal form C."""
    changes: tuple[str, ...]
    """Differences from the file, a clause each; none of a text that was so already."""
    sha256: str
    """Digest of the file's bytes."""


def plain_text(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a text in its plain form, and what was changed of it, a clause each."""
    changes = []
    if text.startswith(_BYTE_ORDER_MARK):
        text = text.removeprefix(_BYTE_ORDER_MARK)
        changes.append("a byte order mark left out")
    if returns := text.count("\r"):
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        changes.append(f"{returns:,} line ends made Unix's")
    composed = unicodedata.normalize("NFC", text)
    if composed != text:
        changes.append("accents joined to their letters (Unicode's form NFC)")
    return composed, tuple(changes)


def read_text(path: str | os.PathLike[str]) -> PlainText:
    """Read a text file in UTF-8.

    Raises
    ------
    CorpusError
        It cannot be read, or is no text.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"corpus {path} cannot be read: {error.strerror}; "
                          "give a text file, e.g. --corpus shakespeare.txt") from error
    try:
        decoded = raw.decode()
    except UnicodeDecodeError as error:
        encoding = _OTHER_ENCODINGS.get(raw[:2])
        said = (f"it is {encoding}" if encoding else
                f"byte {raw[error.start]:#04x} at position {error.start:,}")
        raise CorpusError(f"corpus {path} is not UTF-8 text: {said}; convert it, e.g. with iconv "
                          f"{f'-f {encoding} ' if encoding else ''}-t utf-8") from error
    text, changes = plain_text(decoded)
    if binary := next((character for character in text if character in _CONTROLS), None):
        raise CorpusError(f"corpus {path} is not a text file: it holds the control character "
                          f"{binary!r} at position {text.index(binary):,}; remove it or give "
                          "another file")
    return PlainText(text, changes, hashlib.sha256(raw).hexdigest())


def prompt_for(vocab: Collection[str], prompt: str) -> tuple[str, tuple[str, ...]]:
    """Return a prompt in the form that a vocabulary has characters for, and what was changed.

    That is the form it has, if the vocabulary has all of that, as of a model that was trained on
    line ends of Windows; else the plain form.
    """
    known = set(vocab)
    if known.issuperset(prompt):
        return prompt, ()
    plain, changes = plain_text(prompt)
    return (plain, changes) if known.issuperset(plain) or changes else (prompt, ())
