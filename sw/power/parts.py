"""Energy of a token by part of the design, by layer and by stage."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import PowerError
from trilight.sw.records import read_record

from .activity import COUNTED, Activity
from .coefficients import CoefficientSet, load_coefficients
from .estimate import DRAWS, SEED, Conditions, Interval, draw_form, draw_terms, scales_uw

__all__ = ["CLOCK_TREE", "GAPS", "LEAKAGE", "OSCILLATOR", "STAGES", "Breakdown", "StageCounts",
           "energy_by_part"]

CLOCK_TREE = "clock_tree"
LEAKAGE = "leakage"
OSCILLATOR = "oscillator"
"""HFOSC or PLL."""

STAGES = ("embedding", "mix", "residual", "glu", "head")
GAPS = "gaps"
"""Cycles of an operation in which no weight word is read."""

PART_OF_TERM = {"leakage": LEAKAGE, "hfosc": OSCILLATOR, "pll": OSCILLATOR,
                "clock": CLOCK_TREE, "ff": CLOCK_TREE}
"""Terms that belong to no block of the design."""


@dataclass(frozen=True, kw_only=True)
class StageCounts:
    """Counts of one stage of a token, summed over all tokens that were counted."""

    stage: str
    layer: int | None
    """Counted from 0; ``None`` for embedding and head."""
    reading: bool
    """True if these are the cycles in which weights are read, or the others."""
    cycles: int
    events: Mapping[str, Mapping[str, float]]
    """Names and numbers, by part of the design, of ``COUNTED`` events that are not 0."""

    def total(self, event: str) -> float:
        """Number of events in all parts."""
        return sum(counts.get(event, 0.0) for counts in self.events.values())


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """Counts by part and stage, while a number of tokens was generated."""

    tokens: int
    clock_nets: float
    ff_clocked: float
    stages: tuple[StageCounts, ...]
    counting: str = "gate_zero_delay"

    def __post_init__(self) -> None:
        if self.tokens < 1 or not all(stage.cycles >= 0 for stage in self.stages):
            raise PowerError(f"a breakdown is of one token or more and of cycles that passed, not "
                             f"of {self.tokens} tokens")

    @property
    def cycles_per_token(self) -> float:
        return sum(stage.cycles for stage in self.stages) / self.tokens

    @property
    def activity(self) -> Activity:
        """All of it, per cycle."""
        return self._activity(self.stages)

    def _activity(self, stages: Iterable[StageCounts], part: str | None = None) -> Activity:
        chosen = list(stages)
        cycles = sum(stage.cycles for stage in chosen)
        counts = {
            event: sum(stage.total(event) if part is None
                       else stage.events.get(part, {}).get(event, 0.0) for stage in chosen)
            / max(cycles, 1) for event in COUNTED}
        return Activity(clock_nets=self.clock_nets, ff_clocked=self.ff_clocked,
                        cycles=max(cycles, 1), counting=self.counting, **counts)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Breakdown":
        """Build a breakdown from what ``to_dict`` returned; raises ``PowerError``."""
        return read_record(cls, data, PowerError, "breakdown of activity by part")

    def to_dict(self) -> dict[str, Any]:
        data = asdict(self)
        data["stages"] = list(data["stages"])
        return data


def energy_by_part(
    breakdown: Breakdown,
    clock_hz: float,
    *,
    voltage_v: float | None = None,
    temperature_c: float | None = None,
    pll: bool = False,
    hfosc: bool = False,
    coefficients: CoefficientSet | None = None,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[str, Any]:
    """Return where the energy of a token goes, as a JSON-able tree that adds up three times.

    Every ``value`` is at central coefficients, so that ``parts``, ``by_layer`` and ``by_stage``
    each add up to ``total``; intervals are of the same draws as ``estimate_power``'s, and medians
    do not add up. What belongs to no block (leakage, oscillator, clock tree) is spread over layers
    and stages by their cycles.

    Parameters
    ----------
    breakdown
        From ``trilight.sim.power.activity``, or a release.
    clock_hz, voltage_v, temperature_c, pll, hfosc, coefficients, draws, seed
        As for ``estimate_power``.

    Returns
    -------
    dict
        ``unit`` (nJ/token); ``total`` and its ``interval``; ``parts``, by name; ``by_layer``, a
        list of ``layer`` (a number from 0, ``embedding`` or ``head``); ``by_stage``, by name;
        ``calibration`` and ``coefficients``, what the figures rest on. Each entry has ``value``
        and ``interval`` with ``p05``, ``p50``, ``p95``; those of layers and stages have ``cycles``
        per token too.

    Raises
    ------
    PowerError
        As ``estimate_power``.
    """
    chosen = coefficients or load_coefficients()
    at = Conditions(
        clock_hz=clock_hz, pll=pll, hfosc=hfosc,
        voltage_v=chosen.nominal_voltage_v if voltage_v is None else voltage_v,
        temperature_c=chosen.temperature_c if temperature_c is None else temperature_c)
    terms = list(scales_uw(breakdown.activity, at, chosen))
    central, samples = draw_terms(chosen, terms, at.temperature_c, draws, seed)
    samples = samples * draw_form(chosen, draws, seed)[:, None]
    own = np.array([term not in PART_OF_TERM for term in terms])

    def nj_per_unit(stages: Sequence[StageCounts], part: str | None = None) -> NDArray[np.float64]:
        """Nanojoules per token and unit of each coefficient [terms]; of a part, or of all."""
        cycles = sum(stage.cycles for stage in stages)
        activity = breakdown._activity(stages, part)
        scales = np.array(list(scales_uw(activity, at, chosen).values()))
        return scales * 1e3 * cycles / breakdown.tokens / at.clock_hz

    def entry(weights: NDArray[np.float64], **more: object) -> dict[str, Any]:
        return {**more, "value": float(central @ weights),
                "interval": asdict(Interval.of(samples @ weights))}

    def group(key: Callable[[StageCounts], Any]) -> dict[Any, list[StageCounts]]:
        groups: dict[Any, list[StageCounts]] = {}
        for stage in breakdown.stages:
            groups.setdefault(key(stage), []).append(stage)
        return groups

    def entry_of(stages: Sequence[StageCounts], **more: object) -> dict[str, Any]:
        return entry(nj_per_unit(stages), **more,
                     cycles=sum(stage.cycles for stage in stages) / breakdown.tokens)

    all_of_it = nj_per_unit(breakdown.stages)
    blocks = sorted({part for stage in breakdown.stages for part in stage.events})
    parts = {part: entry(nj_per_unit(breakdown.stages, part) * own) for part in blocks}
    parts |= {part: entry(all_of_it * np.array([PART_OF_TERM.get(term) == part for term in terms]))
              for part in dict.fromkeys(PART_OF_TERM.values())}
    whole = entry(all_of_it)
    return {
        "unit": "nJ/token",
        "total": whole["value"],
        "interval": whole["interval"],
        "calibration": chosen.calibration,
        "coefficients": {"id": chosen.id, "sha256": chosen.sha256},
        "clock_hz": at.clock_hz,
        "voltage_v": at.voltage_v,
        "temperature_c": at.temperature_c,
        "pll": pll,
        "hfosc": hfosc,
        "cycles_per_token": breakdown.cycles_per_token,
        "parts": dict(sorted(parts.items(), key=lambda item: -item[1]["value"])),
        "by_layer": [entry_of(stages, layer=layer) for layer, stages in group(
            lambda stage: stage.stage if stage.layer is None else stage.layer).items()],
        "by_stage": {name: entry_of(stages) for name, stages in group(
            lambda stage: stage.stage if stage.reading or stage.stage == "embedding" else GAPS
        ).items()},
    }
