"""Whole layers of published sizes on the engine's RTL: every row, and the plan's very cycles."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trilight.sim.imported import verify as module
from trilight.sim.imported.verify import random_model, verify
from trilight.sw.checkpoint.model import ImportedMatrix
from trilight.sw.checkpoint.shape import SHAPES, Shape
from trilight.sw.cli.app import main

# The first compilation of all makes the compiler's own library, which takes minutes.
pytestmark = pytest.mark.timeout(900)

SMALL = Shape(layers=2, hidden=256, inner=300, vocabulary=1200)


def test_a_layer_of_370_million_weights(seed: int) -> None:
    shape = replace(SHAPES["370M"], layers=1, vocabulary=256)
    result = verify(random_model(shape, seed), layers=[0], head=False, blocks=True)
    assert (result.rows, result.wrong) == (10_752, 0)
    # Codes of six matrices and a multiplier each; rows scaled, sigmoids, two residual additions.
    assert result.block_values == 5 * 1024 + 2816 + 6 + 2 * (2 * 1024 + 2816) + 2 * 1024
    assert result.wrong_values == 0
    assert result.weights == 12_845_056
    assert result.cycles == result.planned
    assert result.words / result.cycles > 0.99


@pytest.mark.parametrize("token", [0, 3])
def test_a_whole_small_model(seed: int, token: int) -> None:
    """Tiles, a ragged last block, and a head of more rows than are kept."""
    result = verify(random_model(SMALL, seed), token=token)
    assert result.wrong == 0
    assert result.rows == 2 * (5 * 256 + 2 * 300) + 1200
    assert result.cycles == result.planned


def test_a_wrong_weight_is_seen(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is given other weights than the reference has: one row of the head."""
    model = random_model(replace(SMALL, layers=1), seed)
    right = module.unpack_matrix

    def wrong(matrix: ImportedMatrix) -> np.ndarray:
        trits = right(matrix)
        if matrix is model.head:
            trits[5] = np.where(trits[5] == 0, 1, 0)
        return trits

    monkeypatch.setattr(module, "unpack_matrix", wrong)
    result = verify(model)
    assert result.wrong == 1
    assert not result.passed


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [2, 13])
def test_cycles_of_other_engines(seed: int, lanes: int) -> None:
    """Blocks and adder trees of other sizes, no power of two among them."""
    result = verify(random_model(SMALL, seed), lanes=lanes)
    assert result.wrong == 0
    assert result.cycles == result.planned


@pytest.mark.slow
@pytest.mark.parametrize("name", ["1.3B", "2.7B"])
def test_layers_of_larger_models(name: str, seed: int) -> None:
    shape = replace(SHAPES[name], layers=1, vocabulary=256)
    result = verify(random_model(shape, seed), layers=[0], head=False)
    assert result.wrong == 0
    assert result.cycles == result.planned


@pytest.mark.slow
def test_a_whole_token_of_370_million_weights(tmp_path: Path) -> None:
    report = tmp_path / "token.json"
    assert main(["verify-token", "--shape", "370M", "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["passed"]
    assert found["weights"] == SHAPES["370M"].ternary_weights
    plan = tmp_path / "plan.json"
    assert main(["plan", "--model", "370M", "--lanes", "8", "--json", str(plan)]) == 0
    assert json.loads(plan.read_text())["cycles"] == found["cycles"]
