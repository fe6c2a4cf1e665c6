"""``trilight score``: how surprising each line of a file is."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from trilight.hw.support.terminal import Console, visible
from trilight.sw.api import open_board
from trilight.sw.errors import EvaluationError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.model.text import read_text
from trilight.sw.quality.adaptive import line_bits, read_losses
from trilight.sw.reference.adaptation import Adaptation
from trilight.sw.task.anomaly import auc_of, line_surprises, read_scored
from trilight.sw.task.lines import LabelledLine

from .console import check_folder, progress_bar, tell_changes, write_json

__all__ = ["score_command"]

_REFERENCE = "reference"


def score_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Text file, UTF-8.")],
    model: Annotated[Path | None, typer.Option(
        "--model", "-m", metavar="FILE", help="Model file. Default: the bundled one.")] = None,
    adapt: Annotated[bool, typer.Option(
        "--adapt", help="Let the model learn from the lines as it reads them, so that what is "
                        "usual in this file becomes cheap.")] = False,
    rows: Annotated[int, typer.Option(
        "--adapt-rows", min=0, metavar="ROWS",
        help="Rows that --adapt keeps for pairs of characters, a power of two or 0.")] = 256,
    maximum: Annotated[int, typer.Option(
        "--top", min=1, metavar="N", help="Lines to show.")] = 10,
    labelled: Annotated[bool, typer.Option(
        "--labelled", help="Each line is a text, a tab and normal or anomaly, which is not read: "
                           "also show how well the score tells them, as AUC.")] = False,
    first: Annotated[int | None, typer.Option(
        "--first", min=2, metavar="N", help="Read the first N lines only.")] = None,
    target: Annotated[str, typer.Option(
        "--target", help="What runs the model: reference, which knows bits; or rtl, netlist, "
                         "bitstream, serial:PORT. These say only which character is likeliest, so "
                         "what is counted is the misses of a line: characters that are "
                         "others.")] = _REFERENCE,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Write the bits of every line to this file as "
                                       "JSON.")] = None,
) -> None:
    """Show the lines that a model finds most surprising, in bits per byte of the line.

    A line is scored before it is learnt from, so a file is scored as a device would that reads it
    once. Unusual lines of a log stand out, and so does a text of another kind.

    [bold]Example[/]

      trilight score server.log --model log.safetensors --adapt

      trilight score logs/test.tsv --labelled --first 10 --model log.safetensors --target netlist
    """
    check_folder(json_file)
    if rows & rows - 1:
        raise EvaluationError(f"--adapt-rows must be a power of two or 0, not {rows:,}")
    if adapt and target != _REFERENCE:
        raise EvaluationError("--adapt goes with --target reference: a board tells no bits")
    loaded = Model.load(model or default_model_path())
    read = read_text(file)
    tell_changes(read.changes, file.name)
    judged = read_scored(file)[:first] if labelled else ()
    text = ("".join(line.text + "\n" for line in judged) if labelled else
            "".join(read.text.splitlines(keepends=True)[:first]))
    results: dict[str, Any] = {"model_sha256": loaded.sha256, "file": file.name, "adapted": adapt,
                               "target": target}
    if target == _REFERENCE:
        adaptation = Adaptation(loaded.config.vocab_size, rows=rows) if adapt else None
        results |= _by_bits(loaded, text, adaptation)
    else:
        results |= _by_misses(loaded, text, target)
    if labelled:
        results["auc"] = _told(results["lines"], judged)
    _show(results, maximum)
    if json_file is not None:
        write_json(json_file, results)


def _by_bits(model: Model, text: str, adaptation: Adaptation | None) -> dict[str, Any]:
    """Return the bits of each line by the reference."""
    with progress_bar(Console(stderr=True), f"Reading {len(text):,} characters") as advance:
        nats = read_losses(model, text, adaptation=adaptation, progress=advance)
    scored = list(line_bits(text, nats))
    largest = line_surprises([line for line, _ in scored], nats)
    return {"bits_per_byte": sum(bits for _, bits in scored) / len(text.encode()), "lines": [
        {"line": number, "bits": bits, "bits_per_byte": bits / len((line + "\n").encode()),
         "most_bits": float(most), "text": line}
        for number, ((line, bits), most) in enumerate(zip(scored, largest, strict=True), 1)]}


def _by_misses(model: Model, text: str, target: str) -> dict[str, Any]:
    """Return the misses of each line by what a board holds likeliest."""
    console = Console(stderr=True)
    tokens = [model.vocab[token] for token in model.encode(text)]
    missed = [False]
    with open_board(target, progress=lambda what: console.print(escape(what), style="dim")
                    ) as board:
        with progress_bar(console, f"Loading the model into {target}") as advance:
            board.load(model, progress=advance)
        with progress_bar(console, f"Reading on {target}") as advance:
            for said, came in zip(board.likeliest(text), tokens[1:], strict=True):
                missed.append(said != came)
                advance(len(missed), len(tokens))
        clock = board.identity.clock_hz
    lines, begin = [], 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        count = len(model.encode(line))
        lines.append({"line": number, "misses": sum(missed[begin:begin + count]),
                      "text": line.rstrip("\n")})
        begin += count
    return {"misses": sum(missed), "characters": len(missed), "clock_hz": clock, "lines": lines}


def _told(lines: Sequence[dict[str, Any]], judged: Sequence[LabelledLine]) -> dict[str, Any]:
    """Return the AUC of each score that the lines have, with its standard error."""
    if len({line.label for line in judged}) < 2:
        raise EvaluationError("an AUC needs lines of both labels; read more of them")
    names = [name for name in ("most_bits", "bits", "bits_per_byte", "misses") if name in lines[0]]
    found = {name: auc_of(np.array([line[name] for line in lines], float), judged)
             for name in names}
    return {name: {"auc": area, "standard_error": error} for name, (area, error) in found.items()}


def _show(results: dict[str, Any], maximum: int) -> None:
    lines: list[dict[str, Any]] = results["lines"]
    console = Console(soft_wrap=True, highlight=False)
    if "bits_per_byte" in results:
        console.print("bits/byte   bits  line", style="dim")
        shown = [(line["bits_per_byte"], f"{line['bits_per_byte']:9.2f} {line['bits']:6.0f}", line)
                 for line in lines]
        total = (f"{fmean(line['bits'] for line in lines):.1f} bits a line, "
                 f"{results['bits_per_byte']:.3f} bits/byte over all"
                 + (", learnt while reading" if results["adapted"] else ""))
    else:
        console.print("misses  line", style="dim")
        shown = [(line["misses"], f"{line['misses']:6}", line) for line in lines]
        total = (f"{results['misses']:,} of {results['characters']:,} characters are not what the "
                 "model holds likeliest")
    for _, figures, line in sorted(shown, key=lambda one: -one[0])[:maximum]:
        console.print(f"{figures}  {line['line']}: {escape(visible(line['text']))}")
    console.print(f"\n{len(lines):,} lines, {total}", style="dim")
    names = {"most_bits": "bits of the most surprising character", "bits": "bits of a line",
             "bits_per_byte": "bits per byte", "misses": "misses"}
    for name, found in results.get("auc", {}).items():
        console.print(f"AUC {found['auc']:.3f} +- {found['standard_error']:.3f} by {names[name]}")
