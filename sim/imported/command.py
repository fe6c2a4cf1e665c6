"""``trilight verify-layer`` and ``verify-token``: an imported model on the core's RTL."""

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
SeedOption = Annotated[int, typer.Option("--seed", "-s", min=0, help="Of the random weights.")]
JsonOption = Annotated[Path | None, typer.Option(
    "--json", metavar="FILE", help="Also write the figures to this file as JSON.")]


def verify_layer_command(
    shape: ShapeOption = "370M", model: ModelOption = None,
    layer: Annotated[int, typer.Option("--layer", min=0, help="Of a model file.")] = 0,
    lanes: LanesOption = 8, seed: SeedOption = 0, json_file: JsonOption = None,
) -> None:
    """Run a layer on the core's RTL and compare every value.

    The integer reference computes two tokens of a sequence; so does the simulated core, from the
    same residual stream. Every code, row sum, multiplier, pre-activation, sigmoid, state, gated
    value and residual channel must be the reference's, to the last bit, in as many cycles as
    trilight plan says. The embedding is looked up on the host. The first run compiles the core.
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
    """Run a whole token on the core's RTL and compare every value.

    As verify-layer, for one token with all layers and the head.
    """
    found = (random_model(named_shape(shape), seed) if model is None
             else ImportedModel.load(model))
    _report(found, None, lanes, json_file)


def _report(model: ImportedModel, layers: list[int] | None, lanes: int,
            json_file: Path | None) -> None:
    """Verify two tokens of some layers, or one of all and the head."""
    check_folder(json_file)
    console = Console(stderr=True)
    with progress_bar(console, "Comparing the core with the reference") as advance:
        result = verify(model, lanes=lanes, layers=layers, head=layers is None,
                        tokens=(1,) if layers is None else (1, 2), advance=advance)
    _show(result)
    if json_file is not None:
        write_json(json_file, result.to_dict())
    if not result.passed:
        raise typer.Exit(1)


def _show(result: Verification) -> None:
    used = result.words / result.cycles
    print(visible(
        f"""{result.rows:,} rows of {result.weights:,} ternary weights: {result.wrong:,} differ \
from the reference
{result.values:,} other values of the core: {result.wrong_values:,} differ
{result.cycles:,} cycles a token counted on RTL with {result.lanes} byte lanes, \
{result.planned:,} planned; {used:.2%} took a weight word
{result.compile_s:.1f} s to compile, {result.run_s:.1f} s to run {result.tokens} \
{"token" if result.tokens == 1 else "tokens"}; embedding looked up on the host
{"passed" if result.passed else "FAILED"}"""))
