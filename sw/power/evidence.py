"""Metered designs beside the model, and what they and other terms did to an interval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .activity import Activity
from .coefficients import REPEATS, TERMS, CoefficientSet, Evidence
from .estimate import DRAWS, SEED, Interval, draw_form, draw_terms, estimate_power

__all__ = ["EvidenceCheck", "bands_alone", "check_evidence", "interval_steps", "posterior_bands"]


@dataclass(frozen=True, kw_only=True)
class EvidenceCheck:
    """A metered design beside the model, in milliwatts."""

    evidence: Evidence
    predicted_mw: Interval
    """Power by bands that know nothing of it, all reads alike, the model's form taken as it is."""
    modelled_mw: Interval
    """Power by the set as it is, with evidence that counts, repeated reads and the model's form."""


def bands_alone(coefficients: CoefficientSet) -> CoefficientSet:
    """Return a set without evidence, without an error of the form, and with all reads alike."""
    return replace(coefficients, evidence=(), form=None, coefficients={
        name: c for name, c in coefficients.coefficients.items() if name not in REPEATS})


def check_evidence(coefficients: CoefficientSet) -> list[EvidenceCheck]:
    """Model every metered design that a set names."""
    def modelled(each: Evidence, chosen: CoefficientSet) -> Interval:
        return estimate_power(each.activity, each.clock_hz, voltage_v=each.voltage_v,
                              hfosc=each.hfosc, coefficients=chosen).power_mw

    alone = bands_alone(coefficients)
    return [EvidenceCheck(evidence=each, predicted_mw=modelled(each, alone),
                          modelled_mw=modelled(each, coefficients))
            for each in coefficients.evidence]


def posterior_bands(coefficients: CoefficientSet) -> dict[str, Interval]:
    """Return what is known of each coefficient after the evidence, by term.

    They are not independent: the evidence says most of sums of terms.
    """
    terms = [term for term in TERMS if term in coefficients.coefficients]
    _, samples = draw_terms(coefficients, terms, coefficients.temperature_c, DRAWS, SEED)
    return {term: Interval.of(samples[:, k]) for k, term in enumerate(terms)}


def interval_steps(activity: Activity, clock_hz: float, coefficients: CoefficientSet, *,
                   pll: bool = False, windows: Sequence[Activity] = (),
                   voltage_v: float | None = None, temperature_c: float | None = None,
                   ) -> dict[str, Interval]:
    """Return a design's power in milliwatts, term after term: what moved the interval and how far.

    Parameters
    ----------
    activity, clock_hz, coefficients, pll, windows, voltage_v, temperature_c
        See ``estimate_power``.
    """
    steps = {
        "bands of the coefficients": bands_alone(coefficients),
        "repeated reads cost less": replace(coefficients, evidence=(), form=None),
        "metered design": coefficients,
        "error of the model's form": coefficients,
    }
    estimates = {name: estimate_power(
        activity, clock_hz, voltage_v=voltage_v, temperature_c=temperature_c, pll=pll,
        windows=windows, coefficients=chosen) for name, chosen in steps.items()}
    found = {name: estimate.power_mw for name, estimate in estimates.items()}
    # The form belongs to the likelihood of the evidence, and to the power in the last step alone.
    found["metered design"] = Interval.of(
        estimates["metered design"].samples_mw / draw_form(coefficients, DRAWS, SEED))
    return found
