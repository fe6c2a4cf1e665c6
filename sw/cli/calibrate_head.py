"""``trilight calibrate-head``: logits as sure as they should be."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from trilight.hw.support.terminal import Console
from trilight.sw.errors import EvaluationError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.model.text import PlainText, read_text
from trilight.sw.quality.calibration import scale_head
from trilight.sw.quality.evaluate import PROTOCOLS, evaluate

from .console import check_folder, progress_bar, tell_changes

__all__ = ["calibrate_head_command"]

_OF_TRAINING = ("float_nats_per_char", "float_nats_per_char_windows", "integer_nats_per_char",
                "float_to_integer_gap", "quality", "quality_windows")
"""Fields of the provenance that are of the model before."""


def calibrate_head_command(
    on: Annotated[Path, typer.Option(
        "--on", metavar="FILE", help="Text that the scale is chosen on, UTF-8: neither what the "
                                     "model was trained on nor what it is measured on.")],
    corpus: Annotated[Path, typer.Option(
        "--corpus", "-c", metavar="FILE", help="Text that the model was trained on; its last "
                                               "tenth measures the result.")],
    out: Annotated[Path, typer.Option(
        "--out", "-o", metavar="FILE", help="Model file to write.")],
    model: Annotated[Path | None, typer.Option(
        "--model", "-m", metavar="FILE", help="Model file. Default: the bundled one.")] = None,
) -> None:
    """Scale a model's logits so that it is as sure as it should be, and write the model.

    Finds the scale at which the loss on a text is least, and multiplies it into the head's
    multiplier and biases. Nothing else changes, and at temperature 0 hardly a token. A model of
    teachers that knew their text by heart is too sure.

    [bold]Example[/]

      trilight calibrate-head --on other.txt -c play.txt -m mine.safetensors -o new.safetensors
    """
    check_folder(out)
    loaded = Model.load(model or default_model_path())
    about = loaded.provenance
    text, known = _read(on), _read(corpus)
    if about.get("corpus_sha256") not in (None, known.sha256):
        raise EvaluationError(f"{corpus} is not the text that the model was trained on, "
                              f"{about.get('corpus')}; give that one with --corpus")
    begin = len(known.text) * 9 // 10
    _check_apart(text.text, known.text, on)
    console = Console(stderr=True)
    found = _measure(loaded, text.text, "stateful", console)
    scale = found["calibration"]["best_scale"]
    scaled = scale_head(loaded, scale)
    results = {protocol: {"dataset": corpus.name, "split": "last 10 % held out",
                          **_measure(scaled, known.text[begin:], protocol, console)}
               for protocol in PROTOCOLS}
    nats = {protocol: row["nats_per_char"] for protocol, row in results.items()}
    provenance: dict[str, Any] = {
        **{key: value for key, value in about.items() if key not in _OF_TRAINING},
        "integer_nats_per_char": nats["stateful"],
        "quality": results["stateful"], "quality_windows": results["windows"],
        "head_calibration": {
            "scale": scale, "on": on.name, "on_sha256": text.sha256, "on_quality": found,
            "command": f"trilight calibrate-head --on {on.name} --corpus {corpus.name} "
                       f"--model {(model or default_model_path()).name} --out {out.name}",
            "date": datetime.now(UTC).date().isoformat(), "model_sha256": loaded.sha256,
            "before": {key: about[key] for key in _OF_TRAINING if key in about}}}
    replace(scaled, provenance=provenance).save(out)
    before = about.get("quality", {}).get("nats_per_char")
    Console().print(f"scale {scale:.4f}: {nats['stateful']:.4f} nats/char stateful, "
                    f"{nats['windows']:.4f} in windows"
                    + (f"; stateful it was {before:.4f}" if before else "")
                    + f"\nwritten to {out}", highlight=False)


def _read(path: Path) -> PlainText:
    found = read_text(path)
    tell_changes(found.changes, path.name)
    return found


def _check_apart(text: str, corpus: str, path: Path) -> None:
    """Refuse a text whose lines are mostly those of the corpus."""
    lines = [line for line in text.splitlines() if len(line) >= 30]
    known = set(corpus.splitlines())
    if lines and sum(line in known for line in lines) > len(lines) // 100:
        raise EvaluationError(f"more than one in a hundred long lines of {path} are in the corpus; "
                              "choose the scale on a text that neither training nor measuring saw")


def _measure(model: Model, text: str, protocol: str, console: Console) -> dict[str, Any]:
    with progress_bar(console, f"Reading {len(text):,} characters, {protocol}") as advance:
        return evaluate(model, text, protocol, progress=advance)
