"""``trilight anchors``: a model's bits per byte beside those of classic compressors."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from trilight.hw.support.terminal import Console
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.model.text import read_text
from trilight.sw.quality.adaptive import adaptive_summary, read_losses
from trilight.sw.quality.anchors import Anchor, anchors, anchors_svg
from trilight.sw.reference.adaptation import Adaptation

from .console import check_folder, progress_bar, tell_changes, write_file, write_json

__all__ = ["anchors_command"]

_ROWS = 256


def anchors_command(
    corpus: Annotated[Path, typer.Option("--corpus", "-c", metavar="FILE",
                                         help="Text file, UTF-8; its last tenth is held out.")],
    model: Annotated[Path | None, typer.Option(
        "--model", "-m", metavar="FILE", help="Model file. Default: the bundled one.")] = None,
    plot: Annotated[Path | None, typer.Option(
        "--plot", metavar="FILE", help="Draw bits per byte against memory, as SVG.")] = None,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the results to this file as JSON.")] = None,
) -> None:
    """Show what zlib, bzip2, xz and PPMd make of a text's last tenth, and what the model does.

    Compressors know the rest of the text and go on learning, as the model does in the row of the
    biases that it learns while reading. PPMd is limited to 128 KiB, the memory of the bundled
    model, and to more. Some minutes for a megabyte.
    """
    for path in (json_file, plot):
        check_folder(path)
    loaded = Model.load(model or default_model_path())
    read = read_text(corpus)
    tell_changes(read.changes, corpus.name)
    split = len(read.text) * 9 // 10
    known, text = read.text[:split], read.text[split:]
    console = Console(stderr=True)
    with progress_bar(console, "Compressing") as advance:
        rows = anchors(known.encode(), text.encode(), progress=advance)
    ours: dict[str, dict[str, Any]] = {}
    weights = -(-loaded.config.ternary_weights // 5)
    vocabulary = loaded.config.vocab_size
    for name, adaptation in (
            ("the model", None),
            ("the model, learning while it reads, order 1", Adaptation(vocabulary)),
            ("the same, orders 1 and 2", Adaptation(vocabulary, rows=_ROWS))):
        with progress_bar(console, f"Reading: {name}") as advance:
            nats = read_losses(loaded, text, adaptation=adaptation, progress=advance)
        learnt = 0 if adaptation is None else len(adaptation.to_bytes())
        ours[name] = {"memory_bytes": weights + learnt, **adaptive_summary(text, nats)}
    _show(rows, ours)
    if plot is not None:
        write_file(plot, anchors_svg(rows, {
            name: (row["memory_bytes"], row["bits_per_byte"]) for name, row in ours.items()
        }).encode())
    if json_file is not None:
        write_json(json_file, {"corpus": corpus.name, "model_sha256": loaded.sha256,
                               "anchors": [asdict(row) for row in rows], "ours": ours})


def _show(rows: list[Anchor], ours: dict[str, dict[str, Any]]) -> None:
    table = Table("predictor", "memory, bytes", "bits/byte", "", box=None)
    for row in rows:
        table.add_row(row.name, f"{row.memory_bytes:,}" if row.memory_bytes else "",
                      f"{row.bits_per_byte:.3f}", row.note)
    for name, figures in ours.items():
        error = figures["standard_error"]
        note = f"{error / 0.6931:.3f} standard error of the text" if error else ""
        table.add_row(name, f"{figures['memory_bytes']:,}", f"{figures['bits_per_byte']:.3f}", note,
                      style="bold")
    Console(soft_wrap=True).print(table)
