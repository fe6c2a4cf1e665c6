"""Small blocks of the imported models' gateware in Amaranth's simulator, value by value."""

from collections.abc import Mapping, Sequence
from typing import Any

from amaranth.sim import Simulator

__all__ = ["serial_results", "stream_results"]

Values = Mapping[str, int]


def stream_results(dut: Any, inputs: Sequence[Values],
                   results: Sequence[str]) -> list[tuple[int, ...]]:
    """Results of a block that takes a value in each cycle, ``dut.LATENCY`` later."""
    got: list[tuple[int, ...]] = []

    async def testbench(ctx: Any) -> None:
        for n in range(len(inputs) + dut.LATENCY):
            if n >= dut.LATENCY:
                got.append(tuple(ctx.get(getattr(dut, name)) for name in results))
            if n < len(inputs):
                for name, value in inputs[n].items():
                    ctx.set(getattr(dut, name), value)
            await ctx.tick()

    _simulate(dut, testbench)
    return got


def serial_results(dut: Any, operands: Sequence[Values],
                   results: Sequence[str]) -> list[tuple[int, ...]]:
    """Results of one serial operation after the other, each at the cycle that is promised."""
    got: list[tuple[int, ...]] = []

    async def testbench(ctx: Any) -> None:
        for operand in operands:
            for name, value in operand.items():
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for _ in range(dut.cycles - 1):
                assert not ctx.get(dut.done), "done too early"
                await ctx.tick()
            assert ctx.get(dut.done), "not done in time"
            got.append(tuple(ctx.get(getattr(dut, name)) for name in results))
            await ctx.tick()
            assert not ctx.get(dut.done), "done twice"

    _simulate(dut, testbench)
    return got


def _simulate(dut: Any, testbench: Any) -> None:
    sim: Any = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()
