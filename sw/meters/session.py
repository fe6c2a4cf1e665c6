"""Course of a measurement: idle, warm-up, windows of computing with pauses between them, idle.

After the protocol of MLPerf Tiny: warm-up, then five windows of at least ten seconds, of which the
median counts. The pauses are of unequal lengths, so that a recording made on another clock fits in
one place only.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal

from trilight.hw.support.terminal import visible
from trilight.sw.errors import MeterError, MeterLostError

from .analysis import Measurement, analyse
from .base import BEGIN, END, SYSTEM_CLOCK, Clock, Meter, Recording, wait
from .files import Kept
from .phases import Phase

__all__ = ["SessionLog", "finish", "measure"]

PAUSES_S = (2.0, 3.5, 2.5, 4.5, 3.0)
"""Pauses between windows, repeated as needed."""

Progress = Callable[[int, int], None]


def _to_stderr(text: str) -> None:
    print(visible(text), file=sys.stderr)


@dataclass
class SessionLog(Kept):
    """Log of a session; all times are seconds on the host's monotonic clock."""

    KIND: ClassVar[str] = "session of measurement"
    SCHEMA: ClassVar[str] = "trilight/measurement-session/v1"
    INDENT: ClassVar[int | None] = None

    meter: str
    """Meter as the user wrote it."""
    utc: str
    host_minus_epoch_s: float
    """The host's monotonic clock minus its time of day."""
    phases: list[Phase] = field(default_factory=list)
    recording: Recording | None = None
    interrupted: str | None = None
    """Reason why it ended before its last window, if it did."""


def measure(meter: Meter, generate: Callable[[float], int], *, windows: int = 5,
            seconds: float = 10.0, idle_seconds: float = 10.0, warmup_seconds: float = 2.0,
            progress: Progress = lambda _done, _total: None,
            notify: Callable[[str], None] = _to_stderr, clock: Clock = SYSTEM_CLOCK,
            log: Path | None = None) -> Measurement:
    """Measure the energy of generated tokens.

    Parameters
    ----------
    meter
        Not started.
    generate
        Generates for about the given number of seconds and returns the number of tokens. Between
        its calls the device waits.
    windows, seconds
        Number of windows and length of each.
    idle_seconds
        Waiting before and after, for the idle power.
    warmup_seconds
        Generating before the first window, which does not count.
    progress
        Called with the seconds done and all seconds.
    notify
        Called with a text when something was kept in a file.
    clock
        Time.
    log
        File that keeps the session. By default it is kept only if no result comes out, as
        ``trilight-session-TIME.json`` in the current folder.

    Raises
    ------
    MeterError
        No result; the text says why, and in which file the data are.
    """
    if windows < 1 or not (seconds > 0 and idle_seconds > 0 and warmup_seconds > 0):
        raise MeterError(f"a measurement takes one window or more of some seconds, and idle and "
                         f"warm-up before, not {windows} of {seconds:g} s, {idle_seconds:g} s and "
                         f"{warmup_seconds:g} s")
    now = datetime.now(UTC)
    session = SessionLog(meter=meter.name, utc=now.isoformat(timespec="seconds"),
                         host_minus_epoch_s=clock.now() - time.time())
    path = log or Path(f"trilight-session-{now:%Y%m%d-%H%M%S}.json")
    meter.start()
    try:
        try:
            _run(session, meter, generate, clock, progress, windows=windows, seconds=seconds,
                 idle_seconds=idle_seconds, warmup_seconds=warmup_seconds)
        except MeterLostError as error:
            session.interrupted = str(error)
        session.recording = meter.stop()
        measurement = finish(session)
    except MeterError as error:
        session.save(path)
        raise MeterError(f"{error}. The session is kept in {path}; once there is a recording of "
                         f"it: trilight meter analyse {path} --meter csv:FILE") from error
    except BaseException as error:
        session.interrupted = session.interrupted or f"{type(error).__name__}: {error}"
        if session.recording is None:
            # The meter may fail too; the first error is the one to report.
            try:
                session.recording = meter.stop()
            except MeterError as second:
                session.interrupted += f"; {second}"
        session.save(path)
        notify(f"What was measured so far is kept in {path}")
        raise
    if log is not None:
        session.save(log)
    return measurement


def finish(session: SessionLog, recording: Recording | None = None) -> Measurement:
    """The result of a session, with its own recording or one that came afterwards.

    Raises
    ------
    MeterError
        There is no recording, or no result comes out of it.
    """
    recording = recording or session.recording
    if recording is None:
        raise MeterError("the session holds no recording; give one, as in --meter csv:FILE")
    return analyse(session.phases, recording, host_minus_epoch_s=session.host_minus_epoch_s,
                   interrupted=session.interrupted)


def _run(session: SessionLog, meter: Meter, generate: Callable[[float], int], clock: Clock,
         progress: Progress, *, windows: int, seconds: float, idle_seconds: float,
         warmup_seconds: float) -> None:
    pauses = [PAUSES_S[index % len(PAUSES_S)] for index in range(windows)]
    total = math.ceil(2 * idle_seconds + warmup_seconds + windows * seconds + sum(pauses))
    begun = clock.now()

    def tick() -> None:
        progress(min(total, round(clock.now() - begun)), total)

    def rest(kind: Literal["idle", "pause"], duration: float) -> None:
        session.phases.append(Phase(kind, kind, *wait(clock, duration, lambda _seconds: tick())))

    def run(kind: Literal["warm-up", "window"], name: str, duration: float) -> None:
        meter.mark(BEGIN + name)
        start = clock.now()
        tokens = generate(duration)
        end = clock.now()
        session.phases.append(Phase(kind, name, start, end, tokens))
        meter.mark(END + name)
        tick()

    tick()
    rest("idle", idle_seconds)
    run("warm-up", "warm-up", warmup_seconds)
    for index, pause in enumerate(pauses):
        rest("pause", pause)
        run("window", f"window {index + 1}", seconds)
    rest("idle", idle_seconds)
