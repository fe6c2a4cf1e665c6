"""Exports against the forms that the other tools write and read themselves.

The headers are those of files that the tools wrote; the fields of optimum-benchmark are the
arguments of the classes that it reads a report back into, which take no others.
"""

import csv
import io
import json

import pytest

from trilight.hw.support.boards import board_device
from trilight.sw.impact.account import Way
from trilight.sw.impact.assumptions import load_assumptions
from trilight.sw.impact.exports import export
from trilight.sw.impact.ways import chip_way
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.power.estimate import Interval
from trilight.sw.report.releases import load_releases

CODECARBON = (
    "timestamp,project_name,run_id,experiment_id,duration,emissions,emissions_rate,cpu_power,"
    "gpu_power,ram_power,cpu_energy,gpu_energy,ram_energy,energy_consumed,water_consumed,"
    "country_name,country_iso_code,region,cloud_provider,cloud_region,os,python_version,"
    "codecarbon_version,cpu_count,cpu_model,gpu_count,gpu_model,longitude,latitude,ram_total_size,"
    "tracking_mode,cpu_utilization_percent,gpu_utilization_percent,ram_utilization_percent,"
    "ram_used_gb,on_cloud,pue,wue\n"
    "2026-05-04T03:02:01,sample,3b540626-49b2-49c4-bd31-9adabd153544,"
    "5b0fa12a-3dd7-45bb-9766-cc326314d9f1,6.5,4.4e-06,7.1e-07,8.8,0.0,6.0,1.5e-05,0.0,1.0e-05,"
    "2.5e-05,0.0,Spain,ESP,madrid,,,Linux-6.12,3.13.13,3.3.0,10,A processor,0,,-3.7,40.4,24.0,"
    "machine,0.0,0,64.2,9.2,N,1.0,0.0\n")
"""emissions.csv of CodeCarbon 3.3.0, with made-up values."""

ENERGY_SCORE = (
    "model_name,model_class,task,reasoning_state,total_prompts,successful_prompts,failed_prompts,"
    "total_duration_seconds,avg_total_time,avg_time_to_first_token,total_tokens,"
    "total_prompt_tokens,total_completion_tokens,throughput_tokens_per_second,gpu_energy_wh,"
    "wh_per_1000_queries,co2_emissions_g,tokens_per_joule,avg_energy_per_prompt_wh,timestamp,"
    "error_message\n"
    "org/model,B,text_generation,off,1000,1000,0,900.5,0.9,0.05,480000,370000,110000,122.0,55.5,"
    "55.5,20.0,0.55,0.0555,2025-12-04T03:02:01,\n")
"""master_results.csv of the AI Energy Score's edition of 2025-12, with made-up values."""

MEASUREMENTS = {"memory", "latency", "throughput", "energy", "efficiency"}
FIELDS = {
    "memory": ({"unit", "max_ram"},
               {"max_global_vram", "max_process_vram", "max_reserved", "max_allocated"}),
    "latency": ({"unit", "values", "count", "total", "mean", "p50", "p90", "p95", "p99", "stdev",
                 "stdev_"}, set()),
    "throughput": ({"unit", "value"}, set()),
    "energy": ({"unit", "cpu", "ram", "gpu", "total"}, set()),
    "efficiency": ({"unit", "value"}, set()),
}
"""Arguments that each class of optimum-benchmark must have, and those that it may have."""


@pytest.fixture
def way() -> Way:
    """A system of 2 J a query, 100 of them a day."""
    return Way(name="other", boundary="board", provenance="measured", source="", bits_per_byte=None,
               tokens_per_query=50, first_token_s=0.25, prefill_s=None, decode_s=None,
               busy_s=100.0, busy_joules=Interval(150.0, 200.0, 250.0), idle_joules=None,
               start_joules=0.0, latency_s=None, details={})


def read(text: str) -> tuple[list[str], dict[str, str]]:
    rows = csv.DictReader(io.StringIO(text))
    [row] = rows
    return list(rows.fieldnames or ()), row


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(("form", "sample"), [("codecarbon", CODECARBON),
                                              ("energy-score", ENERGY_SCORE)])
def test_row_has_the_form_of_a_file_of_the_tools(form: str, sample: str, way: Way) -> None:
    columns, theirs = read(sample)
    mine_columns, mine = read(export(form, way, "mine", load_assumptions()))
    assert mine_columns == columns
    for name in columns:
        # Numbers where they have numbers; what is not known stays empty.
        assert not mine[name] or not theirs[name] or is_number(mine[name]) == is_number(
            theirs[name]), name
    assert len(mine["timestamp"]) == len(theirs["timestamp"])


def test_values_of_the_rows(way: Way) -> None:
    assumptions = load_assumptions(["queries_per_day=100", "prompt_tokens=20",
                                    "generated_tokens=30", "grid_g_per_kwh=360"])
    _, row = read(export("codecarbon", way, "mine", assumptions))
    assert float(row["energy_consumed"]) == pytest.approx(200 / 3.6e6)
    assert float(row["energy_consumed"]) == pytest.approx(
        sum(float(row[f"{part}_energy"]) for part in ("cpu", "gpu", "ram")))
    assert float(row["emissions"]) == pytest.approx(200 / 3.6e6 * 0.36)
    assert float(row["emissions_rate"]) * float(row["duration"]) == pytest.approx(
        float(row["emissions"]))
    assert float(row["cpu_power"]) * float(row["duration"]) == pytest.approx(200)
    _, row = read(export("energy-score", way, "mine", assumptions))
    assert float(row["wh_per_1000_queries"]) == pytest.approx(200 / 3600 / 100 * 1000)
    assert float(row["tokens_per_joule"]) == pytest.approx(3000 / 200)
    assert float(row["avg_time_to_first_token"]) == 0.25
    assert "not comparable" in row["error_message"]


def test_phases_of_a_query() -> None:
    assumptions = load_assumptions()
    release = load_releases()["icebreaker"]
    way = chip_way(Model.load(default_model_path()), release, board_device("icebreaker"),
                   assumptions)
    found = json.loads(export("optimum", way, "mine", assumptions))
    assert list(found) == ["load_model", "prefill", "decode", "per_token"]
    for phase in found.values():
        assert set(phase) <= MEASUREMENTS
        for name, measurement in phase.items():
            must, may = FIELDS[name]
            if measurement is not None:
                assert must <= set(measurement) <= must | may, name
        latency = phase["latency"]
        assert latency["p50"] == latency["p99"] == latency["total"]
        assert phase["energy"]["unit"] == "kWh"
    queries = assumptions["queries_per_day"].value
    energy = sum(found[name]["energy"]["total"] for name in ("prefill", "decode"))
    assert energy * 3.6e6 * queries == pytest.approx(way.busy_joules.p50, rel=1e-6)
    assert found["decode"]["throughput"]["value"] == pytest.approx(
        release["clock_hz"] / 16_714, rel=1e-3)
