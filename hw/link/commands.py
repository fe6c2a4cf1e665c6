"""Commands: what a frame asks for is decoded, checked and executed."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import (
    ACCESS,
    BIASES,
    IDENTITY,
    MAX_FRAME_BYTES,
    MAX_WORDS,
    MIN_FRAME_BYTES,
    REGION_BITS,
    RUN,
    WORD_BYTES,
    Command,
    Region,
    Result,
)
from trilight.hw.interfaces import extra_regions, region_number, weight_words_on_bus
from trilight.hw.lib.frames import FrameReceiver
from trilight.hw.lib.fsm import OneHotFSM

from .buffer import FrameBuffer
from .layouts import WRITE_BYTES, status_layout

__all__ = ["Commands"]


class Commands:
    """Execution of one frame at a time, added to a module.

    ::

        IDLE -> FETCH -> SETTLE -> DECODE --> CHECK-ADDRESS -> REFUSE-OR-ACCEPT --> WRITE-LOW
                                        |                                       |    | ^
                                        |--> STOP -------------------------|    |    v |
                                        |--> CHECK-RUN -> START-RUN -------|    |   WRITE-HIGH
                                        `------------------------------------> RESPOND -> IDLE

    A frame is fetched a byte per cycle, and refused in the order of ``docs/protocol.md``:
    BAD_COMMAND, BAD_LENGTH, BAD_ADDRESS, BUSY.

    Attributes
    ----------
    command : Signal(Command)
    result : Signal(Result)
        Of the command, once it is executed.
    responding : Signal
        It is executed; the response is due, or being sent.
    responded : Signal
        Set by the responder when the response is sent.
    """

    def __init__(self, m: Module, device: Device, receiver: FrameReceiver,
                 buffer: FrameBuffer, bus: "wiring.PureInterface", run: "wiring.PureInterface",
                 running: Value) -> None:
        self._device = device
        self._receiver = receiver
        self._buffer = buffer
        self._bus = bus
        self._run = run
        self._running = running
        self.result = Signal(Result, name="result", reset_less=True)
        self.command = Signal(Command, name="command", reset_less=True)
        self.responding, self.responded = Signal(name="responding"), Signal(name="responded")
        self._last_run = Signal(8, name="last_run")
        # What a decision needs is compared a cycle before.
        frame = buffer.frame
        self._known, self._forget_run = Signal(name="known"), Signal(name="forget_run")
        self._repeats_run = Signal(name="repeats_run")
        m.d.sync += [
            self._known.eq(frame.command.matches(*Command)),
            self._forget_run.eq(frame.sequence == 0),
            self._repeats_run.eq(frame.sequence == self._last_run),
            run.stop.eq(0),
        ]
        self._add_address(m)
        m.d.comb += [
            bus.data.eq(Cat(buffer.top, buffer.byte)),
            *(run.request.payload[field].eq(frame.payload.run[field])
              for field in run.request.payload.shape().members),
        ]
        idle = Signal()
        m.d.comb += receiver.release.eq(receiver.good & ~idle)
        # A unit has two bytes, so writes are two cycles apart unless they have to wait.
        rest = ["WRITE-REST"] if self._device.write_cycles > 2 else []
        fsm = OneHotFSM(m, "IDLE", "FETCH", "SETTLE", "DECODE", "CHECK-ADDRESS",
                        "REFUSE-OR-ACCEPT", "WRITE-LOW", "WRITE-HIGH", "STOP", "CHECK-RUN",
                        "START-RUN", "RESPOND", *rest)
        self._add_decode_states(m, fsm, idle)
        self._add_access_states(m, fsm, *rest)
        self._add_run_states(m, fsm)

    def _add_address(self, m: Module) -> None:
        """Add the address of the bus, and whether it is one of the weights or of a region.

        The address counts up within its region; a memory that is shorter repeats in it.
        """
        bus, address = self._bus, self._buffer.frame.payload.access.address
        weight_words = weight_words_on_bus(self._device)
        bits = len(bus.address)
        word = Signal(bits + 1, name="word_address", reset_less=True)
        is_region = address[-1]
        number = address[REGION_BITS:-1]
        numbers = len(Region) - 1
        extra = extra_regions(self._device)
        m.d.sync += word.eq(address[:bits] + self._buffer.index)
        m.d.comb += [
            bus.address.eq(word),
            bus.to_weights.eq(~is_region),
            bus.region.eq(number),
        ]
        known = number < numbers
        self._in_region = is_region & (known | number.matches(*extra) if extra else known)
        self._in_weights = ~is_region & (address[bits:-1] == 0) & (word < weight_words)

    def _bias_regions(self) -> list[int]:
        """Numbers of the regions of biases that are learnt while reading."""
        return [region_number(address)
                for address, _ in zip(BIASES, self._device.adapt_depths, strict=False)]

    def _add_decode_states(self, m: Module, fsm: OneHotFSM, idle: Signal) -> None:
        """Add the states that fetch a frame and find out its command."""
        buffer, receiver, frame = self._buffer, self._receiver, self._buffer.frame
        bare, fits_read, fits_run = Signal(), Signal(), Signal()
        m.d.sync += [fits.eq(receiver.count == MIN_FRAME_BYTES + size - WRITE_BYTES)
                     for fits, size in ((bare, 0), (fits_read, ACCESS.size), (fits_run, RUN.size))]
        # A sequence that is not there counts as a wrong length.
        has_sequence = frame.payload.run.sequence >> self._device.sequence_bits == 0
        # Right length, last value of the index, next state. The index begins at 1, and is set back
        # to 0 after an address has been checked.
        status_words = status_layout(self._device).size // (8 * WORD_BYTES)
        decode = {
            Command.IDENTIFY: (bare, 1 + IDENTITY.size // WORD_BYTES, "RESPOND"),
            Command.WRITE: (~receiver.count[0], receiver.count[1:], "CHECK-ADDRESS"),
            Command.READ: (fits_read, frame.payload.access.count, "CHECK-ADDRESS"),
            Command.RUN: (fits_run & has_sequence, 1, "CHECK-RUN"),
            Command.STOP: (bare, 1, "STOP"),
            Command.STATUS: (bare, 1 + status_words, "RESPOND"),
        }
        with fsm.State("IDLE"):
            m.d.comb += [idle.eq(1), buffer.count_clear.eq(1)]
            m.d.sync += [buffer.pointer.eq(buffer.START), self.result.eq(Result.OK)]
            with m.If(receiver.good):
                fsm.next = "FETCH"

        with fsm.State("FETCH"):
            m.d.comb += [
                buffer.advance.eq(1), buffer.shift_low.eq(1), buffer.shift_middle.eq(1),
                buffer.shift_top.eq(1)]
            with m.If(buffer.pointer == (buffer.START + buffer.length // 8) % MAX_FRAME_BYTES):
                fsm.next = "SETTLE"

        with fsm.State("SETTLE"):
            m.d.sync += [self.command.eq(frame.command), buffer.pointer.eq(buffer.WORDS_START)]
            fsm.next = "DECODE"

        with fsm.State("DECODE"):
            m.d.comb += [receiver.release.eq(1), buffer.count_on.eq(1)]
            fsm.next = "RESPOND"
            with m.If(self._forget_run):
                m.d.sync += self._last_run.eq(frame.sequence)
            with m.If(~self._known):
                m.d.sync += self.result.eq(Result.BAD_COMMAND)
            with m.Else(), m.Switch(self.command):
                for which, (right, count, state) in decode.items():
                    with m.Case(which):
                        m.d.sync += buffer.words.eq(count)
                        with m.If(right):
                            fsm.next = state
                        with m.Else():
                            m.d.sync += self.result.eq(Result.BAD_LENGTH)

    def _add_access_states(self, m: Module, fsm: OneHotFSM, *rest: str) -> None:
        """Add the states that check every address of a READ or WRITE, and those of the WRITE.

        After each unit come the states of ``rest``.
        """
        buffer, bus = self._buffer, self._bus
        forbidden, busy, too_many = Signal(), Signal(), Signal()
        m.d.sync += [forbidden.eq(0), busy.eq(0)]
        readable = self._in_region & bus.region.matches(
            Region.TAPE.number, Region.WEIGHT_CRC.number)
        biases = self._bias_regions()
        readable_idle = self._in_weights
        if biases:
            readable_idle |= self._in_region & bus.region.matches(*biases)

        with fsm.State("CHECK-ADDRESS"):
            # The address on the bus is that of the word before the index. Numbers of words that
            # are too large, zero, or negative and thus large, are never reached.
            writable = self._in_region & (self.command == Command.WRITE)
            m.d.comb += buffer.count_on.eq(1)
            m.d.sync += [
                forbidden.eq(forbidden | ~(readable_idle | readable | writable)),
                busy.eq(busy | (self._running & ~(readable & (self.command == Command.READ)))),
                too_many.eq(~buffer.last),
            ]
            with m.If(buffer.last | (buffer.index == MAX_WORDS)):
                fsm.next = "REFUSE-OR-ACCEPT"

        with fsm.State("REFUSE-OR-ACCEPT"):
            m.d.comb += [buffer.advance.eq(1), buffer.count_clear.eq(1)]
            fsm.next = "RESPOND"
            with m.If(too_many):
                m.d.sync += self.result.eq(Result.BAD_LENGTH)
            with m.Elif(forbidden):
                m.d.sync += self.result.eq(Result.BAD_ADDRESS)
            with m.Elif(busy):
                m.d.sync += self.result.eq(Result.BUSY)
            with m.Elif(self.command == Command.WRITE):
                fsm.next = "WRITE-LOW"

        with fsm.State("WRITE-LOW"):
            m.d.comb += [buffer.advance.eq(1), buffer.shift_top.eq(1)]
            fsm.next = "WRITE-HIGH"
            with m.If(buffer.last):
                fsm.next = "RESPOND"

        with fsm.State("WRITE-HIGH"):
            m.d.comb += [buffer.advance.eq(1), buffer.count_on.eq(1), bus.write.eq(1)]
            fsm.next = next(iter(rest), "WRITE-LOW")

        for state in rest:
            with fsm.State(state):
                fsm.next = "WRITE-LOW"

    def _add_run_states(self, m: Module, fsm: OneHotFSM) -> None:
        """Add the states of RUN and STOP, and the one that waits for the response."""
        request, frame = self._run.request, self._buffer.frame
        feeds_none = Signal()
        m.d.sync += feeds_none.eq(frame.payload.run.n_feed == 0)

        with fsm.State("STOP"):
            m.d.sync += self._run.stop.eq(1)
            fsm.next = "RESPOND"

        with fsm.State("CHECK-RUN"):
            fsm.next = "RESPOND"
            with m.If(self._forget_run | ~self._repeats_run):
                with m.If(feeds_none):
                    m.d.sync += self.result.eq(Result.BAD_LENGTH)
                with m.Elif(self._running):
                    m.d.sync += self.result.eq(Result.BUSY)
                with m.Else():
                    fsm.next = "START-RUN"

        with fsm.State("START-RUN"):
            m.d.sync += [self._last_run.eq(frame.sequence), request.valid.eq(1)]
            with m.If(request.valid & request.ready):
                m.d.sync += request.valid.eq(0)
                fsm.next = "RESPOND"

        with fsm.State("RESPOND"):
            m.d.comb += self.responding.eq(1)
            with m.If(self.responded):
                fsm.next = "IDLE"
