"""Signals that all stages share: the decoded context, and tags of the rows under way."""

from itertools import pairwise

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream

from trilight.hw.contract.device import Device
from trilight.hw.contract.program import Op

__all__ = ["Stages"]

TAG = data.StructLayout({"valid": 1, "phase": 2, "last": 1})


class Stages:
    """Context and row tags, added to a module.

    The context is decoded into registers, as its kind is known long before the first row that it
    applies to.

    Parameters
    ----------
    m : Module
    device : Device
    context : View(context_layout)
    load : Signal
        Pulse in the first cycle of a context.
    rows : stream of row_layout
    count : int
        Stages to tag.

    Attributes
    ----------
    row : list of {valid, phase, last}
        Tag of the row in each stage: a row enters at stage 0 and is at stage k after k cycles.
        ``phase`` is its place among the matrices whose rows take turns, 0 to 2.
    loaded : Signal
        Pulse one cycle after ``load``, when what is decoded is up to date.
    is_mix, is_glu, is_head, is_residual : Signal
        Kind of the operation whose rows come; none in an embedding.
    enters_residual : Signal
        The results, of an operation or embedding, enter the residual stream.
    shifts : Signal
        A token shift follows the residual stream.
    addend : int
        Stage at which the channel or output bias is read that is added to a row's product.
    """

    def __init__(self, m: Module, device: Device, context: "data.View[data.StructLayout]",
                 load: Signal, rows: "stream.Interface", count: int) -> None:
        self.context = context
        self.layer_bits = device.channel_bits
        self.channel_bits = device.column_bits
        self.addend = 0 if device.late_block_ram else 1
        self.loaded = Signal(name="loaded")
        self.is_mix = Signal(name="is_mix")
        self.is_glu = Signal(name="is_glu")
        self.is_head = Signal(name="is_head")
        self.is_residual = Signal(name="is_residual")
        self.enters_residual = Signal(name="enters_residual")
        self.shifts = Signal(name="shifts")
        residual = (context.kind == Op.RESIDUAL) | (context.kind == Op.RESIDUAL_SHIFT)
        m.d.sync += [
            self.loaded.eq(load),
            self.is_mix.eq(context.kind == Op.MIX),
            self.is_glu.eq(context.kind == Op.GLU),
            self.is_head.eq(context.kind == Op.HEAD),
            self.is_residual.eq(~context.embedding & residual),
            self.enters_residual.eq(residual),
            self.shifts.eq(context.kind == Op.RESIDUAL_SHIFT),
        ]

        self.row = [Signal(TAG, name=f"row_{k}") for k in range(count)]
        phase = Signal(2)
        end_of_phase = Mux(self.is_mix, phase == 2, ~self.is_glu | (phase == 1))
        with m.If(rows.valid):
            m.d.sync += phase.eq(Mux(end_of_phase | rows.payload.last, 0, phase + 1))
        m.d.comb += [
            self.row[0].valid.eq(rows.valid),
            self.row[0].phase.eq(phase),
            self.row[0].last.eq(rows.payload.last),
        ]
        for before, after in pairwise(self.row):
            m.d.sync += after.eq(before)

    def channel_counter(self, m: Module, name: str, advance: Value, clear: Value, *,
                        bits: int | None = None) -> Signal:
        """Return a counter of the channels of a vector, or of something else of so many bits."""
        count = Signal(self.channel_bits if bits is None else bits, name=name)
        with m.If(advance):
            m.d.sync += count.eq(count + 1)
        with m.If(clear):
            m.d.sync += count.eq(0)
        return count

    def layer_counter(self, m: Module, name: str, advance: Value, loads: Value, clear: Value,
                      base: Value) -> Signal:
        """Return a counter of channels that goes on from layer to layer.

        Pulse ``loads`` marks the context of a layer; where it is that of the layer before, for
        another sequence, the count goes back to ``base``.
        """
        count = Signal(self.layer_bits, name=name)
        with m.If(advance):
            m.d.sync += count.eq(count + 1)
        with m.If(loads & self.context.replay):
            m.d.sync += count.eq(base)
        with m.If(clear):
            m.d.sync += count.eq(0)
        return count
