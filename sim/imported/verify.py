"""Matrix products of an imported model on the engine's own RTL, against the integer reference.

The reference computes a token; the codes that it feeds to each matrix are fed to the engine too,
whose rows must be its sums. Matrices with the same input are one run, as they are in a device. The
blocks of the vector unit are compared alone, for they are not yet joined to the engine.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.device import Device, WeightMemory
from trilight.sim.native.engine import NativeEngine, Product
from trilight.sw.checkpoint.model import (
    GAINS,
    ImportedMatrix,
    ImportedModel,
    make_matrix,
    unpack_matrix,
)
from trilight.sw.checkpoint.reader import TernaryMatrix
from trilight.sw.checkpoint.reference import ImportedReference
from trilight.sw.checkpoint.shape import LAYER_MATRICES, Shape
from trilight.sw.plan.cost import GROUPS, TILE_ROWS, Work, head_work, layer_work

from .blocks import verify_blocks

__all__ = ["Verification", "engine_device", "random_model", "verify"]

WIDEST = 6912
"""Columns of the engine: those of the largest published model."""
MOST_ROWS = 32_000
RANDOM_TOKENS = 16
"""Rows of a random model's embedding: as many of its tokens can be fed."""

Advance = Callable[[int, int], None]
"""Called with the products that are done and those there are."""


def engine_device(lanes: int) -> Device:
    """The engine for every published model, its weights a stream from outside."""
    return Device(name=f"imported models, {lanes} lanes", lanes=lanes, sequences=1,
                  max_columns=WIDEST, max_rows=MOST_ROWS, tile_rows=TILE_ROWS,
                  weight_words=1 << 20, weight_memory=WeightMemory.EXTERNAL)


def random_model(shape: Shape, seed: int) -> ImportedModel:
    """A model of random trits and gains, in memory.

    Parameters
    ----------
    shape : Shape
    seed : int
    """
    rng = np.random.default_rng(seed)

    def matrix(name: str) -> ImportedMatrix:
        rows, columns = shape.matrix(name)
        codes = rng.integers(-1, 2, (rows, columns), np.int8)
        norm = rng.normal(1, 0.2, columns) if name in GAINS else None
        return make_matrix(TernaryMatrix(codes, 1 / np.sqrt(columns)),
                           rng.normal(1, 0.2, columns), norm)

    layers = tuple({name: matrix(name) for name in LAYER_MATRICES} for _ in range(shape.layers))
    embedding = rng.normal(0, 1 << 24, (RANDOM_TOKENS, shape.hidden)).astype(np.int32)
    return ImportedModel(
        shape=shape, residual_frac=24, embedding=embedding, lower_bounds=None, layers=layers,
        head=matrix("head"), about={"random_seed": seed}, tokenizer=b"", sha256="")


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a comparison found.

    Attributes
    ----------
    rows, wrong : int
        Row sums compared, and those that differ.
    block_values, wrong_values : int
        Results of the vector unit's blocks compared, and those that differ; 0 where they were
        left out.
    weights : int
        Ternary weights that took part.
    cycles, words : int
        Of the engine, counted.
    planned : int
        Cycles that ``trilight plan`` computes for the same.
    compile_s, run_s : float
    lanes : int
    """

    rows: int
    wrong: int
    block_values: int
    wrong_values: int
    weights: int
    cycles: int
    words: int
    planned: int
    compile_s: float
    run_s: float
    lanes: int

    @property
    def passed(self) -> bool:
        """Every row is right, and the cycles are those of the plan."""
        return self.wrong == 0 == self.wrong_values and self.cycles == self.planned

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "passed": self.passed,
                "boundary": "matrix products and the vector unit's blocks, each on its RTL; "
                            "embedding of the reference"}


def verify(model: ImportedModel, *, lanes: int = 8, layers: Sequence[int] | None = None,
           head: bool = True, blocks: bool = False, token: int = 1,
           advance: Advance | None = None) -> Verification:
    """Compare the engine's rows with the reference's sums, for one token.

    Parameters
    ----------
    model : ImportedModel
    lanes : int
        Byte lanes of the engine.
    layers : sequence of int, optional
        Those that are run on the engine. Default: all.
    head : bool
        Whether the head is run.
    blocks : bool
        Whether the blocks of the vector unit are given the layers' values too.
    token : int
    advance : callable, optional

    Raises
    ------
    SimulationError, BuildError
        The engine cannot be compiled, or broke a promise besides that of right numbers.
    """
    began = time.perf_counter()
    engine = NativeEngine(engine_device(lanes))
    compiled = time.perf_counter()
    chosen = range(model.shape.layers) if layers is None else layers
    # What follows the last layer that is asked for is not needed.
    shown = replace(model, shape=replace(model.shape, layers=model.shape.layers if head
                                         else max(chosen) + 1))
    trace = _trace(shown, token)
    groups = list(_groups(model, chosen, head))
    total, wrong, rows, cycles, words = Work(), 0, 0, 0, 0
    for number, (layer, names) in enumerate(groups, 1):
        matrices = [model.head if name == "head" else model.layers[layer][name] for name in names]
        products = [Product(unpack_matrix(matrix),
                            trace[f"{name}.codes", layer].astype(np.int8), short=False)
                    for name, matrix in zip(names, matrices, strict=True)]
        sums, _, figures = engine.run(products)
        for name, found in zip(names, sums, strict=True):
            wrong += int(np.count_nonzero(found != trace[f"{name}.sums", layer]))
            rows += len(found)
        cycles, words = cycles + figures.cycles, words + figures.words
        if advance is not None:
            advance(number, len(groups))
    values, wrong_values = 0, 0
    for layer in chosen:
        total += layer_work(model.shape, lanes)
        if blocks:
            compared, differ = verify_blocks(model, layer, trace)
            values, wrong_values = values + compared, wrong_values + differ
    if head:
        total += head_work(model.shape, lanes)
    return Verification(rows=rows, wrong=wrong, block_values=values, wrong_values=wrong_values,
                        weights=total.weights, cycles=cycles, words=words, planned=total.cycles,
                        compile_s=compiled - began,
                        run_s=time.perf_counter() - compiled, lanes=lanes)


def _groups(model: ImportedModel, layers: Sequence[int],
            head: bool) -> Iterator[tuple[int, tuple[str, ...]]]:
    for layer in layers:
        for names in GROUPS:
            yield layer, names
    if head:
        yield model.shape.layers, ("head",)


def _trace(model: ImportedModel, token: int) -> dict[tuple[str, int], NDArray[np.int64]]:
    """Codes and sums of every matrix for a token, by stage and layer."""
    found: dict[tuple[str, int], NDArray[np.int64]] = {}

    def keep(stage: str, layer: int, values: NDArray[np.int64]) -> None:
        found[stage, layer] = values

    ImportedReference(model).step(token, keep)
    return found
