"""Plots of a benchmark as inline SVG, drawn by Matplotlib.

Colours are names of the page's style sheet (``var(--ink)``), so that one drawing serves a light and
a dark page; text is text, in the page's font. A plot is drawn at a width in inches, once for a
screen and once for a phone.
"""

import html
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from .figures import BOUNDARIES, ends, limits, with_prefix

__all__ = ["NARROW", "PLOTS", "WIDE", "Plot"]

WIDE, NARROW = 7.4, 3.0
"""Widths in inches: of 96 CSS pixels on a screen, of 100 on a phone."""

Plot = Callable[[Mapping[str, Any], float], str | None]
"""Function from a document and a width to SVG; ``None`` if there is nothing to draw."""

COLOURS = {name: f"#0000{number:02x}" for number, name in enumerate(
    ("ink", "muted", "grid", "panel", "ours", "ours-soft", "other", "second"), start=1)}
"""Stand-ins for the colours of the style sheet, which Matplotlib does not know."""

INK, MUTED, GRID, PANEL, OURS, SOFT, OTHER, SECOND = COLOURS.values()

MARKERS = {"measured": ("o", True), "modelled": ("s", True), "claimed": ("o", False),
           "vendor estimate": ("^", False), "projected": ("D", False), "assumed": ("X", False)}
"""Marker of each origin, and whether it is filled: filled stands on evidence of the very system."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "trilight", "font.size": 9, "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED, "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED,
    "axes.facecolor": "none", "figure.facecolor": "none", "axes.spines.top": False,
    "axes.spines.right": False, "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "xtick.major.size": 0, "ytick.major.size": 0, "axes.grid": True,
}


def _svg(figure: Figure, name: str, description: str) -> str:
    """A figure as an element for the page, its identifiers made its own."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None},
                   bbox_inches="tight", pad_inches=0.04)
    text = file.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, code in COLOURS.items():
        text = text.replace(code, f"var(--{colour})")
    return re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>",
                  rf'<svg xmlns:xlink="http://www.w3.org/1999/xlink" role="img" \1 '
                  rf'aria-label="{html.escape(description)}">', text, count=1)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def plot_parts(document: Mapping[str, Any], width: float) -> str | None:
    """Energy of a token by part of the chip, with the interval of each."""
    energy = document["systems"][0]["energy_by_part"]
    if not energy:
        return None
    parts = energy["parts"]
    largest = max(parts, key=lambda name: parts[name]["value"])
    with mpl.rc_context(STYLE):
        figure, axes = _figure(width, 0.6 + 0.3 * len(parts))
        _bars(axes, parts, energy)
        return _svg(figure, f"parts-{_tag(width)}",
                    f"Energy of a token by part of the chip; the largest is {largest} with "
                    f"{parts[largest]['value']:.0f} {energy['unit']}")


def plot_stages(document: Mapping[str, Any], width: float) -> str | None:
    """Energy of a token by layer and by stage, where it was counted so."""
    energy = document["systems"][0]["energy_by_part"]
    if not energy or "by_stage" not in energy:
        return None
    layers = {entry["layer"] if isinstance(entry["layer"], str)
              else f"layer {entry['layer'] + 1}": entry for entry in energy["by_layer"]}
    groups = [layers, energy["by_stage"]]
    with mpl.rc_context(STYLE):
        sizes = [len(group) + 1 for group in groups]
        figure = Figure(figsize=(width, 0.7 + 0.3 * sum(sizes)), layout="constrained")
        panels = figure.subplots(2, 1, height_ratios=sizes)
        for axes, group, title in zip(panels, groups, ("by layer", "by stage"), strict=True):
            _bars(axes, group, energy, ordered=group is layers)
            axes.set_title(title, loc="left", color=MUTED, fontsize=8, fontweight="bold")
        return _svg(figure, f"stages-{_tag(width)}",
                    f"Energy of a token in {len(layers)} layers and {len(groups[1])} stages")


def _bars(axes: Axes, entries: Mapping[str, Any], energy: Mapping[str, Any], *,
          ordered: bool = False) -> None:
    """A bar for each entry, with its interval and its share of the total.

    The first is on top if they are ``ordered``, else the largest.
    """
    shown = (list(entries.items())[::-1] if ordered
             else sorted(entries.items(), key=lambda item: item[1]["value"]))
    for row, (_, entry) in enumerate(shown):
        value, ends = entry["value"], entry["interval"]
        axes.barh(row, value, color=OURS, height=0.62)
        axes.plot([ends["p05"], ends["p95"]], [row, row], color=INK, linewidth=1.2)
        axes.annotate(f"{value / energy['total']:.0%}", (max(value, ends["p95"]), row), (5, 0),
                      textcoords="offset points", va="center", color=MUTED, fontsize=8)
    axes.set_yticks(range(len(shown)), [name.replace("_", " ") for name, _ in shown], color=INK)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{energy['unit']}; line: 90 % interval")
    axes.margins(x=0.1)
    axes.set_xlim(left=0)


