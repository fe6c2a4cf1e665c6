"""The report of a run: speed, energy and quality, each figure with where it comes from.

``build_report`` turns what a run left behind (``Run``) and what is known of the released builds
into a JSON-able object; ``print_report`` shows it. ``docs/report.md`` explains every figure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

from rich.markup import escape
from rich.table import Table

from trilight.hw.contract.device import Device
from trilight.hw.support.boards import board_device
from trilight.hw.support.terminal import Console
from trilight.sw.errors import ReportError
from trilight.sw.host.driver import LastRun
from trilight.sw.model.model import Model
from trilight.sw.power import BOUNDARY, Activity, Interval, PowerEstimate, estimate_power

__all__ = [
    "PART_NAMES",
    "RELEASES",
    "SCHEMA",
    "Figure",
    "Provenance",
    "Release",
    "ReportRow",
    "Run",
    "build_report",
    "format_number",
    "load_releases",
    "print_report",
    "released_builds",
    "report_rows",
]

SCHEMA = "trilight/report/v1"

BUILDS = "trilight.builds"
"""Entry points group of functions that return figures of builds by board: also of those that are
released without a count of their activity."""

RELEASES = "trilight.releases"
"""Entry points group: each is a function that returns the ``Release`` of one board."""

Provenance = Literal["measured", "counted", "modelled", "stated", "assumed"]

NOTES = (
    ("Power and energy are those of the FPGA core alone (VCC and VCCPLL). USB bridge, flash, LEDs, "
     "I/O and regulator of a board use many times more."),
    ("No measurement of the energy of a block RAM or SPRAM access is public: both are assumed, "
     "with a band of a factor of 3 either way."),
    ("Energy is that of computing tokens: waiting for the host, configuring the FPGA and loading "
     "the model are left out."),
)


class ReleaseActivity(TypedDict):
    """``Activity`` of a released netlist, as JSON objects."""

    busy: dict[str, Any]
    """While it generates tokens."""
    idle: dict[str, Any]
    """While it waits for the host."""
    windows: NotRequired[list[dict[str, Any]]]
    """One for each token that ``busy`` is the mean of."""
    breakdown: NotRequired[dict[str, Any]]
    """``busy`` by part, layer and stage: a ``trilight.sw.power.Breakdown``."""


class Release(TypedDict):
    """Figures of a released build, as a board's package ships them."""

    board: str
    design_sha256: str
    """SHA-256 of the RTL."""
    netlist_sha256: str
    bitstream_sha256: str
    build_id: int
    """Build id in the device's identity."""
    seed: NotRequired[int]
    """Seed of the placement."""
    baud: NotRequired[float]
    """Speed of the serial port."""
    clock_hz: float
    clock_source: str
    """Sentence part: how the clock was established."""
    pll: bool
    model_sha256: str
    """SHA-256 of the model that cycles and activity were counted with."""
    cycles_per_token: float
    activity: ReleaseActivity
    sequences: NotRequired[int]
    """Sequences at once while cycles and activity were counted; 1 unless given."""
    tools: dict[str, str]
    module_sha256: NotRequired[str]
    """SHA-256 of its netlist as WebAssembly, if that was compiled too."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Result of a run, and what is known of the device that it ran on."""

    model: Model
    target: str
    """Target as the user wrote it, for example ``netlist`` or ``serial:/dev/ttyUSB1``."""
    generation: LastRun
    device: Device = field(default_factory=board_device)
    """Sizes in the device's identity."""
    clock_hz: float = 0
    """Clock in the device's identity; 0 for a device without one."""
    build_id: int | None = None
    """Build id in the device's identity."""
    design_sha256: str | None = None
    netlist_sha256: str | None = None
    bitstream_sha256: str | None = None
    activity: Activity | None = None
    """Counted during this run."""
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that can not be read without its unit, origin and limits.

    Exactly one of ``value`` and ``reason`` is ``None``.
    """

    value: float | None
    unit: str
    provenance: Provenance | None = None
    boundary: str | None = None
    source: str | None = None
    interval: Interval | None = None
    u_k2: float | None = None
    """Expanded uncertainty (k = 2) of a figure that a meter gave."""
    runs: list[float] | None = None
    """Values of the single windows of a measurement, whose median ``value`` is."""
    calibration: str | None = None
    """Calibration of a modelled power or energy: what its coefficients rest on, ``uncalibrated``,
    ``published`` or ``board``."""
    reason: str | None = None
    """Reason why there is no value."""

    @classmethod
    def missing(cls, unit: str, reason: str) -> "Figure":
        return cls(value=None, unit=unit, reason=reason)


def released_builds() -> dict[str, dict[str, Any]]:
    """Return the figures of every build that is released, by board."""
    return {board: figures for entry in entry_points(group=BUILDS)
            for board, figures in entry.load()().items()}


def load_releases() -> dict[str, Release]:
    """Return the released builds of every installed board, by name."""
    return {entry.name: entry.load()() for entry in entry_points(group=RELEASES)}


_OTHER_NETLIST = "same design, another netlist"


def _match(run: Run, release: Release) -> str | None:
    """Say by what the release is known to be what ran; ``None`` if it is not."""
    if run.netlist_sha256 == release["netlist_sha256"]:
        return "same netlist"
    if run.design_sha256 == release["design_sha256"]:
        return _OTHER_NETLIST if run.netlist_sha256 else "same design"
    if run.netlist_sha256 or run.design_sha256:
        return None
    if run.clock_hz:
        same = (run.build_id, run.clock_hz) == (release["build_id"], release["clock_hz"])
        return "same build id and clock" if same else None
    return "same model" if run.model.sha256 == release["model_sha256"] else None


@dataclass(frozen=True)
class _Build:
    """The release that ran, and by what it was recognised."""

    release: Release
    match: str

    @property
    def sequences(self) -> int:
        """Sequences at once while it was counted."""
        return self.release.get("sequences", 1)

    @property
    def batch(self) -> str:
        """The same in words."""
        return (f"{self.sequences} sequences at once" if self.sequences > 1
                else "1 sequence at a time")


def _find_build(run: Run, releases: Mapping[str, Release]) -> _Build | None:
    for release in releases.values():
        if match := _match(run, release):
            return _Build(release, match)
    return None


def _cycles(run: Run, build: _Build | None) -> Figure:
    unit = "cycles/token"
    counted = run.generation
    if counted.cycles_per_token is not None:
        expected = counted.tokens * run.model.config.weight_words(run.device.packing)
        if counted.words != expected:
            return Figure.missing(unit, f"the device's counters disagree: {counted.words} weight "
                                        f"words are not {counted.tokens} whole tokens, which "
                                        f"take {expected}")
        at_once = f", {counted.sequences} sequences at once" if counted.sequences > 1 else ""
        return Figure(value=counted.cycles_per_token, unit=unit, provenance="counted",
                      boundary="chip", source=f"by the device, {counted.cycles:,} cycles in "
                                              f"{counted.tokens} generated tokens{at_once}")
    if build and build.release["model_sha256"] == run.model.sha256:
        if build.sequences != counted.sequences:
            return _computed_cycles(run, build)
        return Figure(value=build.release["cycles_per_token"], unit=unit, provenance="counted",
                      boundary="chip",
                      source=f"on the released netlist with this model, {build.batch}")
    return Figure.missing(unit, f"target {run.target} counted no cycles, and no released build "
                                "was counted with this model; try target netlist")


def _computed_cycles(run: Run, build: _Build) -> Figure:
    """Cycles of a token with another number of sequences than the release was counted with."""
    # Computes nothing unless it is asked for.
    from .performance import predict

    at_once = run.generation.sequences
    return Figure(value=predict(run.model.config, sequences=at_once,
                                device=run.device).cycles_per_token,
                  unit="cycles/token", provenance="modelled", boundary="chip",
                  source=f"computed to the cycle for {at_once} sequences at once, as trilight "
                         f"performance does; the released build was counted with {build.batch}")


def _clock(run: Run, build: _Build | None) -> Figure:
    if build:
        provenance: Provenance = "assumed" if build.match == _OTHER_NETLIST else "modelled"
        return Figure(value=build.release["clock_hz"], unit="Hz", provenance=provenance,
                      boundary="chip", source=f"{build.release['clock_source']} ({build.match})")
    if run.clock_hz:
        return Figure(value=run.clock_hz, unit="Hz", provenance="assumed", boundary="chip",
                      source="what this build is meant for; no place and route of it is on record")
    return Figure.missing("Hz", f"target {run.target} has no clock, and no released build was "
                                "counted with this model")


def _speed(clock: Figure, cycles: Figure) -> Figure:
    if clock.value is None or cycles.value is None:
        return Figure.missing("tokens/s", clock.reason or cycles.reason or "")
    return Figure(value=clock.value / cycles.value, unit="tokens/s", provenance=clock.provenance,
                  boundary="chip", source="clock / cycles per token")


def _generated(run: Run) -> tuple[int, int]:
    """Return how many tokens were generated, and the bytes of their text."""
    generated = run.generation.generated
    return (sum(len(text.token_ids) for text in generated),
            sum(len(text.text.encode()) for text in generated))


def _host_speed(run: Run) -> Figure:
    tokens, seconds = _generated(run)[0], run.generation.host_seconds
    if not (tokens and seconds > 0):
        return Figure.missing("tokens/s", "no token was generated")
    what = ("board, link and driver together" if run.target.startswith("serial")
            else "simulation on this computer, not the chip")
    return Figure(value=tokens / seconds, unit="tokens/s",
                  provenance="measured", boundary="host", source=what)


def _utilisation(run: Run, cycles: Figure) -> Figure:
    if cycles.value is None:
        return Figure.missing("1", cycles.reason or "")
    weights = run.model.config.ternary_weights_per_token
    lanes = run.device.packing.block
    return Figure(value=weights / (lanes * cycles.value), unit="1",
                  provenance=cycles.provenance,
                  boundary="chip", source=f"of {lanes} ternary weights per cycle; a token takes "
                                          f"{weights:,}")


def _activity(run: Run, build: _Build | None) -> tuple[Activity, str] | None:
    """Return the activity while computing, and where it was counted."""
    if run.activity:
        return run.activity, f"counted on this run's netlist, {run.activity.cycles:,} cycles"
    if build is None:
        return None
    activity = Activity.from_dict(build.release["activity"]["busy"])
    which = "this" if build.release["model_sha256"] == run.model.sha256 else "another"
    return activity, (f"counted on the released netlist with {which} model, {build.batch}, "
                      f"{activity.cycles:,} cycles")


def _board_build(run: Run) -> dict[str, Any] | None:
    """Return what is released of the board that ran: its part, area and clock."""
    for figures in released_builds().values():
        same = (run.build_id, run.clock_hz) == (figures["build_id"], figures["clock_hz"])
        if run.design_sha256 == figures["design_sha256"] or (run.build_id is not None and same):
            return {name: figures[name] for name in (
                "board", "part", "clock_hz", "clock_source", "fmax_hz", "timing_signed_off",
                "resources")}
    return None


def _power_figure(estimate: PowerEstimate, clock: Figure, activity_source: str) -> Figure:
    return Figure(value=estimate.power_mw.p50, unit="mW", provenance="modelled", boundary=BOUNDARY,
                  interval=estimate.power_mw, calibration=estimate.calibration,
                  source=f"activity {activity_source}; {estimate.calibration} coefficients "
                         f"{estimate.coefficients.id}; {clock.provenance} clock, "
                         f"{estimate.voltage_v:g} V, {estimate.temperature_c:g} C")


def _energy(run: Run, power: Figure, clock: Figure, cycles: Figure) -> dict[str, Figure]:
    """Return energy per token and per byte, and tokens per joule, with the power's interval."""
    units = {"joules_per_token": "J/token", "joules_per_byte": "J/byte",
             "tokens_per_joule": "tokens/J"}
    if power.interval is None or clock.value is None or cycles.value is None:
        reason = power.reason or clock.reason or cycles.reason or ""
        return {name: Figure.missing(unit, reason) for name, unit in units.items()}

    def figure(name: str, interval: Interval, source: str) -> Figure:
        return Figure(value=interval.p50, unit=units[name], provenance="modelled",
                      boundary=BOUNDARY, interval=interval, calibration=power.calibration,
                      source=source)

    per_token = power.interval.scaled(1e-3 * cycles.value / clock.value)
    figures = {
        "joules_per_token": figure("joules_per_token", per_token,
                                   "power while computing x cycles per token / clock"),
        "tokens_per_joule": figure("tokens_per_joule", per_token.reciprocal(),
                                   "1 / energy per token"),
    }
    tokens, size = _generated(run)
    figures["joules_per_byte"] = (
        figure("joules_per_byte", per_token.scaled(tokens / size),
               f"energy of {tokens} tokens / {size} bytes of UTF-8 text")
        if size else Figure.missing("J/byte", "no text was generated"))
    return figures


