"""The command that measures how well a model predicts a text."""

import enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.markup import escape

from trilight.hw.support.extras import pip_install
from trilight.hw.support.terminal import Console
from trilight.sw.api import open_board
from trilight.sw.checkpoint.model import is_imported
from trilight.sw.errors import EvaluationError, MissingPackageError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.model.text import read_text
from trilight.sw.quality.adaptive import read_once
from trilight.sw.quality.agreement import check_agreement
from trilight.sw.quality.buckets import frequency_buckets, print_quality
from trilight.sw.quality.calibration import Calibration
from trilight.sw.quality.evaluate import PROTOCOLS, PredictorFactory, character_losses, summary

from .console import check_folder, progress_bar, tell_changes, write_json
from .imported import Boards, Means, evaluate_against, evaluate_texts
from .options import BoardsOption, JsonOption, ModelOption, QuietOption, refuse_boards

__all__ = ["CorpusPart", "evaluate"]


class CorpusPart(enum.StrEnum):
    """Part of a corpus."""

    VALIDATION = "validation"
    ALL = "all"


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
    split: Annotated[CorpusPart, typer.Option(
        "--split", help="validation: the last 10 % of the text, which training does not see; "
                        "all: the whole text.")] = CorpusPart.VALIDATION,
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
    adapt_token_rows: Annotated[int, typer.Option(
        "--adapt-token-rows", min=0, metavar="ROWS",
        help="Rows that --adapt keeps for single characters, a power of two; 0 keeps one for "
             "each.")] = 0,
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
    same tokens. A second table shows the loss by frequency: of frequent, middle and rare characters
    and words.

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
    refuse_boards(boards)
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
    calibrations = {protocol: Calibration() for protocol in PROTOCOLS}
    for protocol in PROTOCOLS:
        for name, predictor in predictors.items():
            with progress_bar(console, f"Evaluating the {name}, {len(text):,} characters, "
                                       f"{protocol}") as advance:
                losses.setdefault(protocol, {})[name] = character_losses(
                    loaded, text, protocol, predictor=predictor, progress=advance,
                    calibration=calibrations[protocol] if predictor is None else None)
    protocols = {protocol: {**summary(loaded, text, nats["model"], protocol),
                            "calibration": calibrations[protocol].figures()}
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
        with progress_bar(console, f"Reading {len(text):,} characters once") as advance:
            results["adaptive"] = read_once(loaded, text, rows=adapt_rows,
                                            token_rows=adapt_token_rows, progress=advance)
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


def _one_model(file: Path | None, model: Path | None) -> Path | None:
    if file is not None and model is not None and file != model:
        raise EvaluationError(f"two models are given, {file} and {model}; give one")
    return model if file is None else file


def _part(whole: str, split: CorpusPart) -> tuple[str, str]:
    """The part of a corpus that is measured, and the text that is known before it."""
    begin = len(whole) * 9 // 10 if split is CorpusPart.VALIDATION else 0
    return whole[begin:], whole[:begin] or whole


def _evaluate_imported(model: Path | None, corpus: Path | None, against: Path | None,
                       split: CorpusPart, max_tokens: int | None, means: Means,
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


def _float_predictor(path: Path, model: Model) -> PredictorFactory:
    """Return a factory of predictors of a float network with the model's vocabulary."""
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
