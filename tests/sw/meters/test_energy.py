"""Energy of a window, against sums that are written out by hand over the readings."""

from itertools import pairwise

import numpy as np
import pytest

from trilight.sw.meters.analysis import analyse
from trilight.sw.meters.base import MeterFacts, Recording
from trilight.sw.meters.phases import Phase

START, SECONDS, TOKENS = 3.0, 2.0, 1000
PHASES = [Phase("idle", "idle", 0.0, 3.0),
          *(Phase("window", f"window {n}", START + n * SECONDS, START + (n + 1) * SECONDS, TOKENS)
            for n in range(3)),
          Phase("idle", "idle", 9.0, 12.0)]


def record(t_s: np.ndarray, watts: np.ndarray, *, averaging: bool) -> Recording:
    return Recording(t_s=t_s, watts=watts, boundary="board", averaging=averaging, sync_u_s=0.0,
                     facts=MeterFacts(type="exact", rate_hz=1 / float(np.median(np.diff(t_s))),
                                      gain_limit=0.0, offset_limit_w=0.0, accuracy="exact",
                                      sync="the host's clock"))


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
