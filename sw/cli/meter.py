"""``trilight meter``: list, read and check meters, and work out kept sessions."""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from trilight.hw.support.terminal import Console
from trilight.sw.errors import MeterError
from trilight.sw.meters.analysis import Measurement, Quantity
from trilight.sw.meters.base import (
    BEGIN,
    END,
    GROUP,
    SYSTEM_CLOCK,
    Clock,
    Recorded,
    Recording,
    ask_on_terminal,
    open_meter,
    wait,
)
from trilight.sw.meters.calibrate import check_meter
from trilight.sw.meters.session import SessionLog, finish

from .console import check_folder, write_json

__all__ = ["meter_commands", "print_measurement"]

meter_commands = typer.Typer(
    no_args_is_help=True,
    help="List, read and check power meters; work out kept sessions.",
    epilog="A meter is written NAME[:ARGUMENT][,key=value...], as in ina226:1/0x40,shunt=1.0, "
           "csv:run.csv,current=I\\[mA] or rapl. Each takes boundary=fpga_core, fpga_rails, board, "
           "host or gpu, and correction=FILE, which trilight meter check writes.")

CHECK_S = 5.0
"""Seconds for which a meter is read with nothing and with the known load."""

MeterArgument = Annotated[str, typer.Argument(
    metavar="METER", help="NAME[:ARGUMENT][,key=value...]; trilight meter list shows the names.")]
MeterJsonOption = Annotated[Path | None, typer.Option(
    "--json", metavar="FILE", help="Also write the results to this file as JSON.")]


@meter_commands.command("list")
def list_meters() -> None:
    """Show the meters that are installed and how each is written."""
    table = Table("meter", "written", box=None)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            text = (entry.load().__doc__ or "").strip().splitlines()[0]
        except ImportError as error:
            text = f"Not available: {error}"
        table.add_row(entry.name, escape(text.removeprefix("Meter ").replace("`", "").rstrip(".")))
    Console().print(table)


@meter_commands.command("read")
def read_meter(
    meter: MeterArgument,
    seconds: Annotated[float, typer.Option(
        "--seconds", "-s", min=0.1, help="How long to read.")] = 5.0,
    json_file: MeterJsonOption = None,
) -> None:
    """Read a meter for some seconds and show mean, scatter and rate."""
    if json_file is not None:
        check_folder(json_file)
    recording = record(meter, seconds)
    metadata = recording.metadata
    table = Table("", "mean", "scatter", "min", "max", box=None)
    for name, unit, values in (("voltage", "V", recording.volts),
                               ("current", "A", recording.amperes),
                               ("power", "W", recording.watts)):
        if values is not None and values.size:
            table.add_row(name, *(f"{float(value):.6g} {unit}" for value in (
                values.mean(), values.std(), values.min(), values.max())))
    console = Console()
    console.print(table)
    rate = "" if metadata.rate_hz is None else f", {metadata.rate_hz:.3g} a second"
    console.print(f"{recording.t_s.size:,} readings{rate}; boundary {recording.boundary}; "
                  f"{metadata.type}: {metadata.accuracy}", highlight=False, markup=False)
    for warning in recording.warnings:
        console.print(f"Note: {warning}", style="yellow", markup=False)
    if json_file is not None:
        write_json(json_file, recording.to_dict())


@meter_commands.command("check")
def check_command(
    meter: MeterArgument,
    resistor: Annotated[float, typer.Option(
        "--resistor", "-r", metavar="OHM", help="Value of the known load.")],
    out: Annotated[Path, typer.Option(
        "--out", "-o", metavar="FILE", help="Correction to write, for correction=FILE.")],
    tolerance: Annotated[float, typer.Option(
        "--tolerance", help="Limit of the resistor's error, as a fraction.")] = 0.01,
) -> None:
    """Check a meter with nothing and with a resistor behind it, and store the correction.

    Choose the resistor for about the device's current: 120 ohm draws 10 mA from 1.2 V.
    """
    check_folder(out)
    correction = check_meter(open_meter(meter), seconds=CHECK_S, ohms=resistor, tolerance=tolerance,
                             ask=ask_on_terminal)
    correction.save(out)
    console = Console()
    console.print(f"true current = {correction.gain:.5f} x (reading - "
                  f"{correction.offset_a * 1e3:.4g} mA), gain to {2 * correction.u_gain:.2%} "
                  f"(k = 2)\nwritten to {out}; use it as {meter},correction={out}",
                  highlight=False, markup=False)
    if correction.warning:
        console.print(f"Note: {correction.warning}", style="yellow", markup=False)


