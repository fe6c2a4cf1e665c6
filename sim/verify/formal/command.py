"""The command that runs the proofs: ``trilight formal``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from trilight.hw.flow.build import design_sha256, find_board
from trilight.hw.support.boards import DEFAULT_BOARD
from trilight.hw.support.terminal import Console
from trilight.sw.cli.console import progress_bar, replace_json, stoppable

from .proofs import PROOFS
from .prover import prove
from .results import leave_topic, row, stands


def _print(results: list[dict[str, Any]]) -> None:
    table = Table(box=None)
    for name in ("proof", "method", "cycles", "verdict", "s", "with its fault", "s "):
        right = {"justify": "right"} if name in ("cycles", "s", "s ") else {}
        table.add_column(name, **right)  # type: ignore[arg-type]  # a literal
    for result in results:
        table.add_row(result["name"], result["method"] + (", small" if result["small"] else ""),
                      str(result["cycles"]), result["verdict"], f"{result['seconds']:.1f}",
                      result["with_fault"], f"{result['seconds_with_fault']:.1f}")
    Console(width=110).print(table)


def formal_command(
    names: Annotated[list[str] | None, typer.Argument(
        metavar="[NAME]...",
        help="Proofs whose names begin so, such as link. Default: all.")] = None,
    json: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Write verdicts, times, claims and faults there too.")] = None,
) -> None:
    """Prove claims about the gateware, each with a fault that has to refute it.

    A verdict is kept in the cache by its content, so only what has changed is proved again, and
    after Ctrl-C the same command goes on. Processor time in seconds.
    """
    console = Console(stderr=True)
    chosen = [proof for proof in PROOFS if proof.name.startswith(tuple(names or [""]))]
    if not chosen:
        raise typer.BadParameter(f"no proof begins with {' or '.join(names or ())}; there is "
                                 + ", ".join(proof.name for proof in PROOFS))
    results: list[dict[str, Any]] = []
    try:
        with stoppable(console), progress_bar(console, "proving") as progress:
            for number, proof in enumerate(chosen):
                progress(number, len(chosen))
                results.append(row(proof, prove(proof), prove(proof, broken=True)))
            if len(results) == len(PROOFS):
                leave_topic(results)
            if json is not None:
                replace_json(json, {
                    "command": "make formal ARGS=\"--json docs/results/proofs.json\"",
                    "design_sha256": design_sha256(find_board(DEFAULT_BOARD)),
                    "proofs": results})
    finally:
        if results:
            _print(results)
    if not all(map(stands, results)):
        raise typer.Exit(1)
