"""What the performance model says of itself; tests/sim/ compares it with the chip."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device, load_board
from trilight.sw.cli.app import main
from trilight.sw.errors import PerformanceError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.report.performance import predict
from trilight.sw.report.schedule import Schedule, SequenceRequest

DEVICE = board_device()

ROOT = Path(__file__).resolve().parents[3]

CONFIG = ModelConfig(vocab_size=65, d_model=40, n_layers=2, d_hidden=100)


@pytest.mark.parametrize("sequences", [1, 2])
def test_every_cycle_is_a_word_or_part_of_a_gap(sequences: int) -> None:
    found = predict(CONFIG, sequences=sequences, device=DEVICE)
    assert found.words_per_token == CONFIG.weight_words(DEVICE.packing)
    assert found.weights_per_token == CONFIG.ternary_weights
    assert found.cycles_per_token == pytest.approx(
        found.words_per_token + sum(found.gaps.values()))
    assert found.roofline_cycles == CONFIG.ternary_weights / 40
    assert found.utilisation == pytest.approx(found.roofline_cycles / found.cycles_per_token)
    assert [stage.name for stage in found.stages[::sequences]] == [
        "mix, layer 1", "residual, layer 1", "GLU, layer 1", "residual, layer 1",
        "mix, layer 2", "residual, layer 2", "GLU, layer 2", "residual, layer 2", "head"]


def test_json_has_every_stage() -> None:
    found = predict(CONFIG, sequences=2, device=DEVICE)
    got = json.loads(json.dumps(found.to_dict()))
    assert set(got) == {
        "model", "sequences", "cycles_per_token", "prompt_cycles_per_token", "words_per_token",
        "weights_per_token", "utilisation", "roofline_cycles", "gaps", "limits", "binds",
        "outside_use", "stages", "memory", "violations"}
    assert len(got["stages"]) == len(found.stages)
    for stage, one in zip(found.stages, got["stages"], strict=True):
        assert one == {"name": stage.name, "sequence": stage.sequence, "cycles": stage.cycles,
                       "words": stage.words, "weights": stage.weights, "gaps": dict(stage.gaps)}


def test_gaps_are_what_the_sizes_make_of_them() -> None:
    """Rows enough to hide a table's filling leave the fills of single rows exposed."""
    few = predict(ModelConfig(vocab_size=16, d_model=16, n_layers=2, d_hidden=16), device=DEVICE)
    assert few.gaps["division"] > 0
    large = ModelConfig(vocab_size=160, d_model=160, n_layers=2, d_hidden=240)
    many = predict(large, device=DEVICE)
    assert "division" not in many.gaps
    assert many.utilisation > 0.9 > few.utilisation


def test_gaps_are_those_that_the_page_explains() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    rows = page.partition("| gap |")[2].partition("\n\n")[0].splitlines()[2:]
    explained = {name.strip() for row in rows for name in row.split("|")[1].split(",")}
    found = set()
    for vocab_size, d_model, d_hidden in ((16, 16, 16), (65, 160, 228), (200, 48, 16)):
        model = ModelConfig(vocab_size=vocab_size, d_model=d_model, n_layers=1, d_hidden=d_hidden)
        for sequences in (1, 2):
            found |= set(predict(model, device=DEVICE, sequences=sequences).gaps)
    assert found == explained


def test_run_is_its_tokens() -> None:
    cycles = [Schedule(CONFIG, [SequenceRequest(1, n)], DEVICE).cycles for n in (5, 6, 9)]
    assert cycles[1] - cycles[0] == predict(CONFIG, device=DEVICE).cycles_per_token
    assert cycles[2] - cycles[1] == 3 * predict(CONFIG, device=DEVICE).cycles_per_token


def test_model_that_does_not_fit_is_computed_all_the_same() -> None:
    big = ModelConfig(vocab_size=65, d_model=200, n_layers=3, d_hidden=256)
    assert predict(big, device=DEVICE).violations == big.violations(DEVICE) != []


@pytest.mark.parametrize("sequences", [0, 3])
def test_as_many_sequences_as_there_are(sequences: int) -> None:
    with pytest.raises(PerformanceError, match=f"1 to 2 sequences at once, not {sequences}"):
        predict(CONFIG, sequences=sequences, device=DEVICE)


def test_command_shows_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "performance.json"
    assert main(["performance", "--d-model", "40", "--n-layers", "2", "--d-hidden", "100",
                 "--vocab-size", "65", "--clock", "30e6", "--json", str(out)]) == 0
    results = json.loads(out.read_text())
    cycles = predict(CONFIG, device=DEVICE).cycles_per_token
    assert results["cycles_per_token"] == cycles
    assert results["tokens_per_s"] == 30e6 / cycles
    printed = capsys.readouterr().out
    assert f"{cycles:,.0f}" in printed
    assert "GLU, layer 2" in printed


def test_sizes_come_from_a_model_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["performance", "--model", str(default_model_path()), "--n-layers", "9"]) == 0
    printed = capsys.readouterr().out
    assert "n_layers 9" in printed
    assert "Does not fit up5k: weight words" in printed


def test_cycles_of_another_board(tmp_path: Path) -> None:
    out = tmp_path / "performance.json"
    assert main(["performance", "--board", "ulx3s-85f", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    board = load_board("ulx3s-85f")
    assert found["clock_hz"] == board.default_hz
    expected = predict(Model.load(default_model_path()).config, sequences=1, device=board.device)
    assert found["cycles_per_token"] == expected.cycles_per_token


@pytest.mark.parametrize(("arguments", "message"), [
    (["--d-model", "0"], "d_model must be a positive integer, not 0"),
    (["--sequences", "3"], "1 to 2 sequences at once"),
    (["--clock", "0"], "positive number of hertz"),
    (["--clock", "1e12"], "at most 1e+09, not 1e+12"),
    (["--clock", "nan"], "positive number of hertz"),
    (["--d-model", "100000"], "less than or equal to 2048"),
    (["--n-layers", "1000000000"], "less than or equal to 64"),
    (["--json", "no-such-folder/a.json"], "there is no folder"),
])
def test_command_refuses(arguments: list[str], message: str,
                         capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["performance", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_tiles_cost_fillings() -> None:
    """Each tile fills the tables again: the words are the same, and the cycles more."""
    whole = predict(CONFIG, device=DEVICE)
    tiled = predict(CONFIG, device=replace(DEVICE, tile_rows=100, max_vocab=100))
    assert tiled.words_per_token == whole.words_per_token
    assert tiled.cycles_per_token > whole.cycles_per_token
    assert tiled.gaps["table fill"] > whole.gaps["table fill"]
