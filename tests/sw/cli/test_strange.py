"""Files of strangers at the command line: whatever they hold, the terminal shows it and obeys not.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.terminal import visible
from trilight.sw.cli.app import main
from trilight.sw.model.model import Model
from trilight.sw.power.curve import curve_svg

ACTING = "\x1b\x07\x9b\x8d\u202e\u2066\u200f\ufeff"
VOCAB = (*"\nab", *ACTING)
PLAIN = Model.random(ModelConfig(vocab_size=len(VOCAB) + 8, d_model=20, n_layers=1, d_hidden=20), 5)
MODEL = replace(PLAIN, vocab=(*VOCAB, *"cdefghij"), provenance={
    "command": f"train{ACTING}", f"key{ACTING}": {"corpus": ACTING},
    "licence": ACTING, "quality": {"bits_per_byte": 2.0, "dataset": ACTING, "split": ACTING}})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / f"evil{ACTING}.safetensors"
    MODEL.save(path)
    return path


@pytest.mark.parametrize("command", [
    ["generate", "-p", "ab", "-n", "60", "-t", "7"],
    ["generate", "-p", "ab", "-p", "a", "-n", "60", "-t", "7"],
    ["generate", "-p", "ab\x1b", "-n", "60", "-t", "7"],
    ["generate", "-p", "ab\u2067", "-n", "5"],
    ["info"],
], ids=lambda command: ascii(" ".join(command)))
def test_a_model_file_cannot_act(command: list[str], model: Path,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    option = [str(model)] if command[0] == "info" else ["--model", str(model)]
    main([*command, *option])
    shown = "".join(capsys.readouterr())
    assert not set(shown) & set(ACTING)
    assert "\\x1b" in shown or "u2067" in shown


@pytest.mark.parametrize("arguments", [
    ["info", f"missing{ACTING}"],
    ["evaluate", "--corpus", f"missing{ACTING}"],
    ["generate", "-p", "R", "--target", f"no{ACTING}"],
    ["generate", "-p", "R", "--target", f"serial:no{ACTING}"],
    ["generate", "-p", "R", "--json", f"no{ACTING}/file"],
    [f"no{ACTING}"],
    ["generate", f"--no{ACTING}"],
    ["generate", "-p", "R", "-n", f"no{ACTING}"],
    ["performance", "--clock", f"no{ACTING}"],
    ["meter", "read", f"no{ACTING}"],
    ["meter", "read", f"csv:no{ACTING}"],
    ["flash", f"no{ACTING}"],
], ids=ascii)
def test_what_was_typed_cannot_act_in_an_error(arguments: list[str],
                                               capsys: pytest.CaptureFixture[str]) -> None:
    """It may have been pasted, or come from the name of a file."""
    assert main(arguments) != 0
    shown = "".join(capsys.readouterr())
    assert shown
    assert not set(shown) & set(ACTING)


def test_json_stays_json(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    assert main(["generate", "-p", "ab", "-n", "60", "-t", "7", "--model", str(model),
                 "--json", str(out), "-q"]) == 0
    results = json.loads(out.read_text(encoding="utf-8"))
    assert results["model"]["quality"]["dataset"] == ACTING
    assert set(results["text"]) & set(ACTING)


def test_a_picture_cannot_act() -> None:
    points = [{"clock_hz": hz, "voltage_v": 1.2, "source": "HFOSC", "tokens_per_joule": {
        "p05": 1.0, "p50": 2.0, "p95": 3.0}} for hz in (12e6, 24e6)]
    pytest.importorskip("matplotlib")
    picture = curve_svg(points, ACTING)
    assert visible(ACTING)[:4] in picture
    assert not set(picture) & set(ACTING)
