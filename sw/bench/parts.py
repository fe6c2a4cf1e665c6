"""Energy of a token by part of the chip."""

from collections.abc import Mapping
from typing import Any

from trilight.sw.power import load_coefficients
from trilight.sw.report import PART_NAMES

__all__ = ["energy_by_part"]


def energy_by_part(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Nanojoules per token by term of the power model; ``None`` if it made no estimate.

    Parameters
    ----------
    report
        See ``trilight.sw.report``.

    Returns
    -------
    dict or None
        ``unit``, ``total`` and ``parts``, which add up to it; each part has ``value`` and its 90 %
        ``interval``.
    """
    power, figures = report["power"], report["figures"]
    cycles, clock = figures["cycles_per_token"]["value"], figures["clock_hz"]["value"]
    if power is None or cycles is None:
        return None
    nj_per_mw = 1e6 * cycles / clock
    table = load_coefficients().coefficients
    parts = {}
    for name, mw in power["split_mw"].items():
        value, factor = mw * nj_per_mw, table[name].factor
        if value > 0:
            parts[PART_NAMES[name]] = {"value": value, "interval": {
                "p05": value / factor, "p50": value, "p95": value * factor}}
    return {"unit": "nJ/token", "total": sum(part["value"] for part in parts.values()),
            "parts": parts}
