"""Command that tests a board and sums it up in a word: ``trilight selftest``."""

import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.markup import escape
from rich.table import Table

from trilight.hw.support.terminal import Console
from trilight.sw.api import open_board
from trilight.sw.host.selftest import Verdict, selftest
from trilight.sw.report.releases import load_releases

from .console import check_folder, write_json

__all__ = ["selftest_command"]

COLOURS = {Verdict.PASS: "green", Verdict.SLOW: "yellow", Verdict.NOISY: "yellow",
           Verdict.WRONG: "red", Verdict.DEAD: "red"}


def selftest_command(
    target: Annotated[str, typer.Option(
        "--target", help="What to test: serial:PORT (a board), or reference, rtl, netlist, "
                         "bitstream.")],
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write all that was found to this file, to attach to a "
                                       "report of different numbers.")] = None,
    seed: Annotated[int, typer.Option(
        "--seed", "-s", min=0, help="Of the random words that are written to its memories.")] = 7,
) -> None:
    """Test a board: identity, link, weight memory, tokens, cycles and rate; then a verdict.

    pass: all as it should be. slow: right, with more cycles or a lower rate than its design has.
    noisy: right, but frames were lost on the line. wrong: other tokens than the integer reference,
    or a memory that does not keep what is written. dead: it stopped answering. The exit status is 1
    unless it passes. The model in its memory is lost; one in flash is loaded again at power-up.
    """
    check_folder(json_file)
    console, waiting = Console(), Console(stderr=True)

    def progress(text: str) -> None:
        waiting.print(escape(text), style="dim")

    with open_board(target, progress=progress) as board:
        result = selftest(board, cast("dict[str, dict[str, object]]", load_releases()), seed=seed,
                          progress=lambda step: progress(f"Testing {step}"))
    table = Table(box=None, show_header=False)
    for finding in result.findings:
        colour = COLOURS[finding.verdict]
        table.add_row(f"[{colour}]{finding.verdict}[/]", finding.step, escape(finding.text))
    console.print(table)
    console.print(f"\n[{COLOURS[result.verdict]}]{result.verdict}[/]")
    if json_file is not None:
        write_json(json_file, result.to_dict() | {
            "version": metadata.version("trilight"), "platform": platform.platform(),
            "python": platform.python_version(), "seed": seed})
    if result.verdict is not Verdict.PASS:
        raise typer.Exit(1)
