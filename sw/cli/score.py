"""``trilight score``: how surprising each line of a file is."""

from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.markup import escape

from trilight.hw.support.terminal import Console, visible
from trilight.sw.errors import EvaluationError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.model.text import read_text
from trilight.sw.quality.adaptive import line_bits, read_losses
from trilight.sw.reference.adaptation import Adaptation

from .console import check_folder, progress_bar, tell_changes, write_json

__all__ = ["score_command"]


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
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Write the bits of every line to this file as "
                                       "JSON.")] = None,
) -> None:
    """Show the lines that a model finds most surprising, in bits per byte of the line.

    A line is scored before it is learnt from, so a file is scored as a device would that reads it
    once. Unusual lines of a log stand out, and so does a text of another kind.

    [bold]Example[/]

      trilight score server.log --model log.safetensors --adapt
    """
    check_folder(json_file)
    if rows & rows - 1:
        raise EvaluationError(f"--adapt-rows must be a power of two or 0, not {rows:,}")
    loaded = Model.load(model or default_model_path())
    read = read_text(file)
    tell_changes(read.changes, file.name)
    adaptation = Adaptation(loaded.config.vocab_size, rows=rows) if adapt else None
    with progress_bar(Console(stderr=True), f"Reading {len(read.text):,} characters") as advance:
        nats = read_losses(loaded, read.text, adaptation=adaptation, progress=advance)
    lines: list[dict[str, Any]] = [
        {"line": number, "bits": bits, "bits_per_byte": bits / len((text + "\n").encode()),
         "text": text} for number, (text, bits) in enumerate(line_bits(read.text, nats), 1)]
    console = Console(soft_wrap=True, highlight=False)
    console.print("bits/byte   bits  line", style="dim")
    for line in sorted(lines, key=lambda line: -line["bits_per_byte"])[:maximum]:
        console.print(f"{line['bits_per_byte']:9.2f} {line['bits']:6.0f}  {line['line']}: "
                      f"{escape(visible(line['text']))}")
    mean = sum(line["bits"] for line in lines) / len(read.text.encode())
    console.print(f"\n{len(lines):,} lines, {fmean(line['bits'] for line in lines):.1f} bits a "
                  f"line, {mean:.3f} bits/byte over all"
                  + (", learnt while reading" if adapt else ""), style="dim")
    if json_file is not None:
        write_json(json_file, {"model_sha256": loaded.sha256, "file": file.name,
                               "adapted": adapt, "bits_per_byte": mean, "lines": lines})
