"""Analysis of a session: readings to joules per token, with its uncertainty.

Uncertainties are combined as the GUM does (JCGM 100:2008): standard uncertainties in quadrature,
doubled for ``u_k2``, which about 95 % of results keep within.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median, stdev
from typing import Any, Literal

import numpy as np

from trilight.sw.errors import MeterError
from trilight.sw.records import json_ready

from .align import Alignment, align
from .base import Boundary, MeterMetadata, Recording, check_plausible
from .phases import Phase

__all__ = ["Measurement", "Quantity", "Window", "analyse", "student_factor"]

MIN_WINDOWS = 3
"""Usable windows that a measurement needs, or all of them if there are fewer."""

MIN_SECONDS = 10.0
MIN_SAMPLES = 10
"""Fewest readings in a window; with fewer a warning says that the meter is slow."""

GAP_INTERVALS = 3.0
"""Readings further apart than this many usual intervals have a gap between them."""

MAX_GAP, MAX_SATURATED = 0.2, 0.01
"""Shares of a window that may lie in gaps or at the end of the range."""

AT_LIMIT = 0.999
"""Share of the range from which a reading counts as being at its end."""

IDLE_DRIFT = 0.1
"""Change of the idle power during the session, as a share of the difference to the active power,
from which it is said."""


@dataclass(frozen=True)
class Quantity:
    """A value, its expanded uncertainty (k = 2) and the values of the windows; all ``None`` or
    empty if it cannot be told."""

    value: float | None
    u_k2: float | None
    runs: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Window:
    """One window and what was read in it."""

    name: str
    start_s: float
    seconds: float
    tokens: int
    samples: int
    joules: float | None
    watts: float | None
    joules_per_token: float | None
    u_j: float
    """Standard uncertainty of the joules that is this window's own: timing, gaps, sampling."""
    gap_s: float
    unused: str | None
    """Reason why it does not count, if it does not."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Result of a measurement; energies in joules, powers in watts."""

    joules_per_token: Quantity
    above_idle: Quantity
    """Joules per token beyond what waiting would have used: beside the total, never for it."""
    idle_w: float | None
    active_w: float
    tokens_per_s: float
    windows: tuple[Window, ...]
    budget: dict[str, float]
    """Standard uncertainties of the joules per token by origin."""
    alignment: Alignment
    meter: MeterMetadata
    boundary: Boundary
    provenance: Literal["measured", "assumed"]
    """``assumed`` if the meter makes its readings up."""
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-able fields of the same names."""
        return dict(json_ready(self))


def student_factor(n: int) -> float:
    """Return how much wider than a normal one the 95 % interval of a mean of ``n`` values is.

    The quantile of Student's distribution by its expansion in 1/(n - 1) (Cornish and Fisher),
    within 4 % for 3 values or more.
    """
    z, v = NormalDist().inv_cdf(0.975), n - 1
    t = (z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
         + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3))
    return t / z


def analyse(phases: Sequence[Phase], recording: Recording, *,
            host_minus_epoch_s: float | None = None,
            interrupted: str | None = None) -> Measurement:
    """Compute the result of a session.

    Parameters
    ----------
    phases
        Phases of the device's work, in the order of time.
    recording
        A recording on any clock.
    host_minus_epoch_s
        The host's monotonic clock minus its time of day, for recordings with times of day.
    interrupted
        Reason why the session ended early, if it did.

    Raises
    ------
    MeterError
        Too few usable windows, readings that cannot be of the boundary, or a recording that does
        not fit the session.
    """
    runs = [phase for phase in phases if phase.kind == "window"]
    if not runs:
        raise MeterError("the session ended before its first window"
                         + (f": {interrupted}" if interrupted else ""))
    for phase in phases:
        if not phase.seconds > 0:
            raise MeterError(f"a phase must take time, not end at {phase.end_s:g} s and start at "
                             f"{phase.start_s:g} s like {phase.name or phase.kind!r}; the session "
                             "is not as it was written")
    if recording.t_s.size == 0:
        raise MeterError(f"meter {recording.metadata.type} recorded nothing")
    busy = [(p.start_s, p.end_s) for p in phases if p.kind in ("warm-up", "window")]
    # A meter that was lost recorded a part of the pattern only.
    recording, alignment = align(recording, busy, phases[0].start_s, phases[-1].end_s,
                                 host_minus_epoch_s)
    warnings = list(recording.warnings)
    if not recording.metadata.synthetic:
        for run in runs:
            check_plausible(recording, run.start_s, run.end_s)
    reader = _Reader(recording, alignment)
    idle_w, u_idle, idle_warning = _idle(reader, phases)
    step_w = reader.spread_w
    windows = tuple(reader.window(run, step_w) for run in runs)
    used = [window for window in windows if window.unused is None]
    needed = min(MIN_WINDOWS, len(runs)) if interrupted is None else MIN_WINDOWS
    if len(used) < needed:
        why = "; ".join(_unused(windows))
        raise MeterError(f"{len(used)} of {len(windows)} windows are usable and {needed} are "
                         f"needed ({why or 'the others were never run'})"
                         + (f"; {interrupted}" if interrupted else ""))
    warnings += _warnings(windows, recording, interrupted)
    if idle_warning:
        warnings.append(idle_warning)

    total, budget = _combine(used, [w.joules or 0.0 for w in used], recording.metadata, 0.0)
    if idle_w is None:
        above = Quantity(None, None, ())
    else:
        above, _ = _combine(used, [(w.joules or 0.0) - idle_w * w.seconds for w in used],
                            recording.metadata, u_idle, offset=False)
    return Measurement(
        joules_per_token=total, above_idle=above, idle_w=idle_w,
        active_w=median(w.watts or 0.0 for w in used),
        tokens_per_s=median(w.tokens / w.seconds for w in used), windows=windows, budget=budget,
        alignment=alignment, meter=recording.metadata, boundary=recording.boundary,
        provenance="assumed" if recording.metadata.synthetic else "measured",
        warnings=tuple(warnings))


def _combine(used: Sequence[Window], joules: Sequence[float], metadata: MeterMetadata,
             u_idle_w: float, *, offset: bool = True) -> tuple[Quantity, dict[str, float]]:
    """Median of the windows' joules per token, its uncertainty, and where that comes from."""
    values = [j / w.tokens for j, w in zip(joules, used, strict=True)]
    middle, n = median(values), len(values)
    per_token_s = median(w.seconds / w.tokens for w in used)
    # The error of a median of normal values is sqrt(pi/2) that of their mean.
    spread = (student_factor(n) * math.sqrt(math.pi / 2 / n) * stdev(values) if n >= MIN_WINDOWS
              else max(values) - min(values))
    root3 = math.sqrt(3)  # from the limits of an error to its standard uncertainty
    budget = {
        "spread": spread,
        "gain": metadata.gain_limit / root3 * abs(middle),
        # The same error of zero is in the idle power too, and leaves their difference.
        "offset": metadata.offset_limit_w / root3 * per_token_s if offset else 0.0,
        # One bad window widens the whole result, although a median might have left it out.
        "window": math.sqrt(fmean((w.u_j / w.tokens) ** 2 for w in used)),
        "idle": u_idle_w * per_token_s,
    }
    return Quantity(middle, 2 * math.hypot(*budget.values()), tuple(values)), budget


