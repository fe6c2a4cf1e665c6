"""Arithmetic on figures, and numbers for people."""

from dataclasses import asdict, replace

import pytest

from trilight.sw.bench.figures import (
    limits,
    origin,
    read_figure,
    reciprocal,
    scaled,
    span,
    with_prefix,
)
from trilight.sw.power import Interval
from trilight.sw.report.figures import Figure

MODELLED = Figure(value=2.0, unit="J", provenance="modelled", boundary="fpga_core", source="x",
                  interval=Interval(1.0, 2.0, 5.0))
MEASURED = Figure(value=2.0, unit="J", provenance="measured", boundary="board", source="x",
                  u_k2=0.5, runs=[1.0, 2.0, 4.0])
MISSING = Figure.missing("J", "no reason")


@pytest.mark.parametrize("figure", [MODELLED, MEASURED, MISSING])
def test_round_trip(figure: Figure) -> None:
    assert read_figure(asdict(figure)) == figure


def test_scaled() -> None:
    assert scaled(MODELLED, 10, "dJ", "y").interval == Interval(10.0, 20.0, 50.0)
    got = scaled(MEASURED, 10, "dJ", "y")
    assert (got.value, got.u_k2, got.runs) == (20.0, 5.0, [10.0, 20.0, 40.0])
    assert (got.unit, got.source, got.provenance, got.boundary) == ("dJ", "y", "measured", "board")


def test_reciprocal() -> None:
    assert reciprocal(MODELLED, "1/J", "y").interval == Interval(0.2, 0.5, 1.0)
    got = reciprocal(MEASURED, "1/J", "y")
    assert got.value is not None
    assert got.u_k2 is not None
    assert got.u_k2 / got.value == pytest.approx(0.5 / 2.0)
    assert got.runs == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("change", [lambda f: scaled(f, 2, "W", ""),
                                    lambda f: reciprocal(f, "W", "")])
def test_nothing_stays_nothing(change: object) -> None:
    got = change(MISSING)
    assert (got.value, got.reason, got.unit) == (None, "no reason", "W")


def test_limits() -> None:
    assert limits(asdict(MODELLED)) == (1.0, 5.0)
    assert limits(asdict(MEASURED)) == (1.5, 2.5)
    assert limits(asdict(replace(MEASURED, u_k2=3.0))) == (0.0, 5.0)
    assert limits(asdict(MISSING)) is None


@pytest.mark.parametrize(("value", "text"), [
    (1.25e-5, "12.5 µJ"), (0.31, "310 mJ"), (2.0, "2 J"), (4321.0, "4,320 J"), (3e-10, "300 pJ")])
def test_prefix(value: float, text: str) -> None:
    assert with_prefix(value, "J") == text


def test_ranges() -> None:
    assert with_prefix(9.31e-6, "J", 1.73e-5) == "9.31 to 17.3 µJ"
    assert with_prefix(9e-4, "J", 1.2e-3) == "0.9 to 1.2 mJ"
    assert span(2.0, 2.0001) == "2"


def test_what_was_never_calibrated_says_so() -> None:
    assert origin(asdict(MODELLED)) == "modelled"
    assert origin(asdict(replace(MODELLED, calibration="uncalibrated"))) == (
        "modelled, uncalibrated")
    assert origin(asdict(MISSING)) is None
