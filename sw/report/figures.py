"""Figures of a run: speed, power, energy and quality, each with where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trilight.sw.model.model import Model
from trilight.sw.power import BOUNDARY, Interval, PowerEstimate

from .run import OTHER_NETLIST, ReleasedBuild, Run

__all__ = ["Figure", "Provenance", "chip_clock", "chip_speed", "cycles_per_token", "energy",
           "host_speed", "power_figure", "quality", "stated_quality", "utilisation"]

Provenance = Literal["measured", "counted", "modelled", "stated", "assumed"]


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


def cycles_per_token(run: Run, build: ReleasedBuild | None) -> Figure:
    """Return the cycles of a token: as the device counted, or as a release of this model was."""
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


def _computed_cycles(run: Run, build: ReleasedBuild) -> Figure:
    """Cycles of a token with another number of sequences than the release was counted with."""
    # Computes nothing unless it is asked for.
    from .performance import predict

    at_once = run.generation.sequences
    return Figure(value=predict(run.model.config, sequences=at_once,
                                device=run.device).cycles_per_token,
                  unit="cycles/token", provenance="modelled", boundary="chip",
                  source=f"computed to the cycle for {at_once} sequences at once, as trilight "
                         f"performance does; the released build was counted with {build.batch}")


def chip_clock(run: Run, build: ReleasedBuild | None) -> Figure:
    """Return the clock: a release's, else what the device says of itself."""
    if build:
        provenance: Provenance = "assumed" if build.match == OTHER_NETLIST else "modelled"
        return Figure(value=build.release["clock_hz"], unit="Hz", provenance=provenance,
                      boundary="chip", source=f"{build.release['clock_source']} ({build.match})")
    if run.clock_hz:
        return Figure(value=run.clock_hz, unit="Hz", provenance="assumed", boundary="chip",
                      source="what this build is meant for; no place and route of it is on record")
    return Figure.missing("Hz", f"target {run.target} has no clock, and no released build was "
                                "counted with this model")


def chip_speed(clock: Figure, cycles: Figure) -> Figure:
    """Return tokens per second of the chip alone."""
    if clock.value is None or cycles.value is None:
        return Figure.missing("tokens/s", clock.reason or cycles.reason or "")
    return Figure(value=clock.value / cycles.value, unit="tokens/s", provenance=clock.provenance,
                  boundary="chip", source="clock / cycles per token")


def _generated(run: Run) -> tuple[int, int]:
    """Return how many tokens were generated, and the bytes of their text."""
    generated = run.generation.generated
    return (sum(len(text.token_ids) for text in generated),
            sum(len(text.text.encode()) for text in generated))


def host_speed(run: Run) -> Figure:
    """Return tokens per second as this computer saw them."""
    tokens, seconds = _generated(run)[0], run.generation.host_seconds
    if not (tokens and seconds > 0):
        return Figure.missing("tokens/s", "no token was generated")
    what = ("board, link and driver together" if run.target.startswith("serial")
            else "simulation on this computer, not the chip")
    return Figure(value=tokens / seconds, unit="tokens/s",
                  provenance="measured", boundary="host", source=what)


def utilisation(run: Run, cycles: Figure) -> Figure:
    """Return the share of the engine that works, of its lanes times the cycles of a token."""
    if cycles.value is None:
        return Figure.missing("1", cycles.reason or "")
    weights = run.model.config.ternary_weights_per_token
    lanes = run.device.packing.block
    return Figure(value=weights / (lanes * cycles.value), unit="1",
                  provenance=cycles.provenance,
                  boundary="chip", source=f"of {lanes} ternary weights per cycle; a token takes "
                                          f"{weights:,}")


def power_figure(estimate: PowerEstimate, clock: Figure, activity_source: str) -> Figure:
    """Return the power of the core, with what it was estimated from."""
    return Figure(value=estimate.power_mw.p50, unit="mW", provenance="modelled", boundary=BOUNDARY,
                  interval=estimate.power_mw, calibration=estimate.calibration,
                  source=f"activity {activity_source}; {estimate.calibration} coefficients "
                         f"{estimate.coefficients.id}; {clock.provenance} clock, "
                         f"{estimate.voltage_v:g} V, {estimate.temperature_c:g} C")


def energy(run: Run, power: Figure, clock: Figure, cycles: Figure) -> dict[str, Figure]:
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


def stated_quality(model: Model) -> Mapping[str, Any]:
    """Return the quality that the model file states, if it is of these very weights."""
    stated = model.provenance.get("quality")
    if not isinstance(stated, Mapping) or stated.get("model_sha256") not in (None, model.sha256):
        return {}
    return stated


def quality(model: Model) -> dict[str, Figure]:
    """Return bits per byte and nats per character, as far as the model file states them."""
    stated = stated_quality(model)
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
