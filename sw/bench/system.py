"""One system of a benchmark as a JSON-able object: a device or a baseline, in the same form.

Energy comes from the report of the run (modelled from counted activity), from a meter, or from
watts that the user states; what follows from joules per token is computed here for all three.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from trilight.sw.host.generation import LastRun
from trilight.sw.power import Activity, estimate_power
from trilight.sw.power.estimate import ACTIVITY
from trilight.sw.report.figures import Figure, Provenance

from .baselines import BaselineInfo, host_processor
from .figures import BOUNDARIES, read_figure, reciprocal, scaled
from .latency import Latency, latency_figures, latency_of_cycles
from .parts import energy_by_part

__all__ = ["AssumedPower", "Carbon", "Expected", "Pass", "device_system", "is_simulated",
           "local_system"]

JOULES_PER_WH = 3600

SIMULATED = ("reference", "rtl", "netlist")


@dataclass(frozen=True)
class Carbon:
    """Carbon intensity of the electricity, as the user states it."""

    g_per_kwh: float
    source: str


@dataclass(frozen=True)
class AssumedPower:
    """Power of this computer while one core computes, as the user states it."""

    watts: float
    source: str


@dataclass(frozen=True)
class Pass:
    """A baseline's pass over the workload."""

    runs: Sequence[LastRun]
    """A run of each query."""
    firsts: Sequence[LastRun]
    """The same with one token generated."""
    processor_s: float
    """Processor time that ``runs`` took."""

    @property
    def rate(self) -> float:
        """Tokens generated per second, prompts included."""
        return self._tokens / sum(run.host_seconds for run in self.runs)

    @property
    def processor_rate(self) -> float:
        """Tokens generated per second of processor time."""
        return self._tokens / self.processor_s

    @property
    def _tokens(self) -> int:
        return sum(len(run.token_ids) for run in self.runs)

    def latencies(self) -> list[Latency]:
        return [Latency(prompt_tokens=len(run.prompt), tokens=len(run.token_ids),
                        first_s=first.host_seconds, whole_s=run.host_seconds)
                for run, first in zip(self.runs, self.firsts, strict=True)]


@dataclass(frozen=True)
class Expected:
    """Tokens that the integer reference generates for the workload, by query."""

    tokens: tuple[tuple[int, ...], ...]

    def compare(self, runs: Sequence[LastRun]) -> dict[str, Any]:
        """Tell if runs of the same queries gave the same tokens, and where they first did not."""
        difference = next(
            (f"query {number + 1}, token {place + 1}"
             for number, (run, expected) in enumerate(zip(runs, self.tokens, strict=True))
             for place, (got, wanted) in enumerate(zip(run.token_ids, expected, strict=True))
             if got != wanted), None)
        return {"same_as_reference": difference is None, "first_difference": difference}


def device_system(report: Mapping[str, Any], runs: Sequence[LastRun], expected: Expected, *,
                  weights: int, image_bytes: int, release: Mapping[str, Any] | None,
                  clocks_hz: Sequence[float], measurement: Mapping[str, Any] | None,
                  carbon: Carbon | None) -> dict[str, Any]:
    """Describe the device that a workload ran on.

    Parameters
    ----------
    report
        Report of all queries together; see ``trilight.sw.report.report``.
    runs
        One for each query.
    expected
        Tokens of the reference.
    weights
        Ternary weights that a token takes.
    image_bytes
        Bytes of the model as the board gets it.
    release
        The released build that ran, if there is one.
    clocks_hz
        Further clocks to model.
    measurement
        Result of a meter, as JSON object.
    carbon
        Carbon intensity, if stated.
    """
    figures = {name: read_figure(data) for name, data in report["figures"].items()}
    power = report["power"]
    if measurement:
        figures["modelled_joules_per_token"] = figures["joules_per_token"]
        figures |= _measured(measurement)
    per_query = _tokens_per_query(runs) if measurement else _whole_query(runs)
    figures |= _derived(figures["joules_per_token"], runs, per_query, carbon, weights)
    figures |= _chip_latency(figures, latency_of_cycles(runs, figures["clock_hz"].value))
    figures["model_bytes"] = Figure(
        value=image_bytes, unit="bytes", provenance="counted", boundary="chip",
        source="weights, taps, tables and program, as the board gets them")
    return _system(
        name=report["target"], kind="device", arithmetic="integers", figures=figures,
        tokens=expected.compare(runs), measurement=measurement,
        timeline=(_windows(measurement) if measurement
                  else _segments(runs, figures["clock_hz"].value)),
        software=report["tools"],
        warnings=_device_warnings(report, release, clocks_hz, measurement),
        device={
            "description": _describe(report["target"], release),
            "target": report["target"],
            "part": release and release.get("part"),
            "board": release and release["board"],
            "core_v": power and power["voltage_v"],
            "temperature_c": power and power["temperature_c"],
            "temperature_source": "of the coefficients, not measured" if power else None,
            "host": host_processor(),
        },
        clocks=[_at_clock(report, release, hz) for hz in clocks_hz] if power else [],
        energy_by_part=energy_by_part(report, release), power_model=power,
        release=report["release"], resources=release and release.get("resources"),
        hashes=report["hashes"], hashes_missing=report["hashes_missing"])


