"""Sequencer: walks the tokens of a run through engine, vector unit and sampler."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.program import SCALES, Header, Op
from trilight.hw.contract.protocol import RunFlag
from trilight.hw.interfaces import (
    BUS_BITS,
    ContextSignature,
    EmbeddingSignature,
    LearningSignature,
    OperationSignature,
    ProgramSignature,
    RoundSignature,
    RunSignature,
    SamplingSignature,
    StatusSignature,
    TapeSignature,
    token_events,
)
from trilight.hw.lib.arith import Counter
from trilight.hw.lib.fsm import OneHotFSM
from trilight.hw.lib.select import lowest

from .divider import EffectiveScale
from .fetch import ProgramReader
from .scheduler import Scheduler
from .sequences import Sequences
from .tokens import Tokens

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    r"""Feed tokens from the tapes, generate tokens onto them, and count.

    An operation is issued to the engine while the one before still streams. Its context goes to the
    vector unit when that one's last result is out, and only then may its rows come. ``Scheduler``
    says which operation of which sequence that is; ``Tokens`` ends a sequence's token and embeds
    its next one.

    ::

        state         FETCH-OP | ISSUE-OP | LOAD-CONTEXT | ...-DIVISION | ENABLE-ROWS | SETTLE ...
        ops           __________<    n    >_____________________________________________________
        done          ___________________________/^\____________________________________________
        context       < n - 1                        >< n
        scales        _______________________________________<0><1><2>__________________________
        rows_enabled  ^^^^^^^^^\_________________________________________________/^^^^^^^^^^^^^^

    Members
    -------
    run : In(RunSignature)
    status : Out(StatusSignature)
    events : Out(token_events)
        A token that is sampled while the event before still waits goes unannounced.
    program : Out(ProgramSignature)
    tape : Out(TapeSignature)
    operations : Out(OperationSignature)
    embedding : Out(EmbeddingSignature)
    context : Out(ContextSignature)
    sampling : Out(SamplingSignature)
    learning : Out(LearningSignature)
        Of a device that learns while it reads.
    done : In(1)
        Pulse: the last result of an operation or embedding is out.
    rounds : Out(RoundSignature)
        Of a device whose weights stream from outside only.
    """

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__({
            "run": In(RunSignature(device)),
            "status": Out(StatusSignature(device)),
            "events": token_events(device),
            "program": Out(ProgramSignature(device)),
            "tape": Out(TapeSignature(device)),
            "operations": Out(OperationSignature(device)),
            "embedding": Out(EmbeddingSignature(device)),
            "context": Out(ContextSignature(device)),
            "sampling": Out(SamplingSignature(device)),
            **({"learning": Out(LearningSignature(device))} if device.adapt_orders else {}),
            "done": In(1),
            **({"rounds": Out(RoundSignature(device))} if device.streamed else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        device = self._device
        m.submodules.divider = divider = EffectiveScale(device=self._device)
        sequences = Sequences(m, device)
        reader = ProgramReader(m, self.program)
        scheduler = Scheduler(m, device, sequences, reader)
        tokens = Tokens(m, device, sequences, scheduler, self.tape, self.sampling.token)
        stopping = Signal()
        done = Signal()
        after_embedding_short = Signal(reset_less=True)

        if device.streamed:
            m.d.comb += [
                self.rounds.decided.eq(scheduler.decided),
                self.rounds.head.eq(scheduler.any_head),
                self.rounds.head_word.eq(self.embedding.base),
            ]
        status = self.status
        m.d.comb += [position.eq(sequences.position[k])
                     for k, position in enumerate(status.positions)]
        counters = (Counter(m, status.cycles, status.running),
                    Counter(m, status.words, self.operations.word_used))
        with m.If(self.run.stop):
            m.d.sync += stopping.eq(1)
        with m.If(self.done):
            m.d.sync += done.eq(1)
        m.d.sync += self.context.load.eq(0)

        fsm = OneHotFSM(
            m, "IDLE", "ACCEPT-RUN", "READ-HEADER", "START", "ADDRESS-TOKEN", "FETCH-OP",
            "ISSUE-OP", "AWAIT-TOKEN", "END-TOKEN", "WRITE-TOKEN", "READ-TOKEN", "EMBED-TOKEN",
            "NEXT-SEQUENCE", "LOAD-CONTEXT", "FETCH-SCALE", "START-DIVISION", "AWAIT-DIVISION",
            "ENABLE-ROWS", "SETTLE", "SELECT-OP")
        self._add_run_states(m, fsm, sequences, reader, stopping, counters)
        self._add_header_states(m, fsm, reader, scheduler, after_embedding_short)
        with fsm.State("START"):
            scheduler.start(m)
            m.d.sync += [
                tokens.starting.eq(1),
                tokens.sequence.eq(lowest(sequences.requested)),
                done.eq(0),
                *(requested.eq(0) for requested in sequences.requested),
            ]
            fsm.next = "ADDRESS-TOKEN"
            # A program has several operations: with one, none was loaded since power-on.
            with m.If(scheduler.op_count == 0):
                m.d.sync += status.running.eq(0)
                fsm.next = "IDLE"
        tokens.add_start_states(m, fsm, reader, done)
        scheduler.add_issue_states(m, fsm, self.operations.ops, tokens.ends)
        tokens.add_end_states(m, fsm, done, status, self.events)
        tokens.add_embedding_states(m, fsm, self.embedding, self.context, after_embedding_short)
        if device.adapt_orders:
            m.d.comb += [
                self.learning.enabled.eq(sequences.learns),
                self.learning.reads.eq(sequences.reads),
                self.learning.token.eq(self.embedding.token),
                self.learning.valid.eq(self.embedding.start & sequences.learns),
            ]
        self._add_context_states(m, fsm, sequences, reader, scheduler, divider, done)

        m.d.sync += self.operations.rows_enabled.eq(
            fsm.ongoing("ENABLE-ROWS") | (self.operations.rows_enabled & ~self.operations.ends))
        with fsm.State("ENABLE-ROWS"):
            with m.If(scheduler.is_token_end):
                m.d.sync += [
                    tokens.ends.eq(1),
                    tokens.sequence.eq(scheduler.sequence),
                    sequences.continues[scheduler.sequence].eq(
                        ~stopping & scheduler.token_follows),
                ]
            fsm.next = "SETTLE"
        scheduler.add_select_states(m, fsm)
        return m

    def _add_run_states(self, m: Module, fsm: OneHotFSM, sequences: Sequences,
                        reader: ProgramReader, stopping: Signal,
                        counters: Sequence[Counter]) -> None:
        """Add the states that take a RUN, and begin unless it is to be held."""
        request, status, sampling = self.run.request, self.status, self.sampling
        m.d.comb += sampling.seed.eq(request.payload.seed)
        temperature = sampling.temperature
        if self._device.adapt_orders:
            temperature = Signal.like(temperature, name="run_temperature")
            m.d.comb += sampling.temperature.eq(
                Mux(sequences.reads, 1 << NUMBERS.temperature_frac, temperature))

        def flag(which: RunFlag) -> Value:
            return (request.payload.flags & which.value).any()

        with fsm.State("IDLE"):
            m.d.sync += [*reader.seek(0), stopping.eq(0)]
            with m.If(request.valid):
                fsm.next = "ACCEPT-RUN"

        with fsm.State("ACCEPT-RUN"):
            sequence = request.payload.sequence
            m.d.comb += [
                request.ready.eq(1),
                sampling.load_seed.eq(flag(RunFlag.SEED)),
                sampling.seed_sequence.eq(sequence),
            ]
            with m.If(sequence == 0):
                m.d.sync += [requested.eq(0) for requested in sequences.requested]
            m.d.sync += [
                sequences.requested[sequence].eq(1),
                sequences.n_feed[sequence].eq(request.payload.n_feed),
                sequences.n_generate[sequence].eq(request.payload.n_generate),
                temperature.eq(request.payload.temperature),
            ]
            if self._device.adapt_orders:
                alone = (sequence == 0) & ~flag(RunFlag.HOLD)
                m.d.sync += sequences.learns.eq(alone & flag(RunFlag.ADAPT))
                m.d.comb += self.learning.begins.eq((sequence == 0) & flag(RunFlag.RESET))
            with m.If(flag(RunFlag.RESET)):
                m.d.sync += [
                    sequences.position[sequence].eq(0), sequences.zero_state[sequence].eq(1)]
            with m.If(flag(RunFlag.CLEAR)):
                m.d.sync += status.tokens.eq(0)
                for counter in counters:
                    counter.clear(m)
            fsm.next = "IDLE"
            with m.If(~flag(RunFlag.HOLD)):
                m.d.sync += status.running.eq(1)
                fsm.next = "READ-HEADER"

    def _add_header_states(self, m: Module, fsm: OneHotFSM, reader: ProgramReader,
                           scheduler: Scheduler, after_embedding_short: Signal) -> None:
        """Add the state that reads the program's header into registers."""
        embedding = self.embedding
        with fsm.State("READ-HEADER"):
            m.d.sync += reader.advance()
            for field, copies in (
                (Header.CHANNELS, [embedding.channels.eq(reader.data)]),
                (Header.EMBED_SCALE, [embedding.scale.eq(reader.data)]),
                (Header.EMBED_BASE, [embedding.base[:BUS_BITS].eq(reader.data)]),
                (Header.EMBED_STRIDE, [embedding.stride.eq(reader.data)]),
                (Header.EMBED_FLAGS, [
                    embedding.short.eq(reader.operation.short),
                    after_embedding_short.eq(reader.operation.after_short)]),
                (Header.OPS, [scheduler.op_count.eq(reader.data)]),
                (Header.EMBED_BASE_HIGH, [embedding.base[BUS_BITS:].eq(reader.data)]),
            ):
                with m.If(reader.word == field.value + 1):
                    m.d.sync += copies
            # The high half of a base that has none is not waited for.
            last = Header.EMBED_BASE_HIGH if len(embedding.base) > BUS_BITS else Header.OPS
            with m.If(reader.word == last.value + 1):
                fsm.next = "START"

    def _add_context_states(self, m: Module, fsm: OneHotFSM, sequences: Sequences,
                            reader: ProgramReader, scheduler: Scheduler, divider: EffectiveScale,
                            done: Signal) -> None:
        """Add the states that give the operation that was issued its context and its scales.

        Scales that belong to a norm's output are divided by its sum first.
        """
        context = self.context
        m.d.comb += [
            divider.scale.eq(reader.data),
            divider.not_total.eq(context.not_total),
            context.scale.eq(divider.result),
            context.push_scale.eq(divider.done),
        ]
        with fsm.State("LOAD-CONTEXT"):
            m.d.sync += reader.seek(scheduler.op_start + 2)
            with m.If(done):
                m.d.sync += [
                    done.eq(0),
                    context.context.eq(scheduler.context),
                    context.context.zero_state.eq(sequences.zero_state[scheduler.sequence]),
                    context.load.eq(1),
                ]
                with m.If(scheduler.first_op):
                    m.d.sync += sequences.samples[scheduler.sequence].eq(
                        sequences.next_samples[scheduler.sequence])
                fsm.next = "FETCH-SCALE"

        with fsm.State("FETCH-SCALE"):
            fsm.next = "START-DIVISION"

        with fsm.State("START-DIVISION"):
            m.d.comb += divider.start.eq(1)
            with m.Switch(scheduler.context.kind):
                for kind in Op:
                    with m.Case(kind):
                        m.d.comb += divider.divide.eq(reader.word < kind.divided)
            m.d.sync += reader.advance()
            fsm.next = "AWAIT-DIVISION"

        with fsm.State("AWAIT-DIVISION"):
            with m.If(divider.done):
                fsm.next = "START-DIVISION"
                with m.If(reader.word == SCALES):
                    fsm.next = "ENABLE-ROWS"
