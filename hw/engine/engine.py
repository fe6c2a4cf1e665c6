"""The ternary engine: matrix-vector products by look-up and addition, no multiplier anywhere."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from trilight.hw.contract.device import Device
from trilight.hw.interfaces import (
    CHANNEL,
    ActivationSignature,
    EmbeddingSignature,
    FetchSignature,
    OperationSignature,
    WeightStreamSignature,
    row_layout,
)

from .embedding import EmbeddingLookup
from .rows import RowStream
from .tables import PartialSumTables, TritRom
from .tiles import Tiler

__all__ = ["Engine"]


class Engine(wiring.Component):
    """Matrix-vector products with ternary matrices, and rows of the embedding.

    Operations are taken in order. Each consumes one vector of activations and a run of weight
    words, block after block of columns and all rows of a block in order, and emits a row sum per
    cycle during its last block. With all activations present an operation of b blocks and r rows
    takes ``b * max(r, entries + EngineTiming.fill + 1)`` cycles or a few more, the first table
    hidden behind the operation before where its activations came early enough.

    Members
    -------
    operations : In(OperationSignature)
        An operation is taken when the tables of the one before have filled, so that its own can
        fill while that one's last rows stream.
    acts : In(ActivationSignature)
    rows : Out(stream of row_layout, always ready)
    embedding : In(EmbeddingSignature)
        See ``EmbeddingLookup``, whose reads of the rom go before those of fillings.
    channels : Out(stream of CHANNEL, always ready)
    words : In(WeightStreamSignature), fetch : In(FetchSignature)
        Weight words, of operations in their order and of look-ups.
    """

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__({
            "operations": In(OperationSignature(device)),
            "acts": In(ActivationSignature(device)),
            "rows": Out(stream.Signature(row_layout(device), always_ready=True)),
            "embedding": In(EmbeddingSignature(device)),
            "channels": Out(stream.Signature(CHANNEL, always_ready=True)),
            "words": In(WeightStreamSignature(device)),
            "fetch": In(FetchSignature(device)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tables = tables = PartialSumTables(device=self._device)
        m.submodules.rows = rows = RowStream(device=self._device)
        m.submodules.embedding = lookup = EmbeddingLookup(device=self._device)
        m.submodules.rom = rom = TritRom(device=self._device)

        connect(m, flipped(self.acts.acts), tables.acts)
        connect(m, rows.rows, flipped(self.rows))
        connect(m, lookup.channels, flipped(self.channels))

        connect(m, flipped(self.words), rows.words)
        connect(m, flipped(self.fetch), lookup.fetch)
        self._hand_over(m, rows, tables)

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
            self.operations.word_used.eq(rows.words.ready & rows.words.valid),
        ]
        m.d.comb += [
            lookup.start.eq(self.embedding.start),
            lookup.base.eq(self.embedding.base),
            lookup.stride.eq(self.embedding.stride),
            lookup.token.eq(self.embedding.token),
            lookup.channel_count.eq(self.embedding.channels),
            lookup.scale.eq(self.embedding.scale),
            lookup.short.eq(self.embedding.short),
        ]
        m.d.comb += [
            rom.read.eq(lookup.rom_read | tables.rom_read),
            rom.index.eq(Mux(lookup.rom_read, lookup.rom_index, tables.rom_index)),
            tables.rom_step.eq(rom.step),
            tables.rom_taken.eq(lookup.rom_read),
            lookup.rom_step.eq(rom.step),
        ]
        return m

    def _hand_over(self, m: Module, rows: RowStream, tables: PartialSumTables) -> None:
        """Hand passes on: the tables take one first, the row stream when the one before is done."""
        passes = self.operations.ops
        if self._device.tiled:
            m.submodules.tiler = tiler = Tiler(device=self._device)
            connect(m, flipped(self.operations.ops), tiler.ops)
            passes = tiler.passes
        pending = Signal.like(rows.passes.payload, reset_less=True)
        pending_valid = Signal()
        take = passes.valid & passes.ready
        m.d.comb += [
            passes.ready.eq(tables.vectors.ready & ~pending_valid),
            tables.vectors.payload.eq(passes.payload.vector),
            tables.vectors.valid.eq(passes.valid & ~pending_valid),
            rows.passes.payload.eq(pending),
            rows.passes.valid.eq(pending_valid),
        ]
        # Taken back a cycle late: no pass is as short as that.
        begun = Signal()
        m.d.sync += begun.eq(pending_valid & rows.passes.ready)
        with m.If(begun):
            m.d.sync += pending_valid.eq(0)
        with m.If(take):
            m.d.sync += [pending_valid.eq(1), pending.eq(passes.payload)]
