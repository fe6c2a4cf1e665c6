"""The command that shows what a model file holds."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trilight.hw.contract.device import Device
from trilight.hw.support.boards import DEFAULT_BOARD, board_device
from trilight.hw.support.terminal import Console
from trilight.sw.checkpoint.model import ImportedModel, is_imported
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model

from .console import check_folder, write_json
from .imported import imported_results, print_imported

__all__ = ["info"]


def info(
    model: Annotated[Path | None, typer.Argument(
        metavar="[MODEL]", help="Model file. Default: the bundled one.")] = None,
    board: Annotated[str, typer.Option(
        "--board", metavar="NAME", help="Board whose chip it should fit.")] = DEFAULT_BOARD,
    provenance: Annotated[bool, typer.Option(
        "--provenance", help="Also show all that the file says of where it comes from.")] = False,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the results to this file as JSON.")] = None,
) -> None:
    """Show what a model file holds, and whether it fits the chip of a board."""
    check_folder(json_file)
    path = model or default_model_path()
    if is_imported(path):
        imported = ImportedModel.load(path)
        print_imported(imported, path, Console())
        if json_file is not None:
            write_json(json_file, imported_results(imported, path))
        return
    loaded = Model.load(path)
    device = board_device(board)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(loaded, device, path):
        table.add_row(name, escape(value))
    if provenance:
        table.add_row("", "")
        for name, said in loaded.provenance.items():
            table.add_row(escape(name), escape(said if isinstance(said, str)
                                               else json.dumps(said)))
    console = Console()
    console.print(table, highlight=False)
    if not provenance and loaded.provenance:
        console.print("All that the file says of its origin: --provenance", style="dim")
    if json_file is not None:
        write_json(json_file, _results(loaded, device))


def _rows(model: Model, device: Device, path: Path) -> Iterator[tuple[str, str]]:
    """Rows of what somebody wants to know of a model, first things first."""
    config, said = model.config, model.provenance
    words = config.weight_words(device.packing)
    violations = config.violations(device)
    yield f"fits {device.name}", ("no: " + "\n".join(violations) if violations else
                                  f"yes, with {words:,} of {device.weight_words:,} weight words")
    yield "weights", f"{config.ternary_weights:,}, ternary"
    yield "sizes", (f"{config.n_layers} layers, d_model {config.d_model}, d_hidden "
                    f"{config.d_hidden}, vocab_size {config.vocab_size}")
    if isinstance(quality := said.get("quality"), Mapping) and _is_number(quality.get(
            "bits_per_byte")):
        where = ", ".join(str(quality[key]) for key in ("dataset", "split") if key in quality)
        yield "quality", (f"{quality['bits_per_byte']:.3f} bits per byte, stated by the file"
                          + (f", of {where}" if where else ""))
    trained = [text for key, text in (
        ("corpus", "on {}"), ("date", "{}"), ("characters_seen", "{:,} characters seen"))
        if (value := said.get(key)) is not None and (key != "characters_seen" or _is_number(value))
        for text in (text.format(value),)]
    if trained:
        yield "trained", ", ".join(trained)
    yield "characters", repr("".join(model.vocab))
    yield "sha256", model.sha256
    yield "file", str(path)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _results(model: Model, device: Device) -> dict[str, Any]:
    config = model.config
    return {
        "sha256": model.sha256,
        **config.to_dict(),
        "ternary_weights": config.ternary_weights,
        "weight_words": config.weight_words(device.packing),
        "weight_words_of": device.weight_words,
        "violations": config.violations(device),
        "vocab": "".join(model.vocab),
        "provenance": dict(model.provenance),
    }
