"""Row stream: weight words through the tables and the adder tree into row sums."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.interfaces import WeightStreamSignature, row_layout
from trilight.hw.lib.arith import add_carry

from .adder_tree import AdderTree, sum_bits
from .tables import fill_layout

__all__ = ["RowStream", "pass_layout"]


def pass_layout(device: Device) -> data.StructLayout:
    """A pass over the rows of an operation, or of a tile of it.

    ``rows`` is their number - 1. Weight words follow those of the operation before, or (``replay``)
    are its very words, or (``rewind``) begin at 0. ``keeps``: they will be asked for once more, of
    a device whose weights stream from outside. ``more``: passes of the same operation follow,
    so that its last row is not among these.
    """
    return data.StructLayout({
        "vector": fill_layout(device),
        "rows": (device.row_sums - 1).bit_length(),
        "replay": 1,
        "rewind": 1,
        **({"keeps": 1} if device.streamed else {}),
        "more": int(device.tiled),
    })


class RowStream(wiring.Component):
    """Stream of the rows of each block, one weight word per cycle, and sums of blocks row by row.

    A word's codes look up a partial sum each; a tree adds them; the row's sum so far is read, added
    to and written back, or, in the last block, emitted. The first word of a block waits until the
    block's tables are full, and that of the last block until its rows are enabled; within a block
    nothing waits but for the weight words themselves.

    ::

        cycle    0      L         L+1    L+2     L+2+D        L+3+D
                 word   codes     sums   terms   tree's sum   row sum, to memory or out
                 taken  looked up                sum so far

    L is the latency of a weight word, D the depth of the tree.

    Members
    -------
    passes : In(stream of pass_layout)
        The next pass.
    rows_enabled : In(1)
        Rows of the present operation may be emitted.
    op_ends : Out(1)
        Pulse: the operation's last word is taken.
    words : In(WeightStreamSignature)
    codes, read_half, read, sums, full, release, release_half
        See ``PartialSumTables``.
    rows : Out(stream of row_layout, always ready)
        One row per cycle during an operation's last block, ``Device.row_latency`` cycles after its
        word.
    """

    passes: stream.Interface
    rows_enabled: Signal
    op_ends: Signal
    words: wiring.PureInterface
    codes: data.View
    read_half: Signal
    read: Signal
    sums: data.View
    full: Signal
    release: Signal
    release_half: Signal
    rows: stream.Interface

    def __init__(self, *, device: Device) -> None:
        self._device = device
        index_bits = device.packing.code.index_bits
        super().__init__({
            "passes": In(stream.Signature(pass_layout(device))),
            "rows_enabled": In(1),
            "op_ends": Out(1),
            "words": In(WeightStreamSignature(device)),
            "codes": Out(data.ArrayLayout(unsigned(index_bits), device.lanes)),
            "read_half": Out(1),
            "read": Out(1),
            "sums": In(data.ArrayLayout(signed(sum_bits(device)), device.lanes)),
            "full": In(2),
            "release": Out(1),
            "release_half": Out(1),
            "rows": Out(stream.Signature(row_layout(device), always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tags = self._issue(m)
        self._look_up(m, tags)
        m.submodules.tree = tree = AdderTree(device=self._device)
        # The sums are there a cycle after the codes.
        signs = Signal.like(tree.signs, reset_less=True)
        m.d.sync += signs.eq(self._signs())
        m.d.comb += [tree.sums.eq(self.sums), tree.signs.eq(signs)]
        self._accumulate(m, tags, tree)
        return m

    def _issue(self, m: Module) -> list[Signal]:
        """Take a word per cycle; the tags of rows, k cycles after their words were taken."""
        words = self.words
        active = Signal()
        rows = Signal.like(self.passes.payload.rows, reset_less=True)
        blocks_left = Signal.like(self.passes.payload.vector.blocks, reset_less=True)
        next_row = Signal.like(rows, reset_less=True)
        opening = Signal(reset_less=True)
        last_block = Signal(reset_less=True)
        last_row = Signal(reset_less=True)
        opened = Signal(reset_less=True)
        more = Signal.like(self.passes.payload.more, reset_less=True)
        kept = Signal.like(self.passes.payload.vector.kept, reset_less=True)
        half = Signal()
        issue = Signal()
        following = self.passes.payload
        ends = last_row & last_block
        m.d.comb += [
            words.ready.eq(active & self.full.bit_select(half, 1) & opened),
            issue.eq(words.ready & words.valid),
            self.op_ends.eq(issue & ends & ~more.any()),
            self.passes.ready.eq(~active | (issue & ends)),
        ]
        # The next pass' first word follows the last one's without a pause.
        begin = ~active | ends
        next_is_last = Mux(begin, following.vector.blocks == 0,
                           Mux(last_row, blocks_left == 1, last_block))
        # Whether rows of the present block may come, ready for ``issue`` to be short.
        m.d.sync += opened.eq(~Mux(issue | ~active, next_is_last, last_block)
                              | (self.rows_enabled & ~self.op_ends))
        with m.If(issue | ~active):
            m.d.sync += [
                active.eq(~begin | self.passes.valid),
                opening.eq(begin),
                next_row.eq(Mux(~active | last_row, 1, next_row + 1)),
                last_row.eq(~begin & (next_row == rows)),
                last_block.eq(next_is_last),
                blocks_left.eq(Mux(begin, following.vector.blocks, blocks_left - last_row)),
            ]
            with m.If(begin):
                m.d.sync += [rows.eq(following.rows), more.eq(following.more),
                             kept.eq(following.vector.kept)]
            if self._device.streamed:
                with m.If(begin):
                    m.d.sync += words.keeps.eq(following.keeps)
        with m.If(issue & last_row):
            m.d.sync += half.eq(~half)
        m.d.comb += [
            words.opens.eq(opening & ~kept.any()),
            words.jumps.eq(begin & self.passes.valid & (following.replay | following.rewind)),
            words.rewinds.eq(following.rewind),
            words.rests.eq(~active),
        ]

        tag = data.StructLayout({"valid": 1, "emit": 1, "last": 1, "half": 1, "more": len(more)})
        tags = [Signal(tag, name=f"row_{k}") for k in range(self._device.row_latency + 1)]
        m.d.comb += [
            tags[0].valid.eq(issue),
            tags[0].emit.eq(last_block),
            tags[0].last.eq(last_row),
            tags[0].half.eq(half),
            tags[0].more.eq(more),
        ]
        for before, after in pairwise(tags):
            m.d.sync += after.eq(before)
        return tags

    def _signs(self) -> Value:
        code = self._device.packing.code
        return Cat(self.words.payload.word_select(j, code.bits)[code.index_bits]
                   for j in range(self._device.lanes))

    def _look_up(self, m: Module, tags: list[Signal]) -> None:
        """Look the codes of a word up, and give a half back after its last one."""
        code = self._device.packing.code
        read = tags[self._device.read_latency]
        for j in range(self._device.lanes):
            lane = self.words.payload.word_select(j, code.bits)
            m.d.comb += self.codes[j].eq(lane[:code.index_bits])
        m.d.comb += [
            self.read.eq(read.valid),
            self.read_half.eq(read.half),
            self.release.eq(tags[1].valid & tags[1].last),
            self.release_half.eq(tags[1].half),
        ]

    def _accumulate(self, m: Module, tags: list[Signal], tree: AdderTree) -> None:
        """Add what the tree gives to the row's sum so far; write it back or emit it."""
        device = self._device
        done = device.row_latency
        m.submodules.sums_memory = memory = Memory(
            shape=signed(device.acc_bits), depth=device.row_sums, init=[])
        so_far = memory.read_port()
        write = memory.write_port()

        def row_at(stage: int) -> Signal:
            """Row that is in a stage: counted there, which is smaller than passing it on."""
            row = Signal.like(so_far.addr, name=f"row_at_{stage}")
            with m.If(tags[stage].valid):
                m.d.sync += row.eq(Mux(tags[stage].last, 0, row + 1))
            return row

        adding = tags[done - 1]
        m.d.sync += self.rows.valid.eq(adding.valid & adding.emit)
        # Where block RAM answers too late for an adder, its answer waits in a register for a cycle.
        found = done - 2 if device.late_block_ram else done - 1
        # The first block of a pass follows the last one of another.
        first_block = Signal(init=1)
        with m.If(tags[found].valid & tags[found].last):
            m.d.sync += first_block.eq(tags[found].emit)
        total = Signal(signed(device.acc_bits), reset_less=True)
        m.d.comb += [so_far.addr.eq(row_at(found - 1)), so_far.en.eq(tags[found - 1].valid)]
        before: Value = Mux(first_block, 0, so_far.data)
        if found < done - 1:
            waiting = Signal.like(total, name="sum_so_far")
            m.d.sync += waiting.eq(before)
            before = waiting
        m.d.sync += total.eq(add_carry(tree.sum, before, tree.carry, width=device.acc_bits))
        m.d.comb += [
            write.addr.eq(row_at(done)),
            write.data.eq(total),
            write.en.eq(tags[done].valid & ~tags[done].emit),
            self.rows.payload.sum.eq(total),
            self.rows.payload.last.eq(tags[done].last & ~tags[done].more.any()),
        ]