def _stated_quality(model: Model) -> Mapping[str, Any]:
    """Return the quality that the model file states, if it is of these very weights."""
    stated = model.provenance.get("quality")
    if not isinstance(stated, Mapping) or stated.get("model_sha256") not in (None, model.sha256):
        return {}
    return stated


def _quality(model: Model) -> dict[str, Figure]:
    stated = _stated_quality(model)
    source = ", ".join(str(stated[key]) for key in ("dataset", "split", "protocol")
                       if key in stated)
    return {
        name: Figure(value=float(stated[name]), unit=unit, provenance="stated",
                     boundary="model", source=f"by the model file: {source or 'on no named text'}; "
                                              "trilight evaluate measures it")
        if isinstance(stated.get(name), int | float) and not isinstance(stated[name], bool)
        else Figure.missing(unit, "the model file states no quality of these weights; "
                                  "trilight evaluate measures it")
        for name, unit in (("bits_per_byte", "bits/byte"), ("nats_per_char", "nats/character"))
    }


def _hashes(run: Run, build: _Build | None) -> tuple[dict[str, str | None], dict[str, str]]:
    """Return the hashes of what ran or figures were taken from, and why some are missing."""
    release = build.release if build else None
    hashes = {
        "model_sha256": run.model.sha256,
        "design_sha256": run.design_sha256 or (release and release["design_sha256"]),
        "netlist_sha256": run.netlist_sha256 or (release and release["netlist_sha256"]),
        "bitstream_sha256": run.bitstream_sha256,
    }
    reasons = dict.fromkeys(
        hashes, f"nothing that target {run.target} ran matches a released build"
    ) | {"bitstream_sha256": "no bitstream ran, or only the board knows which"}
    return hashes, {name: reasons[name] for name, value in hashes.items() if value is None}


