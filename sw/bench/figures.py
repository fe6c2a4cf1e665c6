"""Arithmetic on figures that keeps unit, origin and limits with the number."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trilight.sw.power import Interval
from trilight.sw.report.figures import Figure

__all__ = ["ends", "limits", "origin", "read_figure", "reciprocal", "scaled"]


def read_figure(data: Mapping[str, Any]) -> Figure:
    """A figure from its JSON object."""
    interval = data["interval"]
    return Figure(**{**data, "interval": Interval(**interval) if interval else None})


def scaled(figure: Figure, factor: float, unit: str, source: str) -> Figure:
    """A figure times a positive number that is known exactly; one without a value stays so."""
    if figure.value is None:
        return replace(figure, unit=unit)
    return replace(
        figure, value=figure.value * factor, unit=unit, source=source,
        interval=figure.interval and figure.interval.scaled(factor),
        u_k2=None if figure.u_k2 is None else figure.u_k2 * factor,
        runs=figure.runs and [run * factor for run in figure.runs])


def reciprocal(figure: Figure, unit: str, source: str) -> Figure:
    """1 / figure; a measured uncertainty keeps its share of the value."""
    if figure.value is None:
        return replace(figure, unit=unit)
    return replace(
        figure, value=1 / figure.value, unit=unit, source=source,
        interval=figure.interval and figure.interval.reciprocal(),
        u_k2=None if figure.u_k2 is None else figure.u_k2 / figure.value**2,
        runs=figure.runs and [1 / run for run in figure.runs])


def limits(figure: Mapping[str, Any]) -> tuple[float, float] | None:
    """Ends of what a figure's JSON object says of its uncertainty; ``None`` if it says nothing.

    The 90 % interval of a modelled figure, ``value`` ± ``u_k2`` (95 %) of a measured one, which
    like every figure here cannot be negative.
    """
    if figure["interval"]:
        return figure["interval"]["p05"], figure["interval"]["p95"]
    if figure["u_k2"] is not None:
        return max(0.0, figure["value"] - figure["u_k2"]), figure["value"] + figure["u_k2"]
    return None


def ends(figure: Mapping[str, Any]) -> tuple[float, float]:
    """``limits`` of a figure with a value, or that value twice."""
    return limits(figure) or (figure["value"], figure["value"])


def origin(figure: Mapping[str, Any]) -> str | None:
    """Provenance of a figure's JSON object, and that it rests on no calibration if so."""
    if figure["calibration"] == "uncalibrated":
        return f"{figure['provenance']}, uncalibrated"
    provenance: str | None = figure["provenance"]
    return provenance
