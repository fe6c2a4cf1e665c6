"""The power model against closed forms."""

import dataclasses
import json
import math
from importlib import resources

import pytest

from trilight.sw.errors import PowerError
from trilight.sw.power import (
    EVENTS,
    TERMS,
    Activity,
    CoefficientSet,
    Interval,
    estimate_power,
    families,
    load_coefficients,
    ratio_interval,
)


def activity(**events: float) -> Activity:
    return Activity(**{**dict.fromkeys(EVENTS, 0.0), **events}, cycles=1000)


def raw_set() -> dict:
    """The shipped set, its bands alone."""
    file = resources.files("trilight.sw.power.coefficients").joinpath("ice40up5k.json")
    data = json.loads(file.read_text(encoding="utf-8"))
    del data["evidence"], data["form"]
    return data


PLAIN = CoefficientSet.from_json(json.dumps(raw_set()))


def almost_certain(*uncertain: str) -> CoefficientSet:
    """The shipped set with negligible bands, and leakage negligible, except for ``uncertain``."""
    data = raw_set()
    for name, entry in data["coefficients"].items():
        if name not in uncertain:
            entry["factor"] = 1 + 1e-9
    if "leakage" not in uncertain:
        data["coefficients"]["leakage"]["value"] = 1e-12
    return CoefficientSet.from_json(json.dumps(data))


ALONE = {
    "clock": ({"clock_nets": 1.0}, {}),
    "ff": ({"ff_clocked": 1500.0}, {}),
    "net": ({"net_transitions": 220.0}, {}),
    "ebr": ({"ebr_accesses": 14.5}, {}),
    "spram": ({"spram_accesses": 4.0}, {}),
    "dsp": ({"dsp_ops": 3.0}, {}),
    "ebr_repeat": ({"ebr_accesses": 2.0, "ebr_repeats": 2.0}, {}),
    "spram_repeat": ({"spram_accesses": 1.0, "spram_repeats": 1.0}, {}),
    "hfosc": ({}, {"hfosc": True}),
    "pll": ({}, {"pll": True}),
}


@pytest.mark.parametrize("term", ALONE)
def test_one_term_alone_is_its_band(term: str) -> None:
    """A single lognormal's percentiles are known: value / factor, value, value * factor."""
    events, oscillators = ALONE[term]
    coefficients = almost_certain(term)
    clock_hz, volts = 24e6, 1.2
    got = estimate_power(activity(**events), clock_hz, voltage_v=volts, coefficients=coefficients,
                         **oscillators)
    entry = raw_set()["coefficients"][term]
    count = events.get("ebr_repeats") or math.prod(events.values())
    per_second = clock_hz * 1e-12 if entry["unit"] == "pJ" else 1e-6
    central_mw = entry["value"] * count * per_second * (volts / 1.219) ** 2 * 1e3
    # Standard error of a sample percentile p of n draws: sqrt(p (1 - p) / n) / density, here in
    # units of the logarithm's standard deviation; four of them.
    sigma = math.log(entry["factor"]) / 1.645
    tail = 4 * math.sqrt(0.05 * 0.95 / 5000) / 0.1031 * sigma
    middle = 4 * math.sqrt(0.25 / 5000) / 0.3989 * sigma
    assert abs(math.log(got.power_mw.p05 / (central_mw / entry["factor"]))) < tail
    assert abs(math.log(got.power_mw.p50 / central_mw)) < middle
    assert abs(math.log(got.power_mw.p95 / (central_mw * entry["factor"]))) < tail
    assert got.nominal_mw == pytest.approx(central_mw, rel=1e-9)
    assert got.variance_share[term] == pytest.approx(1)
    assert got.split_mw[term] == pytest.approx(central_mw)


def test_leakage_alone() -> None:
    """Leakage is a current: its power goes with the voltage and not with the clock."""
    slow = estimate_power(activity(), 1e6, voltage_v=1.1, coefficients=PLAIN)
    fast = estimate_power(activity(), 48e6, voltage_v=1.1, coefficients=PLAIN)
    assert slow.power_mw == fast.power_mw
    assert slow.nominal_mw == pytest.approx(0.093 * 1.1)


def test_variance_share_of_independent_terms() -> None:
    """Two terms: shares follow the lognormal's variance, m^2 e^(s^2) (e^(s^2) - 1)."""
    coefficients = almost_certain("ebr", "net")
    got = estimate_power(activity(ebr_accesses=10, net_transitions=100), 12e6,
                         coefficients=coefficients)

    def variance(name: str, count: float) -> float:
        entry = raw_set()["coefficients"][name]
        s2 = (math.log(entry["factor"]) / 1.645) ** 2
        return (entry["value"] * count) ** 2 * math.exp(s2) * math.expm1(s2)

    ebr, net = variance("ebr", 10), variance("net", 100)
    assert got.variance_share["ebr"] == pytest.approx(ebr / (ebr + net), abs=0.06)
    assert sum(got.variance_share.values()) == pytest.approx(1)