def build_report(run: Run, releases: Mapping[str, Release]) -> dict[str, Any]:
    """Return the report of a run as a JSON-able object, schema ``trilight/report/v1``.

    Parameters
    ----------
    run
        What the run left behind.
    releases
        Released builds by board, from ``load_releases``. A figure of a release is used only when
        the release is what ran, by the hash of the netlist or of the design or by the identity;
        or, for a device without a clock, when the release was counted with the same model.

    Returns
    -------
    dict
        ``texts`` has prompt, text, tokens and seed of each prompt, and ``sequences`` says how many
        of them ran at once; ``prompt``, ``text``, ``token_ids`` and ``seed`` are those of the
        first. ``cycles_per_token``, ``utilisation``, ``clock_hz``, ``tokens_per_s`` and
        ``tokens_per_joule`` are plain values over all of them, ``None`` where there is none;
        ``figures`` holds each with unit, provenance, boundary, source and interval, or the reason
        why there is none.

    Raises
    ------
    ReportError
        If a release lacks an entry.
    """
    for name, release in releases.items():
        if missing := Release.__required_keys__ - set(release):
            raise ReportError(f"release {name!r} lacks {', '.join(sorted(missing))}")
    build = _find_build(run, releases)
    clock = _clock(run, build)
    cycles = _cycles(run, build)
    activity = _activity(run, build)
    pll = build.release["pll"] if build else True
    power_details: dict[str, Any] | None = None
    idle = Figure.missing("mW", "no activity of the waiting chip is on record for what ran")
    if activity is None or clock.value is None:
        power = Figure.missing("mW", clock.reason or "the activity of what ran is not known: "
                                                     "no released build matches it")
    else:
        # The spread from token to token, if what ran was counted token by token.
        windows = [] if run.activity or not build else [
            Activity.from_dict(window)
            for window in build.release["activity"].get("windows", [])]
        estimate = estimate_power(activity[0], clock.value, pll=pll, windows=windows)
        power = _power_figure(estimate, clock, activity[1])
        if build:
            waiting = Activity.from_dict(build.release["activity"]["idle"])
            idle = _power_figure(estimate_power(waiting, clock.value, pll=pll), clock,
                                 "counted on the released netlist while it waits for the host")
        power_details = {
            "coefficients": {"id": estimate.coefficients.id,
                             "sha256": estimate.coefficients.sha256,
                             "part": estimate.coefficients.part,
                             "calibration": estimate.calibration},
            "activity": activity[0].to_dict(),
            "activity_source": activity[1],
            "split_mw": estimate.split_mw,
            "nominal_mw": estimate.nominal_mw,
            "variance_share": estimate.variance_share,
            "voltage_v": estimate.voltage_v,
            "temperature_c": estimate.temperature_c,
            "pll": pll,
            "pll_provenance": "release" if build else "assumed",
            "draws": estimate.draws,
            "seed": estimate.seed,
        }
    figures = {
        "cycles_per_token": cycles,
        "utilisation": _utilisation(run, cycles),
        "clock_hz": clock,
        "tokens_per_s": _speed(clock, cycles),
        "host_tokens_per_s": _host_speed(run),
        "power_mw": power,
        "idle_power_mw": idle,
        **_energy(run, power, clock, cycles),
        **_quality(run.model),
    }
    hashes, hashes_missing = _hashes(run, build)
    return {
        "schema": SCHEMA,
        "token_ids": list(run.generation.token_ids),
        "text": run.generation.text,
        **{name: figures[name].value for name in (
            "cycles_per_token", "utilisation", "clock_hz", "tokens_per_s", "tokens_per_joule")},
        "texts": [{**asdict(text), "token_ids": list(text.token_ids)}
                  for text in run.generation.generated],
        "sequences": run.generation.sequences,
        "prompt": run.generation.prompt,
        "target": run.target,
        "temperature": run.generation.temperature,
        "seed": run.generation.seed,
        "model": {"sha256": run.model.sha256, **run.model.config.to_dict(),
                  "ternary_weights": run.model.config.ternary_weights,
                  "quality": dict(_stated_quality(run.model)) or None},
        "release": build and {"board": build.release["board"], "match": build.match},
        "build": _board_build(run),
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "power": power_details,
        "hashes": hashes,
        "hashes_missing": hashes_missing,
        "tools": {**(build.release["tools"] if build else {}), **run.tools},
        "notes": list(NOTES),
    }


