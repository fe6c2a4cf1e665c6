"""Ternary engine against NumPy: sums, embedding rows, order and timing of weight reads, pauses."""

from collections.abc import Iterator
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, Event, FallingEdge, RisingEdge
from numpy.typing import NDArray

from trilight.hw.config import NUMBERS, UP5K
from trilight.hw.engine import ACT, CHANNEL, ENTRIES, ROW, ROW_LATENCY, Engine
from trilight.sw.model import pack_trits

from .checker import InOrderChecker
from .streams import NEVER, Dut, Source, Watch, cycle, generator, pauses, start, unpack

FILL = ENTRIES + 5
"""Cycles to fill the tables of a block."""

SLACK = 16
"""Cycles of hand-shakes and pipeline that an operation may take besides."""

MOST_EMBED_SCALE = (1 << NUMBERS.residual_bits - 1) - 1

OP_LAYOUT = Engine(device=UP5K).op_layout


def words(trits: NDArray[np.int8]) -> NDArray[np.uint64]:
    """Weight words of a matrix: block after block of columns, all rows of a block in order."""
    rows, columns = trits.shape
    blocks = NUMBERS.blocks(columns)
    padded = np.pad(trits, ((0, 0), (0, blocks * NUMBERS.block - columns)))
    by_block = padded.reshape(rows, blocks, NUMBERS.block).swapaxes(0, 1)
    return pack_trits(by_block.reshape(blocks * rows, NUMBERS.block)).view("<u8").ravel()


@dataclass(frozen=True)
class Operation:
    """A matrix [rows, columns] and the activations that it multiplies."""

    trits: NDArray[np.int8]
    acts: NDArray[np.int64]

    @property
    def blocks(self) -> int:
        return NUMBERS.blocks(self.trits.shape[1])

    @property
    def rows(self) -> int:
        return len(self.trits)

    def results(self) -> list[tuple[int, int]]:
        """Sum of each row, and whether it is the last."""
        sums = self.trits.astype(np.int64) @ self.acts
        return [(int(total), int(row == self.rows - 1)) for row, total in enumerate(sums)]


def random_operation(rng: np.random.Generator, rows: int, columns: int) -> Operation:
    """Any weights and activations, often all at one end of their range."""
    trits = rng.integers(-1, 2, (rows, columns), np.int8)
    kind = rng.random()
    if kind < 0.3:
        trits[:] = rng.choice([-1, 0, 1])
    elif kind < 0.5:
        trits[:] = rng.choice([-1, 1], (rows, 1))
    most = NUMBERS.act_max
    acts = rng.integers(-most, most, columns, endpoint=True)
    kind = rng.random()
    if kind < 0.3:
        acts[:] = rng.choice([-most, most])
    elif kind < 0.5:
        acts = rng.choice([-most, most], columns)
    return Operation(trits, acts)


