"""Boot: commands that lie in a flash memory, read at power-up as if a host sent them."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.protocol import (
    FLASH_LEAD_BYTES,
    FLASH_OFFSET,
    FLASH_SLOT_BYTES,
    FlashCommand,
    flash_half_period,
)
from trilight.hw.lib.frames import FrameReceiver

__all__ = ["FlashReader", "FlashSignature", "add_verdict"]

WAKE_BYTE, READ_BYTE = 1, FLASH_LEAD_BYTES - 4
"""Bytes in which the flash is woken and is told to read. Between them it has some 40 us; data
sheets ask for 3 us (Winbond W25Q128JV) to 20 us (GigaDevice)."""


class FlashSignature(wiring.Signature):
    """Pins of a flash memory in SPI mode 0, one bit wide.

    Members
    -------
    cs : Out(1)
        High while the flash is selected.
    sck, mosi, miso : Out(1), Out(1), In(1)
    slot : In(1)
        Chooses the first image or the second.
    """

    def __init__(self) -> None:
        super().__init__({"cs": Out(1), "sck": Out(1), "mosi": Out(1), "miso": In(1),
                          "slot": In(1)})


class FlashReader(wiring.Component):
    """Wakes a flash memory and reads it from a slot's first byte on, until it is told to stop.

    The iCE40 leaves its flash in deep power-down after configuration. A byte takes
    ``byte_cycles``; the first is there 128 of these after reset.

    Parameters
    ----------
    clock_hz : int
        From which follows how fast the flash is read.
    offset : int
        Byte at which the first slot begins, a multiple of 65,536.

    Members
    -------
    flash : Out(FlashSignature)
    o : Out(stream of 8, always ready)
        Bytes of the flash, while ``busy``.
    stop : In(1)
        Pulse: read no more.
    busy : Out(1)
        From reset until ``stop``.
    """

    flash: "wiring.PureInterface"
    o: stream.Interface
    stop: Signal
    busy: Signal

    def __init__(self, *, clock_hz: int, offset: int = FLASH_OFFSET) -> None:
        if offset & 0xFFFF or not 0 <= offset + FLASH_SLOT_BYTES < 1 << 24:
            raise ValueError(f"slots begin at a multiple of 65,536 that 24 bits hold, not at "
                             f"{offset:#x}")
        self._half = flash_half_period(clock_hz)
        self._offset = offset
        super().__init__({
            "flash": Out(FlashSignature()),
            "o": Out(stream.Signature(8, always_ready=True)),
            "stop": In(1),
            "busy": Out(1, init=1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flash = self.flash
        # Phase of a bit, number of the bit, number of the byte until data come; whether they do.
        phase = Signal(range(2 * self._half))
        bit = Signal(3)
        number = Signal(range(FLASH_LEAD_BYTES + 1))
        reading = Signal()
        count = Cat(phase, bit, number)
        with m.If(self.busy):
            m.d.sync += count.eq(count + 1)
            with m.If(count.all()):
                m.d.sync += reading.eq(1)
        with m.If(self.stop):
            m.d.sync += self.busy.eq(0)

        out = Signal(8)
        with m.Switch(number):
            with m.Case(WAKE_BYTE):
                m.d.comb += out.eq(FlashCommand.WAKE)
            with m.Case(READ_BYTE):
                m.d.comb += out.eq(FlashCommand.READ)
            with m.Case(READ_BYTE + 1):
                m.d.comb += out.eq(Mux(flash.slot, (self._offset + FLASH_SLOT_BYTES) >> 16,
                                       self._offset >> 16))
        selected = Signal()
        m.d.comb += selected.eq(
            self.busy & ((number == WAKE_BYTE) | (number >= READ_BYTE) | reading))
        # From registers; a bit is on its way while the clock is low, and taken as it rises.
        m.d.sync += [
            flash.cs.eq(selected),
            flash.sck.eq(selected & phase[-1]),
            flash.mosi.eq(out[::-1].bit_select(bit, 1)),
        ]
        # The flash's bit has a whole period of the clock to arrive: it is taken into a register as
        # the next one begins, and shifted in a cycle later.
        miso = Signal(reset_less=True)
        shift = Signal(8, reset_less=True)
        shifts = phase == 1
        m.d.sync += miso.eq(flash.miso)
        with m.If(shifts):
            m.d.sync += shift.eq(Cat(miso, shift))
        m.d.comb += self.o.payload.eq(shift)
        m.d.sync += self.o.valid.eq(reading & shifts & (bit == 0))
        return m


def add_verdict(m: Module, reader: FlashReader, receiver: FrameReceiver, finished: Value,
                refused: Value) -> Signal:
    """Add when the reader stops; return whether it stopped at damage.

    It stops when a command of the image has ``finished`` it. It stops as well at the first frame
    that is damaged, at more bytes than a frame has, and at a command that was ``refused``. A flash
    that does not begin with a delimiter is taken for one without an image: nothing is damaged then.
    """
    opened, some, failed = Signal(), Signal(), Signal()
    ends = receiver.good | receiver.bad
    with m.If(ends):
        m.d.sync += [opened.eq(1), some.eq(0)]
    with m.If(receiver.write):
        m.d.sync += some.eq(1)
    damaged = Signal()
    m.d.comb += [
        damaged.eq(reader.busy & ((receiver.bad & some) | receiver.too_long | refused
                                  | (receiver.write & ~opened))),
        reader.stop.eq(finished | damaged),
    ]
    with m.If(damaged):
        m.d.sync += failed.eq(opened)
    return failed
