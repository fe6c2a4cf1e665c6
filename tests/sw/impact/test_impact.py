"""Accounts of use: each figure by hand, every assumption shown."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from trilight.hw.support.boards import board_device
from trilight.sw.bench.field import load_field
from trilight.sw.cli.app import command
from trilight.sw.errors import ImpactError
from trilight.sw.impact.account import Way, compare, cost, sci, training
from trilight.sw.impact.assumptions import OPTIONAL, load_assumptions
from trilight.sw.impact.ways import bench_way, chip_way, read_system, rival_way, whole_board
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.power.activity import Activity
from trilight.sw.power.estimate import Interval, estimate_power
from trilight.sw.report.releases import Release, load_releases
from trilight.sw.report.schedule import Schedule, SequenceRequest


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(default_model_path())


@pytest.fixture(scope="module")
def release() -> Release:
    return load_releases()["icebreaker"]


@pytest.fixture
def other() -> Way:
    """A system of 2 J a query, 100 of them a day."""
    return Way(name="other", boundary="board", provenance="measured", source="", bits_per_byte=None,
               tokens_per_query=50, first_token_s=None, prefill_s=None, decode_s=None,
               busy_s=100.0, busy_joules=Interval(150.0, 200.0, 250.0), idle_joules=None,
               start_joules=0.0, latency_s=None, details={})


def test_day_of_a_chip_is_its_cycles_and_its_power(model: Model, release: Release) -> None:
    assumptions = load_assumptions(["queries_per_day=7", "prompt_tokens=11", "starts_per_day=2",
                                    "generated_tokens=30", "config_joules=0.5"])
    device = board_device("icebreaker")
    way = chip_way(model, release, device, assumptions)
    clock = release["clock_hz"]

    def cycles(feed: int, generate: int) -> int:
        return Schedule(model.config, [SequenceRequest(feed, generate)], device).cycles

    # What a run takes to begin and to end, a few tens of cycles, is in neither.
    assert way.first_token_s == pytest.approx(cycles(11, 1) / clock, rel=1e-3)
    query = cycles(11, 30) / clock
    assert way.busy_s == pytest.approx(7 * query, rel=1e-3)
    busy, idle = (estimate_power(Activity.from_dict(release["activity"][name]), clock,
                                 pll=True).power_mw.p50 * 1e-3 for name in ("busy", "idle"))
    assert way.busy_joules.p50 == pytest.approx(busy * 7 * query, rel=1e-3)
    assert way.idle_joules is not None
    assert way.idle_joules.p50 == pytest.approx(idle * (86_400 - way.busy_s))
    load_s = way.details["load_seconds"]
    assert load_s == pytest.approx(131_048 * 10.5 / 12e6, rel=1e-3)
    assert way.start_joules == pytest.approx(2 * (0.5 + idle * load_s))
    assert way.day_joules.p50 == pytest.approx(
        way.busy_joules.p50 + way.idle_joules.p50 + way.start_joules)
    assert way.details["bits_per_weight"] == pytest.approx(8 * 131_048 / 647_360, rel=1e-4)
    assert way.details["giga_ternary_macs_per_joule"] == pytest.approx(
        647_360 / (busy * 16_714 / clock) / 1e9, rel=1e-3)


def test_system_of_the_field_has_its_published_joules() -> None:
    rival = next(row for row in load_field() if row.tokens_per_s and row.watts)
    assumptions = load_assumptions(["queries_per_day=3", "prompt_tokens=4", "generated_tokens=6",
                                    "other_idle_watts=2"])
    way = rival_way(rival, assumptions)
    low, high = rival.joules_per_token
    assert way.busy_joules == Interval(30 * low, 15 * (low + high), 30 * high)
    assert rival.tokens_per_s is not None
    assert way.busy_s == pytest.approx(30 / rival.tokens_per_s)
    assert way.idle_joules is not None
    assert way.idle_joules.p50 == pytest.approx(2 * (86_400 - way.busy_s))
    assert rival_way(rival, load_assumptions()).idle_joules is None


def test_savings_money_and_carbon(other: Way) -> None:
    assumptions = load_assumptions(["days=10", "grid_g_per_kwh=100", "price_per_kwh=0.5"])
    ours = replace(other, boundary="fpga_core", busy_joules=Interval(10.0, 20.0, 30.0))
    saved = compare(ours, other, assumptions)
    assert saved["joules_per_day"] == 180
    assert saved["kwh"] == pytest.approx(1800 / 3.6e6)
    assert saved["co2e_kg"] == pytest.approx(1800 / 3.6e6 * 0.1)
    assert saved["money"] == pytest.approx(1800 / 3.6e6 * 0.5)
    assert saved["ratio"] == 10
    assert not saved["same_boundary"]
    assert compare(other, other, assumptions)["same_boundary"]


def test_carbon_intensity_shares_out_the_hardware(other: Way) -> None:
    known = ["queries_per_day=100", "grid_g_per_kwh=360"]
    found = sci(other, load_assumptions(known), "embodied_kg")
    assert found["operational"] == pytest.approx(200 / 3.6e6 * 360 / 5000 * 1e6)
    assert found["embodied"] is None
    assert "--set embodied_kg" in found["reason"]
    with_board = sci(other, load_assumptions([*known, "embodied_kg=3.65", "lifetime_years=2"]),
                     "embodied_kg")
    assert with_board["embodied"] == pytest.approx(3650 / 730 / 5000 * 1e6)
    assert with_board["total"] == pytest.approx(with_board["operational"] + with_board["embodied"])


def test_training_counts_the_teachers(model: Model, other: Way) -> None:
    assumptions = load_assumptions(["queries_per_day=100", "training_watts=10"])
    ours = replace(other, busy_joules=Interval(0.0, 100.0, 100.0))
    found = training(model, ours, other, assumptions)
    assert found is not None
    about = model.provenance
    seconds = about["training_seconds"] + sum(t["training_seconds"] for t in about["teachers"])
    assert found["joules"] == 10 * seconds
    assert found["break_even_tokens"] == pytest.approx(10 * seconds / (100 / 5000))
    provider = found["sci"]
    grams = found["kwh"] * assumptions["grid_g_per_kwh"].value
    characters = about["characters_seen"] + sum(t["characters_seen"] for t in about["teachers"])
    assert provider["gco2e_per_parameter"] == pytest.approx(grams / 647_360)
    assert provider["gco2e_per_training_token"] == pytest.approx(grams / characters)
    costlier = training(model, other, ours, assumptions)
    assert costlier is not None
    assert costlier["break_even_tokens"] is None
    assert training(replace(model, provenance={}), ours, other, assumptions) is None


def test_training_takes_the_watts_that_were_read(model: Model, other: Way) -> None:
    """Read for the last sitting of the model's, and not for its teachers."""
    about = {"training_seconds": 100, "training_energy": {"joules": 90.0, "seconds": 30.0},
             "teachers": [{"training_seconds": 50}, {"training_seconds": 20, "training_energy": {
                 "joules": 10.0, "seconds": 20.0}}]}
    found = training(replace(model, provenance=about), other, other,
                     load_assumptions(["training_watts=7"]))
    assert found is not None
    assert found["joules"] == pytest.approx(100 * 3 + 50 * 7 + 20 * 0.5)
    assert "assumed watts" in found["provenance"]
    assert found["sci"]["gco2e_per_training_token"] is None
    read = training(replace(model, provenance=about | {"teachers": []}), other, other,
                    load_assumptions())
    assert read is not None
    assert read["joules"] == pytest.approx(300)
    assert "read from a counter" in read["provenance"]