class Bench:
    """Feeds operations, activations and weights, and checks rows, channels, order and timing."""

    def __init__(self, dut: Dut, op_rests: Iterator[int],
                 act_rests: Iterator[int]) -> None:
        self.dut = dut
        self.ops = Source(dut, "ops", OP_LAYOUT, op_rests)
        self.acts = Source(dut, "acts", ACT, act_rests)
        self.rows = InOrderChecker("row")
        self.row_times = InOrderChecker("cycle of row")
        self.channels = InOrderChecker("channel")
        self.addresses = InOrderChecker("weight address")
        self.memory: NDArray[np.uint64] = np.zeros(UP5K.weight_words, np.uint64)
        self.emitting: list[bool] = []
        """For each weight word of the operations: whether its row is finished by it."""
        self.starting: list[bool] = []
        """Whether the word is the first of a block, which may wait."""
        self.first_row: list[Event] = []
        self.row_at = 0
        """Cycle of the last row so far."""
        self._op = 0
        self._read_at = 0
        self._looking_up = False

    async def start(self) -> None:
        await start(self.dut, restart=0, embed_start=0, embed_base=0, embed_stride=0,
                    embed_token=0, embed_count=0, embed_scale=0, weight_data=0)
        Watch.stream(self.dut, "rows", self._row)
        Watch.stream(self.dut, "channels", self._channel)
        cocotb.start_soon(self._serve_weights())

    def _row(self, bits: int) -> None:
        row = unpack(ROW, bits)
        self.rows((row["sum"], row["last"]))
        self.row_at = cycle()
        self.row_times(self.row_at)
        self.first_row[self._op].set()
        self._op += row["last"]

    def _channel(self, bits: int) -> None:
        channel = unpack(CHANNEL, bits)
        self.channels((channel["value"], channel["last"]))

    async def _serve_weights(self) -> None:
        """Answer a read one cycle later, and hold the answer."""
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            if not int(dut.weight_read.value):
                assert not int(dut.word_used.value), "a word is counted that is not read"
                await RisingEdge(dut.weight_read)
                continue
            address = int(dut.weight_addr.value)
            assert int(dut.word_used.value) != self._looking_up, "wrong words are counted"
            if not self._looking_up:
                self.addresses(address)
                now = cycle()
                assert self.starting[address] or now == self._read_at + 1, \
                    f"weight address {address}: a pause within a block"
                self._read_at = now
                if self.emitting[address]:
                    self.row_times.expect([now + ROW_LATENCY])
            await RisingEdge(dut.clk)
            dut.weight_data.value = int(self.memory[address])

    async def restart(self) -> None:
        self.dut.restart.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.restart.value = 0

    async def look_up(self, embedding: NDArray[np.int8], token: int, scale: int,
                      base: int) -> None:
        """Look up one row of an embedding that lies at word ``base``."""
        dut = self.dut
        stored = words(embedding)
        self.memory[base:base + len(stored)] = stored
        columns = embedding.shape[1]
        self.channels.expect((int(trit) * scale, int(k == columns - 1))
                             for k, trit in enumerate(embedding[token]))
        dut.embed_base.value = base
        dut.embed_stride.value = len(embedding)
        dut.embed_token.value = token
        dut.embed_count.value = columns - 1
        dut.embed_scale.value = scale
        self._looking_up = True
        dut.embed_start.value = 1
        await RisingEdge(dut.clk)
        dut.embed_start.value = 0
        while self.channels.pending:
            await RisingEdge(dut.clk)
        await ClockCycles(dut.clk, 2)
        self._looking_up = False

    async def run(self, operations: list[Operation], rng: np.random.Generator) -> None:
        """Run the operations of a token, whose activations come as early as they may or later.

        Sometimes one vector more is written: that of a head which is left out.
        """
        stored = np.concatenate([words(op.trits) for op in operations])
        self.memory[:len(stored)] = stored
        self.addresses.expect(range(len(stored)))
        self.emitting = [block == op.blocks - 1
                         for op in operations for block in range(op.blocks) for _ in range(op.rows)]
        self.starting = [row == 0
                         for op in operations for _ in range(op.blocks) for row in range(op.rows)]
        self.first_row = [Event() for _ in operations]
        self._op = 0
        taken = [Event() for _ in operations]
        for op in operations:
            self.rows.expect(op.results())

        async def send_ops() -> None:
            for op, event in zip(operations, taken, strict=True):
                await self.ops.send([{"blocks": op.blocks - 1, "rows": op.rows - 1}])
                event.set()

        vectors = [op.acts for op in operations]
        if rng.random() < 0.5:
            vectors.append(rng.permutation(vectors[-1]))

        async def send_acts() -> None:
            for k, vector in enumerate(vectors):
                if k:  # the vector before has filled
                    late = k < len(taken) and rng.random() < 0.5
                    await (taken[k] if late else self.first_row[k - 1]).wait()
                    await RisingEdge(self.dut.clk)
                last = len(vector) - 1
                await self.acts.send(
                    {"value": act, "last": i == last} for i, act in enumerate(vector.tolist()))

        await self.restart()
        senders = [cocotb.start_soon(send_ops()), cocotb.start_soon(send_acts())]
        for sender in senders:
            await sender
        while self.rows.pending:
            await RisingEdge(self.dut.clk)

    async def finish(self) -> None:
        await ClockCycles(self.dut.clk, 2 * FILL)
        for checker in (self.rows, self.row_times, self.addresses):
            checker.finish()
        assert not self.channels.pending, "channels are missing"


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(stalled=[False, True])
async def sums_and_embedding(dut: Dut, stalled: bool) -> None:
    """Tokens of random operations of every number of blocks, each after an embedding row."""
    rng = generator()
    rests = (pauses(rng, 0.5, 300), pauses(rng, 0.1)) if stalled else (NEVER, NEVER)
    bench = Bench(dut, *rests)
    await bench.start()
    shapes = [(int(rng.integers(UP5K.min_rows, 150)), int(rng.integers(1, UP5K.max_columns + 1)))
              for _ in range(8)]
    shapes += [(UP5K.min_rows, UP5K.max_columns), (UP5K.min_rows, 40 * int(rng.integers(1, 6))),
               (UP5K.max_rows, NUMBERS.block + 1), (FILL, 2 * NUMBERS.block)]
    rng.shuffle(shapes)
    for _ in range(3):
        channels = int(rng.integers(1, UP5K.max_columns + 1))
        tokens = int(rng.integers(1, UP5K.max_vocab + 1))
        base = UP5K.weight_words - tokens * NUMBERS.blocks(channels)
        await bench.look_up(
            rng.integers(-1, 2, (tokens, channels), np.int8), int(rng.integers(tokens)),
            int(np.clip(2 ** rng.uniform(-2, 13), 0, MOST_EMBED_SCALE)),
            int(rng.integers(base + 1)))
        await bench.run([random_operation(rng, *shape) for shape in shapes[:4]], rng)
        shapes = shapes[4:]
    await bench.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def cycles_per_operation(dut: Dut) -> None:
    """An operation whose activations are there takes the cycles that its class promises."""
    rng = generator()
    bench = Bench(dut, NEVER, NEVER)
    await bench.start()
    for rows, columns in ((UP5K.min_rows, UP5K.max_columns), (200, 120), (FILL, 1)):
        op = random_operation(rng, rows, columns)
        begin = cycle()
        await bench.run([op], rng)
        most = (columns + FILL + (op.blocks - 1) * max(rows, FILL) + rows + SLACK)
        taken = bench.row_at - begin
        assert taken <= most, f"{rows} x {columns}: {taken} cycles, at most {most}"
    await bench.finish()
