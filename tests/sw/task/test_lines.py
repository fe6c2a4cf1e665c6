"""Labelled lines: read, split, and turned into tokens."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from trilight.sw.errors import CorpusError
from trilight.sw.task.lines import LabelledLine, label_characters, read_lines
from trilight.sw.train.corpus import FEWEST_CHARACTERS, read_labelled

WORDS = ("rain", "sun", "play", "song", "book", "table", "read", "page")


def write_lines(path: Path, rng: np.random.Generator, count: int = 600) -> list[tuple[str, str]]:
    """Lines whose label follows from one of their words."""
    lines = []
    for number in range(count):
        words = rng.choice(WORDS, 5)
        lines.append((f"{' '.join(words)} {number}", "weather" if "rain" in words else "other"))
    path.write_text("".join(f"{text}\t{label}\n" for text, label in lines), encoding="utf-8")
    return lines


def test_lines_are_read_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "lines.tsv"
    path.write_bytes(b"will it rain\tweather\r\n\r\nplay a song\tmusic \r\n")
    read = read_lines(path)
    assert read.lines == (LabelledLine("will it rain", "weather"),
                          LabelledLine("play a song", "music"))
    assert read.changes == ("3 line ends made Unix's",)


@pytest.mark.parametrize(("content", "message"), [
    ("a\tx\nno label here\n", "line 2 of"),
    ("a\tx\nb\tx\ty\n", "line 2 of"),
    ("a\tx\n\tx\n", "line 2 of"),
    ("a\tx\nb\t \n", "line 2 of"),
    ("a\tx\nb\tx\n", "must have at least two labels, not x"),
    ("\n", "must have at least two labels, not none"),
])
def test_what_is_no_labelled_line_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.tsv"
    path.write_text(content)
    with pytest.raises(CorpusError, match=re.escape(message)):
        read_lines(path)


def test_labels_of_one_character_stand_for_themselves() -> None:
    assert label_characters(["B", "A", "B"], set("abc ")) == {"A": "A", "B": "B"}


def test_longer_labels_get_characters_that_no_text_has() -> None:
    found = label_characters(["rain", "sun", "A"], set("Axyz"))
    assert set(found.values()) == {"rain", "sun", "A"}
    assert not set(found) & set("Axyz")
    with pytest.raises(CorpusError, match="70 labels need as many characters"):
        label_characters([f"l{n}" for n in range(70)], set())


def test_last_lines_are_held_out_and_their_repetitions_left_out(
        tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "lines.tsv"
    lines = write_lines(path, rng)
    lines[3] = lines[-1]
    lines[4] = lines[-30]
    path.write_text("".join(f"{text}\t{label}\n" for text, label in lines))
    corpus = read_labelled(path, max_vocab=64, held_out=20)
    assert [(line.text, line.label) for line in corpus.held_out_lines] == lines[-20:]
    assert corpus.changes == ("1 lines left out that repeat a held-out one",)
    whole = "".join(corpus.vocab[token] for token in corpus.train)
    assert whole.count("\n") == len(lines) - 20 - 1
    named = {character: name for character, name in corpus.labels.items()}
    first = whole.split("\n")[0].split("\t")
    assert (first[0], named[first[1]]) == lines[0]
    # For choosing between methods, neither these lines nor the ones before them are trained on.
    chosen = read_labelled(path, max_vocab=64, held_out=20, development=True)
    assert [(line.text, line.label) for line in chosen.held_out_lines] == lines[-40:-20]
    assert Counter("".join(chosen.vocab[t] for t in chosen.train))["\n"] == len(lines) - 40 - 2
    assert chosen.split != corpus.split


def test_a_twentieth_is_held_out_unless_said(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "lines.tsv"
    lines = write_lines(path, rng)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    corpus = read_labelled(path, max_vocab=64)
    assert [(line.text, line.label) for line in corpus.held_out_lines] == lines[-len(lines) // 20:]
    assert corpus.changes == (f"{len(lines)} line ends made Unix's",)
    named = {character: name for character, name in corpus.labels.items()}
    read = [(text, named[label]) for text, label in (
        line.split("\t") for line in corpus.held_out_text.splitlines())]
    assert read == lines[-len(lines) // 20:]


def test_least_text_to_train_on_is_counted_with_its_labels(tmp_path: Path) -> None:
    """A line is trained on as its text, a separator, its label and a line end."""
    path = tmp_path / "lines.tsv"
    lines = [f"{'b' * 17}\t{number % 2}\n" for number in range(FEWEST_CHARACTERS // 20)]
    path.write_text("".join([*lines, "a\t0\n"]))
    assert read_labelled(path, max_vocab=64, held_out=1).train.size == FEWEST_CHARACTERS
    path.write_text("".join([lines[0][1:], *lines[1:], "a\t0\n"]))
    with pytest.raises(CorpusError, match=f"not {FEWEST_CHARACTERS - 1:,}"):
        read_labelled(path, max_vocab=64, held_out=1)


def test_too_few_lines_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "few.tsv"
    write_lines(path, rng, 30)
    with pytest.raises(CorpusError, match="has 30 lines, too few to hold out 16"):
        read_labelled(path, max_vocab=64, held_out=16)
    with pytest.raises(CorpusError, match=f"at least {FEWEST_CHARACTERS:,} characters"):
        read_labelled(path, max_vocab=64)
    with pytest.raises(CorpusError, match="distinct characters, but the device can hold 8"):
        read_labelled(_long(tmp_path, rng), max_vocab=8)


def _long(folder: Path, rng: np.random.Generator) -> Path:
    path = folder / "long.tsv"
    write_lines(path, rng)
    return path