def local_system(info: BaselineInfo, passes: Sequence[Pass], expected: Expected,
                 quality: Mapping[str, Any], *, weights: int, power: AssumedPower | None,
                 measurement: Mapping[str, Any] | None, no_energy: str,
                 carbon: Carbon | None) -> dict[str, Any]:
    """Describe a baseline on this computer.

    Parameters
    ----------
    info
        The baseline.
    passes
        Runs of the whole workload, one after the other; the median of their speeds counts.
    expected
        Tokens of the reference.
    quality
        Figures of the integer model's quality, which hold for the same tokens only.
    weights
        Ternary weights that a token takes.
    power
        Stated power, used unless there is a measurement.
    measurement
        Result of a meter, as JSON object.
    no_energy
        Reason why there is neither.
    carbon
        Carbon intensity, if stated.
    """
    runs = passes[0].runs
    rates = [each.rate for each in passes]
    processor = [each.processor_rate for each in passes]
    figures = {
        "tokens_per_s": Figure(
            value=median(rates), unit="tokens/s", provenance="measured", boundary="host",
            runs=rates,
            source=f"median of {len(rates)} passes, prompts included"),
        "processor_tokens_per_s": Figure(
            value=median(processor), unit="tokens/s", provenance="measured", boundary="host",
            runs=processor, source="by processor time: what other programs took is not in it"),
        **latency_figures([each for one in passes for each in one.latencies()], Figure(
            value=0, unit="", provenance="measured", boundary="host",
            source=f"all queries of {len(passes)} passes")),
        **_memory(info),
    }
    warnings = []
    if measurement:
        figures |= _measured(measurement)
        warnings += measurement["warnings"]
    elif power:
        stated = f"{power.watts:g} W assumed ({power.source})"
        figures["power_mw"] = Figure(value=power.watts * 1e3, unit="mW", provenance="assumed",
                                     boundary=info.boundary, source=stated)
        figures["joules_per_token"] = Figure(
            value=power.watts / median(processor), unit="J/token", provenance="modelled",
            boundary=info.boundary,
            source=f"{stated} / measured tokens per second of processor time")
        warnings.append(f"no meter: energy rests on {stated}")
    else:
        figures["power_mw"] = Figure.missing("mW", no_energy)
        figures["joules_per_token"] = Figure.missing("J/token", no_energy)
    figures |= _derived(figures["joules_per_token"], runs, _tokens_per_query(runs), carbon,
                        weights)
    tokens = expected.compare(runs)
    for name, data in quality.items():
        figures[name] = read_figure(data) if tokens["same_as_reference"] else Figure.missing(
            data["unit"], f"tokens differ from the reference's at {tokens['first_difference']}, "
                          "and the quality of this arithmetic was not evaluated")
    return _system(
        name=info.name, kind="baseline", arithmetic=info.arithmetic, figures=figures,
        tokens=tokens, measurement=measurement,
        timeline=_windows(measurement) if measurement else _segments(runs, None),
        software=info.software, warnings=warnings,
        device={"description": info.device, "target": info.name, "host": host_processor()})


def _system(*, figures: Mapping[str, Figure], software: Mapping[str, str],
            device: Mapping[str, Any], **entries: Any) -> dict[str, Any]:
    """All entries of a system, ``None`` or empty for what does not apply to it."""
    name = figures["joules_per_token"].boundary
    inside = name and BOUNDARIES[name]
    boundary = inside and {"name": name, "title": inside.title, "included": list(inside.included),
                           "excluded": list(inside.excluded)}
    return {
        "clocks": [], "energy_by_part": None, "power_model": None, "release": None,
        "resources": None, "hashes": {}, "hashes_missing": {},
        **entries,
        "device": {"part": None, "board": None, "core_v": None, "temperature_c": None,
                   "temperature_source": None, **device},
        "boundary": boundary,
        "provenance": figures["joules_per_token"].provenance,
        "software": dict(software),
        "figures": {name: asdict(figure) for name, figure in figures.items()},
    }


