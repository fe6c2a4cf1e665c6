"""The command line, ``trilight``.

Commands of other packages join through the entry points group ``trilight.commands``: an entry
point is a function, which becomes a command, or a ``typer.Typer``, which becomes a group. One that
misses a package stays in the list and says what it needs.
"""

import enum
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, NoReturn

import numpy as np
import typer
from numpy.typing import NDArray
from rich.markup import escape

from trilight.hw.support.boards import DEFAULT_BOARD, board_device, board_names
from trilight.hw.support.extras import missing, pip_install
from trilight.hw.support.terminal import Console
from trilight.sw.api import open_board, report
from trilight.sw.checkpoint.model import is_imported
from trilight.sw.errors import EvaluationError, MissingPackageError, TargetError, TrilightError
from trilight.sw.host.generation import MAX_TOKENS, check_request
from trilight.sw.model.bundled import bundled_model, default_model_path
from trilight.sw.model.image import compile_image, read_image
from trilight.sw.model.model import Model
from trilight.sw.model.text import prompt_for, read_text
from trilight.sw.quality.adaptive import adaptive_summary, read_losses
from trilight.sw.quality.agreement import check_agreement
from trilight.sw.quality.buckets import frequency_buckets, print_quality
from trilight.sw.quality.evaluate import PROTOCOLS, PredictorFactory, character_losses, summary
from trilight.sw.reference.adaptation import Adaptation
from trilight.sw.report.display import print_report
from trilight.sw.train.renamed import RENAMED_OPTIONS

from .console import check_folder, progress_bar, tell_changes, write_file, write_json
from .display import TextDisplay
from .imported import (
    Boards,
    Means,
    evaluate_against,
    evaluate_texts,
    generate_text,
)
from .info import info
from .net import FAILED, INTERRUPTED, run

__all__ = ["COMMANDS", "command", "main"]

COMMANDS = "trilight.commands"
"""Entry points group of further commands."""

_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""What the command line raises of arguments that it does not take; Typer has no name for it."""

EPILOG = """
[bold]First steps[/bold]

  trilight generate --prompt "ROMEO:" --tokens 200 --seed 7

  trilight generate --prompt "ROMEO:" --prompt "JULIET:"     two sequences at once

  trilight generate --prompt "ROMEO:" --target netlist       the chip, simulated

  trilight generate --prompt "ROMEO:" --target serial:PORT   a board

  trilight evaluate --corpus FILE                            quality of the model

  trilight import FOLDER -o FILE                             a published checkpoint

  trilight plan --model 370M --board ulx3s-85f --boards 12   what boards would do with it

