"""Accounts in the columns of other tools, so that they can be read where theirs are.

- CodeCarbon: a row of ``emissions.csv``, as version 3.3 writes it.
- AI Energy Score: a row of its results. That benchmark is for one GPU, so a row of another device
  has its form and is not comparable.
- optimum-benchmark: ``benchmark_report.json``, phases load_model, prefill, decode and per_token.
  It reads no other key, so neither boundary nor provenance can be in it.
"""

import csv
import io
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .account import DAY_S, Way
from .assumptions import Assumption

__all__ = ["EXPORTS", "export"]

EXPORTS = ("codecarbon", "energy-score", "optimum")

_KWH = 3.6e6
_WH = 3600.0


def export(form: str, way: Way, model: str, assumptions: Mapping[str, Assumption]) -> str:
    """Return a day of ``way`` in one of ``EXPORTS``; of ``optimum``, one query.

    Parameters
    ----------
    model
        Name of the model.
    """
    if form == "optimum":
        return json.dumps(_optimum(way, assumptions), indent=2) + "\n"
    row = (_codecarbon if form == "codecarbon" else _energy_score)(way, model, assumptions)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerow({key: "" if value is None else value for key, value in row.items()})
    return out.getvalue()


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")


def _codecarbon(way: Way, model: str, assumptions: Mapping[str, Assumption]) -> dict[str, Any]:
    joules = way.day_joules.p50
    kwh, kg = joules / _KWH, joules / _KWH * assumptions["grid_g_per_kwh"].value / 1e3
    # The FPGA takes the place of the processor; there is no other part within the boundary.
    return {
        "timestamp": _now(), "project_name": f"trilight {model}", "run_id": "",
        "experiment_id": "", "duration": DAY_S, "emissions": kg, "emissions_rate": kg / DAY_S,
        "cpu_power": joules / DAY_S, "gpu_power": 0.0, "ram_power": 0.0, "cpu_energy": kwh,
        "gpu_energy": 0.0, "ram_energy": 0.0, "energy_consumed": kwh,
        "water_consumed": 0.0, "country_name": None,
        "country_iso_code": None, "region": None, "cloud_provider": None, "cloud_region": None,
        "os": platform.platform(), "python_version": platform.python_version(),
        "codecarbon_version": None, "cpu_count": 1, "cpu_model": way.name, "gpu_count": None,
        "gpu_model": None, "longitude": None, "latitude": None, "ram_total_size": None,
        "tracking_mode": way.provenance, "cpu_utilization_percent": 100 * way.busy_s / DAY_S,
        "gpu_utilization_percent": 0.0, "ram_utilization_percent": None, "ram_used_gb": None,
        "on_cloud": "N", "pue": 1.0, "wue": 0.0}


def _energy_score(way: Way, model: str, assumptions: Mapping[str, Assumption]) -> dict[str, Any]:
    queries = assumptions["queries_per_day"].value
    prompt, generated = (assumptions[name].value for name in ("prompt_tokens",
                                                              "generated_tokens"))
    joules = way.busy_joules.p50
    return {
        "model_name": model, "model_class": "MatMul-free ternary", "task": "text_generation",
        "reasoning_state": "off", "total_prompts": round(queries),
        "successful_prompts": round(queries), "failed_prompts": 0,
        "total_duration_seconds": way.busy_s, "avg_total_time": way.busy_s / queries,
        "avg_time_to_first_token": way.first_token_s,
        "total_tokens": queries * (prompt + generated), "total_prompt_tokens": queries * prompt,
        "total_completion_tokens": queries * generated,
        "throughput_tokens_per_second": queries * generated / way.busy_s if way.busy_s else None,
        "gpu_energy_wh": joules / _WH, "wh_per_1000_queries": joules / _WH / queries * 1000,
        "co2_emissions_g": joules / _KWH * assumptions["grid_g_per_kwh"].value,
        "tokens_per_joule": queries * generated / joules,
        "avg_energy_per_prompt_wh": joules / _WH / queries, "timestamp": _now(),
        "error_message": f"not comparable: {way.name}, boundary {way.boundary}, "
                         f"{way.provenance}"}


def _optimum(way: Way, assumptions: Mapping[str, Assumption]) -> dict[str, Any]:
    prompt, generated = (assumptions[name].value for name in ("prompt_tokens",
                                                              "generated_tokens"))
    details = way.details

    def phase(seconds: float | None, joules: float | None, tokens: float | None
              ) -> dict[str, Any]:
        latency = None if seconds is None else {
            "unit": "s", "values": [seconds], "count": 1, "total": seconds, "mean": seconds,
            "p50": seconds, "p90": seconds, "p95": seconds, "p99": seconds, "stdev": 0.0,
            "stdev_": 0.0}
        kwh = None if joules is None else joules / _KWH
        return {
            "memory": {"unit": "MB", "max_ram": details.get("memory_bytes", 0) / 1e6},
            "latency": latency,
            "throughput": None if not (seconds and tokens) else {
                "unit": "tokens/s", "value": tokens / seconds},
            "energy": None if kwh is None else {
                "unit": "kWh", "cpu": kwh, "ram": 0.0, "gpu": 0.0, "total": kwh},
            "efficiency": None if not (kwh and tokens) else {
                "unit": "tokens/kWh", "value": tokens / kwh}}

    per_prefill, per_decode = (details.get(f"{name}_joules_per_token")
                               for name in ("prefill", "decode"))
    return {
        "load_model": phase(details.get("load_seconds"), details.get("load_joules"), None),
        "prefill": phase(way.prefill_s, None if per_prefill is None else
                         per_prefill * max(prompt - 1, 0), prompt),
        "decode": phase(way.decode_s, None if per_decode is None else per_decode * generated,
                        generated),
        "per_token": phase(details.get("token_latency_s"), per_decode, 1)}
