"""Meters: their interface, their recordings, and opening one by name.

A meter is written ``NAME[:ARGUMENT][,key=value...]``, for example ``ina226:1/0x40,shunt=1.0`` or
``csv:supply.csv,current=I[mA]``. Packages add meters through the entry points group
``trilight.meters``; an entry point is a function that takes ``MeterOptions`` and returns a
``Meter``.
"""

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trilight.hw.support.extras import missing
from trilight.hw.support.terminal import visible
from trilight.sw.errors import MeterError

from .files import Kept

__all__ = ["BEGIN", "BOUNDARIES", "END", "GROUP", "SYSTEM_CLOCK", "Boundary", "Clock", "ClockName",
           "Mark", "Meter", "MeterMetadata", "MeterOptions", "Recorded", "Recording",
           "ask_on_terminal", "check_plausible", "meter_names", "open_meter", "wait"]

GROUP = "trilight.meters"

Boundary = Literal["fpga_core", "fpga_rails", "board", "host", "gpu"]
BOUNDARIES: tuple[Boundary, ...] = get_args(Boundary)

ClockName = Literal["host", "epoch", "own"]

Floats = NDArray[np.float64]

BEGIN = "begin "
"""Start of the label of a mark at which the device begins to compute."""
END = "end "
"""Start of the label of a mark at which it has finished."""

PLAUSIBLE_W: dict[Boundary, tuple[float, float]] = {
    "fpga_core": (30e-6, 3.0),
    "fpga_rails": (50e-6, 5.0),
    "board": (10e-3, 30.0),
    "host": (0.3, 2000.0),
    "gpu": (1.0, 2000.0),
}
"""Power in watts between which an FPGA, a board, a computer or a GPU is believed to be. Wide, but
a current that is off by a factor of a thousand falls out of it."""

PLAUSIBLE_V: dict[Boundary, tuple[float, float]] = {
    "fpga_core": (0.8, 1.5),
    "board": (2.7, 26.0),
}
"""Volts of the supply that is metered; the other boundaries have several supplies."""


class Clock(Protocol):
    """Time as the measurement sees it, so that a test need not wait."""

    def now(self) -> float:
        """Seconds on the host's monotonic clock."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let that many seconds go by."""
        ...


class _SystemClock:
    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))


SYSTEM_CLOCK: Clock = _SystemClock()


def wait(clock: Clock, seconds: float, tick: Callable[[float], None] = lambda _seconds: None,
         step_s: float = 1.0) -> tuple[float, float]:
    """Let time go by, and return when that began and ended.

    ``tick`` is called after each step with the seconds that it took.
    """
    start = clock.now()
    while (left := start + seconds - clock.now()) > 0:
        clock.sleep(min(step_s, left))
        tick(min(step_s, left))
    return start, clock.now()


def ask_on_terminal(text: str) -> str:
    """Show a text on standard error and return the line that is typed, ``""`` at the end of input.
    """
    print(visible(text), end="", file=sys.stderr, flush=True)
    try:
        return input()
    except EOFError:
        print(file=sys.stderr)
        return ""


@dataclass(frozen=True)
class Mark:
    """A moment with a name, in seconds on the host's monotonic clock."""

    label: str
    t_s: float


@dataclass(frozen=True, kw_only=True)
class MeterMetadata:
    """Metadata of the instrument, as it goes into a report."""

    type: str
    serial: str | None = None
    rate_hz: float | None = None
    """Readings per second; ``None`` for a meter that is read once in a while."""
    range_a: float | None = None
    """Largest current that it can show, in amperes."""
    range_w: float | None = None
    """Largest power that it can show, in watts."""
    gain_limit: float
    """Limit of its error that goes with the reading, as a fraction."""
    offset_limit_w: float
    """Limit of its error at zero, in watts."""
    accuracy: str
    """Source of the two limits."""
    calibration: str | None = None
    """Check of the instrument; ``None`` without one."""
    burden_v: float | None = None
    """Volts that it takes from the supply, at the mean current."""
    sync: str
    """Relation of its time to the host's."""
    raw_sha256: str | None = None
    """SHA-256 of the samples, or of the file that they came in."""
    synthetic: bool = False
    """True if it makes its readings up."""


