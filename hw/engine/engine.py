"""The ternary engine: matrix-vector products by look-up and addition, no multiplier anywhere."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from trilight.hw.contract.device import Device

from .embedding import CHANNEL, EmbeddingLookup
from .rows import ROW, RowStream, op_layout
from .tables import ACT, PartialSumTables, TritRom

__all__ = ["Engine"]


class Engine(wiring.Component):
    """Matrix-vector products with ternary matrices, and rows of the embedding.

    Operations are taken in order. Each consumes one vector of activations and a run of weight
    words, block after block of columns and all rows of a block in order, and emits a row sum per
    cycle during its last block. With all activations present an operation of b blocks and r rows
    takes ``b * max(r, entries + FILL_LATENCY + 1)`` cycles or a few more, the first table hidden
    behind the operation before where its activations came early enough.

    Members
    -------
    ops : In(stream of op_layout)
        An operation is taken when the tables of the one before have filled, so that its own can
        fill while that one's last rows stream.
    expected, op_ends
        See ``RowStream``.
    acts : In(stream of ACT, always ready)
    act_short, act_sequence : In
        See ``PartialSumTables``.
    rows : Out(stream of ROW, always ready)
    embed_start, embed_base, embed_stride, embed_token, embed_count, embed_scale, embed_short : In
        See ``EmbeddingLookup``, whose reads go before those of rows and fillings.
    channels : Out(stream of CHANNEL, always ready)
    weight_addr, weight_read, weight_data : Out, Out, In
        Weight memory; data ``WeightMemory.LATENCY`` cycles after the address.
    word_used : Out(1)
        A weight word of an operation is read in this cycle.
    """

    ops: stream.Interface
    expected: Signal
    op_ends: Signal
    acts: stream.Interface
    act_short: Signal
    act_sequence: Signal
    rows: stream.Interface
    embed_start: Signal
    embed_base: Signal
    embed_stride: Signal
    embed_token: Signal
    embed_count: Signal
    embed_scale: Signal
    embed_short: Signal
    channels: stream.Interface
    weight_addr: Signal
    weight_read: Signal
    weight_data: Signal
    word_used: Signal

    def __init__(self, *, device: Device) -> None:
        self._tables = PartialSumTables(device=device)
        self._rows = RowStream(device=device)
        self._embedding = EmbeddingLookup(device=device)
        lookup = self._embedding
        super().__init__({
            "ops": In(stream.Signature(op_layout(device))),
            "expected": In(1),
            "op_ends": Out(1),
            "acts": In(stream.Signature(ACT, always_ready=True)),
            "act_short": In(1),
            "act_sequence": In(self._tables.act_sequence.shape()),
            "rows": Out(stream.Signature(ROW, always_ready=True)),
            "embed_start": In(1),
            "embed_base": In(lookup.base.shape()),
            "embed_stride": In(lookup.stride.shape()),
            "embed_token": In(lookup.token.shape()),
            "embed_count": In(lookup.channel_count.shape()),
            "embed_scale": In(lookup.scale.shape()),
            "embed_short": In(1),
            "channels": Out(stream.Signature(CHANNEL, always_ready=True)),
            "weight_addr": Out(lookup.weight_addr.shape()),
            "weight_read": Out(1),
            "weight_data": In(self._rows.weight_data.shape()),
            "word_used": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tables = tables = self._tables
        m.submodules.rows = rows = self._rows
        m.submodules.embedding = lookup = self._embedding
        m.submodules.rom = rom = TritRom()

        connect(m, flipped(self.acts), tables.acts)
        connect(m, rows.rows, flipped(self.rows))
        connect(m, lookup.channels, flipped(self.channels))

        # The tables take an operation first, the row stream when it has done with the one before.
        pending = Signal.like(self.ops.payload, reset_less=True)
        pending_valid = Signal()
        take = self.ops.valid & self.ops.ready
        m.d.comb += [
            self.ops.ready.eq(tables.vectors.ready & ~pending_valid),
            tables.vectors.payload.eq(self.ops.payload.vector),
            tables.vectors.valid.eq(self.ops.valid & ~pending_valid),
            rows.ops.payload.eq(pending),
            rows.ops.valid.eq(pending_valid),
        ]
        # Taken back a cycle late: no operation is as short as that.
        begun = Signal()
        m.d.sync += begun.eq(pending_valid & rows.ops.ready)
        with m.If(begun):
            m.d.sync += pending_valid.eq(0)
        with m.If(take):
            m.d.sync += [pending_valid.eq(1), pending.eq(self.ops.payload)]

        m.d.comb += [
            tables.act_short.eq(self.act_short),
            tables.act_sequence.eq(self.act_sequence),
            tables.codes.eq(rows.codes),
            tables.read_half.eq(rows.read_half),
            tables.read.eq(rows.read),
            tables.release.eq(rows.release),
            tables.release_half.eq(rows.release_half),
            rows.sums.eq(tables.sums),
            rows.full.eq(tables.full),
            rows.expected.eq(self.expected),
            self.op_ends.eq(rows.op_ends),
        ]
        m.d.comb += [
            lookup.start.eq(self.embed_start),
            lookup.base.eq(self.embed_base),
            lookup.stride.eq(self.embed_stride),
            lookup.token.eq(self.embed_token),
            lookup.channel_count.eq(self.embed_count),
            lookup.scale.eq(self.embed_scale),
            lookup.short.eq(self.embed_short),
            lookup.weight_data.eq(self.weight_data),
        ]

        m.d.comb += [
            rom.read.eq(lookup.rom_read | tables.rom_read),
            rom.index.eq(Mux(lookup.rom_read, lookup.rom_index, tables.rom_index)),
            tables.rom_step.eq(rom.step),
            tables.rom_taken.eq(lookup.rom_read),
            lookup.rom_step.eq(rom.step),
            self.weight_addr.eq(Mux(lookup.weight_read, lookup.weight_addr, rows.weight_addr)),
            self.weight_read.eq(lookup.weight_read | rows.weight_read),
            rows.taken.eq(lookup.weight_read),
            rows.weight_data.eq(self.weight_data),
            self.word_used.eq(rows.weight_read),
        ]
        return m
