"""``trilight import``: a checkpoint's folder becomes a model file of integers."""

import sys
import time
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trilight.hw.support.terminal import Console, visible
from trilight.sw.checkpoint.acceptance import compare, read_reference
from trilight.sw.checkpoint.model import ImportedModel, import_checkpoint
from trilight.sw.checkpoint.reader import Checkpoint
from trilight.sw.checkpoint.run import value_ranges
from trilight.sw.checkpoint.text import generate_pieces, text_quality
from trilight.sw.checkpoint.tokens import describe_tokenizer, licence_of, read_tokenizer
from trilight.sw.errors import CheckpointError

from .console import check_folder, progress_bar, write_json

__all__ = ["evaluate_against", "evaluate_text", "generate_text", "import_command",
           "imported_results", "print_imported"]


def import_command(
    folder: Annotated[Path, typer.Argument(
        metavar="FOLDER", help="Checkpoint of the MatMul-free language model (HGRNBit), as "
                               "published: config.json and safetensors, in one file or shards, "
                               "or one GGUF file; and its tokenizer.")],
    out: Annotated[Path, typer.Option(
        "--out", "-o", metavar="FILE", help="Model file to write.")],
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write what was found to this file as JSON.")] = None,
    quiet: Annotated[bool, typer.Option(
        "--quiet", "-q", help="Neither progress nor report.")] = False,
) -> None:
    """Make integers of a published MatMul-free checkpoint, to run them bit for bit.

    Weights become ternary as the published code makes them; packed ones (TQ1_0, TQ2_0, Q2_0, I2_S
    of x86, and both forms of transformers) are read to exactly the codes they hold. Nothing is
    downloaded: get the folder first, for example ridger/MMfreeLM-370M. Then

      trilight generate --model FILE --prompt "..."

      trilight evaluate FILE --against REFERENCE.npz

    docs/imported-formats.md says what every integer means.
    """
    check_folder(out)
    check_folder(json_file)
    if out.is_dir():
        raise CheckpointError(f"{out} is a folder; give the name of a file to write")
    console = Console(stderr=True, quiet=quiet)
    checkpoint = Checkpoint(folder)
    tokenizer = read_tokenizer(folder)
    with progress_bar(console, f"Importing {folder.name}, "
                               f"{checkpoint.shape.ternary_weights:,} weights") as advance:
        model = import_checkpoint(checkpoint, out, tokenizer=tokenizer,
                                  licence=licence_of(folder), progress=advance)
    with progress_bar(console, "Measuring ranges") as advance:
        ranges = value_ranges(model, progress=advance)
    if not quiet:
        print_imported(model, out, Console())
        _print_ranges(ranges, Console())
    if json_file is not None:
        write_json(json_file, {**imported_results(model, out), "ranges": ranges})


