"""Bringing a recording made on another clock onto the host's.

A device that computes uses more than one that waits, so a measurement, with its windows and the
unequal pauses between them, is a pattern of steps that a recording shows too. Cross-correlation
finds it roughly; then every step's time on both clocks gives offset and drift by a straight line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trilight.sw.errors import MeterError

from .base import Floats, Recording

__all__ = ["Alignment", "align"]

Phases = Sequence[tuple[float, float]]
"""Start and end of each time of computing, in seconds on the host's clock."""

MIN_CORRELATION = 0.6
"""Least correlation of recording and pattern, 1 being equality up to scale."""

AMBIGUOUS = 0.95
"""A second place that correlates as well as this share of the best one could be meant as well."""

MAX_DRIFT = 0.01

MAX_GRID = 20_000
"""Points of the rough search; its step is at least a fiftieth of a second."""

DRIFT_WORTH_A_WORD = 200e-6


@dataclass(frozen=True)
class Alignment:
    """Alignment of a recording with the host's clock."""

    method: str
    offset_s: float
    """Host's clock minus the recording's, at the session's start."""
    drift_ppm: float
    """Drift: how much faster than the host's the recording's clock runs."""
    u_s: float
    """Standard uncertainty of a time, in seconds."""
    steps: int = 0
    """Steps that the line goes through."""


def align(recording: Recording, phases: Phases, start_s: float, end_s: float,
          host_minus_epoch_s: float | None = None) -> tuple[Recording, Alignment]:
    """Put a recording on the host's clock.

    Parameters
    ----------
    recording
        A recording on any clock.
    phases
        Times of computing during the session.
    start_s, end_s
        The session, on the host's clock, from the first idle moment to the last.
    host_minus_epoch_s
        Offset of the host's monotonic clock against the time of day, if known. It serves a
        recording with times of day whose steps cannot be seen.

    Raises
    ------
    MeterError
        The pattern is not in the recording, or there more than once.
    """
    if recording.clock == "host":
        return recording, Alignment(recording.metadata.sync, 0.0, 0.0, recording.sync_u_s)
    by_day = recording.clock == "epoch" and host_minus_epoch_s is not None
    try:
        rough = _correlate(recording, phases, start_s, end_s,
                           host_minus_epoch_s if by_day else None)
        line = _line(recording, phases, rough)
    except MeterError as error:
        if not by_day or host_minus_epoch_s is None:
            raise
        moved = replace(recording, t_s=recording.t_s + host_minus_epoch_s, clock="host",
                        warnings=(*recording.warnings,
                                  f"aligned by the time of day alone, to a second: {error}"))
        return moved, Alignment("time of day", host_minus_epoch_s, 0.0, 1.0)
    slope, offset, residual_s, steps = line
    drift = 1 / slope - 1
    warnings = recording.warnings
    if abs(drift) > DRIFT_WORTH_A_WORD:
        warnings = (*warnings, f"the meter's clock runs {drift * 1e6:+.0f} ppm fast; corrected")
    moved = replace(recording, t_s=recording.t_s * slope + offset, clock="host", warnings=warnings,
                    sync_u_s=residual_s)
    at_start = (start_s - offset) / slope
    return moved, Alignment("steps between idle and busy", start_s - at_start, drift * 1e6,
                            residual_s, steps)


def _correlate(recording: Recording, phases: Phases, start_s: float, end_s: float,
               expected: float | None) -> float:
    """Host time minus recording time, roughly."""
    span = float(recording.t_s[-1] - recording.t_s[0])
    if span < 0.5 * (end_s - start_s):
        raise MeterError(f"the recording is {span:.1f} s long and the session took "
                         f"{end_s - start_s:.1f} s; was it started late or cut off, or is the unit "
                         "of its time wrong?")
    step = max(0.02, recording.interval_s or 0.0, (span + end_s - start_s) / MAX_GRID)
    grid = np.arange(recording.t_s[0], recording.t_s[-1], step)
    power = np.interp(grid, recording.t_s, recording.watts)
    # Steps far above the rest (a plug, a reset) must not drown the pattern.
    power = np.clip(power, *np.percentile(power, (1, 99)))
    inside = np.arange(start_s, end_s, step)
    pattern = np.zeros_like(inside)
    for begin, end in phases:
        pattern[(inside >= begin) & (inside < end)] = 1.0
    pattern -= pattern.mean()
    # The recording may have begun late or ended early: a margin of its own mean on either side.
    margin = inside.size // 2
    power = np.pad(power - power.mean(), margin)
    size = 1 << (power.size + pattern.size).bit_length()
    product = np.fft.irfft(np.fft.rfft(power, size) * np.conj(np.fft.rfft(pattern, size)), size)
    count = power.size - pattern.size + 1
    squares = np.concatenate(([0.0], np.cumsum(power ** 2)))
    sums = np.concatenate(([0.0], np.cumsum(power)))
    n = pattern.size
    variance = (squares[n:] - squares[:-n]) - (sums[n:] - sums[:-n]) ** 2 / n
    floor = 1e-9 * max(float(squares[-1]), 1e-300)
    correlation = product[:count] / np.sqrt(np.maximum(variance, floor) * (pattern ** 2).sum())
    offsets = start_s - (grid[0] + (np.arange(count) - margin) * step)
    if expected is not None:
        correlation[np.abs(offsets - expected) > 30.0] = -1.0
    best = int(np.argmax(correlation))
    if correlation[best] < MIN_CORRELATION:
        raise MeterError("the recording does not show the session's steps between idle and busy "
                         f"(correlation {max(0.0, float(correlation[best])):.2f} of 1, "
                         f"{MIN_CORRELATION:g} needed): it is of another time, of another supply, "
                         "or too slow for the windows")
    elsewhere = np.abs(np.arange(count) - best) * step > 0.25 * (end_s - start_s)
    if elsewhere.any() and correlation[elsewhere].max() > AMBIGUOUS * correlation[best]:
        raise MeterError("the recording shows the session's pattern more than once; cut it to the "
                         "session in question")
    return float(offsets[best])


