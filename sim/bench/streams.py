"""Helpers of every bench: clock and reset, sources and monitors of streams, pauses.

Inputs change right after a rising edge and outputs are looked at on the falling edge, when
everything has settled: on the rising edge simulators differ in what they show.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

import cocotb
import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotb.utils import get_sim_time

from .coverage import Pace

__all__ = ["NEVER", "Dut", "Sink", "Source", "Watch", "cycle", "generator", "pack", "pauses",
           "signed", "start", "unpack"]

CLOCK_NS = 10
RESET_CYCLES = 3

NEVER: Iterator[int] = repeat(0)
"""Pauses of a stream that never rests."""

Dut = Any
"""A design, or one of its ports: which it has is known when it runs."""

Payload = int | Mapping[str, int]


def generator() -> np.random.Generator:
    """Random numbers that follow from the seed and the name of the running test."""
    return np.random.default_rng(random.getrandbits(64))


def pauses(rng: np.random.Generator, chance: float = 0.2, longest: int = 6) -> Iterator[int]:
    """Lengths of pauses before each transfer, in cycles; most are none.

    Parameters
    ----------
    chance : float
        Of a pause, in [0, 1].
    longest : int
        Cycles.
    """
    while True:
        rest = rng.random(256) < chance
        yield from (rest * rng.integers(1, longest + 1, 256)).tolist()


def pack(layout: data.Layout, **fields: int) -> int:
    """Bits of a structure of integers; other fields are 0."""
    bits = 0
    for name, value in fields.items():
        field = layout[name]
        bits |= (value & (1 << field.width) - 1) << field.offset
    return bits


def unpack(layout: data.Layout, bits: int) -> dict[str, int]:
    """Fields of a structure, with their signs."""
    fields = {}
    for name, field in layout:
        value = bits >> field.offset & (1 << field.width) - 1
        is_signed = Shape.cast(field.shape).signed
        fields[str(name)] = signed(value, field.width) if is_signed else value
    return fields


def signed(bits: int, width: int) -> int:
    """The two's-complement integer that ``bits`` stand for."""
    return bits - (bits >> width - 1 << width)


async def start(dut: Dut, **inputs: int) -> None:
    """Start the clock, reset the design and return after a rising edge.

    Parameters
    ----------
    inputs : int
        Values of input ports.
    """
    Clock(dut.clk, CLOCK_NS, unit="ns", impl="gpi").start()
    for name, value in inputs.items():
        dut[name].value = value
    dut.rst.value = 1
    await ClockCycles(dut.clk, RESET_CYCLES)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


def cycle() -> int:
    """Number of the present clock cycle."""
    return int(get_sim_time("ns")) // CLOCK_NS


class Source:
    """Feeds a stream of the design.

    Parameters
    ----------
    dut : Dut
    name : str
        Of the stream, ``acts`` for the ports ``acts__valid`` and so on.
    layout : data.Layout, optional
        Of the payload, if it is a structure.
    pauses : iterator of int
        Cycles to rest before each transfer.
    """

    def __init__(self, dut: Dut, name: str, layout: data.Layout | None = None,
                 pauses: Iterator[int] = NEVER) -> None:
        self._clock = dut.clk
        self._valid = dut[f"{name}__valid"]
        self._payload = dut[f"{name}__payload"]
        self._ready = getattr(dut, f"{name}__ready", None)
        self._layout = layout
        self._pauses = pauses
        self._pace = Pace(name)
        self._valid.value = 0
        self._payload.value = 0

    async def send(self, payloads: Iterable[Payload]) -> None:
        """Transfer payloads in order; return after the rising edge that ended the last."""
        for payload in payloads:
            if rest := next(self._pauses):
                await self._rest(rest)
            self._valid.value = 1
            self._payload.value = self._bits(payload)
            taken = False
            while not taken:
                if self._ready is None:
                    taken = True
                else:
                    await FallingEdge(self._clock)
                    taken = bool(self._ready.value)
                    if not taken:
                        self._pace.producer_waits()
                await RisingEdge(self._clock)
            self._pace.transfer(cycle())
        self._valid.value = 0

    async def _rest(self, cycles: int) -> None:
        self._valid.value = 0
        for _ in range(cycles - 1):
            await RisingEdge(self._clock)
        await FallingEdge(self._clock)
        if self._ready is not None and int(self._ready.value):
            self._pace.consumer_waits()
        await RisingEdge(self._clock)

    def _bits(self, payload: Payload) -> int:
        if isinstance(payload, Mapping):
            assert self._layout is not None
            return pack(self._layout, **payload)
        return payload


class Watch:
    """Calls ``take`` with every value of a signal while another is 1; sleeps in between.

    Parameters
    ----------
    clock, valid, value : Dut
    take : callable
        Called with the value as an unsigned integer.
    gate : Dut, optional
        Must be 1 too: the ready of a stream.
    pace : Pace, optional
        Is told when values come and when they wait.
    """

    def __init__(self, clock: Dut, valid: Dut, value: Dut,
                 take: Callable[[int], Any], gate: Dut | None = None,
                 pace: Pace | None = None) -> None:
        self._clock, self._valid, self._value = clock, valid, value
        self._pace = pace or Pace("")
        self._take = take
        self._gate = gate
        cocotb.start_soon(self._run())

    @classmethod
    def stream(cls, dut: Dut, name: str, take: Callable[[int], Any]) -> "Watch":
        """Watch the payloads that a stream of the design transfers."""
        return cls(dut.clk, dut[f"{name}__valid"], dut[f"{name}__payload"], take,
                   getattr(dut, f"{name}__ready", None), Pace(name))

    async def _run(self) -> None:
        falling = FallingEdge(self._clock)
        begins = RisingEdge(self._valid)
        while True:
            await falling
            ready = self._gate is None or int(self._gate.value)
            if not int(self._valid.value):
                if ready:
                    self._pace.consumer_waits()
                await begins
            elif ready:
                self._pace.transfer(cycle())
                self._take(int(self._value.value))
            else:
                self._pace.producer_waits()


class Sink:
    """Sink of a stream of the design, which takes what it gives at once or after a pause.

    Parameters
    ----------
    pauses : iterator of int
        Cycles for which each payload waits, from when it is there.
    take : callable
        Called with each payload as an unsigned integer.
    """

    def __init__(self, dut: Dut, name: str, take: Callable[[int], Any],
                 pauses: Iterator[int] = NEVER) -> None:
        self._clock = dut.clk
        self._valid = dut[f"{name}__valid"]
        self._ready = dut[f"{name}__ready"]
        self._pauses = pauses
        self._ready.value = 0
        Watch.stream(dut, name, take)
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        while True:
            if rest := next(self._pauses):
                self._ready.value = 0
                if not int(self._valid.value):
                    await RisingEdge(self._valid)
                await ClockCycles(self._clock, rest)
            self._ready.value = 1
            taken = False
            while not taken:
                await FallingEdge(self._clock)
                taken = bool(self._valid.value)
                await RisingEdge(self._clock)