def _idle(reader: "_Reader", phases: Sequence[Phase]) -> tuple[float | None, float, str | None]:
    """Idle power, its standard uncertainty, and a remark."""
    idle = [watts for phase in phases if phase.kind == "idle"
            if (watts := reader.mean_w(phase)) is not None]
    if not idle:
        return None, 0.0, ("there are no readings while idle, so energy above idle is unknown")
    middle = sum(idle) / len(idle)
    change = max(idle) - min(idle)
    u_w = math.hypot(change / math.sqrt(12), reader.idle_noise_w(phases))
    if change > IDLE_DRIFT * reader.spread_w:
        return middle, u_w, (f"the idle power changed from {idle[0]:.4g} to {idle[-1]:.4g} W "
                             "during the session; let the device settle longer")
    return middle, u_w, None


def _warnings(windows: Sequence[Window], recording: Recording,
              interrupted: str | None) -> list[str]:
    warnings = []
    metadata = recording.metadata
    if metadata.synthetic:
        warnings.append("the readings are made up: this is no measurement")
    if metadata.calibration is None and not metadata.synthetic:
        warnings.append("the meter was not checked with a known load")
    if early := interrupted or recording.lost:
        warnings.append(f"the session ended early: {early}")
    used = [window for window in windows if window.unused is None]
    warnings += [f"left out: {text}" for text in _unused(windows)]
    for window in windows:
        if window.unused is None and window.gap_s > 0:
            warnings.append(f"{window.name} has {window.gap_s:.2f} s without readings")
    if min(w.seconds for w in used) < MIN_SECONDS * 0.99:
        warnings.append(f"windows are shorter than {MIN_SECONDS:g} s")
    if metadata.rate_hz is not None and (fewest := min(w.samples for w in used)) < MIN_SAMPLES:
        warnings.append(f"the meter is slow for the windows: {fewest} readings in one")
    if _at_limit(recording)[np.logical_or.reduce([
            recording.between(w.start_s, w.start_s + w.seconds) for w in used])].any():
        warnings.append("some readings are at the end of the meter's range; the true power is "
                        "higher")
    return warnings