def _measured(measurement: Mapping[str, Any]) -> dict[str, Figure]:
    """Figures that a meter gives."""
    provenance: Provenance = measurement["provenance"]
    boundary = measurement["boundary"]
    source = (f"meter {measurement['meter']['type']}, median of "
              f"{len(measurement['joules_per_token']['runs'])} windows, prompts included")

    def energy(quantity: Mapping[str, Any], source: str) -> Figure:
        if quantity["value"] is None:
            return Figure.missing("J/token", "the idle power is not known")
        return Figure(**quantity, unit="J/token", provenance=provenance, boundary=boundary,
                      source=source)

    def watts(value: float | None, what: str) -> Figure:
        if value is None:
            return Figure.missing("mW", "the meter saw no idle time")
        return Figure(value=value * 1e3, unit="mW", provenance=provenance, boundary=boundary,
                      source=f"meter {measurement['meter']['type']}, {what}")

    return {
        "host_tokens_per_s": Figure(
            value=measurement["tokens_per_s"], unit="tokens/s", provenance="measured",
            boundary="host", source="median of the windows, prompts included"),
        "joules_per_token": energy(measurement["joules_per_token"], source),
        "joules_per_token_above_idle": energy(
            measurement["above_idle"], f"{source}; less the idle power, which is needed too"),
        "power_mw": watts(measurement["active_w"], "while computing"),
        "idle_power_mw": watts(measurement["idle_w"], "while waiting"),
    }


def _chip_latency(figures: Mapping[str, Figure], latencies: Sequence[Latency]
                  ) -> dict[str, Figure]:
    """Latencies by the chip's counters, and the energy of a prompt's token."""
    if not latencies:
        return {}
    clock, power = figures["clock_hz"], figures["power_mw"]
    found = latency_figures(latencies, replace(
        clock, boundary="chip", source=f"cycles counted / clock, {len(latencies)} queries"))
    seconds = sum(each.first_s for each in latencies)
    tokens = sum(each.prompt_tokens for each in latencies)
    return found | {"prefill_joules_per_token": scaled(
        power, 1e-3 * seconds / tokens, "J/token",
        "power x time to the first token / tokens of the prompt")}


def _memory(info: BaselineInfo) -> dict[str, Figure]:
    return {name: Figure(value=number, unit="bytes", provenance="counted", boundary="host",
                         source=source) for name, number, source in (
        ("model_bytes", info.model_bytes, "weights, taps and tables, as this system holds them"),
        ("working_bytes", info.working_bytes, "state and work space, the stack excluded"))
        if number is not None}


def _derived(joules: Figure, runs: Sequence[LastRun], tokens_per_query: tuple[float, str],
             carbon: Carbon | None, weights: int) -> dict[str, Figure]:
    """What follows from joules per token."""
    tokens = sum(len(run.token_ids) for run in runs)
    size = sum(len(run.text.encode()) for run in runs)
    factor, how = tokens_per_query
    energy = scaled(joules, 1000 * factor / JOULES_PER_WH, "Wh/1000 queries",
                    f"1000 queries of {how}")
    rate = reciprocal(joules, "tokens/J", "1 / energy per token")
    return {
        "tokens_per_joule": rate,
        "giga_ternary_macs_per_joule": scaled(
            rate, weights / 1e9, "GTMAC/J", f"{weights:,} ternary weights a token"),
        "joules_per_byte": scaled(joules, tokens / size, "J/byte",
                                  f"energy of {tokens} tokens / {size} bytes of UTF-8 text"),
        "wh_per_1000_queries": energy,
        "gco2e_per_1000_queries": scaled(
            energy, carbon.g_per_kwh / 1000, "gCO2e/1000 queries",
            f"{carbon.g_per_kwh:g} g/kWh: {carbon.source}") if carbon else Figure.missing(
                "gCO2e/1000 queries", "no carbon intensity was stated"),
    }


def _tokens_per_query(runs: Sequence[LastRun]) -> tuple[float, str]:
    """Tokens generated for a query, whose energy has that of the prompt in it."""
    factor = sum(len(run.token_ids) for run in runs) / len(runs)
    return factor, f"{factor:g} tokens, prompts in their energy"


