"""Ternary engine against NumPy: sums, embedding rows, order and timing of weight reads, pauses.

Operations of two sequences take turns as they do in the core, and embedding rows are looked up at
any time.
"""

from collections import deque
from collections.abc import Iterator

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, Event, FallingEdge, RisingEdge
from numpy.typing import NDArray

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.shapes import OperationShape
from trilight.hw.interfaces import ACTIVATION, CHANNEL, row_layout

from .checker import InOrderChecker
from .coverage import cover, ends
from .device import DEVICE
from .engine_stimulus import (
    ENTRIES,
    OP_LAYOUT,
    SHORT_ENTRIES,
    TIMING,
    EngineOperation,
    Weights,
    Word,
    random_acts,
    random_weights,
    token,
)
from .streams import NEVER, Dut, Source, Watch, cycle, generator, pauses, start, unpack

SLACK = 16
"""Cycles of hand-shakes and pipeline that an operation may take besides."""

SURPLUS_READS = 2
"""Bytes that a look-up may read too many, for their time comes before the last channel leaves."""

SEQUENCES = range(DEVICE.sequences)

MAX_EMBED_SCALE = (1 << NUMBERS.residual_bits - 1) - 1

EMBEDDING_WORDS = DEVICE.max_vocab * -(
    -DEVICE.max_columns // (DEVICE.packing.short_trits * DEVICE.lanes))
"""Words of the largest embedding."""

ROW = row_layout(DEVICE)


SHAPES = [(DEVICE.min_rows, DEVICE.max_columns), (DEVICE.max_rows, DEVICE.packing.block + 1),
          (ENTRIES + TIMING.fill + 1, 2 * DEVICE.packing.block), (SHORT_ENTRIES + TIMING.fill, 64),
          (DEVICE.min_rows, 1)]
"""Rows and columns at the ends of their ranges, and rows that just do not hide the filling."""


class Bench:
    """Feeds operations, activations and weights, and checks rows, channels, order and timing.

    Parameters
    ----------
    op_rests, act_rests : iterator of int
        Cycles to rest before each operation and activation.
    expect_rests : iterator of int, optional
        Cycles after the end of an operation until rows of the next are expected; without it they
        always are.
    """

    def __init__(self, dut: Dut, rng: np.random.Generator, op_rests: Iterator[int] = NEVER,
                 act_rests: Iterator[int] = NEVER,
                 expect_rests: Iterator[int] | None = None) -> None:
        self.dut = dut
        self.rng = rng
        self.ops = Source(dut, "operations__ops", OP_LAYOUT, op_rests)
        self.acts = Source(dut, "acts__acts", ACTIVATION, act_rests)
        self.rows = InOrderChecker("row")
        self.row_times = InOrderChecker("cycle of row")
        self.channels = InOrderChecker("channel")
        self.channel_times = InOrderChecker("cycle of channel")
        self.memory: NDArray[np.uint64] = np.zeros(DEVICE.weight_words, np.uint64)
        self.words: deque[Word] = deque()
        """Words that the operations have still to read."""
        self.words_read = 0
        self.looked_up: deque[int] = deque()
        """Words that the look-up in progress has still to read."""
        self.interrupted = 0
        """Cycles in which a look-up held up a block."""
        self.row_at = 0
        """Cycle of the last row so far."""
        self._expect_rests = expect_rests
        self._first_row: deque[Event] = deque()
        self._surplus = 0
        self._read_at = 0

    async def start(self) -> None:
        await start(self.dut, operations__rows_enabled=int(self._expect_rests is None),
                    acts__short=0, acts__sequence=0, embedding__start=0, embedding__base=0,
                    embedding__stride=0, embedding__token=0, embedding__channels=0,
                    embedding__scale=0, embedding__short=0, weight_data=0)
        Watch.stream(self.dut, "rows", self._row)
        Watch.stream(self.dut, "channels", self._channel)
        Watch(self.dut.clk, self.dut.operations__ends, self.dut.operations__word_used, self._end)
        cocotb.start_soon(self._serve_weights())
        if self._expect_rests is not None:
            cocotb.start_soon(self._expect_rows(self._expect_rests))

    def _row(self, bits: int) -> None:
        row = unpack(ROW, bits)
        self.rows((row["sum"], row["last"]))
        self.row_at = cycle()
        self.row_times(self.row_at)
        self._first_row[0].set()
        if row["last"]:
            self._first_row.popleft()

    def _channel(self, bits: int) -> None:
        channel = unpack(CHANNEL, bits)
        self.channels((channel["value"], channel["last"]))
        self.channel_times(cycle())

    @staticmethod
    def _end(word_used: int) -> None:
        assert word_used, "an operation ends without a word"

    async def _serve_weights(self) -> None:
        """Answer reads as the memory does, which holds each answer until the next."""
        dut = self.dut
        answers: deque[int | None] = deque([None] * (DEVICE.read_latency - 1))
        while True:
            await FallingEdge(dut.clk)
            used = bool(dut.operations__word_used.value)
            if int(dut.weight_read.value):
                address = int(dut.weight_addr.value)
                if used:
                    self._use(address)
                else:
                    self._look_up(address)
                answers.append(address)
            elif not used and not any(answer is not None for answer in answers):
                await RisingEdge(dut.weight_read)
                continue
            else:
                assert not used, "a word is counted that is not read"
                answers.append(None)
            answer = answers.popleft()
            await RisingEdge(dut.clk)
            if answer is not None:
                dut.weight_data.value = int(self.memory[answer])

    def _use(self, address: int) -> None:
        """An operation reads a word."""
        assert self.words, f"weight address {address}: no operation has words left"
        word = self.words.popleft()
        self.words_read += 1
        now = cycle()
        assert address == word.address, f"weight address {address} != {word.address} (expected)"
        assert word.opens or now == self._read_at + 1, \
            f"weight address {address}: a pause within a block"
        assert int(self.dut.operations__ends.value) == word.ends, f"weight address {address}: ends"
        if word.finishes:
            assert int(self.dut.operations__rows_enabled.value), \
                f"weight address {address}: not expected yet"
            self.row_times.expect([now + TIMING.row])
        self._read_at = now

    def _look_up(self, address: int) -> None:
        """A look-up reads a word; what streams waits for it."""
        if self.looked_up:
            expected = self.looked_up.popleft()
            assert address == expected, f"looked up at {address}, not {expected}"
        else:
            self._surplus -= 1
            assert self._surplus >= 0, f"address {address} is read for nothing"
        now = cycle()
        if self._read_at == now - 1:
            self._read_at = now
            self.interrupted += bool(self.words and not self.words[0].opens)

    async def _expect_rows(self, rests: Iterator[int]) -> None:
        dut = self.dut
        while True:
            await ClockCycles(dut.clk, 1 + next(rests))
            dut.operations__rows_enabled.value = 1
            ended = False
            while not ended:
                await FallingEdge(dut.clk)
                ended = bool(dut.operations__ends.value)
                await RisingEdge(dut.clk)
            dut.operations__rows_enabled.value = 0

    async def look_up(self, embedding: Weights, number: int, scale: int, base: int) -> None:
        """Look up one row of an embedding that lies at word ``base``, in memory already."""
        dut = self.dut
        trits = embedding.trits[number]
        last = embedding.columns - 1
        self.channels.expect((int(trit) * scale, int(k == last)) for k, trit in enumerate(trits))
        self.channel_times.expect(cycle() + TIMING.lookup + k for k in range(last + 1))
        ends("engine.embed scale", [scale], 0, MAX_EMBED_SCALE)
        lanes = DEVICE.lanes
        self.looked_up.extend(base + number + byte // lanes * embedding.rows
                              for byte in range(-(-embedding.columns // embedding.digits)))
        self._surplus = SURPLUS_READS
        dut.embedding__base.value = base
        dut.embedding__stride.value = embedding.rows
        dut.embedding__token.value = number
        dut.embedding__channels.value = last
        dut.embedding__scale.value = scale
        dut.embedding__short.value = int(embedding.short)
        dut.embedding__start.value = 1
        await RisingEdge(dut.clk)
        dut.embedding__start.value = 0
        while self.channels.pending:
            await FallingEdge(dut.clk)
        await RisingEdge(dut.clk)
        assert not self.looked_up, "words of the look-up are missing"

    async def look_ups(self, longest_rest: int) -> None:
        """Look up rows of random embeddings behind the operations' words, again and again."""
        rng = self.rng
        while True:
            columns, tokens = (
                int(np.clip(rng.integers(-maximum // 4, maximum + maximum // 4), 1, maximum))
                for maximum in (DEVICE.max_columns, DEVICE.max_vocab))
            embedding = random_weights(rng, tokens, columns, bool(rng.integers(2)))
            stored = embedding.words()
            base = int(rng.integers(DEVICE.weight_words - EMBEDDING_WORDS,
                                    DEVICE.weight_words - len(stored), endpoint=True))
            self.memory[base:base + len(stored)] = stored
            for _ in range(int(rng.integers(1, 4))):
                await self.look_up(embedding, int(rng.integers(tokens)),
                                   int(np.clip(2 ** rng.uniform(-2, 13), 0, MAX_EMBED_SCALE)),
                                   base)
                if rng.random() < 0.8:
                    await ClockCycles(self.dut.clk, int(rng.integers(1, longest_rest)))

    @staticmethod
    def _cover(operations: list[EngineOperation]) -> None:
        maximum = NUMBERS.act_max
        for op in operations:
            weights = op.weights
            ends("engine.activation", op.acts, -maximum, maximum)
            ends("engine.sum", (total for total, _ in op.results()),
                 -maximum * DEVICE.max_columns, maximum * DEVICE.max_columns)
            cover("engine.weights", *(f"all {trit:+d}".replace("+0", "0") for trit in (-1, 0, 1)
                                      if (weights.trits == trit).all()))
            cover("engine.words", "short" if weights.short else "long")
            ends("engine.rows", [weights.rows], DEVICE.min_rows, DEVICE.max_rows)
            ends("engine.columns", [weights.columns], 1, DEVICE.max_columns)
            cover("engine.sequence", op.sequence)
            cover("engine.turns", "two at once" if op.replay else "one alone")

    def _store(self, operations: list[EngineOperation]) -> None:
        """Put the weights where they will be read, and expect the reads."""
        begin = end = 0
        for op in operations:
            if not op.replay:
                begin = 0 if op.rewind else end
            stored = op.weights.words()
            end = begin + len(stored)
            assert end <= DEVICE.weight_words - EMBEDDING_WORDS
            self.memory[begin:end] = stored
            rows, blocks = op.weights.rows, op.weights.blocks
            self.words.extend(
                Word(begin + block * rows + row, row == 0, block == blocks - 1,
                     block == blocks - 1 and row == rows - 1)
                for block in range(blocks) for row in range(rows))

    def _order(self, operations: list[EngineOperation], swap: float) -> Iterator[int]:
        """In which order vectors are written: of two sequences, the later may come first."""
        numbers = list(range(len(operations)))
        while numbers:
            pair = numbers[:2]
            del numbers[:2]
            alone = len({operations[number].sequence for number in pair}) == 1
            yield from pair if alone or self.rng.random() >= swap else reversed(pair)

    async def run(self, operations: list[EngineOperation], *, swap: float = 0) -> None:
        """Run operations, whose activations come as early as they may or later.

        ``swap`` is the chance that of two operations the later one's vector is written first.
        """
        dut = self.dut
        self._cover(operations)
        self._store(operations)
        taken = [Event() for _ in operations]
        first_row = [Event() for _ in operations]
        self._first_row.extend(first_row)
        for op in operations:
            self.rows.expect(op.results())

        async def send_ops() -> None:
            for op, event in zip(operations, taken, strict=True):
                await self.ops.send([op.payload()])
                event.set()

        async def send_acts() -> None:
            before: dict[int, int] = {}
            for number in self._order(operations, swap):
                op = operations[number]
                if op.sequence in before:  # the sequence's vector before has filled
                    filled = before[op.sequence]
                    shown = (taken[filled + 1], first_row[filled])[self.rng.integers(2)]
                    await shown.wait()
                    await RisingEdge(dut.clk)
                before[op.sequence] = number
                dut.acts__short.value = int(op.weights.short)
                dut.acts__sequence.value = op.sequence
                last = len(op.acts) - 1
                await self.acts.send(
                    {"value": act, "last": i == last} for i, act in enumerate(op.acts.tolist()))

        senders = [cocotb.start_soon(send_ops()), cocotb.start_soon(send_acts())]
        for sender in senders:
            await sender
        while self.rows.pending:
            await RisingEdge(dut.clk)

    async def finish(self) -> None:
        await ClockCycles(self.dut.clk, 2 * (ENTRIES + SLACK))
        assert not self.words, "words were not read"
        self.rows.finish()
        self.row_times.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(stalled=[False, True])
async def sums_and_embedding(dut: Dut, stalled: bool) -> None:
    """Tokens of one and two sequences, while embedding rows are looked up."""
    rng = generator()
    if stalled:
        bench = Bench(dut, rng, pauses(rng, 0.5, 300), pauses(rng, 0.1), pauses(rng, 0.7, 400))
    else:
        bench = Bench(dut, rng, expect_rests=pauses(rng, 0))
    await bench.start()
    looking_up = cocotb.start_soon(bench.look_ups(400))
    shapes = SHAPES + [
        (int(rng.integers(DEVICE.min_rows, 150)), int(rng.integers(1, DEVICE.max_columns + 1)))
        for _ in range(7)]
    rng.shuffle(shapes)
    for part in np.array_split(np.array(shapes), 3):
        matrices = [random_weights(rng, rows, columns, bool(rng.integers(2)))
                    for rows, columns in part.tolist()]
        await bench.run([op for sequences in (SEQUENCES, [0], [1], SEQUENCES)
                         for op in token(rng, matrices, sequences)], swap=0.5)
    while bench.channels.pending:
        await RisingEdge(dut.clk)
    looking_up.cancel()
    await bench.finish()
    bench.channels.finish()
    bench.channel_times.finish()
    assert bench.interrupted, "no look-up came while rows streamed"
    cover("engine.interrupted", "by a look-up")


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def sums_at_both_ends(dut: Dut) -> None:
    """Rows of one sign times activations at either end make the widest sums that there are."""
    bench = Bench(dut, generator())
    await bench.start()
    signs = np.resize(np.array([-1, 1], np.int8), (DEVICE.min_rows, 1))
    trits = np.repeat(signs, DEVICE.max_columns, axis=1)
    for short in (False, True):
        for act in (-NUMBERS.act_max, NUMBERS.act_max):
            await bench.run(
                [
                    EngineOperation(
                        Weights(trits, short),
                        np.full(DEVICE.max_columns, act),
                        0,
                        replay=False,
                        rewind=True,
                    )
                ]
            )
    await bench.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def cycles_per_operation(dut: Dut) -> None:
    """An operation whose activations are there takes the cycles that its class promises."""
    rng = generator()
    bench = Bench(dut, rng)
    await bench.start()
    for rows, columns in (*SHAPES, (200, 120)):
        for short in (False, True):
            [op] = token(rng, [random_weights(rng, rows, columns, short)], [0])
            begin = cycle()
            await bench.run([op])
            entries = SHORT_ENTRIES if short else ENTRIES
            maximum = columns + entries + op.weights.cycles() + SLACK
            taken = bench.row_at - begin
            assert taken <= maximum, f"{rows} x {columns}: {taken} cycles, at most {maximum}"
    await bench.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def sequences_hide_each_others_filling(dut: Dut) -> None:
    """Between operations of two sequences there is no gap while tables fill fast enough."""
    rng = generator()
    bench = Bench(dut, rng)
    await bench.start()
    rows = DEVICE.max_columns  # enough to write a vector and to fill
    shapes = [OperationShape(rows, columns, DEVICE.packing) for columns in (100, 40, 33, 64)]
    matrices = [random_weights(rng, rows, shape.columns, shape.short) for shape in shapes]
    operations = [
        EngineOperation(
            weights,
            random_acts(rng, weights.columns),
            sequence,
            sequence > 0,
            number + sequence == 0,
        )
        for number, weights in enumerate(matrices)
        for sequence in SEQUENCES
    ]
    begin = cycle()
    await bench.run(operations)
    before = matrices[0].columns + ENTRIES + TIMING.fill
    maximum = before + sum(op.weights.cycles() for op in operations) + SLACK
    assert bench.row_at - begin <= maximum, f"{bench.row_at - begin} cycles, at most {maximum}"
    await bench.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def rows_wait_until_expected(dut: Dut) -> None:
    """All blocks but the last stream before rows are expected, and the last one at once then."""
    rng = generator()
    bench = Bench(dut, rng)
    await bench.start()
    block = DEVICE.packing.block
    for rows, columns in ((150, 3 * block), (DEVICE.min_rows, 2 * block), (20, 7)):
        [op] = token(rng, [random_weights(rng, rows, columns, False)], [1])
        words_read = bench.words_read
        dut.operations__rows_enabled.value = 0
        run = cocotb.start_soon(bench.run([op]))
        await ClockCycles(dut.clk, columns + ENTRIES + op.weights.cycles() + SLACK)
        assert bench.words_read - words_read == (op.weights.blocks - 1) * rows
        dut.operations__rows_enabled.value = 1
        begin = cycle()
        await run
        assert bench.row_at == begin + TIMING.EXPECT + rows - 1 + TIMING.row
    await bench.finish()
