"""Speed and memory of the compiled reference."""

from pathlib import Path

import pytest

from trilight.sim.imported.speed import RandomCheckpoint, measure
from trilight.sw.checkpoint.importer import import_checkpoint
from trilight.sw.checkpoint.shape import SHAPES, Shape
from trilight.sw.workers import open_executor


def test_a_random_model_runs(tmp_path: Path, seed: int) -> None:
    shape = Shape(layers=2, hidden=48, inner=70, vocabulary=1300)
    model = import_checkpoint(RandomCheckpoint(shape, seed), tmp_path / "model")
    assert model.shape == shape
    assert model.embedding[:1000].any()
    assert model.embedding[1000:].any()
    seconds, _ = measure(tmp_path / "model", 3)
    assert 0 < seconds < 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_tokens_a_second_at_370_million_weights(tmp_path: Path, seed: int) -> None:
    pytest.importorskip("numba", reason="needs the extra 'baselines'")
    import_checkpoint(RandomCheckpoint(SHAPES["370M"], seed), tmp_path / "model")
    with open_executor(workers=1) as executor:
        seconds, memory = executor.submit(measure, tmp_path / "model", 50).result()
    assert seconds < 1 / 20
    assert memory < 200e6
