"""``trilight score``: labels that are not read, and what a board says instead of bits."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.cli.app import main
from trilight.sw.model.model import Model
from trilight.sw.quality.evaluate import log_softmax
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.task.anomaly import ANOMALY, NORMAL

MODEL = Model.random(ModelConfig(vocab_size=24, d_model=44, n_layers=2, d_hidden=90), 5)
LETTERS = [character for character in MODEL.vocab if character.isprintable()]


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path, list[str], list[str]]:
    """A model, labelled lines, their texts and labels."""
    assert "\n" in MODEL.vocab
    model, lines = tmp_path / "m.safetensors", tmp_path / "lines.tsv"
    MODEL.save(model)
    texts = ["".join(rng.choice(LETTERS, 9)) for _ in range(12)]
    labels = [ANOMALY if number % 5 == 2 else NORMAL for number in range(12)]
    lines.write_text("".join(f"{text}\t{label}\n"
                             for text, label in zip(texts, labels, strict=True)))
    return model, lines, texts, labels


def scored(model: Path, lines: Path, *options: str) -> dict[str, Any]:
    out = model.with_suffix(".json")
    assert main(["score", str(lines), "-m", str(model), "--labelled", "--json", str(out),
                 *options]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_labels_are_not_read_and_tell_how_good_the_score_is(
        files: tuple[Path, Path, list[str], list[str]]) -> None:
    model, lines, texts, labels = files
    found = scored(model, lines)
    reference, most = ReferenceModel(MODEL), []
    tokens, bits = MODEL.encode("".join(text + "\n" for text in texts)), [0.0]
    for fed, came in itertools.pairwise(tokens):
        bits.append(-log_softmax(reference.step([fed])[0])[came] / np.log(2))
    for number, text in enumerate(texts):
        most.append(max(bits[10 * number:10 * number + 10]))
        assert found["lines"][number]["text"] == text
    assert [line["most_bits"] for line in found["lines"]] == pytest.approx(most)
    pairs = [(a > b) + 0.5 * (a == b)
             for a, label in zip(most, labels, strict=True) if label == ANOMALY
             for b, other in zip(most, labels, strict=True) if other == NORMAL]
    assert found["auc"]["most_bits"]["auc"] == pytest.approx(np.mean(pairs))


def test_a_board_counts_misses(files: tuple[Path, Path, list[str], list[str]],
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilight.sw.cli.score._REFERENCE", "another")
    model, lines, texts, _ = files
    found = scored(model, lines, "--first", "6", "--target", "reference")
    reference = ReferenceModel(MODEL)
    tokens, missed = MODEL.encode("".join(text + "\n" for text in texts[:6])), [False]
    for fed, came in itertools.pairwise(tokens):
        missed.append(int(reference.step([fed])[0].argmax()) != came)
    assert [line["misses"] for line in found["lines"]] == [
        sum(missed[10 * number:10 * number + 10]) for number in range(6)]


def test_a_board_tells_no_bits_to_learn_by(files: tuple[Path, Path, list[str], list[str]],
                                           capsys: pytest.CaptureFixture[str]) -> None:
    model, lines, *_ = files
    assert main(["score", str(lines), "-m", str(model), "--adapt", "--target", "netlist"]) == 2
    assert "a board tells no bits" in capsys.readouterr().err
