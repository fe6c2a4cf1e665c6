"""``trilight verify-layer`` and ``verify-token``: an imported model on the engine's RTL."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from trilight.hw.support.terminal import Console, visible
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.shape import SHAPES, named_shape
from trilight.sw.cli.console import check_folder, progress_bar, write_json
from trilight.sw.errors import CheckpointError

from .verify import Verification, random_model, verify

__all__ = ["verify_layer_command", "verify_token_command"]

ShapeOption = Annotated[str, typer.Option(
    "--shape", help=f"Sizes of a published model ({', '.join(SHAPES)}), with random weights.")]
ModelOption = Annotated[Path | None, typer.Option(
    "--model", "-m", metavar="FILE", help="In place of random weights: a file that trilight import "
                                          "wrote.")]
LanesOption = Annotated[int, typer.Option(
    "--lanes", min=2, max=64, help="Weight bytes that the engine takes in a cycle.")]
SeedOption = Annotated[int, typer.Option("--seed", "-s", help="Of the random weights.")]
JsonOption = Annotated[Path | None, typer.Option(
    "--json", metavar="FILE", help="Also write the figures to this file as JSON.")]


def verify_layer_command(
    shape: ShapeOption = "370M", model: ModelOption = None,
    layer: Annotated[int, typer.Option("--layer", min=0, help="Of a model file.")] = 0,
    lanes: LanesOption = 8, seed: SeedOption = 0, json_file: JsonOption = None,
) -> None:
    """Run a layer's matrix products on the engine's RTL and compare every row.

    The integer reference computes a token; its codes are fed to the simulated engine, and every
    row sum must be the reference's, to the last bit, in as many cycles as trilight plan says. Then
    each block of the vector unit (codes, root, divisions, row scales, sigmoids) is given the
    layer's values. The embedding is the reference's. The first run compiles the engine.
    """
    if model is None:
        found = random_model(replace(named_shape(shape), layers=1, vocabulary=256), seed)
        layer = 0
    else:
        found = ImportedModel.load(model)
        if layer >= found.shape.layers:
            raise CheckpointError(f"{model} has layers 0 to {found.shape.layers - 1}, not {layer}")
    _report(found, [layer], lanes, json_file)


def verify_token_command(
    shape: ShapeOption = "370M", model: ModelOption = None, lanes: LanesOption = 8,
    seed: SeedOption = 0, json_file: JsonOption = None,
) -> None:
    """Run all matrix products of a token on the engine's RTL and compare every row.

    As verify-layer, for all layers and the head, without the blocks of the vector unit.
    """
    found = (random_model(named_shape(shape), seed) if model is None
             else ImportedModel.load(model))
    _report(found, None, lanes, json_file)


def _report(model: ImportedModel, layers: list[int] | None, lanes: int,
            json_file: Path | None) -> None:
    """Verify some layers with their blocks, or all and the head without."""
    check_folder(json_file)
    console = Console(stderr=True)
    with progress_bar(console, "Comparing the engine with the reference") as advance:
        result = verify(model, lanes=lanes, layers=layers, head=layers is None,
                        blocks=layers is not None, advance=advance)
    _show(result)
    if json_file is not None:
        write_json(json_file, result.to_dict())
    if not result.passed:
        raise typer.Exit(1)


def _show(result: Verification) -> None:
    used = result.words / result.cycles
    blocks = (f"""
{result.block_values:,} results of the vector unit's blocks: {result.wrong_values:,} differ"""
              if result.block_values else "")
    print(visible(
        f"""{result.rows:,} rows of {result.weights:,} ternary weights: {result.wrong:,} differ \
from the reference{blocks}
{result.cycles:,} cycles counted on RTL with {result.lanes} byte lanes, {result.planned:,} \
planned; {used:.2%} took a weight word
{result.compile_s:.1f} s to compile, {result.run_s:.1f} s to run; embedding of the reference
{"passed" if result.passed else "FAILED"}"""))
