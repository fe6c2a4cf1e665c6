"""``trilight design``: from a text or a task to the smallest model that does it."""

import base64
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from trilight.hw.support.boards import DEFAULT_BOARD, board_device, board_names
from trilight.hw.support.extras import pip_install
from trilight.hw.support.terminal import Console
from trilight.sw.design.purpose import find_purpose
from trilight.sw.design.report import commands, front, results
from trilight.sw.design.search import Outcome, Plan, Prediction, search
from trilight.sw.design.target import COSTS, parse_targets
from trilight.sw.design.trial import Result, Store, Trial, run_trials
from trilight.sw.errors import TrainingError

from .console import replace_json, write_file

__all__ = ["design_command"]

FILE_WIDTH = 160


def design_command(
    corpus: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Text that a model is wanted of.")] = None,
    task: Annotated[Path | None, typer.Option(
        metavar="PATH", help="Task that a model is wanted for: a file of lines, each a text, a tab "
                             "and a label; or a folder as trilight log-lines makes.")] = None,
    target: Annotated[list[str] | None, typer.Option(
        "--target", "-t", metavar="BOUND",
        help="\"bits/byte <= 2.3\" of a text, \"accuracy >= 0.95\" of labelled lines, \"auc >= "
             f"0.95\" of anomalies; and limits of {', '.join(COSTS)}, such as \"uJ/token <= 5\". "
             "May be repeated. Without a quality the best model within the limits is "
             "searched.")] = None,
    board: Annotated[list[str] | None, typer.Option(
        "--board", "-b", metavar="NAME", autocompletion=board_names,
        help=f"Board that may hold the model; may be repeated; all for every one. Default: "
             f"{DEFAULT_BOARD}.")] = None,
    characters: Annotated[int, typer.Option(
        min=80_000, help="Characters of the whole training; the short ones have an eighth, a "
                         "quarter and a half of them.")] = 15_000_000,
    largest: Annotated[int, typer.Option(
        min=10_000, max=20_000_000, help="Weights of the largest candidate.")] = 700_000,
    rungs: Annotated[int, typer.Option(
        min=3, max=12, help="Sizes that are trained for the curve.")] = 4,
    confidence: Annotated[float, typer.Option(
        min=0.05, max=0.99, help="Probability of reaching the quality that a model needs to be "
                                 "chosen.")] = 0.8,
    tries: Annotated[int, typer.Option(
        min=0, max=10, help="Models that are trained in full, at most, until one reaches it; 0 "
                            "predicts only.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of all trainings.")] = 1,
    held_out_lines: Annotated[int | None, typer.Option(
        min=1, help="Of labelled lines: how many are held out. \\[default: a twentieth]")] = None,
    out: Annotated[Path, typer.Option(
        "--out", "-o", metavar="FOLDER", help="Where trainings are kept, and the model, the JSON "
                                              "and the plot go.")] = Path("build/design"),
    cluster: Annotated[str | None, typer.Option(
        "--cluster", metavar="ADDRESS",
        help="A Dask scheduler with certificates, such as tls://host:8786, whose workers have this "
             "release and the same files. Default: processes of this computer.")] = None,
    workers: Annotated[int | None, typer.Option(
        metavar="N", min=1, help="Processes on this computer, a thread each.")] = None,
) -> None:
    """Search for the smallest model that is good enough, on the boards that hold it.

    Trains a few sizes for a short time, fits how quality grows with size and length of training,
    predicts every shape that fits, with its bytes, cycles and energy on each board, then trains the
    chosen one in full and shows what it reached beside what was predicted. Candidates are compared
    on a development part of the text; the part that trilight train holds out decides nothing.

    Results are kept as they come: after Ctrl-C the same command goes on where it stopped.

    [bold]Example[/]

      trilight design --corpus play.txt --target "bits/byte <= 2.5" --characters 4000000

      trilight design --task intents.tsv --target "accuracy >= 0.95" --target "ms/line <= 2"
        --board all
    """
    if find_spec("torch") is None:
        raise TrainingError("a search trains models, which needs PyTorch; it is not installed; "
                            + pip_install("trilight[train]"))
    purpose = find_purpose(corpus, task, held_out_lines)
    quality, limits = parse_targets(target or [], purpose.quality)
    boards = board or [DEFAULT_BOARD]
    names = tuple(board_names() if "all" in boards else dict.fromkeys(boards))
    for name in names:
        board_device(name)
    plan = Plan(purpose=purpose, target=quality, limits=limits, boards=names,
                characters=characters, largest=largest, rungs=rungs, confidence=confidence,
                tries=tries, seed=seed)
    console, store = Console(stderr=True, highlight=False, soft_wrap=True), Store(out)

    def done(trial: Trial, result: Result) -> None:
        console.print(f"{trial.name}: {purpose.quality} {result['quality']:.4f}, "
                      f"{result['seconds']:.0f} s of a core", style="dim")

    outcome = search(
        plan, lambda trials: run_trials(trials, store, done, address=cluster, workers=workers),
        lambda sentence: console.print(sentence))
    replace_json(out / "design.json", results(outcome))
    written = ["design.json"]
    if chosen := outcome.chosen:
        assert chosen.result["model"] is not None
        write_file(out / "confirmed.safetensors", base64.b64decode(chosen.result["model"]))
        written.append("confirmed.safetensors")
    if find_spec("matplotlib") is None:
        console.print("no plot without Matplotlib; " + pip_install("trilight[plots]"))
    else:
        from trilight.sw.design.plot import draw

        draw(outcome, out / "pareto.png")
        written.append("pareto.png")
    screen = Console(highlight=False)
    _print(outcome, screen if screen.is_terminal else Console(width=FILE_WIDTH, highlight=False))
    console.print(f"written to {escape(str(out))}: {', '.join(written)}", style="dim")
    if quality and not chosen and tries:
        raise typer.Exit(1)


