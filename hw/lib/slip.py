"""Framing of RFC 1055: delimiters and escapes, without look-ahead."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.protocol import Slip

__all__ = ["SLIP_ITEM", "SlipDecoder", "SlipEncoder"]

SLIP_ITEM = data.StructLayout({"data": 8, "end": 1})
"""A byte of a packet, or with ``end`` a delimiter, whose data do not matter."""


class SlipDecoder(wiring.Component):
    """Decoder of a line's bytes into those of packets.

    Results appear one cycle after the line's byte. Delimiters are reported as they come, so empty
    packets are too.

    Members
    -------
    i : In(stream of 8, always ready)
        Bytes of the line.
    error : In(1)
        Pulse: a byte of the line was lost.
    o : Out(stream of 8, always ready)
        Bytes of the packet.
    end : Out(1)
        Pulse: the packet is complete.
    bad : Out(1)
        Together with ``end``: the packet had a bad escape or lost a byte.
    """

    i: stream.Interface
    error: Signal
    o: stream.Interface
    end: Signal
    bad: Signal

    def __init__(self) -> None:
        super().__init__({
            "i": In(stream.Signature(8, always_ready=True)),
            "error": In(1),
            "o": Out(stream.Signature(8, always_ready=True)),
            "end": Out(1),
            "bad": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        escaped = Signal()
        payload = Signal(8, reset_less=True)
        byte = self.i.payload
        m.d.comb += self.o.payload.eq(payload)
        m.d.sync += [self.o.valid.eq(0), self.end.eq(0), payload.eq(byte)]
        with m.If(self.end):
            m.d.sync += self.bad.eq(0)
        with m.If(self.i.valid):
            m.d.sync += escaped.eq(0)
            with m.If(byte == Slip.END):
                m.d.sync += self.end.eq(1)
                with m.If(escaped):
                    m.d.sync += self.bad.eq(1)
            with m.Elif(escaped):
                m.d.sync += [
                    self.o.valid.eq(1),
                    payload.eq(Mux(byte == Slip.ESC_END, Slip.END, Slip.ESC)),
                ]
                with m.If((byte != Slip.ESC_END) & (byte != Slip.ESC_ESC)):
                    m.d.sync += self.bad.eq(1)
            with m.Elif(byte == Slip.ESC):
                m.d.sync += escaped.eq(1)
            with m.Else():
                m.d.sync += self.o.valid.eq(1)
        with m.If(self.error):
            m.d.sync += self.bad.eq(1)
        return m


class SlipEncoder(wiring.Component):
    """Encoder of packets and their delimiters into a line's bytes.

    An item is looked at for a cycle; a byte that needs an escape is taken with the second byte it
    becomes.

    Members
    -------
    i : In(stream of SLIP_ITEM)
    o : Out(stream of 8)
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(SLIP_ITEM)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        second = Signal()
        looked = Signal()
        is_end = Signal(reset_less=True)
        special = Signal(reset_less=True)
        byte = self.i.payload.data
        m.d.sync += [
            looked.eq(self.i.valid & ~self.i.ready),
            is_end.eq(byte == Slip.END),
            special.eq(((byte == Slip.END) | (byte == Slip.ESC)) & ~self.i.payload.end),
        ]
        m.d.comb += [
            self.o.valid.eq(looked),
            self.o.payload.eq(Mux(self.i.payload.end, Slip.END, byte)),
            self.i.ready.eq(looked & self.o.ready & (second | ~special)),
        ]
        with m.If(second):
            m.d.comb += self.o.payload.eq(Mux(is_end, Slip.ESC_END, Slip.ESC_ESC))
        with m.Elif(special):
            m.d.comb += self.o.payload.eq(Slip.ESC)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += second.eq(special & ~second)
        return m
