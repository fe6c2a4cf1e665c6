"""Provenance of what is published: does it belong to the present design?

Whether the gateware is right is for the tests to say. This says whether the figures of a release
and the records of long campaigns were made with the gateware as it is now.
"""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Self

import typer
from rich.markup import escape
from rich.table import Table

from trilight.hw.flow.build import BoardDesign, build, design_sha256, find_board, synthesise
from trilight.hw.support.terminal import Console
from trilight.hw.support.tools import Progress
from trilight.sim.wasm.library import build_info_of
from trilight.sim.wasm.release import (
    has_same_sources,
    is_released,
    load_module,
    release_module,
)
from trilight.sw.cli.console import check_folder, write_json
from trilight.sw.errors import ReportError, SimulationError
from trilight.sw.report.releases import Release, load_releases, released_builds
from trilight.sw.report.summary import write_section

__all__ = ["Origin", "Record", "campaign_records", "check_modules",
           "check_releases", "release_check_command"]

SCHEMA = "trilight/release-check/v1"



class Origin(StrEnum):
    """Design that a record was made with."""

    PRESENT = "this design"
    OTHER = "another design"
    UNNAMED = "no design named"
    UNKNOWN = "not comparable"


@dataclass(frozen=True, kw_only=True)
class Record:
    """Figures that belong to one design."""

    name: str
    release: bool
    """True for a release, which has to be of the present design; else a campaign."""
    origin: Origin
    reason: str
    """Reason why it is not of the present design; empty if it is."""
    command: str
    """Command that makes the record again."""

    @classmethod
    def of(cls, name: str, found: str | None, present: Iterable[str], command: str, *,
           release: bool = False) -> Self:
        """Compare a digest in a record with those of the present designs."""
        if found is None:
            origin, reason = Origin.UNNAMED, "it holds no design_sha256"
        elif found in present:
            origin, reason = Origin.PRESENT, ""
        else:
            origin, reason = Origin.OTHER, f"it is of design {found[:12]}"
        return cls(name=name, release=release, origin=origin, reason=reason, command=command)


def check_releases(releases: Mapping[str, Mapping[str, Any]], *, rebuild: bool = False,
                   progress: Progress) -> tuple[list[Record], set[str]]:
    """Compare every release with the design of its board.

    Parameters
    ----------
    releases
        By name of the board.
    rebuild
        Also place and route each design again, and compare the bitstreams.

    Returns
    -------
    list of Record
    set of str
        Digests of the boards' present designs.

    Raises
    ------
    BoardError, BuildError
        A board is not installed, or a tool failed.
    """
    records, designs = [], set()
    for name, release in releases.items():
        board = find_board(name, frequency=release["clock_hz"], baud=release.get("baud"))
        digest = design_sha256(board)
        designs.add(digest)
        records.append(_check_release(name, board, release, digest, rebuild, progress))
    return records, designs


def check_modules(releases: Mapping[str, Release], *, rebuild: bool = False,
                  progress: Progress) -> list[Record]:
    """Compare the compiled netlist of every release that has one with the design of its board.

    The parameters are those of ``check_releases``; ``rebuild`` compiles it again and compares the
    bytes.
    """
    return [record for name, release in releases.items()
            for record in _check_module(name, find_board(
                name, frequency=release["clock_hz"], baud=release.get("baud")), rebuild, progress)]


def _check_release(name: str, board: BoardDesign, release: Mapping[str, Any], digest: str,
                   rebuild: bool, progress: Progress) -> Record:
    record = Record.of(f"release of {name}", release["design_sha256"], [digest],
                       f"trilight build {name} --release", release=True)
    made_with, here = release["tools"]["amaranth"], version("amaranth")
    if record.origin is Origin.OTHER and made_with != here:
        return Record(**vars(record) | {
            "origin": Origin.UNKNOWN,
            "reason": f"it was made with Amaranth {made_with}, here is {here}, which may write the "
                      "same design in another way"})
    if record.origin is Origin.PRESENT and rebuild and "seed" in release:
        built = build(board, seeds=[release["seed"]], progress=progress).figures
        if built["bitstream_sha256"] != release["bitstream_sha256"]:
            return Record(**vars(record) | {
                "origin": Origin.OTHER,
                "reason": f"its bitstream is {release['bitstream_sha256'][:12]}, and the same "
                          f"design and seed now give {built['bitstream_sha256'][:12]}"})
    return record


