"""Volts and amperes that a person reads off a display."""

import math

import numpy as np

from trilight.sw.errors import MeterError

from .base import BEGIN, END, Mark, Meter, MeterMetadata, MeterOptions, Recording

__all__ = ["ManualMeter", "manual_meter"]


TRIES = 5


class ManualMeter:
    """Meter ``manual``: asks for the current of every phase of a measurement, at its end.

    Parameters
    ----------
    options
        Settings ``volts`` (of the supply; asked for if absent), ``u`` (limit of the error of a
        reading, in amperes; asked for if absent), ``busy`` and ``idle`` (currents in amperes, for
        a display that was read before; then nothing is asked).
    """

    def __init__(self, options: MeterOptions) -> None:
        options.only("volts", "u", "busy", "idle")
        self.name = options.spec
        self.boundary = options.boundary("board")
        self._options = options
        self._volts = self._limit_a = 0.0
        self._marks: list[Mark] = []
        self._points: dict[float, float] = {}
        """Amperes by time: a reading holds for its whole phase, and stands at both ends of it."""

    def start(self) -> None:
        self._volts = self._setting("volts", "Supply voltage, V")
        self._limit_a = self._setting("u", "Largest error of a current that you read, A")
        if self._volts <= 0:
            raise MeterError("the supply voltage must be above zero")
        self._points = {}
        self._marks = [Mark("start", self._options.clock.now())]

    def mark(self, label: str) -> None:
        before, now = self._marks[-1], self._options.clock.now()
        if label.startswith(END):
            what = label.removeprefix(END)
            self._enter("busy", f"Mean current during {what}, A", before.t_s, now)
        elif label.startswith(BEGIN) and not any(m.label.startswith(BEGIN) for m in self._marks):
            self._enter("idle", "Mean current before, waiting, A", before.t_s, now)
        # Typing takes time: the next phase starts when it is done.
        self._marks.append(Mark(label, self._options.clock.now()))

    def stop(self) -> Recording:
        now = self._options.clock.now()
        if now > self._marks[-1].t_s:
            self._enter("idle", "Mean current now, waiting, A", self._marks[-1].t_s, now)
        t_s, amperes = np.array(sorted(self._points.items())).reshape(-1, 2).T
        return Recording(
            t_s=t_s, watts=self._volts * amperes, volts=np.full_like(t_s, self._volts),
            amperes=amperes, boundary=self.boundary, marks=tuple(self._marks), averaging=True,
            metadata=MeterMetadata(
                type="manual", gain_limit=0.0, offset_limit_w=self._limit_a * self._volts,
                accuracy=f"as entered: {self._limit_a:g} A", sync="read by a person"))

    def _enter(self, key: str, question: str, start_s: float, end_s: float) -> None:
        if end_s > start_s:
            amperes = self._setting(key, question)
            self._points |= {math.nextafter(start_s, math.inf): amperes, end_s: amperes}

    def _setting(self, key: str, question: str) -> float:
        if key in self._options.settings:
            return self._options.number(key, 0.0)
        for _ in range(TRIES):
            answer = self._options.ask(f"{question}: ").strip().replace(",", ".")
            try:
                value = float(answer)
            except ValueError:
                continue
            if math.isfinite(value) and value >= 0:
                return value
        raise MeterError(f"no number was given for {question!r}; state it as a setting, as in "
                         f"manual,{key}=0.0755")


def manual_meter(options: MeterOptions) -> Meter:
    """Meter ``manual``."""
    return ManualMeter(options)
