# amaranth: UnusedElaboratable=no
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from trilight.hw.lib.uart import UARTReceiver, UARTTransmitter

CLOCK_S = 1e-6


def line_bits(byte: int, *, stop: int = 1) -> list[int]:
    return [0, *(byte >> i & 1 for i in range(8)), stop]


def receive(bits: list[int], *, clocks_per_bit: int, stretch: float = 1.0,
            phase: float = 0.25) -> list[int | None]:
    """What a receiver makes of bits that are ``stretch`` times as long as they should be.

    Bytes, and ``None`` for each error.
    """
    dut = UARTReceiver(clocks_per_bit=clocks_per_bit)
    got: list[int | None] = []

    async def line(ctx: Any) -> None:
        await ctx.delay((10 + phase) * CLOCK_S)
        for bit in [*bits, 1]:
            ctx.set(dut.rx, bit)
            await ctx.delay(clocks_per_bit * CLOCK_S * stretch)
        await ctx.delay(20 * clocks_per_bit * CLOCK_S)

    async def monitor(ctx: Any) -> None:
        async for _, _, valid, payload, error in ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.error):
            if valid:
                got.append(payload)
            if error:
                assert not valid
                got.append(None)

    sim = Simulator(dut)
    sim.add_clock(CLOCK_S)
    sim.add_testbench(line)
    sim.add_process(monitor)
    sim.run()
    return got


@pytest.mark.parametrize("clocks_per_bit", [4, 5, 8, 13])
def test_receiver_hears_every_byte(clocks_per_bit: int, rng: np.random.Generator) -> None:
    data = rng.permutation(256).tolist()
    bits = [bit for byte in data for bit in line_bits(byte)]
    assert receive(bits, clocks_per_bit=clocks_per_bit) == data


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("stretch", [0.98, 1.02])
def test_receiver_bears_a_clock_that_differs(stretch: float, phase: float,
                                             rng: np.random.Generator) -> None:
    data = [0x00, 0xFF, 0x55, 0xAA, *rng.integers(256, size=40).tolist()]
    bits = [bit for byte in data for bit in line_bits(byte)]
    assert receive(bits, clocks_per_bit=4, stretch=stretch, phase=phase) == data


@pytest.mark.parametrize(("clocks_per_bit", "stretch"), [(4, 0.96), (5, 0.96), (8, 0.96)])
def test_receiver_samples_before_the_middle(clocks_per_bit: int, stretch: float) -> None:
    """It bears 4 % of faster hosts: sampled a cycle later it would bear 2 only.

    The edge is seen up to a cycle late, so a sample in the middle of what is seen is late itself.
    """
    data = [0x00, 0xFF, 0x55, 0xAA, 0x80, 0x01]
    bits = [bit for byte in data for bit in line_bits(byte)]
    for phase in (0.0, 0.3, 0.6, 0.9):
        assert receive(bits, clocks_per_bit=clocks_per_bit, stretch=stretch, phase=phase) == data


@pytest.mark.parametrize("clocks_per_bit", [4, 8])
def test_receiver_reports_a_low_stop_bit(clocks_per_bit: int) -> None:
    bits = [*line_bits(0x12), *line_bits(0x34, stop=0), 1, *line_bits(0x56), *[0] * 40, 1,
            *line_bits(0x78)]
    assert receive(bits, clocks_per_bit=clocks_per_bit) == [0x12, None, 0x56, None, 0x78]


def test_receiver_ignores_a_spike() -> None:
    dut = UARTReceiver(clocks_per_bit=8)

    async def testbench(ctx: Any) -> None:
        ctx.set(dut.rx, 0)
        await ctx.tick().repeat(2)
        ctx.set(dut.rx, 1)
        for _ in range(120):
            *_, valid, error = await ctx.tick().sample(dut.o.valid, dut.error)
            assert not valid
            assert not error

    sim = Simulator(dut)
    sim.add_clock(CLOCK_S)
    sim.add_testbench(testbench)
    sim.run()


@pytest.mark.parametrize("pause", [0, 1, 7])
@pytest.mark.parametrize("clocks_per_bit", [4, 5, 12])
def test_transmitter_sends_every_bit_in_time(clocks_per_bit: int, pause: int,
                                             rng: np.random.Generator) -> None:
    data = [0x00, 0xFF, 0xC0, *rng.integers(256, size=8).tolist()]
    dut = UARTTransmitter(clocks_per_bit=clocks_per_bit)
    levels: list[int] = []

    async def source(ctx: Any) -> None:
        for byte in data:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.i.payload, 0)
            if pause:
                # The transmitter becomes ready before the pause is over.
                await ctx.tick().repeat(10 * clocks_per_bit + pause - 1)
        # A byte waits in the transmitter, and another is on the line.
        await ctx.tick().repeat(22 * clocks_per_bit)

    async def monitor(ctx: Any) -> None:
        async for _, _, level in ctx.tick().sample(dut.tx):
            levels.append(level)

    sim = Simulator(dut)
    sim.add_clock(CLOCK_S)
    sim.add_testbench(source)
    sim.add_process(monitor)
    sim.run()

    expected = [level for byte in data
                for level in [bit for bit in line_bits(byte)
                              for _ in range(clocks_per_bit)] + [1] * pause]
    start = levels.index(0)
    assert levels[start:start + len(expected)] == expected
    assert set(levels[:start] + levels[start + len(expected):]) == {1}


@pytest.mark.parametrize("component", [UARTReceiver, UARTTransmitter])
def test_clocks_per_bit_is_checked(component: type) -> None:
    assert component(clocks_per_bit=4).clocks_per_bit == 4
    with pytest.raises(ValueError, match=r"^clocks_per_bit must be at least 4, not 3$"):
        component(clocks_per_bit=3)
    with pytest.raises(TypeError, match=r"^clocks_per_bit must be an integer, not 4\.5$"):
        component(clocks_per_bit=4.5)
