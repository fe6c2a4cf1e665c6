"""Repeated text: found, told of, and left out."""

from pathlib import Path

import numpy as np
import pytest

from trilight.sw.errors import CorpusError
from trilight.sw.train import repeats
from trilight.sw.train.corpus import read_corpus
from trilight.sw.train.repeats import WINDOW, repeated_share, without_repeats


def random_text(rng: np.random.Generator, length: int) -> str:
    """Few distinct characters, so that short windows repeat, and one beyond 16 bits."""
    return "".join(rng.choice(list("ab\n\U0001f600"), length))


def by_sets(train: str, held_out: str) -> float:
    """The share, window by window, without a hash."""
    known = {train[i:i + WINDOW] for i in range(len(train) - WINDOW + 1)}
    asked = [held_out[i:i + WINDOW] in known for i in range(len(held_out) - WINDOW + 1)]
    return sum(asked) / len(asked)


def test_share_is_that_of_windows(rng: np.random.Generator) -> None:
    train = random_text(rng, 3_000)
    places = rng.integers(0, 2_900, 10)
    held_out = "".join(train[place:place + rng.integers(20, 90)] + random_text(rng, 30)
                       for place in places)
    expected = by_sets(train, held_out)
    assert 0 < expected < 1
    assert repeated_share(train, held_out) == expected
    assert repeated_share(train, train[500:900]) == 1
    assert repeated_share(train, random_text(rng, 1_000)) == 0
    assert repeated_share(train, "a" * (WINDOW - 1)) == 0


def test_long_text_is_sampled(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    train = random_text(rng, 60_000)
    held_out = train[10_000:15_000] + random_text(rng, 5_000)
    exact = by_sets(train, held_out)
    monkeypatch.setattr(repeats, "_MOST_HASHES", 6_000)
    asked = len(held_out) // 11
    assert repeated_share(train, held_out) == pytest.approx(
        exact, abs=5 * (exact * (1 - exact) / asked) ** 0.5)


def test_second_lines_leave_and_short_ones_stay() -> None:
    long, other, held = (letter * repeats.SHORTEST_LINE for letter in "abc")
    short = "d" * (repeats.SHORTEST_LINE - 1)
    text = "\n".join([long, short, other, long, short, held, "", "", other])
    kept, dropped = without_repeats(text, [held])
    assert kept.split("\n") == [long, short, other, short, "", "", ""]
    assert dropped == 3


@pytest.mark.parametrize("development", [False, True])
def test_corpus_loses_what_is_held_out_and_keeps_that(
        tmp_path: Path, rng: np.random.Generator, *, development: bool) -> None:
    path = tmp_path / "log.txt"
    entries = ["".join(rng.choice(list("abcdefgh "), 40)) for _ in range(900)]
    chosen = [entries[i] for i in rng.integers(900, size=3_000)]
    path.write_text("".join(f"{line}\n" for line in chosen))
    plain, dropped = (read_corpus(path, max_vocab=64, development=development, drop_repeats=drop)
                      for drop in (False, True))
    assert plain.held_out_repeats > 0.2
    assert dropped.held_out_repeats < 0.01
    assert (dropped.held_out_text, dropped.vocab) == (plain.held_out_text, plain.vocab)
    train = "".join(dropped.vocab[token] for token in dropped.train).splitlines()
    assert len(set(train[:-1])) == len(train[:-1])
    assert not set(train[:-1]) & set(dropped.held_out_text.splitlines()[1:])
    assert "repeated lines left out" in dropped.changes[0]
    assert dropped.split.endswith("without repeated lines")
    assert plain.split != dropped.split


def test_corpus_of_nothing_but_repeats_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "same.txt"
    path.write_text("the same line of a log, again and again\n" * 1_000)
    with pytest.raises(CorpusError, match="characters to train on without its repeats"):
        read_corpus(path, max_vocab=64, drop_repeats=True)
