"""Layers and tokens on the core's RTL: every value, and the plan's very cycles."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.imported import ImportedDevice
from trilight.sim.imported import verify as module
from trilight.sim.imported.verify import random_model, verify
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.reference import ImportedReference
from trilight.sw.checkpoint.shape import SHAPES, Shape
from trilight.sw.cli.app import main
from trilight.sw.errors import ModelDoesNotFitError

# The first compilation of all makes the compiler's own library, which takes minutes.
pytestmark = pytest.mark.timeout(900)

SMALL = Shape(layers=2, hidden=256, inner=300, vocabulary=1200)


def values_of(shape: Shape, layers: int, head: bool) -> int:
    """Values of a token besides its rows, counted from the page of the contract.

    Codes; multipliers; arguments and results of the sigmoids of i, f, g and gate; candidates,
    states, gated vectors, SiLU of gates and their products; two residual additions; logits.
    """
    h, n = shape.hidden, shape.inner
    layer = (5 * h + n) + 6 + 2 * (3 * h + n) + (3 * h + 2 * n) + 2 * h
    return layers * layer + (h + 1 + shape.vocabulary if head else 0)


def test_a_layer_of_370_million_weights(seed: int) -> None:
    shape = replace(SHAPES["370M"], layers=1, vocabulary=256)
    result = verify(random_model(shape, seed), layers=[0], head=False, tokens=(1, 2))
    assert (result.rows, result.wrong) == (2 * 10_752, 0)
    assert (result.values, result.wrong_values) == (2 * values_of(shape, 1, False), 0)
    assert result.weights == 12_845_056
    assert result.cycles == result.planned
    assert result.words / result.cycles > 0.99


def test_a_whole_small_model(seed: int) -> None:
    """Tiles, a ragged last block, and a head of more rows than are kept; a sequence of tokens."""
    tokens = (0, 3, 3, 7)
    result = verify(random_model(SMALL, seed), tokens=tokens)
    assert (result.wrong, result.wrong_values) == (0, 0)
    assert result.rows == 4 * (2 * (5 * 256 + 2 * 300) + 1200)
    assert result.values == 4 * values_of(SMALL, 2, True)
    assert result.cycles == result.planned


def test_streams_that_wait(seed: int) -> None:
    """Weights, parameters and embedding that pause change nothing but the cycles."""
    result = verify(random_model(SMALL, seed), tokens=(1, 2), pauses=0.3, seed=seed)
    assert (result.wrong, result.wrong_values) == (0, 0)
    assert result.cycles > result.planned


def test_a_layer_in_the_middle(seed: int) -> None:
    """From another layer's residual stream, with lower bounds and without the head."""
    shape = replace(SMALL, layers=3)
    result = verify(random_model(shape, seed), layers=[1, 2], head=False, tokens=(1, 5))
    assert (result.wrong, result.wrong_values) == (0, 0)
    assert result.cycles == result.planned


@pytest.mark.parametrize("hidden", [12, 13, 48])
def test_narrow_models(rng: np.random.Generator, seed: int, hidden: int) -> None:
    """Vectors of one block, where nothing hides the norm."""
    shape = Shape(layers=2, hidden=hidden, inner=int(rng.integers(6, 90)),
                  vocabulary=int(rng.integers(12, 60)))
    result = verify(random_model(shape, seed), tokens=(1, 2, 3))
    assert (result.wrong, result.wrong_values) == (0, 0)
    assert result.cycles == result.planned


def test_the_narrowest_glu(seed: int) -> None:
    """Gates are written just before the other half reads them; in a narrower one they are not."""
    device = ImportedDevice(
        engine=Device(name="test", lanes=2, sequences=1, max_columns=40, max_rows=40,
                      weight_words=1 << 12, weight_memory=WeightMemory.EXTERNAL),
        max_hidden=40, state_words=80)
    shape = Shape(layers=2, hidden=40, inner=5, vocabulary=20)
    result = verify(random_model(shape, seed), lanes=2, device=device, tokens=(1, 2))
    assert (result.wrong, result.wrong_values) == (0, 0)
    assert result.cycles == result.planned
    with pytest.raises(ModelDoesNotFitError, match="GLU is 4 wide, and test needs 5"):
        verify(random_model(replace(shape, inner=4), seed), device=device)
    with pytest.raises(ModelDoesNotFitError, match="fewer than 12 rows"):
        verify(random_model(replace(shape, vocabulary=11), seed))


def test_values_that_leave_their_range(seed: int) -> None:
    """A multiplier far too large: pre-activations and residuals are clipped, and counted alike."""
    model = random_model(replace(SMALL, layers=1), seed)
    loud = {name: replace(matrix, scale_frac=matrix.scale_frac - 16)
            for name, matrix in model.layers[0].items()}
    changed = replace(model, layers=(loud,))
    reference = ImportedReference(changed)
    reference.step(1)
    assert reference.saturations.total > 100
    result = verify(changed, tokens=(1, 2))
    assert (result.wrong, result.wrong_values) == (0, 0)


def test_vectors_of_zeros(seed: int) -> None:
    """An embedding of zeros: all codes and multipliers are 0, and so is the last matrix' input."""
    model = random_model(replace(SMALL, layers=1), seed)
    silent = replace(model, embedding=np.zeros_like(model.embedding))
    result = verify(silent, tokens=(1,))
    assert (result.wrong, result.wrong_values) == (0, 0)
    assert result.cycles == result.planned


@pytest.mark.parametrize("part", ["weights", "gain", "norm", "lower_bounds"])
def test_another_model_is_seen(seed: int, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """The core is given a value that the reference has not."""
    model = random_model(SMALL, seed)
    if part == "lower_bounds":
        assert model.lower_bounds is not None
        bounds = model.lower_bounds.copy()
        bounds[1, 5] ^= 1 << 20
        other = replace(model, lower_bounds=bounds)
    else:
        values = getattr(model.head, part).copy()
        values[..., 5] = values[..., 6] + 1
        other = replace(model, head=replace(model.head, **{part: values}))
    image = module.core_image

    def wrong(_: ImportedModel, *args: object) -> object:
        return image(other, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "core_image", wrong)
    result = verify(model)
    assert result.wrong + result.wrong_values > 0
    assert not result.passed


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [2, 13])
def test_cores_of_other_sizes(seed: int, lanes: int) -> None:
    """Blocks and adder trees of other sizes, no power of two among them, and no tiles."""
    device = ImportedDevice(
        engine=Device(name="test", lanes=lanes, sequences=1, max_columns=300, max_rows=1200,
                      weight_words=1 << 16, weight_memory=WeightMemory.EXTERNAL),
        max_hidden=256, state_words=512)
    result = verify(random_model(SMALL, seed), lanes=lanes, device=device, tokens=(1, 2))
    assert (result.wrong, result.wrong_values) == (0, 0)
    assert result.cycles == result.planned


@pytest.mark.slow
@pytest.mark.parametrize("name", ["1.3B", "2.7B"])
def test_layers_of_larger_models(name: str, seed: int) -> None:
    shape = replace(SHAPES[name], layers=1, vocabulary=256)
    result = verify(random_model(shape, seed), layers=[0], head=False)
    assert (result.wrong, result.wrong_values) == (0, 0)
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
