"""Frames: packets of the line with a CRC-32 at their end."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from trilight.hw.contract.protocol import CRC_BYTES, MAX_FRAME_BYTES, MIN_FRAME_BYTES, Slip

from .crc import CRC_BITS, CRC_INIT, CRC_RESIDUE, crc32_step
from .slip import SLIP_ITEM, SlipDecoder, SlipEncoder

__all__ = ["FrameReceiver", "FrameSender"]


class FrameReceiver(wiring.Component):
    """Receiver of frames in a line's bytes, which says where in a buffer their bytes go.

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
    bad : Out(1)
        Pulse: a delimiter has come, and the bytes before it, if any, make up no frame.
    too_long : Out(1)
        More bytes have been written than a frame has.
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
    bad: Signal
    too_long: Signal
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
            "bad": Out(1),
            "too_long": Out(1),
            "count": Out(signed(MAX_FRAME_BYTES.bit_length()), init=-origin),
            "release": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slip = slip = SlipDecoder()
        connect(m, wiring.flipped(self.i), slip.i)
        crc = Signal(CRC_BITS, init=CRC_INIT)
        long_enough = Signal()
        ended = Signal()
        whole = Signal(reset_less=True)
        m.d.comb += [
            slip.error.eq(self.error),
            self.addr.eq(self.count),
            self.data.eq(slip.o.payload),
            self.write.eq(slip.o.valid),
            self.good.eq(ended & whole),
            self.bad.eq(ended & ~whole),
        ]
        m.d.sync += [
            ended.eq(slip.end),
            whole.eq(~slip.bad & ~self.too_long & long_enough & (crc == CRC_RESIDUE)),
        ]
        with m.If(self.write):
            m.d.sync += [self.count.eq(self.count + 1), crc.eq(crc32_step(crc, self.data))]
            with m.If(self.count == MIN_FRAME_BYTES - 1 - self._origin):
                m.d.sync += long_enough.eq(1)
            with m.If(self.count == MAX_FRAME_BYTES - self._origin):
                m.d.sync += self.too_long.eq(1)
        with m.If(slip.end):
            m.d.sync += [crc.eq(CRC_INIT), long_enough.eq(0), self.too_long.eq(0)]
        with m.If(self.release | self.bad):
            m.d.sync += self.count.eq(-self._origin)
        return m


class FrameSender(wiring.Component):
    """Sender of frames, with the CRC, the escapes and the delimiters.

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
        crc = Signal(CRC_BITS, reset_less=True)
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
        # The register takes a byte in when it leaves, in time for the next one. Of the CRC's bytes,
        # which are its own inverted, it is given the inverse, and so does nothing but shift.
        closing = Signal()
        with m.If(full & slip.i.ready):
            m.d.sync += [
                full.eq(0),
                item.end.eq(0),
                crc.eq(Mux(item.end, CRC_INIT, crc32_step(crc, item.data ^ closing.replicate(8)))),
            ]

        more = Signal(range(CRC_BYTES - 1), reset_less=True)
        with m.FSM() as fsm:
            m.d.comb += closing.eq(fsm.ongoing("CRC") | fsm.ongoing("CLOSE"))
            with m.State("OPEN"):
                with m.If(load):
                    m.d.sync += [full.eq(1), item.data.eq(Slip.END), item.end.eq(1)]
                    m.next = "DATA"

            with m.State("DATA"):
                with m.If(load):
                    m.d.sync += [full.eq(1), waits.eq(0), item.data.eq(following.data)]
                    with m.If(following.end):
                        m.d.sync += [item.data.eq(~crc[:8]), more.eq(CRC_BYTES - 2)]
                        m.next = "CRC"

            with m.State("CRC"):
                with m.If(~full):
                    m.d.sync += [full.eq(1), item.data.eq(~crc[:8]), more.eq(more - 1)]
                    with m.If(more == 0):
                        m.next = "CLOSE"

            with m.State("CLOSE"):
                with m.If(~full):
                    m.d.sync += [full.eq(1), item.data.eq(Slip.END), item.end.eq(1)]
                    m.next = "OPEN"
        return m
