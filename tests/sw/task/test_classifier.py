"""Decisions: the same by the batched reference, by a board's driver, and one text at a time."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.api import open_board
from trilight.sw.cli.app import command
from trilight.sw.errors import ModelError, PromptError
from trilight.sw.model.model import Model
from trilight.sw.reference.continuation import continue_text
from trilight.sw.task.classifier import (
    Decision,
    accuracy,
    confusion,
    decide,
    decide_on,
    labels_of,
    prompt_of,
)
from trilight.sw.task.lines import LabelledLine

VOCAB = (*"\t\n ABCdefghijklmnop",)
LABELS = {"A": "alarm", "B": "book", "C": "call"}


@pytest.fixture
def model(rng: np.random.Generator) -> Model:
    """A random model, whose labels are likelier than other characters after a text."""
    config = ModelConfig(vocab_size=len(VOCAB), d_model=24, n_layers=2, d_hidden=20)
    made = replace(Model.random(config, seed=int(rng.integers(1 << 30))), vocab=VOCAB)
    bias = made.head_bias.copy()
    bias[[VOCAB.index(label) for label in "AB"]] += 200
    return replace(made, head_bias=bias, provenance={"labels": LABELS})


@pytest.fixture
def texts(rng: np.random.Generator) -> list[str]:
    return ["".join(rng.choice(VOCAB[6:], rng.integers(1, 9))) for _ in range(40)]


def test_reference_decides_as_it_generates(model: Model, texts: list[str]) -> None:
    def likeliest(text: str) -> str:
        token, = continue_text(model, text + "\t", 1, seed=0, temperature=0.0)
        return model.vocab[token]

    decided = decide(model, texts)
    assert decided == [Decision(text, LABELS.get(likeliest(text)), None) for text in texts]
    assert {decision.label for decision in decided} - {None}


def test_board_decides_as_the_reference(model: Model, texts: list[str]) -> None:
    with open_board("reference") as board:
        board.load(model)
        done: list[tuple[int, int]] = []
        found = list(decide_on(board, model, texts[:5], progress=lambda *at: done.append(at)))
    assert found == decide(model, texts[:5])
    assert done == [(n, 5) for n in range(1, 6)]


def test_text_is_put_in_the_characters_that_the_model_knows(model: Model) -> None:
    assert prompt_of(model, "Def\u006fg") == "defog\t"
    for text, message in (("", "nothing to classify"), ("de=", "knows no '='"),
                          ("d\te", r"knows no '\\t'"), ("d\x1b[2J", r"knows no '\\x1b'")):
        with pytest.raises(PromptError, match=message):
            prompt_of(model, text)


@pytest.mark.parametrize("labels", [None, {}, {"Z": "zoo"}, ["A"], {"A": 7}])
def test_model_without_labels_is_refused(model: Model, labels: object) -> None:
    with pytest.raises(ModelError, match="tells no labels apart"):
        labels_of(replace(model, provenance={"labels": labels}))


def test_accuracy_and_confusion_count_what_is_given() -> None:
    lines = [LabelledLine("a", "x"), LabelledLine("b", "x"), LabelledLine("c", "y"),
             LabelledLine("d", "y")]
    decisions = [Decision("a", "x", None), Decision("b", "y", None), Decision("c", "y", None),
                 Decision("d", None, None)]
    assert accuracy(decisions, lines) == {
        "lines": 4, "right": 2, "accuracy": 0.5, "standard_error": 0.25}
    assert confusion(decisions, lines) == {"x": {"x": 1, "y": 1}, "y": {"y": 1, "?": 1}}


def test_command_writes_what_it_shows(model: Model, texts: list[str], tmp_path: Path,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    file, lines, out = tmp_path / "m.safetensors", tmp_path / "lines.tsv", tmp_path / "out.json"
    model.save(file)
    decided = decide(model, texts)
    right = [decision.label or "book" for decision in decided]
    right[0] = "call" if right[0] != "call" else "book"
    lines.write_text("".join(f"{text}\t{label}\n"
                             for text, label in zip(texts, right, strict=True)))
    assert command(["classify", "--model", str(file), "--file", str(lines), "--last", "39",
                    "--json", str(out)]) in (None, 0)
    results = json.loads(out.read_text())
    assert [(row["text"], row["label"]) for row in results["decisions"]] == [
        (decision.text, decision.label) for decision in decided[1:]]
    expected = sum(decision.label == label
                   for decision, label in zip(decided[1:], right[1:], strict=True))
    assert results["right"] == expected
    assert f"{expected / 39:.1%}" in capsys.readouterr().out


def test_command_says_what_it_changed_of_a_text(model: Model, tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    file, lines = tmp_path / "m.safetensors", tmp_path / "lines.txt"
    model.save(file)
    lines.write_bytes(b"\xef\xbb\xbfde\r\nfg\r\n")
    assert command(["classify", "--model", str(file), "--file", str(lines)]) in (None, 0)
    shown = capsys.readouterr()
    assert "lines.txt: a byte order mark left out, 2 line ends made Unix's" in shown.err
    assert command(["classify", "--model", str(file), "\ufeffde"]) in (None, 0)
    assert "the text: a byte order mark left out" in capsys.readouterr().err
    assert command(["classify", "--model", str(file), "de"]) in (None, 0)
    assert not capsys.readouterr().err
