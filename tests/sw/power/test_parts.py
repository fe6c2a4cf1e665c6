"""Energy by part, layer and stage: it adds up, and each event is where it happened."""

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from trilight.sw.errors import PowerError
from trilight.sw.power import (
    Breakdown,
    StageCounts,
    energy_by_part,
    estimate_power,
    load_coefficients,
)
from trilight.sw.power.evidence import bands_alone
from trilight.sw.power.picture import energy_svg, label
from trilight.sw.report.releases import load_releases


def stage(name: str, layer: int | None, reading: bool, cycles: int,
          **events: dict[str, float]) -> StageCounts:
    return StageCounts(stage=name, layer=layer, reading=reading, cycles=cycles, events=events)


BREAKDOWN = Breakdown(tokens=2, clock_nets=1, ff_clocked=500, stages=(
    stage("embedding", None, False, 90, embedding={"net_transitions": 800.0}),
    stage("embedding", None, True, 10, weight_memory={"spram_accesses": 40.0}),
    stage("mix", 0, True, 600, weight_memory={"spram_accesses": 2400.0},
          tables={"ebr_accesses": 5400.0, "net_transitions": 9000.0}),
    stage("mix", 0, False, 50, tables={"net_transitions": 300.0}),
    stage("residual", 0, True, 400, vector_unit={"dsp_ops": 1600.0, "net_transitions": 2000.0}),
    stage("glu", 1, True, 700, weight_memory={"spram_accesses": 2800.0}),
    stage("head", None, True, 200, sampler={"net_transitions": 500.0, "io_edges": 3.0}),
))
AT: dict[str, Any] = {"pll": True, "voltage_v": 1.17, "temperature_c": 40.0}


@pytest.fixture(params=["made up", "released"])
def breakdown(request: pytest.FixtureRequest) -> Breakdown:
    if request.param == "made up":
        return BREAKDOWN
    return Breakdown.from_dict(load_releases()["icebreaker"]["activity"]["breakdown"])


def test_adds_up_three_times(breakdown: Breakdown) -> None:
    got = energy_by_part(breakdown, 24e6, **AT)
    for entries in (got["parts"].values(), got["by_stage"].values(), got["by_layer"]):
        assert sum(entry["value"] for entry in entries) == pytest.approx(got["total"], rel=1e-12)
        for entry in entries:
            assert 0 < entry["interval"]["p05"] <= entry["interval"]["p50"]
            assert entry["interval"]["p50"] <= entry["interval"]["p95"]
    assert json.loads(json.dumps(got)) == got
    assert sum(entry["cycles"] for entry in got["by_layer"]) == pytest.approx(
        breakdown.cycles_per_token)


def test_total_is_power_times_time(breakdown: Breakdown) -> None:
    got = energy_by_part(breakdown, 24e6, **AT)
    power = estimate_power(breakdown.activity, 24e6, **AT)
    microseconds = breakdown.cycles_per_token / 24
    assert {name: got[name] for name in ("clock_hz", "pll", "hfosc", "voltage_v", "temperature_c",
                                         "cycles_per_token")} == {
        "clock_hz": 24e6, "hfosc": False, **AT, "cycles_per_token": breakdown.cycles_per_token}
    assert got["coefficients"] == {"id": power.coefficients.id,
                                   "sha256": power.coefficients.sha256}
    assert got["total"] == pytest.approx(power.nominal_mw * microseconds)
    for end in ("p05", "p50", "p95"):
        assert got["interval"][end] == pytest.approx(getattr(power.power_mw, end) * microseconds)


def test_each_event_counts_where_it_happened() -> None:
    """Energies by hand, at the coefficients' own voltage and temperature."""
    table = {name: c.value for name, c in load_coefficients().coefficients.items()}
    got = energy_by_part(BREAKDOWN, 20e6, voltage_v=load_coefficients().reference_voltage_v,
                         coefficients=bands_alone(load_coefficients()))
    cycles = sum(s.cycles for s in BREAKDOWN.stages) / 2

    def nj(name: str, count: float) -> float:
        return table[name] * count / 2 * 1e-3

    def per_cycle(number: float) -> float:
        """Of what goes on in every cycle: leakage and clock tree."""
        return number * (table["leakage"] * 1.219 / 20e6 * 1e3
                         + (table["clock"] + 500 * table["ff"]) * 1e-3)

    parts = {name: entry["value"] for name, entry in got["parts"].items()}
    assert parts["weight_memory"] == pytest.approx(nj("spram", 5240))
    assert parts["tables"] == pytest.approx(nj("ebr", 5400) + nj("net", 9300))
    assert parts["vector_unit"] == pytest.approx(nj("dsp", 1600) + nj("net", 2000))
    assert parts["sampler"] == pytest.approx(nj("net", 500))
    assert parts["clock_tree"] + parts["leakage"] == pytest.approx(per_cycle(cycles))
    assert parts["oscillator"] == 0
    stages = {name: entry["value"] for name, entry in got["by_stage"].items()}
    assert list(stages) == ["embedding", "mix", "gaps", "residual", "glu", "head"]
    assert stages["gaps"] == pytest.approx(nj("net", 300) + per_cycle(25))
    assert stages["embedding"] == pytest.approx(nj("net", 800) + nj("spram", 40) + per_cycle(50))
    layers = {entry["layer"]: entry["value"] for entry in got["by_layer"]}
    assert list(layers) == ["embedding", 0, 1, "head"]
    assert layers[1] == pytest.approx(nj("spram", 2800) + per_cycle(350))


def test_largest_part_comes_first(breakdown: Breakdown) -> None:
    values = [part["value"] for part in energy_by_part(breakdown, 24e6, **AT)["parts"].values()]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 1


def test_uncalibrated_family_says_so() -> None:
    memoryless = Breakdown(tokens=1, clock_nets=1, ff_clocked=100, stages=(
        stage("mix", 0, False, 100, tables={"net_transitions": 50.0}),))
    got = energy_by_part(memoryless, 50e6, coefficients=load_coefficients("gw2a"))
    assert got["calibration"] == "uncalibrated"
    assert "uncalibrated" in energy_svg(got)


def test_breakdown_survives_json() -> None:
    assert Breakdown.from_dict(json.loads(json.dumps(BREAKDOWN.to_dict()))) == BREAKDOWN
    with pytest.raises(PowerError, match="no breakdown"):
        Breakdown.from_dict({"tokens": 1})


def test_picture_shows_every_entry() -> None:
    got = energy_by_part(BREAKDOWN, 24e6, pll=True)
    svg = ET.fromstring(energy_svg(got))
    namespace = "{http://www.w3.org/2000/svg}"
    words = [text.text for text in svg.iter(f"{namespace}text")]
    names = [*got["parts"], *got["by_stage"], *(entry["layer"] for entry in got["by_layer"])]
    assert [word for word in words if word in set(map(label, names))] == list(map(label, names))
    bars = [float(bar.attrib["width"]) for bar in svg.iter(f"{namespace}rect")]
    values = [entry["value"] for entry in (
        *got["parts"].values(), *got["by_stage"].values(), *got["by_layer"])]
    largest = max(values)
    assert bars == pytest.approx([max(bars) * value / largest for value in values], abs=0.1)