def _print(outcome: Outcome, console: Console) -> None:
    plan = outcome.plan
    table = Table("", "board", "d_model", "layers", "d_hidden", box=None)
    lines = plan.purpose.line_tokens is not None
    for heading in ("bytes", plan.purpose.quality, "predicted, 90 %", "tokens/s",
                    "ms/line" if lines else "cycles/token", "uJ/line" if lines else "uJ/token"):
        table.add_column(heading, justify="right")
    shown = _shown(outcome)
    for one in shown:
        candidate, (low, middle, high) = one.candidate, one.quality
        energy = candidate.cost("uJ/line" if lines else "uJ/token")
        mark = "*" if outcome.chosen and one.candidate == outcome.chosen.predicted.candidate else ""
        table.add_row(
            mark, candidate.board, str(candidate.config.d_model), str(candidate.config.n_layers),
            str(candidate.config.d_hidden), f"{candidate.bytes:,}", f"{middle:.4f}",
            f"{low:.3f} to {high:.3f}", f"{candidate.tokens_per_s:,.0f}",
            f"{candidate.ms_per_line:.2f}" if candidate.ms_per_line is not None
            else f"{candidate.cycles_per_token:,.0f}",
            "" if energy is None else f"{energy:.2f}")
    console.print(table)
    console.print("predicted for the whole training, the curve's fit with the confirmed models in "
                  "it; cycles computed; energy of the FPGA core alone, modelled", style="dim")
    for done in outcome.confirmations:
        low, middle, high = done.predicted.quality
        verdict = {True: ", reached", False: ", missed", None: ""}[done.met]
        console.print(f"confirmed {done.trial.name}: {middle:.4f} predicted ({low:.4f} to "
                      f"{high:.4f}), {done.result['quality']:.4f} on the development part"
                      f"{verdict}; {done.result['final']:.4f} on what decided nothing")
    console.print(f"{len(outcome.trials)} trainings, {outcome.core_seconds / 60:.1f} core-minutes")
    _print_choice(outcome, console)


def _print_choice(outcome: Outcome, console: Console) -> None:
    plan, chosen, best = outcome.plan, outcome.chosen, outcome.best
    if chosen is None and best is not None:
        console.print(f"No candidate is expected to reach {plan.target}: "
                      f"{best.probability or 0:.0%} of a chance, {plan.confidence:.0%} wanted. The "
                      f"best would be this one, with {plan.purpose.quality} {best.quality[1]:.4f}; "
                      "a longer training, a larger --largest or another --board may do:")
    wanted = chosen.predicted if chosen else best
    for line in commands(plan, wanted.candidate) if wanted else []:
        console.print("  " + escape(line), soft_wrap=True)


def _shown(outcome: Outcome) -> list[Prediction]:
    """Predictions of the Pareto front, each shape and cost once, and the chosen one."""
    found: dict[object, Prediction] = {}
    for one in sorted(front(outcome.predictions, outcome.plan),
                      key=lambda one: (one.candidate.bytes, one.candidate.power_mw is None)):
        candidate = one.candidate
        found.setdefault((candidate.config, candidate.bytes, candidate.tokens_per_s), one)
    return list(found.values())