BUSY = {"clock_nets": 1, "ff_clocked": 1800, "net_transitions": 900, "ebr_accesses": 20,
        "spram_accesses": 4, "dsp_ops": 2}


def test_split_adds_up() -> None:
    got = estimate_power(activity(**BUSY), 36e6, pll=True)
    assert set(got.split_mw) == set(TERMS)
    assert sum(got.variance_share.values()) == pytest.approx(1)
    assert sum(got.split_mw.values()) == pytest.approx(got.nominal_mw)
    assert got.power_mw.p05 < got.nominal_mw < got.power_mw.p95


def test_same_seed_same_figure_and_common_draws() -> None:
    """Draws are shared between designs: a ratio of two of them is tighter than either."""
    one = estimate_power(activity(**BUSY), 24e6, seed=3)
    assert one == estimate_power(activity(**BUSY), 24e6, seed=3)
    assert one.power_mw != estimate_power(activity(**BUSY), 24e6, seed=4).power_mw
    double = estimate_power(activity(**{k: 2 * v for k, v in BUSY.items()}), 24e6, seed=3)
    none = estimate_power(activity(), 24e6, seed=3)
    for end in ("p05", "p95"):
        ratio = getattr(double.power_mw, end) / getattr(one.power_mw, end)
        assert ratio == pytest.approx(2, rel=0.02)
        assert getattr(none.power_mw, end) < getattr(one.power_mw, end)


def test_ratio_is_better_known_than_either() -> None:
    """The exact ratio of two designs that share what they do not know."""
    one = estimate_power(activity(**BUSY), 24e6)
    double = estimate_power(activity(**{k: 2 * v for k, v in BUSY.items()}), 24e6)
    leakage = one.split_mw["leakage"] / one.nominal_mw
    ratio = ratio_interval(double, one)
    assert 2 - 2 * leakage < ratio.p05 < ratio.p50 < ratio.p95 < 2
    assert ratio_interval(one, one) == Interval(1, 1, 1)
    for other in (estimate_power(activity(**BUSY), 24e6, seed=3),
                  estimate_power(activity(**BUSY), 24e6, draws=100),
                  estimate_power(activity(clock_nets=1), 24e6,
                                 coefficients=load_coefficients("ecp5"))):
        with pytest.raises(PowerError, match="same coefficients, draws and seed"):
            ratio_interval(one, other)


def test_leakage_doubles_with_temperature() -> None:
    """Central values follow 2^((T - T0) / D), and D's own band widens the interval."""
    at25, at50 = (estimate_power(activity(), 1e6, temperature_c=t) for t in (None, 50))
    doubling = raw_set()["coefficients"]["leakage_doubling"]["value"]
    assert at50.nominal_mw == pytest.approx(at25.nominal_mw * 2 ** (25 / doubling))
    assert at50.power_mw.p95 / at50.power_mw.p05 > at25.power_mw.p95 / at25.power_mw.p05
    busy25, busy50 = (estimate_power(activity(**BUSY), 24e6, temperature_c=t) for t in (25, 50))
    assert busy50.nominal_mw - busy25.nominal_mw == pytest.approx(
        at50.nominal_mw - at25.nominal_mw)


def test_spread_of_windows_widens_the_interval() -> None:
    """Two windows that differ: the bootstrap's variance is that of a mean of two."""
    coefficients = almost_certain()
    windows = [activity(net_transitions=n) for n in (80.0, 120.0)]
    got = estimate_power(activity(net_transitions=100.0), 24e6, coefficients=coefficients,
                         windows=windows)
    assert got.variance_share["activity"] == pytest.approx(1, abs=1e-6)
    # Half of the resamples take one of each; a quarter takes twice the same, up or down.
    assert [got.power_mw.p05, got.power_mw.p50, got.power_mw.p95] == pytest.approx(
        [got.nominal_mw * share for share in (0.8, 1.0, 1.2)], rel=1e-6)
    alike = estimate_power(activity(net_transitions=100.0), 24e6, coefficients=coefficients,
                           windows=[activity(net_transitions=100.0)] * 4)
    assert alike.variance_share["activity"] < 1e-6


@pytest.mark.parametrize("family", ["ecp5", "gw2a"])
def test_family_without_measurements_says_so(family: str) -> None:
    coefficients = load_coefficients(family)
    assert coefficients.calibration == "uncalibrated"
    got = estimate_power(activity(**{**BUSY, "spram_accesses": 0}), 50e6,
                         coefficients=coefficients)
    assert got.calibration == "uncalibrated"
    assert got.voltage_v == coefficients.nominal_voltage_v
    assert all(c.factor >= 2 for name, c in coefficients.coefficients.items()
               if name != "leakage_doubling")
    with pytest.raises(PowerError, match="no energy for spram, which the design uses"):
        estimate_power(activity(spram_accesses=1), 50e6, coefficients=coefficients)
    with pytest.raises(PowerError, match="no energy for pll"):
        estimate_power(activity(), 50e6, coefficients=coefficients, pll=True)


