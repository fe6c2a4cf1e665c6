"""Meters that are read again and again by a thread of this program."""

import abc
import hashlib
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from trilight.sw.errors import MeterError, MeterLostError

from .base import Boundary, Floats, Mark, MeterMetadata, MeterOptions, Recording

__all__ = ["ElectricalMeter", "EnergyCounter", "PollingMeter", "sha256_of"]


def sha256_of(*arrays: Floats) -> str:
    """SHA-256 of samples."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()


class PollingMeter(abc.ABC):
    """A meter with a value to read at any time.

    It is read ``rate_hz`` times a second, and at every mark, so that a window's energy need not be
    guessed at its edges. A reading that fails ends the recording; what was read before is kept.

    Parameters
    ----------
    options
        Settings ``boundary`` and ``rate``, readings per second, among others.
    boundary, rate_hz
        Default boundary, and default readings per second.
    """

    def __init__(self, options: MeterOptions, boundary: Boundary, rate_hz: float) -> None:
        self.name = options.spec
        self.boundary = options.boundary(boundary)
        self.rate_hz = options.positive("rate", rate_hz)
        self._clock = options.clock
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._times: list[float] = []
        self._rows: list[tuple[float, ...]] = []
        self._marks: list[Mark] = []
        self._lost: str | None = None

    @abc.abstractmethod
    def read(self) -> tuple[float, ...]:
        """One reading; raises ``OSError`` or ``MeterError`` if there is none."""

    @abc.abstractmethod
    def build(self, t_s: Floats, rows: Floats, marks: Sequence[Mark],
              lost: str | None) -> Recording:
        """The recording of readings ``rows`` [samples, values] at ``t_s``."""

    def start(self) -> None:
        self._times, self._rows, self._marks, self._lost = [], [], [], None
        self._ended.clear()
        self._take()
        if self._lost is not None:
            raise MeterError(f"meter {self.name} cannot be read: {self._lost}")
        self._thread = threading.Thread(target=self._poll, daemon=True, name=f"meter {self.name}")
        self._thread.start()

    def mark(self, label: str) -> None:
        self._take()
        if self._lost is not None:
            raise MeterLostError(f"meter {self.name} was lost after {len(self._times):,} readings: "
                                 f"{self._lost}")
        self._marks.append(Mark(label, self._clock.now()))

    def stop(self) -> Recording:
        self._take()
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        t_s, rows = np.array(self._times), np.array(self._rows, dtype=float)
        keep = np.concatenate(([True], np.diff(t_s) > 0))
        return self.build(t_s[keep], rows[keep], tuple(self._marks), self._lost)

    def _poll(self) -> None:
        while not self._ended.wait(1 / self.rate_hz) and self._lost is None:
            self._take()

    def _take(self) -> None:
        with self._lock:
            if self._lost is not None:
                return
            try:
                row = self.read()
            except (OSError, MeterError) as error:
                self._lost = str(error)
                return
            self._times.append(self._clock.now())
            self._rows.append(row)


    def metadata(self, *readings: Floats, **limits: Any) -> MeterMetadata:
        """Metadata with what all meters that are polled have in common."""
        return MeterMetadata(rate_hz=self.rate_hz, sync="read by the host",
                             raw_sha256=sha256_of(*readings), **limits)


class ElectricalMeter(PollingMeter):
    """Meter that reads volts and amperes."""

    def build(self, t_s: Floats, rows: Floats, marks: Sequence[Mark],
              lost: str | None) -> Recording:
        volts, amperes = rows[:, 0].copy(), rows[:, 1].copy()
        return Recording(t_s=t_s, watts=volts * amperes, volts=volts, amperes=amperes,
                         boundary=self.boundary, marks=tuple(marks), lost=lost,
                         metadata=self.metadata(t_s, volts, amperes, **self.limits(
                             float(volts.mean()), float(amperes.mean()))))

    @abc.abstractmethod
    def limits(self, volts: float, amperes: float) -> dict[str, Any]:
        """Fields of the metadata at a mean voltage and current."""


class EnergyCounter(PollingMeter):
    """Meter that reads the joules used so far, from which powers are differences."""

    kind: str
    """Type for the metadata."""
    serial: str
    accuracy: ClassVar[str]
    gain_limit: ClassVar[float]

    def build(self, t_s: Floats, rows: Floats, marks: Sequence[Mark],
              lost: str | None) -> Recording:
        joules = rows[:, 0]
        if t_s.size > 1:
            watts = np.diff(joules) / np.diff(t_s)
            watts = np.concatenate((watts[:1], watts))
        else:
            watts = np.zeros_like(t_s)
        return Recording(t_s=t_s, watts=watts, averaging=True, boundary=self.boundary,
                         marks=tuple(marks), lost=lost, metadata=self.metadata(
                             t_s, joules, type=self.kind, serial=self.serial, burden_v=0.0,
                             gain_limit=self.gain_limit, offset_limit_w=0.0,
                             accuracy=self.accuracy))
