"""The energy of a token as a picture, SVG made by hand: no library, and any page can hold it."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from trilight.hw.support.terminal import visible

__all__ = ["LABELS", "energy_svg", "label"]

LABELS = {
    "weight_memory": "weight memory",
    "row_sums": "adder tree, row sums",
    "vector_unit": "vector unit",
    "clock_tree": "clock tree, flip-flops",
    "oscillator": "oscillator, PLL",
    "glu": "GLU",
}
"""Names of parts and stages where they differ from the plain words."""

WIDTH, LEFT, RIGHT = 720, 170, 150
ROW, BAR, GAP, TITLE = 24, 14, 18, 26
COLOURS = ("#4063a3", "#c2703d", "#4f8a5b")
FONT = "font-family='sans-serif' font-size='12'"


def label(name: object) -> str:
    """A part, stage or layer in words."""
    if isinstance(name, int):
        return f"layer {name + 1}"
    return LABELS.get(str(name), str(name).replace("_", " "))


def energy_svg(energy: Mapping[str, Any]) -> str:
    """Draw what ``energy_by_part`` returned: bars with their 90 % intervals, by part, stage, layer.
    """
    groups: list[tuple[str, Sequence[tuple[str, Mapping[str, Any]]]]] = [
        ("by part", [(label(name), entry) for name, entry in energy["parts"].items()]),
        ("by stage", [(label(name), entry) for name, entry in energy["by_stage"].items()]),
        ("by layer", [(label(entry["layer"]), entry) for entry in energy["by_layer"]]),
    ]
    largest = max(entry["interval"]["p95"] for _, rows in groups for _, entry in rows)
    scale = (WIDTH - LEFT - RIGHT) / largest
    total = energy["total"]
    shapes: list[str] = []

    def text(x: float, y: float, words: str, more: str = "") -> None:
        shapes.append(f"<text x='{x:.1f}' y='{y:.1f}' {FONT} fill='currentColor' {more}>"
                      f"{escape(visible(words))}</text>")

    interval = energy["interval"]
    y = float(TITLE)
    text(8, y, f"Energy of a token at {energy['clock_hz'] / 1e6:g} MHz: {total:,.0f} nJ "
               f"({interval['p05']:,.0f} to {interval['p95']:,.0f}), modelled, FPGA core"
               + (", uncalibrated" if energy["calibration"] == "uncalibrated" else ""),
         "font-weight='bold'")
    for (title, rows), colour in zip(groups, COLOURS, strict=True):
        y += GAP + ROW
        text(8, y, title, "font-style='italic'")
        for name, entry in rows:
            y += ROW
            low, high = (LEFT + scale * entry["interval"][end] for end in ("p05", "p95"))
            middle = y - BAR / 2 + 2
            text(LEFT - 8, y, name, "text-anchor='end'")
            shapes.append(f"<rect x='{LEFT}' y='{middle - BAR / 2:.1f}' height='{BAR}' "
                          f"width='{scale * entry['value']:.1f}' fill='{colour}'/>")
            shapes.append(f"<path d='M{low:.1f} {middle - 4:.1f}v8m0 -4H{high:.1f}m0 -4v8' "
                          "stroke='currentColor' fill='none'/>")
            text(high + 8, y, f"{entry['value']:,.0f} nJ, {entry['value'] / total:.1%}")
    height = y + GAP
    return (f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}' "
            f"width='{WIDTH}' height='{height:.0f}' role='img' "
            "aria-label='energy of a token by part, stage and layer'>\n"
            + "\n".join(shapes) + "\n</svg>\n")
