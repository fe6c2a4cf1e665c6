"""``trilight bench`` and ``trilight field``."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.markup import escape

from trilight.hw.support.extras import pip_install
from trilight.hw.support.terminal import Console
from trilight.sw.bench.baselines import baseline_names
from trilight.sw.bench.benchmark import Settings, run_benchmark
from trilight.sw.bench.document import Protocol
from trilight.sw.bench.field import load_field, rival_entry
from trilight.sw.bench.ours import entry_of_file, entry_of_release
from trilight.sw.bench.system import AssumedPower, Carbon
from trilight.sw.bench.terminal import print_document, print_field
from trilight.sw.bench.workload import SEED, TEMPERATURE, TOKENS, Workload, load_prompts
from trilight.sw.errors import BenchError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model

from .console import check_clock, check_folder, progress_bar, write_file, write_json

__all__ = ["bench_command", "field_command"]

ModelOption = Annotated[Path | None, typer.Option(
    "--model", "-m", metavar="FILE", help="Model file. Default: the bundled one.")]
JsonOption = Annotated[Path | None, typer.Option(
    "--json", metavar="FILE", help="Also write the results to this file as JSON.")]


def bench_command(
    target: Annotated[str, typer.Option(
        "--target", help="What is benchmarked: reference, rtl, netlist, bitstream or serial:PORT.",
        )] = "netlist",
    meter: Annotated[str | None, typer.Option(
        "--meter", metavar="METER",
        help="Meter in the target's supply, as in ina226:1/0x40,shunt=1.0; without one, energy is "
             "modelled from counted activity.")] = None,
    baselines: Annotated[str, typer.Option(
        "--baselines", metavar="NAMES",
        help=f"The same model on this computer too, by commas: {', '.join(baseline_names())}.",
        )] = "",
    clock: Annotated[list[float] | None, typer.Option(
        "--clock", metavar="HZ", help="Also model the target at this clock; may be repeated.",
        )] = None,
    prompts: Annotated[Path | None, typer.Option(
        "--prompts", metavar="FILE", help="Prompts, one on each line. Default: five bundled "
                                          "ones.")] = None,
    tokens: Annotated[int, typer.Option(
        "--tokens", "-n", help="Characters to generate after each prompt.")] = TOKENS,
    temperature: Annotated[float, typer.Option("--temperature", "-t")] = TEMPERATURE,
    seed: Annotated[int, typer.Option(
        "--seed", "-s", help="Of the first prompt; each further one adds 1.")] = SEED,
    model: ModelOption = None,
    host_watts: Annotated[float | None, typer.Option(
        "--host-watts", metavar="W",
        help="Power of this computer with one core busy, for baselines that no meter sees; their "
             "energy is then modelled.",
        )] = None,
    host_watts_source: Annotated[str | None, typer.Option(
        "--host-watts-source", metavar="TEXT", help="Where that number is from.")] = None,
    carbon: Annotated[float | None, typer.Option(
        "--carbon", metavar="G", help="Carbon intensity of the electricity, gCO2e per kWh.",
        )] = None,
    carbon_source: Annotated[str | None, typer.Option(
        "--carbon-source", metavar="TEXT", help="Where that number is from.")] = None,
    windows: Annotated[int, typer.Option(
        "--windows", min=1, help="Windows of a measurement.")] = Protocol.windows,
    seconds: Annotated[float, typer.Option(
        "--seconds", min=0.1, help="Length of each; below 10 a warning says so.",
        )] = Protocol.window_s,
    idle_seconds: Annotated[float, typer.Option(
        "--idle-seconds", min=0.1, help="Waiting before and after.")] = Protocol.idle_s,
    json_file: JsonOption = None,
    html_file: Annotated[Path | None, typer.Option(
        "--html", metavar="FILE", help="Also write a page with plots, all in one file.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")] = False,
) -> None:
    """Measure speed, energy and quality with a fixed workload, beside baselines and the field.

    [bold]Examples[/]

      trilight bench                                   the simulated chip, energy modelled

      trilight bench --clock 12e6 --clock 24e6 --clock 36e6 --html bench.html

      trilight bench --target serial:/dev/ttyUSB1 --meter ina226:1/0x40,shunt=1.0

      trilight bench --target reference --baselines numpy,numba,torch

    Every figure says where it is from and what it covers. docs/report.md explains them.
    """
    check_folder(json_file)
    check_folder(html_file)
    render = _page() if html_file is not None else None
    for hertz in clock or ():
        check_clock(hertz)
    loaded = Model.load(model or default_model_path())
    workload = Workload(prompts=load_prompts(prompts), tokens=tokens, temperature=temperature,
                        seed=seed)
    host_power = _stated(host_watts, host_watts_source, "--host-watts")
    intensity = _stated(carbon, carbon_source, "--carbon")
    console = Console(stderr=True, quiet=quiet)
    document = run_benchmark(
        loaded, workload,
        Settings(target=target, meter=meter, clocks_hz=tuple(clock or ()),
                 baselines=tuple(name for name in baselines.split(",") if name),
                 host_power=host_power and AssumedPower(*host_power),
                 carbon=intensity and Carbon(*intensity),
                 protocol=Protocol(windows=windows, window_s=seconds, idle_s=idle_seconds)),
        say=lambda text: console.print(escape(text), style="dim"),
        watch=lambda what: progress_bar(console, what))
    if json_file is not None:
        write_json(json_file, document)
    if html_file is not None and render is not None:
        write_file(html_file, render(document).encode())
    if not quiet:
        print_document(document, Console())


def _page() -> Callable[[Mapping[str, Any]], str]:
    """What makes the page, if it has all that it needs."""
    try:
        return cast(Callable[[Mapping[str, Any]], str],
                    import_module("trilight.sw.bench.page").render_page)
    except ImportError as error:
        raise BenchError(f"--html needs a package that is not installed: {error}; "
                         + pip_install("trilight[plots]")) from error


def _stated(value: float | None, source: str | None, option: str) -> tuple[float, str] | None:
    """A number of the user's, which comes with its source or not at all."""
    if value is None and source is None:
        return None
    if value is None or source is None or not source.strip():
        raise BenchError(f"{option} and {option}-source belong together: a number without its "
                         "source is not printed; give both")
    if not value > 0:
        raise BenchError(f"{option} must be positive, not {value:g}")
    return value, source


def field_command(
    report: Annotated[Path | None, typer.Option(
        "--report", metavar="FILE", help="Stand this benchmark's JSON file beside the field. "
                                         "Default: the released build, modelled.")] = None,
    model: ModelOption = None,
    json_file: JsonOption = None,
) -> None:
    """Show published figures of other systems, with ours beside them.

    Each row names its boundary (what the watts cover) and its status (how the number came about).
    """
    check_folder(json_file)
    ours = (entry_of_file(report) if report
            else entry_of_release(Model.load(model or default_model_path())))
    rows = [rival_entry(rival) for rival in load_field()]
    print_field(rows, ours, Console())
    if json_file is not None:
        write_json(json_file, {"ours": ours, "field": rows})
