"""Loss by frequency, against counts done by hand."""

import numpy as np
import pytest

from trilight.sw.quality.buckets import BUCKETS, CUTS, frequency_buckets


def by_bucket(rows: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    assert tuple(row["bucket"] for row in rows) == BUCKETS
    return {str(row["bucket"]): row for row in rows}


def test_characters_by_rank_in_the_known_text() -> None:
    """90 a's, 8 b's, a c and a d: a begins below 80 %, b below 98 %, the others do not."""
    known = "a" * 90 + "b" * 8 + "cd"
    text = "abcdz" * 2
    nats = np.array([1, 2, 3, 4, 5, 7, 8, 9, 10, 11], float)
    rows = by_bucket(frequency_buckets(text, {"it": nats}, known)["characters"])
    assert rows["frequent"]["nats"] == {"it": pytest.approx((1 + 7) / 2)}
    assert rows["middle"]["nats"] == {"it": pytest.approx((2 + 8) / 2)}
    assert rows["rare"]["nats"] == {"it": pytest.approx((3 + 4 + 5 + 9 + 10 + 11) / 6)}
    assert [rows[bucket]["kinds"] for bucket in BUCKETS] == [1, 1, 3]
    assert [rows[bucket]["share"] for bucket in BUCKETS] == pytest.approx([0.2, 0.2, 0.6])


def test_words_are_sums_of_their_characters() -> None:
    """The first half of the known words is `the`, so `moon` is of the middle; `x` is unknown."""
    known = "the the The THE the moon moon sun o'er dark"
    text = "The moon, x o'er"
    nats = np.arange(len(text), dtype=float)
    rows = by_bucket(frequency_buckets(text, {"it": nats}, known)["words"])
    assert rows["frequent"]["nats"] == {"it": 0 + 1 + 2}
    assert rows["middle"]["occurrences"] == 2
    assert rows["middle"]["nats"] == {"it": ((4 + 5 + 6 + 7) + (12 + 13 + 14 + 15)) / 2}
    assert rows["rare"]["nats"] == {"it": 10}


def test_what_one_does_not_score_counts_for_none() -> None:
    text, known = "ab ab", "ab"
    first, second = np.ones(5), np.ones(5)
    first[1] = np.nan
    both = frequency_buckets(text, {"first": first, "second": second}, known)
    assert sum(row["occurrences"] for row in both["characters"]) == 4
    assert sum(row["occurrences"] for row in both["words"]) == 1


def test_bands_add_up_to_the_whole(rng: np.random.Generator) -> None:
    shares = [0.2] * 4 + [0.02] * 10
    text = "".join(rng.choice(list("etaoin shrdlu\n"), 5000, p=shares))
    nats = rng.random(5000)
    for what in CUTS:
        rows = frequency_buckets(text, {"it": nats}, text)[what]
        total = sum(row["nats"]["it"] * row["occurrences"] for row in rows if row["occurrences"])
        counted = (nats if what == "characters" else
                   nats[[c.isalpha() for c in text]])
        assert total == pytest.approx(counted.sum())
        assert sum(row["share"] for row in rows) == pytest.approx(1)


def test_empty_bands_have_no_loss() -> None:
    rows = by_bucket(frequency_buckets("aa", {"it": np.ones(2)}, "a")["words"])
    assert rows["middle"]["nats"] == {"it": None}
    assert rows["middle"]["share"] == 0
