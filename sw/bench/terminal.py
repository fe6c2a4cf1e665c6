"""A benchmark's document on a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from trilight.hw.support.terminal import Console
from trilight.sw.report.display import format_number

from .figures import (
    BOUNDARIES,
    limits,
    origin,
    read_figure,
    scaled,
    span,
    with_prefix,
)

__all__ = ["headline", "print_document", "print_field"]


FIELD_COLUMNS = {"status": 9, "tokens/s": 8, "energy/token": 16, "GTMAC/J": 13, "bits/byte": 9}
"""Columns of the field besides the system's name, and their widths."""

DISPENSABLE = ("GTMAC/J", "bits/byte")
"""Columns that a narrow terminal leaves out until ``NAME_WIDTH`` is left for names."""

NAME_WIDTH = 15


def headline(document: Mapping[str, Any]) -> str:
    """The one sentence of a document: energy with its limits and origin, quality beside it."""
    found = document["headline"]
    energy, quality = found["tokens_per_joule"], found["bits_per_byte"]
    said = (f"{quality['value']:.3f} bits per byte" if quality["value"] is not None
            else f"quality not known ({quality['reason']})")
    if energy["value"] is None:
        return f"tokens per joule not known ({energy['reason']}); {said}"
    ends = limits(energy)
    how_sure = f" ({span(*ends)}, {_level(energy)})" if ends else " (no interval)"
    return (f"{format_number(energy['value'])} tokens per joule{how_sure}, "
            f"{BOUNDARIES[energy['boundary']].title}, {origin(energy)}; {said}")


def _level(figure: Mapping[str, Any]) -> str:
    return "90 % interval" if figure["interval"] else "expanded uncertainty, k = 2"


def print_document(document: Mapping[str, Any], console: Console) -> None:
    """Show the headline, all systems, what else is known of the first, and every warning."""
    first = document["systems"][0]
    work = document["workload"]
    console.print(Panel(Group(
        f"[bold]{escape(headline(document))}[/]",
        f"[dim]{escape(first['device']['description'])}. {len(work['prompts'])} prompts, "
        f"{work['n_generated_tokens']} tokens generated, model {document['model']['sha256'][:12]}, "
        f"workload {work['sha256'][:12]}.[/]"), title=f"Trilight bench: {escape(first['name'])}",
        title_align="left", expand=False), highlight=False)
    console.print(_systems(document["systems"]))
    console.print(_latencies(document["systems"]))
    if first["clocks"]:
        console.print(_clocks(first["clocks"]))
    for line in _secondary(first):
        console.print(line, highlight=False)
    _print_reasons(document["systems"], console)
    for warning in document["warnings"]:
        if warning["about"] != "field":
            console.print(f"[bold yellow]Warning:[/] {escape(warning['text'])}", highlight=False)
    console.print("The field: trilight field, or --html.", style="dim")
    for note in document["notes"]:
        console.print(note, style="dim", highlight=False)


def _table(*columns: str, left: int = 1, title: str | None = None) -> Table:
    """A table whose first ``left`` columns hold words."""
    table = Table(box=None, title=title, title_justify="left", pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < left else "right",
                         min_width=len(name))
    return table


def _cell(figure: Mapping[str, Any] | None, unit: str | None = None) -> str:
    """Value over its range, the unit with a prefix if there is one."""
    if figure is None or figure["value"] is None:
        return "-"
    value = figure["value"]
    ends = limits(figure)
    if unit is None:
        return format_number(value) + (f"\n[dim]{span(*ends)}[/]" if ends else "")
    shown = with_prefix(value, unit)
    return shown + (f"\n[dim]{with_prefix(ends[0], unit, ends[1])}[/]"
                    if ends else "")


