"""The figures of docs/compression.md are those of the models of cycles, power and words."""

from dataclasses import replace
from pathlib import Path

import pytest

from trilight.hw.contract.shapes import ModelConfig, OperationShape
from trilight.hw.support.boards import DEFAULT_BOARD, board_device
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.model.zeros import zero_shares
from trilight.sw.power import Activity, estimate_power
from trilight.sw.report.performance import predict
from trilight.sw.report.releases import load_releases

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "compression.md").read_text("utf-8")
DEVICE = board_device()
MODEL = Model.load(default_model_path())
SHAPE = MODEL.config


def cost(config: ModelConfig, kept: int) -> str:
    """Bytes of so many layers, cycles, and energy with its interval, as the page has them."""
    release = load_releases()[DEFAULT_BOARD]
    activity = release["activity"]
    cycles = predict(config, device=DEVICE).cycles_per_token
    energy = estimate_power(
        Activity.from_dict(activity["busy"]), release["clock_hz"], pll=release["pll"],
        windows=[Activity.from_dict(window) for window in activity["windows"]],
    ).power_mw.scaled(1e3 * cycles / release["clock_hz"])
    size = 8 * replace(config, n_layers=kept).weight_words(DEVICE.packing)
    return (f"{size:,} | {cycles:,.0f} | {energy.p50:.2f} ({energy.p05:.2f} to {energy.p95:.2f}) |")


@pytest.mark.parametrize(("hidden", "channels"), [
    (229, 160), (200, 160), (160, 160), (120, 160), (80, 160), (229, 150), (229, 128), (229, 120),
    (229, 80)])
def test_pruned_shapes(hidden: int, channels: int) -> None:
    config = replace(SHAPE, d_model=channels, d_hidden=hidden)
    assert f"| {hidden} | {channels} | {cost(config, 3)}\n" in PAGE


@pytest.mark.parametrize(("run", "kept"), [(3, 3), (2, 2), (4, 2), (6, 3)])
def test_layers_run_twice(run: int, kept: int) -> None:
    config = replace(SHAPE, n_layers=run)
    assert f"| {run} | {kept} | {cost(config, kept)} {run * SHAPE.d_model} |\n" in PAGE
    fits = run * SHAPE.d_model <= DEVICE.max_channels
    assert fits is (run <= 3)


def test_zeros_of_the_bundled_model() -> None:
    found = zero_shares(MODEL, DEVICE.packing)
    for share in (found.weights, found.codes, found.lanes, found.words):
        assert f" | {share:.2%} |" in PAGE
    assert found.words == 0


@pytest.mark.parametrize(("name", "rows", "columns"), [
    ("mix", 3 * SHAPE.d_model, SHAPE.d_model), ("mix, output", SHAPE.d_model, SHAPE.d_model),
    ("GLU", 2 * SHAPE.d_hidden, SHAPE.d_model), ("GLU, output", SHAPE.d_model, SHAPE.d_hidden)])
def test_words_of_factors(name: str, rows: int, columns: int) -> None:
    def of(*shapes: tuple[int, int]) -> str:
        operations = [OperationShape(*shape, DEVICE.packing) for shape in shapes]
        words = sum(operation.words for operation in operations)
        cycles = sum(operation.blocks * max(operation.rows, operation.entries)
                     for operation in operations)
        return f"{words:,} / {cycles:,}"

    factors = (of((rank, columns), (rows, rank)) for rank in (80, 40))
    assert f"| {name} | {of((rows, columns))} | {' | '.join(factors)} |\n" in PAGE


def test_gaps_of_an_operation() -> None:
    found = predict(SHAPE, device=DEVICE)
    gaps = found.cycles_per_token - found.words_per_token
    assert f"some {gaps / len(found.stages):.0f} cycles of gaps" in PAGE
