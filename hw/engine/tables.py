"""Partial-sum tables: every sum that some activations and as many trits can make, by code."""

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory, ReadPort
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.trits import TritCode
from trilight.hw.interfaces import ACTIVATION, vector_layout
from trilight.hw.lib.arith import add_carry
from trilight.hw.lib.select import numbered

from .adder_tree import sum_bits
from .timing import EngineTiming

__all__ = ["PartialSumTables", "TritRom", "fill_layout", "step_layout"]

def _digit_bits(device: Device) -> int:
    """Width of a trit's place in a code."""
    return (device.trits - 1).bit_length()


def step_layout(device: Device) -> data.StructLayout:
    """Word of the ``TritRom`` for an index: the step that leads there, and its trits."""
    return data.StructLayout({
        "digit": _digit_bits(device),
        "negative": 1,
        "nonzero": device.trits,
        "minus": device.trits,
    })


def fill_layout(device: Device) -> data.StructLayout:
    """A vector to fill tables with; ``kept``: the sequence's last one once more."""
    return data.StructLayout(vector_layout(device).members | {"kept": int(device.tiled)})


class TritRom(wiring.Component):
    """Read-only memory of the Gray path: the step that leads to an entry, and the entry's trits.

    Data follow one cycle after the address.

    Members
    -------
    index : In
    read : In(1)
    step : Out(step_layout)
        ``digit``, ``negative``: the step from entry ``index - 1``. ``nonzero``, ``minus``: the
        trits themselves, one bit each.
    """

    index: Signal
    read: Signal
    step: data.View

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__({
            "index": In(device.packing.code.index_bits),
            "read": In(1),
            "step": Out(step_layout(device)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        code = self._device.packing.code
        steps = ((0, 1), *code.steps)  # nothing leads to entry 0; its step is not used
        init = [
            {
                "digit": digit,
                "negative": direction < 0,
                "nonzero": sum((t != 0) << k for k, t in enumerate(trits)),
                "minus": sum((t < 0) << k for k, t in enumerate(trits)),
            }
            for (digit, direction), trits in zip(steps, code.path, strict=True)
        ]
        m.submodules.memory = memory = Memory(
            shape=self.step.shape(), depth=1 << code.index_bits, init=init)
        port = memory.read_port()
        m.d.comb += [
            port.addr.eq(self.index), port.en.eq(self.read), self.step.eq(port.data)]
        return m


class PartialSumTables(wiring.Component):
    """Activations, and a table of partial sums per lane for each block of their columns.

    Table j of a block maps the index of a code to the sum of its n trits times activations
    nj ... nj + n-1. A table has two halves: one fills, an addition per cycle and lane for each
    entry, while rows stream from the other. For short words a code has fewer trits, so a block has
    fewer columns, and a table fills sooner.

    A block can fill as soon as its last column (or the vector's last) has been written. Vectors
    fill in the order of ``vectors``, block after block. ::

        cycle    0     1     2            3      4      5
                 step  rom   activation   sign   sum    entry

    Members
    -------
    acts : In(stream of ACTIVATION, always ready)
        Vectors, column by column. The caller writes a sequence's next vector only when every block
        of the one before has filled; a device with tiles keeps a vector while the next one is
        written.
    act_short, act_sequence : In
        Of the vector that is being written.
    vectors : In(stream of fill_layout)
        The next vector to fill. Ready when the one before has filled.
    rom_index, rom_read, rom_step : Out, Out, In
        The shared ``TritRom``.
    rom_taken : In(1)
        The rom serves another in this cycle; filling pauses.
    codes : In(array of indices)
        Table indices; sums follow one cycle later.
    read_half : In(1)
    read : In(1)
    sums : Out(array of signed sums)
    full : Out(2)
        Halves that hold a complete block by the time that rows taken now look it up.
    release : In(1)
        The last row of half ``release_half`` has been taken.
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
        self._device = device
        self.fill_layout = fill_layout(device)
        self._index_bits = index_bits = device.packing.code.index_bits
        super().__init__({
            "acts": In(stream.Signature(ACTIVATION, always_ready=True)),
            "act_short": In(1),
            "act_sequence": In(device.sequence_bits),
            "vectors": In(stream.Signature(self.fill_layout)),
            "rom_index": Out(index_bits),
            "rom_read": Out(1),
            "rom_step": In(step_layout(device)),
            "rom_taken": In(1),
            "codes": In(data.ArrayLayout(unsigned(index_bits), device.lanes)),
            "read_half": In(1),
            "read": In(1),
            "sums": Out(data.ArrayLayout(signed(sum_bits(device)), device.lanes)),
            "full": Out(2),
            "release": In(1),
            "release_half": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        device = self._device
        # One row of the activation memory holds the same digit of all lanes: what a step needs.
        place_bits = (_digit_bits(device) + self.fill_layout["blocks"].width
                      + int(device.tiled) + device.sequence_bits)
        m.submodules.act_memory = act_memory = Memory(
            shape=unsigned(NUMBERS.act_bits * device.lanes), depth=1 << place_bits, init=[])
        block_written = self._write(m, act_memory)
        act_read = act_memory.read_port()
        self._fill(m, block_written, act_read)
        return m

    def _write(self, m: Module, act_memory: Memory) -> Signal:
        """Write activations as they come; a pulse with the last one of each block."""
        device = self._device
        lanes = device.lanes
        port = act_memory.write_port(granularity=NUMBERS.act_bits)
        write_block = Signal(self.fill_layout["blocks"].width)
        write_digit = Signal(_digit_bits(device))
        write_lane = Signal(lanes, init=1)
        end_of_lane = write_digit == Mux(
            self.act_short, device.packing.short_trits - 1, device.trits - 1)
        end_of_block = end_of_lane & write_lane[-1]
        act = self.acts.payload
        bank: Value = Const(0, 0)
        if device.tiled:
            banks = numbered(Signal(name=f"write_bank_{k}") for k in range(device.sequences))
            bank = banks[self.act_sequence]
            with m.If(self.acts.valid & act.last):
                m.d.sync += bank.eq(~bank)
        m.d.comb += [
            port.addr.eq(Cat(write_digit, write_block, bank, self.act_sequence)),
            port.data.eq(act.value.as_unsigned().replicate(lanes)),
            port.en.eq(Mux(self.acts.valid, write_lane, 0)),
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
        return block_written

    def _waiting(self, m: Module, block_written: Signal, vector: Signal,
                 fill_started: Signal) -> Signal:
        """Whether blocks wait to be filled, by sequence.

        Which ones is a count, because a sequence's are filled in order.
        """
        sequences = self._device.sequences
        blocks = 1 << self.fill_layout["blocks"].width
        some_wait = Signal(sequences)
        for sequence in range(sequences):
            waiting = Signal(range(blocks + 1), name=f"waiting_{sequence}")
            wrote = Signal(name=f"wrote_{sequence}")
            more = Signal(name=f"more_{sequence}")
            fewer = Signal(name=f"fewer_{sequence}")
            m.d.comb += [
                wrote.eq(block_written & (self.act_sequence == sequence)),
                fewer.eq(fill_started & (vector.sequence == sequence) & ~vector.kept.any()),
            ]
            with m.If(more & ~fewer):
                m.d.sync += waiting.eq(waiting + 1)
            with m.Elif(fewer & ~more):
                m.d.sync += waiting.eq(waiting - 1)
            m.d.sync += [more.eq(wrote), some_wait[sequence].eq(wrote | more | waiting.any())]
        return some_wait

    def _fill(self, m: Module, block_written: Signal, act_read: ReadPort) -> None:
        """Walk the path for one block after the other."""
        device = self._device
        half = Signal()
        vector = Signal(self.fill_layout, reset_less=True)
        fill_start = Signal()
        fill_started = Signal()  # the count may be late: a filling takes longer
        m.d.sync += fill_started.eq(fill_start)
        some_wait = self._waiting(m, block_written, vector, fill_started)
        fill_block = Signal.like(vector.blocks, reset_less=True)
        busy = Signal()
        filling = Signal()
        stepping = Signal()
        step = Signal(self._index_bits)
        may_fill = some_wait.bit_select(vector.sequence, 1) | vector.kept.any()
        m.d.comb += [
            self.vectors.ready.eq(~busy),
            fill_start.eq(busy & ~filling & may_fill & ~self.full.bit_select(half, 1)),
            self.rom_index.eq(step),
            self.rom_read.eq(stepping),
        ]
        bank: Value = Const(0, 0)
        if device.tiled:
            banks = numbered(
                Signal(name=f"fill_bank_{k}", init=1) for k in range(device.sequences))
            bank = banks[vector.sequence]
        with m.If(self.vectors.valid & ~busy):
            m.d.sync += [busy.eq(1), vector.eq(self.vectors.payload), fill_block.eq(0)]
            if device.tiled:
                m.d.sync += banks[self.vectors.payload.sequence].eq(
                    banks[self.vectors.payload.sequence] ^ ~self.vectors.payload.kept)

        advance = Signal()
        last_step = Signal()
        m.d.comb += [
            advance.eq(stepping & ~self.rom_taken),
            last_step.eq(step == Mux(vector.short, TritCode(device.packing.short_trits).entries - 1,
                                     device.packing.code.entries - 1)),
        ]
        with m.If(fill_start):
            m.d.sync += [filling.eq(1), stepping.eq(1)]
        with m.If(advance):
            m.d.sync += step.eq(step + 1)
            with m.If(last_step):
                m.d.sync += [step.eq(0), stepping.eq(0)]

        stages = EngineTiming.FILL_STAGES
        stage = data.StructLayout({"valid": 1, "first": 1, "last": 1})
        pipe = [Signal(stage, name=f"fill_{k}") for k in range(stages + 1)]
        m.d.comb += [
            pipe[0].valid.eq(advance),
            pipe[0].first.eq(step == 0),
            pipe[0].last.eq(advance & last_step),
        ]
        for before, after in pairwise(pipe):
            m.d.sync += after.eq(before)
        m.d.comb += act_read.en.eq(pipe[1].valid)
        m.d.comb += act_read.addr.eq(
            Cat(self.rom_step.digit, fill_block, bank, vector.sequence))

        entry = Signal(self._index_bits)
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
        # A word is looked up some cycles after it was taken: the last sums may come late.
        with m.If(pipe[stages - device.read_latency].last):
            m.d.sync += self.full.bit_select(half, 1).eq(1)
        with m.If(self.release):
            m.d.sync += self.full.bit_select(self.release_half, 1).eq(0)
        self._sum(m, pipe, act_read.data, Cat(entry, half))

    def _sum(self, m: Module, pipe: list[Signal], acts: Value, place: Value) -> None:
        """Add or take away an activation in each step, and write what that makes to the table."""
        device = self._device
        negative = Signal(2, reset_less=True)
        m.d.sync += negative.eq(Cat(self.rom_step.negative, negative[0]))
        width = sum_bits(device)
        # Tables of three trits are small enough for the memory that look-up tables make.
        attributes = {"ram_style": "distributed"} if device.trits == 3 else {}
        for j in range(device.lanes):
            value = Signal(signed(NUMBERS.act_bits), name=f"value_{j}", reset_less=True)
            total = Signal(signed(width), name=f"total_{j}", reset_less=True)
            flipped = acts.word_select(j, NUMBERS.act_bits) \
                ^ negative[0].replicate(NUMBERS.act_bits)
            m.d.sync += value.eq(flipped)
            with m.If(pipe[3].valid):
                m.d.sync += total.eq(add_carry(total, value, negative[1], width=width))
                with m.If(pipe[3].first):
                    m.d.sync += total.eq(0)
            table = Memory(shape=signed(width), depth=2 << self._index_bits, init=[],
                           attrs=attributes)
            m.submodules[f"table_{j}"] = table
            write = table.write_port()
            read = table.read_port()
            m.d.comb += [
                write.addr.eq(place),
                write.data.eq(total),
                write.en.eq(pipe[-1].valid),
                read.addr.eq(Cat(self.codes[j], self.read_half)),
                read.en.eq(self.read),
                self.sums[j].eq(read.data),
            ]
