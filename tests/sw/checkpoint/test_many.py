"""Many texts over workers, of this computer and of a Dask scheduler."""

from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from trilight.sw.checkpoint.acceptance import compare, read_reference
from trilight.sw.checkpoint.many import ImportedTexts
from trilight.sw.errors import ClusterError
from trilight.sw.workers import open_executor

from .test_imported import make, reference_file


def test_a_dask_scheduler(rng: np.random.Generator, tmp_path: Path) -> None:
    """Its workers compute what this process does."""
    distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    made, model = make(rng, tmp_path, hidden=48, layers=2, inner=64, vocabulary=50)
    reference = reference_file(rng, made, tmp_path / "reference.npz", sequences=4, positions=6)
    sequences = read_reference(reference, model.shape.vocabulary)
    done: list[tuple[int, int]] = []
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False,
                                  protocol="inproc", dashboard_address=None) as cluster, \
            open_executor(cluster.scheduler_address) as executor:
        texts = ImportedTexts(executor, tmp_path / "model.safetensors", model.sha256)
        runs = texts.run([s.tokens.tolist() for s in sequences], lambda *at: done.append(at))
        found = compare(model, sequences, runs)
    assert found == compare(model, sequences)
    assert done == [(n, 4) for n in range(1, 5)]


@pytest.fixture
def executor() -> Executor:
    return ThreadPoolExecutor(1)


def test_another_file_on_a_worker(rng: np.random.Generator, tmp_path: Path,
                                  executor: Executor) -> None:
    make(rng, tmp_path, hidden=16, layers=1, inner=16, vocabulary=5)
    texts = ImportedTexts(executor, tmp_path / "model.safetensors", "0" * 64)
    with pytest.raises(ClusterError, match="another model on this worker: its SHA-256"):
        list(texts.run([[1]]))
