"""Stop of the chip's clock while nothing runs, and its start when the host sends."""

import math
from collections.abc import Callable

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib.cdc import FFSynchronizer

__all__ = ["ClockStop"]


class ClockStop(Elaboratable):
    """Gate between a clock's source and the chip, closed after a time without anything to do.

    All memories and flip-flops keep their contents. The gate opens when the receive line falls,
    once the source has been steady for ``start_seconds``; what the host sends until then is lost.
    No flip-flop is clocked while the gate is closed, so nothing but leakage is left.

    The gate is closed by the falling edge of the clock that it makes and opened by that of a clock
    which runs only before it opens, so that it never cuts a pulse::

        asleep <- at rest for ``rest_seconds``, until ``line`` is low
        opened <- not asleep, and the source has been steady for long enough
        clock  <- source and opened

    Parameters
    ----------
    clock_hz : float
        Frequency of the source.
    rest_seconds : float
        Time without anything to do after which the clock stops, at least.
    start_seconds : float
        Time that the source takes to become steady.
    buffer : callable
        Part's buffer of a clock net, from the signal that goes in and the one that comes out.

    Attributes
    ----------
    source, locked : Signal, in
        Clock, and whether it is steady.
    line : Signal, in
        Receive line, asynchronous and high at rest. While it is low the clock does not stop.
    busy : Signal, in
        Something is done, in the clock's domain.
    clock : Signal, out
        Clock of the chip.
    stopped : Signal, out
        The source may stop.
    """

    def __init__(self, *, clock_hz: float, rest_seconds: float, start_seconds: float,
                 buffer: Callable[[Value, Signal], Elaboratable | Instance]) -> None:
        self._rest_bits = math.ceil(math.log2(rest_seconds * clock_hz))
        self._start_bits = math.ceil(math.log2(start_seconds * clock_hz))
        self._buffer = buffer
        self.source = Signal()
        self.locked = Signal()
        self.line = Signal()
        self.busy = Signal()
        self.clock = Signal()
        self.stopped = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains += [
            ClockDomain("rest", async_reset=True, local=True),
            ClockDomain("sleep", clk_edge="neg", async_reset=True, local=True),
            ClockDomain("wake", clk_edge="neg", async_reset=True, local=True),
        ]
        asleep = Signal()
        opened = Signal()
        waking = Signal()
        m.submodules.clock = self._buffer(self.source & opened, self.clock)
        m.submodules.waking = self._buffer(self.source & ~asleep & ~opened, waking)
        m.d.comb += [
            # Not before the gate has closed, for the source may end in any way.
            self.stopped.eq(asleep & ~opened),
            ClockSignal("rest").eq(self.clock),
            ResetSignal("rest").eq(~opened),
            ClockSignal("sleep").eq(self.clock),
            ResetSignal("sleep").eq(~self.line),
            ClockSignal("wake").eq(waking),
            ResetSignal("wake").eq(asleep),
        ]

        line = Signal()
        m.submodules.line = FFSynchronizer(self.line, line, o_domain="rest")
        resting = Signal(self._rest_bits + 1)
        with m.If(self.busy | ~line):
            m.d.rest += resting.eq(0)
        with m.Elif(~resting[-1]):
            m.d.rest += resting.eq(resting + 1)
        m.d.sleep += asleep.eq(resting[-1])

        locked = Signal()
        m.submodules.locked = FFSynchronizer(self.locked, locked, o_domain="wake",
                                             reset_less=False)
        steady = Signal(self._start_bits + 1)
        m.d.wake += [steady.eq(steady + 1), opened.eq(steady[-1])]
        with m.If(~locked):
            m.d.wake += steady.eq(0)
        return m
