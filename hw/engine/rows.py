"""Row stream: weight words through the tables and the adder tree into row sums."""

from itertools import pairwise

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.interfaces import ROW, operation_layout
from trilight.hw.lib.arith import add_carry

from .tables import INDEX_BITS, READ_STAGE, SUM_BITS

__all__ = ["EXPECT_LATENCY", "ROW_LATENCY", "RowStream"]

EXPECT_LATENCY = 1
"""Cycles from ``rows_enabled`` to the first row that waited for it."""

ROW_LATENCY = 8
"""Cycles from the address of a row's last weight word to its ``ROW``."""


class RowStream(wiring.Component):
    """Streams the rows of each block, one weight word per cycle, and sums blocks row by row.

    A word's eight bytes look up eight partial sums; a tree adds them; the row's sum so far is read,
    added to and written back, or, in the last block, emitted. The first word of a block waits until
    the block's tables are full, and that of the last block until its rows are expected; within a
    block nothing waits but for the embedding's look-ups. A negative code is the inverted sum plus
    one, and the eight ones enter as the carries of the seven adders of the tree and of the
    accumulator.

    Members
    -------
    ops : In(stream of operation_layout)
        The next operation; see ``operation_layout``.
    rows_enabled : In(1)
        Rows of the present operation may be emitted.
    op_ends : Out(1)
        Pulse: the operation's last word is issued.
    taken : In(1)
        The weight memory serves another in this cycle.
    weight_addr, weight_read, weight_data : Out, Out, In
        Weight memory; data ``WeightMemory.LATENCY`` cycles after the address.
    codes, read_half, read, sums, full, release, release_half
        See ``PartialSumTables``.
    rows : Out(stream of ROW, always ready)
        One row per cycle during an operation's last block, ``ROW_LATENCY`` cycles after its
        address.
    """

    ops: stream.Interface
    rows_enabled: Signal
    op_ends: Signal
    taken: Signal
    weight_addr: Signal
    weight_read: Signal
    weight_data: Signal
    codes: data.View
    read_half: Signal
    read: Signal
    sums: data.View
    full: Signal
    release: Signal
    release_half: Signal
    rows: stream.Interface

    def __init__(self, *, device: Device) -> None:
        self._lanes = NUMBERS.bytes_per_word
        self._max_rows = device.max_rows
        self._row_bits = (device.max_rows - 1).bit_length()
        super().__init__({
            "ops": In(stream.Signature(operation_layout(device))),
            "rows_enabled": In(1),
            "op_ends": Out(1),
            "taken": In(1),
            "weight_addr": Out((device.weight_words - 1).bit_length()),
            "weight_read": Out(1),
            "weight_data": In(8 * self._lanes),
            "codes": Out(data.ArrayLayout(unsigned(INDEX_BITS), self._lanes)),
            "read_half": Out(1),
            "read": Out(1),
            "sums": In(data.ArrayLayout(signed(SUM_BITS), self._lanes)),
            "full": In(2),
            "release": Out(1),
            "release_half": Out(1),
            "rows": Out(stream.Signature(ROW, always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Issue: one row of one block per cycle.
        active = Signal()
        rows = Signal(self._row_bits, reset_less=True)
        blocks_left = Signal.like(self.ops.payload.vector.blocks, reset_less=True)
        next_row = Signal(self._row_bits, reset_less=True)
        start_addr = Signal.like(self.weight_addr, reset_less=True)
        opening = Signal(reset_less=True)
        last_block = Signal(reset_less=True)
        last_row = Signal(reset_less=True)
        opened = Signal(reset_less=True)
        half = Signal()
        issue = Signal()
        op = self.ops.payload
        op_ends = last_row & last_block
        m.d.comb += [
            issue.eq(active & self.full.bit_select(half, 1) & opened & ~self.taken),
            self.weight_read.eq(issue),
            self.op_ends.eq(issue & op_ends),
            self.ops.ready.eq(~active | self.op_ends),
        ]
        # The next operation's first word follows the last one's without a pause.
        begin = ~active | op_ends
        next_is_last = Mux(begin, op.vector.blocks == 0,
                           Mux(last_row, blocks_left == 1, last_block))
        # Whether rows of the present block may come, ready for ``issue`` to be short.
        m.d.sync += opened.eq(~Mux(issue | ~active, next_is_last, last_block)
                              | (self.rows_enabled & ~self.op_ends))
        with m.If(issue | ~active):
            m.d.sync += [
                active.eq(~begin | self.ops.valid),
                opening.eq(begin),
                next_row.eq(Mux(~active | last_row, 1, next_row + 1)),
                last_row.eq(~begin & (next_row == rows)),
                last_block.eq(next_is_last),
                blocks_left.eq(Mux(begin, op.vector.blocks, blocks_left - last_row)),
            ]
            with m.If(begin):
                m.d.sync += rows.eq(op.rows)
        with m.If(issue):
            with m.If(last_row):
                m.d.sync += half.eq(~half)
            with m.If(opening):
                m.d.sync += start_addr.eq(self.weight_addr)
        moves = begin & self.ops.valid & (op.replay | op.rewind)
        with m.If(issue | (~active & moves)):
            m.d.sync += self.weight_addr.eq(Mux(
                moves, Mux(op.rewind, 0, start_addr), self.weight_addr + 1))

        # Stage k of the pipeline holds what was issued k cycles ago.
        tag = data.StructLayout({"valid": 1, "emit": 1, "last": 1, "half": 1})
        tags = [Signal(tag, name=f"row_{k}") for k in range(ROW_LATENCY + 1)]
        m.d.comb += [
            tags[0].valid.eq(issue),
            tags[0].emit.eq(last_block),
            tags[0].last.eq(last_row),
            tags[0].half.eq(half),
        ]
        for before, after in pairwise(tags):
            m.d.sync += after.eq(before)

        # 2: word from memory to tables; 3: sums; 4..7: signs, tree, accumulator
        signs = Signal(self._lanes)
        for j in range(self._lanes):
            byte = self.weight_data.word_select(j, 8)
            m.d.comb += [self.codes[j].eq(byte[:INDEX_BITS]), signs[j].eq(byte[INDEX_BITS])]
        m.d.comb += [
            self.read.eq(tags[READ_STAGE].valid),
            self.read_half.eq(tags[READ_STAGE].half),
            self.release.eq(tags[1].valid & tags[1].last),
            self.release_half.eq(tags[1].half),
        ]

        carries = [signs]  # carries[k]: the signs as of k cycles after the codes
        for k in range(1, 6):
            delayed = Signal(self._lanes, name=f"signs_{k}", reset_less=True)
            m.d.sync += delayed.eq(carries[-1])
            carries.append(delayed)

        level = []
        for j in range(self._lanes):
            term = Signal(signed(SUM_BITS), name=f"term_{j}", reset_less=True)
            m.d.sync += term.eq(self.sums[j].as_unsigned() ^ carries[1][j].replicate(SUM_BITS))
            level.append(term)
        # Each adder takes one sign; the one left over goes to the accumulator.
        pending = list(range(self._lanes))
        stage = 2
        while len(level) > 1:
            width = len(level[0]) + 1
            nodes = []
            for k in range(0, len(level), 2):
                node = Signal(signed(width), name=f"tree_{stage}_{k // 2}", reset_less=True)
                m.d.sync += node.eq(add_carry(
                    level[k], level[k + 1], carries[stage][pending.pop(0)], width=width))
                nodes.append(node)
            level = nodes
            stage += 1

        # 6: address of the row's sum so far; 7: add; 8: write back or emit
        m.submodules.sums_memory = memory = Memory(
            shape=signed(NUMBERS.acc_bits), depth=self._max_rows, init=[])
        so_far = memory.read_port()
        write = memory.write_port()

        def row_at(stage: int) -> Signal:
            """Row that is in a stage: counted there, which is smaller than passing it on."""
            row = Signal(self._row_bits, name=f"row_at_{stage}")
            with m.If(tags[stage].valid):
                m.d.sync += row.eq(Mux(tags[stage].last, 0, row + 1))
            return row

        m.d.sync += self.rows.valid.eq(tags[7].valid & tags[7].emit)
        # The first block of an operation follows the last one of another.
        first_block = Signal(init=1)
        with m.If(tags[7].valid & tags[7].last):
            m.d.sync += first_block.eq(tags[7].emit)
        total = Signal(signed(NUMBERS.acc_bits), reset_less=True)
        m.d.comb += [so_far.addr.eq(row_at(6)), so_far.en.eq(tags[6].valid)]
        m.d.sync += total.eq(add_carry(
            level[0], Mux(first_block, 0, so_far.data), carries[stage][pending.pop(0)],
            width=NUMBERS.acc_bits))
        m.d.comb += [
            write.addr.eq(row_at(8)),
            write.data.eq(total),
            write.en.eq(tags[8].valid & ~tags[8].emit),
            self.rows.payload.sum.eq(total),
            self.rows.payload.last.eq(tags[8].last),
        ]
        return m
