"""What a sender puts on a line, with and without pauses on either side."""

from collections.abc import Iterable
from typing import Any

from amaranth.sim import Simulator


def sent_by(dut: Any, items: Iterable[tuple[int, int]], length: int, *, stall_in: int,
            stall_out: int) -> bytes:
    """Bytes of the line.

    Parameters
    ----------
    dut
        Has ``i``, a stream of data and ``end``, and ``o``, a stream of bytes.
    items
        Data and ``end``.
    length
        Bytes to wait for; after them the line must be quiet.
    stall_in, stall_out
        Cycles of a pause before each item, and before each byte.
    """
    line = bytearray()

    async def source(ctx: Any) -> None:
        for data, end in items:
            if stall_in:
                await ctx.tick().repeat(stall_in)
            ctx.set(dut.i.payload, {"data": data, "end": end})
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def sink(ctx: Any) -> None:
        for _ in range(length):
            if stall_out:
                ctx.set(dut.o.ready, 0)
                await ctx.tick().repeat(stall_out)
            ctx.set(dut.o.ready, 1)
            *_, byte = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            line.append(byte)
        await ctx.tick().repeat(10)
        assert not ctx.get(dut.o.valid), "a byte too many"

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(source)
    sim.add_testbench(sink)
    sim.run()
    return bytes(line)