@dataclass(frozen=True, kw_only=True)
class Recording(Kept):
    """Readings of a meter, in the order of time.

    Raises ``MeterError`` for arrays that do not belong together.
    """

    KIND: ClassVar[str] = "recording"
    RENAMED: ClassVar[Mapping[str, str]] = {"facts": "metadata"}

    t_s: Floats
    """Seconds, strictly rising, on the clock that ``clock`` names."""
    watts: Floats
    boundary: Boundary
    metadata: MeterMetadata
    volts: Floats | None = None
    amperes: Floats | None = None
    marks: tuple[Mark, ...] = ()
    averaging: bool = False
    """True if a reading is the mean since the one before; else it is of its moment."""
    clock: ClockName = "host"
    """``host``: the monotonic clock of the session; ``epoch``: seconds since 1970; ``own``: any."""
    sync_u_s: float = 0.005
    """Standard uncertainty of the time against the host's, in seconds. By default that of a
    program which reads a device and shares a computer."""
    lost: str | None = None
    """Reason why the readings end early, if they do."""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("watts", "volts", "amperes"):
            values = getattr(self, name)
            if values is not None and values.shape != self.t_s.shape:
                raise MeterError(f"a recording needs as many {name} as times, "
                                 f"not {values.size} and {self.t_s.size}")
        if not np.isfinite(self.t_s).all() or not np.isfinite(self.watts).all():
            raise MeterError("times and watts of a recording must be numbers")
        if np.any(np.diff(self.t_s) <= 0):
            raise MeterError("the times of a recording must rise from sample to sample")

    @property
    def interval_s(self) -> float | None:
        """Usual time between two samples; ``None`` with fewer than two or no fixed rate."""
        if self.t_s.size < 2 or self.metadata.rate_hz is None:
            return None
        return float(np.median(np.diff(self.t_s)))

    def between(self, start_s: float, end_s: float) -> NDArray[np.bool_]:
        """Return which samples were taken from ``start_s`` to ``end_s``."""
        return (self.t_s >= start_s) & (self.t_s <= end_s)


class Meter(Protocol):
    """An instrument that records power.

    ``start`` begins a recording, or says why it cannot. ``mark`` notes a moment. ``stop`` returns
    what was recorded, up to the moment at which the instrument was lost if it was; after that it
    may be started again.
    """

    @property
    def name(self) -> str:
        """Name as the user wrote it."""
        ...

    @property
    def boundary(self) -> Boundary:
        """Boundary of what is behind the meter."""
        ...

    def start(self) -> None:
        """Raises ``MeterError`` if there is nothing to read."""
        ...

    def mark(self, label: str) -> None:
        """Raises ``MeterLostError`` if the instrument has gone since."""
        ...

    def stop(self) -> Recording:
        """Raises ``MeterError`` if there is no recording at all."""
        ...


@runtime_checkable
class Recorded(Protocol):
    """A meter whose recording comes as a file, and can be read again."""

    def read(self) -> Recording:
        """Raises ``MeterError`` if it is not there or no recording."""
        ...


@dataclass(frozen=True, kw_only=True)
class MeterOptions:
    """Options of a meter."""

    spec: str
    argument: str = ""
    """Argument after the colon."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """The settings after it, by key."""
    ask: Callable[[str], str] = ask_on_terminal
    """Function that shows a text to the user and returns the answer, ``""`` if there is none."""
    clock: Clock = SYSTEM_CLOCK

    def boundary(self, default: Boundary) -> Boundary:
        """The setting ``boundary``; raises ``MeterError`` for one that does not exist."""
        given = self.settings.get("boundary", default)
        if given not in BOUNDARIES:
            raise MeterError(f"boundary must be one of {', '.join(BOUNDARIES)}, not {given!r}")
        return given

    def number(self, key: str, default: float) -> float:
        """A setting that is a number, zero or more; raises ``MeterError`` for anything else."""
        given = self.settings.get(key)
        if given is None:
            return default
        try:
            value = float(given)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise MeterError(f"{key} of meter {self.spec!r} must be a number, zero or more, "
                             f"not {given!r}")
        return value

    def positive(self, key: str, default: float) -> float:
        """Like ``number``, above zero."""
        value = self.number(key, default)
        if value == 0:
            raise MeterError(f"{key} of meter {self.spec!r} must be above zero")
        return value

    def only(self, *keys: str) -> None:
        """Refuse settings that the meter does not have with a ``MeterError``."""
        if unknown := set(self.settings) - {*keys, "boundary"}:
            raise MeterError(f"meter {self.spec!r} has no setting {', '.join(sorted(unknown))}; "
                             f"it has {', '.join(sorted({*keys, 'boundary', 'correction'}))}")


def meter_names() -> list[str]:
    """Names of the meters that are installed, sorted."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def _parts(spec: str) -> tuple[str, str, list[str]]:
    """Name, argument and settings of a meter. An argument that is a file may have commas."""
    name, colon, rest = spec.partition(":")
    if not colon or "," in name:
        name, *pairs = spec.split(",")
        return name, "", pairs
    pieces = rest.split(",")
    for end in range(len(pieces), 1, -1):
        if Path(",".join(pieces[:end])).is_file():
            return name, ",".join(pieces[:end]), pieces[end:]
    return name, pieces[0], pieces[1:]


