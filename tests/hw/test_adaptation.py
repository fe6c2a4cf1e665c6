"""Biases that are learnt while reading: the block against the integer reference, bit for bit."""

from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest
from amaranth.sim import Simulator

from trilight.hw.adaptation import LEARNING_CYCLES, LearntBias
from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.interfaces import LOGIT_LATENCY
from trilight.sw.reference.adaptation import Adaptation

VOCAB = 11

ORDERS = [(1, 256, 0), (1, 256, 4), (2, 4, 0), (2, 64, 8)]
"""Orders, rows by the last two tokens, and by the last one."""


def made(orders: int, rows: int, token_rows: int = 0) -> Device:
    return Device(name="small", weight_words=64, weight_memory=WeightMemory.BLOCK_RAM,
                  max_vocab=VOCAB, adapt_orders=orders, adapt_rows=rows,
                  adapt_token_rows=token_rows)


class Bench:
    """Drives tokens and logits, and keeps what comes out."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.dut = LearntBias(device=device)
        self.biased: list[int] = []
        self.draws = 0

    def run(self, process: Iterator[object]) -> None:
        def script() -> Iterator[object]:
            yield from process

        async def testbench(ctx: object) -> None:
            self.ctx = ctx
            for _ in script():
                await ctx.tick()  # type: ignore[attr-defined]  # of Amaranth's simulator

        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(testbench)
        simulator.run()

    def cycle(self) -> Iterator[None]:
        """A cycle; what comes out of it is kept."""
        yield
        logits = self.dut.biased.logits
        if self.get(logits.valid):
            self.biased.append(self.get(logits.payload.value))
        self.draws += self.get(self.dut.biased.draw)

    def set(self, signal: object, value: int) -> None:
        self.ctx.set(signal, value)  # type: ignore[attr-defined]

    def get(self, signal: object) -> int:
        return int(self.ctx.get(signal))  # type: ignore[attr-defined]

    def token(self, token: int) -> Iterator[None]:
        self.set(self.dut.learning.token, token)
        self.set(self.dut.learning.valid, 1)
        yield from self.cycle()
        self.set(self.dut.learning.valid, 0)
        for _ in range(LEARNING_CYCLES):
            yield from self.cycle()

    def logits(self, values: list[int], rng: np.random.Generator) -> Iterator[None]:
        """Draw for each logit, with pauses, and let it come as late as from the vector unit."""
        port = self.dut.logits
        on_the_way: deque[tuple[int, bool] | None] = deque([None] * LOGIT_LATENCY)
        queue = [(value, number == len(values) - 1) for number, value in enumerate(values)]
        self.biased.clear()
        self.draws = 0
        while queue or any(on_the_way):
            drawn = queue.pop(0) if queue and rng.random() < 0.8 else None
            self.set(port.draw, drawn is not None)
            on_the_way.append(drawn)
            arrived = on_the_way.popleft()
            self.set(port.logits.valid, arrived is not None)
            self.set(port.logits.payload.value, arrived[0] if arrived else 0)
            self.set(port.logits.payload.last, arrived[1] if arrived else 0)
            yield from self.cycle()
        self.set(port.logits.valid, 0)
        yield from self.cycle()
        yield from self.cycle()

    def drawn(self, token: int) -> Iterator[None]:
        self.set(self.dut.token, token)
        self.set(self.dut.drawn, 1)
        yield from self.cycle()
        self.set(self.dut.drawn, 0)

    def read(self, order: int, addr: int) -> Iterator[None]:
        access = getattr(self.dut, f"access_{order}")
        self.set(access.addr, addr)
        self.set(access.read, 1)
        yield from self.cycle()
        self.set(access.read, 0)
        self.found = self.get(access.read_data)

    def write(self, order: int, addr: int, value: int) -> Iterator[None]:
        access = getattr(self.dut, f"access_{order}")
        self.set(access.addr, addr)
        self.set(access.write_data, value)
        self.set(access.write, 1)
        yield from self.cycle()
        self.set(access.write, 0)


def place(device: Device, row: int, column: int) -> int:
    return row << device.token_bits | column


@pytest.mark.parametrize(("orders", "rows", "token_rows"), ORDERS)
def test_block_learns_as_the_reference(orders: int, rows: int, token_rows: int,
                                       rng: np.random.Generator) -> None:
    device = made(orders, rows, token_rows)
    bench = Bench(device)
    reference = Adaptation(VOCAB, rows=rows if orders > 1 else 0, token_rows=token_rows)
    tables = [reference.first, reference.second][:orders]

    def script() -> Iterator[object]:
        yield from bench.cycle()
        # Tables at the ends of their range, as a host restores them.
        for order, table in enumerate(tables):
            table[...] = rng.choice([-128, -127, 126, 127, 0, 1], table.shape)
            for row, column in np.ndindex(table.shape):
                yield from bench.write(order, place(device, row, column), int(table[row, column]))
        bench.set(bench.dut.learning.enabled, 1)
        for step in range(60):
            if step % 20 == 10:  # another text begins
                bench.set(bench.dut.learning.begins, 1)
                yield from bench.cycle()
                bench.set(bench.dut.learning.begins, 0)
                reference.begin()
            token = int(rng.integers(VOCAB)) if step % 7 else int(reference._drawn or 0)
            yield from bench.token(token)
            reference.read(token)
            width = 300 if rng.random() < 0.7 else 32767
            logits = rng.integers(-width, width, VOCAB, endpoint=True).astype(np.int32)
            yield from bench.logits(logits.tolist(), rng)
            assert bench.biased == reference.biased(logits).tolist()
            assert bench.draws == VOCAB
            reads = rng.random() < 0.8
            bench.set(bench.dut.learning.reads, reads)
            drawn = int(rng.integers(VOCAB))
            yield from bench.drawn(drawn)
            reference._drawn = drawn if reads else None
        for order, table in enumerate(tables):
            for row, column in np.ndindex(table.shape):
                yield from bench.read(order, place(device, row, column))
                assert bench.found == table[row, column]

    bench.run(script())


def test_logits_pass_as_they_are_where_nothing_is_added(rng: np.random.Generator) -> None:
    device = made(2, 4)
    bench = Bench(device)

    def script() -> Iterator[object]:
        yield from bench.cycle()
        for order, depth in enumerate(device.adapt_depths):
            for addr in range(depth):
                yield from bench.write(order, addr, int(rng.integers(-128, 128)))
        logits = rng.integers(-32768, 32767, VOCAB, endpoint=True).tolist()
        yield from bench.logits(logits, rng)
        assert bench.biased == logits

    bench.run(script())
