"""Results of a sweep: figures of each point, and which points no other beats."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from trilight.hw.flow.toolchain import logic
from trilight.sw.power import Activity, Interval, estimate_power
from trilight.sw.report.performance import predict

from .sweep import Point, Sweep
from .tasks import Store, Task

__all__ = ["SweepResult", "csv_text", "evaluate", "pareto"]


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """Figures of a point. What is not known, or follows from a failure, is None."""

    point: Point
    logic: int | None = None
    """Logic cells or look-up tables, as placed."""
    resources: dict[str, int] | None = None
    fmax_hz: dict[int, float] | None = None
    """Clock of each placement seed, from static timing."""
    cycles_per_token: float
    """Computed; see ``sw/report/performance.py``."""
    utilisation: float
    tokens_per_s: float | None = None
    """Speed at the design's clock; None if no placement meets it."""
    power_mw: Interval | None = None
    """Modelled from counted activity, with 90 % interval; of the FPGA core."""
    tokens_per_joule: Interval | None = None
    failed: str | None = None
    """Reason why the point does not work."""

    @property
    def fmax_median_hz(self) -> float | None:
        return median(self.fmax_hz.values()) if self.fmax_hz else None

    @property
    def seeds_met(self) -> int:
        """Placements that meet the clock."""
        clock = self.point.design.clock_hz
        return sum(fmax >= clock for fmax in (self.fmax_hz or {}).values())

    def to_dict(self) -> dict[str, Any]:
        return {**self.point.to_dict(), "logic": self.logic, "resources": self.resources,
                "fmax_hz": self.fmax_hz, "fmax_median_hz": self.fmax_median_hz,
                "seeds_met": self.seeds_met, "cycles_per_token": self.cycles_per_token,
                "utilisation": self.utilisation, "tokens_per_s": self.tokens_per_s,
                "power_mw": self.power_mw and asdict(self.power_mw),
                "tokens_per_joule": self.tokens_per_joule and asdict(self.tokens_per_joule),
                "failed": self.failed}


def evaluate(sweep: Sweep, store: Store) -> tuple[list[SweepResult], int]:
    """Put together what is known of each point; and how many points wait for results."""
    outcomes, waiting = [], 0
    for point in sweep.points():
        outcome = _outcome(point, sweep, store)
        if outcome is None:
            waiting += 1
        else:
            outcomes.append(outcome)
    return outcomes, waiting


def _outcome(point: Point, sweep: Sweep, store: Store) -> SweepResult | None:
    design = point.design
    device = design.device_config
    performance = predict(point.model, sequences=point.sequences, device=device)
    computed = SweepResult(point=point, cycles_per_token=performance.cycles_per_token,
                       utilisation=performance.utilisation)

    placements = {seed: store.get(Task(kind="placement", design=design, seed=seed))
                  for seed in sweep.seeds}
    if any(result is None for result in placements.values()):
        return None
    placed = {seed: result for seed, result in placements.items()
              if result is not None and "failed" not in result}
    if not placed:
        [why, *_] = [result["failed"] for result in placements.values() if result]
        return replace(computed, failed=why)
    resources = next(iter(placed.values()))["resources"]
    fmax = {seed: float(result["fmax_hz"][str(seed)]) for seed, result in placed.items()}
    built = replace(computed, logic=logic(resources), resources=resources, fmax_hz=fmax)
    if performance.violations:
        return replace(built, failed="the model does not fit: " + performance.violations[0])
    if not built.seeds_met:
        return replace(built, failed=f"misses {design.clock_hz / 1e6:g} MHz: "
                                   f"{max(fmax.values()) / 1e6:.1f} MHz at best")
    speed = design.clock_hz / performance.cycles_per_token
    running = replace(built, tokens_per_s=speed)
    activity = store.get(Task(kind="activity", design=design, model=point.model))
    if activity is not None and "failed" in activity:
        return replace(built, failed=f"its simulation fails: {activity['failed']}")
    if activity is None or point.sequences > 1:
        return running
    power = estimate_power(Activity.from_dict(activity["activity"]["busy"]), design.clock_hz,
                           pll=design.make().pll is not None).power_mw
    return replace(running, power_mw=power, tokens_per_joule=power.reciprocal(1e3 * speed))


def pareto(outcomes: Iterable[SweepResult]) -> list[SweepResult]:
    """Points that no other beats in one of area, speed and energy without losing in another."""
    working = [o for o in outcomes if o.failed is None]

    def merits(o: SweepResult) -> tuple[float, ...]:
        assert o.logic is not None
        assert o.tokens_per_s is not None
        return (-o.logic, o.tokens_per_s,
                o.tokens_per_joule.p50 if o.tokens_per_joule else 0.0)

    def beaten(o: SweepResult) -> bool:
        mine = merits(o)
        return any(all(a >= b for a, b in zip(merits(other), mine, strict=True))
                   and merits(other) != mine for other in working)

    return [o for o in working if not beaten(o)]


def csv_text(outcomes: Sequence[SweepResult], best: Sequence[SweepResult]) -> str:
    """A table of all points, a line each."""
    stream = io.StringIO()
    rows = []
    for outcome in outcomes:
        flat: dict[str, Any] = {}
        for name, value in outcome.to_dict().items():
            if isinstance(value, dict):
                flat |= {f"{name}.{key}": each for key, each in value.items()}
            else:
                flat[name] = value
        rows.append(flat | {"pareto": outcome in best})
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(stream, names)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
