"""Results of the proofs, as files and on a page."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trilight.sw.report.summary import FOLDER, write_section

from .prover import Proof, ProofVerdict

__all__ = ["leave_topic", "markdown_rows", "row", "stands"]

VERDICTS = {True: "holds", False: "refuted", None: "not shown"}


def row(proof: Proof, verdict: ProofVerdict, fault: ProofVerdict) -> dict[str, Any]:
    """A proof and its two verdicts, for the real gateware and for that with the fault."""
    return {
        "name": proof.name,
        "claim": proof.claim,
        "method": proof.method,
        "cycles": proof.depth,
        "small": proof.small,
        "verdict": VERDICTS[verdict.holds],
        "seconds": verdict.seconds,
        "fault": f"hw/{proof.fault.file}: {proof.fault.new.strip()!r} "
                 f"for {proof.fault.old.strip()!r}",
        "with_fault": VERDICTS[fault.holds],
        "seconds_with_fault": fault.seconds,
    }


def stands(result: Mapping[str, Any]) -> bool:
    """Tell if a proof holds, and not with its fault."""
    return (result["verdict"], result["with_fault"]) == ("holds", "refuted")


def markdown_rows(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines of the table of proofs in ``docs/proofs.md``; seconds with and without the fault."""
    return [f"| `{result['name']}` | {result['method']}{', small' if result['small'] else ''} "
            f"| {result['cycles']} | {result['seconds']:.0f} | {result['seconds_with_fault']:.0f} "
            f"| {result['claim']} |" for result in results]


def leave_topic(results: Sequence[Mapping[str, Any]], *, folder: Path = FOLDER) -> None:
    """Leave a section for the summary of all checks."""
    total = sum(result["seconds"] + result["seconds_with_fault"] for result in results)
    write_section("formal", "Formal proofs", [
        ("hold, and are refuted by a fault", sum(map(stands, results)), f"of {len(results)}"),
        *(("without a bound, by " + method, sum(result["method"] == method for result in results),
           "") for method in ("induction", "every state")),
        ("processor time", round(total), "s")], command="make formal", folder=folder)
