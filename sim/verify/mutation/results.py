"""Results of a campaign by module: for people, and as JSON."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.table import Table

from trilight.sw.errors import SimulationError
from trilight.sw.records import read_record
from trilight.sw.report.summary import write_section

__all__ = ["MutantResult", "asked_again", "document", "summarise", "survivors", "table"]

VERDICTS = ("killed", "equivalent", "survived")


@dataclass(frozen=True)
class MutantResult:
    """A mutant and what became of it."""

    module: str
    """Module, or source of the host, that was mutated."""
    mutation: str
    """The fault."""
    sources: tuple[str, ...]
    """File and line, from the repository's root."""
    verdict: str
    """One of ``VERDICTS``."""
    by: str = ""
    """Check that saw it first, or proof that it is equivalent."""
    how: str = ""
    """The difference that was seen."""


def _count(results: Iterable[MutantResult]) -> dict[str, Any]:
    return _figures(Counter(result.verdict for result in results))


def _figures(counted: Counter[str]) -> dict[str, Any]:
    """Figures of some mutants; ``score`` is the share of those that change anything."""
    found: dict[str, Any] = {"tried": sum(counted[verdict] for verdict in VERDICTS)}
    found |= {verdict: counted[verdict] for verdict in VERDICTS}
    changing = found["tried"] - found["equivalent"]
    found["score"] = round(found["killed"] / changing, 4) if changing else None
    return found


def document(results: Sequence[MutantResult], *, chosen: int, seed: int, command: str,
             **design: Any) -> dict[str, Any]:
    """Figures by module, and every mutant that was not killed; JSON-able.

    Parameters
    ----------
    results
        Mutants that were tried, out of ``chosen``.
    command
        Command that made it.
    design
        Added as they are.
    """
    modules = sorted({result.module for result in results})
    return {
        "command": command,
        "quality": "counted",
        "seed": seed,
        "chosen": chosen,
        **design,
        "all": _count(results),
        "modules": {module: _count(result for result in results if result.module == module)
                    for module in modules},
        "killed_by": dict(sorted(Counter(
            result.by for result in results if result.verdict == "killed" and result.by).items())),
        "not_killed": [_entry(result) for result in results if result.verdict != "killed"],
    }


def _entry(result: MutantResult) -> dict[str, Any]:
    return {field.name: getattr(result, field.name) for field in fields(MutantResult)}


def _not_killed(found: dict[str, Any]) -> list[MutantResult]:
    return [read_record(MutantResult, result, SimulationError, "mutant")
            for result in found["not_killed"]]


def survivors(found: dict[str, Any]) -> list[MutantResult]:
    """The survivors of ``document``."""
    return [result for result in _not_killed(found) if result.verdict == "survived"]


def asked_again(found: dict[str, Any], results: Sequence[MutantResult]) -> dict[str, Any]:
    """The figures of ``document`` after survivors were asked by a regression that says more.

    What was killed stays so: nothing that the regression said has been taken away. ``results`` are
    those of the survivors, again.
    """
    now = {result.mutation: result for result in results}
    left = [result for before in _not_killed(found)
            if (result := now.get(before.mutation, before)).verdict != "killed"]

    def counts(before: dict[str, Any], module: str | None = None) -> dict[str, Any]:
        counted = Counter(result.verdict for result in left if module in (None, result.module))
        counted["killed"] = before["tried"] - counted.total()
        return _figures(counted)

    killed_by = Counter(found["killed_by"])
    killed_by.update(result.by for result in results if result.verdict == "killed" and result.by)
    return found | {
        "all": counts(found["all"]),
        "modules": {name: counts(before, name) for name, before in found["modules"].items()},
        "killed_by": dict(sorted(killed_by.items())),
        "not_killed": [_entry(result) for result in left],
    }


def summarise(found: dict[str, Any], folder: Path) -> None:
    """Leave a section for the summary at the end of a CI run."""
    write_section("mutation", "Mutants", [(verdict, found["all"][verdict], "mutants")
                                        for verdict in ("tried", *VERDICTS)],
                seed=found["seed"], command=found["command"], folder=folder)


def table(found: dict[str, Any], title: str) -> Table:
    """The figures of ``document`` for a terminal."""
    rows = Table(title=title, box=None)
    rows.add_column("module")
    for column in ("tried", *VERDICTS, "killed of changing"):
        rows.add_column(column, justify="right")

    def add(name: str, counts: dict[str, Any], style: str = "") -> None:
        score = "" if counts["score"] is None else f"{100 * counts['score']:.1f} %"
        rows.add_row(name, *(f"{counts[column]:,}" for column in ("tried", *VERDICTS)), score,
                     style=style)

    for module, counts in found["modules"].items():
        add(module, counts)
    add("all", found["all"], "bold")
    return rows
