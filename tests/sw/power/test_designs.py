"""The model beside the published measurements, and the counts that are kept."""

import pytest

from trilight.sw.power import load_coefficients
from trilight.sw.power.designs import check_published, load_designs, published_measurements

DESIGNS = load_designs()
CHECKS = check_published({name: design.activity for name, design in DESIGNS.items()})


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.measurement.name)
def test_published_measurements_lie_in_the_interval(check: object) -> None:
    assert check.inside
    assert check.ratio == pytest.approx(1, abs=0.12)
    assert check.modelled_mw.p95 / check.modelled_mw.p05 < 1.8


def test_check_can_fail() -> None:
    """With one more product in each cycle the measurement lies outside."""
    idle = DESIGNS["counter-24"].activity
    wrong = {name: design.activity for name, design in DESIGNS.items()}
    wrong["counter-24"] = DESIGNS["dsp-6"].activity
    outside = [check for check in check_published(wrong) if not check.inside]
    assert {check.measurement.design for check in outside} == {"counter-24"}
    assert idle.dsp_ops == 0


@pytest.mark.parametrize("bits", [24, 28, 56, 112, 224])
def test_counter_toggles_as_its_closed_form_says(bits: int) -> None:
    """Bit k of a counter changes every 2**k cycles: 2 - 2**(1 - n) changes per cycle."""
    activity = DESIGNS[f"counter-{bits}"].activity
    assert activity.net_transitions == pytest.approx(2 - 2.0 ** (1 - bits),
                                                     abs=bits / activity.cycles)
    assert activity.ff_clocked == bits


@pytest.mark.parametrize("number", [64, 2048])
def test_idle_flip_flops_are_idle(number: int) -> None:
    activity = DESIGNS[f"ff-{number}"].activity
    assert activity.net_transitions == 0
    assert activity.ff_clocked == pytest.approx(number, abs=1)


@pytest.mark.parametrize(("design", "event", "number"), [
    ("ebr-8-spram-0", "ebr_accesses", 8), ("ebr-24-spram-0", "ebr_accesses", 24),
    ("ebr-8-spram-1", "spram_accesses", 1), ("ebr-8-spram-4", "spram_accesses", 4),
    ("dsp-1", "dsp_ops", 4), ("dsp-6", "dsp_ops", 24), ("product-dsp", "dsp_ops", 1)])
def test_memories_and_products_work_in_every_cycle(design: str, event: str, number: int) -> None:
    assert getattr(DESIGNS[design].activity, event) == pytest.approx(number, rel=1e-3)


def test_measurements_are_of_counted_designs_at_the_coefficients_voltage() -> None:
    measurements = published_measurements()
    assert {m.design for m in measurements} <= set(DESIGNS)
    assert {m.voltage_v for m in measurements} == {load_coefficients().reference_voltage_v}
