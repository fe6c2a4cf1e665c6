"""``trilight anchors``: a model's bits per byte beside those of classic and of larger models."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import stdev
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from trilight.hw.support.terminal import Console
from trilight.sw.errors import EvaluationError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.model.text import read_text
from trilight.sw.quality.adaptive import read_once
from trilight.sw.quality.anchors import Anchor, anchors
from trilight.sw.quality.anchors_plot import anchors_svg
from trilight.sw.quality.evaluate import character_losses, summary

from .console import check_folder, progress_bar, tell_changes, write_file, write_json

__all__ = ["anchors_command"]

_ROWS = 256
_STREAMS = 64
_NATS = math.log(2)

_LEARNING = {"order_1": "learns by the last character",
             "orders_1_and_2": f"and by the last two, {_ROWS} rows"}


def anchors_command(
    corpus: Annotated[Path, typer.Option("--corpus", "-c", metavar="FILE",
                                         help="Text file, UTF-8; its last tenth is held out.")],
    model: Annotated[Path | None, typer.Option(
        "--model", "-m", metavar="FILE", help="Model file. Default: the bundled one.")] = None,
    compared: Annotated[Path | None, typer.Option(
        "--compared", metavar="FILE", help="Results of trilight compare on the same text: its "
                                           "networks in floating point, and what is published of "
                                           "others, get a row too.")] = None,
    pieces: Annotated[int, typer.Option(
        "--pieces", min=2, max=64, help="Pieces of the held-out text that compressors start on "
                                        "cold; each takes them the whole text.")] = 12,
    plot: Annotated[Path | None, typer.Option(
        "--plot", metavar="FILE", help="Draw bits per byte against memory, as SVG.")] = None,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the results to this file as JSON.")] = None,
) -> None:
    """Show what other predictors make of a text's last tenth, and what the model does.

    zlib, bzip2, xz, PPMd by the memory that it gets, zpaq where it is installed, and n-grams with
    Kneser-Ney smoothing. All know the rest of the text. Compressors go on learning, as the model
    does in the rows of the biases that it learns while reading; cold is what pieces of the text
    cost that each start after the rest of it, as the model's streams start from no state. Some
    minutes for a megabyte.
    """
    for path in (json_file, plot):
        check_folder(path)
    loaded = Model.load(model or default_model_path())
    read = read_text(corpus)
    tell_changes(read.changes, corpus.name)
    split = len(read.text) * 9 // 10
    known, text = read.text[:split], read.text[split:]
    console = Console(stderr=True)
    others = _compared(compared) if compared else []
    with progress_bar(console, "Compressing") as advance:
        others = [*anchors(known, text, pieces=pieces, progress=advance), *others]
    with progress_bar(console, "Reading with the model") as advance:
        once = read_once(loaded, text, rows=_ROWS, progress=advance)
    ours = _ours(loaded, text, once)
    _show([*others, *ours])
    if plot is not None:
        write_file(plot, anchors_svg(others, ours).encode())
    if json_file is not None:
        write_json(json_file, {
            "corpus": corpus.name, "model_sha256": loaded.sha256, "pieces": pieces,
            "command": _command(corpus, compared, pieces),
            "others": [asdict(row) for row in others], "ours": [asdict(row) for row in ours],
            "read_once": once})


def _command(corpus: Path, compared: Path | None, pieces: int) -> str:
    given = f" --compared {compared.name}" if compared else ""
    return f"trilight anchors --corpus {corpus.name}{given} --pieces {pieces}"


def _ours(model: Model, text: str, once: dict[str, dict[str, Any]]) -> list[Anchor]:
    """Rows of the model: alone, and with what it learns."""
    weights = -(-model.config.ternary_weights // 5)
    losses = {protocol: character_losses(model, text, protocol)
              for protocol in ("stateful", "windows")}
    bits = {protocol: summary(model, text, nats, protocol)["bits_per_byte"]
            for protocol, nats in losses.items()}
    length = len(text) // _STREAMS
    whole = losses["stateful"][:_STREAMS * length].reshape(_STREAMS, length)
    streams = np.nanmean(whole, axis=1) / _NATS
    return [Anchor(name="the model", memory_bytes=weights, cold=bits["stateful"],
                   cold_error=stdev(streams.tolist()) / math.sqrt(_STREAMS),
                   windows=bits["windows"]),
            *(Anchor(name="the model", note=_LEARNING[name], memory_bytes=weights + row["bytes"],
                     adaptive=row["bits_per_byte"])
              for name, row in once.items() if name in _LEARNING)]


def _compared(path: Path) -> list[Anchor]:
    """Rows of networks in floating point and of published ones, from results of ``compare``."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [*(Anchor(name="Transformer" if row["kind"] == "transformer"
                         else "MatMul-free, floating point",
                         note=f"{row['weights']:,} weights of {row['format']}",
                         memory_bytes=row["weight_bytes"],
                         cold=_bits(row["nats_per_char_stateful"]),
                         windows=_bits(row["nats_per_char_windows"]))
                  for row in found["models"] if row["format"] == "float32"),
                *(Anchor(name=row["name"].partition(",")[0],
                         note=f"published, windows of {row['window_characters']}",
                         memory_bytes=row["weight_bytes"],
                         windows=_bits(row["nats_per_char_windows"]))
                  for row in found["published"] if row["window_characters"] == 256)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path} holds no results of trilight compare ({error}); make them "
                              "with trilight compare --json FILE") from error


def _bits(nats: float | None) -> float | None:
    return None if nats is None else nats / _NATS


def _show(rows: Sequence[Anchor]) -> None:
    table = Table("predictor", "", "memory, bytes", "learning on", "cold pieces", "", "windows",
                  box=None)
    for row in rows:
        table.add_row(row.name, row.note, f"{row.memory_bytes:,}" if row.memory_bytes else "",
                      _number(row.adaptive), _number(row.cold),
                      f"± {row.cold_error:.3f}" if row.cold_error else "", _number(row.windows),
                      style="bold" if row.name == "the model" else None)
    console = Console(soft_wrap=True)
    console.print(table)
    console.print("bits per byte; ± standard error over the pieces of the text", style="dim")


def _number(bits: float | None) -> str:
    return "" if bits is None else f"{bits:.3f}"
