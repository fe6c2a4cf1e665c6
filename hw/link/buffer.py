"""Bytes of a frame on their way in, and of a response on their way out."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data
from amaranth.lib.memory import Memory

from trilight.hw.contract.protocol import ADDRESS, MAX_FRAME_BYTES, MAX_WORDS, RUN
from trilight.hw.lib.frames import FrameReceiver

from .layouts import FRAME, HEADER_BYTES, WRITE_BYTES

__all__ = ["FrameBuffer"]


class FrameBuffer:
    """Buffer, shift register and word counter, added to a module.

    The lower half of the buffer holds the frame that is being received until its CRC is known. The
    upper half holds the identity, a byte further on than a WRITE's words, as a response's header
    moves the pointer by two. The shift register takes the frame's first bytes, and later the bytes
    of a response:

    ::

        | top (8) | middle | low (16) |  ->  next byte of a response
            ^ byte of the buffer

    Attributes
    ----------
    byte : Signal(8)
        Byte at the pointer of the cycle before.
    pointer, advance : Signal
        Set ``advance`` to move the pointer on.
    shift : Signal
    shift_low, shift_middle, shift_top : Signal
        Set to shift a part by a byte.
    load_status, load_word : Signal
        Set to load the status, or into ``low`` a word of the bus.
    frame : View(FRAME)
        First bytes of the frame, in the shift register.
    index, words, last : Signal
        Number of the word, the number of words, and whether they are the same.
    count_on, count_clear : Signal
        Set to move ``index`` on, or back to 0.
    """

    START = -WRITE_BYTES % MAX_FRAME_BYTES
    """Address of a frame's first byte."""

    WORDS_START = START + HEADER_BYTES + ADDRESS.size
    """Address of the first word of a WRITE."""

    def __init__(self, m: Module, receiver: FrameReceiver, identity: Sequence[int], status: Value,
                 word: Value) -> None:
        self._add_memory(m, receiver, identity)
        self._add_shift_register(m, status, word)
        self.index = Signal(range(MAX_WORDS + 1), name="index", reset_less=True)
        self.words = Signal(8, name="words", reset_less=True)
        self.last = self.index == self.words
        self.count_on, self.count_clear = Signal(name="count_on"), Signal(name="count_clear")
        with m.If(self.count_on):
            m.d.sync += self.index.eq(self.index + 1)
        with m.If(self.count_clear):
            m.d.sync += self.index.eq(0)

    def _add_memory(self, m: Module, receiver: FrameReceiver, identity: Sequence[int]) -> None:
        rom = [0] * MAX_FRAME_BYTES
        for i, value in enumerate(identity, HEADER_BYTES - 1):
            rom[(self.WORDS_START + i) % MAX_FRAME_BYTES] = value
        m.submodules.buffer = buffer = Memory(
            shape=unsigned(8), depth=2 * MAX_FRAME_BYTES, init=[0] * MAX_FRAME_BYTES + rom)
        write, read = buffer.write_port(), buffer.read_port()
        self.byte = read.data
        self.advance = read.en
        self.in_identity = read.addr[-1]
        self.pointer = Signal(range(MAX_FRAME_BYTES), name="pointer", reset_less=True)
        m.d.comb += [
            write.addr.eq(receiver.addr),
            write.data.eq(receiver.data),
            write.en.eq(receiver.write),
            read.addr.eq(self.pointer),
            self.advance.eq(0),
        ]
        with m.If(self.advance):
            m.d.sync += self.pointer.eq(self.pointer + 1)

    def _add_shift_register(self, m: Module, status: Value, word: Value) -> None:
        self.length = max(8 * (HEADER_BYTES + RUN.size), len(status))
        self.shift = shift = Signal(self.length, name="shift", reset_less=True)
        low, middle, top = shift[:16], shift[16:-8], shift[-8:]
        self.top = top
        self.shift_low, self.shift_middle = Signal(name="shift_low"), Signal(name="shift_middle")
        self.shift_top = Signal(name="shift_top")
        self.load_status, self.load_word = Signal(name="load_status"), Signal(name="load_word")
        with m.If(self.shift_low | self.load_word | self.load_status):
            m.d.sync += low.eq(
                Mux(self.load_status, status, Mux(self.load_word, word, shift[8:])))
        with m.If(self.shift_middle | self.load_status):
            m.d.sync += middle.eq(Mux(self.load_status, status[16:], shift[24:]))
        with m.If(self.shift_top | self.load_status):
            m.d.sync += top.eq(Mux(self.load_status, status[self.length - 8:], self.byte))
        self.frame = data.View(FRAME, shift[:FRAME.size])
