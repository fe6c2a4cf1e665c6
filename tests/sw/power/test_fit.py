"""The fit to one's own board: on a synthetic one whose coefficients are known."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from trilight.sw.errors import PowerError
from trilight.sw.power import Activity, CoefficientSet, estimate_power, load_coefficients
from trilight.sw.power.coefficients import TERMS
from trilight.sw.power.fit import Point, calibration_points, fit, load_fit, predict, save_fit

NOISE = 0.01
"""Standard deviation of a synthetic measurement, relative."""

IDENTIFIED = ("clock", "ff", "net", "ebr", "spram", "dsp")
"""Leakage and oscillator are constants that no calibration design tells apart."""

BOARD = {"serial": "ib-0042", "meter": "synthetic", "date": "2026-11-24"}

CHIP = Activity(clock_nets=1, ff_clocked=2000, net_transitions=420, ebr_accesses=25,
                spram_accesses=3.6, dsp_ops=9, io_edges=0, cycles=18_000)


def a_board(rng: np.random.Generator, spread: float = 1.0) -> CoefficientSet:
    """A board whose coefficients are drawn from the published bands."""
    prior = load_coefficients()
    return dataclasses.replace(prior, id="truth", evidence=(), form=None, coefficients={
        name: dataclasses.replace(c, value=c.value * math.exp(
            spread * c.sigma * float(rng.standard_normal())))
        for name, c in prior.coefficients.items()})


def measure(points: list[Point], truth: CoefficientSet, rng: np.random.Generator,
            **at: float) -> tuple[list[float], list[float]]:
    watts = [estimate_power(p.activity, p.clock_hz, hfosc=p.hfosc, coefficients=truth,
                            **{"voltage_v": 1.219, **at}).nominal_mw * 1e-3 for p in points]
    return ([w * (1 + NOISE * float(rng.standard_normal())) for w in watts],
            [w * NOISE for w in watts])


def test_points_vary_what_they_are_to_tell() -> None:
    """Every term but the PLL, at three clocks; no two designs with the same mixture."""
    points = calibration_points()
    assert len({p.name for p in points}) == len(points)
    assert {p.clock_hz for p in points} == {12e6, 24e6, 48e6}
    for event in ("ff_clocked", "net_transitions", "ebr_accesses", "spram_accesses", "dsp_ops"):
        values = {getattr(p.activity, event) for p in points}
        assert max(values) >= 3 * min(values)
    assert all(p.activity.io_edges == 0 for p in points)
    matrix = np.array([[getattr(p.activity, event) for event in (
        "clock_nets", "ff_clocked", "net_transitions", "ebr_accesses", "spram_accesses",
        "dsp_ops")] for p in points if p.clock_hz == 48e6])
    assert np.linalg.matrix_rank(matrix) == matrix.shape[1]


@pytest.mark.parametrize("board", range(5))
def test_known_coefficients_are_recovered(board: int) -> None:
    rng = np.random.default_rng([7, board])
    truth, points = a_board(rng), calibration_points()
    got = fit(points, *measure(points, truth, rng), load_coefficients(), conditions=BOARD)
    assert got.calibration == "board"
    for name in IDENTIFIED:
        c, true = got.coefficients[name], truth.coefficients[name].value
        # Four standard deviations, of six coefficients and five boards.
        assert abs(math.log(c.value / true)) < 4 * c.sigma, name
        assert c.factor < load_coefficients().coefficients[name].factor
        assert c.status == "measured"
    assert got.coefficients["pll"] == load_coefficients().coefficients["pll"]
    constant = sum(got.coefficients[name].value * scale for name, scale in (
        ("leakage", 1.219), ("hfosc", 1)))
    true = sum(truth.coefficients[name].value * scale for name, scale in (
        ("leakage", 1.219), ("hfosc", 1)))
    assert constant == pytest.approx(true, rel=0.2)
    assert got.conditions["prior"] == {"id": load_coefficients().id,
                                       "sha256": load_coefficients().sha256}
    assert 0 < got.conditions["residual"] < 5 * NOISE
    assert got.conditions["residual"] < got.conditions["leave_one_out"]


@pytest.mark.parametrize("board", range(5))
def test_chip_is_predicted_within_the_stated_uncertainty(board: int) -> None:
    rng = np.random.default_rng([11, board])
    truth, points = a_board(rng), calibration_points()
    got = fit(points, *measure(points, truth, rng), load_coefficients())
    true = estimate_power(CHIP, 12e6, coefficients=truth, voltage_v=1.219).nominal_mw * 1e-3
    interval = predict(CHIP, 12e6, got)
    assert interval.p05 < true < interval.p95
    assert interval.p95 / interval.p50 - 1 >= got.conditions["leave_one_out"]
    published = estimate_power(CHIP, 12e6, voltage_v=1.219).power_mw
    assert interval.p95 / interval.p05 < published.p95 / published.p05
    # What was not calibrated widens it.
    with_pll = predict(CHIP, 12e6, got, pll=True)
    assert with_pll.p95 / with_pll.p50 > interval.p95 / interval.p50


def test_left_out_designs_are_predicted_without_themselves() -> None:
    """A design that takes power of its own is missed when left out, by what it takes."""
    rng = np.random.default_rng(3)
    points = calibration_points()
    watts, sigma = measure(points, a_board(rng), rng)
    honest = fit(points, watts, sigma, load_coefficients())
    tampered = [w * 1.3 if p.design == "tree-6" else w for p, w in zip(points, watts, strict=True)]
    got = fit(points, tampered, sigma, load_coefficients())
    assert got.conditions["leave_one_out"] > honest.conditions["leave_one_out"]
    kept = [p.design != "tree-6" for p in points]
    without = fit([p for p, keep in zip(points, kept, strict=True) if keep],
                  [w for w, keep in zip(tampered, kept, strict=True) if keep],
                  [s for s, keep in zip(sigma, kept, strict=True) if keep], load_coefficients())
    for entry, point in zip(got.conditions["points"], points, strict=True):
        if point.design == "tree-6":
            assert entry["left_out_w"] == pytest.approx(estimate_power(
                point.activity, point.clock_hz, hfosc=True, coefficients=without,
                voltage_v=without.reference_voltage_v).nominal_mw * 1e-3)


def test_voltage_and_temperature_of_the_measurement() -> None:
    """The same board, measured warm and at another voltage, has the same coefficients."""
    rng = np.random.default_rng(5)
    truth, points = a_board(rng, spread=0.0), calibration_points()
    at = {"voltage_v": 1.15, "temperature_c": 45.0}
    got = fit(points, *measure(points, truth, rng, **at), load_coefficients(), **at)
    moved = {name: c.value * (1.15 / 1.219) ** 2 for name, c in truth.coefficients.items()}
    for name in IDENTIFIED:
        assert got.coefficients[name].value == pytest.approx(moved[name], rel=0.1), name
    # What was not measured is only stated again.
    assert got.coefficients["pll"].value == pytest.approx(moved["pll"])
    leakage = truth.coefficients["leakage"].value * 2 ** (
        20 / truth.coefficients["leakage_doubling"].value)
    assert got.coefficients["leakage"].value == pytest.approx(leakage, rel=0.25)
    assert predict(CHIP, 24e6, got, voltage_v=1.219, temperature_c=25.0).p50 == pytest.approx(
        estimate_power(CHIP, 24e6, voltage_v=1.219, coefficients=truth).nominal_mw * 1e-3,
        rel=0.1)


@pytest.mark.parametrize("factor", [1000.0, 1e-3])
def test_wrong_unit_is_refused(factor: float) -> None:
    rng = np.random.default_rng(9)
    points = calibration_points()
    watts, sigma = measure(points, a_board(rng), rng)
    with pytest.raises(PowerError, match=r"times what these designs can draw: .* is said to take "
                                         r".* W are expected.*milliamperes or milliwatts"):
        fit(points, [w * factor for w in watts], [s * factor for s in sigma], load_coefficients())


def test_measurements_of_something_else_are_refused() -> None:
    """The power of a whole board: right unit, but a constant that no core has."""
    rng = np.random.default_rng(9)
    points = calibration_points()
    watts, sigma = measure(points, a_board(rng), rng)
    with pytest.raises(PowerError, match=r"far outside the band .* check the rail"):
        fit(points, [w + 0.005 for w in watts], sigma, load_coefficients())


def test_refusals() -> None:
    points = calibration_points()
    ones = [1e-3] * len(points)
    with pytest.raises(PowerError, match=rf"{len(points)} points, 1 powers and"):
        fit(points, [1e-3], ones, load_coefficients())
    with pytest.raises(PowerError, match=r"at least 3 designs, not ff-64;"):
        fit(points[:1], ones[:1], ones[:1], load_coefficients())
    for bad in (-1.0, 0.0, math.nan):
        with pytest.raises(PowerError, match=rf"{points[0].name} must be positive watts, "
                                             rf"not {bad!r}"):
            fit(points, [bad, *ones[1:]], ones, load_coefficients())
    with pytest.raises(PowerError, match="is no fit to a board"):
        predict(CHIP, 12e6, load_coefficients())


def test_fit_survives_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    points = calibration_points()
    got = fit(points, *measure(points, a_board(rng), rng), load_coefficients(), conditions=BOARD)
    save_fit(got, tmp_path / "board.json")
    again = load_fit(tmp_path / "board.json")
    assert again == got
    assert {k: again.conditions[k] for k in BOARD} == BOARD
    assert set(again.coefficients) == {*TERMS, "leakage_doubling"}
    with pytest.raises(PowerError, match="cannot be read"):
        load_fit(tmp_path / "none.json")
    with pytest.raises(PowerError, match="cannot be written"):
        save_fit(got, tmp_path / "no" / "board.json")
