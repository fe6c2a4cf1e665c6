"""What a metered design does to the bands: against Bayes' rule on a grid, and by its limits."""

import dataclasses
import math

import numpy as np
import pytest

from trilight.sw.power import Activity, CoefficientSet, estimate_power, load_coefficients
from trilight.sw.power.coefficients import Z95, Evidence, Form
from trilight.sw.power.evidence import (
    bands_alone,
    check_evidence,
    interval_steps,
    posterior_bands,
)

SHIPPED = load_coefficients()
READS = Activity(clock_nets=0, ff_clocked=0, net_transitions=0, ebr_accesses=10, spram_accesses=0,
                 dsp_ops=0, io_edges=0, cycles=1000)


def seen(milliwatts: float, sigma: float = 0.07, **more: object) -> Evidence:
    """Ten reads a cycle at 100 MHz, which dwarf the leakage: 1 pJ of a read is 1 mW."""
    given = {"activity": READS, "unknown_repeats": (), "counts": True, **more}
    return Evidence(name="x", source="s", clock_hz=100e6, voltage_v=1.219, hfosc=False,
                    measured_mw=(milliwatts, milliwatts), meter_sigma=sigma, note="n", **given)


def with_evidence(*evidence: Evidence, form: Form | None = None) -> CoefficientSet:
    return dataclasses.replace(SHIPPED, evidence=evidence, form=form)


def percentiles(values: np.ndarray, weights: np.ndarray) -> list[float]:
    total = np.cumsum(weights) / weights.sum()
    return [float(values[np.searchsorted(total, share)]) for share in (0.05, 0.5, 0.95)]


@pytest.mark.parametrize("form", [None, Form(factor=1.3, status="assumed", source="s")])
def test_posterior_of_one_coefficient_is_bayes_rule(form: Form | None) -> None:
    """Prior and likelihood are normal in the logarithm but for the leakage, taken at its median."""
    ebr = SHIPPED.coefficients["ebr"]
    logs = np.linspace(math.log(0.05), math.log(200), 20_001)
    sigma = math.hypot(0.07, form.sigma if form else 0)
    leakage = SHIPPED.coefficients["leakage"].value * 1.219e-3
    weights = np.exp(-0.5 * ((logs - math.log(ebr.value)) / ebr.sigma)**2
                     - 0.5 * ((np.log(np.exp(logs) + leakage) - math.log(9.0)) / sigma)**2)
    expected = percentiles(np.exp(logs), weights)
    got = posterior_bands(with_evidence(seen(9.0), form=form))["ebr"]
    # 100,000 draws, of which evidence in the upper tail leaves some thousand.
    assert [got.p05, got.p50, got.p95] == pytest.approx(expected, rel=0.02)
    assert got.p95 < ebr.high


def test_what_does_not_count_changes_nothing() -> None:
    shown = with_evidence(seen(9.0, counts=False))
    assert posterior_bands(shown) == posterior_bands(with_evidence())
    assert estimate_power(READS, 48e6, coefficients=shown).nominal_mw == estimate_power(
        READS, 48e6, coefficients=with_evidence()).nominal_mw


def test_unknown_repeats_weaken_the_evidence() -> None:
    """Reads that may all be repeats say less of fresh ones, and make these dearer."""
    known, unknown = (posterior_bands(with_evidence(seen(4.0, unknown_repeats=repeats)))["ebr"]
                      for repeats in ((), ("ebr_repeat",)))
    assert unknown.p95 / unknown.p05 > 1.5 * known.p95 / known.p05
    assert unknown.p50 > known.p50


def test_form_widens_by_its_own_band() -> None:
    """A factor of 2 either way beside a band of 3: in the logarithm they add in quadrature."""
    form = Form(factor=2.0, status="assumed", source="s")
    got = estimate_power(READS, 100e6, voltage_v=1.219,
                         coefficients=with_evidence(form=form)).power_mw
    factor = math.exp(math.hypot(math.log(2), math.log(3)))
    assert got.p95 / got.p05 == pytest.approx(factor**2, rel=0.08)
    assert form.sigma == pytest.approx(math.log(2) / Z95)


def test_metered_designs_lie_in_the_interval() -> None:
    """The one that counts, and the one that does not; neither was used for the bands before."""
    counted, shown = check_evidence(SHIPPED)
    assert counted.evidence.counts
    assert not shown.evidence.counts
    for row in (counted, shown):
        for interval in (row.predicted_mw, row.modelled_mw):
            assert interval.p05 < row.evidence.measured_mw[0]
            assert row.evidence.measured_mw[1] < interval.p95
    # As the prediction was made before the evidence: 4.87 mW (3.52 to 7.74).
    assert counted.predicted_mw.p50 == pytest.approx(4.87, rel=0.02)
    assert counted.predicted_mw.p05 == pytest.approx(3.52, rel=0.02)
    assert counted.predicted_mw.p95 == pytest.approx(7.74, rel=0.02)
    # The form's standard deviation is how far that missed.
    assert SHIPPED.form is not None
    assert SHIPPED.form.factor == pytest.approx(
        (counted.evidence.middle_mw / counted.predicted_mw.p50)**Z95, rel=0.02)


def test_steps_end_at_the_estimate() -> None:
    busy = dataclasses.replace(READS, clock_nets=1, ff_clocked=2000, net_transitions=300,
                               spram_accesses=4)
    steps = list(interval_steps(busy, 48e6, SHIPPED, pll=True).values())
    assert steps[0] == estimate_power(busy, 48e6, pll=True,
                                      coefficients=bands_alone(SHIPPED)).power_mw
    assert steps[-1] == estimate_power(busy, 48e6, pll=True).power_mw
    width = [step.p95 / step.p05 for step in steps]
    assert width[2] < width[1]
    assert width[2] < width[3]