Each command explains itself: trilight generate --help
"""


MOST_WAVES = 32
WAVES_MB = 27
"""Tokens whose signals are drawn at most, and about how large each makes the file."""


class Split(enum.StrEnum):
    """Part of a corpus."""

    VALIDATION = "validation"
    ALL = "all"


ModelOption = Annotated[Path | None, typer.Option(
    "--model", "-m", metavar="FILE", help="Model file. Default: the bundled one.")]
JsonOption = Annotated[Path | None, typer.Option(
    "--json", metavar="FILE", help="Also write the results to this file as JSON.")]
BoardsOption = Annotated[int, typer.Option(
    "--boards", min=1, help="Of an imported model: divide its layers over so many virtual boards, "
                            "each a process, which pass activations on in frames. The same tokens "
                            "as one board; several prompts keep all boards busy.")]
TimeoutOption = Annotated[float, typer.Option(
    "--timeout", metavar="SECONDS", help="Of --boards: silence after which one counts as dead.")]
RestartsOption = Annotated[int, typer.Option(
    "--restarts", min=0, help="Of --boards: failures in a row that are recovered from, by a "
                              "restart and the sequences fed again. 0 makes the first an error.")]
QuietOption = Annotated[bool, typer.Option(
    "--quiet", "-q", help="Do not show the results; what takes minutes says so nevertheless.")]


def generate(
    prompt: Annotated[list[str], typer.Option(
        "--prompt", "-p", help="Text to go on from, at least one character. Given more than once, "
                               "two sequences are worked on at a time.")],
    tokens: Annotated[int, typer.Option(
        "--tokens", "-n", help=f"Characters to generate, at most {MAX_TOKENS:,}.")] = 200,
    temperature: Annotated[float, typer.Option(
        "--temperature", "-t", help="0 takes the likeliest character always, 1 follows the "
                                    "model's probabilities.")] = 0.8,
    seed: Annotated[int, typer.Option(
        "--seed", "-s", help="The same seed gives the same text on every target. Of several "
                             "prompts the second has the next seed, and so on.")] = 0,
    target: Annotated[str, typer.Option(
        "--target", help="What runs the model: reference (integers in NumPy), rtl, netlist or "
                         "bitstream (the chip, simulated before and after synthesis and as a "
                         "bitstream configures it; bitstream:FILE for your own), serial:PORT "
                         "(a board).")] = "reference",
    boot: Annotated[bool, typer.Option(
        "--boot", help="Of a simulated chip: write the weights into its memory, as a boot from "
                       "flash does, rather than send them through its pins. Either way it is "
                       "asked, through its pins, for their CRC.")] = False,
    from_source: Annotated[bool, typer.Option(
        "--from-source", help="Synthesise and compile the chip of --target netlist, although the "
                              "released one came along compiled.")] = False,
    waves: Annotated[Path | None, typer.Option(
        "--waves", metavar="FILE", help="Of a simulated chip: draw all its signals into this file "
                                        "while it runs, as VCD, for GTKWave or Surfer; at most "
                                        f"{MOST_WAVES} tokens, prompt included.")] = None,
    model: ModelOption = None,
    boards: BoardsOption = 1,
    timeout: TimeoutOption = 20.0,
    restarts: RestartsOption = 2,
    whole: Annotated[bool, typer.Option(
        "--report", help="Show all of the report: where each figure comes from, what it leaves "
                         "out, where the power goes.")] = False,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Generate text, shown as it arrives, then report speed, energy and quality."""
    for path in (json_file, waves):
        check_folder(path)
    console = Console(stderr=True)
    if model is not None and is_imported(model):
        spoken = generate_text(model, prompt, tokens=tokens, temperature=temperature, seed=seed,
                               boards=Boards(boards, target, timeout, restarts), console=console)
        if json_file is not None:
            write_json(json_file, spoken)
        return
    _refuse_boards(boards)
    loaded = Model.load(model or _model_of(target))
    for number, text in enumerate(prompt):
        if not loaded.tokenizer:  # which takes any text as it is
            prompt[number], changes = prompt_for(loaded.vocab, text)
            tell_changes(changes, "the prompt")
    if waves is not None:
        _check_waves(waves, prompt, tokens)
    seeds = range(seed, seed + len(prompt))
    for text, own_seed in zip(prompt, seeds, strict=True):
        check_request(loaded, text, tokens=tokens, temperature=temperature, seed=own_seed)
    with open_board(target, progress=lambda text: console.print(escape(text), style="dim"),
                    from_source=from_source, boot=boot, waves=waves) as board:
        with progress_bar(console, f"Loading the model into {target}") as advance:
            board.load(loaded, progress=advance)
        if boot:
            console.print("weights written into the memory as by a boot from flash, all else sent "
                          "through the pins; asked there, the chip gives the right CRC of them",
                          style="dim")
        stream = board.generate_many(prompt, tokens=tokens, temperature=temperature, seeds=seeds)
        with closing(stream), TextDisplay(prompt, live=sys.stdout.isatty() and not quiet) as show:
            for token in stream:
                show(token)
        results = report(board)
    if json_file is not None:
        write_json(json_file, results)
    if not quiet:
        console.print()
        print_report(results, console, whole=whole)


