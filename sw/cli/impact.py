"""``trilight impact``: what a day or a year of use costs, and saves beside another way."""

import enum
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trilight.hw.support.boards import DEFAULT_BOARD, board_device
from trilight.hw.support.terminal import Console
from trilight.sw.bench.field import Rival, load_field
from trilight.sw.errors import ImpactError
from trilight.sw.impact.account import Way, compare, cost, sci, training
from trilight.sw.impact.assumptions import Assumption, load_assumptions
from trilight.sw.impact.exports import EXPORTS, export
from trilight.sw.impact.ways import bench_way, chip_way, read_system, rival_way, whole_board
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.report.releases import load_releases

from .console import check_folder, write_file, write_json

__all__ = ["impact_command"]

Export = enum.StrEnum("Export", {name: name for name in EXPORTS})  # type: ignore[misc]  # the names are those of the exports


def impact_command(
    model: Annotated[Path | None, typer.Option(
        "--model", "-m", metavar="FILE", help="Model file. Default: the bundled one.")] = None,
    board: Annotated[str, typer.Option(
        "--board", metavar="NAME", help="Board whose released chip runs it.")] = DEFAULT_BOARD,
    against: Annotated[str, typer.Option(
        "--against", metavar="WAY", help="The other way: a system of trilight field, by a part "
                                         "of its name; another model file, on the same board; or "
                                         "a system that trilight bench --json ran, as "
                                         "FILE.json:SYSTEM.")] = "5950X",
    changes: Annotated[list[str] | None, typer.Option(
        "--set", metavar="NAME=VALUE", help="Change an assumption, such as queries_per_day=50 or "
                                            "grid_g_per_kwh=40; may be repeated.")] = None,
    form: Annotated[Export | None, typer.Option(
        "--export", help="Also write the board's day in the columns of this tool, to "
                         "--out.")] = None,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", metavar="FILE", help="File of --export.")] = None,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the results to this file as JSON.")] = None,
) -> None:
    """Show what using a model costs over a day and a year, and what another way would.

    Every assumption is named, with its source, and can be changed. Energies have the boundary that
    they were measured or modelled in; where two differ, that is said, for then the saving is not
    one.

    [bold]Examples[/]

      trilight impact --against 5950X --set queries_per_day=50

      trilight impact --against small.safetensors      two models on one board

      trilight impact --against bench.json:c --set rest_of_board_watts=0.3

      trilight impact --export codecarbon --out emissions.csv
    """
    for path in (json_file, out):
        check_folder(path)
    if (form is None) != (out is None):
        raise ImpactError("--export and --out go together; give both")
    assumptions = load_assumptions(changes or [])
    path = model or default_model_path()
    loaded = Model.load(path)
    ours = _on_board(loaded, board, assumptions)
    other = _other_way(against, board, assumptions)
    results = _results(loaded, ours, other, assumptions)
    _show(results, ours, other, assumptions)
    if form is not None and out is not None:
        write_file(out, export(form.value, ours, path.stem, assumptions).encode())
    if json_file is not None:
        write_json(json_file, results)


def _on_board(model: Model, board: str, assumptions: dict[str, Assumption]) -> Way:
    releases = load_releases()
    if board not in releases:
        raise ImpactError(f"no build of {board} is released, so its power is not known; there is "
                          f"{', '.join(releases)}")
    return whole_board(chip_way(model, releases[board], board_device(board), assumptions),
                       assumptions)


def _other_way(against: str, board: str, assumptions: dict[str, Assumption]) -> Way:
    """The way that ``--against`` means: another model, a run of the benchmark, or the field."""
    file, _, system = against.partition(".json:")
    if system or against.endswith(".json"):
        path = Path(f"{file}.json" if system else against)
        return bench_way(read_system(path, system or None), assumptions)
    if against.endswith(".safetensors"):
        found = _on_board(Model.load(Path(against)), board, assumptions)
        return replace(found, name=f"{found.name}, {Path(against).stem}")
    return rival_way(_find(against), assumptions)


