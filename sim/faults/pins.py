"""A simulated chip under a campaign: by its pins, in the time of its own clock."""

import random
from collections.abc import Callable
from functools import cache

from trilight.hw.flow.build import Hdl, elaborate, find_board, synthesise
from trilight.sim.board import DEFAULT_BOARD, IDLE, QUIET_BITS
from trilight.sim.native import NativeBench

from .line import Device

__all__ = ["PinDevice", "open_pins"]

MOST_CYCLES = 50_000
"""After which a reset comes, at most, when bytes are on their way."""


@cache
def _design(target: str) -> Hdl:
    return {"rtl": elaborate, "netlist": synthesise}[target](find_board(DEFAULT_BOARD))


def open_pins(target: str) -> Callable[[], "PinDevice"]:
    """What makes chips of target ``rtl`` or ``netlist``."""
    return lambda: PinDevice(_design(target))


class PinDevice(Device):
    """A simulated chip. Its time stands still unless somebody reads, and leaps when it rests.

    Parameters
    ----------
    hdl : Hdl
    """

    has_pins = True

    def __init__(self, hdl: Hdl) -> None:
        self._hdl = hdl
        self._bench = NativeBench(hdl)
        self._hz = hdl.board.clock_hz
        self._before = 0.0
        """Seconds that were leapt over, or that former chips have run."""
        self._output = b""
        self._right_rate_at = 0.0

    @property
    def name(self) -> str:
        return self._hdl.kind

    def now(self) -> float:
        return self._before + self._bench.cycles / self._hz

    def write(self, data: bytes) -> None:
        self._bench.write(data)

    def read(self, timeout_s: float) -> bytes:
        end = self.now() + timeout_s
        while not self._output and (left := end - self.now()) > 0:
            if self._right_rate_at and self.now() >= self._right_rate_at:
                self.set_rate(1, 0)
            most = max(1, round(left * self._hz))
            ran = self._bench.run(most, quiet=QUIET_BITS * self._hdl.board.clocks_per_bit,
                                  idle=IDLE)
            self._output += self._bench.read()
            if ran < most and not self._output:
                self._before += end - self.now()
        data, self._output = self._output, b""
        return data

    def close(self) -> None:
        self._bench.close()

    def reset(self, rng: random.Random) -> None:
        self._bench.run(rng.randrange(MOST_CYCLES), idle=IDLE)
        self._output += self._bench.read()
        self._before = self.now()
        self._bench.close()
        self._bench = NativeBench(self._hdl)
        self._before -= self._bench.cycles / self._hz

    def set_rate(self, ratio: float, seconds: float) -> None:
        self._bench.set_bit_length(self._hdl.board.clocks_per_bit / ratio)
        self._right_rate_at = self.now() + seconds if seconds else 0

    def glitch(self, pin: str, rng: random.Random) -> None:
        self._bench.glitch(pin, rng.randrange(2), wait=rng.randrange(4000),
                           length=rng.randint(1, 200))