class ReportRow(NamedTuple):
    """A figure in words."""

    label: str
    name: str
    """Key in ``figures``."""
    value: str
    unit: str
    span: str
    """The 90 % interval, or nothing."""
    provenance: str
    source: str


def report_rows(report: Mapping[str, Any]) -> Iterator[ReportRow]:
    """The figures of a report that people are shown, as far as they are known."""
    for label, name, scale, unit in _ROWS:
        figure = report["figures"][name]
        if figure["value"] is None:
            continue
        interval = figure["interval"]
        span = (" to ".join(format_number(interval[end] * scale) for end in ("p05", "p95"))
                if interval else "")
        exact = figure["provenance"] == "counted"
        yield ReportRow(label, name, format_number(figure["value"] * scale, exact=exact), unit,
                        span, figure["provenance"], figure["source"])


def print_report(report: Mapping[str, Any], console: Console, *, whole: bool = True) -> None:
    """Show a report's figures for people, energy always beside quality.

    Parameters
    ----------
    whole : bool
        With the source of each, where the power goes and what is left out; else in 12 lines, each
        figure with its range and its provenance in a word.
    """
    model = report["model"]
    console.print(f"Trilight on [bold]{escape(report['target'])}[/bold], "
                  f"{model['ternary_weights']:,} ternary weights, model {model['sha256'][:12]}",
                  highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    # On a narrow screen it is a range, or a source, that takes a second line.
    for number, fixed in enumerate((True, True, True, False, not whole)):
        table.add_column(justify="right" if number == 1 else "left", no_wrap=fixed)
    for row in report_rows(report):
        source = f": {escape(row.source)}" if whole else ""
        table.add_row(row.label, row.value, row.unit, row.span, row.provenance + source)
    unknown: dict[str, list[str]] = {}
    for label, name, *_ in _ROWS:
        if (figure := report["figures"][name])["value"] is None:
            unknown.setdefault(figure["reason"], []).append(label.lower())
    console.print(table, highlight=False)
    if not whole:
        rest = "Energy is the FPGA core's alone. --report says where each figure comes from"
        if unknown:
            names = ", ".join(label for labels in unknown.values() for label in labels)
            rest += f", and why these are not known: {names}"
        console.print(f"{rest}.", style="dim", highlight=False, soft_wrap=True)
        return
    if found := report["build"]:
        area = ", ".join(f"{name} {number:,}" for name, number in found["resources"].items())
        console.print(f"Built for {found['board']}, {found['part']}: {area}; "
                      f"{found['clock_hz'] / 1e6:g} MHz, {found['clock_source']}.",
                      highlight=False)
    for reason, labels in unknown.items():
        console.print(f"Not known: {', '.join(labels)}. Reason: {escape(reason)}.", highlight=False)
    if power := report["power"]:
        console.print(f"Ranges are 90 % intervals. Power goes to {_shares(power['split_mw'])}; "
                      f"the range comes from {_shares(power['variance_share'])}.",
                      highlight=False)
        for note in report["notes"]:
            console.print(note, style="dim", highlight=False)


_ROWS = (
    ("Cycles per token", "cycles_per_token", 1, ""),
    ("Engine utilisation", "utilisation", 100, "%"),
    ("Clock of the chip", "clock_hz", 1e-6, "MHz"),
    ("Speed of the chip", "tokens_per_s", 1, "tokens/s"),
    ("Power of the core", "power_mw", 1, "mW"),
    ("Tokens per joule", "tokens_per_joule", 1, "tokens/J"),
    ("Energy per byte", "joules_per_byte", 1e6, "uJ/byte"),
    ("Quality of the model", "bits_per_byte", 1, "bits/byte"),
    ("Speed of this run", "host_tokens_per_s", 1, "tokens/s"),
)
"""Label, figure, factor that brings it to the unit, unit."""

PART_NAMES = {
    "leakage": "leakage",
    "clock": "clock tree",
    "ff": "flip-flops",
    "net": "logic and nets",
    "ebr": "block RAM",
    "spram": "SPRAM",
    "dsp": "DSP",
    "hfosc": "oscillator",
    "pll": "PLL",
    "activity": "spread between tokens",
}


def format_number(value: float, *, exact: bool = False) -> str:
    """Three significant digits; of an exact number all digits before the point."""
    if abs(value) < 100:
        return f"{value:.3g}"
    return f"{value if exact else float(f'{value:.3g}'):,.0f}"


def _shares(parts: Mapping[str, float]) -> str:
    """Parts of at least 1 %, the largest first."""
    total = sum(parts.values())
    large = sorted(((value / total, name) for name, value in parts.items()
                    if value >= 0.01 * total), reverse=True)
    return ", ".join(f"{PART_NAMES[name]} {share:.0%}" for share, name in large)
