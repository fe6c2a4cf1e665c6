"""``trilight classify``: labels of lines by a model that was trained on labelled ones."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trilight.hw.support.terminal import Console, visible
from trilight.sw.api import open_board, report
from trilight.sw.errors import EvaluationError
from trilight.sw.host.driver import Board
from trilight.sw.model.model import Model
from trilight.sw.model.text import plain_text, read_text
from trilight.sw.task.classifier import Decision, accuracy, confusion, decide, decide_on, labels_of
from trilight.sw.task.lines import SEPARATOR, LabelledLine, read_lines

from .console import check_folder, progress_bar, tell_changes, write_json

__all__ = ["classify_command"]

_REFERENCE = "reference"


def classify_command(
    texts: Annotated[list[str] | None, typer.Argument(
        metavar="[TEXT]...", help="Texts to label.")] = None,
    model: Annotated[Path, typer.Option(
        "--model", "-m", metavar="FILE",
        help="Model that trilight train --label-weight made.")] = ...,  # type: ignore[assignment]  # Typer's sign of an option that must be given
    file: Annotated[Path | None, typer.Option(
        "--file", "-f", metavar="FILE",
        help="Lines to label. If they are labelled, each a text, a tab and a label, the share "
             "told right is shown.")] = None,
    last: Annotated[int | None, typer.Option(
        "--last", min=1, metavar="N", help="Of the file, take the last N lines only, such as "
                                           "those that a training held out.")] = None,
    target: Annotated[str, typer.Option(
        "--target", help="What runs the model: reference, rtl, netlist, bitstream, serial:PORT. "
                         "All but the first count cycles.")] = _REFERENCE,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the results to this file as JSON.")] = None,
    quiet: Annotated[bool, typer.Option(
        "--quiet", "-q", help="Do not show the labels, only the figures.")] = False,
) -> None:
    """Tell which label a text has: what a person wants, what a line of a log means.

    A decision is the model's likeliest token after the text and a tab, the same on every target.

    [bold]Example[/]

      trilight train --corpus intents.tsv --label-weight 10 --d-model 40 --layers 2 --hidden 40
        --out intents.safetensors

      trilight classify -m intents.safetensors "will it rain in ohio"

      trilight classify -m intents.safetensors --file intents.tsv --last 700 --target netlist
    """
    check_folder(json_file)
    loaded = Model.load(model)
    labels_of(loaded)
    for text in texts or []:
        tell_changes(plain_text(text)[1], "the text")
    if file is not None:
        tell_changes(read_text(file).changes, file.name)
    lines = None if file is None else _labelled(file, last)
    chosen = [line.text for line in lines] if lines else [
        *(texts or []), *(_plain(file, last) if file is not None else [])]
    if not chosen:
        raise EvaluationError("there is nothing to classify; give a TEXT, or --file FILE")
    if lines and texts:
        raise EvaluationError("texts beside a file of labelled lines have no label to compare "
                              "with; give one of them")
    console = Console(stderr=True)
    results: dict[str, Any] = {"model_sha256": loaded.sha256, "target": target}
    if target == _REFERENCE:
        decisions = decide(loaded, chosen)
    else:
        with open_board(target, progress=lambda text: console.print(escape(text), style="dim")
                        ) as board:
            with progress_bar(console, f"Loading the model into {target}") as advance:
                board.load(loaded, progress=advance)
            with progress_bar(console, f"Classifying on {target}") as advance:
                decisions = list(decide_on(board, loaded, chosen, progress=advance))
            results |= _costs(board, decisions)
    if lines:
        results |= {**accuracy(decisions, lines), "confusion": confusion(decisions, lines)}
    results["decisions"] = [
        {"text": decision.text, "label": decision.label, "cycles": decision.cycles}
        for decision in decisions]
    _show(decisions, lines, results, quiet=quiet)
    if json_file is not None:
        write_json(json_file, results)


def _labelled(file: Path, last: int | None) -> Sequence[LabelledLine] | None:
    """Return the labelled lines of a file, or ``None`` if no line of it has a tab."""
    if SEPARATOR not in read_text(file).text:
        return None
    return read_lines(file).lines[-(last or 0):]


def _plain(file: Path, last: int | None) -> Sequence[str]:
    return [line for line in read_text(file).text.split("\n") if line.strip()][-(last or 0):]


def _costs(board: Board, decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return cycles of a decision, and time and energy where the report knows clock and power."""
    counted = [decision.cycles for decision in decisions if decision.cycles is not None]
    if not counted:
        return {}
    figures = report(board)["figures"]
    cycles = fmean(counted)
    costs: dict[str, Any] = {"cycles_per_decision": cycles}
    if clock := figures["clock_hz"]["value"]:
        costs |= {"clock_hz": clock, "seconds_per_decision": cycles / clock}
        if interval := figures["power_mw"]["interval"]:
            costs["joules_per_decision"] = {
                **{name: 1e-3 * value * cycles / clock for name, value in interval.items()},
                "provenance": figures["power_mw"]["provenance"],
                "boundary": figures["power_mw"]["boundary"],
                "source": f"power while computing x time; {figures['power_mw']['source']}"}
    return costs


def _show(decisions: Sequence[Decision], lines: Sequence[LabelledLine] | None,
          results: dict[str, Any], *, quiet: bool) -> None:
    console = Console(soft_wrap=True, highlight=False)
    if not quiet:
        for number, decision in enumerate(decisions):
            wrong = lines is not None and decision.label != lines[number].label
            console.print(f"[bold]{escape(visible(decision.label or '?'))}[/]  "
                          f"{escape(visible(decision.text))}"
                          + (f"  [red]not {escape(visible(lines[number].label))}[/]"
                             if wrong and lines else ""))
        console.print()
    table = Table(box=None, show_header=False)
    if lines:
        table.add_row("Told right", f"{results['accuracy']:.1%}",
                      f"{results['right']:,} of {results['lines']:,} lines, standard error "
                      f"{results['standard_error']:.1%}")
    if "cycles_per_decision" in results:
        table.add_row("Cycles per decision", f"{results['cycles_per_decision']:,.0f}",
                      "counted, mean over these texts")
    if "seconds_per_decision" in results:
        table.add_row("Time per decision", f"{1e3 * results['seconds_per_decision']:.3g} ms",
                      f"at {results['clock_hz'] / 1e6:g} MHz")
    if energy := results.get("joules_per_decision"):
        table.add_row("Energy per decision", f"{1e6 * energy['p50']:.3g} uJ",
                      f"modelled, {1e6 * energy['p05']:.3g} to {1e6 * energy['p95']:.3g}, FPGA "
                      "core")
    if table.row_count:
        console.print(table)