def plot_time(document: Mapping[str, Any], width: float) -> str | None:
    """Speed and power in the course of the run."""
    system = document["systems"][0]
    timeline = system["timeline"]
    segments = timeline["segments"]
    if not segments:
        return None
    unit, factor = ("s", 1.0) if segments[-1]["start_s"] >= 2 else ("ms", 1e3)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, 2.9), layout="constrained")
        speed, power = figure.subplots(2, 1, sharex=True)
        for segment in segments:
            start, end = (factor * segment["start_s"],
                          factor * (segment["start_s"] + segment["seconds"]))
            rate = segment["tokens"] / segment["seconds"]
            _level(speed, (start, end), rate, (0, rate))
            if (watts := segment["power_mw"]) is not None:
                _level(power, (start, end), watts, (0, watts))
        busy = system["figures"]["power_mw"]
        if busy["value"] is not None and all(s["power_mw"] is None for s in segments):
            last = factor * (segments[-1]["start_s"] + segments[-1]["seconds"])
            _level(power, (0, last), busy["value"], limits(busy))
        idle = system["figures"].get("idle_power_mw")
        if idle and idle["value"] is not None:
            power.axhline(idle["value"], color=SECOND, linewidth=1.2, linestyle=(0, (4, 2)))
            power.annotate("waiting", (1, idle["value"]), (0, 3), xycoords=("axes fraction",
                           "data"), textcoords="offset points", ha="right", color=SECOND,
                           fontsize=8)
        for axes, label in ((speed, "tokens/s"), (power, "mW")):
            axes.set_ylim(bottom=0)
            axes.set_ylabel(label)
            axes.margins(x=0.01)
            axes.grid(axis="x", visible=False)
        power.set_xlabel(f"{unit} of the {timeline['time']}'s time")
        rates = [s["tokens"] / s["seconds"] for s in segments]
        return _svg(figure, f"time-{_tag(width)}",
                    f"Speed and power over time; from {min(rates):,.0f} to {max(rates):,.0f} "
                    "tokens per second")


def _level(axes: Axes, times: tuple[float, float], value: float,
           shaded: tuple[float, float] | None) -> None:
    """A value that holds for a time, over what is shaded."""
    if shaded:
        axes.fill_between(times, *shaded, color=SOFT, linewidth=0)
    axes.plot(times, [value, value], color=OURS, linewidth=2)


def plot_field(document: Mapping[str, Any], width: float) -> str | None:
    """Tokens per joule of all systems and of the field, by boundary, on a logarithmic axis."""
    groups = [(BOUNDARIES[name].title, rows) for name in BOUNDARIES
              if (rows := [row for row in _points(document) if row["boundary"] == name])]
    if not groups:
        return None
    inside = width < WIDE
    step = 1.0 if not inside else 1.7
    with mpl.rc_context(STYLE):
        count = sum(len(rows) for _, rows in groups)
        figure, axes = _figure(width, 0.8 + 0.22 * (step * count + 1.3 * len(groups)))
        y, ticks, names, used = 0.0, [], [], set()
        for title, rows in groups:
            y += 1.3
            axes.annotate(title, (0, y), (-2 if inside else 0, 0),
                          xycoords=("axes fraction", "data"), textcoords="offset points",
                          va="center", color=MUTED, fontsize=8, fontweight="bold", zorder=5)
            for row in sorted(rows, key=lambda row: -row["ends"][1]):
                y += step
                colour = OURS if row["ours"] else OTHER
                _mark(axes, row, y, colour)
                used.add(row["status"])
                if inside:
                    axes.annotate(row["name"], (0, y), (2, 6), xycoords=("axes fraction", "data"),
                                  textcoords="offset points", color=INK, fontsize=8)
                else:
                    ticks.append(y)
                    names.append(row["name"])
        axes.set_yticks(ticks, names, color=INK, fontsize=8)
        axes.set_ylim(y + 1, 0.2)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, numticks=20 if not inside else 5))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.7g}"))
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("tokens per joule")
        _legend(figure, [status for status in MARKERS if status in used], inside)
        return _svg(figure, f"field-{_tag(width)}",
                    f"Tokens per joule of {count} systems, grouped by what the power covers")


