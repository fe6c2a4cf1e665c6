"""Responses to commands, and events: what the device sends, byte after byte."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring

from trilight.hw.contract.protocol import EVENT, RESPONSE, TOKEN_EVENT, Command, Result
from trilight.hw.lib.frames import FrameSender
from trilight.hw.lib.fsm import OneHotFSM
from trilight.hw.lib.select import lowest

from .buffer import FrameBuffer
from .commands import Commands

__all__ = ["Responses"]


class Responses:
    """Sender of one response or event at a time, a response first; added to a module.

    ::

        state     SEQUENCE | COMMAND | RESULT | [RUNNING] | (LOW | HIGH) per word      | END
        response  sequence | command | result | running   | low and high byte          | delimiter
        event     0        | event   | position low       | position high | token      | delimiter

    An event's second byte of the token goes in TOKEN-HIGH, after HIGH.

    A word of a READ is read in BUS-READ and awaited in AWAIT-WORD, before its LOW.

    Parameters
    ----------
    events : list of streams of token events
        One is taken when its last byte has been handed on; the first sequence's go first.
    """

    def __init__(self, m: Module, sender: FrameSender, buffer: FrameBuffer, commands: Commands,
                 bus: "wiring.PureInterface", running: Value,
                 events: "list[stream.Interface]") -> None:
        self._sender = sender
        self._buffer = buffer
        self._commands = commands
        self._bus = bus
        self._running = running
        self._events = events
        command = commands.command
        self._is_event = Signal(name="is_event", reset_less=True)
        self._which = Signal(range(len(events)), name="event_sequence", reset_less=True)
        self._identify = Signal(name="identify", reset_less=True)
        self._was_last = Signal(name="was_last", reset_less=True)
        m.d.sync += [self._identify.eq(command == Command.IDENTIFY),
                     self._was_last.eq(buffer.last)]
        self._sending = Signal(name="sending")
        self._fixed = Signal(8, name="fixed")
        self._from_shift, self._from_body = Signal(name="from_shift"), Signal(name="from_body")
        self._add_bytes(m)
        fsm = OneHotFSM(m, "IDLE", "SEQUENCE", "COMMAND", "RESULT", "RUNNING", "BODY",
                        "BUS-READ", "AWAIT-WORD", "LOW", "HIGH", "TOKEN-HIGH", "COUNTED", "END")
        self._add_header_states(m, fsm)
        self._add_body_states(m, fsm)

    def _add_bytes(self, m: Module) -> None:
        """Add the choice of the byte that is sent."""
        buffer, commands, sender = self._buffer, self._commands, self._sender
        event: Value = self._events[-1].payload.as_value()
        for k in reversed(range(len(self._events) - 1)):
            event = Mux(self._which == k, self._events[k].payload.as_value(), event)
        self._from_event = Signal(TOKEN_EVENT.size, name="from_event")
        parts = [
            (self._from_shift | (self._from_body & ~self._identify), buffer.shift[:8]),
            (self._from_body & self._identify, buffer.byte),
            *((self._from_event[i], event.word_select(i, 8))
              for i in range(-(-len(event) // 8))),
        ]
        m.d.comb += [
            sender.i.valid.eq(self._sending),
            # At most one part is not zero, which is smaller than a choice.
            sender.i.payload.data.eq(
                reduce(or_, (Mux(chosen, part, 0) for chosen, part in parts), self._fixed)),
            buffer.in_identity.eq(self._identify & commands.responding),
        ]
        # The sender takes a byte at most every other cycle, so there is time for a register.
        taken = Signal()
        m.d.sync += taken.eq((self._from_shift | self._from_body) & sender.i.ready)
        with m.If(taken):
            m.d.comb += buffer.shift_low.eq(1)
            with m.If(self._identify):
                m.d.comb += buffer.advance.eq(1)
            with m.If(commands.command == Command.STATUS):
                m.d.comb += buffer.shift_middle.eq(1)

    def _add_header_states(self, m: Module, fsm: OneHotFSM) -> None:
        """Add the states up to the result of a response, or to the first byte of an event."""
        commands, sent, is_event = self._commands, self._sender.i.ready, self._is_event
        first: Value = lowest([event.valid for event in self._events])
        with fsm.State("IDLE"):
            m.d.sync += [is_event.eq(~commands.responding), self._which.eq(first)]
            with m.If(commands.responding | Cat(event.valid for event in self._events).any()):
                fsm.next = "SEQUENCE"

        with fsm.State("SEQUENCE"):
            m.d.comb += [self._sending.eq(1), self._from_shift.eq(~is_event)]
            with m.If(sent):
                fsm.next = "COMMAND"

        with fsm.State("COMMAND"):
            m.d.comb += [
                self._sending.eq(1),
                self._fixed.eq(Mux(is_event, EVENT | self._which, RESPONSE)),
                self._from_shift.eq(~is_event),
            ]
            with m.If(sent):
                fsm.next = "RESULT"

        with fsm.State("RESULT"):
            m.d.comb += [
                self._sending.eq(1),
                self._fixed.eq(Mux(is_event, 0, commands.result)),
                self._from_event[0].eq(is_event),
            ]
            with m.If(sent):
                fsm.next = "BODY"
                with m.If(is_event):
                    fsm.next = "LOW"
                with m.Elif((commands.command == Command.STATUS)
                            & (commands.result == Result.OK)):
                    fsm.next = "RUNNING"

        with fsm.State("RUNNING"):
            # Loaded until it is taken, and so as old as ``running``.
            m.d.comb += [self._sending.eq(1), self._fixed.eq(self._running),
                         self._buffer.load_status.eq(1)]
            with m.If(sent):
                fsm.next = "BODY"

    def _add_body_states(self, m: Module, fsm: OneHotFSM) -> None:
        """Add the states that send words, and the end of the frame."""
        buffer, commands, bus = self._buffer, self._commands, self._bus
        sent, is_event = self._sender.i.ready, self._is_event
        with fsm.State("BODY"):
            fsm.next = "LOW"
            with m.If(commands.command == Command.READ):
                fsm.next = "BUS-READ"
            with m.If(self._was_last | (commands.result != Result.OK)):
                fsm.next = "END"

        with fsm.State("BUS-READ"):
            m.d.comb += bus.read.eq(1)
            fsm.next = "AWAIT-WORD"

        with fsm.State("AWAIT-WORD"):
            m.d.comb += buffer.load_word.eq(1)
            with m.If(bus.read_valid):
                fsm.next = "LOW"

        with fsm.State("LOW"):
            m.d.comb += [self._sending.eq(1), self._from_body.eq(~is_event),
                         self._from_event[1].eq(is_event)]
            with m.If(sent):
                fsm.next = "HIGH"

        with fsm.State("HIGH"):
            m.d.comb += [self._sending.eq(1), self._from_body.eq(~is_event),
                         self._from_event[2].eq(is_event)]
            with m.If(sent):
                fsm.next = "TOKEN-HIGH"
                with m.If(~is_event):
                    m.d.comb += buffer.count_on.eq(1)
                    fsm.next = "COUNTED"

        with fsm.State("TOKEN-HIGH"):
            m.d.comb += [self._sending.eq(1), self._from_event[3].eq(1)]
            with m.If(sent):
                fsm.next = "END"

        with fsm.State("COUNTED"):
            fsm.next = "BODY"

        with fsm.State("END"):
            m.d.comb += [self._sending.eq(1), self._sender.i.payload.end.eq(1)]
            with m.If(sent):
                m.d.comb += [
                    commands.responded.eq(~is_event),
                    *(event.ready.eq(is_event & (self._which == k))
                      for k, event in enumerate(self._events)),
                ]
                fsm.next = "IDLE"
