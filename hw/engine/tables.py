"""Partial-sum tables: every sum that five activations and five trits can make, by weight byte."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.trits import TritCode
from trilight.hw.interfaces import ACTIVATION, vector_layout
from trilight.hw.lib.arith import add_carry
from trilight.hw.memory.spram import WeightMemory

__all__ = ["ENTRIES", "FILL_LATENCY", "READ_STAGE", "SHORT_ENTRIES", "SUM_BITS",
           "PartialSumTables", "TritRom"]

CODE = TritCode(NUMBERS.trits_per_byte)

ENTRIES = CODE.entries
"""Sums in a table, and the cycles it takes to fill one; the other half of the 243 is negations."""

SHORT_ENTRIES = (3**NUMBERS.short_trits + 1) // 2
"""Those without the last trit, which come first on the path."""

FILL_LATENCY = 4
"""Cycles from a block's last activation to its first row, besides one for each entry."""

READ_STAGE = WeightMemory.LATENCY
"""Cycles from the address of a weight word to the look-up of its bytes."""

SUM_BITS = (NUMBERS.trits_per_byte * NUMBERS.act_max).bit_length() + 1
"""Bits of a signed partial sum, at most 5 * 127 in magnitude."""

DIGIT_BITS = 3
INDEX_BITS = 7
STEP = data.StructLayout({
    "digit": DIGIT_BITS,
    "negative": 1,
    "nonzero": NUMBERS.trits_per_byte,
    "minus": NUMBERS.trits_per_byte,
})


