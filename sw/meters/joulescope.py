"""Joulescope JS110 and JS220, through the maker's package pyjoulescope-driver.

The instrument's own statistics are used: means over equal intervals, computed from every sample at
1 or 2 million a second.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from trilight.sw.errors import MeterError, MeterLostError

from .base import Clock, Mark, Meter, MeterMetadata, MeterOptions, Recording
from .polling import sha256_of

__all__ = ["JoulescopeMeter", "joulescope_meter"]

SAMPLE_RATES = {"js220": 1_000_000, "js110": 2_000_000}

ACCURACY = {"js220": (0.0015, 1e-6), "js110": (0.006, 3e-6)}
"""Gain limit of power as a fraction, and offset of the current in amperes: bounds assumed from the
makers' figures for ranges up to 180 mA, to be replaced by a known-load check."""

LATENCY_U_S = 0.02
"""Standard uncertainty of a value's arrival time, in seconds: it comes over USB in bulk."""

SILENT_S = 2.0
"""Time without a value after which the instrument has gone."""


class JoulescopeMeter:
    """One instrument.

    Parameters
    ----------
    options
        Part of the device's path as argument (model or serial number) where several are connected;
        setting ``rate``, means per second.
    make_driver
        ``pyjoulescope_driver.Driver``.
    """

    def __init__(self, options: MeterOptions, make_driver: Callable[[], Any]) -> None:
        options.only("rate")
        self.name = options.spec
        self.boundary = options.boundary("fpga_core")
        self._wanted = options.argument
        self._rate_hz = options.positive("rate", 20.0)
        self._clock: Clock = options.clock
        self._make_driver = make_driver
        self._lock = threading.Lock()
        self._driver: Any = None
        self._path = ""
        self._rows: list[tuple[float, float, float, float]] = []
        self._marks: list[Mark] = []

    def start(self) -> None:
        self._rows, self._marks = [], []
        try:
            self._driver = self._make_driver()
            paths = [path for path in self._driver.device_paths() if self._wanted in path]
            if len(paths) != 1:
                self._driver.finalize()
                raise MeterError(
                    f"{len(paths)} Joulescopes are there" + (f": {', '.join(paths)}; name one, as "
                    f"in joulescope:{paths[0].split('/')[-1]}" if paths else
                    "; connect one, and close the Joulescope program"))
            self._path = paths[0]
            self._driver.open(self._path)
            rate = SAMPLE_RATES[self._model]
            if self._model == "js110":
                self._driver.publish(f"{self._path}/s/i/range/select", "auto")
                for signal in "ivp":
                    self._driver.publish(f"{self._path}/s/{signal}/ctrl", "on")
            else:
                self._driver.publish(f"{self._path}/s/i/range/mode", "auto")
            self._driver.publish(f"{self._path}/s/stats/scnt", round(rate / self._rate_hz))
            self._driver.publish(f"{self._path}/s/stats/ctrl", "on")
            self._driver.subscribe(f"{self._path}/s/stats/value", "pub", self._receive)
        except RuntimeError as error:
            raise MeterError(f"the Joulescope cannot be used: {error}") from error

    def mark(self, label: str) -> None:
        with self._lock:
            last = self._rows[-1][0] if self._rows else None
        if last is not None and self._clock.now() - last > SILENT_S:
            raise MeterLostError(f"{self._path} has sent nothing for {SILENT_S:g} s; "
                                 "is it still connected?")
        self._marks.append(Mark(label, self._clock.now()))

    def stop(self) -> Recording:
        try:
            self._driver.unsubscribe(f"{self._path}/s/stats/value", self._receive)
            self._driver.close(self._path)
            self._driver.finalize()
        except RuntimeError:
            pass  # it has gone; what it sent is kept
        with self._lock:
            rows = np.array(self._rows, dtype=float).reshape(-1, 4)
        t_s, volts, amperes, watts = (rows[:, column].copy() for column in range(4))
        keep = np.concatenate((np.diff(t_s) > 0, [True]))[:t_s.size]
        t_s, volts, amperes, watts = t_s[keep], volts[keep], amperes[keep], watts[keep]
        gain, offset_a = ACCURACY[self._model]
        now = self._clock.now()
        lost = (f"nothing came for {now - t_s[-1]:.1f} s"
                if t_s.size and now - t_s[-1] > SILENT_S else None)
        return Recording(
            t_s=t_s, watts=watts, volts=volts, amperes=amperes, averaging=True, lost=lost,
            boundary=self.boundary, marks=tuple(self._marks), sync_u_s=LATENCY_U_S,
            metadata=MeterMetadata(
                type=f"Joulescope {self._model.upper()}", serial=self._path.split("/")[-1],
                rate_hz=self._rate_hz, gain_limit=gain,
                offset_limit_w=offset_a * float(volts.mean() if volts.size else 0),
                accuracy="assumed from the maker's figures for its lower ranges",
                sync="arrival at the host", raw_sha256=sha256_of(t_s, volts, amperes, watts)))

    @property
    def _model(self) -> str:
        model = next((name for name in SAMPLE_RATES if name in self._path), None)
        if model is None:
            raise MeterError(f"{self._path} is neither a JS220 nor a JS110; record with its own "
                             "program and use csv:FILE")
        return model

    def _receive(self, _topic: str, value: Any) -> None:
        signals = value["signals"]
        volts, amperes, watts = (float(signals[name]["avg"]["value"])
                                 for name in ("voltage", "current", "power"))
        with self._lock:
            self._rows.append((self._clock.now(), volts, amperes, watts))


def joulescope_meter(options: MeterOptions) -> Meter:
    """Meter ``joulescope[:SERIAL]``."""
    from pyjoulescope_driver import Driver

    return JoulescopeMeter(options, Driver)