@meter_commands.command("analyse")
def analyse_session(
    session: Annotated[Path, typer.Argument(
        metavar="SESSION", help="What a measurement kept, trilight-session-TIME.json.")],
    meter: Annotated[str | None, typer.Option(
        "--meter", "-m", metavar="METER", help="Recording that came afterwards, such as "
                                               "csv:run.csv. Default: the session's own.")] = None,
    json_file: MeterJsonOption = None,
) -> None:
    """Work out joules per token from a kept session, with a recording of another instrument.

    The recording is aligned by the steps between idle and busy that it shows.
    """
    if json_file is not None:
        check_folder(json_file)
    log = SessionLog.load(session)
    measurement = finish(log, None if meter is None else read_file(meter))
    if json_file is not None:
        write_json(json_file, measurement.to_dict())
    print_measurement(measurement, Console())


def read_file(spec: str) -> Recording:
    """The recording of a meter that is a file; raises ``MeterError`` for any other."""
    meter = open_meter(spec)
    if not isinstance(meter, Recorded):
        raise MeterError(f"meter {spec!r} is no recording; give one, as in csv:run.csv")
    return meter.read()


def record(spec: str, seconds: float, clock: Clock = SYSTEM_CLOCK) -> Recording:
    """Read a meter for some seconds, or the file that it is."""
    meter = open_meter(spec, clock=clock)
    if isinstance(meter, Recorded):
        return meter.read()
    meter.start()
    meter.mark(f"{BEGIN}reading")
    with Progress(TextColumn("reading"), BarColumn(), TimeRemainingColumn(), transient=True,
                  console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=seconds)
        wait(clock, seconds, lambda gone: bar.advance(task, gone), 0.2)
    meter.mark(f"{END}reading")
    return meter.stop()


def print_measurement(measurement: Measurement, console: Console) -> None:
    """Show a result as a table."""
    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("energy per token", _quantity(measurement.joules_per_token))
    table.add_row("  above idle", _quantity(measurement.above_idle))
    idle = "unknown" if measurement.idle_w is None else f"{measurement.idle_w * 1e3:.4g} mW"
    table.add_row("power", f"{measurement.active_w * 1e3:.4g} mW computing, {idle} waiting")
    table.add_row("tokens per second", f"{measurement.tokens_per_s:,.1f}")
    table.add_row("boundary", f"{measurement.boundary}, {measurement.provenance}")
    table.add_row("meter", escape(f"{measurement.meter.type}; {measurement.meter.accuracy}"))
    alignment = measurement.alignment
    table.add_row("time", escape(f"{alignment.method}, to {alignment.u_s * 1e3:.3g} ms"))
    used = [window for window in measurement.windows if window.unused is None]
    table.add_row("windows", f"median of {len(used)}: " + ", ".join(
        f"{(window.joules_per_token or 0) * 1e6:.5g}" for window in used) + " µJ")
    console.print(table)
    for warning in measurement.warnings:
        console.print(f"Note: {warning}", style="yellow", markup=False, highlight=False)


def _quantity(quantity: Quantity) -> str:
    if quantity.value is None or quantity.u_k2 is None:
        return "unknown"
    return f"{quantity.value * 1e6:.5g} µJ ± {quantity.u_k2 * 1e6:.2g} µJ (k = 2)"
