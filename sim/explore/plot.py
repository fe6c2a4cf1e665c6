"""The plot of a sweep: area against speed, and speed against energy, with the points to choose."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from trilight.hw.support.terminal import visible

from .results import SweepResult
from .sweep import Point

__all__ = ["draw"]

INK, QUIET, GRID = "#1c2733", "#7b8794", "#e3e7eb"
AREA = "logic cells or look-up tables"
CAPTION_CHARS = 185
COLOURS = ("#0b6e99", "#d1622b", "#3f8f4f", "#8250a8", "#b08900", "#c2366b")


def draw(
    outcomes: Sequence[SweepResult], best: Sequence[SweepResult], caption: str, path: Path
) -> None:
    """Draw all points of a sweep, those of the Pareto front with their names.

    Parameters
    ----------
    outcomes, best
        All points, and those on the front.
    caption
        Where the figures come from.
    path
        PNG or SVG to write.
    """
    energetic = [o for o in outcomes if o.tokens_per_joule is not None]
    figure = Figure(figsize=(12.5 if energetic else 7.5, 6.4), dpi=150, facecolor="white")
    panels = figure.subplots(1, 2 if energetic else 1, squeeze=False)[0]
    clocks = sorted({o.point.design.clock_hz for o in outcomes})
    colour = {clock: COLOURS[k % len(COLOURS)] for k, clock in enumerate(clocks)}
    names = _names([o.point for o in outcomes])

    area, *energy = panels
    _style(area, "Speed for area", AREA, "tokens per second")
    missed = [o for o in outcomes if o.failed and o.logic is not None and "misses" in o.failed]
    for o in missed:
        would = o.point.design.clock_hz / o.cycles_per_token
        area.scatter(o.logic, would, marker="x", s=36, color=QUIET, linewidths=1.2, zorder=2)
    for o in outcomes:
        if o.tokens_per_s is not None:
            _point(area, float(o.logic or 0), o.tokens_per_s, colour[o.point.design.clock_hz],
                   o in best)
    _front(area, [(float(o.logic or 0), float(o.tokens_per_s or 0)) for o in best])
    _label(area, [(float(o.logic or 0), float(o.tokens_per_s or 0), names[o.point], o)
                  for o in best], colour)

    for axes in energy:
        _style(axes, "Energy for speed", "tokens per second",
               "tokens per joule of the FPGA core")
        for o in energetic:
            assert o.tokens_per_joule is not None
            assert o.tokens_per_s is not None
            interval = o.tokens_per_joule
            axes.vlines(o.tokens_per_s, interval.p05, interval.p95, linewidth=1.0, zorder=1,
                        color=colour[o.point.design.clock_hz], alpha=0.45 if o in best else 0.15)
            _point(axes, o.tokens_per_s, interval.p50, colour[o.point.design.clock_hz], o in best)
        shown = [o for o in best if o.tokens_per_joule is not None]
        _label(axes, [(float(o.tokens_per_s or 0), o.tokens_per_joule.p50, names[o.point], o)
                      for o in shown if o.tokens_per_joule], colour)

    boards = ", ".join(sorted({o.point.design.board for o in outcomes}))
    handles = [area.scatter([], [], color=colour[clock], s=42, label=f"{clock / 1e6:g} MHz")
               for clock in clocks]
    if missed:
        handles.append(area.scatter([], [], marker="x", color=QUIET, s=36,
                                    label="what it would do, but it misses its clock"))
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.035, 0.935),
                  ncols=len(handles), frameon=False, fontsize=9, labelcolor=INK,
                  handletextpad=0.2, columnspacing=1.4)
    figure.suptitle(f"Trilight on {boards}: designs explored", x=0.045, y=0.98, ha="left",
                    fontsize=14, fontweight="bold", color=INK)
    failed = Counter(o.failed.partition(":")[0] for o in outcomes if o.failed)
    if failed:
        caption += " Not working: " + "; ".join(
            f"{count} x {why}" for why, count in failed.items()) + "."
    width = CAPTION_CHARS if energetic else CAPTION_CHARS * 6 // 10
    figure.text(0.045, 0.02, "\n".join(wrap(visible(caption), width)), fontsize=7.5, color=QUIET,
                va="bottom", linespacing=1.4)
    figure.subplots_adjust(left=0.075 if energetic else 0.11, right=0.975, top=0.83, bottom=0.2,
                           wspace=0.2)
    figure.savefig(path)


SHORT = {"vocab_size": "V", "d_model": "d", "n_layers": "L", "d_hidden": "H"}


def _names(points: Sequence[Point]) -> dict[Point, str]:
    """Names that tell the points apart, and say no more than that; colours tell the clocks."""
    settings = {point: {
        **{SHORT[name]: str(value) for name, value in point.model.to_dict().items()},
        **{f"{name} ": str(getattr(point.design.device_config, name))
           for other in points for name, _ in other.design.device},
        " sequence": f"{point.sequences}"} for point in points}
    varying = [name for name in settings[points[0]]
               if len({values[name] for values in settings.values()}) > 1]
    return {point: ", ".join(
        f"{values[name]}{name}{'s' * (values[name] != '1')}" if name == " sequence"
        else f"{name}{values[name]}" for name in varying) or f"{point.design.clock_hz / 1e6:g} MHz"
            for point, values in settings.items()}


def _style(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK, pad=8)
    axes.set_xlabel(x, fontsize=9.5, color=INK)
    axes.set_ylabel(y, fontsize=9.5, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
    axes.tick_params(colors=QUIET, labelsize=8.5, length=0)
    thousands = FuncFormatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_major_formatter(thousands)
    axes.yaxis.set_major_formatter(thousands)
    axes.margins(x=0.1, y=0.14)


def _point(axes: Axes, x: float, y: float, colour: str, best: bool) -> None:
    axes.scatter(x, y, s=58 if best else 26, color=colour, alpha=1 if best else 0.45,
                 edgecolors="white", linewidths=0.8, zorder=4 if best else 3)


def _front(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """The edge of what can be had in this plane: the best y for no more than x."""
    edge: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda p: (p[0], -p[1])):
        if not edge or y > edge[-1][1]:
            edge.append((x, y))
    if len(edge) > 1:
        axes.step([x for x, _ in edge], [y for _, y in edge], where="post", color=INK,
                  linewidth=1.0, alpha=0.5, zorder=2)


def _label(axes: Axes, points: Sequence[tuple[float, float, str, SweepResult]],
           colour: dict[float, str]) -> None:
    """Write the points' names beside them, on the side with room; those too close further up."""
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    placed: list[tuple[float, float]] = []
    for x, y, name, outcome in sorted(points, key=lambda p: p[1]):
        at = y
        while any(abs(at - other) < 0.036 * (high - low) and abs(x - near) < 0.35 * (right - left)
                  for near, other in placed):
            at += 0.012 * (high - low)
        placed.append((x, at))
        inward = -1 if x > (left + right) / 2 else 1
        axes.text(x + inward * 0.018 * (right - left), at, name, fontsize=8, va="center",
                  ha="left" if inward > 0 else "right", zorder=5,
                  color=colour[outcome.point.design.clock_hz],
                  bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8})
