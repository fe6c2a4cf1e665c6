"""Labelled lines: a file of texts that are to be told apart. Standard library only.

A line is a text, a tab and a label. In a model's tokens a label is one character, which ends the
line; labels of several characters are given characters that no text has.
"""

import os
import string
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trilight.sw.errors import CorpusError
from trilight.sw.model.text import read_text

__all__ = ["SEPARATOR", "LabelledLine", "LabelledLines", "label_characters", "read_lines"]

SEPARATOR = "\t"
"""Character between a text and its label."""

_CANDIDATES = string.ascii_uppercase + string.digits + string.ascii_lowercase
"""Characters of labels that have several, of which no text may have the ones used."""


@dataclass(frozen=True)
class LabelledLine:
    """Text and its label."""

    text: str
    label: str


@dataclass(frozen=True)
class LabelledLines:
    """Content of a file of labelled lines."""

    lines: tuple[LabelledLine, ...]
    changes: tuple[str, ...]
    """Changes to what is in the file, a clause each."""
    sha256: str
    """Digest of the file's bytes."""


def read_lines(path: str | os.PathLike[str]) -> LabelledLines:
    """Read a UTF-8 file of lines ``text TAB label``; empty lines are passed over.

    Raises
    ------
    CorpusError
        The file cannot be read, is no text, or a line is none of these.
    """
    path = Path(path)
    read = read_text(path)
    found = []
    for number, line in enumerate(read.text.split("\n"), 1):
        if not line.strip():
            continue
        text, tab, label = line.partition(SEPARATOR)
        if not (tab and text and label.strip()) or SEPARATOR in label:
            raise CorpusError(f"line {number:,} of {path} must be a text, a tab and a label, not "
                              f"{line[:60]!r}; leave out --label-weight to train on plain text")
        found.append(LabelledLine(text, label.strip()))
    if len({line.label for line in found}) < 2:  # nothing to tell apart
        raise CorpusError(f"{path} must have at least two labels, not "
                          f"{', '.join(sorted({line.label for line in found})) or 'none'}")
    return LabelledLines(tuple(found), read.changes, read.sha256)


def label_characters(labels: Iterable[str], used: Collection[str]) -> Mapping[str, str]:
    """Return the label of each character that stands for one.

    Parameters
    ----------
    labels
        Distinct or not.
    used
        Characters of the texts, which stand for no label.

    Raises
    ------
    CorpusError
        There are more labels than characters that no text has.
    """
    names = sorted(set(labels))
    if all(len(name) == 1 and name not in used for name in names):
        return {name: name for name in names}
    free = [character for character in _CANDIDATES if character not in used]
    if len(names) > len(free):
        raise CorpusError(f"{len(names)} labels need as many characters that no text has, and "
                          f"there are {len(free)} letters and digits; write the texts in lower "
                          "case, or merge labels")
    return dict(zip(free, names, strict=False))
