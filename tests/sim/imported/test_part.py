"""The target rtl of imported models: whole texts on the core, alone and over boards."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trilight.hw.contract.chain import ChainCommand
from trilight.sim.imported.part import CorePart, core_part
from trilight.sim.imported.shapes import random_shape, verify_shape
from trilight.sim.imported.verify import core_device, random_model
from trilight.sw.chain.board import ChainBoard
from trilight.sw.chain.cut import cut_layers
from trilight.sw.chain.link import Vector
from trilight.sw.chain.part import open_part, part_targets
from trilight.sw.checkpoint.reference import ImportedReference
from trilight.sw.checkpoint.shape import Shape
from trilight.sw.errors import ModelDoesNotFitError, TargetError

# The first compilation of all makes the compiler's own library, which takes minutes.
pytestmark = pytest.mark.timeout(900)

SMALL = Shape(layers=3, hidden=48, inner=100, vocabulary=60)


def test_two_sequences_on_cores(rng: np.random.Generator, seed: int) -> None:
    """Each has a state of its own, and one restarts."""
    model = random_model(SMALL, seed)
    parts = [open_part("rtl", model, range(SMALL.layers)) for _ in range(2)]
    contracts = [ImportedReference(model) for _ in range(2)]

    def agree(number: int, token: int) -> None:
        x = model.embedding[token].astype(np.int64)
        assert np.array_equal(parts[number].advance(x, True), contracts[number].step(token))

    for number, token in enumerate(rng.integers(0, 16, 12).tolist()):
        agree(number % 2, token)
    parts[0].reset()
    contracts[0].reset()
    agree(0, 3)
    agree(1, 3)
    for part, contract in zip(parts, contracts, strict=True):
        assert sum(part.saturated.values()) == contract.saturations.total


def test_boards_of_cores(rng: np.random.Generator, seed: int) -> None:
    model = random_model(SMALL, seed)
    boards = [ChainBoard(model, layers, "rtl") for layers in cut_layers(SMALL, 3)]
    contract = ImportedReference(model)
    for position, token in enumerate(rng.integers(0, 16, 4).tolist()):
        passed = Vector(ChainCommand.RESIDUAL, 1, 5, position, position == 3,
                        model.embedding[token].astype(np.int64))
        for board in boards:
            result = board.take(passed)
            assert isinstance(result, Vector)
            passed = result
        wanted = contract.step(token)
        assert np.array_equal(passed.values, wanted if position == 3 else [])


def test_models_that_do_not_fit(seed: int) -> None:
    device = core_device(8)
    small = replace(device, max_hidden=40)
    model = random_model(SMALL, seed)
    with pytest.raises(ModelDoesNotFitError, match="the model's width of 48 is more than the 40"):
        CorePart(model, range(3), small)
    with pytest.raises(ModelDoesNotFitError, match="the model's state of 144 is more than the 96"):
        CorePart(model, range(3), replace(device, state_words=96))
    narrow = random_model(replace(SMALL, hidden=2), seed)
    with pytest.raises(ModelDoesNotFitError, match=r"fewer than \d+ rows"):
        core_part(narrow, range(3))
    assert part_targets() == ["reference", "rtl"]
    with pytest.raises(TargetError, match="on netlist; their targets are reference, rtl"):
        open_part("netlist", model, range(3))


def test_a_shape_in_all_its_forms(seed: int) -> None:
    result = verify_shape(seed, 8)
    assert result.passed
    assert result.shape == random_shape(seed, 8).to_dict()
    assert result.values > 1000
    assert json.dumps(vars(result))


def test_a_wrong_form_is_seen(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled form gives another logit: one difference a token."""
    def wrong(model: object) -> ImportedReference:
        runner = ImportedReference(model)  # type: ignore[arg-type]  # a model
        whole = runner.feed
        runner.feed = lambda tokens: whole(tokens) + np.eye(1, model.shape.vocabulary, dtype=int)  # type: ignore[attr-defined,method-assign]  # as above
        return runner

    monkeypatch.setattr("trilight.sim.imported.shapes.open_runner", wrong)
    result = verify_shape(seed, 8)
    assert (result.logits_differ, result.wrong, result.passed) == (3, 0, False)


def test_the_command(tmp_path: Path) -> None:
    from trilight.sw.cli.app import main

    out = tmp_path / "shapes.json"
    assert main(["verify-shapes", "-n", "1", "--seed", "5", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["passed"]
    assert [shape["seed"] for shape in found["shapes"]] == [5]
