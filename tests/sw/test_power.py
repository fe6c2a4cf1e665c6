"""The power model against closed forms and against the measurements it was derived from."""

import dataclasses
import json
import math
from importlib import resources

import numpy as np
import pytest

from trilight.sw.errors import PowerError
from trilight.sw.power import (
    EVENTS,
    PARTS,
    Activity,
    CoefficientSet,
    estimate_power,
    load_coefficients,
)


def activity(**events: float) -> Activity:
    return Activity(**{**dict.fromkeys(EVENTS, 0.0), **events}, cycles=1000)


def raw_set() -> dict:
    file = resources.files("trilight.sw").joinpath("coefficients_ice40up5k.json")
    return json.loads(file.read_text(encoding="utf-8"))


def almost_certain(*uncertain: str) -> CoefficientSet:
    """The shipped set with negligible bands, and leakage negligible, except for ``uncertain``."""
    data = raw_set()
    for name, entry in data["coefficients"].items():
        if name not in uncertain:
            entry["factor"] = 1 + 1e-9
    if "leakage" not in uncertain:
        data["coefficients"]["leakage"]["value"] = 1e-12
    return CoefficientSet.from_json(json.dumps(data))


TERMS = {
    "clock": ({"clock_nets": 1.0}, {}),
    "ff": ({"ff_clocked": 1500.0}, {}),
    "net": ({"net_transitions": 220.0}, {}),
    "ebr": ({"ebr_accesses": 14.5}, {}),
    "spram": ({"spram_accesses": 4.0}, {}),
    "dsp": ({"dsp_ops": 3.0}, {}),
    "hfosc": ({}, {"hfosc": True}),
    "pll": ({}, {"pll": True}),
}


@pytest.mark.parametrize("term", TERMS)
def test_one_term_alone_is_its_band(term: str) -> None:
    """A single lognormal's percentiles are known: value / factor, value, value * factor."""
    events, oscillators = TERMS[term]
    coefficients = almost_certain(term)
    clock_hz, volts = 24e6, 1.2
    got = estimate_power(activity(**events), clock_hz, voltage_v=volts, coefficients=coefficients,
                         **oscillators)
    entry = raw_set()["coefficients"][term]
    count = math.prod(events.values())
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
    slow = estimate_power(activity(), 1e6, voltage_v=1.1)
    fast = estimate_power(activity(), 48e6, voltage_v=1.1)
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
    assert set(got.split_mw) == set(PARTS)
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


def counter_transitions(bits: int) -> float:
    """Bit changes per cycle of a binary counter: 1 + 1/2 + 1/4 + ..."""
    return float(np.sum(0.5 ** np.arange(bits)))


HF = {"hfosc": True}
# Current of the core rail and of VCCPLL in uA at 1.219 V: tinyvision-ai-inc/ice40_power, commit
# ecc5e59. Events per cycle: counters in closed form; for the multipliers the published designs
# were synthesised again and counted (LUT version: 16 flip-flops and 56.5 net transitions more than
# the counter; SB_MAC16 version: 18 net transitions and one 8x8 product more).
MEASURED = [
    ("external 12 MHz, 28 bit", 12, 28, {}, {}, 613.5 + 4.1),
    ("external 12 MHz, 56 bit", 12, 56, {}, {}, 616.65 + 4.1),
    ("external 12 MHz, 112 bit", 12, 112, {}, {}, 624.2 + 4.1),
    ("external 12 MHz, 224 bit", 12, 224, {}, {}, 641.3 + 4.1),
    ("oscillator 6 MHz", 6, 24, {}, HF, 388.4 + 4.1),
    ("oscillator 12 MHz", 12, 24, {}, HF, 645 + 4.1),
    ("oscillator 24 MHz", 24, 24, {}, HF, 1162 + 4.1),
    ("oscillator 48 MHz", 48, 24, {}, HF, 2184 + 4.1),
    ("multiplier in logic", 12, 24, {"net_transitions": 56.5, "ff_clocked": 16}, HF, 996 + 4.1),
    ("multiplier in SB_MAC16", 12, 24, {"net_transitions": 18, "dsp_ops": 1}, HF, 882 + 4.1),
    ("PLL 16 MHz", 16, 24, {}, {"pll": True}, 1419 + 138.6),
    ("PLL 32 MHz", 32, 24, {}, {"pll": True}, 2029 + 138.9),
    ("PLL 48 MHz", 48, 24, {}, {"pll": True}, 2573 + 103.6),
]