def test_a_whole_board_pays_for_its_supply_and_the_rest(model: Model, release: Release) -> None:
    plain = load_assumptions()
    core = chip_way(model, release, board_device("icebreaker"), plain)
    assert whole_board(core, plain) is core
    board = whole_board(core, load_assumptions(["rest_of_board_watts=0.25", "supply_ratio=4"]))
    assert board.boundary == "board"
    assert board.day_joules.p50 == pytest.approx(4 * core.day_joules.p50 + 0.25 * 86_400)
    assert board.busy_joules.p50 == pytest.approx(4 * core.busy_joules.p50 + 0.25 * core.busy_s)


def test_cost_shares_out_the_price(other: Way) -> None:
    known = ["queries_per_day=100", "price_per_kwh=0.36"]
    found = cost(other, load_assumptions(known), "board_price")
    assert found["electricity"] == pytest.approx(100 * 200 / 3.6e6 * 0.36 / 5000 * 1e6)
    assert found["hardware"] is None
    assert "--set board_price" in found["reason"]
    paid = cost(other, load_assumptions([*known, "board_price=73", "lifetime_years=2"]),
                "board_price")
    assert paid["hardware"] == pytest.approx(7300 / 730 / 5000 * 1e6)
    assert paid["total"] == pytest.approx(paid["electricity"] + paid["hardware"])


def figure(value: float | None, **more: object) -> dict[str, object]:
    return {"value": value, "interval": None, "boundary": "host", "provenance": "modelled",
            "source": "9 W assumed", "reason": "no meter", **more}


