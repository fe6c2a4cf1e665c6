"""Scheduler: which operation of which sequence comes next, and its hand-over to the engine."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring

from trilight.hw.contract.device import Device
from trilight.hw.contract.program import HEADER_WORDS, OPERATION_WORDS
from trilight.hw.interfaces import context_layout
from trilight.hw.lib.fsm import OneHotFSM
from trilight.hw.lib.select import any_of, lowest

from .fetch import ProgramReader
from .sequences import Sequences

__all__ = ["Scheduler"]


class Scheduler:
    """Order in which the sequences of a run go through the program, operation by operation.

    In a round every active sequence is fed one token. Its order is: operation 0 for each active
    sequence in turn, operation 1 for each, and so on; the head, which is the last operation, only
    for sequences that need logits. So the sequences fill each other's gaps, and the weight words of
    an operation are the same ones for each of them.

    Attributes
    ----------
    sequence : Signal
        Sequence of the operation.
    first_op : Signal
        The operation is the first of a round.
    op_start : Signal
        Program address of the operation.
    context : View(context_layout)
        Context that the operation will get.
    is_token_end : Value
        The operation is the last one of its sequence's token.
    token_follows : Signal
        Its sequence has another token to be fed.
    any_continues : Signal
        Some sequence takes part in the next round.
    any_head : Signal
        The round has a head for some sequence.
    decided : Signal
        Pulse: ``any_head`` is that of the present round. Of a device whose weights stream from
        outside only.
    """

    def __init__(self, m: Module, device: Device, sequences: Sequences,
                 reader: ProgramReader) -> None:
        self._sequences = sequences
        self._reader = reader
        self._streamed = device.streamed
        if device.streamed:
            self.decided = Signal(name="decided")
        most = (device.program_words - HEADER_WORDS) // OPERATION_WORDS
        ops = Signal(range(most), name="op_count", reset_less=True)
        self.sequence = Signal(sequences.bits, name="sequence")
        self.first_op = Signal(name="first_op", reset_less=True)
        self.op_count = ops
        self.op_start = Signal(range(device.program_words), name="op_start", reset_less=True)
        self.context = Signal(context_layout(device), name="next_context", reset_less=True)
        self._ops_after = Signal.like(ops, name="ops_after", reset_less=True)

        # What choices need is worked out in the cycle before.
        s = sequences
        self.token_follows = Signal(name="token_follows")
        self.any_continues = Signal(name="any_continues")
        self.any_head = Signal(name="any_samples")
        self._is_head = Signal(name="is_head")
        self._before_head = Signal(name="before_head")
        self._shared_by = [Signal(name=f"shared_by_{k}") for k in s.numbers[1:]]
        m.d.sync += [
            self.token_follows.eq(Mux(s.samples[self.sequence], s.generates_more[self.sequence],
                                      s.feeds_more[self.sequence])),
            self.any_continues.eq(any_of(s.continues)),
            self.any_head.eq(any_of(self._with_head())),
            self._is_head.eq(self._ops_after == 0),
            self._before_head.eq(self._ops_after == 1),
            *(flag.eq(self._has_operation(k) & (self.sequence < k))
              for k, flag in enumerate(self._shared_by, 1)),
        ]

    def _with_head(self) -> list[Value]:
        s = self._sequences
        return [s.heads[k] & s.active[k] for k in s.numbers]

    def _has_operation(self, k: int) -> Value:
        """1 if sequence ``k`` takes part in the operation."""
        s = self._sequences
        return s.active[k] & (s.heads[k] | (self._ops_after != 0))

    @property
    def is_token_end(self) -> Value:
        head = self._sequences.heads[self.sequence]
        return self._is_head | (self._before_head & ~head)

    def start(self, m: Module) -> None:
        """Begin a run: the sequences that were requested, the first operation."""
        s = self._sequences
        m.d.sync += [
            self.sequence.eq(lowest(s.requested)),
            self.first_op.eq(1),
            self._ops_after.eq(self.op_count),
            self.op_start.eq(HEADER_WORDS),
            *(s.active[k].eq(s.requested[k]) for k in s.numbers),
            *(s.continues[k].eq(s.requested[k]) for k in s.numbers),
        ]

    def add_issue_states(self, m: Module, fsm: OneHotFSM, ops: "wiring.PureInterface",
                         token_ends: Value) -> None:
        """Add the states that hand an operation to the engine.

        FETCH-OP reads its first two words, ISSUE-OP waits until the engine takes it, while the
        operation before still streams.
        """
        s, reader, context, op = self._sequences, self._reader, self.context, ops.payload
        with fsm.State("FETCH-OP"):
            with m.If(reader.word != 2):
                m.d.sync += reader.advance()
            with m.If(reader.word == 1):
                m.d.sync += [
                    context.kind.eq(reader.operation.kind),
                    context.act_short.eq(reader.operation.after_short),
                    op.vector.blocks.eq(reader.operation.blocks),
                    op.vector.short.eq(reader.operation.short),
                ]
            with m.If(reader.word == 2):
                m.d.sync += [op.rows.eq(reader.data), ops.valid.eq(1)]
                fsm.next = "ISSUE-OP"
            replay = any_of(self._has_operation(k) & (self.sequence > k) for k in s.numbers[:-1])
            if self._streamed:
                m.d.sync += op.keeps.eq(any_of(
                    self._has_operation(k) & (self.sequence < k) for k in s.numbers[1:]))
            m.d.sync += [
                op.vector.sequence.eq(self.sequence),
                op.replay.eq(replay),
                op.rewind.eq(self.first_op & ~replay),
                context.embedding.eq(0),
                context.sequence.eq(self.sequence),
                context.replay.eq(replay),
                context.first.eq(self.first_op),
                context.discard.eq((self._ops_after == 1) & ~s.heads[self.sequence]),
            ]

        with fsm.State("ISSUE-OP"):
            with m.If(ops.ready):
                m.d.sync += ops.valid.eq(0)
                fsm.next = "LOAD-CONTEXT"
                with m.If(token_ends):
                    fsm.next = "AWAIT-TOKEN"

    def add_select_states(self, m: Module, fsm: OneHotFSM) -> None:
        """Add the states that choose the next operation.

        SETTLE gives the registers of the conditions their time; SELECT-OP chooses.
        """
        s, reader = self._sequences, self._reader
        with fsm.State("SETTLE"):
            fsm.next = "SELECT-OP"

        with fsm.State("SELECT-OP"):
            next_op = self.op_start + OPERATION_WORDS
            m.d.sync += reader.seek(self.op_start)
            fsm.next = "FETCH-OP"
            with m.If(any_of(self._shared_by)):  # the same one for the next sequence
                if self._shared_by:
                    m.d.sync += self.sequence.eq(lowest(self._shared_by) + 1)
            with m.Elif(self._before_head & self.any_head):  # the head
                m.d.sync += [
                    self._ops_after.eq(0),
                    self.sequence.eq(lowest(self._with_head())),
                    self.op_start.eq(next_op),
                    *reader.seek(next_op),
                ]
            with m.Elif(~self._is_head & ~self._before_head):  # the next one
                if self._streamed:
                    m.d.comb += self.decided.eq(self.first_op)
                m.d.sync += [
                    self.first_op.eq(0),
                    self._ops_after.eq(self._ops_after - 1),
                    self.sequence.eq(lowest(s.active)),
                    self.op_start.eq(next_op),
                    *reader.seek(next_op),
                ]
            with m.Else():  # the first of the next round, or the end of the run
                m.d.sync += [
                    self.first_op.eq(1),
                    self._ops_after.eq(self.op_count),
                    self.sequence.eq(lowest(s.continues)),
                    self.op_start.eq(HEADER_WORDS),
                    *reader.seek(HEADER_WORDS),
                    *(s.active[k].eq(s.continues[k]) for k in s.numbers),
                ]
                with m.If(~self.any_continues):
                    fsm.next = "AWAIT-TOKEN"
