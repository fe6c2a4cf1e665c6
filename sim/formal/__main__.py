"""The command that runs the proofs: ``python -m trilight.sim.formal``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from trilight.sw.console import progress_bar, write_json
from trilight.sw.errors import TrilightError

from .proofs import PROOFS
from .prover import Proof, Verdict, prove

VERDICTS = {True: "holds", False: "refuted", None: "undecided"}


def _row(proof: Proof, verdict: Verdict, fault: Verdict) -> dict[str, Any]:
    """What the table says of a proof."""
    return {
        "name": proof.name,
        "claim": proof.claim,
        "method": proof.method,
        "cycles": proof.depth,
        "small": bool(proof.sizes),
        "verdict": VERDICTS[verdict.holds],
        "seconds": verdict.seconds,
        "fault": f"hw/{proof.fault.file}: {proof.fault.new.strip()!r} "
                 f"for {proof.fault.old.strip()!r}",
        "with_fault": VERDICTS[fault.holds],
        "seconds_with_fault": fault.seconds,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None)
    for name in ("proof", "method", "cycles", "verdict", "s", "with its fault", "s "):
        right = {"justify": "right"} if name in ("cycles", "s", "s ") else {}
        table.add_column(name, **right)  # type: ignore[arg-type]  # a literal
    for row in rows:
        table.add_row(row["name"], row["method"] + (", small" if row["small"] else ""),
                      str(row["cycles"]), row["verdict"], f"{row['seconds']:.1f}",
                      row["with_fault"], f"{row['seconds_with_fault']:.1f}")
    Console(width=110).print(table)


def main(
    names: Annotated[list[str] | None, typer.Argument(
        metavar="[NAME]...", help="Proofs whose names begin so, such as link. "
                                  "Default: all that have been decided.")] = None,
    json: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Write verdicts, times, claims and faults there too.")] = None,
) -> None:
    """Prove claims about the gateware, each with a fault that has to refute it.

    A verdict is kept in the cache by its content, so only what has changed is proved again, and
    after Ctrl-C the same command goes on. Processor time in seconds.
    """
    console = Console(stderr=True)
    chosen = [proof for proof in PROOFS
              if (proof.name.startswith(tuple(names)) if names else not proof.undecided)]
    if not chosen:
        raise typer.BadParameter(f"no proof begins with {' or '.join(names or ())}; there is "
                                 + ", ".join(proof.name for proof in PROOFS))
    rows = []
    try:
        with progress_bar(console, "proving") as progress:
            for number, proof in enumerate(chosen):
                progress(number, len(chosen))
                rows.append(_row(proof, prove(proof), prove(proof, broken=True)))
        if json is not None:
            write_json(json, {"proofs": rows})
    except TrilightError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on", style="dim")
        raise typer.Exit(130) from None
    finally:
        if rows:
            _print(rows)
    if any(row["verdict"] != "holds" or row["with_fault"] != "refuted" for row in rows):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
