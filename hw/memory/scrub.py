"""Check of the weight memory: its CRC-32, worked out whenever nothing else needs the memory."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.interfaces import BUS_BITS
from trilight.hw.lib.crc import CRC_BITS, CRC_INIT, crc32_step

__all__ = ["WeightCheck", "check_cycles"]


def check_cycles(device: Device, words: int) -> int:
    """Cycles of a check of some words: one for each byte, and those of its beginning and end."""
    return 2 * device.packing.word_units * (words + 1) + 4


class WeightCheck(wiring.Component):
    """CRC of the weight memory, which is read from word 0 on once after each ``restart``.

    The check of n words is complete ``check_cycles`` after the last ``restart``; then the memory
    rests. No data are asked for in the first cycles after a
    ``restart``, so that a reading that goes before it can still be answered.

    Members
    -------
    restart : In(1)
        Restart: the memory is written to, read or used by others.
    last_word : In, write_last_word : In(1)
        Pulse: the check ends with this word. Comes with ``restart``.
    addr : Out, read : Out(1)
        Weight memory; data two cycles after the address.
    selects : Out(1)
        ``unit`` has to be that of number ``selected``, two cycles later.
    selected : Out
    unit : In(16)
        Unit of a word that was read, its number that of two cycles ago.
    complete : Out(1)
    crc : Out(32)
        CRC-32 of the words' bytes, the low byte of each unit first, when ``complete``.
    """

    restart: Signal
    last_word: Signal
    write_last_word: Signal
    addr: Signal
    read: Signal
    selects: Signal
    selected: Signal
    unit: Signal
    complete: Signal
    crc: Signal

    def __init__(self, *, device: Device) -> None:
        # What reads units counts on it.
        assert device.read_latency == 2
        self._units = device.packing.word_units
        super().__init__({
            "restart": In(1),
            "last_word": In(device.address_bits),
            "write_last_word": In(1),
            "addr": Out(device.address_bits),
            "read": Out(1),
            "selects": Out(1),
            "selected": Out(range(self._units)),
            "unit": In(BUS_BITS),
            "complete": Out(1),
            "crc": Out(CRC_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        last_word = Signal.like(self.last_word, init=-1)
        with m.If(self.write_last_word):
            m.d.sync += last_word.eq(self.last_word)

        # A byte in each step, and a power of two of them. The word that is asked for in the last of
        # these steps is taken in during the next ones. A byte is selected in its step, and three
        # cycles later it is here.
        steps = 2 * self._units
        step = Signal(range(steps))
        is_last = Signal(reset_less=True)
        primed = Signal()
        done = Signal()
        selecting = Signal(3)
        taking = selecting[-1]
        byte = Signal(8, reset_less=True)
        ends = step == steps - 1
        m.d.comb += [
            self.read.eq(ends & ~done),
            self.selects.eq(primed & ~self.restart),
            self.selected.eq(step[1:]),
            self.complete.eq(done & ~selecting.any()),
        ]
        m.d.sync += [
            selecting.eq(Cat(primed & ~done, selecting)),
            # Two steps later, the low bit of the step is the same.
            byte.eq(self.unit.word_select(step[0], 8)),
        ]
        with m.If(~self.complete):
            m.d.sync += step.eq(step + 1)
        with m.If(ends):
            m.d.sync += [
                self.addr.eq(self.addr + 1),
                primed.eq(1),
                is_last.eq(self.addr == last_word),
                done.eq(done | (primed & is_last)),
            ]
        raw = Signal(CRC_BITS)
        with m.If(taking):
            m.d.sync += raw.eq(crc32_step(raw, byte))
        m.d.comb += self.crc.eq(~raw)
        with m.If(self.restart):
            m.d.sync += [
                step.eq(0), self.addr.eq(0), primed.eq(0), done.eq(0), selecting.eq(0),
                raw.eq(CRC_INIT)]
        return m