def evaluate(
    file: Annotated[Path | None, typer.Argument(
        metavar="[MODEL]", help="Model file, as --model gives it too.")] = None,
    corpus: Annotated[Path | None, typer.Option(
        "--corpus", "-c", metavar="FILE", help="Text file, UTF-8; of an imported model also a "
                                               "folder of .txt files.")] = None,
    against: Annotated[Path | None, typer.Option(
        "--against", metavar="FILE", help="In place of a corpus, for a model that trilight import "
                                          "wrote: compare its logits with those in an .npz file "
                                          "of ids_0, logits_0, ids_1, ...")] = None,
    model: ModelOption = None,
    split: Annotated[Split, typer.Option(
        "--split", help="validation: the last 10 % of the text, which training does not see; "
                        "all: the whole text.")] = Split.VALIDATION,
    float_file: Annotated[Path | None, typer.Option(
        "--float", metavar="FILE", help="Network of trilight train --network float, measured "
                                        "beside the model; takes PyTorch.")] = None,
    target: Annotated[str | None, typer.Option(
        "--target", help="Also check on a sample of the text that this target, such as rtl or "
                         "netlist, draws the same tokens as the reference. Of an imported "
                         "model: what runs it, reference, rtl or serial:PORT.")] = None,
    sample: Annotated[int, typer.Option(
        "--sample", min=1, help="Tokens of that check.")] = 64,
    adapt: Annotated[bool, typer.Option(
        "--adapt", help="Also read the text once, as one sequence, and let the model learn from it "
                        "while it reads: figures of their own, beside those of the model "
                        "alone.")] = False,
    adapt_rows: Annotated[int, typer.Option(
        "--adapt-rows", min=0, metavar="ROWS",
        help="Rows that --adapt keeps for pairs of characters, a power of two; 0 keeps those of "
             "single characters alone.")] = 256,
    max_tokens: Annotated[int | None, typer.Option(
        "--max-tokens", min=1, help="Of an imported model: score no more tokens than "
                                    "this.")] = None,
    boards: BoardsOption = 1,
    workers: Annotated[int, typer.Option(
        "--workers", metavar="N", min=1,
        help="Of an imported model: divide the texts of a folder, or the sequences of --against, "
             "over so many processes of this computer.")] = 1,
    cluster: Annotated[str | None, typer.Option(
        "--cluster", metavar="ADDRESS", help="Divide them over the workers of a Dask scheduler "
                                             "with certificates, such as tls://host:8786, where "
                                             "the model's file lies at the same place.")] = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure how well a model predicts a text, in nats per character and bits per byte.

    The protocol stateful carries the model's memory along 64 streams; windows resets it every 256
    characters. The figures are of the integer reference, and so of every target that draws the
    same tokens. A second table shows who pays for what the model lacks: frequent, middle or rare
    characters and words.

    A model that trilight import wrote is measured in nats per token and bits per byte, or with
    --against beside logits that something else has computed.
    """
    check_folder(json_file)
    model = _one_model(file, model)
    if against is not None or (model is not None and is_imported(model)):
        results = _evaluate_imported(model, corpus, against, split, max_tokens,
                                     Means(Boards(boards, target or "reference"), workers, cluster),
                                     Console(stderr=True, quiet=quiet))
        if json_file is not None:
            write_json(json_file, results)
        return
    _refuse_boards(boards)
    if corpus is None:
        raise EvaluationError("there is nothing to evaluate on; give --corpus FILE")
    read = read_text(corpus)
    tell_changes(read.changes, corpus.name)
    text, known = _part(read.text, split)
    loaded = Model.load(model or default_model_path())
    predictors: dict[str, PredictorFactory | None] = {"model": None}
    if float_file is not None:
        predictors["float"] = _float_predictor(float_file, loaded)
    console = Console(stderr=True)
    losses: dict[str, dict[str, NDArray[np.float64]]] = {}
    for protocol in PROTOCOLS:
        for name, predictor in predictors.items():
            with progress_bar(console, f"Evaluating the {name}, {len(text):,} characters, "
                                       f"{protocol}") as advance:
                losses.setdefault(protocol, {})[name] = character_losses(
                    loaded, text, protocol, predictor=predictor, progress=advance)
    protocols = {protocol: summary(loaded, text, nats["model"], protocol)
                 for protocol, nats in losses.items()}
    stateful = protocols["stateful"]
    results = {
        "corpus": corpus.name, "changes": list(read.changes), "split": split.value,
        **{key: stateful[key] for key in ("protocol", "nats_per_char", "bits_per_char",
                                          "bits_per_byte", "model_sha256", "text_sha256")},
        "protocols": protocols,
        "frequency": frequency_buckets(text, losses["stateful"], known)}
    if float_file is not None:
        results["float_nats_per_char"] = {
            protocol: float(np.nanmean(nats["float"])) for protocol, nats in losses.items()}
    if adapt:
        results["adaptive"] = _read_once(loaded, text, adapt_rows, console)
    if target is not None:
        with open_board(target, progress=lambda message: console.print(
                escape(message), style="dim")) as board:
            with progress_bar(console, f"Loading the model into {target}") as advance:
                board.load(loaded, progress=advance)
            with progress_bar(console, f"Comparing {target} with the reference") as advance:
                results["agreement"] = check_agreement(board, loaded, text, sample,
                                                       progress=advance)
    if not quiet:
        print_quality(results, Console())
    if json_file is not None:
        write_json(json_file, results)


def image(
    model: Annotated[Path, typer.Argument(
        metavar="MODEL", help="Model file, or an image of an earlier version.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Image to write.")],
    board: Annotated[str, typer.Option(
        "--board", metavar="NAME", help="Board whose chip it is for.")] = DEFAULT_BOARD,
) -> None:
    """Compile a model file to the image that a device is loaded with.

    An image of an earlier version is converted to one of this version, without its model.
    """
    check_folder(out)
    made = read_image(model) or compile_image(Model.load(model), board_device(board))
    data = made.to_bytes()
    write_file(out, data)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if made.converted:
        console.print(f"{model} is an image of an earlier version, and has been converted.")
    console.print(f"{len(data):,} bytes written to {out}")


OWN = (generate, evaluate, info, image)

GROUPS = {
    "To run": ("generate", "classify", "score", "chat", "demo", "board", "selftest",
               "doctor"),
    "Models": ("info", "image", "import", "export", "plan", "evaluate"),
    "To train": ("train", "compare", "anchors"),
    "To build": ("boards", "build", "flash", "explore"),
    "To measure": ("bench", "performance", "power", "meter", "calibrate", "field", "impact",
                   "simulation-speed", "training-speed"),
    "To develop": ("guard", "release-check", "soak", "formal", "faults", "mutation",
                   "verify-layer", "verify-token", "verify-shapes"),
}
"""Commands as ``trilight --help`` shows them; those of other packages come last."""

OTHERS = "Of other packages"

RENAMED = {"train": RENAMED_OPTIONS,
           **{name: {"--texts": "--sequences"} for name in ("plan", "power")}}
"""Options of earlier releases by command, and what they are called now."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 after success, 2 after an error, 70 after a fault of Trilight's own, 130 after Ctrl-C.
    """
    return run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> object:
    """Run a command; return its exit status, if it has one, or raise what went wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _refuse_renamed(arguments)
        return typer.main.get_command(_build(arguments))(
            args=list(arguments), prog_name="trilight", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except _USAGE_ERROR as error:
        context, text = getattr(error, "ctx", None), error.format_message()  # type: ignore[attr-defined]  # has one
        # Without a text, help has been shown instead.
        if text:
            console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
            if context is not None:
                console.print(context.get_usage())
                console.print(f"Try '{context.command_path} --help'.", style="dim")
            console.print("Error:", style="bold red", end=" ")
            console.print(text)
        return FAILED


def _refuse_renamed(arguments: Sequence[str]) -> None:
    """Say of an option of an earlier release what it is called now."""
    renamed = RENAMED.get(arguments[0], {}) if arguments else {}
    for argument in arguments[1:]:
        option = argument.partition("=")[0]
        if option in renamed:
            raise TrilightError(f"{option} is now called {renamed[option]}; "
                                f"trilight {arguments[0]} --help shows every option")


def _show_version(asked: bool) -> None:
    if asked:
        from .version import version_text

        Console(soft_wrap=True, highlight=False, markup=False).print(version_text())
        raise typer.Exit


def _build(arguments: Sequence[str]) -> typer.Typer:
    """The commands, of which those of other packages only as far as ``arguments`` need them."""
    app = typer.Typer(
        name="trilight", no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"]})
    app.callback()(_program)
    for own in OWN:
        app.command(rich_help_panel=_group(own.__name__))(own)
    named = arguments[0] if arguments else ""
    if named == "--version":
        return app
    if named in {own.__name__ for own in OWN}:
        return app
    plugins = entry_points(group=COMMANDS)
    grouped = [name for names in GROUPS.values() for name in names]
    for plugin in plugins.select(name=named) if named in plugins.names else sorted(
            plugins, key=lambda plugin: (grouped.index(plugin.name) if plugin.name in grouped
                                         else len(grouped), plugin.name)):
        try:
            loaded = plugin.load()
        except ImportError as error:
            app.command(plugin.name, rich_help_panel=_group(plugin.name),
                        help=f"[dim]Not available: {escape(missing(error))}.[/]",
                        context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
                        )(_missing(plugin, error))
            continue
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=plugin.name, rich_help_panel=_group(plugin.name))
        else:
            app.command(plugin.name, rich_help_panel=_group(plugin.name))(loaded)
    return app


def _program(
    version: Annotated[bool, typer.Option(
        "--version", callback=_show_version, is_eager=True,
        help="Show release, commit, released designs and tools, and nothing else.")] = False,
) -> None:
    """A MatMul-free ternary language model on a small FPGA: run it, measure it, check it."""


def _group(command: str) -> str:
    return next((group for group, names in GROUPS.items() if command in names), OTHERS)


def _missing(plugin: EntryPoint, error: ImportError) -> Callable[[], NoReturn]:
    def command() -> NoReturn:
        raise MissingPackageError(f"{plugin.name} needs a package that is not installed: "
                                  + missing(error)) from error

    return command


def _check_waves(waves: Path, prompts: Sequence[str], tokens: int) -> None:
    """Refuse a file that would be of many gigabytes, or that cannot be written."""
    drawn = sum(len(text) - 1 + tokens for text in prompts)
    if drawn > MOST_WAVES:
        raise TargetError(f"waves of {drawn:,} tokens, prompt included, would take "
                          f"{drawn * WAVES_MB / 1000:,.1f} GB; at most {MOST_WAVES} are drawn, as "
                          'with --prompt A --tokens 1')
    write_file(waves, b"")


def _model_of(target: str) -> Path:
    """Return the largest bundled model that the board in a target's name holds, or the default."""
    _, _, board = target.partition(":")
    if board != DEFAULT_BOARD and board in board_names():
        return bundled_model(board_device(board)) or default_model_path()
    return default_model_path()


def _refuse_boards(boards: int) -> None:
    if boards != 1:
        raise TargetError("--boards divides an imported model; give one that trilight import wrote "
                          "with --model FILE")


def _one_model(file: Path | None, model: Path | None) -> Path | None:
    if file is not None and model is not None and file != model:
        raise EvaluationError(f"two models are given, {file} and {model}; give one")
    return model if file is None else file


def _part(whole: str, split: Split) -> tuple[str, str]:
    """The part of a corpus that is measured, and the text that is known before it."""
    begin = len(whole) * 9 // 10 if split is Split.VALIDATION else 0
    return whole[begin:], whole[:begin] or whole


def _evaluate_imported(model: Path | None, corpus: Path | None, against: Path | None, split: Split,
                       max_tokens: int | None, means: Means,
                       console: Console) -> dict[str, Any]:
    if model is None or not is_imported(model):
        raise EvaluationError("--against needs a model that trilight import wrote, not "
                              f"{model or 'the bundled one'}; give its file")
    if (corpus is None) == (against is None):
        raise EvaluationError("an imported model is evaluated on --corpus FILE or --against FILE; "
                              "give one of them")
    if against is not None:
        return evaluate_against(model, against, means, console)
    assert corpus is not None
    texts = []
    for path in _texts(corpus):
        read = read_text(path)
        tell_changes(read.changes, path.name)
        texts.append((path.name, _part(read.text, split)[0]))
    return {"corpus": corpus.name, "split": split.value,
            **evaluate_texts(model, texts, max_tokens, means, console)}


def _texts(corpus: Path) -> list[Path]:
    """A text, or those of a folder."""
    if not corpus.is_dir():
        return [corpus]
    found = sorted(corpus.glob("*.txt"))
    if not found:
        raise EvaluationError(f"{corpus} has no .txt file; give a text or a folder of texts")
    return found


def _read_once(model: Model, text: str, rows: int, console: Console) -> dict[str, Any]:
    """What the text costs a model that reads it once, without and with learning from it."""
    if rows & rows - 1:
        raise EvaluationError(f"--adapt-rows must be a power of two or 0, not {rows:,}")
    found: dict[str, Any] = {}
    learning = {"static": None, "order_1": Adaptation(model.config.vocab_size)}
    if rows:
        learning["orders_1_and_2"] = Adaptation(model.config.vocab_size, rows=rows)
    for name, adaptation in learning.items():
        with progress_bar(console, f"Reading {len(text):,} characters, "
                                   f"{name.replace('_', ' ')}") as advance:
            nats = read_losses(model, text, adaptation=adaptation, progress=advance)
        found[name] = {**adaptive_summary(text, nats),
                       "bytes": 0 if adaptation is None else len(adaptation.to_bytes())}
    return found


def _float_predictor(path: Path, model: Model) -> PredictorFactory:
    """What makes predictors of a network in floating point, whose vocabulary is the model's."""
    try:
        from trilight.sw.train.float_file import FloatModel, FloatPredictor
    except ImportError as error:
        raise MissingPackageError("--float needs PyTorch, which is not installed; "
                                  + pip_install("trilight[train]")) from error
    found = FloatModel.load(path)
    if found.vocab != model.vocab:
        raise EvaluationError(f"{path} knows other characters than the model; compare networks "
                              "that were trained on the same text")
    FloatPredictor(found, 1)
    return lambda streams: FloatPredictor(found, streams)
