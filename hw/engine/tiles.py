"""Tiles: an operation with more rows than there is memory for their sums, as passes over a few."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.interfaces import operation_layout

from .rows import pass_layout

__all__ = ["Tiler"]


class Tiler(wiring.Component):
    """Cutter of operations into passes over at most ``Device.row_sums`` rows.

    All blocks of the first rows come first, then all blocks of the next ones: tile, block, row.
    Every pass but the last has as many rows as there is memory for, unless the last would then have
    fewer than ``Device.min_rows``. An operation is taken with its first pass, so that whoever waits
    for that can enable its rows, without which no later pass begins.

    Members
    -------
    ops : In(stream of operation_layout)
    passes : Out(stream of pass_layout)
    """

    ops: stream.Interface
    passes: stream.Interface

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__({
            "ops": In(stream.Signature(operation_layout(device))),
            "passes": Out(stream.Signature(pass_layout(device))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        most, least = self._device.row_sums, self._device.min_rows
        op, part = self.ops.payload, self.passes.payload
        goes_on = Signal()
        held = Signal.like(op.vector, reset_less=True)
        left = Signal.like(op.rows)  # - 1, as in an operation
        rows = Signal.like(op.rows)
        taken = Signal.like(op.rows)
        m.d.comb += [
            rows.eq(Mux(goes_on, left, op.rows)),
            part.more.eq(rows >= most),
            taken.eq(Mux(rows >= most + least - 1, most, most - least)),
            part.rows.eq(Mux(part.more, taken - 1, rows)),
            part.vector.eq(Mux(goes_on, held, op.vector)),
            part.vector.kept.eq(goes_on),
            part.replay.eq(op.replay & ~goes_on),
            part.rewind.eq(op.rewind & ~goes_on),
            self.passes.valid.eq(self.ops.valid | goes_on),
            self.ops.ready.eq(self.passes.ready & ~goes_on),
        ]
        with m.If(self.ops.valid & self.ops.ready):
            m.d.sync += held.eq(op.vector)
        if self._device.streamed:  # asked for with an operation's first word, of its first pass
            m.d.comb += part.keeps.eq(op.keeps)
        with m.If(self.passes.valid & self.passes.ready):
            m.d.sync += [goes_on.eq(part.more), left.eq(rows - taken)]
        return m
