"""Speed and memory of the compiled reference: ``python -m trilight.sim.imported.speed``.

A random model of a published shape is written to a file, and a process that has nothing else to do
maps it and feeds it tokens. Tokens are counted by processor time, so other programs take no part.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trilight.hw.support.terminal import visible
from trilight.sw.checkpoint.config import CheckpointConfig
from trilight.sw.checkpoint.importer import import_checkpoint
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.reader import Checkpoint, TernaryMatrix
from trilight.sw.checkpoint.run import open_runner
from trilight.sw.checkpoint.shape import SHAPES, Shape, named_shape
from trilight.sw.workers import open_executor

__all__ = ["RandomCheckpoint", "main", "measure"]


class RandomCheckpoint(Checkpoint):
    """A checkpoint of random trits and gains, made when it is asked for.

    Parameters
    ----------
    shape : Shape
    seed : int
    """

    def __init__(self, shape: Shape, seed: int) -> None:
        self.config = CheckpointConfig(shape=shape, epsilon=1e-6, tied=False,
                                       lower_bounds=True, heads=1, packing=None, dtype="random")
        self.container = "random"
        self._rng = np.random.default_rng(seed)

    def matrix(self, name: str, layer: int | None = None) -> TernaryMatrix:
        """A matrix of a layer, or without a layer the head."""
        rows, columns = self.shape.matrix(name)
        return TernaryMatrix(self._rng.integers(-1, 2, (rows, columns), np.int8),
                             1 / np.sqrt(columns))

    def gain(self, name: str, layer: int | None = None) -> NDArray[np.float32]:
        """Gains around 1."""
        columns = self.shape.inner if name == "down" else self.shape.hidden
        return self._rng.normal(1, 0.2, columns).astype(np.float32)

    def embedding(self) -> Iterator[NDArray[np.float32]]:
        """The embedding, the same each time."""
        for row in range(0, self.shape.vocabulary, 1000):
            rng = np.random.default_rng(row)
            yield rng.normal(0, 1, (min(1000, self.shape.vocabulary - row),
                                    self.shape.hidden)).astype(np.float32)

    def lower_bounds(self) -> NDArray[np.float64]:
        """Lower bounds of any size."""
        return self._rng.random((self.shape.layers, self.shape.hidden))


def measure(path: Path, tokens: int) -> tuple[float, int]:
    """Return processor seconds a token, and bytes of memory that are of no file, of this process.

    The second is 0 where the operating system does not tell.
    """
    model = ImportedModel.load(path, verify=False)
    runner = open_runner(model)
    chosen = np.random.default_rng(0).integers(0, model.shape.vocabulary, tokens + 2).tolist()
    for token in chosen[:2]:
        runner.step(token)
    began = time.process_time()
    for token in chosen[2:]:
        runner.step(token)
    seconds = (time.process_time() - began) / tokens
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return seconds, sum(int(line.split()[1]) << 10 for line in lines
                        if line.startswith("RssAnon:"))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--shape", default="370M", choices=sorted(SHAPES))
    parser.add_argument("--tokens", type=int, default=50)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        import_checkpoint(RandomCheckpoint(named_shape(chosen.shape), 0), path)
        with open_executor(workers=1) as executor:
            seconds, memory = executor.submit(measure, path, chosen.tokens).result()
        size = path.stat().st_size
    print(visible(f"{chosen.shape}: {1000 * seconds:.1f} ms of processor time a token, "
                  f"{1 / seconds:.1f} tokens/s on one core; {memory / 1e6:.0f} MB of memory "
                  f"besides the mapped file of {size / 1e6:.0f} MB"))


if __name__ == "__main__":
    main()
