"""Figures of a system: arithmetic, origin, and what may stand for what."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from trilight.sw.bench.system import AssumedPower, Carbon, Expected
from trilight.sw.host.generation import LastRun
from trilight.sw.model.model import Model
from trilight.sw.power import Activity, estimate_power

Describe = Callable[..., dict[str, Any]]
Report = dict[str, Any]


def value(system: dict[str, Any], name: str) -> float:
    found: float = system["figures"][name]["value"]
    return found


def total(runs: list[LastRun], count: str) -> int:
    return sum(getattr(run, count) for run in runs)


def test_figures_of_the_report_stay_what_they_are(describe: Describe, report: Report) -> None:
    figures = describe()["figures"]
    for name, figure in report["figures"].items():
        assert figures[name]["value"] == figure["value"], name
        assert figures[name]["provenance"] == figure["provenance"], name


def test_a_query_costs_its_cycles(describe: Describe, runs: list[LastRun]) -> None:
    system = describe()
    watts = value(system, "power_mw") * 1e-3
    seconds = (total(runs, "cycles") + total(runs, "prompt_cycles")) / value(system, "clock_hz")
    assert value(system, "wh_per_1000_queries") == pytest.approx(
        1000 * watts * seconds / len(runs) / 3600)


def test_without_cycles_a_prompt_is_taken_as_dear(describe: Describe,
                                                  reference: list[LastRun], report_of: Describe,
                                                  ) -> None:
    plain = report_of(reference, target="reference", clock_hz=0, design_sha256=None,
                      netlist_sha256=None)
    system = describe(report=plain, runs=reference)
    fed = sum(len(run.prompt) - 1 + len(run.token_ids) for run in reference) / len(reference)
    assert value(system, "wh_per_1000_queries") == pytest.approx(
        1000 * value(system, "joules_per_token") * fed / 3600)
    assert system["timeline"]["time"] == "host"


def test_carbon_needs_an_intensity(describe: Describe) -> None:
    assert "no carbon intensity" in describe()["figures"]["gco2e_per_1000_queries"]["reason"]
    system = describe(carbon=Carbon(250.0, "the grid's operator"))
    assert value(system, "gco2e_per_1000_queries") == pytest.approx(
        0.25 * value(system, "wh_per_1000_queries"))
    assert "grid's operator" in system["figures"]["gco2e_per_1000_queries"]["source"]


def test_clocks(describe: Describe, release: dict[str, Any]) -> None:
    system = describe(clocks_hz=(30e6, 15e6))
    same, half = (point["figures"] for point in system["clocks"])
    for name in ("tokens_per_s", "power_mw", "joules_per_token", "tokens_per_joule"):
        assert same[name]["value"] == pytest.approx(value(system, name)), name
    assert half["tokens_per_s"]["value"] == pytest.approx(same["tokens_per_s"]["value"] / 2)
    busy = Activity.from_dict(release["activity"]["busy"])
    windows = [Activity.from_dict(window) for window in release["activity"]["windows"]]
    assert half["power_mw"]["interval"]["p95"] == pytest.approx(
        estimate_power(busy, 15e6, pll=True, windows=windows).power_mw.p95)
    assert half["tokens_per_s"]["provenance"] == "assumed"


def test_clocks_beyond_timing_analysis_are_warned_of(describe: Describe) -> None:
    worst = 38e6
    warnings = describe(clocks_hz=(worst, 1.01 * worst))["warnings"]
    assert len(warnings) == 1
    assert "38.38 MHz is above the 38.0 MHz" in warnings[0]


def test_parts_add_up(describe: Describe, report: Report) -> None:
    energy = describe()["energy_by_part"]
    assert sum(part["value"] for part in energy["parts"].values()) == pytest.approx(
        energy["total"])
    seconds = report["figures"]["cycles_per_token"]["value"] / 30e6
    assert energy["total"] == pytest.approx(report["power"]["nominal_mw"] * 1e6 * seconds)
    for part in energy["parts"].values():
        assert part["interval"]["p05"] < part["value"] < part["interval"]["p95"]


@pytest.mark.parametrize("same_model", [True, False])
def test_parts_of_the_design_where_they_were_counted(describe: Describe, release: dict[str, Any],
                                                     same_model: bool) -> None:
    stages = [{"stage": stage, "layer": layer, "reading": True, "cycles": 300,
               "events": {"engine": {"net_transitions": 9000.0}, "sampler": {"dsp_ops": 50.0}}}
              for stage, layer in (("mix", 0), ("head", None))]
    counted = {"tokens": 1, "clock_nets": 1, "ff_clocked": 1500, "stages": stages}
    build = {**release, "activity": {**release["activity"], "breakdown": counted}}
    if not same_model:
        build["model_sha256"] = "0" * 64
    energy = describe(release=build)["energy_by_part"]
    assert ("engine" in energy["parts"]) == ("by_stage" in energy) == same_model
    if same_model:
        assert sum(stage["value"] for stage in energy["by_stage"].values()) == pytest.approx(
            energy["total"])


def test_timeline_is_in_the_chips_time(describe: Describe, runs: list[LastRun]) -> None:
    system = describe()
    segments = system["timeline"]["segments"]
    assert system["timeline"]["time"] == "chip"
    clock = value(system, "clock_hz")
    last = segments[-1]
    assert last["start_s"] + last["seconds"] == pytest.approx(
        (total(runs, "cycles") + total(runs, "prompt_cycles")) / clock)
    assert last["tokens"] / last["seconds"] == pytest.approx(value(system, "tokens_per_s"))


def test_a_measurement_takes_the_place_of_the_model(describe: Describe,
                                                    measurement: dict[str, Any]) -> None:
    modelled, system = describe(), describe(measurement=measurement)
    figures = system["figures"]
    assert value(system, "joules_per_token") == 4e-6
    assert figures["joules_per_token"]["provenance"] == system["provenance"] == "measured"
    assert figures["joules_per_token"]["runs"] == [3.9e-6, 4e-6, 4.2e-6]
    assert value(system, "tokens_per_joule") == pytest.approx(1 / 4e-6)
    assert value(system, "modelled_joules_per_token") == value(modelled, "joules_per_token")
    assert value(system, "power_mw") == pytest.approx(12)
    assert value(system, "idle_power_mw") == pytest.approx(2)
    assert value(system, "host_tokens_per_s") == 3000
    assert "windows were short" in system["warnings"][0]
    starts = [segment["start_s"] for segment in system["timeline"]["segments"]]
    assert starts == pytest.approx([0, 12, 24])


def test_above_idle_stands_beside_the_total(describe: Describe,
                                            measurement: dict[str, Any]) -> None:
    system = describe(measurement=measurement)
    assert value(system, "joules_per_token_above_idle") == 3e-6
    for name in ("tokens_per_joule", "joules_per_byte", "wh_per_1000_queries"):
        other = describe(measurement={**measurement, "above_idle": {
            "value": 1e-9, "u_k2": 1e-10, "runs": [1e-9]}})
        assert value(other, name) == value(system, name)
    unknown = describe(measurement={**measurement, "idle_w": None, "above_idle": {
        "value": None, "u_k2": None, "runs": []}})
    assert unknown["figures"]["joules_per_token_above_idle"]["reason"]
    assert unknown["figures"]["idle_power_mw"]["reason"]


def test_a_meter_sees_nothing_of_a_simulation(describe: Describe, report: Report,
                                              measurement: dict[str, Any]) -> None:
    def warned(target: str) -> bool:
        system = describe(report={**report, "target": target}, measurement=measurement)
        return any("computes on this computer" in text for text in system["warnings"])

    assert warned("netlist:icebreaker")
    assert warned("reference")
    assert not warned("serial:/dev/ttyUSB1")


def test_readings_that_were_made_up_are_assumed(describe: Describe,
                                                measurement: dict[str, Any]) -> None:
    system = describe(measurement={**measurement, "provenance": "assumed"})
    assert system["provenance"] == system["figures"]["power_mw"]["provenance"] == "assumed"


def test_other_tokens_are_found(describe: Describe, runs: list[LastRun],
                                expected: Expected) -> None:
    assert describe()["tokens"] == {"same_as_reference": True, "first_difference": None}
    wrong = list(expected.tokens[1])
    wrong[3] += 1
    other = Expected((expected.tokens[0], tuple(wrong), expected.tokens[2]))
    assert other.compare(runs) == {"same_as_reference": False,
                                   "first_difference": "query 2, token 4"}


def test_stated_watts_make_a_modelled_figure(describe_local: Describe,
                                             reference: list[LastRun]) -> None:
    passes = [[replace(run, host_seconds=seconds) for run in reference]
              for seconds in (0.5, 0.25, 1.0)]
    system = describe_local(passes=passes, power=AssumedPower(8.0, "data sheet"))
    tokens = len(reference[0].token_ids)
    assert value(system, "tokens_per_s") == tokens / 0.5
    # The watts are of a busy core, which this one was for half of the time.
    assert value(system, "joules_per_token") == pytest.approx(8.0 * 0.25 / tokens)
    assert system["provenance"] == "modelled"
    assert system["figures"]["power_mw"]["provenance"] == "assumed"
    assert "8 W assumed (data sheet)" in system["warnings"][0]
    assert system["boundary"]["name"] == "host"


def test_without_watts_there_is_no_energy(describe_local: Describe) -> None:
    system = describe_local()
    for name in ("power_mw", "joules_per_token", "tokens_per_joule", "wh_per_1000_queries"):
        assert system["figures"][name]["value"] is None, name
        assert system["figures"][name]["reason"] == "there is no counter", name
    assert system["boundary"] is None
    assert system["provenance"] is None
    assert value(system, "bits_per_byte") == 2.125


def test_a_meter_comes_before_stated_watts(describe_local: Describe,
                                           measurement: dict[str, Any]) -> None:
    system = describe_local(power=AssumedPower(8.0, "data sheet"),
                            measurement={**measurement, "boundary": "gpu"})
    assert value(system, "joules_per_token") == 4e-6
    assert system["boundary"]["name"] == "gpu"
    assert not any("8 W" in text for text in system["warnings"])


def test_quality_is_of_the_same_tokens_only(describe_local: Describe, expected: Expected) -> None:
    other = Expected(((0, *expected.tokens[0][1:]), *expected.tokens[1:]))
    quality = describe_local(expected=other)["figures"]["bits_per_byte"]
    assert quality["value"] is None
    assert "query 1, token 1" in quality["reason"]


def test_latencies_of_a_chip_are_its_cycles(describe: Describe, runs: list[LastRun],
                                            release: dict[str, Any]) -> None:
    """Prompts of 2, 4 and 1 tokens, all of 900 cycles here; ten tokens of 600 cycles follow."""
    system = describe()
    clock = release["clock_hz"]
    assert value(system, "time_to_first_token_s") == pytest.approx(1500 / clock)
    for share in (50, 90, 95, 99):
        assert value(system, f"query_latency_p{share}_s") == pytest.approx(6900 / clock)
    assert value(system, "prefill_tokens_per_s") == pytest.approx(2 * clock / 1500)
    assert value(system, "decode_tokens_per_s") == pytest.approx(value(system, "tokens_per_s"))
    assert value(system, "prefill_joules_per_token") == pytest.approx(
        value(system, "power_mw") * 1e-3 * 3 * 1500 / clock / (2 + 4 + 1))
    assert system["figures"]["time_to_first_token_s"]["boundary"] == "chip"
    assert value(system, "model_bytes") == 4321


def test_reference_has_no_latency_of_a_chip(describe: Describe, reference: list[LastRun]) -> None:
    assert "time_to_first_token_s" not in describe(runs=reference)["figures"]


def test_latencies_of_a_baseline(describe_local: Describe, reference: list[LastRun]) -> None:
    """Queries of 1, 2 and 3 s in each pass; a fifth of each is the first token's."""
    runs = [replace(run, host_seconds=float(n + 1)) for n, run in enumerate(reference)]
    system = describe_local(passes=[runs] * 3)
    assert value(system, "time_to_first_token_s") == pytest.approx(0.4)
    assert value(system, "query_latency_p50_s") == pytest.approx(2)
    assert value(system, "query_latency_p99_s") == pytest.approx(3)
    assert value(system, "prefill_tokens_per_s") == pytest.approx(4 / 0.4)
    tokens = len(reference[0].token_ids)
    assert value(system, "decode_tokens_per_s") == pytest.approx((tokens - 1) / 1.6)
    assert value(system, "tokens_per_s") == pytest.approx(3 * tokens / 6)
    assert value(system, "processor_tokens_per_s") == pytest.approx(3 * tokens / 3)


def test_weights_of_a_joule(describe: Describe, model: Model) -> None:
    system = describe()
    assert value(system, "giga_ternary_macs_per_joule") == pytest.approx(
        value(system, "tokens_per_joule") * model.config.ternary_weights_per_token / 1e9)