def imported_results(model: ImportedModel, path: Path) -> dict[str, Any]:
    """What an imported model holds, ready for JSON."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": model.sha256,
            "ternary_weights": model.shape.ternary_weights,
            "tokenizer": describe_tokenizer(model.tokenizer), **model.about}


def _print_ranges(ranges: dict[str, Any], console: Console) -> None:
    parts = [f"{name} {found['largest']:.4g} of {found['range']:g}"
             for name, found in ranges["values"].items()]
    console.print(f"largest magnitudes over {ranges['tokens']} random tokens: "
                  f"{', '.join(parts)}; {ranges['saturations']} saturations", highlight=False,
                  soft_wrap=True)


def print_imported(model: ImportedModel, path: Path, console: Console) -> None:
    """Show what an imported model holds: sizes, densities, ranges, licence, tokenizer."""
    shape, about = model.shape, model.about
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "file": f"{path}, {path.stat().st_size:,} bytes",
        "sha256": model.sha256,
        "shape": f"{shape.layers} layers, {shape.hidden} wide, {shape.inner} in the GLU, "
                 f"{shape.vocabulary:,} tokens",
        "ternary weights": f"{shape.ternary_weights:,}, head included",
        "read from": f"{about['container']}, config.json says {about['dtype']}",
        "lower bounds": "none" if model.lower_bounds is None else "learned, one for each channel",
        "head": "tied to the embedding" if about["tied"] else "its own",
        "embedding": f"largest magnitude {about['largest_embedding']:.4g}; residual stream with "
                     f"{model.residual_frac} fraction bits",
        "licence": about["licence"] or "not said in README.md or config.json",
        "tokenizer": describe_tokenizer(model.tokenizer),
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    console.print(table)
    ranges = Table(box=None)
    for title in ("matrix", "weights not 0", "scale", "largest gain"):
        ranges.add_column(title, justify="left" if title == "matrix" else "right")
    for name, found in about["summary"].items():
        ranges.add_row(name, _span(found["density"], ".1%"), _span(found["scale"], ".4g"),
                       _span(found["largest_gain"], ".3g"))
    console.print(ranges)


def _span(values: list[float], form: str) -> str:
    low, high = (format(value, form) for value in values)
    return low if low == high else f"{low} to {high}"


def evaluate_against(model_path: Path, reference: Path, console: Console) -> dict[str, Any]:
    """Compare an imported model with logits in a file, show it, and return the results.

    Raises
    ------
    ModelFileError, EvaluationError
        One of the files cannot be used.
    """
    model = ImportedModel.load(model_path)
    sequences = read_reference(reference, model.shape.vocabulary)
    with progress_bar(console, f"Running {sum(len(s.tokens) for s in sequences):,} tokens"
                      ) as advance:
        results = compare(model, sequences, progress=advance)
    table = Table(box=None)
    for title in ("sequence", "positions", "RMS / std", "top-1", "largest difference",
                  "saturations"):
        table.add_column(title, justify="left" if title == "sequence" else "right")
    for part in [*results["sequences"], {**results, "sequence": "all"}]:
        table.add_row(str(part["sequence"]), str(part["positions"]), f"{part['rms_over_std']:.4f}",
                      f"{part['top1']:.3f}", f"{part['largest_difference']:.4f}",
                      str(part["saturations"]))
    if not console.quiet:
        Console().print(table)
    return {"reference": reference.name, **results}


def evaluate_text(model_path: Path, text: str, max_tokens: int | None,
                  console: Console) -> dict[str, Any]:
    """Measure how well an imported model predicts a text, show it, and return the results."""
    model = ImportedModel.load(model_path)
    with progress_bar(console, "Evaluating the model") as advance:
        results = text_quality(model, text, max_tokens=max_tokens, progress=advance)
    if not console.quiet:
        table = Table(box=None, show_header=False)
        table.add_row("tokens scored", f"{results['tokens_scored']:,}")
        table.add_row("nats per token", f"{results['nats_per_token']:.4f}")
        table.add_row("bits per byte", f"{results['bits_per_byte']:.4f}")
        table.add_row("saturations", f"{results['saturations']:,}")
        Console().print(table)
    return dict(results)


def generate_text(model_path: Path, prompts: Sequence[str], *, tokens: int, temperature: float,
                  seed: int, console: Console) -> dict[str, Any]:
    """Continue prompts with an imported model, shown as it arrives; return text and speed."""
    model = ImportedModel.load(model_path)
    texts, seconds = [], 0.0
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that lacks a character shows another in its place.
        sys.stdout.reconfigure(errors="replace")
    for number, prompt in enumerate(prompts):
        pieces = generate_pieces(model, prompt, tokens=tokens, temperature=temperature,
                                 seed=seed + number)
        parts = []
        sys.stdout.write(visible(prompt))
        began = time.perf_counter()
        for piece in pieces:
            parts.append(piece)
            sys.stdout.write(visible(piece))
            sys.stdout.flush()
        seconds += time.perf_counter() - began
        sys.stdout.write("\n")
        texts.append({"prompt": prompt, "text": "".join(parts), "tokens": len(parts)})
    generated = sum(int(str(text["tokens"])) for text in texts)
    results = {"texts": texts, "tokens": generated, "seconds": seconds,
               "tokens_per_second": generated / seconds if seconds else 0.0,
               "boundary": "this computer's integer reference, prompt included",
               "model_sha256": model.sha256}
    console.print(f"{generated} tokens in {seconds:.2f} s on this computer, "
                  f"{results['tokens_per_second']:.1f} tokens/s", style="dim")
    return results