SYSTEM = {"name": "c", "device": {"description": "a processor"}, "figures": {
    "joules_per_token": figure(3e-3), "tokens_per_s": figure(2000.0),
    "prefill_tokens_per_s": figure(1600.0), "decode_tokens_per_s": figure(2500.0),
    "bits_per_byte": figure(2.08)}}


def test_this_computer_as_the_benchmark_ran_it(tmp_path: Path) -> None:
    """3 mJ at 2,000 tokens/s are 6 W, for the time that prompts and answers take."""
    file = tmp_path / "bench.json"
    file.write_text(json.dumps({"schema": "trilight/bench/v1", "systems": [
        {"name": "netlist", "figures": {}}, SYSTEM]}))
    assert read_system(file, "c") == read_system(file, None) == SYSTEM
    with pytest.raises(ImpactError, match="has no system 'numba'; it has netlist, c"):
        read_system(file, "numba")
    assumptions = load_assumptions(["queries_per_day=10", "prompt_tokens=16",
                                    "generated_tokens=26", "other_idle_watts=2"])
    way = bench_way(SYSTEM, assumptions)
    assert way.busy_s == pytest.approx(10 * (0.01 + 0.01))
    assert way.busy_joules.p50 == pytest.approx(6 * 0.2)
    assert way.idle_joules is not None
    assert way.idle_joules.p50 == pytest.approx(2 * (86_400 - 0.2))
    with pytest.raises(ImpactError, match="more than a day has"):
        bench_way(SYSTEM, load_assumptions(["queries_per_day=1e7"]))
    unknown = {**SYSTEM, "figures": SYSTEM["figures"] | {"joules_per_token": figure(None)}}
    with pytest.raises(ImpactError, match=r"no meter.*--host-watts"):
        bench_way(unknown, assumptions)


@pytest.mark.parametrize("text", [
    "", "[]", '{"schema": "other"}', '{"schema": "trilight/bench/v1", "systems": 3}'])
def test_no_benchmark_of_ours_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text(text)
    with pytest.raises(ImpactError, match="trilight bench --json"):
        read_system(file, None)
    with pytest.raises(ImpactError, match="cannot be read"):
        read_system(tmp_path / "gone.json", None)


@pytest.mark.parametrize("change", ["what=1", "days", "days=", "days=-1", "days=nan", "days=inf",
                                    "days=two"])
def test_change_that_means_nothing_is_refused(change: str) -> None:
    with pytest.raises(ImpactError):
        load_assumptions([change])


def test_optional_assumptions_have_no_value_until_given() -> None:
    assert not OPTIONAL.keys() & load_assumptions().keys()
    for name in OPTIONAL:
        assert load_assumptions([f"{name}=2"])[name].value == 2


def test_more_than_a_day_of_queries_is_refused(model: Model, release: Release) -> None:
    with pytest.raises(ImpactError, match="more than a day has"):
        chip_way(model, release, board_device("icebreaker"),
                 load_assumptions(["queries_per_day=1e9"]))


def test_command_shows_every_assumption_and_writes_what_it_shows(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, table = tmp_path / "impact.json", tmp_path / "emissions.csv"
    assert command(["impact", "--set", "grid_g_per_kwh=41", "--json", str(out), "--export",
                    "codecarbon", "--out", str(table)]) in (None, 0)
    shown = capsys.readouterr().out
    results = json.loads(out.read_text())
    for name, found in results["assumptions"].items():
        assert re.search(rf"{name} +{found['value']:g} ", shown), name
    assert results["assumptions"]["grid_g_per_kwh"]["source"] == "set by the user"
    assert f"{results['saved']['kwh']:,.3g} kWh" in shown
    assert table.read_text().startswith("timestamp,project_name")
    with pytest.raises(ImpactError, match="go together"):
        command(["impact", "--export", "optimum"])
    small = default_model_path().with_name("shakespeare-small.safetensors")
    assert command(["impact", "--against", str(small), "--json", str(out)]) in (None, 0)
    two = json.loads(out.read_text())
    assert two["saved"]["same_boundary"]
    assert two["other"]["busy_joules"]["p50"] < two["ours"]["busy_joules"]["p50"]
    with pytest.raises(ImpactError, match="names several"):
        command(["impact", "--against", "e"])
    with pytest.raises(ImpactError, match="names none"):
        command(["impact", "--against", "no such system"])
    with pytest.raises(ImpactError, match="is released"):
        command(["impact", "--board", "ulx3s-45f"])
