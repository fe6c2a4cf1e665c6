"""Frames: packets of the line with a CRC-16 at their end."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from .protocol import MAX_FRAME_BYTES, Slip
from .slip import SLIP_ITEM, SlipDecoder, SlipEncoder

__all__ = ["CRC_BYTES", "CRC_INIT", "MIN_FRAME_BYTES", "FrameReceiver", "FrameSender", "crc16_step"]

CRC_BYTES = 2
CRC_INIT = 0xFFFF

MIN_FRAME_BYTES = 2 + CRC_BYTES
"""Sequence number, command and CRC."""


def crc16_step(crc: Value, byte: Value) -> Value:
    """CRC-16/IBM-3740 after one more byte; after a frame's own CRC it is 0."""
    high = crc[8:] ^ byte
    # The polynomial's x^12 brings the upper half of these bits back into the lower.
    fold = Cat(high[:4] ^ high[4:], high[4:])
    return (Cat(Const(0, 8), crc[:8]) ^ Cat(Const(0, 12), fold[:4]) ^ Cat(Const(0, 5), fold)
            ^ fold)[:16]


class FrameReceiver(wiring.Component):
    """Finds frames in a line's bytes, and tells where in a buffer their bytes go.

    The buffer is circular and as long as the longest frame. A byte is written one cycle after it
    has come, and a frame's end is reported two cycles after.

    Parameters
    ----------
    origin : int
        ``count`` and ``addr`` of a frame's first byte are ``-origin``.

    Members
    -------
    i : In(stream of 8, always ready)
        Bytes of the line.
    error : In(1)
        Pulse: a byte of the line was lost.
    addr : Out(8)
    data : Out(8)
    write : Out(1)
        Pulse: put ``data`` at ``addr``.
    good : Out(1)
        Pulse: the bytes written make up a frame.
    count : Out(signed(9))
        Bytes of the frame, CRC included, less ``origin``. Held after ``good`` until ``release``.
    release : In(1)
        Pulse: begin the next frame. Due before the next byte.
    """

    i: stream.Interface
    error: Signal
    addr: Signal
    data: Signal
    write: Signal
    good: Signal
    count: Signal
    release: Signal

    def __init__(self, *, origin: int) -> None:
        self._origin = origin
        super().__init__({
            "i": In(stream.Signature(8, always_ready=True)),
            "error": In(1),
            "addr": Out(range(MAX_FRAME_BYTES)),
            "data": Out(8),
            "write": Out(1),
            "good": Out(1),
            "count": Out(signed(MAX_FRAME_BYTES.bit_length()), init=-origin),
            "release": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slip = slip = SlipDecoder()
        connect(m, wiring.flipped(self.i), slip.i)
        crc = Signal(16, init=CRC_INIT)
        too_long = Signal()
        long_enough = Signal()
        ended = Signal()
        whole = Signal(reset_less=True)
        m.d.comb += [
            slip.error.eq(self.error),
            self.addr.eq(self.count),
            self.data.eq(slip.o.payload),
            self.write.eq(slip.o.valid),
            self.good.eq(ended & whole),
        ]
        m.d.sync += [
            ended.eq(slip.end),
            whole.eq(~slip.bad & ~too_long & long_enough & (crc == 0)),
        ]
        with m.If(self.write):
            m.d.sync += [self.count.eq(self.count + 1), crc.eq(crc16_step(crc, self.data))]
            with m.If(self.count == MIN_FRAME_BYTES - 1 - self._origin):
                m.d.sync += long_enough.eq(1)
            with m.If(self.count == MAX_FRAME_BYTES - self._origin):
                m.d.sync += too_long.eq(1)
        with m.If(slip.end):
            m.d.sync += [crc.eq(CRC_INIT), long_enough.eq(0), too_long.eq(0)]
        with m.If(self.release | (ended & ~whole)):
            m.d.sync += self.count.eq(-self._origin)
        return m


class FrameSender(wiring.Component):
    """Sends frames: adds the CRC, the escapes and the delimiters.

    Takes a byte at most every other cycle.

    Members
    -------
    i : In(stream of SLIP_ITEM)
        Bytes of the frame without CRC, then an item with ``end``.
    o : Out(stream of 8)
        Bytes of the line.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(SLIP_ITEM)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slip = slip = SlipEncoder()
        connect(m, slip.o, wiring.flipped(self.o))
        crc = Signal(16, reset_less=True)
        full = Signal()
        item = Signal(SLIP_ITEM, reset_less=True)
        # What comes next waits here, so that ``ready`` needs no logic.
        following = Signal(SLIP_ITEM, reset_less=True)
        waits = Signal()
        load = ~full & waits
        with m.If(~waits):
            m.d.sync += [following.eq(self.i.payload), waits.eq(self.i.valid)]
        m.d.comb += [
            self.i.ready.eq(~waits),
            slip.i.valid.eq(full),
            slip.i.payload.eq(item),
        ]
        # The CRC takes a byte in when it leaves, in time for the next one.
        with m.If(full & slip.i.ready):
            m.d.sync += [
                full.eq(0),
                item.end.eq(0),
                crc.eq(Mux(item.end, CRC_INIT, crc16_step(crc, item.data))),
            ]

        with m.FSM():
            with m.State("OPEN"):
                with m.If(load):
                    m.d.sync += [full.eq(1), item.data.eq(Slip.END), item.end.eq(1)]
                    m.next = "DATA"

            with m.State("DATA"):
                with m.If(load):
                    m.d.sync += [full.eq(1), waits.eq(0), item.data.eq(following.data)]
                    with m.If(following.end):
                        m.d.sync += item.data.eq(crc[8:])
                        m.next = "CRC"

            with m.State("CRC"):
                # The first CRC byte, taken in by the CRC, has moved the second into its place.
                with m.If(~full):
                    m.d.sync += [full.eq(1), item.data.eq(crc[8:])]
                    m.next = "CLOSE"

            with m.State("CLOSE"):
                with m.If(~full):
                    m.d.sync += [full.eq(1), item.data.eq(Slip.END), item.end.eq(1)]
                    m.next = "OPEN"
        return m
