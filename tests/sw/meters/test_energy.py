"""Energy of a window, against sums that are written out by hand over the readings."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from trilight.sw.meters.analysis import analyse
from trilight.sw.meters.base import MeterMetadata, Recording
from trilight.sw.meters.phases import Phase

START, SECONDS, TOKENS = 3.0, 2.0, 1000
PHASES = [Phase("idle", "idle", 0.0, 3.0),
          *(Phase("window", f"window {n}", START + n * SECONDS, START + (n + 1) * SECONDS, TOKENS)
            for n in range(3)),
          Phase("idle", "idle", 9.0, 12.0)]


def record(t_s: np.ndarray, watts: np.ndarray, *, averaging: bool) -> Recording:
    return Recording(t_s=t_s, watts=watts, boundary="board", averaging=averaging, sync_u_s=0.0,
                     metadata=MeterMetadata(
                         type="exact", rate_hz=1 / float(np.median(np.diff(t_s))), gain_limit=0.0,
                         offset_limit_w=0.0, accuracy="exact", sync="the host's clock"))


@pytest.mark.parametrize("shift", [0.0, 0.013, 0.05])
def test_reading_of_an_averaging_meter_is_of_the_time_before_it(
        shift: float, rng: np.random.Generator) -> None:
    """Each reading differs, so that one taken for its neighbour's time is seen."""
    t_s = shift + np.arange(121) * 0.1
    watts = rng.uniform(0.3, 3.0, t_s.size)
    result = analyse(PHASES, record(t_s, watts, averaging=True))
    for window in result.windows:
        expected = 0.0
        end = window.start_s + window.seconds
        for before, time, power in zip(t_s[:-1], t_s[1:], watts[1:], strict=True):
            expected += power * max(0.0, min(time, end) - max(before, window.start_s))
        assert window.joules == pytest.approx(expected, rel=1e-9)


def test_readings_of_moments_reach_to_the_edges(rng: np.random.Generator) -> None:
    """To both edges the nearest reading inside holds; what is outside counts for nothing."""
    t_s = 0.037 + np.arange(120) * 0.1
    watts = rng.uniform(0.3, 3.0, t_s.size)
    result = analyse(PHASES, record(t_s, watts, averaging=False))
    for window in result.windows:
        end = window.start_s + window.seconds
        inside = [(time, power) for time, power in zip(t_s.tolist(), watts.tolist(), strict=True)
                  if window.start_s <= time <= end]
        points = [(window.start_s, inside[0][1]), *inside, (end, inside[-1][1])]
        expected = sum((b - a) * (p + q) / 2 for (a, p), (b, q) in pairwise(points))
        assert window.joules == pytest.approx(expected, rel=1e-9)
        assert window.samples == len(inside)


def test_noise_while_idle_widens_what_is_above_idle() -> None:
    """By the standard error of the idle readings, which is all that is uncertain here."""
    t_s = 0.05 + np.arange(120) * 0.1
    idle = (t_s < START) | (t_s > START + 3 * SECONDS)
    for noise_w in (0.0, 0.02):
        watts = np.where(idle, 0.4 + noise_w * np.where(np.arange(120) % 2, 1, -1), 0.5)
        result = analyse(PHASES, record(t_s, watts, averaging=False))
        assert result.above_idle.value == pytest.approx(0.1 * SECONDS / TOKENS)
        error = watts[idle].std(ddof=1) / np.sqrt(idle.sum())
        assert result.above_idle.u_k2 == pytest.approx(2 * error * SECONDS / TOKENS, abs=1e-12)


@pytest.mark.parametrize("calibration", [None, "a resistor of 120 ohm"])
def test_unchecked_meter_is_said(calibration: str | None, rng: np.random.Generator) -> None:
    recording = record(0.05 + np.arange(120) * 0.1, rng.uniform(0.3, 3.0, 120), averaging=False)
    result = analyse(PHASES, replace(recording, metadata=replace(recording.metadata,
                                                             calibration=calibration)))
    assert any("not checked with a known load" in text
               for text in result.warnings) == (calibration is None)


@pytest.mark.parametrize(("range_a", "range_w", "said"), [
    (0.1, 9.0, True), (9.0, 0.5, True), (9.0, 9.0, False)])
def test_either_end_of_the_range_is_said(range_a: float, range_w: float, said: bool) -> None:
    """One reading of a window is at the end of the current's range, or of the power's."""
    watts = np.full(2000, 0.4)
    watts[600] = 0.5
    recording = record(0.003 + np.arange(2000) * 0.006, watts, averaging=False)
    recording = replace(recording, amperes=watts / 5.0, metadata=replace(
        recording.metadata, range_a=range_a, range_w=range_w))
    warnings = analyse(PHASES, recording).warnings
    assert any("end of the meter's range" in text for text in warnings) == said
