"""Bits per byte against memory, as a picture."""

import io
from collections.abc import Sequence
from itertools import groupby

from trilight.hw.support.extras import pip_install
from trilight.sw.errors import MissingPackageError

from .anchors import Anchor

__all__ = ["anchors_svg"]

_WAYS = {"adaptive": ("o", "learns the held-out text while it reads"),
         "cold": ("D", "pieces of 1/64, each from a cold state"),
         "windows": ("s", "windows of 256 characters")}
"""Marker of a figure, and the words for it."""

_COLOURS = ("#4063a3", "#6b6b6b", "#8a4f7d", "#3f7f86", "#a33f55", "#7d6b3a", "#50505f")
_OURS = "#d2601a"

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def anchors_svg(others: Sequence[Anchor], ours: Sequence[Anchor]) -> str:
    """Draw what is known of each predictor's memory: a mark for each way of measuring, a colour for
    each name, in lines where there are several of a name.

    Raises
    ------
    MissingPackageError
        Matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
        from matplotlib.ticker import FuncFormatter, LogLocator
    except ImportError as error:
        raise MissingPackageError("a plot needs Matplotlib, which is not installed; "
                                  + pip_install("trilight[plots]")) from error
    figure = Figure(figsize=(8.5, 6), layout="constrained")
    axes = figure.subplots()
    handles = []
    groups = [(name, list(rows)) for name, rows in groupby(
        (row for row in others if row.memory_bytes), key=lambda row: row.name)]
    colours = [*_COLOURS] * (1 + len(groups) // len(_COLOURS))
    styled = [(name, rows, colour, 6) for (name, rows), colour in zip(
        groups, colours, strict=False)] + [("this model", list(ours), _OURS, 10)]
    for name, rows, colour, size in styled:
        for way, (marker, _) in _WAYS.items():
            points = sorted((row.memory_bytes or 0, bits) for row in rows
                            if (bits := getattr(row, way)) is not None)
            if points:
                axes.plot(*zip(*points, strict=True), marker=marker, color=colour, markersize=size,
                          markerfacecolor=colour if way == "adaptive" else "white",
                          linestyle="-" if way == "adaptive" else ":", linewidth=1)
        handles.append(Line2D([], [], color=colour, linewidth=3, label=name))
    handles += [Line2D([], [], color="black", marker=marker, linestyle="", label=words,
                       markerfacecolor="black" if way == "adaptive" else "white")
                for way, (marker, words) in _WAYS.items()]
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _bytes(value)))
    axes.tick_params("x", rotation=45)
    axes.set_xlabel("memory of the model, its weights or tables")
    axes.set_ylabel("bits per byte of held-out text")
    axes.grid(alpha=0.3)
    axes.legend(handles=handles, fontsize="small", loc="upper right")
    out = io.StringIO()
    with rc_context({"svg.hashsalt": "trilight"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _bytes(size: float) -> str:
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size:g}"
