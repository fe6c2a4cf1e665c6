"""A counter in two halves counts as one."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from trilight.hw.lib.arith import Counter


@pytest.mark.parametrize("width", [2, 3, 8, 32])
def test_counter(width: int, seed: int) -> None:
    rng = random.Random(seed)
    m = Module()
    value, enable, clear = Signal(width), Signal(), Signal()
    counter = Counter(m, value, enable)
    with m.If(clear):
        counter.clear(m)

    async def bench(ctx) -> None:
        expected, likely = 0, 0.5
        for _ in range(3000):
            if rng.random() < 0.05:
                likely = rng.choice([0.05, 0.5, 0.95, 1])
            # Often cleared where the lower half is about to overflow.
            edge = expected % (1 << width // 2) >= (1 << width // 2) - 2
            counts, zeroed = rng.random() < likely, rng.random() < (0.2 if edge else 0.01)
            ctx.set(enable, counts)
            ctx.set(clear, zeroed)
            await ctx.tick()
            expected = 0 if zeroed else (expected + counts) % (1 << width)
            assert ctx.get(value) == expected

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_wide_counter_carries() -> None:
    m = Module()
    value = Signal(32, init=0xFFFE)
    Counter(m, value, Signal(init=1))

    async def bench(ctx) -> None:
        seen = []
        for _ in range(4):
            await ctx.tick()
            seen.append(ctx.get(value))
        assert seen == [0xFFFF, 0x10000, 0x10001, 0x10002]

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
