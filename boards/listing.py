"""The command that lists the boards, and the tables of ``docs/boards.md``."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from trilight.hw.contract.errors import BuildError
from trilight.hw.contract.protocol import boot_cycles
from trilight.hw.flow.toolchain import block_rams, logic
from trilight.hw.support.boards import board_names
from trilight.hw.support.files import write_whole
from trilight.hw.support.terminal import Console, visible

from .releases import all_figures, bitstream_path

__all__ = ["boards_command", "build_rows", "columns_that_fit", "markdown", "speed_rows",
           "start_rows"]

Figures = Mapping[str, Any]

BUILD_HEADINGS = ("board", "FPGA", "clock, MHz", "serial, baud", "logic", "block RAM", "DSP",
                  "allowed clock, MHz, by seed", "flashed")
START_HEADINGS = ("board", "bitstream in flash, bytes", "configuration, ms",
                  "model in flash, bytes", "load, ms", "first token, ms")
SPEED_HEADINGS = ("board", "weights on chip", "model", "its weights", "cycles, one and two",
                  "tokens/s, one and two sequences")

BUILD_ORDER = (8, 6, 3, 5, 7)
SPEED_ORDER = (1, 3, 4)
"""Columns that a narrow terminal has no room for, the least important one first."""

LOGIC_UNITS = {"lc": "LC", "lut4": "LUT4"}


def boards_command(
    markdown_tables: Annotated[bool, typer.Option(
        "--markdown", help="Print the tables of docs/boards.md instead.")] = False,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the figures to this file as JSON.")] = None,
) -> None:
    """List the boards, what was built for each, and what it does.

    Area and clock are those of the released builds, cycles are computed and exact; no figure was
    measured on silicon. trilight build BOARD --release makes or renews a line.
    """
    released = {name: figures for name, figures in all_figures().items() if "capacity" in figures}
    if markdown_tables:
        print(visible(markdown(released)))
    else:
        _print(released, Console())
    if json_file is not None:
        try:
            write_whole(json_file, (json.dumps(released, indent=2) + "\n").encode())
        except OSError as error:
            raise BuildError(f"{json_file} cannot be written: {error.strerror}; name another "
                             "place") from error


def _print(released: Mapping[str, Figures], console: Console) -> None:
    gone: list[str] = []
    # A part's name ends in its package.
    built = [(name, part.rpartition("-")[0] or part, *others)
             for name, part, *others in build_rows(released)]
    for headings, rows, order in ((BUILD_HEADINGS, built, BUILD_ORDER),
                                  (SPEED_HEADINGS, speed_rows(released), SPEED_ORDER)):
        kept = columns_that_fit(headings, rows, order, console.width)
        gone += [heading for index, heading in enumerate(headings) if index not in kept]
        table = Table(box=None)
        for index, chosen in kept.items():
            table.add_column(headings[index], width=chosen)
        for row in rows:
            table.add_row(*(row[index].replace("`", "") for index in kept))
        console.print(table)
    if gone:
        console.print(f"A wider terminal, or --json, shows {', '.join(gone)} too.", style="dim",
                      highlight=False)
    waiting = [name for name in board_names() if name not in released]
    if waiting:
        console.print(f"Not released, and built by trilight build: {', '.join(waiting)}")
    carried = [name for name in released if bitstream_path(name).is_file()]
    if carried:
        console.print(f"Ready-made, for trilight flash: {', '.join(carried)}")


def columns_that_fit(headings: Sequence[str], rows: Sequence[Sequence[str]],
                     order: Sequence[int], width: int) -> dict[int, int]:
    """Return which columns a terminal has room for, and a width of each that cuts no word.

    Parameters
    ----------
    headings, rows
        All of the table; cells of the first column stay whole.
    order
        Columns that may be left out, the least important one first.
    width
        Of the terminal, in characters.
    """
    texts = [(heading, *(row[index] for row in rows)) for index, heading in enumerate(headings)]
    kept = {index: max(map(len, heading.split() + re.findall(r"\S.*?(?:, |$)", "\n".join(cells),
                                                             flags=re.MULTILINE)))
            for index, (heading, *cells) in enumerate(texts)}
    for index in order:
        if sum(kept.values()) + 2 * len(kept) > width:
            del kept[index]
    spare = max(0, width - sum(kept.values()) - 2 * len(kept))
    for index, least in kept.items():
        kept[index] = min(max(map(len, texts[index])), least + spare)
        spare -= kept[index] - least
    return kept


def build_rows(released: Mapping[str, Figures]) -> list[tuple[str, ...]]:
    """Return what was placed, a board a row, as ``BUILD_HEADINGS`` says."""
    return [(
        name, figures["part"], _clock(figures), f"{figures['baud']:,.0f}", _logic(figures),
        str(block_rams(figures["resources"])), str(figures["resources"]["dsp"]),
        _fmax(figures), f"{figures['bitstream_bytes']:,} bytes",
    ) for name, figures in released.items()]


def _clock(figures: Figures) -> str:
    tolerance = figures["clock_tolerance"]
    return (f"{figures['clock_hz'] / 1e6:g}" + (f" ± {100 * tolerance:g} %" if tolerance else "")
            + ("" if figures["timing_signed_off"] else ", not signed off"))


def _logic(figures: Figures) -> str:
    [unit] = [unit for name, unit in LOGIC_UNITS.items() if name in figures["resources"]]
    return f"{logic(figures['resources']):,} {unit}"


def _fmax(figures: Figures) -> str:
    return ", ".join(f"{seed}: {hz / 1e6:.1f}" for seed, hz in figures["fmax_hz"].items())


def speed_rows(released: Mapping[str, Figures]) -> list[tuple[str, ...]]:
    """Return what each board does with the bundled model if it holds it, and the largest one."""
    rows: list[tuple[str, ...]] = []
    for name, figures in released.items():
        capacity = figures["capacity"]
        models = [(f"`{bundled['model']}`", bundled)] if (bundled := capacity["bundled"]) else []
        if bundled is None or capacity["largest"]["weights"] > bundled["weights"]:
            shape = capacity["largest"]["shape"]
            sizes = (f"d_model {shape['d_model']}, {shape['n_layers']} layers, "
                     f"d_hidden {shape['d_hidden']}")
            models.append((sizes, capacity["largest"]))
        for model, found in models:
            rows.append((name, f"{capacity['weights']:,}", model, f"{found['weights']:,}",
                         _pair(found["cycles_per_token"]), _pair(found["tokens_per_s"])))
    return rows


def start_rows(released: Mapping[str, Figures]) -> list[tuple[str, ...]]:
    """Return the times from power-up to a first token of each board that boots.

    The bitstream is read at the rate that the family's file assumes. The load of the bundled model
    is exact, and so is its first token.
    """
    rows: list[tuple[str, ...]] = []
    for name, figures in released.items():
        if "image_bytes" not in figures:
            continue
        configuration = 8 * figures["flashed_bytes"] / figures["configuration_hz"]
        load = boot_cycles(figures["image_bytes"], figures["clock_hz"]) / figures["clock_hz"]
        token = figures["cycles_per_token"] / figures["clock_hz"]
        rows.append((
            name, f"{figures['flashed_bytes']:,}", f"{1e3 * configuration:,.0f}",
            f"{figures['image_bytes']:,}", f"{1e3 * load:,.1f}",
            f"{1e3 * (configuration + load + token):,.0f}"))
    return rows


def _pair(by_sequences: Mapping[str, float]) -> str:
    return ", ".join(f"{value:,.0f}" for value in by_sequences.values())


def markdown(released: Mapping[str, Figures]) -> str:
    """The tables of ``docs/boards.md``."""
    return "\n\n".join((_markdown_table(BUILD_HEADINGS, build_rows(released)),
                        _markdown_table(SPEED_HEADINGS, speed_rows(released)),
                        _markdown_table(START_HEADINGS, start_rows(released))))


def _markdown_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(headings), *rows]
    lines.insert(1, tuple("---" for _ in lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