def _check_module(name: str, board: BoardDesign, rebuild: bool, progress: Progress
                  ) -> Iterator[Record]:
    what, command = f"module of {name}", f"trilight build {name} --release"
    try:
        code = load_module(name)
        if code is None:
            return
        record = Record.of(what, build_info_of(code)["design_sha256"], [design_sha256(board)],
                           command, release=True)
    except SimulationError as error:
        yield Record(name=what, release=True, origin=Origin.UNNAMED, reason=str(error),
                     command=command)
        return
    reason = ""
    if not is_released(code, name):
        reason = "its SHA-256 is not that in the figures of the release"
    elif record.origin is Origin.PRESENT and not has_same_sources(build_info_of(code)):
        reason = "its sources have changed, though not the design; without Amaranth nobody knows"
        record = Record(**vars(record) | {"command": f"trilight build {name} --wasm"})
    elif record.origin is Origin.PRESENT and rebuild:
        made = gzip.decompress(release_module(synthesise(board, progress), progress))
        reason = "" if made == code else _difference(code, made)
    yield record if not reason else Record(**vars(record) | {
        "origin": Origin.OTHER, "reason": reason})


def _difference(code: bytes, made: bytes) -> str:
    """Say what is known of why a module that was compiled again has other bytes."""
    old, new = build_info_of(code), build_info_of(made)
    for name in ("tools", "netlist_sha256", "sources_sha256"):
        if old[name] != new[name]:
            return f"compiled again it is another one: its {name} was {old[name]}, is {new[name]}"
    return "compiled again with the same tools it has other bytes"


def campaign_records(folder: Path, present: Iterable[str]) -> list[Record]:
    """Records of campaigns on a design, in the JSON files of a folder.

    A record is an object that holds ``design_sha256``, or a list of proofs, beside its ``command``.

    Raises
    ------
    ReportError
        There is no such folder, or a file in it is not JSON.
    """
    if not folder.is_dir():
        raise ReportError(f"there is no folder {folder}; run this in a checkout, or name the "
                          "folder with --results")
    present = set(present)
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ReportError(f"{path} cannot be read as JSON: {error}") from error
        for keys, found in _campaigns(document):
            name = ": ".join((path.name, *keys))
            records.append(Record.of(name, found.get("design_sha256"), present,
                                     found.get("command", "see docs/")))
    return records


def _campaigns(document: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...],
                                                                            dict[str, Any]]]:
    if not isinstance(document, dict):
        return
    if "design_sha256" in document or "proofs" in document:
        yield keys, document
        return
    for key, part in document.items():
        yield from _campaigns(part, (*keys, key))


def release_check_command(
    results: Annotated[Path, typer.Option(
        "--results", metavar="FOLDER", help="Records of campaigns.")] = Path("docs/results"),
    strict: Annotated[bool, typer.Option(
        "--strict", help="Also fail for campaigns of another design.")] = False,
    rebuild: Annotated[bool, typer.Option(
        "--rebuild", help="Also build each released bitstream and each compiled netlist again and "
                          "compare the files; takes minutes.")] = False,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the findings to this file as JSON.")] = None,
) -> None:
    """Check that releases and campaign records belong to the present design.

    The figures of a release, and its bitstream, have to be of this very gateware: exit status 1 if
    they are not. Records of campaigns that take hours (soak, mutation, faults, proofs) may lag
    behind; each that does is shown with the command that repeats it.
    """
    check_folder(json_file)
    console = Console(stderr=True)

    def progress(text: str) -> None:
        console.print(escape(text), style="dim")

    records, designs = check_releases(released_builds(), rebuild=rebuild, progress=progress)
    records += check_modules(load_releases(), rebuild=rebuild, progress=progress)
    records += campaign_records(results, designs)
    _print(records, Console())
    lagging = [record for record in records if record.origin is not Origin.PRESENT]
    failed = [record for record in lagging
              if record.origin is not Origin.UNKNOWN and (record.release or strict)]
    if json_file is not None:
        write_json(json_file, {
            "schema": SCHEMA, "designs": sorted(designs), "strict": strict,
            "failed": bool(failed), "records": [asdict(record) for record in records]})
    write_section("release", "Records of this design", [
        ("releases", sum(r.release and r not in lagging for r in records),
         f"of {sum(r.release for r in records)}"),
        ("campaigns", sum(not r.release and r not in lagging for r in records),
         f"of {sum(not r.release for r in records)}")], command="make release-check")
    if failed:
        raise typer.Exit(1)


def _print(records: Iterable[Record], console: Console) -> None:
    table = Table("record", "made with", "to make it again", box=None)
    for record in records:
        lags = record.origin is not Origin.PRESENT
        table.add_row(escape(record.name),
                      f"[{'red' if record.release else 'yellow'}]{record.origin.value}[/]" if lags
                      else record.origin.value,
                      escape(f"{record.command} ({record.reason})") if lags else "")
    console.print(table)