def _whole_query(runs: Sequence[LastRun]) -> tuple[float, str]:
    """Generated tokens that cost as much as a query with its prompt does."""
    factor, _ = _tokens_per_query(runs)
    cycles = [run.cycles for run in runs if run.cycles is not None]
    prompts = [run.prompt_cycles for run in runs if run.prompt_cycles is not None]
    if len(cycles) == len(prompts) == len(runs):
        return (factor * (1 + sum(prompts) / sum(cycles)),
                f"{factor:g} tokens and their prompts, by cycles counted")
    fed = sum(len(run.prompt) - 1 for run in runs) / len(runs)
    return factor + fed, f"{factor:g} tokens and their prompts, a prompt's token taken as dear"


def _at_clock(report: Mapping[str, Any], release: Mapping[str, Any] | None,
              clock_hz: float) -> dict[str, Any]:
    """Modelled figures at another clock, with the same activity and the same spread of it."""
    power = report["power"]
    windows = (release["activity"]["windows"] if release and ACTIVITY in power["variance_share"]
               else [])
    estimate = estimate_power(
        Activity.from_dict(power["activity"]), clock_hz, voltage_v=power["voltage_v"],
        temperature_c=power["temperature_c"], pll=power["pll"],
        windows=[Activity.from_dict(window) for window in windows])
    cycles = report["figures"]["cycles_per_token"]
    origin = f"the activity of the run at {clock_hz / 1e6:g} MHz"
    core = replace(read_figure(report["figures"]["power_mw"]), value=estimate.power_mw.p50,
                   interval=estimate.power_mw, source=origin)
    if cycles["value"] is None:
        missing = cycles["reason"]
        joules = Figure.missing("J/token", missing)
        speed = Figure.missing("tokens/s", missing)
    else:
        speed = Figure(value=clock_hz / cycles["value"], unit="tokens/s", provenance="assumed",
                       boundary="chip", source=f"{clock_hz / 1e6:g} MHz / cycles per token")
        joules = scaled(core, 1e-3 * cycles["value"] / clock_hz, "J/token", origin)
    return {"clock_hz": clock_hz, "figures": {name: asdict(figure) for name, figure in (
        ("tokens_per_s", speed), ("power_mw", core), ("joules_per_token", joules),
        ("tokens_per_joule", reciprocal(joules, "tokens/J", "1 / energy per token")))}}


def _segments(runs: Sequence[LastRun], clock_hz: float | None) -> dict[str, Any]:
    """Speed in the course of the queries, in the chip's time where its cycles are known."""
    counted = [(run.prompt_cycles, run.cycles) for run in runs
               if run.cycles and run.prompt_cycles is not None]
    chip = clock_hz is not None and len(counted) == len(runs)
    times = ([(prompt / clock_hz, cycles / clock_hz) for prompt, cycles in counted]
             if clock_hz is not None and chip else [(0.0, run.host_seconds) for run in runs])
    segments, start = [], 0.0
    for number, (run, (before, seconds)) in enumerate(zip(runs, times, strict=True)):
        start += before
        segments.append({"label": f"query {number + 1}", "start_s": start, "seconds": seconds,
                         "tokens": len(run.token_ids), "power_mw": None})
        start += seconds
    return {"time": "chip" if chip else "host", "segments": segments}


def _windows(measurement: Mapping[str, Any]) -> dict[str, Any]:
    """Speed and power in the windows of a measurement."""
    first = min(window["start_s"] for window in measurement["windows"])
    return {"time": "host", "segments": [
        {"label": window["name"], "start_s": window["start_s"] - first,
         "seconds": window["seconds"], "tokens": window["tokens"],
         "power_mw": None if window["watts"] is None else 1e3 * window["watts"]}
        for window in measurement["windows"]]}


def _describe(target: str, release: Mapping[str, Any] | None) -> str:
    what = f"{release['board']} ({release.get('part', 'FPGA')})" if release else "unknown build"
    return f"{what}, simulated" if is_simulated(target) else what


def _device_warnings(report: Mapping[str, Any], release: Mapping[str, Any] | None,
                     clocks_hz: Sequence[float],
                     measurement: Mapping[str, Any] | None) -> list[str]:
    warnings = []
    if measurement:
        warnings += measurement["warnings"]
        if is_simulated(report["target"]):
            warnings.append(
                f"the meter's boundary is {measurement['boundary']}, but {report['target']} "
                "computes on this computer: its joules are not those of a chip")
    if release and (fmax := release.get("fmax_hz")):
        worst = min(fmax.values())
        warnings += [f"{hz / 1e6:g} MHz is above the {worst / 1e6:.1f} MHz that timing analysis "
                     "allows in the worst case" for hz in clocks_hz if hz > worst]
    return warnings


def is_simulated(target: str) -> bool:
    """Tell if a target computes on this computer, where no meter of a board can see it."""
    return target.partition(":")[0] in SIMULATED