def _mark(axes: Axes, row: Mapping[str, Any], y: float, colour: str) -> None:
    """A range as a bar, its middle as the marker of its origin."""
    low, high = row["ends"]
    if high > low:
        axes.plot([low, high], [y, y], color=colour, linewidth=5, alpha=0.35,
                  solid_capstyle="butt")
    marker, filled = MARKERS[row["status"]]
    axes.plot([row["value"]], [y], marker=marker, color=colour, markersize=6,
              markerfacecolor=colour if filled else PANEL, markeredgewidth=1.3, linestyle="none")


def _legend(figure: Figure, statuses: Sequence[str], narrow: bool) -> None:
    handles = [Line2D([], [], marker=MARKERS[s][0], linestyle="none", color=MUTED,
                                markerfacecolor=MUTED if MARKERS[s][1] else PANEL, label=s)
               for s in statuses]
    figure.legend(handles=handles, loc="outside upper left", ncols=2 if narrow else len(handles),
                  frameon=False, fontsize=8, labelcolor=MUTED, handletextpad=0.2,
                  columnspacing=1.2)


def plot_quality(document: Mapping[str, Any], width: float) -> str | None:
    """Bits per byte against joules per token, of whatever has both."""
    points = [row for row in _points(document) if row["bits_per_byte"] is not None]
    if not points:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = _figure(width, 3.0)
        placed: list[tuple[Mapping[str, Any], bool]] = []
        for row in sorted(points, key=lambda row: row["value"]):
            low, high = (1 / end for end in reversed(row["ends"]))
            _mark(axes, {**row, "ends": (low, high), "value": 1 / row["value"]},
                  row["bits_per_byte"], OURS if row["ours"] else OTHER)
            below = _goes_below(row, points, placed)
            placed.append((row, below))
            axes.annotate(row["name"], (1 / row["value"], row["bits_per_byte"]),
                          (0, -7 if below else 6), textcoords="offset points", ha="center",
                          va="top" if below else "bottom", fontsize=8, color=INK)
        axes.set_xscale("log")
        axes.set_ylim(0, 1.35 * max(row["bits_per_byte"] for row in points))
        axes.margins(x=0.25)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: with_prefix(value, "J")))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("energy per token")
        axes.set_ylabel("bits per byte, less is better")
        return _svg(figure, f"quality-{_tag(width)}",
                    f"Bits per byte against energy per token of {len(points)} systems")


def _goes_below(row: Mapping[str, Any], points: Sequence[Mapping[str, Any]],
                placed: Sequence[tuple[Mapping[str, Any], bool]]) -> bool:
    """Tell if a name is written below its point, since another one is in the way above it."""
    def near(other: Mapping[str, Any]) -> bool:
        return (other is not row and abs(math.log10(other["value"] / row["value"])) < 1.5
                and abs(other["bits_per_byte"] - row["bits_per_byte"]) < 0.5)

    return (any(near(other) and other["bits_per_byte"] > row["bits_per_byte"] for other in points)
            or any(near(other) and other["bits_per_byte"] == row["bits_per_byte"] and not below
                   for other, below in placed))


def _points(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Everything with an energy: systems of the document, then rows of the field."""
    points = []
    for system in document["systems"]:
        energy = system["figures"]["tokens_per_joule"]
        if energy["value"] is not None:
            low, high = ends(energy)
            points.append({
                "name": f"Trilight, {system['name'].partition(':')[0]}"
                if system["kind"] == "device" else system["name"],
                "ours": system["kind"] == "device", "boundary": energy["boundary"],
                "status": energy["provenance"], "value": energy["value"],
                # A logarithmic axis has no zero.
                "ends": (max(low, energy["value"] / 1000), high),
                "bits_per_byte": system["figures"]["bits_per_byte"]["value"],
                "quality_data": document["quality"]["dataset"]})
    for row in document["field"]:
        low, high = row["tokens_per_joule"]
        points.append({
            "name": row["name"], "ours": False, "boundary": row["boundary"],
            "status": row["status"], "value": (low * high) ** 0.5, "ends": (low, high),
            "bits_per_byte": row["bits_per_byte"], "quality_data": row["quality_data"]})
    return points


def _tag(width: float) -> str:
    return "wide" if width >= WIDE else "narrow"


PLOTS: dict[str, Plot] = {"parts": plot_parts, "stages": plot_stages, "time": plot_time,
                          "field": plot_field, "quality": plot_quality}
"""Plots by the name under which the page knows them."""
