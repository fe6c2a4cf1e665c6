"""The ternary engine: matrix-vector products by look-up and addition, no multiplier anywhere."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from trilight.hw.contract.device import Device
from trilight.hw.interfaces import (
    CHANNEL,
    ROW,
    ActivationSignature,
    EmbeddingSignature,
    OperationSignature,
)

from .embedding import EmbeddingLookup
from .rows import RowStream
from .tables import PartialSumTables, TritRom

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
    operations : In(OperationSignature)
        An operation is taken when the tables of the one before have filled, so that its own can
        fill while that one's last rows stream.
    acts : In(ActivationSignature)
    rows : Out(stream of ROW, always ready)
    embedding : In(EmbeddingSignature)
        See ``EmbeddingLookup``, whose reads go before those of rows and fillings.
    channels : Out(stream of CHANNEL, always ready)
    weight_addr, weight_read, weight_data : Out, Out, In
        Weight memory; data ``WeightMemory.LATENCY`` cycles after the address.
    """

    def __init__(self, *, device: Device) -> None:
        self._tables = PartialSumTables(device=device)
        self._rows = RowStream(device=device)
        self._embedding = EmbeddingLookup(device=device)
        lookup = self._embedding
        super().__init__({
            "operations": In(OperationSignature(device)),
            "acts": In(ActivationSignature(device)),
            "rows": Out(stream.Signature(ROW, always_ready=True)),
            "embedding": In(EmbeddingSignature(device)),
            "channels": Out(stream.Signature(CHANNEL, always_ready=True)),
            "weight_addr": Out(lookup.weight_addr.shape()),
            "weight_read": Out(1),
            "weight_data": In(self._rows.weight_data.shape()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tables = tables = self._tables
        m.submodules.rows = rows = self._rows
        m.submodules.embedding = lookup = self._embedding
        m.submodules.rom = rom = TritRom()

        connect(m, flipped(self.acts.acts), tables.acts)
        connect(m, rows.rows, flipped(self.rows))
        connect(m, lookup.channels, flipped(self.channels))

        ops = self.operations.ops
        # The tables take an operation first, the row stream when it has done with the one before.
        pending = Signal.like(ops.payload, reset_less=True)
        pending_valid = Signal()
        take = ops.valid & ops.ready
        m.d.comb += [
            ops.ready.eq(tables.vectors.ready & ~pending_valid),
            tables.vectors.payload.eq(ops.payload.vector),
            tables.vectors.valid.eq(ops.valid & ~pending_valid),
            rows.ops.payload.eq(pending),
            rows.ops.valid.eq(pending_valid),
        ]
        # Taken back a cycle late: no operation is as short as that.
        begun = Signal()
        m.d.sync += begun.eq(pending_valid & rows.ops.ready)
        with m.If(begun):
            m.d.sync += pending_valid.eq(0)
        with m.If(take):
            m.d.sync += [pending_valid.eq(1), pending.eq(ops.payload)]

        m.d.comb += [
            tables.act_short.eq(self.acts.short),
            tables.act_sequence.eq(self.acts.sequence),
            tables.codes.eq(rows.codes),
            tables.read_half.eq(rows.read_half),
            tables.read.eq(rows.read),
            tables.release.eq(rows.release),
            tables.release_half.eq(rows.release_half),
            rows.sums.eq(tables.sums),
            rows.full.eq(tables.full),
            rows.rows_enabled.eq(self.operations.rows_enabled),
            self.operations.ends.eq(rows.op_ends),
        ]
        m.d.comb += [
            lookup.start.eq(self.embedding.start),
            lookup.base.eq(self.embedding.base),
            lookup.stride.eq(self.embedding.stride),
            lookup.token.eq(self.embedding.token),
            lookup.channel_count.eq(self.embedding.channels),
            lookup.scale.eq(self.embedding.scale),
            lookup.short.eq(self.embedding.short),
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
            self.operations.word_used.eq(rows.weight_read),
        ]
        return m
