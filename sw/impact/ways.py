"""Ways to run a model: a released chip, a whole board, a system of the field, this computer."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trilight.hw.contract.device import Device
from trilight.sw.bench.document import SCHEMA
from trilight.sw.bench.field import Rival
from trilight.sw.errors import ImpactError
from trilight.sw.model.model import Model
from trilight.sw.power.activity import Activity
from trilight.sw.power.estimate import Interval, estimate_power
from trilight.sw.report.performance import predict
from trilight.sw.report.releases import Release

from .account import DAY_S, Way
from .assumptions import Assumption, value_of

__all__ = ["bench_way", "chip_way", "read_system", "rival_way", "whole_board"]

PERCENTILES = ("p50", "p90", "p95", "p99")


def chip_way(model: Model, release: Release, device: Device,
             assumptions: Mapping[str, Assumption]) -> Way:
    """Return a day of a released chip with a model.

    Cycles are exact, of the performance model; power is that of the release's activity, which was
    counted with the released model.

    Raises
    ------
    PerformanceError, CapacityError
        The model does not fit the device.
    ImpactError
        The build's activity was not counted, or a day is too short for the queries.
    """
    model.config.check_fits(device)
    if "activity" not in release:
        raise ImpactError(f"the power of {release['board']} is not known: switching is counted in "
                          "the builds of iCE40 boards alone")
    found = predict(model.config, device=device)
    clock = release["clock_hz"]
    prompt, generated = (assumptions[name].value for name in ("prompt_tokens",
                                                              "generated_tokens"))
    queries = assumptions["queries_per_day"].value
    prefill_s = max(prompt - 1, 0) * found.prompt_cycles_per_token / clock
    decode_s = generated * found.cycles_per_token / clock
    busy_s = _busy(queries, prefill_s + decode_s)
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
        # A token takes the same cycles each time.
        latency_s=dict.fromkeys(PERCENTILES, prefill_s + decode_s),
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
    return Way(
        name=rival.name, boundary=rival.boundary, provenance=rival.status,
        source=f"{rival.source}; a token of the prompt counted as a generated one",
        tokens_per_query=prompt + generated, first_token_s=None, prefill_s=None, decode_s=None,
        busy_s=busy_s,
        busy_joules=Interval(low * tokens, (low + high) / 2 * tokens, high * tokens),
        idle_joules=_other_idle(busy_s, assumptions), start_joules=0.0,
        bits_per_byte=rival.bits_per_byte, latency_s=None, details={})


def whole_board(way: Way, assumptions: Mapping[str, Assumption]) -> Way:
    """Return the day of a core as that of its board, if the rest of the board's watts are given.

    The supply pays ``supply_ratio`` times what the core takes, and the rest all day.
    """
    rest = value_of(assumptions, "rest_of_board_watts")
    if rest is None:
        return way
    ratio = assumptions["supply_ratio"].value

    def supplied(joules: Interval, seconds: float) -> Interval:
        return Interval(*(ratio * getattr(joules, name) + rest * seconds
                          for name in ("p05", "p50", "p95")))

    assert way.idle_joules is not None  # a chip's is always known
    return replace(
        way, name=way.name.replace("FPGA core", "whole board"), boundary="board",
        source=f"{way.source}; {rest:g} W for the rest of the board, all day, and {ratio:g} times "
               "the core's in its supply",
        busy_joules=supplied(way.busy_joules, way.busy_s),
        idle_joules=supplied(way.idle_joules, DAY_S - way.busy_s),
        start_joules=ratio * way.start_joules)


def read_system(path: Path, name: str | None) -> dict[str, Any]:
    """Return a system of a benchmark's JSON file, the last one if no name is given.

    Raises
    ------
    ImpactError
        The file cannot be read, is none of ``trilight bench``, or has no such system.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise ImpactError(f"{path} has schema {document['schema']!r}, not {SCHEMA!r}; make it "
                              "again with trilight bench --json")
        systems = {system["name"]: system for system in document["systems"]}
    except OSError as error:
        raise ImpactError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ImpactError(f"{path} is none of trilight bench --json: {error!r}") from error
    chosen = list(systems)[-1] if name is None else name
    if chosen not in systems:
        raise ImpactError(f"{path} has no system {chosen!r}; it has {', '.join(systems)}")
    found: dict[str, Any] = systems[chosen]
    return found


def bench_way(system: Mapping[str, Any], assumptions: Mapping[str, Assumption]) -> Way:
    """Return a day of a system that ``trilight bench`` ran: its speed, and its energy per token.

    Raises
    ------
    ImpactError
        Its energy is not known, or a day is too short for the queries.
    """
    figures = system["figures"]
    energy = figures["joules_per_token"]
    if energy["value"] is None:
        raise ImpactError(f"the energy of {system['name']} is not known ({energy['reason']}); run "
                          "trilight bench with --host-watts and --host-watts-source")
    prompt, generated = (assumptions[name].value for name in ("prompt_tokens",
                                                              "generated_tokens"))
    queries = assumptions["queries_per_day"].value
    prefill_s = prompt / figures["prefill_tokens_per_s"]["value"]
    # The time to the first token is in the prompt's.
    decode_s = max(generated - 1, 0) / figures["decode_tokens_per_s"]["value"]
    busy_s = _busy(queries, prefill_s + decode_s)
    # Joules per token at so many tokens per second are the mean watts while it runs.
    rate = figures["tokens_per_s"]["value"]
    interval = energy["interval"] or dict.fromkeys(("p05", "p50", "p95"), energy["value"])
    return Way(
        name=system["name"], boundary=energy["boundary"], provenance=energy["provenance"],
        source=f"{system['device']['description']}; {energy['source']}",
        tokens_per_query=prompt + generated, first_token_s=prefill_s, prefill_s=prefill_s,
        decode_s=decode_s, busy_s=busy_s,
        busy_joules=Interval(**interval).scaled(rate * busy_s),
        idle_joules=_other_idle(busy_s, assumptions), start_joules=0.0,
        bits_per_byte=figures["bits_per_byte"]["value"], latency_s=None,
        details={"duty_cycle": busy_s / DAY_S})


def _busy(queries: float, seconds: float) -> float:
    """Seconds of a day that its queries take; raises ``ImpactError`` for more than there are."""
    busy_s = queries * seconds
    if busy_s > DAY_S:
        raise ImpactError(f"{queries:,.6g} queries take {busy_s / 3600:,.4g} hours, more than a "
                          "day has; set queries_per_day lower")
    return busy_s


def _other_idle(busy_s: float, assumptions: Mapping[str, Assumption]) -> Interval | None:
    watts = value_of(assumptions, "other_idle_watts")
    if watts is None:
        return None
    joules = watts * max(DAY_S - busy_s, 0.0)
    return Interval(joules, joules, joules)


def _stated_bits(model: Model) -> float | None:
    quality = model.provenance.get("quality")
    found = quality.get("bits_per_byte") if isinstance(quality, Mapping) else None
    return float(found) if isinstance(found, int | float) else None
