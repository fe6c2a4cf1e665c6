"""The ternary engine: matrix-vector products by look-up and addition, no multiplier anywhere."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import DeviceConfig
from .embedding import CHANNEL, EmbeddingLookup
from .rows import ROW, ROW_LATENCY, RowStream
from .tables import ACT, ENTRIES, PartialSumTables, TritRom

__all__ = ["ACT", "CHANNEL", "ENTRIES", "ROW", "ROW_LATENCY", "Engine"]


class Engine(wiring.Component):
    """Matrix-vector products with ternary matrices, and rows of the embedding.

    Operations are taken in order. Each consumes one vector of activations and a run of weight
    words, block after block of 40 columns and all rows of a block in order, and emits a row sum per
    cycle during its last block. With all activations present an operation of b blocks and r rows
    takes ``b * max(r, ENTRIES + 5)`` cycles or a few more, the first table hidden behind the
    operation before where its activations came early enough.

    Members
    -------
    restart : In(1)
        Pulse before the first operation of a token: weight address 0, no activations waiting.
    ops : In(stream of {blocks, rows})
        Number of blocks - 1, number of rows - 1. An operation is taken when the tables of the one
        before have filled, so that its own can fill while that one's last rows stream.
    acts : In(stream of ACT, always ready)
    rows : Out(stream of ROW, always ready)
    embed_start, embed_base, embed_stride, embed_token, embed_count, embed_scale : In
        See ``EmbeddingLookup``; only between tokens.
    channels : Out(stream of CHANNEL, always ready)
    weight_addr, weight_read, weight_data : Out, Out, In
        Weight memory; data one cycle after the address, held until the next read.
    word_used : Out(1)
        A weight word of an operation is read in this cycle.
    """

    restart: Signal
    ops: stream.Interface
    acts: stream.Interface
    rows: stream.Interface
    embed_start: Signal
    embed_base: Signal
    embed_stride: Signal
    embed_token: Signal
    embed_count: Signal
    embed_scale: Signal
    channels: stream.Interface
    weight_addr: Signal
    weight_read: Signal
    weight_data: Signal
    word_used: Signal

    def __init__(self, *, device: DeviceConfig) -> None:
        self._tables = PartialSumTables(device=device)
        self._rows = RowStream(device=device)
        self._embedding = EmbeddingLookup(device=device)
        self.op_layout = self._rows.op_layout
        lookup = self._embedding
        super().__init__({
            "restart": In(1),
            "ops": In(stream.Signature(self.op_layout)),
            "acts": In(stream.Signature(ACT, always_ready=True)),
            "rows": Out(stream.Signature(ROW, always_ready=True)),
            "embed_start": In(1),
            "embed_base": In(lookup.base.shape()),
            "embed_stride": In(lookup.stride.shape()),
            "embed_token": In(lookup.token.shape()),
            "embed_count": In(lookup.channel_count.shape()),
            "embed_scale": In(lookup.scale.shape()),
            "channels": Out(stream.Signature(CHANNEL, always_ready=True)),
            "weight_addr": Out(lookup.weight_addr.shape()),
            "weight_read": Out(1),
            "weight_data": In(lookup.weight_data.shape()),
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
        pending = Signal(self.op_layout, reset_less=True)
        pending_valid = Signal()
        take = self.ops.valid & self.ops.ready
        m.d.comb += [
            self.ops.ready.eq(tables.blocks.ready & ~pending_valid),
            tables.blocks.payload.eq(self.ops.payload.blocks),
            tables.blocks.valid.eq(self.ops.valid & ~pending_valid),
            rows.ops.payload.eq(pending),
            rows.ops.valid.eq(pending_valid),
        ]
        with m.If(pending_valid & rows.ops.ready):
            m.d.sync += pending_valid.eq(0)
        with m.If(take):
            m.d.sync += [pending_valid.eq(1), pending.eq(self.ops.payload)]

        m.d.comb += [
            tables.restart.eq(self.restart),
            rows.restart.eq(self.restart),
            tables.codes.eq(rows.codes),
            tables.read_half.eq(rows.read_half),
            tables.read.eq(rows.read),
            tables.release.eq(rows.release),
            tables.release_half.eq(rows.release_half),
            rows.sums.eq(tables.sums),
            rows.full.eq(tables.full),
        ]
        m.d.comb += [
            lookup.start.eq(self.embed_start),
            lookup.base.eq(self.embed_base),
            lookup.stride.eq(self.embed_stride),
            lookup.token.eq(self.embed_token),
            lookup.channel_count.eq(self.embed_count),
            lookup.scale.eq(self.embed_scale),
        ]

        # Look-up happens between operations, so memory and rom are shared without arbitration.
        m.d.comb += [
            rom.index.eq(Mux(lookup.busy, lookup.rom_index, tables.rom_index)),
            tables.rom_step.eq(rom.step),
            lookup.rom_step.eq(rom.step),
            self.weight_addr.eq(Mux(lookup.busy, lookup.weight_addr, rows.weight_addr)),
            self.weight_read.eq(lookup.weight_read | rows.weight_read),
            rows.weight_data.eq(self.weight_data),
            lookup.weight_data.eq(self.weight_data),
            self.word_used.eq(rows.weight_read),
        ]
        return m
