"""The compiled form against the contract, with ``==``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trilight.sw.checkpoint.reference import ImportedReference

from .synthetic import Synthetic
from .test_imported import make

pytest.importorskip("numba", reason="needs the extra 'baselines'")

from trilight.sw.checkpoint.kernel import CompiledReference
from trilight.sw.errors import TokenError

KINDS: list[dict[str, Any]] = [
    {"hidden": 64, "layers": 2},
    {"hidden": 48, "layers": 3, "dtype": "float16", "tied": True, "bounds": False, "heads": 3},
    {"hidden": 10, "layers": 2, "inner": 7, "vocabulary": 3, "zero_rows": 3},
    {"hidden": 1, "layers": 1, "inner": 1, "vocabulary": 2},
    {"hidden": 96, "layers": 1, "inner": 101, "embedding": 1e-6, "spread": 2.0},
    {"hidden": 33, "layers": 2, "inner": 64, "embedding": 5e4},
]


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_equal(rng: np.random.Generator, tmp_path: Path, number: int) -> None:
    _, model = make(rng, tmp_path, **KINDS[number])
    plain, compiled = ImportedReference(model), CompiledReference(model)
    tokens = rng.integers(0, model.shape.vocabulary, 6).tolist()
    assert np.array_equal(plain.feed(tokens), compiled.feed(tokens))
    assert np.array_equal(plain.state, compiled.state)
    compiled.reset()
    assert np.array_equal(compiled.step(tokens[0]), plain.feed(tokens[:1])[0])


@pytest.mark.parametrize("name", ["i", "f", "g", "o", "gate", "down"])
@pytest.mark.parametrize("by", [-40, -20, -12, 12, 30, 60])
def test_equal_where_values_leave_their_range(rng: np.random.Generator, tmp_path: Path, name: str,
                                              by: int) -> None:
    """Scales of any size: saturated, vanished, and counted the same."""
    _, model = make(rng, tmp_path, hidden=20, layers=2, inner=24, vocabulary=11)
    model = replace(model, layers=tuple(
        {**layer, name: replace(layer[name], scale_frac=layer[name].scale_frac + by)}
        for layer in model.layers))
    plain, compiled = ImportedReference(model), CompiledReference(model)
    tokens = rng.integers(0, 11, 4).tolist()
    assert np.array_equal(plain.feed(tokens), compiled.feed(tokens))
    assert plain.saturations == compiled.saturations


def test_zero_embedding(rng: np.random.Generator, tmp_path: Path) -> None:
    """A padding token's row of zeros: no code, no result, no division by it."""
    made = Synthetic.random(rng, hidden=16, layers=2, inner=16, vocabulary=5)
    made.tensors["model.embeddings.weight"][3] = 0
    _, model = make(rng, tmp_path, hidden=16, layers=2, inner=16, vocabulary=5)
    embedding = np.array(model.embedding)
    embedding[3] = 0
    model = replace(model, embedding=embedding)
    for runner in (ImportedReference(model), CompiledReference(model)):
        assert not runner.step(3).any()
    with pytest.raises(TokenError, match=r"\[0, 4\], not -1"):
        CompiledReference(model).step(-1)
