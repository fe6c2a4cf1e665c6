"""Summary of a run's checks: a file ``build/ci/SECTION.json`` for each section.

A section is ``{"title": ..., "rows": [[name, value, unit], ...]}``, with ``seed`` and ``command``
where there are such. A check that was not run leaves no file, and the summary says so.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trilight.sw.cli.console import replace_json
from trilight.sw.errors import ReportError
from trilight.sw.records import read_record

__all__ = ["EXPECTED", "FOLDER", "NOT_RUN", "Row", "Section", "gather", "markdown_summary",
           "read_sections", "text_summary", "write_section"]

EXPECTED = ("tests", "coverage", "build", "release", "energy", "mutation", "formal", "bitstream",
            "faults", "time")
"""Sections that a summary shows in any case, in this order."""

GUARD, DEMO = "guard.json", "demo.json"
"""Files of ``trilight guard --json`` and ``trilight generate --json``, beside ``FOLDER``."""

FOLDER = Path("build/ci")

NOT_RUN = "not run"

Row = tuple[str, int | float | str, str]
"""Name, value and unit; the unit is ``""`` where there is none."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Findings of one check."""

    title: str
    rows: tuple[Row, ...]
    seed: int | None = None
    """Seed of its random choices."""
    command: str | None = None
    """Command that makes it again."""


def write_section(section: str, title: str, rows: Iterable[Row], *, seed: int | None = None,
                command: str | None = None, folder: Path = FOLDER) -> Path:
    """Leave a section for the summary, in place of what an earlier run left.

    Parameters
    ----------
    section : str
        Name of the file: small letters, digits and hyphens.
    title : str
    rows : iterable of (str, number or str, str)
        Name, value and unit.
    seed : int, optional
    command : str, optional
    folder : pathlib.Path
        Made unless it is there.

    Raises
    ------
    ReportError
        The name is none of a section, or the file cannot be written.
    """
    if not re.fullmatch(r"[a-z0-9-]+", section):
        raise ReportError(f"a section has small letters, digits and hyphens, not {section!r}")
    data: dict[str, object] = {"title": title, "rows": [list(row) for row in rows]}
    data |= {key: value for key, value in (("seed", seed), ("command", command))
             if value is not None}
    path = folder / f"{section}.json"
    replace_json(path, data)
    return path


def read_sections(folder: Path = FOLDER) -> dict[str, Section]:
    """Return what the checks have left, by section, in the order of their names.

    Raises
    ------
    ReportError
        A file cannot be read or is none of ``write_section``.
    """
    return {path.stem: _read(path) for path in sorted(folder.glob("[a-z0-9]*.json"))}


def _read(path: Path, make: Callable[[Any], Any] = lambda data: data) -> Section:
    """The section that ``make`` makes of a file's JSON."""
    try:
        data = make(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
            RecursionError) as error:
        raise ReportError(f"{path} is no result that a summary knows ({error!r}); make it again, "
                          "or delete it") from error
    try:
        return read_record(Section, data, ReportError, "section of a summary")
    except ReportError as error:
        raise ReportError(f"{path}: {error}; run the check again that leaves it, or delete it"
                          ) from error


def gather(folder: Path = FOLDER) -> dict[str, Section]:
    """Return all sections, those of build and energy from the files of their commands.

    Raises
    ------
    ReportError
        A file cannot be read or is something else.
    """
    sections = read_sections(folder)
    for name, file, make in (("build", GUARD, _build), ("energy", DEMO, _energy)):
        path = folder.parent / file
        if not path.is_file():
            continue
        sections[name] = _read(path, make)
    return sections


def _build(comparisons: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {"title": "Build, beside its record", "command": "make guard", "rows": [
        (c["figure"], c["found"], f"{c['unit']} (recorded {_number(c['recorded'])})".strip())
        for c in comparisons]}


def _energy(report: Mapping[str, Any]) -> dict[str, Any]:
    def rows() -> Iterable[Row]:
        for name in ("tokens_per_s", "joules_per_token", "tokens_per_joule", "bits_per_byte"):
            figure = report["figures"][name]
            if figure["value"] is None:
                yield name, "not known", f"({figure['reason']})"
            else:
                interval = figure["interval"]
                band = f", 90 % within {interval['p05']:.3g} to {interval['p95']:.3g}" if interval \
                    else ""
                yield name, figure["value"], f"{figure['unit']} ({figure['provenance']}{band})"
    return {"title": "Speed, energy and quality of the demo", "command": "make demo",
            "rows": list(rows())}


def _blocks(sections: Mapping[str, Section], expected: Sequence[str]) -> Iterable[Section]:
    """Sections in the expected order, then all others; one that is not there is not run."""
    for name in [*expected, *(name for name in sections if name not in expected)]:
        yield sections.get(name, Section(title=name.capitalize(), rows=((NOT_RUN, "", ""),)))


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _rows(section: Section) -> list[tuple[str, str]]:
    rows = [(name, f"{_number(value)} {unit}".strip()) for name, value, unit in section.rows]
    return rows + ([("seed", str(section.seed))] if section.seed is not None else [])


def text_summary(sections: Mapping[str, Section],
                 expected: Sequence[str] = EXPECTED) -> list[str]:
    """Lines for a terminal.

    Parameters
    ----------
    sections : mapping
        From ``gather``.
    expected : sequence of str
        Sections that are shown first, also where they are missing.
    """
    lines = []
    for section in _blocks(sections, expected):
        lines.append(section.title + (f" ({section.command})" if section.command else ""))
        lines += [f"  {name:<34} {value}".rstrip() for name, value in _rows(section)]
    return lines


def markdown_summary(sections: Mapping[str, Section], expected: Sequence[str] = EXPECTED) -> str:
    """The same as Markdown, for the page of a run."""
    def cell(text: str) -> str:
        return text.replace("|", "\\|")

    parts = []
    for section in _blocks(sections, expected):
        command = f", `{section.command}`" if section.command else ""
        parts.append(f"### {section.title}{command}\n\n| | |\n|---|---|\n" + "".join(
            f"| {cell(name)} | {cell(value)} |\n" for name, value in _rows(section)))
    return "\n".join(parts)
