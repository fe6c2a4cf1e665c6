"""``trilight import``: a checkpoint's folder becomes a model file of integers."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trilight.hw.support.terminal import Console, visible
from trilight.sw.chain.host import Chain, ChainRunner
from trilight.sw.checkpoint.acceptance import compare, read_reference, run_sequences
from trilight.sw.checkpoint.chip import ImportedChipStream
from trilight.sw.checkpoint.importer import import_checkpoint
from trilight.sw.checkpoint.many import ImportedTexts
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.reader import Checkpoint
from trilight.sw.checkpoint.run import Stream, open_runner, value_ranges
from trilight.sw.checkpoint.text import generate_pieces, text_quality
from trilight.sw.checkpoint.tokens import describe_tokenizer, licence_of, read_tokenizer
from trilight.sw.errors import CheckpointError, EvaluationError, TargetError
from trilight.sw.host.targets import IMPORTED_GROUP, open_transport
from trilight.sw.workers import open_executor

from .console import check_folder, progress_bar, write_json

__all__ = ["Boards", "Means", "evaluate_against", "evaluate_texts", "generate_text",
           "import_command", "imported_results", "print_imported"]


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
    """Return what an imported model holds, ready for JSON."""
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


@dataclass(frozen=True)
class Boards:
    """Boards that share a model: how many, what runs each, its silence, failures in a row."""

    count: int = 1
    target: str = "reference"
    timeout_s: float = 20.0
    restarts: int = 2

    @contextmanager
    def open(self, path: Path, model: ImportedModel,
             console: Console) -> Iterator[Chain | ImportedChipStream | None]:
        """Boards that share the model, a chip with all of it, or nothing: this process."""
        def tell(text: str) -> None:
            console.print(escape(text), style="dim")

        if self.count > 1:
            with Chain(path, self.count, target=self.target, timeout_s=self.timeout_s,
                       restarts=self.restarts, progress=tell) as chain:
                yield chain
        elif self.target == "reference":
            yield None
        else:
            with closing(open_transport(self.target, tell, group=IMPORTED_GROUP)) as transport:
                with progress_bar(console, f"Loading the model into {self.target}") as advance:
                    chip = ImportedChipStream(transport, model, advance)
                yield chip

    def results(self, runs: Chain | ImportedChipStream | None) -> dict[str, Any]:
        """Return what the boards or the chip did, ready for JSON."""
        if runs is None:
            return {}
        if isinstance(runs, Chain):
            return {"chain": runs.results()}
        return {"chip": {"target": self.target, **vars(runs.counts)}}


def _stream(runs: Chain | ImportedChipStream | None, model: ImportedModel) -> Stream:
    """One stream of tokens there."""
    if isinstance(runs, Chain):
        return ChainRunner(runs)
    return open_runner(model) if runs is None else runs


@dataclass(frozen=True)
class Means:
    """Means to evaluate a model: this process, boards that share it, or workers."""

    boards: Boards = Boards()
    workers: int = 1
    cluster: str | None = None

    def __post_init__(self) -> None:
        if self.divided and self.boards != Boards():
            raise EvaluationError("--boards and --target are of one text after the other, "
                                  "--workers and --cluster divide texts by the reference; give "
                                  "one of them")

    @property
    def divided(self) -> bool:
        return self.workers > 1 or self.cluster is not None


def evaluate_against(model_path: Path, reference: Path, means: Means,
                     console: Console) -> dict[str, Any]:
    """Compare an imported model with logits in a file, show it, and return the results.

    Raises
    ------
    ModelFileError, EvaluationError, ChainError, ClusterError
        One of the files cannot be used, or a board or worker fails.
    """
    model = ImportedModel.load(model_path)
    sequences = read_reference(reference, model.shape.vocabulary)
    tokens = [sequence.tokens.tolist() for sequence in sequences]
    shared: dict[str, Any] = {}
    with progress_bar(console, f"Running {sum(map(len, tokens)):,} tokens") as advance:
        if means.divided:
            with open_executor(means.cluster, means.workers) as executor:
                texts = ImportedTexts(executor, model_path, model.sha256)
                results = compare(model, sequences, texts.run(tokens, advance))
        else:
            with means.boards.open(model_path, model, console) as runs:
                stream = _stream(runs, model)
                results = compare(model, sequences, run_sequences(stream, tokens, advance))
                shared = means.boards.results(runs)
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
    return {"reference": reference.name, **results, **shared}


def evaluate_texts(model_path: Path, texts: Sequence[tuple[str, str]], max_tokens: int | None,
                   means: Means, console: Console) -> dict[str, Any]:
    """Measure how well an imported model predicts texts, show it, and return the results.

    Parameters
    ----------
    texts
        Name and content of each; several are each a stream of their own.
    max_tokens
        Of each text.
    """
    model = ImportedModel.load(model_path)
    shared: dict[str, Any] = {}
    with progress_bar(console, "Evaluating the model") as advance:
        if means.divided or len(texts) > 1:
            if means.boards != Boards():
                raise EvaluationError("--boards and --target are of one text; give a file in "
                                      "place of the folder")
            with open_executor(means.cluster, means.workers) as executor:
                results = ImportedTexts(executor, model_path, model.sha256).score(
                    texts, max_tokens, advance)
        else:
            with means.boards.open(model_path, model, console) as runs:
                results = text_quality(model, texts[0][1], max_tokens=max_tokens,
                                       stream=_stream(runs, model), progress=advance)
                shared = means.boards.results(runs)
    if not console.quiet:
        _print_quality(results)
    return {**results, **shared}


def _print_quality(results: Mapping[str, Any]) -> None:
    table = Table(box=None)
    for title in ("", "tokens scored", "nats per token", "bits per byte", "saturations"):
        table.add_column(title, justify="right" if title else "left")
    for row in [*results.get("texts", ()), {**results, "name": "all"}]:
        table.add_row(escape(visible(row["name"])), f"{row['tokens_scored']:,}",
                      f"{row['nats_per_token']:.4f}", f"{row['bits_per_byte']:.4f}",
                      f"{row['saturations']:,}")
    Console().print(table)


def generate_text(model_path: Path, prompts: Sequence[str], *, tokens: int, temperature: float,
                  seed: int, boards: Boards, console: Console) -> dict[str, Any]:
    """Continue prompts with an imported model; return text and speed.

    The first is shown as it arrives, others when it is done.

    Raises
    ------
    TargetError
        The target is none of an imported model, or there is more than a prompt for it.
    """
    model = ImportedModel.load(model_path)
    if boards.target != "reference" and boards.count == 1 and len(prompts) > 1:
        raise TargetError(f"{boards.target} is one chip with one sequence, and {len(prompts)} "
                          "prompts are asked for; give one, or --boards")
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that lacks a character shows another in its place.
        sys.stdout.reconfigure(errors="replace")
    parts: dict[int, list[str]] = {number: [] for number in range(len(prompts))}
    with boards.open(model_path, model, console) as runs:
        pieces = generate_pieces(model, prompts, tokens=tokens, temperature=temperature, seed=seed,
                                 feed=None if runs is None else runs.feed)
        sys.stdout.write(visible(prompts[0]))
        began = time.perf_counter()
        for number, piece in pieces:
            parts[number].append(piece)
            if number == 0:
                sys.stdout.write(visible(piece))
                sys.stdout.flush()
        seconds = time.perf_counter() - began
        shared = boards.results(runs)
        counts = runs.counts if isinstance(runs, ImportedChipStream) else None
    boundary = "this computer's integer reference, prompt included"
    if boards.target != "reference":
        boundary = f"{boards.target}, prompt included; embedding and sampling on the host"
    sys.stdout.write("\n")
    for number, prompt in list(enumerate(prompts))[1:]:
        sys.stdout.write(visible(prompt + "".join(parts[number])) + "\n")
    texts = [{"prompt": prompt, "text": "".join(parts[number]), "tokens": len(parts[number])}
             for number, prompt in enumerate(prompts)]
    generated = sum(map(len, parts.values()))
    results = {"texts": texts, "tokens": generated, "seconds": seconds,
               "tokens_per_second": generated / seconds if seconds else 0.0,
               "boundary": boundary, "model_sha256": model.sha256, **shared}
    if counts is not None:
        console.print(f"{counts.cycles:,} cycles of the chip for {counts.tokens} tokens, prompt "
                      "included; embedding and sampling on the host", style="dim")
    console.print(f"{generated} tokens in {seconds:.2f} s on this computer, "
                  f"{results['tokens_per_second']:.1f} tokens/s", style="dim")
    return results