class TritRom(wiring.Component):
    """Read-only memory of the Gray path: the step that leads to an entry, and the entry's trits.

    Data follow one cycle after the address.

    Members
    -------
    index : In(7)
    read : In(1)
    step : Out(STEP)
        ``digit``, ``negative``: the step from entry ``index - 1``. ``nonzero``, ``minus``: the
        trits themselves, one bit each.
    """

    index: Signal
    read: Signal
    step: data.View

    def __init__(self) -> None:
        super().__init__({"index": In(INDEX_BITS), "read": In(1), "step": Out(STEP)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        steps = ((0, 1), *CODE.steps)  # nothing leads to entry 0; its step is not used
        init = [
            {
                "digit": digit,
                "negative": direction < 0,
                "nonzero": sum((t != 0) << k for k, t in enumerate(trits)),
                "minus": sum((t < 0) << k for k, t in enumerate(trits)),
            }
            for (digit, direction), trits in zip(steps, CODE.path, strict=True)
        ]
        m.submodules.memory = memory = Memory(shape=STEP, depth=1 << INDEX_BITS, init=init)
        port = memory.read_port()
        m.d.comb += [
            port.addr.eq(self.index), port.en.eq(self.read), self.step.eq(port.data)]
        return m


class PartialSumTables(wiring.Component):
    """Holds activations and turns each block of 40 columns into eight tables of partial sums.

    Table j of a block maps the index of a weight byte to the sum of its five trits times
    activations 5j ... 5j+4. A table has two halves: one fills, an addition per cycle and lane in
    ``ENTRIES`` cycles, while rows stream from the other. For short words a byte has four trits, a
    block 32 columns, and a table fills in ``SHORT_ENTRIES`` cycles.

    A block can fill as soon as its last column (or the vector's last) has been written. Vectors
    fill in the order of ``vectors``, block after block.

    Members
    -------
    acts : In(stream of ACTIVATION, always ready)
        Vectors, column by column. The caller writes a sequence's next vector only when every block
        of the one before has filled.
    act_short, act_sequence : In
        Of the vector that is being written.
    vectors : In(stream of {blocks, short, sequence})
        The next vector to fill. Ready when the one before has filled.
    rom_index, rom_read, rom_step : Out, Out, In
        The shared ``TritRom``.
    rom_taken : In(1)
        The rom serves another in this cycle; filling pauses.
    codes : In(array of 8 indices)
        Table indices; sums follow one cycle later.
    read_half : In(1)
    read : In(1)
    sums : Out(array of 8 signed sums)
    full : Out(2)
        Halves that hold a complete block by the time that rows issued now look it up.
    release : In(1)
        The last row of half ``release_half`` has been issued.
    release_half : In(1)
    """

    acts: stream.Interface
    act_short: Signal
    act_sequence: Signal
    vectors: stream.Interface
    rom_index: Signal
    rom_read: Signal
    rom_step: data.View
    rom_taken: Signal
    codes: data.View
    read_half: Signal
    read: Signal
    sums: data.View
    full: Signal
    release: Signal
    release_half: Signal

    def __init__(self, *, device: Device) -> None:
        self._lanes = NUMBERS.bytes_per_word
        self.vector_layout = vector_layout(device)
        self._max_blocks = 1 << self.vector_layout["blocks"].width
        self._sequences = device.sequences
        super().__init__({
            "acts": In(stream.Signature(ACTIVATION, always_ready=True)),
            "act_short": In(1),
            "act_sequence": In(self.vector_layout["sequence"].width),
            "vectors": In(stream.Signature(self.vector_layout)),
            "rom_index": Out(INDEX_BITS),
            "rom_read": Out(1),
            "rom_step": In(STEP),
            "rom_taken": In(1),
            "codes": In(data.ArrayLayout(unsigned(INDEX_BITS), self._lanes)),
            "read_half": In(1),
            "read": In(1),
            "sums": Out(data.ArrayLayout(signed(SUM_BITS), self._lanes)),
            "full": Out(2),
            "release": In(1),
            "release_half": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._lanes

        # One row of the activation memory holds the same digit of all lanes: what a step needs.
        block_bits = self.vector_layout["blocks"].width
        m.submodules.act_memory = act_memory = Memory(
            shape=unsigned(NUMBERS.act_bits * lanes),
            depth=self._sequences * self._max_blocks << DIGIT_BITS, init=[])
        act_write = act_memory.write_port(granularity=NUMBERS.act_bits)
        act_read = act_memory.read_port()

        write_block = Signal(block_bits)
        write_digit = Signal(DIGIT_BITS)
        write_lane = Signal(lanes, init=1)
        end_of_lane = write_digit == Mux(
            self.act_short, NUMBERS.short_trits - 1, NUMBERS.trits_per_byte - 1)
        end_of_block = end_of_lane & write_lane[-1]
        act = self.acts.payload
        m.d.comb += [
            act_write.addr.eq(Cat(write_digit, write_block, self.act_sequence)),
            act_write.data.eq(act.value.as_unsigned().replicate(lanes)),
            act_write.en.eq(Mux(self.acts.valid, write_lane, 0)),
        ]
        block_written = Signal()
        m.d.comb += block_written.eq(self.acts.valid & (end_of_block | act.last))
        with m.If(self.acts.valid):
            m.d.sync += write_digit.eq(Mux(end_of_lane | act.last, 0, write_digit + 1))
            with m.If(end_of_lane):
                m.d.sync += write_lane.eq(write_lane.rotate_left(1))
            with m.If(end_of_block):
                m.d.sync += write_block.eq(write_block + 1)
            with m.If(act.last):
                m.d.sync += [write_lane.eq(1), write_block.eq(0)]

        # Which blocks wait to be filled is a count, because a sequence's are filled in order.
        half = Signal()
        vector = Signal(self.vector_layout, reset_less=True)
        fill_start = Signal()
        fill_started = Signal()  # the count may be late: a filling takes longer
        m.d.sync += fill_started.eq(fill_start)
        some_wait = Signal(self._sequences)
        for sequence in range(self._sequences):
            waiting = Signal(range(self._max_blocks + 1), name=f"waiting_{sequence}")
            wrote = Signal(name=f"wrote_{sequence}")
            more = Signal(name=f"more_{sequence}")
            fewer = Signal(name=f"fewer_{sequence}")
            m.d.comb += [
                wrote.eq(block_written & (self.act_sequence == sequence)),
                fewer.eq(fill_started & (vector.sequence == sequence)),
            ]
            with m.If(more & ~fewer):
                m.d.sync += waiting.eq(waiting + 1)
            with m.Elif(fewer & ~more):
                m.d.sync += waiting.eq(waiting - 1)
            m.d.sync += [more.eq(wrote), some_wait[sequence].eq(wrote | more | waiting.any())]
        fill_block = Signal(block_bits, reset_less=True)
        busy = Signal()
        filling = Signal()
        stepping = Signal()
        step = Signal(INDEX_BITS)
        m.d.comb += [
            self.vectors.ready.eq(~busy),
            fill_start.eq(busy & ~filling & some_wait.bit_select(vector.sequence, 1)
                          & ~self.full.bit_select(half, 1)),
            self.rom_index.eq(step),
            self.rom_read.eq(stepping),
        ]
        with m.If(self.vectors.valid & ~busy):
            m.d.sync += [busy.eq(1), vector.eq(self.vectors.payload), fill_block.eq(0)]

        advance = Signal()
        last_step = Signal()
        m.d.comb += [
            advance.eq(stepping & ~self.rom_taken),
            last_step.eq(step == Mux(vector.short, SHORT_ENTRIES - 1, ENTRIES - 1)),
        ]
        with m.If(fill_start):
            m.d.sync += [filling.eq(1), stepping.eq(1)]
        with m.If(advance):
            m.d.sync += step.eq(step + 1)
            with m.If(last_step):
                m.d.sync += [step.eq(0), stepping.eq(0)]

        # step -> rom -> activation -> sign -> running sum -> table, one stage a cycle
        DEPTH = 4
        stage = data.StructLayout({"valid": 1, "first": 1, "last": 1})
        pipe = [Signal(stage, name=f"fill_{k}") for k in range(DEPTH + 1)]
        m.d.comb += [
            pipe[0].valid.eq(advance),
            pipe[0].first.eq(step == 0),
            pipe[0].last.eq(advance & last_step),
        ]
        for before, after in pairwise(pipe):
            m.d.sync += after.eq(before)
        m.d.comb += act_read.en.eq(pipe[1].valid)
        m.d.comb += act_read.addr.eq(Cat(self.rom_step.digit, fill_block, vector.sequence))
        negative = Signal(2, reset_less=True)
        m.d.sync += negative.eq(Cat(self.rom_step.negative, negative[0]))

        entry = Signal(INDEX_BITS)
        with m.If(pipe[-1].valid):
            m.d.sync += entry.eq(entry + 1)
        with m.If(pipe[-1].last):
            m.d.sync += [
                entry.eq(0),
                filling.eq(0),
                half.eq(~half),
                fill_block.eq(fill_block + 1),
            ]
            with m.If(fill_block == vector.blocks):
                m.d.sync += busy.eq(0)
        # The first row looks up READ_STAGE cycles after it was issued: the last sums may come late.
        with m.If(pipe[DEPTH - READ_STAGE].last):
            m.d.sync += self.full.bit_select(half, 1).eq(1)
        with m.If(self.release):
            m.d.sync += self.full.bit_select(self.release_half, 1).eq(0)

        for j in range(lanes):
            value = Signal(signed(NUMBERS.act_bits), name=f"value_{j}", reset_less=True)
            total = Signal(signed(SUM_BITS), name=f"total_{j}", reset_less=True)
            flipped = act_read.data.word_select(j, NUMBERS.act_bits) \
                ^ negative[0].replicate(NUMBERS.act_bits)
            m.d.sync += value.eq(flipped)
            with m.If(pipe[3].valid):
                m.d.sync += total.eq(add_carry(total, value, negative[1], width=SUM_BITS))
                with m.If(pipe[3].first):
                    m.d.sync += total.eq(0)
            table = Memory(shape=signed(SUM_BITS), depth=2 << INDEX_BITS, init=[])
            m.submodules[f"table_{j}"] = table
            write = table.write_port()
            read = table.read_port()
            m.d.comb += [
                write.addr.eq(Cat(entry, half)),
                write.data.eq(total),
                write.en.eq(pipe[-1].valid),
                read.addr.eq(Cat(self.codes[j], self.read_half)),
                read.en.eq(self.read),
                self.sums[j].eq(read.data),
            ]
        return m
