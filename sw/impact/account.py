"""Account of a day's use: cycles and power of the chip, and what follows from assumptions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trilight.hw.contract.device import Device
from trilight.sw.bench.field import Rival
from trilight.sw.errors import ImpactError
from trilight.sw.model.model import Model
from trilight.sw.power.activity import Activity
from trilight.sw.power.estimate import Interval, estimate_power
from trilight.sw.report.performance import predict
from trilight.sw.report.releases import Release

from .assumptions import Assumption, value_of

__all__ = ["DAY_S", "Way", "chip_way", "compare", "rival_way", "sci", "training"]

DAY_S = 86_400.0
_KWH = 3.6e6
_MILLION = 1e6


@dataclass(frozen=True, kw_only=True)
class Way:
    """A place where a model runs, over a day of queries.

    Energies in joules; intervals where the energy is modelled with one.
    """

    name: str
    boundary: str
    provenance: str
    source: str
    tokens_per_query: float
    first_token_s: float | None
    """Seconds from the end of the prompt's transfer to the first token."""
    prefill_s: float | None
    decode_s: float | None
    busy_s: float
    """Seconds of a day in which it works."""
    busy_joules: Interval
    idle_joules: Interval | None
    """Joules of the rest of the day; ``None`` if nothing is known of it."""
    start_joules: float
    """Joules of configuring and loading, a day."""
    bits_per_byte: float | None
    details: Mapping[str, float]
    """Further figures, by name."""

    @property
    def day_joules(self) -> Interval:
        """Energy of a day, idle time included where it is known."""
        idle = self.idle_joules or Interval(0.0, 0.0, 0.0)
        return Interval(*(getattr(self.busy_joules, name) + getattr(idle, name)
                          + self.start_joules for name in ("p05", "p50", "p95")))


def chip_way(model: Model, release: Release, device: Device,
             assumptions: Mapping[str, Assumption]) -> Way:
    """Return a day of a released chip with a model.

    Cycles are exact, of the performance model; power is that of the release's activity, which was
    counted with the released model.

    Raises
    ------
    PerformanceError, CapacityError
        The model does not fit the device.
    """
    model.config.check_fits(device)
    found = predict(model.config, device=device)
    clock = release["clock_hz"]
    prompt, generated = (assumptions[name].value for name in ("prompt_tokens",
                                                              "generated_tokens"))
    queries = assumptions["queries_per_day"].value
    prefill_s = max(prompt - 1, 0) * found.prompt_cycles_per_token / clock
    decode_s = generated * found.cycles_per_token / clock
    busy_s = queries * (prefill_s + decode_s)
    if busy_s > DAY_S:
        raise ImpactError(f"{queries:,.6g} queries take {busy_s / 3600:,.4g} hours of a chip, more "
                          "than a day has; set queries_per_day lower")
    activity = release["activity"]
    busy, idle = (estimate_power(Activity.from_dict(activity[name]), clock,
                                 pll=release["pll"]).power_mw for name in ("busy", "idle"))
    # 16-bit words of weights, 10 bits of the line for each byte and some for framing.
    load_s = device.packing.word_units * 2 * model.config.weight_words(device.packing) * 10.5 / (
        release["baud"])
    starts = assumptions["starts_per_day"].value
    load_joules = idle.p50 * 1e-3 * load_s
    weights = model.config.ternary_weights
    return Way(
        name=f"{release['board']}, FPGA core", boundary="fpga_core", provenance="modelled",
        source=f"cycles computed, power of {release['board']}'s released build "
               f"({'this' if release['model_sha256'] == model.sha256 else 'another'} model)",
        tokens_per_query=prompt + generated,
        first_token_s=prefill_s + found.cycles_per_token / clock,
        prefill_s=prefill_s, decode_s=decode_s, busy_s=busy_s,
        busy_joules=busy.scaled(1e-3 * busy_s), idle_joules=idle.scaled(1e-3 * (DAY_S - busy_s)),
        start_joules=starts * (assumptions["config_joules"].value + load_joules),
        bits_per_byte=_stated_bits(model),
        details={
            "duty_cycle": busy_s / DAY_S,
            "token_latency_s": found.cycles_per_token / clock,
            "prefill_joules_per_token": busy.p50 * 1e-3 * found.prompt_cycles_per_token / clock,
            "decode_joules_per_token": busy.p50 * 1e-3 * found.cycles_per_token / clock,
            "load_seconds": load_s,
            "load_joules": load_joules,
            "config_joules": assumptions["config_joules"].value,
            "memory_bytes": device.packing.word_units * 2 * model.config.weight_words(
                device.packing),
            "bits_per_weight": 16 * device.packing.word_units * model.config.weight_words(
                device.packing) / weights,
            "giga_ternary_macs_per_joule": weights / (
                busy.p50 * 1e-3 * found.cycles_per_token / clock) / 1e9,
        })