def _line(recording: Recording, phases: Phases, rough: float) -> tuple[float, float, float, int]:
    """Slope and offset from the recording's clock to the host's, residual, number of steps."""
    edges = sorted(time for phase in phases for time in phase)
    host, own = [], []
    for index, edge in enumerate(edges):
        before = edge - edges[index - 1] if index else np.inf
        after = edges[index + 1] - edge if index + 1 < len(edges) else np.inf
        reach = min(2.0, 0.5 * min(before, after))
        found = _step_time(recording, edge - rough, reach, rising=index % 2 == 0)
        if found is not None:
            host.append(edge)
            own.append(found)
    x, y = np.array(own), np.array(host)
    if x.size >= 3:
        # A step that something else disturbed lies off the line through most of them.
        shift = y - x
        spread = np.median(np.abs(shift - np.median(shift)))
        good = np.abs(shift - np.median(shift)) <= max(5 * float(spread), MAX_DRIFT * float(
            np.ptp(y)) / 2, 0.05)
        x, y = x[good], y[good]
    if x.size < 3:
        raise MeterError(f"only {x.size} of {len(edges)} steps between idle and busy can be seen "
                         "in the recording, and three are needed; the meter is too slow or the "
                         "device does not use more when it computes")
    middle = x.mean()
    slope, height = np.polyfit(x - middle, y, 1)
    if abs(slope - 1) > MAX_DRIFT:
        raise MeterError(f"the meter's clock would run {1 / slope - 1:+.1%} against the host's; is "
                         "the unit of its time right?")
    residuals = y - (slope * (x - middle) + height)
    # n - 2: offset and slope are fitted.
    residual = float(np.sqrt((residuals ** 2).sum() / (x.size - 2)))
    quantum = (recording.interval_s or 0.0) / np.sqrt(12 * x.size)
    return (float(slope), float(height - slope * middle), float(np.hypot(residual, quantum)),
            int(x.size))


def _step_time(recording: Recording, around: float, reach: float, *, rising: bool) -> float | None:
    """When the power crosses from one level to the other, by the area under it."""
    inside = recording.between(around - reach, around + reach)
    t_s, watts = recording.t_s[inside], recording.watts[inside]
    left, right = watts[t_s < around - reach / 3], watts[t_s > around + reach / 3]
    if left.size < 2 or right.size < 2 or _widest(t_s, around - reach, around + reach) > reach / 2:
        return None
    low, high = float(np.median(left)), float(np.median(right))
    noise = float(np.hypot(left.std() / np.sqrt(left.size), right.std() / np.sqrt(right.size)))
    if (high - low) * (1 if rising else -1) <= 4 * noise:
        return None
    found = around + reach
    # The area far from the step adds noise and nothing else: the second time it is left out.
    for part in (reach, max(reach / 8, 4 * (recording.interval_s or 0.0))):
        near = recording.between(found - part, found + part) & inside
        if part == reach:
            near = inside
        if near.sum() < 2:
            return found
        t_s, watts = recording.t_s[near], recording.watts[near]
        found = float(t_s[-1]) - float(np.trapezoid(watts - low, t_s)) / (high - low)
    return found


def _widest(t_s: Floats, start_s: float, end_s: float) -> float:
    return float(np.diff(np.concatenate(([start_s], t_s, [end_s]))).max())
