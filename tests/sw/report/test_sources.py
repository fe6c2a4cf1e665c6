"""Memories outside, computed, against their controllers in Amaranth's simulator: every cycle.

What is taken when, and what is asked for when, is random.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from trilight.boards.icebreaker_flash import DEVICE as FLASH
from trilight.boards.ulx3s_sdram import DEVICE as SDRAM
from trilight.hw.contract.device import Device
from trilight.hw.contract.outside import QuadFlash, Sdram
from trilight.hw.memory.flash import FlashReader
from trilight.hw.memory.sdram import ACTIVE, READ, SdramController
from trilight.hw.memory.sdram import SLOTS as CONTROLLER_SLOTS
from trilight.sw.report.sources import SLOTS, SdramPhase, make_source

SMALL = replace(SDRAM, lanes=8, weight_words=1 << 10,
                outside=Sdram(row_bits=6, column_bits=6, interval=190, power_up=20))
DEVICES = {
    "flash": FLASH,
    "SDRAM of 16 bits": SMALL,
    "SDRAM of 32 bits": replace(SMALL, outside=replace(SMALL.outside, data_bits=32)),
    "a word of many beats": replace(SMALL, lanes=32),
}
REQUESTS = 40
AT_ONCE, SOON, LATE = (1,), (1, 1, 1, 2, 3), (1, 5, 60, 300)


@dataclass
class Memory:
    """A controller in simulation, and what it was seen to do."""

    ctx: Any
    dut: Any
    cycle: int = 0
    phase: SdramPhase = field(default_factory=SdramPhase)

    async def tick(self) -> None:
        pins = self.dut.pins
        await self.ctx.tick()
        self.cycle += 1
        if not isinstance(self.dut, SdramController):
            return
        # Commands are in registers, a cycle later than the controller gives them.
        command = self.ctx.get(pins.command)
        if command == ACTIVE:
            self.phase = replace(self.phase, activated=self.cycle - 1)
        elif command == READ:
            self.phase = replace(self.phase, read=self.cycle - 1, beat=self.ctx.get(pins.address))

    async def request(self, word: int, tag: int, units: int) -> int:
        """Ask for words from the next cycle on; the cycle in which that is accepted."""
        requests = self.dut.port.requests
        self.ctx.set(requests.payload.unit, word * units)
        self.ctx.set(requests.payload.tag, tag)
        self.ctx.set(requests.valid, 1)
        while not self.ctx.get(requests.ready):
            await self.tick()
        accepted = self.cycle
        await self.tick()
        self.ctx.set(requests.valid, 0)
        return accepted

    async def come(self, tag: int) -> int:
        """Drop words until one of a request comes; its cycle."""
        words = self.dut.port.words
        while not (self.ctx.get(words.valid) and self.ctx.get(words.payload.tag) == tag):
            self.ctx.set(words.ready, 1)
            await self.tick()
        self.ctx.set(words.ready, 0)
        return self.cycle

    async def take(self, delay: int) -> int:
        """Take the word that waits, some cycles from now."""
        for _ in range(delay):
            await self.tick()
        taken = self.cycle
        self.ctx.set(self.dut.port.words.ready, 1)
        await self.tick()
        self.ctx.set(self.dut.port.words.ready, 0)
        return taken


def behaviour(rng: np.random.Generator, words: int) -> Iterator[tuple[int, list[int], int]]:
    """First word, delays of those that are taken, and cycles until the next request."""
    for _ in range(REQUESTS):
        delays = rng.choice(np.array([AT_ONCE, SOON, LATE], object)[rng.integers(3)],
                            int(rng.integers(1, 24))) - 1
        yield int(rng.integers(words)), [int(d) for d in delays], int(rng.integers(0, 30))


async def compare(ctx: Any, dut: Any, device: Device, rng: np.random.Generator) -> None:
    memory = Memory(ctx, dut)
    units = device.packing.word_units
    await memory.request(0, 0, units)
    ctx.set(dut.port.words.ready, 1)
    for _ in range(int(rng.integers(200, 900))):
        await memory.tick()
    phase = memory.phase
    if isinstance(device.outside, Sdram):
        interval = device.outside.interval
        phase = replace(phase, refresh=-(-(phase.read + 1) // interval) * interval)
    model = make_source(device, phase)
    for number, (word, delays, pause) in enumerate(behaviour(rng, 1 << 8), 1):
        tag, dropping = number % 4, memory.cycle
        ctx.set(dut.port.words.ready, 1)
        for _ in range(pause + 1):
            await memory.tick()
        when = memory.cycle
        assert await memory.request(word, tag, units) == model.request(when, word, dropping)
        for delay in delays:
            assert await memory.come(tag) == model.valid
            model.take(await memory.take(delay))


@pytest.mark.parametrize("name", ["flash", "SDRAM of 16 bits"])
def test_words_are_there_when_the_controller_has_them(name: str,
                                                      rng: np.random.Generator) -> None:
    device = DEVICES[name]
    make: Callable[..., Any] = (
        FlashReader if isinstance(device.outside, QuadFlash) else SdramController)
    assert SLOTS == CONTROLLER_SLOTS
    dut = make(device=device)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def bench(ctx: Any) -> None:
        await compare(ctx, dut, device, rng)

    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("name", DEVICES)
def test_words_that_come_evenly_can_be_skipped(name: str, rng: np.random.Generator) -> None:
    device = DEVICES[name]
    skipped, taken = (make_source(device, SdramPhase(refresh=100)) for _ in range(2))
    for word in rng.integers(0, 1 << 8, REQUESTS).tolist():
        when = taken.valid + 5
        assert skipped.request(when, word, when - 1) == taken.request(when, word, when - 1)
        for _ in range(int(rng.integers(1, 200))):
            even, pace = skipped.steady()
            count = int(rng.integers(1, min(even, 40) + 1)) if even else 1
            first = skipped.valid
            if even:
                skipped.skip(count)
            else:
                skipped.take(first)
            for k in range(count):
                assert taken.valid == first + k * pace
                taken.take(taken.valid)