def _find(part: str) -> Rival:
    rows = load_field()
    found = [row for row in rows if part.casefold() in f"{row.name} {row.device}".casefold()]
    if len(found) != 1:
        names = "; ".join(row.name for row in found or rows)
        raise ImpactError(f"--against {part!r} names {'several' if found else 'none'} of the "
                          f"field's systems: {names}")
    return found[0]


def _results(model: Model, ours: Way, other: Way, assumptions: dict[str, Assumption]
             ) -> dict[str, Any]:
    def described(way: Way, embodied: str, price: str) -> dict[str, Any]:
        return {**asdict(way), "day_joules": asdict(way.day_joules),
                "sci": sci(way, assumptions, embodied), "cost": cost(way, assumptions, price)}

    return {
        "model_sha256": model.sha256,
        "assumptions": {name: asdict(found) for name, found in assumptions.items()},
        "ours": described(ours, "embodied_kg", "board_price"),
        "other": described(other, "other_embodied_kg", "other_price"),
        "saved": compare(ours, other, assumptions),
        "training": training(model, ours, other, assumptions),
    }


def _show(results: dict[str, Any], ours: Way, other: Way,
          assumptions: dict[str, Assumption]) -> None:
    console = Console(highlight=False)
    table = Table("", escape(ours.name), escape(other.name), box=None)

    def row(what: str, mine: float | None, theirs: float | None, unit: str) -> None:
        table.add_row(what, *(f"{value:,.3g} {unit}" if value is not None else "not known"
                              for value in (mine, theirs)))

    table.add_row("boundary", ours.boundary, other.boundary)
    table.add_row("energies are", ours.provenance, other.provenance)
    row("quality", ours.bits_per_byte, other.bits_per_byte, "bits/byte")
    row("time to the first token", _milli(ours.first_token_s), _milli(other.first_token_s), "ms")
    row("a query, 95 of 100 within", _milli(_p95(ours)), _milli(_p95(other)), "ms")
    row("busy, of a day", ours.busy_s, other.busy_s or None, "s")
    row("energy of a day, busy", ours.busy_joules.p50, other.busy_joules.p50, "J")
    row("energy of a day, idle", ours.idle_joules.p50 if ours.idle_joules else None,
        other.idle_joules.p50 if other.idle_joules else None, "J")
    row("configuring and loading", ours.start_joules, other.start_joules or None, "J")
    row("energy of a day", ours.day_joules.p50, other.day_joules.p50, "J")
    for name in ("operational", "embodied"):
        row(f"carbon, {name}", results["ours"]["sci"][name], results["other"]["sci"][name],
            "g per million tokens")
    for name in ("electricity", "hardware"):
        row(f"cost, {name}", results["ours"]["cost"][name], results["other"]["cost"][name],
            "cents per million tokens")
    console.print(table)
    saved = results["saved"]
    console.print(
        f"\nIn {saved['days']:,.0f} days: [bold]{saved['kwh']:,.3g} kWh[/], "
        f"{saved['co2e_kg']:,.3g} kg CO2e and {saved['money']:,.3g} currency units between the "
        f"two; {saved['ratio']:,.3g} times the energy.", soft_wrap=True)
    if not saved["same_boundary"]:
        console.print(f"[yellow]These are energies of {ours.boundary} and of {other.boundary}: "
                      "the difference is no saving at the plug.[/]", soft_wrap=True)
    if trained := results["training"]:
        after = trained["break_even_tokens"]
        console.print(
            f"Training took {trained['kwh']:,.3g} kWh, teachers included "
            f"({trained['provenance']})" + (f"; use has saved it after {after:,.3g} tokens."
                                            if after else "."), soft_wrap=True)
    console.print("\nAssumed; --set NAME=VALUE changes it:", style="dim")
    names = Table(box=None, show_header=False)
    for name, found in assumptions.items():
        names.add_row(name, f"{found.value:g} {found.unit}", escape(found.source), style="dim")
    console.print(names)


def _p95(way: Way) -> float | None:
    return way.latency_s["p95"] if way.latency_s else None


def _milli(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds
