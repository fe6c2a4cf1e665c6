"""Energy of a token by part of the chip."""

from collections.abc import Mapping
from typing import Any

from trilight.sw import power
from trilight.sw.report.display import PART_NAMES

__all__ = ["energy_by_part"]


def energy_by_part(report: Mapping[str, Any],
                   release: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Nanojoules per token by part; ``None`` if no power was modelled.

    A release that was counted part by part with this very model gives parts of the design, layers
    and stages; else the parts are the terms of the power model.

    Parameters
    ----------
    report
        See ``trilight.sw.report.report``.
    release
        The build that ran, if it is a released one.

    Returns
    -------
    dict or None
        ``unit``, ``total`` and ``parts``, which add up to it; each part has ``value`` and its 90 %
        ``interval``. With a count by part also ``by_layer`` and ``by_stage``; see
        ``trilight.sw.power.energy_by_part``.
    """
    model, figures = report["power"], report["figures"]
    cycles, clock = figures["cycles_per_token"]["value"], figures["clock_hz"]["value"]
    if model is None or cycles is None:
        return None
    if (release and "breakdown" in release["activity"]
            and release["model_sha256"] == report["model"]["sha256"]):
        counted = power.Breakdown.from_dict(release["activity"]["breakdown"])
        return power.energy_by_part(counted, clock, voltage_v=model["voltage_v"],
                                    temperature_c=model["temperature_c"], pll=model["pll"])
    nj_per_mw = 1e6 * cycles / clock
    table = power.load_coefficients().coefficients
    parts = {}
    for name, mw in model["split_mw"].items():
        if mw > 0:
            value, factor = mw * nj_per_mw, table[name].factor
            parts[PART_NAMES[name]] = {"value": value, "interval": {
                "p05": value / factor, "p50": value, "p95": value * factor}}
    return {"unit": "nJ/token", "total": sum(part["value"] for part in parts.values()),
            "parts": parts}
