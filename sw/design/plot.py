"""The picture of a search: quality against bytes, energy and speed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from trilight.hw.support.terminal import visible

from .candidates import Candidate
from .search import Outcome, Prediction

__all__ = ["draw"]

INK, QUIET, GRID = "#1c2733", "#7b8794", "#e3e7eb"
COLOURS = ("#0b6e99", "#d1622b", "#3f8f4f", "#8250a8", "#b08900", "#c2366b")
CAPTION_CHARS = 200

Cost = Callable[[Candidate], float | None]


def draw(outcome: Outcome, path: Path) -> None:
    """Draw what every candidate is expected to reach, and what the confirmed ones did.

    Boards whose candidates cost the same share a colour. Bands are 90 % intervals.

    Parameters
    ----------
    path
        PNG or SVG to write.
    """
    plan = outcome.plan
    lines = plan.purpose.line_tokens is not None
    energy = "uJ/line" if lines else "uJ/token"
    panels: list[tuple[str, Cost]] = [
        ("bytes of weights", lambda one: one.bytes),
        (f"{energy}, FPGA core, modelled", lambda one: one.cost(energy)),
        ("ms/line" if lines else "tokens/s",
         lambda one: one.ms_per_line if lines else one.tokens_per_s)]
    panels = [(name, cost) for name, cost in panels
              if any(cost(one.candidate) is not None for one in outcome.predictions)]
    figure = Figure(figsize=(4.4 * len(panels) + 0.6, 5.4), dpi=130, facecolor="white")
    all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    groups = _groups(outcome.predictions)
    for axes, (name, cost) in zip(all_axes, panels, strict=True):
        _style(axes, name)
        for colour, (label, group) in zip(COLOURS, groups.items(), strict=False):
            _band(axes, group, cost, colour, label)
        _confirmed(axes, outcome, cost)
        if plan.target:
            axes.axhline(plan.target.value, color=INK, linewidth=1.0, linestyle=(0, (4, 3)),
                         alpha=0.6, zorder=1, label=f"wanted: {plan.target}")
    all_axes[0].set_ylabel(f"{plan.purpose.quality}, development part", fontsize=9.5, color=INK)
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.04, 0.93), ncols=5,
                  frameon=False, fontsize=8.5, labelcolor=INK)
    figure.suptitle(f"Models of {plan.purpose.corpus_path.name}: what quality costs", x=0.045,
                    y=0.98, ha="left", fontsize=13, fontweight="bold", color=INK)
    caption = (f"Curve: fitted to {len(outcome.trials)} trainings, for {plan.characters:,} "
               "characters; bands are 90 % intervals of a new training. Crosses: trained in "
               "full and measured. Cycles: computed, equal to the chip's counters. Energy: of "
               "the FPGA core alone, modelled; known of boards whose activity was counted.")
    figure.text(0.045, 0.02, "\n".join(wrap(visible(caption), CAPTION_CHARS * len(panels) // 3)),
                fontsize=7.5, color=QUIET, va="bottom", linespacing=1.4)
    figure.subplots_adjust(left=0.075, right=0.985, top=0.80, bottom=0.2, wspace=0.08)
    figure.savefig(path)


def _groups(predictions: Sequence[Prediction]) -> dict[str, list[Prediction]]:
    """Predictions of boards that cost the same, by the boards' names."""
    by_board: dict[str, list[Prediction]] = {}
    for one in predictions:
        by_board.setdefault(one.candidate.board, []).append(one)
    alike: dict[object, list[str]] = {}
    for board, group in by_board.items():
        key = tuple((one.candidate.bytes, one.candidate.tokens_per_s) for one in group)
        alike.setdefault(key, []).append(board)
    found = {}
    for boards in alike.values():
        known = next((name for name in boards if by_board[name][0].candidate.power_mw), boards[0])
        more = f" and {len(boards) - 1} more" if len(boards) > 1 else ""
        found[known + more] = by_board[known]
    return found


def _band(axes: Axes, group: Sequence[Prediction], cost: Cost, colour: str, label: str) -> None:
    points = sorted((value, one.quality) for one in group
                    if (value := cost(one.candidate)) is not None)
    if not points:
        return
    x = [value for value, _ in points]
    axes.plot(x, [middle for _, (_, middle, _) in points], "o-", color=colour, markersize=3.5,
              linewidth=1.2, label=label, zorder=3)
    axes.fill_between(x, [low for _, (low, _, _) in points], [high for _, (_, _, high) in points],
                      color=colour, alpha=0.12, linewidth=0, zorder=2)


def _confirmed(axes: Axes, outcome: Outcome, cost: Cost) -> None:
    for number, one in enumerate(outcome.confirmations):
        value = cost(one.predicted.candidate)
        if value is not None:
            axes.plot(value, one.result["quality"], "x", color=INK, markersize=9,
                      markeredgewidth=2.2, zorder=5,
                      label="confirmed by training" if number == 0 else None)


def _style(axes: Axes, name: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel(name, fontsize=9.5, color=INK)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
    axes.tick_params(which="both", colors=QUIET, labelsize=8, length=0)
