"""Figures: boundaries, arithmetic that keeps unit, origin and limits, and numbers for people."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trilight.sw.power import Interval
from trilight.sw.report.display import format_number
from trilight.sw.report.figures import Figure

__all__ = ["BOUNDARIES", "Boundary", "ends", "limits", "origin", "read_figure", "reciprocal",
           "scaled", "span", "with_prefix"]


@dataclass(frozen=True)
class Boundary:
    """Boundary of a figure: what is inside, and what of the same system is outside."""

    title: str
    included: tuple[str, ...]
    excluded: tuple[str, ...]


BOUNDARIES = {
    "fpga_core": Boundary(
        "FPGA core rails", ("VCC", "VCCPLL"),
        ("I/O banks", "regulator losses", "flash", "USB bridge", "LEDs", "host")),
    "fpga_rails": Boundary(
        "all FPGA rails", ("VCC", "VCCPLL", "VCCIO"),
        ("regulator losses", "flash", "USB bridge", "LEDs", "host")),
    "fpga": Boundary(
        "FPGA chip", ("the FPGA, which rails is not told",),
        ("regulator losses", "memory beside the FPGA", "host")),
    "asic": Boundary(
        "chip alone", ("the chip",), ("memory beside it", "regulator losses", "host")),
    "board": Boundary(
        "board supply", ("everything that the board's supply feeds",), ("host",)),
    "module": Boundary(
        "computer module", ("processor", "memory", "regulators of the module"),
        ("carrier board", "power supply")),
    "host": Boundary(
        "processor packages", ("the processor packages, or their cores where it says so",),
        ("memory", "mainboard", "power supply")),
    "gpu": Boundary(
        "graphics card", ("GPU", "its memory"), ("host", "power supply")),
}
"""Boundaries by name."""

_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


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


def with_prefix(low: float, unit: str, high: float | None = None) -> str:
    """A number or a range, with the prefix that keeps it from 1 to 1000: ``9.3 to 17 µJ``."""
    largest = low if high is None else high
    factor, prefix = next(((f, p) for f, p in _PREFIXES if abs(largest) >= f), (1.0, ""))
    return f"{span(low / factor, largest / factor)} {prefix}{unit}"


def span(low: float, high: float) -> str:
    """A range, as one number if both ends read the same."""
    ends = format_number(low), format_number(high)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
