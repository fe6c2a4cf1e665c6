"""Row stream: weight words through the tables and the adder tree into row sums."""

from itertools import pairwise

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arith import add_carry
from ..config import NUMBERS, DeviceConfig
from .tables import INDEX_BITS, SUM_BITS

__all__ = ["ROW", "ROW_LATENCY", "RowStream"]

ROW = data.StructLayout({"sum": signed(NUMBERS.acc_bits), "last": 1})
"""A finished row: its dot product, and whether it is the operation's last."""

ROW_LATENCY = 8
"""Cycles from the address of a row's last weight word to its ``ROW``."""


class RowStream(wiring.Component):
    """Streams the rows of each block, one weight word per cycle, and sums blocks row by row.

    A word's eight bytes look up eight partial sums; a tree adds them; the row's sum so far is read,
    added to and written back, or, in the last block, emitted. The first word of a block waits until
    the block's tables are full; within a block nothing waits. A negative code is the inverted sum
    plus one, and the eight ones enter as the carries of the seven adders of the tree and of the
    accumulator.

    Members
    -------
    restart : In(1)
        Set the weight address to 0.
    ops : In(stream of {blocks, rows})
        Number of blocks - 1 and of rows - 1 of the next operation.
    weight_addr, weight_read, weight_data : Out, Out, In
        Weight memory; data one cycle after the address.
    codes, read_half, read, sums, full, release, release_half
        See ``PartialSumTables``.
    rows : Out(stream of ROW, always ready)
        One row per cycle during an operation's last block, ``ROW_LATENCY`` cycles after its
        address.
    """

    restart: Signal
    ops: stream.Interface
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

    def __init__(self, *, device: DeviceConfig) -> None:
        self._lanes = NUMBERS.bytes_per_word
        self._max_rows = device.max_rows
        self._row_bits = (device.max_rows - 1).bit_length()
        self.op_layout = data.StructLayout({
            "blocks": (NUMBERS.blocks(device.max_columns) - 1).bit_length(),
            "rows": self._row_bits,
        })
        super().__init__({
            "restart": In(1),
            "ops": In(stream.Signature(self.op_layout)),
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
        op = Signal(self.op_layout, reset_less=True)
        blocks_left = Signal.like(op.blocks, reset_less=True)
        row = Signal(self._row_bits)
        first_block = Signal(reset_less=True)
        half = Signal()
        issue = Signal()
        last_row = Signal()
        last_block = Signal()
        m.d.comb += [
            issue.eq(active & self.full.bit_select(half, 1)),
            last_row.eq(row == op.rows),
            last_block.eq(blocks_left == 0),
            self.weight_read.eq(issue),
            self.ops.ready.eq(~active | (issue & last_row & last_block)),
        ]
        with m.If(issue):
            m.d.sync += [row.eq(row + 1), self.weight_addr.eq(self.weight_addr + 1)]
            with m.If(last_row):
                m.d.sync += [
                    row.eq(0),
                    half.eq(~half),
                    blocks_left.eq(blocks_left - 1),
                    first_block.eq(0),
                ]
                with m.If(last_block):
                    m.d.sync += active.eq(0)
        with m.If(self.ops.valid & self.ops.ready):
            m.d.sync += [
                active.eq(1),
                op.eq(self.ops.payload),
                blocks_left.eq(self.ops.payload.blocks),
                first_block.eq(1),
            ]
        with m.If(self.restart):
            m.d.sync += self.weight_addr.eq(0)

        # Stage k of the pipeline holds what was issued k cycles ago.
        tag = data.StructLayout({
            "valid": 1, "row": self._row_bits, "first": 1, "emit": 1, "last": 1, "half": 1,
        })
        tags = [Signal(tag, name=f"row_{k}") for k in range(ROW_LATENCY + 1)]
        m.d.comb += [
            tags[0].valid.eq(issue),
            tags[0].row.eq(row),
            tags[0].first.eq(first_block),
            tags[0].emit.eq(last_block),
            tags[0].last.eq(last_row),
            tags[0].half.eq(half),
        ]
        for before, after in pairwise(tags):
            m.d.sync += after.eq(before)

        # 1: word from memory; 2: code to tables; 3: sums; 4..7: signs, tree, accumulator
        word = Signal(8 * self._lanes, reset_less=True)
        m.d.sync += word.eq(self.weight_data)
        signs = Signal(self._lanes)
        for j in range(self._lanes):
            byte = word.word_select(j, 8)
            m.d.comb += [self.codes[j].eq(byte[:INDEX_BITS]), signs[j].eq(byte[INDEX_BITS])]
        m.d.comb += [
            self.read.eq(tags[2].valid),
            self.read_half.eq(tags[2].half),
            self.release.eq(tags[2].valid & tags[2].last),
            self.release_half.eq(tags[2].half),
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
        total = Signal(signed(NUMBERS.acc_bits), reset_less=True)
        m.d.comb += [so_far.addr.eq(tags[6].row), so_far.en.eq(tags[6].valid)]
        m.d.sync += total.eq(add_carry(
            level[0], Mux(tags[7].first, 0, so_far.data), carries[stage][pending.pop(0)],
            width=NUMBERS.acc_bits))
        m.d.comb += [
            write.addr.eq(tags[8].row),
            write.data.eq(total),
            write.en.eq(tags[8].valid & ~tags[8].emit),
            self.rows.valid.eq(tags[8].valid & tags[8].emit),
            self.rows.payload.sum.eq(total),
            self.rows.payload.last.eq(tags[8].last),
        ]
        return m
