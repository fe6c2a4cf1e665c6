"""Tokens: the end of one, the tape between, and the embedding of the next."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring

from trilight.hw.contract.device import Device
from trilight.hw.contract.program import Op
from trilight.hw.lib.fsm import OneHotFSM
from trilight.hw.lib.select import any_of, lowest

from .fetch import ProgramReader
from .scheduler import Scheduler
from .sequences import Sequences

__all__ = ["Tokens"]


class Tokens:
    """Control of a sequence from the last operation of a token to the embedding of its next one.

    Attributes
    ----------
    sequence : Signal
        Sequence whose token ends, or whose next token is embedded.
    ends : Signal
        Its token ends before the operation that was issued gets its context.
    starting : Signal
        The first tokens of a run are being embedded, sequence after sequence.
    """

    def __init__(self, m: Module, device: Device, sequences: Sequences,
                 scheduler: Scheduler, tape: "wiring.PureInterface", sampled: Value) -> None:
        self._sequences = sequences
        self._scheduler = scheduler
        self._tape = tape
        self._sampled = sampled
        self.sequence = Signal(sequences.bits, name="token_sequence")
        self.ends = Signal(name="token_ends")
        self.starting = Signal(name="starting")
        self._address = Signal.like(tape.addr, name="tape_address", reset_less=True)
        self._position = sequences.position[self.sequence]
        self._next_position = Signal(16, name="next_position")
        self._sampled_now = Signal(name="sampled_now")
        self._tape_bits = device.tape_bits
        m.d.sync += [
            self._sampled_now.eq(sequences.samples[self.sequence]),
            tape.write.eq(0),
        ]
        m.d.comb += [
            self._next_position.eq(self._position + 1),
            tape.addr.eq(self._address),
            tape.write_data.eq(sampled),
        ]

    def add_start_states(self, m: Module, fsm: OneHotFSM, reader: ProgramReader, done: Signal,
                         ) -> None:
        """Add the states that embed the first token of each sequence.

        ``done`` is set when an embedding is complete.
        """
        s = self._sequences
        with fsm.State("ADDRESS-TOKEN"):
            fsm.next = "READ-TOKEN"

        with fsm.State("NEXT-SEQUENCE"):
            m.d.sync += reader.seek(self._scheduler.op_start)
            later = [s.active[k] & (self.sequence < k) for k in s.numbers[1:]]
            with m.If(~any_of(later)):
                m.d.sync += self.starting.eq(0)
                fsm.next = "FETCH-OP"
            if later:
                with m.Elif(done):
                    m.d.sync += [done.eq(0), self.sequence.eq(lowest(later) + 1)]
                    fsm.next = "ADDRESS-TOKEN"

    def add_end_states(self, m: Module, fsm: OneHotFSM, done: Signal,
                       status: "wiring.PureInterface",
                       events: list["wiring.PureInterface"]) -> None:
        """Add the states that end a token: count it, write and announce the one sampled."""
        s = self._sequences
        for event in events:
            with m.If(event.ready):
                m.d.sync += event.valid.eq(0)

        with fsm.State("AWAIT-TOKEN"):
            with m.If(done):
                m.d.sync += done.eq(0)
                fsm.next = "END-TOKEN"

        with fsm.State("END-TOKEN"):
            m.d.sync += [
                self._tape.write.eq(self._sampled_now),
                self.ends.eq(0),
                self._position.eq(self._next_position),
                status.tokens.eq(status.tokens + 1),
                s.zero_state[self.sequence].eq(0),
            ]
            # An event in transmission stays as it is: a token that goes unannounced is still on
            # the tape, but half of one event and half of the next would pass for a token.
            for k, event in enumerate(events):
                with m.If(self._sampled_now & (self.sequence == k) & ~event.valid):
                    m.d.sync += [
                        event.valid.eq(1),
                        event.payload.position.eq(self._next_position),
                        event.payload.token.eq(self._sampled),
                    ]
            with m.If(self._sampled_now):
                m.d.sync += s.n_generate[self.sequence].eq(s.n_generate[self.sequence] - 1)
            with m.Else():
                m.d.sync += s.n_feed[self.sequence].eq(s.n_feed[self.sequence] - 1)
            with m.If(s.continues[self.sequence]):
                fsm.next = "WRITE-TOKEN"
            with m.Elif(self._scheduler.any_continues):
                m.d.sync += done.eq(1)  # nothing is under way
                fsm.next = "LOAD-CONTEXT"
            with m.Else():
                m.d.sync += status.running.eq(0)
                fsm.next = "IDLE"

    def add_embedding_states(self, m: Module, fsm: OneHotFSM, embedding: "wiring.PureInterface",
                             context: "wiring.PureInterface", act_short: Value) -> None:
        """Add the states that read the next token from the tape and start its embedding."""
        s = self._sequences
        # A sampled token is written where the next one is read, after the present one.
        with m.If(~fsm.ongoing("WRITE-TOKEN") & ~fsm.ongoing("READ-TOKEN")):
            m.d.sync += self._address.eq(Cat(
                Mux(self.starting, self._position, self._next_position)[:self._tape_bits],
                self.sequence))
        m.d.comb += embedding.token.eq(self._tape.read_data)

        with fsm.State("WRITE-TOKEN"):
            fsm.next = "READ-TOKEN"

        with fsm.State("READ-TOKEN"):
            with m.If(self._tape.read_ready):
                fsm.next = "EMBED-TOKEN"

        with fsm.State("EMBED-TOKEN"):
            m.d.sync += [
                s.next_samples[self.sequence].eq(
                    ~s.feeds_more[self.sequence] & s.generates[self.sequence]),
                context.load.eq(1),
                context.context.embedding.eq(1),
                context.context.kind.eq(Op.RESIDUAL_SHIFT),
                context.context.act_short.eq(act_short),
                context.context.sequence.eq(self.sequence),
                context.context.zero_state.eq(s.zero_state[self.sequence]),
                context.context.discard.eq(0),
            ]
            m.d.comb += embedding.start.eq(1)
            fsm.next = "LOAD-CONTEXT"
            with m.If(self.starting):
                fsm.next = "NEXT-SEQUENCE"
