"""The blocks on the values of a layer, as a token brings them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from trilight.sim.imported.blocks import verify_blocks
from trilight.sw.checkpoint.reference import ImportedReference

from ...sw.checkpoint.test_imported import make

KINDS = [{"hidden": 96, "inner": 200, "embedding": 1.0}, {"hidden": 33, "inner": 70,
                                                         "embedding": 0.01, "bounds": False}]


def traced(runner: ImportedReference, token: int) -> dict[tuple[str, int], NDArray[np.int64]]:
    found: dict[tuple[str, int], NDArray[np.int64]] = {}
    runner.step(token, lambda stage, layer, values: found.update({(stage, layer): values}))
    return found


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_layers(rng: np.random.Generator, tmp_path: Path, number: int) -> None:
    _, model = make(rng, tmp_path, layers=2, vocabulary=9, **KINDS[number])
    runner = ImportedReference(model)
    runner.step(3)
    trace = traced(runner, 5)
    hidden, inner = model.shape.hidden, model.shape.inner
    for layer in range(2):
        compared, differ = verify_blocks(model, layer, trace)
        # Codes of six matrices, a multiplier each; rows, sigmoids; two residual additions.
        assert compared == 5 * hidden + inner + 6 + 2 * (2 * hidden + inner) + 2 * hidden
        assert differ == 0
    # One value of the reference off by one is one difference.
    trace["i.z", 1] = trace["i.z", 1].copy()
    trace["i.z", 1][4] ^= 1
    assert verify_blocks(model, 1, trace)[1] >= 1
