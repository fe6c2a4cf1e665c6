"""Partial-sum tables: every sum that five activations and five trits can make, by weight byte."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import NUMBERS, DeviceConfig
from ..ternary import PATH, STEPS

__all__ = ["ACT", "ENTRIES", "SUM_BITS", "PartialSumTables", "TritRom"]

ENTRIES = len(PATH)
"""Sums in a table, and the cycles it takes to fill one; the other half of the 243 is negations."""

SUM_BITS = (NUMBERS.trits_per_byte * NUMBERS.act_max).bit_length() + 1
"""Bits of a signed partial sum, at most 5 * 127 in magnitude."""

ACT = data.StructLayout({"value": signed(NUMBERS.act_bits), "last": 1})
"""One column's activation, columns in order; ``last`` marks the end of the vector."""

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
    step : Out(STEP)
        ``digit``, ``negative``: the step from entry ``index - 1``. ``nonzero``, ``minus``: the
        trits themselves, one bit each.
    """

    index: Signal
    step: data.View

    def __init__(self) -> None:
        super().__init__({"index": In(INDEX_BITS), "step": Out(STEP)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        steps = ((0, 1), *STEPS)  # nothing leads to entry 0; its step is not used
        init = [
            {
                "digit": digit,
                "negative": direction < 0,
                "nonzero": sum((t != 0) << k for k, t in enumerate(trits)),
                "minus": sum((t < 0) << k for k, t in enumerate(trits)),
            }
            for (digit, direction), trits in zip(steps, PATH, strict=True)
        ]
        m.submodules.memory = memory = Memory(shape=STEP, depth=1 << INDEX_BITS, init=init)
        port = memory.read_port()
        m.d.comb += [port.addr.eq(self.index), self.step.eq(port.data)]
        return m


class PartialSumTables(wiring.Component):
    """Holds activations and turns each block of 40 columns into eight tables of partial sums.

    Table j of a block maps the index of a weight byte to the sum of its five trits times
    activations 5j ... 5j+4. A table has two halves: one fills, an addition per cycle and lane in
    ``ENTRIES`` cycles, while rows stream from the other.

    A block can fill as soon as its last column (or the vector's last) has been written; blocks
    fill in order. ``block_filled`` and ``block_released`` hand halves back and forth.

    Members
    -------
    acts : In(stream of ACT, always ready)
        Vectors, column by column. The caller writes the next vector only when every block of the
        one before has filled.
    restart : In(1)
        Forget all vectors written but not filled.
    blocks : In(stream of 4 bits)
        Number of blocks - 1 of the next vector to fill. Ready when the vector before has filled.
    rom_index, rom_step : Out, In
        The shared ``TritRom``; driven while ``filling``.
    filling : Out(1)
    codes : In(array of 8 indices)
        Table indices; sums follow one cycle later.
    read_half : In(1)
    read : In(1)
    sums : Out(array of 8 signed sums)
    full : Out(2)
        Halves that hold a complete block.
    release : In(1)
        The rows have done with half ``release_half``.
    release_half : In(1)
    """

    acts: stream.Interface
    restart: Signal
    blocks: stream.Interface
    rom_index: Signal
    rom_step: data.View
    filling: Signal
    codes: data.View
    read_half: Signal
    read: Signal
    sums: data.View
    full: Signal
    release: Signal
    release_half: Signal

    def __init__(self, *, device: DeviceConfig) -> None:
        self._lanes = NUMBERS.bytes_per_word
        self._block_bits = (NUMBERS.blocks(device.max_columns) - 1).bit_length()
        super().__init__({
            "acts": In(stream.Signature(ACT, always_ready=True)),
            "restart": In(1),
            "blocks": In(stream.Signature(unsigned(self._block_bits))),
            "rom_index": Out(INDEX_BITS),
            "rom_step": In(STEP),
            "filling": Out(1),
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
        digits = NUMBERS.trits_per_byte

        # One row of the activation memory holds the same digit of all lanes: what a step needs.
        m.submodules.act_memory = act_memory = Memory(
            shape=unsigned(NUMBERS.act_bits * lanes),
            depth=1 << (self._block_bits + DIGIT_BITS), init=[])
        act_write = act_memory.write_port(granularity=NUMBERS.act_bits)
        act_read = act_memory.read_port()

        write_block = Signal(self._block_bits)
        write_digit = Signal(DIGIT_BITS)
        write_lane = Signal(lanes, init=1)
        end_of_lane = write_digit == digits - 1
        end_of_block = end_of_lane & write_lane[-1]
        act = self.acts.payload
        m.d.comb += [
            act_write.addr.eq(Cat(write_digit, write_block)),
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

        # Which blocks wait to be filled is a count, because they are written and filled in order.
        waiting = Signal(self._block_bits + 1)
        half = Signal()
        step = Signal(range(ENTRIES))
        fill_block = Signal(self._block_bits)
        blocks_left = Signal(self._block_bits)
        busy = Signal()
        fill_start = Signal()
        m.d.comb += [
            self.blocks.ready.eq(~busy),
            fill_start.eq(busy & ~self.filling & waiting.any() & ~self.full.bit_select(half, 1)),
            self.rom_index.eq(step),
        ]
        m.d.sync += waiting.eq(waiting + block_written - fill_start)
        with m.If(self.restart):
            m.d.sync += waiting.eq(0)
        with m.If(self.blocks.valid & ~busy):
            m.d.sync += [busy.eq(1), blocks_left.eq(self.blocks.payload), fill_block.eq(0)]

        filling = Signal()
        stepping = Signal()
        m.d.comb += self.filling.eq(filling)
        with m.If(fill_start):
            m.d.sync += [filling.eq(1), stepping.eq(1)]
        with m.If(stepping):
            m.d.sync += step.eq(step + 1)
            with m.If(step == ENTRIES - 1):
                m.d.sync += [step.eq(0), stepping.eq(0)]

        # step -> rom -> activation -> sign -> running sum -> table, one stage a cycle
        DEPTH = 4
        stage = data.StructLayout({"valid": 1, "index": INDEX_BITS})
        pipe = [Signal(stage, name=f"fill_{k}") for k in range(DEPTH + 1)]
        m.d.comb += [pipe[0].valid.eq(stepping), pipe[0].index.eq(step)]
        for before, after in pairwise(pipe):
            m.d.sync += after.eq(before)
        m.d.comb += act_read.addr.eq(Cat(self.rom_step.digit, fill_block))
        negative = Signal(2, reset_less=True)
        m.d.sync += negative.eq(Cat(self.rom_step.negative, negative[0]))

        write_done = Signal()
        m.d.comb += write_done.eq(pipe[-1].valid & (pipe[-1].index == ENTRIES - 1))
        with m.If(write_done):
            m.d.sync += [
                filling.eq(0),
                self.full.bit_select(half, 1).eq(1),
                half.eq(~half),
                fill_block.eq(fill_block + 1),
                blocks_left.eq(blocks_left - 1),
            ]
            with m.If(blocks_left == 0):
                m.d.sync += busy.eq(0)
        with m.If(self.release):
            m.d.sync += self.full.bit_select(self.release_half, 1).eq(0)

        for j in range(lanes):
            value = Signal(signed(NUMBERS.act_bits), name=f"value_{j}", reset_less=True)
            total = Signal(signed(SUM_BITS), name=f"total_{j}", reset_less=True)
            flipped = act_read.data.word_select(j, NUMBERS.act_bits) \
                ^ negative[0].replicate(NUMBERS.act_bits)
            m.d.sync += value.eq(flipped)
            with m.If(pipe[3].index == 0):
                m.d.sync += total.eq(0)
            with m.Else():
                m.d.sync += total.eq(total + value + negative[1])
            table = Memory(shape=signed(SUM_BITS), depth=2 << INDEX_BITS, init=[])
            m.submodules[f"table_{j}"] = table
            write = table.write_port()
            read = table.read_port()
            m.d.comb += [
                write.addr.eq(Cat(pipe[-1].index, half)),
                write.data.eq(total),
                write.en.eq(pipe[-1].valid),
                read.addr.eq(Cat(self.codes[j], self.read_half)),
                read.en.eq(self.read),
                self.sums[j].eq(read.data),
            ]
        return m