def open_meter(spec: str, *, ask: Callable[[str], str] = ask_on_terminal,
               clock: Clock = SYSTEM_CLOCK) -> Meter:
    """Make the meter that ``spec`` describes; nothing is read yet.

    Parameters
    ----------
    spec
        ``NAME[:ARGUMENT][,key=value...]``. Every meter has the settings ``boundary`` (what is
        behind it) and ``correction`` (file of a known-load check).
    ask
        Shows a text to the user and returns the answer; for meters that need a hand.
    clock
        Time.

    Raises
    ------
    MeterError
        No such meter, a setting that it does not have, or a package that it needs is missing.
    """
    name, argument, pairs = _parts(spec)
    matches = entry_points(group=GROUP, name=name)
    if not matches:
        raise MeterError(f"no meter {name!r}; there are {', '.join(meter_names())}, written "
                         "NAME[:ARGUMENT][,key=value...], as in ina226:1/0x40,shunt=1.0")
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise MeterError(f"settings of a meter are written key=value, not {pair!r} "
                             f"(in {spec!r}), and no file has that as a part of its name")
        settings[key] = value
    correction = settings.pop("correction", None)
    options = MeterOptions(spec=spec, argument=argument, settings=settings, ask=ask, clock=clock)
    try:
        factory: Callable[[MeterOptions], Meter] = next(iter(matches)).load()
        meter = factory(options)
    except ImportError as error:
        raise MeterError(f"meter {name!r} needs a package that is not installed: "
                         + missing(error)) from error
    if correction is None:
        return meter
    from .correction import CorrectedMeter, Correction

    return CorrectedMeter(meter, Correction.load(Path(correction)))


def check_plausible(recording: Recording, start_s: float, end_s: float, hint: str = "") -> None:
    """Refuse readings that cannot be of the recording's boundary, such as those of a wrong unit.

    Judged by the median from ``start_s`` to ``end_s``; no readings there are no objection.

    Raises
    ------
    MeterError
        Says what was read, what is believed, and what would explain it.
    """
    inside = recording.between(start_s, end_s)
    if not inside.any():
        return
    for quantity, unit, values, limits in (
            ("voltage", "V", recording.volts, PLAUSIBLE_V.get(recording.boundary)),
            ("power", "W", recording.watts, PLAUSIBLE_W[recording.boundary])):
        if values is None or limits is None:
            continue
        middle = float(np.median(values[inside]))
        if limits[0] <= middle <= limits[1]:
            continue
        factor = next((f for f in (1e-3, 1e-6, 1e3, 1e6) if limits[0] <= middle * f <= limits[1]),
                      None)
        fits = [b for b in BOUNDARIES if b in PLAUSIBLE_V
                and PLAUSIBLE_V[b][0] <= middle <= PLAUSIBLE_V[b][1]]
        advice = (f"the meter seems to be in the supply of another boundary: add boundary={fits[0]}"
                  if quantity == "voltage" and fits else
                  f"a unit that is off by a factor of {1 / factor:g} would explain it" if factor
                  else "check units, shunt value and wiring")
        raise MeterError(
            f"{middle:.4g} {unit} is no {quantity} of boundary {recording.boundary}, where "
            f"{limits[0]:g} to {limits[1]:g} {unit} are believed; {advice}{hint}")