@pytest.mark.parametrize("family", families())
def test_every_coefficient_has_a_source(family: str) -> None:
    assert all(len(c.source) > 40 for c in load_coefficients(family).coefficients.values())


@pytest.mark.parametrize("family", families())
def test_coefficients_survive_json(family: str) -> None:
    one = load_coefficients(family)
    again = CoefficientSet.from_json(one.to_json())
    assert dataclasses.replace(again, sha256=one.sha256) == one


def test_memories_are_assumed() -> None:
    coefficients = load_coefficients().coefficients
    for name in ("ebr", "spram"):
        assert coefficients[name].status == "assumed"
        assert coefficients[name].factor == 3
    assert coefficients["spram"].low == pytest.approx(10 / 3)
    assert coefficients["spram"].high == pytest.approx(30)


def test_repeated_reads_of_a_family_without_them_are_reads() -> None:
    data = raw_set()
    del data["coefficients"]["ebr_repeat"]
    alike = CoefficientSet.from_json(json.dumps(data))
    reads = activity(ebr_accesses=8)
    repeated = dataclasses.replace(reads, ebr_repeats=5)
    assert estimate_power(repeated, 24e6, coefficients=alike) == estimate_power(
        reads, 24e6, coefficients=alike)
    table = raw_set()["coefficients"]
    saved = (estimate_power(reads, 24e6, coefficients=PLAIN).nominal_mw
             - estimate_power(repeated, 24e6, coefficients=PLAIN).nominal_mw)
    assert saved == pytest.approx(5 * 24e-3 * (1.2 / 1.219) ** 2 * (
        table["ebr"]["value"] - table["ebr_repeat"]["value"]))


def test_activity_survives_json() -> None:
    one = activity(**BUSY)
    assert Activity.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert Activity.from_dict({**one.to_dict(), "note": "more"}) == one


def test_one_cycle_is_a_window() -> None:
    assert dataclasses.replace(activity(), cycles=1).cycles == 1


def test_refusals() -> None:
    data = activity().to_dict()
    del data["ebr_accesses"], data["spram_accesses"]
    with pytest.raises(PowerError, match=r"^activity lacks ebr_accesses, spram_accesses; it has"):
        Activity.from_dict(data)
    for given in ({"ebr_accesses": "many"}, {"cycles": None}):
        with pytest.raises(PowerError, match=r"^no number of events: Expected "):
            Activity.from_dict(activity().to_dict() | given)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(PowerError, match=rf"net_transitions .* not {bad!r}$"):
            activity(net_transitions=bad)
    with pytest.raises(PowerError, match="at least one cycle, not 0"):
        dataclasses.replace(activity(), cycles=0)
    with pytest.raises(PowerError, match="'gate_zero_delay', not 'gate_sdf'"):
        estimate_power(dataclasses.replace(activity(), counting="gate_sdf"), 1e6)
    with pytest.raises(PowerError, match=r"hertz, not 0$"):
        estimate_power(activity(), 0)
    for volts in (-1, 0, 2.5, 1200, float("nan"), float("inf")):
        with pytest.raises(PowerError, match=rf"volts, at most 2, not {volts}$"):
            estimate_power(activity(), 1e6, voltage_v=volts)
    with pytest.raises(PowerError, match=r"degrees Celsius, not 300$"):
        estimate_power(activity(), 1e6, temperature_c=300)
    with pytest.raises(PowerError, match="'lfe5u'; there are some for ecp5, gw2a, ice40up5k"):
        load_coefficients("lfe5u")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"coefficients": {"net": {"value": 1}}}'])
def test_not_a_coefficient_file(text: str) -> None:
    with pytest.raises(PowerError, match=r"^no coefficient file: "):
        CoefficientSet.from_json(text)


def test_incomplete_coefficient_sets() -> None:
    data = raw_set()
    del data["coefficients"]["clock"]
    with pytest.raises(PowerError, match="must hold clock"):
        CoefficientSet.from_json(json.dumps(data))
    data = raw_set()
    data["coefficients"]["spram"]["unit"] = "uW"
    with pytest.raises(PowerError, match=r"not \{'spram': 'uW'\}$"):
        CoefficientSet.from_json(json.dumps(data))
    data = raw_set() | {"calibration": "certainly"}
    with pytest.raises(PowerError, match=r"Invalid enum value 'certainly' - at .*calibration"):
        CoefficientSet.from_json(json.dumps(data))
    data = raw_set()
    data["coefficients"]["net"]["factor"] = 1
    with pytest.raises(PowerError, match=r"above 1 and at most 1e\+06, not 0.63 and 1.0$"):
        CoefficientSet.from_json(json.dumps(data))
