"""Targets beside the reference on a sample of a text."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.api import open_board
from trilight.sw.cli import app as cli
from trilight.sw.errors import EvaluationError
from trilight.sw.model.model import Model
from trilight.sw.quality import agreement
from trilight.sw.quality.agreement import PROMPT_CHARACTERS, check_agreement

MODEL = Model.random(ModelConfig(vocab_size=60, d_model=48, n_layers=2, d_hidden=90), 5)
TEXT = MODEL.decode([n * n % 60 for n in range(900)])


def test_a_target_that_draws_the_same_tokens() -> None:
    calls: list[tuple[int, int]] = []
    with open_board("reference") as board:
        board.load(MODEL)
        result = check_agreement(board, MODEL, TEXT, 2 * PROMPT_CHARACTERS + 1,
                                 progress=lambda done, total: calls.append((done, total)))
    assert result == {"target": "reference", "places": 3,
                      "tokens_compared": 3 * PROMPT_CHARACTERS, "temperature": 1.0}
    assert calls[-1] == (3 * PROMPT_CHARACTERS, 3 * PROMPT_CHARACTERS)


@pytest.mark.parametrize("fault", [
    {"head_scale": MODEL.head_scale // 2}, {"head_bias": MODEL.head_bias[::-1]}])
def test_a_target_that_computes_something_else(fault: dict[str, Any]) -> None:
    """A slightly different model stands for a faulty target."""
    faulty = dataclasses.replace(MODEL, **fault)
    with open_board("reference") as board:
        board.load(faulty)
        with pytest.raises(EvaluationError, match=r"reference goes on after .* are not the target"):
            check_agreement(board, MODEL, TEXT, 64)


@pytest.mark.parametrize(("text", "tokens", "message"), [
    (TEXT, 0, "at least one token, not 0"),
    (TEXT[:PROMPT_CHARACTERS - 1], 8, "must have at least 16 characters to be sampled, not 15"),
])
def test_samples_that_are_too_small(text: str, tokens: int, message: str) -> None:
    with open_board("reference") as board:
        board.load(MODEL)
        with pytest.raises(EvaluationError, match=message):
            check_agreement(board, MODEL, text, tokens)


def test_evaluate_with_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                monkeypatch: pytest.MonkeyPatch) -> None:
    model, corpus, json_file = (str(tmp_path / name) for name in ("model", "corpus", "json"))
    MODEL.save(model)
    Path(corpus).write_text(TEXT, encoding="utf-8", newline="")
    arguments = ["evaluate", "-c", corpus, "-m", model, "--split", "all", "--target", "reference",
                 "--sample", "20", "--json", json_file]
    assert cli.main(arguments) == 0
    assert json.loads(Path(json_file).read_text())["agreement"]["tokens_compared"] == 32
    assert "drew the 32 tokens" in capsys.readouterr().out
    monkeypatch.setattr(agreement, "continue_text", lambda *args, **more: [0] * PROMPT_CHARACTERS)
    assert cli.main(arguments) == 2
    assert "are not the target's" in capsys.readouterr().err
