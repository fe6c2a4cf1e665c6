"""``trilight verify-shapes``: random models of many odd shapes, every form of one against another.

Each shape is a task of its own, for processes of this computer or the workers of a Dask scheduler.
"""

import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Executor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from trilight.hw.contract.chain import ChainCommand
from trilight.hw.support.terminal import Console
from trilight.sw.chain.board import ChainBoard
from trilight.sw.chain.cut import cut_layers
from trilight.sw.chain.link import Vector
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.reference import ImportedReference
from trilight.sw.checkpoint.run import Progress, open_runner
from trilight.sw.checkpoint.shape import Shape
from trilight.sw.cli.console import check_folder, progress_bar, write_json
from trilight.sw.errors import ClusterError
from trilight.sw.workers import open_executor

from .verify import LEAST_INNER, RANDOM_TOKENS, core_device, random_model, verify

__all__ = ["ShapeResult", "random_shape", "verify_shape", "verify_shapes", "verify_shapes_command"]

TOKENS = 3
WIDTHS = (13, 48, 64, 127, 128, 131, 200, 256, 320)
"""Widths, of which two of three sizes are one or the least, and the rest any."""


@dataclass(frozen=True, kw_only=True)
class ShapeResult:
    """Result of a shape's forms."""

    seed: int
    shape: dict[str, int]
    boards: int
    """Number of boards that the layers were divided over."""
    logits_differ: int
    """Logits of the compiled form and of the boards that are not the contract's."""
    values: int
    """Values of the core's RTL that were compared."""
    wrong: int
    """Values among them that are not the contract's."""
    cycles: int
    """Cycles of a token, counted."""
    planned: int
    """Cycles of a token, as ``trilight plan`` computes them."""
    saturations: int
    seconds: float

    @property
    def passed(self) -> bool:
        return self.logits_differ == 0 == self.wrong and self.cycles == self.planned


def random_shape(seed: int, lanes: int) -> Shape:
    """A shape that no published model has, and the core of so many byte lanes takes."""
    rng = np.random.default_rng(seed)
    rows = core_device(lanes).engine.min_rows

    def size(minimum: int, maximum: int) -> int:
        named = int(rng.choice([minimum, *WIDTHS]))
        return (named if rng.random() < 2 / 3 and minimum <= named <= maximum
                else int(rng.integers(minimum, maximum + 1)))

    return Shape(layers=int(rng.integers(1, 6)), hidden=size(rows, 320),
                 inner=size(max(LEAST_INNER, -(-rows // 2)), 700), vocabulary=size(rows, 1500))


def verify_shape(seed: int, lanes: int) -> ShapeResult:
    """Compare all forms of a random model.

    The compiled form and boards that share the layers, with the NumPy form, token by token; the
    core's RTL, with every value of it and the plan's cycles.

    Parameters
    ----------
    seed
        Of shape and model.
    lanes
        Byte lanes of the engine.
    """
    began = time.perf_counter()
    rng = np.random.default_rng([seed, 1])
    shape = random_shape(seed, lanes)
    model = random_model(shape, seed)
    if rng.random() < 0.3:
        model = replace(model, lower_bounds=None)
    boards = int(rng.integers(1, shape.layers + 1))
    tokens = rng.integers(0, min(RANDOM_TOKENS, shape.vocabulary), TOKENS).tolist()
    contract = ImportedReference(model)
    want = contract.feed(tokens)
    differ = int(np.count_nonzero(open_runner(model).feed(tokens) != want))
    differ += int(np.count_nonzero(_shared(model, boards, tokens) != want))
    core = verify(model, lanes=lanes, tokens=tokens)
    return ShapeResult(seed=seed, shape=shape.to_dict(), boards=boards, logits_differ=differ,
                       values=core.rows + core.values, wrong=core.wrong + core.wrong_values,
                       cycles=core.cycles, planned=core.planned,
                       saturations=contract.saturations.total,
                       seconds=time.perf_counter() - began)


def _shared(model: ImportedModel, boards: int, tokens: Sequence[int]) -> np.ndarray:
    """Logits of boards that share the layers, their vectors as they would be on a link."""
    parts = [ChainBoard(model, layers) for layers in cut_layers(model.shape, boards)]
    found = []
    for position, token in enumerate(tokens):
        passed = Vector(ChainCommand.RESIDUAL, 1, 0, position, True,
                        model.embedding[token].astype(np.int64))
        for board in parts:
            result = board.take(passed)
            assert isinstance(result, Vector), "a board refuses what follows"
            passed = result
        found.append(passed.values)
    return np.stack(found)


def verify_shapes(executor: Executor, seeds: Sequence[int], lanes: int,
                  progress: Progress | None = None) -> list[ShapeResult]:
    """Compare the forms of as many random models as there are seeds.

    Raises
    ------
    ClusterError
        A process was ended.
    """
    futures = [executor.submit(verify_shape, seed, lanes) for seed in seeds]
    try:
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            if progress is not None:
                progress(done, len(futures))
    except BrokenExecutor as error:
        raise ClusterError("a process was ended, perhaps for memory; try again with fewer "
                           "--workers") from error
    return [future.result() for future in futures]


def verify_shapes_command(
    shapes: Annotated[int, typer.Option(
        "--shapes", "-n", metavar="N", min=1, help="Random shapes.")] = 20,
    seed: Annotated[int, typer.Option(
        "--seed", "-s", min=0, help="Of the first; the others follow.")] = 0,
    lanes: Annotated[int, typer.Option(
        "--lanes", min=2, max=64, help="Weight bytes that the engine takes in a cycle.")] = 8,
    workers: Annotated[int, typer.Option(
        "--workers", metavar="N", min=1, help="Processes of this computer.")] = 1,
    cluster: Annotated[str | None, typer.Option(
        "--cluster", metavar="ADDRESS", help="A Dask scheduler with certificates, such as "
                                             "tls://host:8786, whose workers have this "
                                             "release.")] = None,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the figures to this file as JSON.")] = None,
) -> None:
    """Compare all forms of imported models of many random shapes, every value.

    Each shape gets random weights. The compiled form, and boards that share the layers, must give
    the NumPy form's logits; the core's RTL every value of it, in the cycles that trilight plan
    computes. A seed that fails can be run alone: --shapes 1 --seed SEED.
    """
    check_folder(json_file)
    console = Console(stderr=True)
    # Compiled before several processes would do it at a time.
    verify_shape(seed, lanes)
    with progress_bar(console, f"{shapes} shapes") as advance, \
            open_executor(cluster, workers) as executor:
        results = verify_shapes(executor, range(seed, seed + shapes), lanes, advance)
    _show(results)
    if json_file is not None:
        write_json(json_file, {
            "passed": all(result.passed for result in results), "lanes": lanes,
            "shapes": [{**asdict(result), "passed": result.passed} for result in results]})
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def _show(results: Sequence[ShapeResult]) -> None:
    table = Table(box=None)
    for title in ("seed", "layers", "hidden", "inner", "vocabulary", "boards", "values", "cycles",
                  "differ"):
        table.add_column(title, justify="right")
    for result in results:
        table.add_row(str(result.seed), *(f"{size:,}" for size in result.shape.values()),
                      str(result.boards), f"{result.values:,}", f"{result.cycles:,}",
                      str(result.logits_differ + result.wrong)
                      + ("" if result.cycles == result.planned else ", other cycles planned"))
    console = Console()
    console.print(table)
    failed = [result.seed for result in results if not result.passed]
    values = sum(result.values for result in results)
    console.print(f"{len(results)} shapes, {values:,} values on RTL: "
                  + (f"seeds {failed} FAILED" if failed else "passed"))
