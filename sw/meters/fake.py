"""A meter that makes its readings up: for tests, and to try a procedure without an instrument."""

import math
from dataclasses import dataclass, replace

import numpy as np

from trilight.sw.errors import MeterError, MeterLostError

from .base import BEGIN, END, Boundary, Mark, Meter, MeterMetadata, MeterOptions, Recording
from .polling import sha256_of

__all__ = ["PROFILES", "FakeMeter", "Profile", "SimulatedClock", "fake_meter"]

OWN_ZERO_S = 1000.0
"""Time that the clock of a meter that drifts shows when it is started."""

MOST_RATE_HZ = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Profile of a pretended meter, and what goes wrong with it."""

    boundary: Boundary
    volts: float
    idle: float
    """Watts while the device waits."""
    busy: float
    """Watts while it computes."""
    noise: float = 0.01
    """Standard deviation of a reading, as a fraction of the busy power."""
    rate: float = 100.0
    """Readings per second."""
    drift: float = 0.0
    """Lead of its clock over the host's, in ppm; any but 0 gives it a clock."""
    gap: float = 0.0
    """Seconds without readings, in the middle of the second window."""
    unplug: float = math.inf
    """Seconds after which it is gone."""
    range: float = math.inf
    """Largest current that it shows, in amperes."""
    gain: float = 0.002
    """Limit of the error that it states, as a fraction."""
    seed: float = 1.0

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the settings that are numbers."""
        return tuple(name for name in self.__dataclass_fields__ if name != "boundary")


_CORE = Profile(boundary="fpga_core", volts=1.2, idle=0.004, busy=0.0164)

PROFILES = {
    "core": _CORE,
    "board": Profile(boundary="board", volts=5.02, idle=0.38, busy=0.43),
    "dropouts": replace(_CORE, gap=1.0),
    "drifting": replace(_CORE, drift=350.0),
    "unplugged": replace(_CORE, unplug=40.0),
    "saturated": replace(_CORE, range=0.012),
    "slow": replace(_CORE, rate=0.5),
    "silent": replace(_CORE, rate=0.02),
}


class SimulatedClock:
    """A clock on which sleeping takes no time."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += max(0.0, seconds)


class FakeMeter:
    """Readings from a profile: deterministic, busy between marks ``begin`` and ``end``.

    Parameters
    ----------
    options
        Profile as argument (default ``core``); its numbers as settings.

    Attributes
    ----------
    profile : Profile
        May be changed between recordings.
    """

    def __init__(self, options: MeterOptions) -> None:
        chosen = options.argument or "core"
        if chosen not in PROFILES:
            raise MeterError(f"there is no profile {chosen!r}; there are {', '.join(PROFILES)}")
        profile = PROFILES[chosen]
        options.only(*profile.numbers)
        changed = {name: options.number(name, 0.0) for name in profile.numbers
                   if name in options.settings}
        if not 0 < changed.get("rate", 1.0) <= MOST_RATE_HZ:
            raise MeterError(f"rate must be above zero, at most {MOST_RATE_HZ:,} a second")
        self.profile = replace(profile, boundary=options.boundary(profile.boundary), **changed)
        self.name = options.spec
        self._clock = options.clock
        self._started = 0.0
        self._marks: list[Mark] = []

    @property
    def boundary(self) -> Boundary:
        return self.profile.boundary

    def start(self) -> None:
        self._started = self._clock.now()
        self._marks = []

    def mark(self, label: str) -> None:
        now = self._clock.now()
        if now - self._started > self.profile.unplug:
            raise MeterLostError(f"meter {self.name} was unplugged")
        self._marks.append(Mark(label, now))

    def stop(self) -> Recording:
        profile = self.profile
        now = self._clock.now()
        end = min(now, self._started + profile.unplug)
        count = max(1, int((end - self._started) * profile.rate) + 1)
        t_s = self._started + np.arange(count) / profile.rate
        edges = np.array([mark.t_s for mark in self._marks
                          if mark.label.startswith((BEGIN, END))])
        busy = np.searchsorted(edges, t_s) % 2 == 1
        noise = np.random.default_rng(int(profile.seed)).standard_normal(count)
        watts = (np.where(busy, profile.busy, profile.idle)
                 + profile.noise * profile.busy * noise)
        amperes = np.minimum(watts / profile.volts, profile.range)
        kept = ~self._gap(t_s)
        t_s, amperes = t_s[kept], amperes[kept]
        volts = np.full_like(t_s, profile.volts)
        own = profile.drift != 0
        if own:
            t_s = OWN_ZERO_S + (t_s - self._started) * (1 + profile.drift * 1e-6)
        return Recording(
            t_s=t_s, watts=volts * amperes, volts=volts, amperes=amperes,
            boundary=profile.boundary, marks=tuple(self._marks), clock="own" if own else "host",
            lost="unplugged" if end < now else None,
            metadata=MeterMetadata(
                type="fake", serial=f"seed {profile.seed:g}", rate_hz=profile.rate,
                range_a=profile.range if math.isfinite(profile.range) else None,
                gain_limit=profile.gain, offset_limit_w=0.0, accuracy="made up",
                sync="its own clock" if own else "the host's clock", synthetic=True,
                raw_sha256=sha256_of(t_s, volts, amperes)))

    def _gap(self, t_s: np.ndarray) -> np.ndarray:
        """Which readings fall into the gap."""
        times = {mark.label: mark.t_s for mark in self._marks}
        begin, end = times.get(f"{BEGIN}window 2"), times.get(f"{END}window 2")
        if begin is None or end is None:
            return np.zeros(t_s.shape, dtype=bool)
        middle = (begin + end) / 2
        return np.abs(t_s - middle) < self.profile.gap / 2


def fake_meter(options: MeterOptions) -> Meter:
    """Meter ``fake[:PROFILE]``."""
    return FakeMeter(options)