def _systems(systems: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = _table("system", "tokens/s", "energy/token", "tokens/J", "bits/byte", "covers",
                   "tokens")
    for system in systems:
        figures = system["figures"]
        quality = figures["bits_per_byte"]["value"]
        energy = figures["joules_per_token"]
        table.add_row(
            f"[bold]{escape(system['name'])}[/]", _cell(figures["tokens_per_s"]),
            _cell(energy, "J"), _cell(figures["tokens_per_joule"]),
            "-" if quality is None else f"{quality:.3f}",
            f"{energy['boundary']}\n[dim]{origin(energy)}[/]" if energy["boundary"] else "-",
            "same" if system["tokens"]["same_as_reference"] else "[yellow]differ[/]")
    return table


def _latencies(systems: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Times of a query, speeds that they leave open, and memory."""
    table = _table("system", "first token", "query, p95", "prompt, t/s", "answer, t/s",
                   "by CPU time, t/s", "model, bytes", "RAM, bytes")
    for system in systems:
        figures = system["figures"]
        table.add_row(
            escape(system["name"]), _cell(figures.get("time_to_first_token_s"), "s"),
            _cell(figures.get("query_latency_p95_s"), "s"),
            *(_cell(figures.get(f"{name}_tokens_per_s"))
              for name in ("prefill", "decode", "processor")),
            *(_cell(figures.get(f"{name}_bytes")) for name in ("model", "working")))
    return table


def _clocks(clocks: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = _table("clock", "tokens/s", "core power", "energy/token", "tokens/J",
                   title="\nModelled at other clocks, with the same activity")
    for point in clocks:
        figures = point["figures"]
        table.add_row(f"{point['clock_hz'] / 1e6:g} MHz", _cell(figures["tokens_per_s"]),
                      _cell(asdict(scaled(read_figure(figures["power_mw"]), 1e-3, "W", "")), "W"),
                      _cell(figures["joules_per_token"], "J"), _cell(figures["tokens_per_joule"]))
    return table


def _secondary(system: Mapping[str, Any]) -> list[str]:
    """Further figures of energy, none of which replaces the total."""
    figures = system["figures"]
    lines = []
    for name, label, unit in (
            ("joules_per_byte", "Energy per byte", "J"),
            ("joules_per_token_above_idle", "Above idle (beside the total, not for it)", "J"),
            ("modelled_joules_per_token", "The model's prediction per token", "J"),
            ("wh_per_1000_queries", "Energy of 1,000 queries", "Wh"),
            ("gco2e_per_1000_queries", "Carbon of 1,000 queries", "gCO2e")):
        figure = figures.get(name)
        if figure and figure["value"] is not None:
            ends = limits(figure)
            limit = f" ({with_prefix(ends[0], unit, ends[1])})" if ends else ""
            lines.append(f"{label}: {with_prefix(figure['value'], unit)}{limit}, "
                         f"[dim]{escape(figure['source'])}[/]")
    if parts := system["energy_by_part"]:
        shares = sorted(((part["value"] / parts["total"], name)
                         for name, part in parts["parts"].items()), reverse=True)
        lines.append("Energy goes to " + ", ".join(
            f"{escape(name)} {share:.0%}" for share, name in shares if share >= 0.01) + ".")
    return lines


def _print_reasons(systems: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Why figures of the table are missing, each reason once."""
    reasons: dict[str, list[str]] = {}
    for system in systems:
        for name in ("tokens_per_s", "joules_per_token", "bits_per_byte"):
            figure = system["figures"][name]
            if figure["value"] is None:
                reasons.setdefault(figure["reason"], []).append(f"{system['name']} {name}")
    for reason, names in reasons.items():
        console.print(f"Not known: {escape(', '.join(names))}. Reason: {escape(reason)}.",
                      highlight=False)


def print_field(rows: Sequence[Mapping[str, Any]], ours: Mapping[str, Any] | None,
                console: Console) -> None:
    """Show the rows of the field by boundary, a system of ours among them if it has an energy.

    Parameters
    ----------
    rows
        Rows that ``field.rival_entry`` makes.
    ours
        A row of the same form.
    console
        Terminal to show them on.
    """
    columns = dict(FIELD_COLUMNS)
    for column in DISPENSABLE:
        if console.width - sum(1 + width for width in columns.values()) < NAME_WIDTH:
            del columns[column]
    first = True
    for name, boundary in BOUNDARIES.items():
        inside = [row for row in [*rows, *([ours] if ours else [])] if row["boundary"] == name]
        if not inside:
            continue
        table = Table(box=None, pad_edge=False, show_header=first,
                      title=f"[bold]{boundary.title}[/]", title_justify="left", width=console.width)
        table.add_column("system", ratio=1)
        for column, width in columns.items():
            table.add_column(column, width=width,
                             justify="left" if column == "status" else "right")
        for row in sorted(inside, key=lambda row: min(row["joules_per_token"])):
            macs = row["giga_ternary_macs_per_joule"]
            cells = {
                "status": row["status"],
                "tokens/s": "-" if row["tokens_per_s"] is None
                else format_number(row["tokens_per_s"]),
                "energy/token": with_prefix(row["joules_per_token"][0], "J",
                                            row["joules_per_token"][1]),
                "GTMAC/J": "-" if macs is None else span(*macs),
                "bits/byte": "-" if row["bits_per_byte"] is None
                else f"{row['bits_per_byte']:.2f}"}
            table.add_row(escape(row["name"]), *(cells[column] for column in columns),
                          style="bold green" if row is ours else "")
        console.print(table)
        first = False
    if gone := [column for column in FIELD_COLUMNS if column not in columns]:
        console.print(f"A wider terminal, or --json, shows {', '.join(gone)} too.", style="dim",
                      highlight=False)
    console.print("GTMAC/J: ternary weights used per joule, in billions. Statuses: measured by "
                  "the source, claimed without its instrument, vendor estimate by a tool, "
                  "projected by the authors, assumed by us.", style="dim", highlight=False)
    console.print("[bold yellow]Warning:[/] figures under different boundaries do not compare, nor "
                  "do those of different status; and no two rows ran the same model.",
                  highlight=False)