def _unused(windows: Sequence[Window]) -> list[str]:
    """Which windows do not count, and why, by reason."""
    reasons: dict[str, list[str]] = {}
    for window in windows:
        if window.unused is not None:
            reasons.setdefault(window.unused, []).append(window.name)
    return [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _at_limit(recording: Recording) -> np.ndarray:
    """Which readings are at the end of the range."""
    hit = np.zeros(recording.t_s.shape, dtype=bool)
    if recording.metadata.range_a is not None and recording.amperes is not None:
        hit |= recording.amperes >= AT_LIMIT * recording.metadata.range_a
    if recording.metadata.range_w is not None:
        hit |= recording.watts >= AT_LIMIT * recording.metadata.range_w
    return hit


class _Reader:
    """Means and energies of stretches of a recording on the host's clock."""

    def __init__(self, recording: Recording, alignment: Alignment) -> None:
        self._recording = recording
        self._u_t = alignment.u_s
        self._at_limit = _at_limit(recording)
        low, high = np.percentile(recording.watts, (1, 99))
        self._low_w, self._high_w = float(low), float(high)
        interval = recording.interval_s
        self._longest_s = math.inf if interval is None else GAP_INTERVALS * interval

    @property
    def spread_w(self) -> float:
        """Between the lowest and the highest power of the session, outliers left out."""
        return self._high_w - self._low_w

    def mean_w(self, phase: Phase) -> float | None:
        joules = self._joules(phase.start_s, phase.end_s)
        return None if joules is None else joules / phase.seconds

    def idle_noise_w(self, phases: Sequence[Phase]) -> float:
        """Standard error of the idle power from the scatter of its readings."""
        inside = np.logical_or.reduce([self._recording.between(p.start_s, p.end_s)
                                       for p in phases if p.kind == "idle"])
        watts = self._recording.watts[inside]
        return float(watts.std(ddof=1) / math.sqrt(watts.size)) if watts.size > 1 else 0.0

    def window(self, phase: Phase, step_w: float) -> Window:
        """Read a window whose power stands ``step_w`` above what surrounds it."""
        start, end = phase.start_s, phase.end_s
        inside = self._recording.between(start, end)
        samples = int(inside.sum())
        joules = self._joules(start, end)
        gap_s = self._gap_s(start, end, inside)
        hits = self._at_limit[inside]
        saturated = float(hits.mean()) if samples else 0.0
        unused = None
        if phase.tokens <= 0:
            unused = "no tokens were generated"
        elif joules is None:
            interval = self._recording.interval_s
            unused = "no readings" + (f"; the meter gives one every {interval:.3g} s"
                                      if interval and interval > phase.seconds else "")
        elif gap_s > MAX_GAP * phase.seconds:
            unused = f"{gap_s:.1f} of {phase.seconds:.1f} s without readings"
        elif saturated > MAX_SATURATED:
            unused = (f"{saturated:.0%} of the readings are at the end of the meter's range; "
                      "choose a wider range or a smaller shunt")
        u_j = math.hypot(
            math.sqrt(2) * self._u_t * step_w,
            # In a gap the power may have been anything that was seen elsewhere.
            gap_s * self.spread_w / math.sqrt(12),
            self._sampling_u_j(start, end, inside, step_w),
            saturated * phase.seconds * self._high_w / math.sqrt(3))
        usable = unused is None and joules is not None
        return Window(
            name=phase.name, start_s=start, seconds=phase.seconds, tokens=phase.tokens,
            samples=samples, joules=joules,
            watts=None if joules is None else joules / phase.seconds,
            joules_per_token=joules / phase.tokens if usable and joules is not None else None,
            u_j=u_j, gap_s=gap_s, unused=unused)

    def _joules(self, start: float, end: float) -> float | None:
        """Energy from ``start`` to ``end``; ``None`` without readings of that time."""
        t_s, watts = self._recording.t_s, self._recording.watts
        if self._recording.averaging:
            if t_s[0] >= end or t_s[-1] <= start:
                return None
            used = np.concatenate(([0.0], np.cumsum(watts[1:] * np.diff(t_s))))
            begin, finish = max(start, float(t_s[0])), min(end, float(t_s[-1]))
            first, last = np.interp((begin, finish), t_s, used)
            # The mean of what was seen stands for what was not.
            return float(last - first) * (end - start) / (finish - begin)
        inside = self._recording.between(start, end)
        if not inside.any():
            return None
        # The device changes its power at both ends, so the readings outside say nothing of it.
        t_s, watts = t_s[inside], watts[inside]
        edges = watts[0] * (t_s[0] - start) + watts[-1] * (end - t_s[-1])
        return float(np.trapezoid(watts, t_s) + edges)

    def _gap_s(self, start: float, end: float, inside: np.ndarray) -> float:
        times = np.concatenate(([start], self._recording.t_s[inside], [end]))
        steps = np.diff(times)
        if self._recording.averaging:
            # A mean covers the time before it, and so the edges, if the next one is not far.
            t_s = self._recording.t_s
            before, after = np.searchsorted(t_s, start, "right"), np.searchsorted(t_s, end)
            edge = [t_s[k] - t_s[k - 1] if 0 < k < t_s.size else math.inf for k in (before, after)]
            ends = [min(steps[i], s) for i, s in ((0, steps[0]), (-1, steps[-1]))]
            ends = [e if w > self._longest_s else 0.0 for e, w in zip(ends, edge, strict=True)]
            inner = steps[1:-1]
            return float(inner[inner > self._longest_s].sum() + sum(ends))
        return float(steps[steps > self._longest_s].sum())

    def _sampling_u_j(self, start: float, end: float, inside: np.ndarray, step_w: float) -> float:
        """Standard uncertainty of the joules from seeing the power now and then only."""
        watts = self._recording.watts[inside]
        if self._recording.averaging:
            # At an edge that lies between two readings, one mean holds for both sides of it.
            all_t = self._recording.t_s
            off = [float(np.abs(all_t - edge).min()) for edge in (start, end)]
            return step_w * math.hypot(*off) / math.sqrt(3)
        if watts.size < 2:
            return (end - start) * step_w / math.sqrt(12)
        return float(watts.std(ddof=1) / math.sqrt(watts.size)) * (end - start)