def rival_way(rival: Rival, assumptions: Mapping[str, Assumption]) -> Way:
    """Return a day of a system of the field: its published joules, for a prompt's tokens too."""
    prompt, generated = (assumptions[name].value for name in ("prompt_tokens",
                                                              "generated_tokens"))
    queries = assumptions["queries_per_day"].value
    low, high = rival.joules_per_token
    tokens = queries * (prompt + generated)
    busy_s = tokens / rival.tokens_per_s if rival.tokens_per_s else 0.0
    idle_w = value_of(assumptions, "other_idle_watts")
    idle = None if idle_w is None else idle_w * max(DAY_S - busy_s, 0.0)
    return Way(
        name=rival.name, boundary=rival.boundary, provenance=rival.status,
        source=f"{rival.source}; a token of the prompt counted as a generated one",
        tokens_per_query=prompt + generated, first_token_s=None, prefill_s=None, decode_s=None,
        busy_s=busy_s,
        busy_joules=Interval(low * tokens, (low + high) / 2 * tokens, high * tokens),
        idle_joules=None if idle is None else Interval(idle, idle, idle), start_joules=0.0,
        bits_per_byte=rival.bits_per_byte, details={})


def _stated_bits(model: Model) -> float | None:
    quality = model.provenance.get("quality")
    found = quality.get("bits_per_byte") if isinstance(quality, Mapping) else None
    return float(found) if isinstance(found, int | float) else None


def compare(ours: Way, other: Way, assumptions: Mapping[str, Assumption]) -> dict[str, Any]:
    """Return what a day and all days save with ``ours`` in place of ``other``, ready for JSON."""
    saved = other.day_joules.p50 - ours.day_joules.p50
    days = assumptions["days"].value
    kwh = saved * days / _KWH
    return {
        "joules_per_day": saved, "kwh": kwh, "days": days,
        "ratio": other.day_joules.p50 / ours.day_joules.p50,
        "co2e_kg": kwh * assumptions["grid_g_per_kwh"].value / 1e3,
        "money": kwh * assumptions["price_per_kwh"].value,
        "same_boundary": ours.boundary == other.boundary,
    }


def sci(way: Way, assumptions: Mapping[str, Assumption], embodied: str) -> dict[str, Any]:
    """Return the software carbon intensity (ISO/IEC 21031) of a way, per million tokens.

    Persona: the consumer, who runs a model that is there. ``embodied`` names the assumption of the
    hardware's own carbon, which is shared out over its lifetime by time.
    """
    tokens = assumptions["queries_per_day"].value * way.tokens_per_query
    grid = assumptions["grid_g_per_kwh"].value
    operational = way.day_joules.p50 / _KWH * grid / tokens * _MILLION
    kg = value_of(assumptions, embodied)
    share = (None if kg is None else
             kg * 1e3 / (assumptions["lifetime_years"].value * 365) / tokens * _MILLION)
    return {"persona": "consumer", "unit": "gCO2e per million tokens",
            "operational": operational, "embodied": share,
            "total": None if share is None else operational + share,
            "reason": None if share is not None else
            f"no maker states what making it emits; give --set {embodied}=KG"}


def training(model: Model, ours: Way, other: Way, assumptions: Mapping[str, Assumption]
             ) -> dict[str, Any] | None:
    """Return the energy of training, teachers included, and after how many tokens use has saved it.

    ``None`` for a model whose file does not say how long it was trained.
    """
    seconds = _seconds(model.provenance)
    if seconds is None:
        return None
    joules = seconds * assumptions["training_watts"].value
    tokens = assumptions["queries_per_day"].value * ours.tokens_per_query
    saved = (other.day_joules.p50 - ours.day_joules.p50) / tokens
    grid = assumptions["grid_g_per_kwh"].value
    return {"seconds": seconds, "joules": joules, "kwh": joules / _KWH,
            "co2e_kg": joules / _KWH * grid / 1e3,
            "provenance": "stated seconds x assumed watts",
            "co2e_g_per_parameter": joules / _KWH * grid / model.config.ternary_weights,
            "break_even_tokens": joules / saved if saved > 0 else None}


def _seconds(provenance: Mapping[str, Any]) -> float | None:
    own = provenance.get("training_seconds")
    if not isinstance(own, int | float):
        return None
    teachers = provenance.get("teachers")
    return own + sum(_seconds(teacher) or 0.0 for teacher in (
        teachers if isinstance(teachers, list) else []) if isinstance(teacher, Mapping))
