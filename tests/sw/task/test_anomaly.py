"""Anomalies: the measure, and the lines that are made."""

from pathlib import Path

import numpy as np
import pytest

from trilight.sw.errors import EvaluationError
from trilight.sw.task.anomaly import ANOMALY, DEVELOPMENT, NORMAL, TEST, TRAIN, auc, read_scored
from trilight.sw.task.logs import SHARE, log_lines, write_logs


def test_auc_is_the_share_of_pairs(rng: np.random.Generator) -> None:
    usual, strange = rng.integers(0, 12, 80) / 1.0, rng.integers(4, 16, 30) / 1.0
    pairs = [(s > u) + 0.5 * (s == u) for s in strange for u in usual]
    area, error = auc(usual, strange)
    assert area == pytest.approx(np.mean(pairs))
    # Against the spread over samples drawn again.
    drawn = [auc(rng.choice(usual, 80), rng.choice(strange, 30))[0] for _ in range(400)]
    assert error == pytest.approx(np.std(drawn), rel=0.5)


def test_auc_of_scores_that_tell_all_and_nothing() -> None:
    assert auc(np.arange(5.0), np.arange(5.0) + 9)[0] == 1
    assert auc(np.ones(5), np.ones(7))[0] == 0.5
    assert auc(np.arange(5.0), np.arange(5.0) + 9)[1] > 0


def test_lines_follow_from_the_seed(seed: int) -> None:
    def lines(number: int, part: str) -> list[str]:
        return [line.text for line in log_lines(number, part, 300, share=SHARE)]

    assert lines(seed, TEST) == lines(seed, TEST)
    assert lines(seed, TEST) != lines(seed, DEVELOPMENT)
    assert lines(seed, TEST) != lines(seed + 1, TEST)


def test_strange_lines_are_few_and_of_usual_characters(tmp_path: Path, seed: int) -> None:
    write_logs(tmp_path, seed, 10_000)
    usual = (tmp_path / TRAIN).read_text()
    for name in (DEVELOPMENT, TEST):
        judged = read_scored(tmp_path / name)
        strange = [line for line in judged if line.label == ANOMALY]
        assert 0.02 < len(strange) / len(judged) < 0.09
        assert set("".join(line.text for line in judged)) <= set(usual)
        # What is strange, apart from the time, is not among the usual lines.
        known = {line[6:] for line in usual.splitlines()}
        assert not known & {line.text[6:] for line in strange}


def test_other_labels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / TEST
    path.write_text(f"a\t{NORMAL}\nb\tfine\n")
    with pytest.raises(EvaluationError, match="'fine'"):
        read_scored(path)
