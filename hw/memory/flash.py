"""Reader of a serial flash over four wires: weight words, one after the other."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.outside import QuadFlash
from trilight.hw.interfaces import BUS_BITS, OutsideSignature
from trilight.hw.lib.fsm import OneHotFSM

__all__ = ["FlashPins", "FlashReader"]

WAKE, READ = 0xAB, 0xEB
COMMAND, ADDRESS, MODE = 8, 6, 2
"""Clocks of the parts of a read."""


class FlashPins(wiring.Signature):
    """Pins of a flash, as its reader sees them.

    Members
    -------
    select, clock : Out(1)
        Chip select, active high; a clock pulse in this cycle, whose edges are in its middle and at
        its end.
    o, oe, i : Out(4), Out(4), In(4)
        Wires, bit by bit driven or not. The nibble that follows a pulse is at ``i``
        ``QuadFlash.delay`` cycles later.
    """

    def __init__(self) -> None:
        super().__init__({
            "select": Out(1), "clock": Out(1), "o": Out(4), "oe": Out(4), "i": In(4)})


class FlashReader(wiring.Component):
    """Read weight words at a nibble per cycle: a word of 64 bits takes 16.

    A request costs ``deselect`` cycles, 8 for the command, 8 for address and mode, ``dummy``, and
    the pins' delay; words then follow without a gap for as long as they are taken. The command is
    sent each time, for the 8 cycles saved without it would leave a flash that answers no
    configuration after a reset. Requests to write are taken and come to nothing.

    After power-on the flash is released from power-down, where the configuration of an iCE40 has
    left it.

    Members
    -------
    port : In(OutsideSignature)
    pins : Out(FlashPins)
    """

    port: wiring.PureInterface
    pins: wiring.PureInterface

    def __init__(self, *, device: Device) -> None:
        assert isinstance(device.outside, QuadFlash)
        self._device = device
        self._flash = device.outside
        super().__init__({"port": In(OutsideSignature(device)), "pins": Out(FlashPins())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flash, pins, requests = self._flash, self.pins, self.port.requests
        head = COMMAND + ADDRESS + MODE + flash.dummy
        step = Signal(range(head))
        rest = Signal(range(max(flash.wake, flash.deselect) + 1), init=flash.wake)
        waking = Signal(init=1)
        address = Signal(4 * ADDRESS, reset_less=True)
        tag = Signal.like(requests.payload.tag)
        pulse = Signal()  # a nibble follows this cycle's clock
        may_pulse = self._add_words(m, pulse, tag)

        fsm = OneHotFSM(m, "REST", "HEAD", "READ")
        m.d.sync += [pins.select.eq(fsm.ongoing("HEAD") | fsm.ongoing("READ")), pins.clock.eq(0)]
        self._add_head(m, step, waking, address)
        with fsm.State("REST"):
            m.d.sync += step.eq(0)
            with m.If(rest.any()):
                m.d.sync += rest.eq(rest - 1)
            with m.Elif(waking):
                fsm.next = "HEAD"
            with m.Elif(requests.valid):
                m.d.comb += requests.ready.eq(1)
                m.d.sync += [
                    address.eq(flash.first_byte + Cat(Const(0, 1), requests.payload.unit)),
                    tag.eq(requests.payload.tag),
                ]
                with m.If(~requests.payload.write):
                    fsm.next = "HEAD"

        with fsm.State("HEAD"):
            m.d.sync += [step.eq(step + 1), pins.clock.eq(1)]
            with m.If((step >= COMMAND) & (step < COMMAND + ADDRESS)):
                m.d.sync += address.eq(address << 4)
            with m.If(waking & (step == COMMAND - 1)):
                m.d.sync += [waking.eq(0), rest.eq(flash.wake)]
                fsm.next = "REST"
            with m.Elif(step == head - 1):
                m.d.comb += pulse.eq(1)
                fsm.next = "READ"

        with fsm.State("READ"):
            m.d.comb += pulse.eq(may_pulse & ~requests.valid)
            m.d.sync += pins.clock.eq(pulse)
            with m.If(requests.valid):
                m.d.sync += rest.eq(flash.deselect)
                fsm.next = "REST"
        return m

    def _add_head(self, m: Module, step: Signal, waking: Signal, address: Signal) -> None:
        """Drive the wires: the command on one of them, address and mode on all four."""
        pins = self.pins
        commands = [Array(Const(command >> 7 - k & 1, 1) for k in range(COMMAND))
                    for command in (READ, WAKE)]
        in_command = step < COMMAND
        bit = Mux(waking, commands[1][step[:3]], commands[0][step[:3]])
        # The two upper wires are held high, as parts that still take them for other things want.
        m.d.sync += [
            pins.o.eq(Mux(in_command, Cat(bit, Const(0, 1), Const(3, 2)),
                          Mux(step < COMMAND + ADDRESS, address[-4:], 0xF))),
            pins.oe.eq(Mux(in_command, 0b1101,
                           Mux(step < COMMAND + ADDRESS + MODE, 0xF, 0))),
        ]

    def _add_words(self, m: Module, pulse: Signal, tag: Signal) -> Signal:
        """Gather nibbles into words; return whether one more may be asked for.

        The last nibble of a word is asked for when the word before has been taken, or is now.
        """
        words = self.port.words
        bits = BUS_BITS * self._device.packing.word_units
        nibbles = bits // 4
        asked, arrived = Signal(range(nibbles)), Signal(range(nibbles))
        may_pulse = Signal()
        m.d.comb += may_pulse.eq((asked != nibbles - 1) | ~words.valid | words.ready)
        coming = Signal(self._flash.delay + 1)
        m.d.sync += coming.eq(Cat(pulse, coming))
        with m.If(pulse):
            m.d.sync += asked.eq(asked + 1)
        gathered = Signal(bits, reset_less=True)
        following = Cat(gathered[4:], self.pins.i)
        with m.If(words.ready):
            m.d.sync += words.valid.eq(0)
        with m.If(coming[-1]):
            m.d.sync += [gathered.eq(following), arrived.eq(arrived + 1)]
            with m.If(arrived == nibbles - 1):
                # The upper nibble of each byte comes first.
                m.d.sync += [
                    words.valid.eq(1),
                    words.payload.word.eq(Cat(following[k ^ 4] for k in range(bits))),
                    words.payload.tag.eq(tag),
                ]
        with m.If(self.port.requests.valid):
            m.d.sync += [coming.eq(0), asked.eq(0), arrived.eq(0), words.valid.eq(0)]
        return may_pulse
