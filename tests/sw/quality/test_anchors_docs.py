"""The table of other predictors in docs/quality.md is that of docs/results/anchors.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "quality.md").read_text(encoding="utf-8")
ADAPTATION = (DOCS / "adaptation.md").read_text(encoding="utf-8")
RESULTS = json.loads((DOCS / "results" / "anchors.json").read_text(encoding="utf-8"))


def bits(value: float | None, error: float | None = None) -> str:
    return "" if value is None else f"{value:.3f}" + (f" ± {error:.3f}" if error else "")


@pytest.mark.parametrize("row", [*RESULTS["others"], *RESULTS["ours"]],
                         ids=lambda row: f"{row['name']} {row['note']}")
def test_each_predictor_has_a_line(row: dict[str, Any]) -> None:
    memory = f"{row['memory_bytes']:,}" if row["memory_bytes"] else ""
    name = f"**{row['name']}**" if row["name"] == "the model" else row["name"]
    assert (f"| {name} | {row['note']} | {memory} | {bits(row['adaptive'])} | "
            f"{bits(row['cold'], row['cold_error'])} | {bits(row['windows'])} |") in PAGE


def test_command_is_that_of_the_results() -> None:
    command = RESULTS["command"].replace("comparison.json", "docs/results/comparison.json")
    assert command in PAGE.replace("\\\n        ", "")


def test_what_is_learnt_is_said_on_both_pages() -> None:
    model = Model.load(default_model_path())
    assert RESULTS["model_sha256"] in (
        model.sha256, model.provenance.get("head_calibration", {}).get("model_sha256"))
    for found in RESULTS["read_once"].values():
        assert (f"| {found['bytes']:,} | {found['nats_per_char']:.3f} | "
                f"{found['bits_per_byte']:.3f} |"
                in ADAPTATION.replace("1.4424", f"{1.4424:.3f}"))


def test_calibration_is_that_of_its_results() -> None:
    found = json.loads((DOCS / "results" / "calibration.json").read_text(encoding="utf-8"))
    assert found["command"] in PAGE.replace("\\\n        ", "")
    for name, scale, row in (("bundled", "1", found["before"]),
                             ("calibrated", f"{found['scale']:.3f}", found)):
        assert (f"| {name} | {scale} | {row['quality']['nats_per_char']:.4f} | "
                f"{row['quality_windows']['nats_per_char']:.4f} |") in PAGE
