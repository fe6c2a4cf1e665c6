"""Tokens per joule against the clock, for each source that can make it."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from trilight.hw.support.extras import pip_install
from trilight.hw.support.terminal import visible
from trilight.sw.errors import PowerError

from .activity import Activity
from .coefficients import CoefficientSet
from .estimate import estimate_power
from .parts import Breakdown

__all__ = ["SOURCES", "clock_curve", "curve_svg"]

SOURCES: dict[str, tuple[dict[str, bool], tuple[float, ...]]] = {
    "the board's oscillator": ({}, (12e6,)),
    "internal oscillator (HFOSC)": ({"hfosc": True}, (6e6, 12e6, 24e6, 48e6)),
    "PLL": ({"pll": True}, (16e6, 20e6, 24e6, 30e6, 36e6, 42e6, 48e6)),
}
"""Arguments of ``estimate_power`` for each source, and clocks that it makes. HFOSC is 10 % off
at worst, too much for a serial port of a fixed speed: its points are for designs without one."""

COLOURS = ("#c2703d", "#4f8a5b", "#4063a3")


def clock_curve(breakdown: Breakdown, windows: Sequence[Activity], *,
                voltage_v: float | None = None, temperature_c: float | None = None,
                coefficients: CoefficientSet | None = None) -> list[dict[str, Any]]:
    """Points of every source: ``source``, ``clock_hz``, ``tokens_per_s``, ``tokens_per_joule``.

    Parameters
    ----------
    breakdown, windows
        Activity of a build, per clock cycle, and of each of its windows.
    voltage_v, temperature_c, coefficients
        See ``estimate_power``.
    """
    points = []
    for source, (oscillators, clocks) in SOURCES.items():
        for hz in clocks:
            power = estimate_power(breakdown.activity, hz, voltage_v=voltage_v,
                                   temperature_c=temperature_c, windows=windows,
                                   coefficients=coefficients, **oscillators).power_mw
            per_second = hz / breakdown.cycles_per_token
            points.append({"source": source, "clock_hz": hz, "tokens_per_s": per_second,
                           "tokens_per_joule": asdict(power.reciprocal(1e3 * per_second))})
    return points


def curve_svg(points: Sequence[dict[str, Any]], caption: str) -> str:
    """Draw what ``clock_curve`` returned.

    Raises
    ------
    PowerError
        Matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PowerError("the curve needs Matplotlib, which is not installed: "
                         + pip_install("trilight[plots]")) from error
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    for colour, source in zip(COLOURS, SOURCES, strict=True):
        own = [point for point in points if point["source"] == source]
        megahertz = [point["clock_hz"] / 1e6 for point in own]
        figures = [point["tokens_per_joule"] for point in own]
        middle = [figure["p50"] for figure in figures]
        axes.plot(megahertz, middle, "o-", color=colour, markersize=5, label=source,
                  zorder=3 if len(own) > 1 else 4)
        if source == "PLL":
            axes.fill_between(megahertz, [figure["p05"] for figure in figures],
                              [figure["p95"] for figure in figures], color=colour, alpha=0.12,
                              linewidth=0, label="90 % interval, PLL")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("clock, MHz")
    axes.set_ylabel("tokens per joule of the FPGA core, modelled")
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    axes.legend(frameon=False, loc="lower right")
    figure.supxlabel(visible(caption), fontsize=8, color="#666666")
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "trilight", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
