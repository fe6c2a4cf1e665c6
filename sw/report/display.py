"""Words of a report: its figures as rows for people, and numbers as they are written there."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table

from trilight.hw.support.terminal import Console

__all__ = ["PART_NAMES", "ReportRow", "format_number", "print_report", "report_rows"]

_ROWS = (
    ("Cycles per token", "cycles_per_token", 1, ""),
    ("Engine utilisation", "utilisation", 100, "%"),
    ("Clock of the chip", "clock_hz", 1e-6, "MHz"),
    ("Speed of the chip", "tokens_per_s", 1, "tokens/s"),
    ("Power of the core", "power_mw", 1, "mW"),
    ("Tokens per joule", "tokens_per_joule", 1, "tokens/J"),
    ("Energy per byte", "joules_per_byte", 1e6, "uJ/byte"),
    ("Quality of the model", "bits_per_byte", 1, "bits/byte"),
    ("Speed of this run", "host_tokens_per_s", 1, "tokens/s"),
)
"""Label, figure, factor that brings it to the unit, unit."""

PART_NAMES = {
    "leakage": "leakage",
    "clock": "clock tree",
    "ff": "flip-flops",
    "net": "logic and nets",
    "ebr": "block RAM",
    "spram": "SPRAM",
    "dsp": "DSP",
    "hfosc": "oscillator",
    "pll": "PLL",
    "ebr_repeat": "block RAM, same address",
    "spram_repeat": "SPRAM, same address",
    "form": "form of the model",
    "activity": "spread between tokens",
}


class ReportRow(NamedTuple):
    """A figure in words."""

    label: str
    name: str
    """Key in ``figures``."""
    value: str
    unit: str
    span: str
    """The 90 % interval, or nothing."""
    provenance: str
    source: str


def report_rows(report: Mapping[str, Any]) -> Iterator[ReportRow]:
    """The figures of a report that people are shown, as far as they are known."""
    for label, name, scale, unit in _ROWS:
        figure = report["figures"][name]
        if figure["value"] is None:
            continue
        interval = figure["interval"]
        span = (" to ".join(format_number(interval[end] * scale) for end in ("p05", "p95"))
                if interval else "")
        exact = figure["provenance"] == "counted"
        yield ReportRow(label, name, format_number(figure["value"] * scale, exact=exact), unit,
                        span, figure["provenance"], figure["source"])


def print_report(report: Mapping[str, Any], console: Console, *, whole: bool = True) -> None:
    """Show a report's figures for people, energy always beside quality.

    Parameters
    ----------
    whole : bool
        With the source of each, where the power goes and what is left out; else in 12 lines, each
        figure with its range and its provenance in a word.
    """
    model = report["model"]
    console.print(f"Trilight on [bold]{escape(report['target'])}[/bold], "
                  f"{model['ternary_weights']:,} ternary weights, model {model['sha256'][:12]}",
                  highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    # On a narrow screen it is a range, or a source, that takes a second line.
    for number, fixed in enumerate((True, True, True, False, not whole)):
        table.add_column(justify="right" if number == 1 else "left", no_wrap=fixed)
    for row in report_rows(report):
        source = f": {escape(row.source)}" if whole else ""
        table.add_row(row.label, row.value, row.unit, row.span, row.provenance + source)
    unknown: dict[str, list[str]] = {}
    for label, name, *_ in _ROWS:
        if (figure := report["figures"][name])["value"] is None:
            unknown.setdefault(figure["reason"], []).append(label.lower())
    console.print(table, highlight=False)
    if not whole:
        rest = "Energy is the FPGA core's alone. --report says where each figure comes from"
        if unknown:
            names = ", ".join(label for labels in unknown.values() for label in labels)
            rest += f", and why these are not known: {names}"
        console.print(f"{rest}.", style="dim", highlight=False, soft_wrap=True)
        return
    if found := report["build"]:
        area = ", ".join(f"{name} {number:,}" for name, number in found["resources"].items())
        console.print(f"Built for {found['board']}, {found['part']}: {area}; "
                      f"{found['clock_hz'] / 1e6:g} MHz, {found['clock_source']}.",
                      highlight=False)
    for reason, labels in unknown.items():
        console.print(f"Not known: {', '.join(labels)}. Reason: {escape(reason)}.", highlight=False)
    if power := report["power"]:
        console.print(f"Ranges are 90 % intervals. Power goes to {_shares(power['split_mw'])}; "
                      f"the range comes from {_shares(power['variance_share'])}.",
                      highlight=False)
        for note in report["notes"]:
            console.print(note, style="dim", highlight=False)


def format_number(value: float, *, exact: bool = False) -> str:
    """Three significant digits; of an exact number all digits before the point."""
    if abs(value) < 100:
        return f"{value:.3g}"
    return f"{value if exact else float(f'{value:.3g}'):,.0f}"


def _shares(parts: Mapping[str, float]) -> str:
    """Parts of at least 1 %, the largest first."""
    total = sum(parts.values())
    large = sorted(((value / total, name) for name, value in parts.items()
                    if value >= 0.01 * total), reverse=True)
    return ", ".join(f"{PART_NAMES[name]} {share:.0%}" for share, name in large)
