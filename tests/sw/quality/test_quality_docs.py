"""The tables of docs/quality.md are those of the results in docs/results/."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "quality.md").read_text(encoding="utf-8")

COMPARISON, DEVELOPMENT, FREQUENCY, PLAIN_FREQUENCY, SEEDS = (
    json.loads((DOCS / "results" / f"{name}.json").read_text(encoding="utf-8"))
    for name in ("comparison", "development", "frequency", "frequency-plain", "seeds"))

SHIPPED = "shakespeare.safetensors"

STEPS = {
    "a smaller network": (("tD.safetensors", "float32"), ("float-small.safetensors", "float32")),
    "8 bits": (("float-small.safetensors", "float32"), ("float-small.safetensors", "int8")),
    "trits, no teacher": (("float-small.safetensors", "int8"), ("plain.safetensors", "trits")),
    "the state reset before one chunk in eight": (("plain.safetensors", "trits"),
                                      ("restarts.safetensors", "trits")),
    "two teachers, synthetic text": (("restarts.safetensors", "trits"), (SHIPPED, "trits")),
}
"""Before and after each step of compression."""


def nats(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def compared(row: Mapping[str, Any]) -> str:
    energy, ratio = row["energy_per_char"], row["energy_ratio_to_first"]
    return (f"{row['weight_bytes']:,} | {row['multiplications_per_char']:,.0f} | "
            f"{row['additions_per_char']:,.0f} | {energy['value']:,.0f} "
            f"({energy['interval']['p05']:,.0f} to {energy['interval']['p95']:,.0f}) | "
            f"{ratio['p50']:.2g} | {nats(row['nats_per_char_stateful'])} | "
            f"{nats(row['nats_per_char_windows'])} |")


def tried(row: Mapping[str, Any]) -> str:
    return f"| {nats(row['nats_per_char_stateful'])} | {nats(row['nats_per_char_windows'])} |"


@pytest.mark.parametrize("row", COMPARISON["models"],
                         ids=lambda row: f"{row['file']}-{row['format']}")
def test_comparison_has_a_line_for_each_model(row: dict[str, Any]) -> None:
    assert compared(row) in PAGE


@pytest.mark.parametrize("row", DEVELOPMENT["models"], ids=lambda row: f"{row['file']}")
def test_what_was_tried_has_a_line_for_each(row: dict[str, Any]) -> None:
    assert tried(row) in PAGE


@pytest.mark.parametrize("model", COMPARISON["published"], ids=lambda model: model["name"])
def test_published_figures_have_a_line(model: dict[str, Any]) -> None:
    assert re.search(rf"\| \[?{re.escape(model['name'])}.*\| {model['nats_per_char_windows']:g} \|",
                     PAGE)


@pytest.mark.parametrize("step", STEPS)
def test_steps_of_compression_have_a_line_each(step: str) -> None:
    rows = {(row["file"], row["format"]): row for row in COMPARISON["models"]}
    before, after = (rows[key] for key in STEPS[step])
    size = after["weight_bytes"] / before["weight_bytes"] - 1
    energy = after["energy_per_char"]["value"] / before["energy_per_char"]["value"] - 1
    stateful, windows = (after[f"nats_per_char_{protocol}"] - before[f"nats_per_char_{protocol}"]
                        for protocol in ("stateful", "windows"))
    assert (f"| {step} | {size:+.1%} | {energy:+.1%} | {stateful:+.4f} | {windows:+.4f} |"
            in PAGE)


@pytest.mark.parametrize("results", [FREQUENCY, PLAIN_FREQUENCY], ids=["ours", "plain"])
@pytest.mark.parametrize("what", FREQUENCY["frequency"])
def test_bands_have_a_line_each(what: str, results: dict[str, Any]) -> None:
    for row in results["frequency"][what]:
        ours, real = row["nats"]["model"], row["nats"]["float"]
        assert (f"| {what}, {row['bucket']} | {row['kinds']:,} | {row['share']:.1%} | {ours:.3f} | "
                f"{real:.3f} | {ours / real - 1:+.1%} |") in PAGE


def test_results_are_of_the_model_that_comes_along() -> None:
    model = Model.load(default_model_path())
    [row] = [row for row in COMPARISON["models"] if row["sha256"] == model.sha256]
    assert FREQUENCY["model_sha256"] == model.sha256
    assert row["nats_per_char_stateful"] == model.provenance["quality"]["nats_per_char"]
    assert row["nats_per_char_windows"] == model.provenance["quality_windows"]["nats_per_char"]
    gaps = row["float_to_integer_gap"]
    assert gaps["stateful"] == model.provenance["float_to_integer_gap"]
    assert f"{gaps['stateful']:+.4f} stateful and {gaps['windows']:+.4f} in windows" in PAGE
    for protocol in ("stateful", "windows"):
        assert f"**{row[f'nats_per_char_{protocol}']:.4f}**" in PAGE


def test_seeds_have_a_line_each_and_their_mean() -> None:
    [group] = SEEDS["seeds"]
    rows = [row for row in SEEDS["models"] if row["file"] in group["files"]]
    assert rows[0]["sha256"] == Model.load(default_model_path()).sha256
    for row in rows:
        gap = max(row["float_to_integer_gap"].values(), key=abs)
        assert f"| {row['seed']} {tried(row)} {gap:+.4f} |" in PAGE
    for name, form in (("mean", "mean"), ("standard_deviation", "standard deviation")):
        assert (f"| {form} | {group['stateful'][name]:.4f} | {group['windows'][name]:.4f} | |"
                in PAGE)


def test_times_are_those_of_the_trainings() -> None:
    [row] = [row for row in COMPARISON["models"] if row["file"] == SHIPPED]
    for about in (row, *row["teachers"]):
        assert f"{about['training_seconds']:,} s" in PAGE
