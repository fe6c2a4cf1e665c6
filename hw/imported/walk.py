"""The operations of a token, one after the other."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.imported import ImportedDevice, Kind

from .layouts import operation_layout, shape_layout

__all__ = ["Walk"]


class Walk(wiring.Component):
    """Stream of a token's operations: the matrices of every layer, and the head.

    Engine, quantiser and row unit each have one, for each is at another operation. The first
    operation comes the cycle after ``start``, and then one a cycle as they are taken.

    Members
    -------
    shape : In(shape_layout)
    start : In(1)
    ops : Out(stream of operation_layout)
    """

    shape: Signal
    start: Signal
    ops: stream.Interface

    def __init__(self, *, device: ImportedDevice) -> None:
        super().__init__({"shape": In(shape_layout(device)), "start": In(1),
                          "ops": Out(stream.Signature(operation_layout()))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layers = Signal.like(self.shape.layers, reset_less=True)
        op = self.ops.payload
        kind = Signal(Kind)
        ends_layers = Signal()
        m.d.comb += [
            op.kind.eq(kind),
            ends_layers.eq((kind == Kind.DOWN) & (layers == 0)),
            op.last.eq((kind == Kind.HEAD) | (ends_layers & ~self.shape.head)),
        ]
        with m.If(self.ops.valid & self.ops.ready):
            m.d.sync += op.first.eq(0)
            with m.If(op.last):
                m.d.sync += self.ops.valid.eq(0)
            with m.Elif((kind == Kind.DOWN) & ~ends_layers):
                m.d.sync += [kind.eq(Kind.CANDIDATE), layers.eq(layers - 1)]
            with m.Else():
                m.d.sync += kind.eq(kind + 1)
        with m.If(self.start):
            m.d.sync += [self.ops.valid.eq(1), op.first.eq(1), kind.eq(Kind.CANDIDATE),
                         layers.eq(self.shape.layers)]
        return m