@pytest.mark.parametrize(("mhz", "bits", "extra", "oscillator", "microamps"),
                         [row[1:] for row in MEASURED], ids=[row[0] for row in MEASURED])
def test_published_measurements_lie_in_the_interval(
        mhz: float, bits: int, extra: dict, oscillator: dict, microamps: float) -> None:
    events = {"clock_nets": 1.0, "ff_clocked": float(bits),
              "net_transitions": counter_transitions(bits)}
    for name, more in extra.items():
        events[name] = events.get(name, 0) + more
    got = estimate_power(activity(**events), mhz * 1e6, voltage_v=1.219, **oscillator)
    measured_mw = microamps * 1.219e-3
    assert got.power_mw.p05 < measured_mw < got.power_mw.p95
    assert got.power_mw.p50 == pytest.approx(measured_mw, rel=0.12)
    assert got.power_mw.p95 / got.power_mw.p05 < 1.6


def test_every_coefficient_has_a_source_and_memories_are_assumed() -> None:
    coefficients = load_coefficients().coefficients
    assert all(len(c.source) > 40 for c in coefficients.values())
    for name in ("ebr", "spram"):
        assert coefficients[name].status == "assumed"
        assert coefficients[name].factor == 3
    assert coefficients["spram"].low == pytest.approx(10 / 3)
    assert coefficients["spram"].high == pytest.approx(30)


def test_activity_survives_json() -> None:
    one = activity(**BUSY)
    assert Activity.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert Activity.from_dict({**one.to_dict(), "note": "more"}) == one


def test_refusals() -> None:
    data = activity().to_dict()
    del data["ebr_accesses"], data["spram_accesses"]
    with pytest.raises(PowerError, match=r"^activity lacks ebr_accesses, spram_accesses; it has"):
        Activity.from_dict(data)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(PowerError, match=rf"net_transitions .* not {bad!r}$"):
            activity(net_transitions=bad)
    with pytest.raises(PowerError, match="at least one cycle, not 0"):
        dataclasses.replace(activity(), cycles=0)
    with pytest.raises(PowerError, match="'gate_zero_delay', not 'gate_sdf'"):
        estimate_power(dataclasses.replace(activity(), counting="gate_sdf"), 1e6)
    with pytest.raises(PowerError, match=r"hertz, not 0$"):
        estimate_power(activity(), 0)
    with pytest.raises(PowerError, match=r"volts, not -1$"):
        estimate_power(activity(), 1e6, voltage_v=-1)
    with pytest.raises(PowerError, match="'lfe5u'; there are some for ice40up5k"):
        load_coefficients("lfe5u")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"coefficients": {"net": {"value": 1}}}'])
def test_not_a_coefficient_file(text: str) -> None:
    with pytest.raises(PowerError, match=r"^not a coefficient file: "):
        CoefficientSet.from_json(text)


def test_incomplete_coefficient_sets() -> None:
    data = raw_set()
    del data["coefficients"]["spram"]
    with pytest.raises(PowerError, match="must hold"):
        CoefficientSet.from_json(json.dumps(data))
    data = raw_set()
    data["coefficients"]["net"]["factor"] = 1
    with pytest.raises(PowerError, match=r"band factor above 1, not 0.63 and 1$"):
        CoefficientSet.from_json(json.dumps(data))
