"""Proofs about the sequencer.

That a run ends is shown by a rank, whatever the program's length and the number of tokens: what is
left of the run, of the round of operations, and of the present one, in this order of weight.
"""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value
from amaranth.lib import data

from trilight.hw.contract.program import SCALES, Header

from .harness import Harness, implies, ranked
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]

HEADER_END = Header.OPS + 1
"""Words of the header that a device of few weights reads."""

ISSUING = "FETCH-OP", "ISSUE-OP"
FINISHING = "AWAIT-TOKEN", "END-TOKEN"
EMBEDDING = "WRITE-TOKEN", "READ-TOKEN", "EMBED-TOKEN"
DIVIDING = "START-DIVISION", "AWAIT-DIVISION"
SELECTING = "SETTLE", "SELECT-OP"


def _sequencer(gateware: Gateware) -> tuple[Harness, Any, Any]:
    """The sequencer, and the divider that it has been left without."""
    sequencer = gateware.module("control.sequencer").Sequencer(device=gateware.device)
    h = Harness(sequencer, gateware)
    divider = h.block("divider")
    h.cut("divider")
    return h, sequencer, divider


def _keeps(gateware: Gateware) -> Harness:
    h, sequencer, _ = _sequencer(gateware)
    [machine] = h.machines
    h.claim(implies(sequencer.operations.ops.valid, machine.ongoing("ISSUE-OP")))
    for given in (sequencer.operations.ops, *sequencer.events):
        h.claim_stream(given)
    return h


class _Run:
    """The sequencer's registers, those that each sequence has as arrays, and what they say of the
    run in progress."""

    def __init__(self, h: Harness, machine: Any, sequences: range) -> None:
        self._machine = machine
        for name in ("starting", "token_ends", "token_sequence", "sequence", "first_op", "op_count",
                     "ops_after", "is_head", "before_head", "token_follows", "shared_by_1",
                     "any_samples", "any_continues", "sampled_now", "word"):
            setattr(self, name, h.signal(name))
        for name in ("requested", "n_feed", "n_generate", "active", "continues", "samples",
                     "next_samples", "feeds_more", "generates", "generates_more"):
            setattr(self, name, Array(h.signal(f"{name}_{k}") for k in sequences))
        self.works = ~self.is_in("IDLE", "ACCEPT-RUN", "READ-HEADER", "START")
        """The walk through the program has begun."""

    def __getattr__(self, name: str) -> Any:
        """Says to type checkers that there is more than they see."""
        raise AttributeError(name)

    def is_in(self, *states: str) -> Value:
        return Cat(self._machine.ongoing(state) for state in states).any()

    def ends(self, k: int) -> Value:
        """The present token of sequence ``k`` has had its last operation, and is not yet
        finished."""
        return self.token_ends & (self.token_sequence == k)

    def is_given(self, k: int) -> Value:
        """The present token of sequence ``k`` has been given its first operation of the round."""
        present = (self.sequence == k) & self.is_in(
            "FETCH-SCALE", *DIVIDING, "ENABLE-ROWS", *SELECTING)
        return (~(self.first_op & (self.ops_after == self.op_count)) | (self.sequence > k)
                | present)

    def is_past(self, k: int) -> Value:
        """The present operation comes after the round's last one of sequence ``k``."""
        last = ~self.samples[k]
        return self.is_given(k) & ((self.ops_after < last) | ((self.ops_after == last) & (
            (self.sequence > k) | ((self.sequence == k) & self.is_in(*SELECTING)))))


def _rests(gateware: Gateware) -> Harness:
    h, sequencer, divider = _sequencer(gateware)
    [machine] = h.machines
    sequences = range(gateware.device.sequences)
    r = _Run(h, machine, sequences)
    m, is_in = h.m, r.is_in
    scales = SCALES
    h.assume(sequencer.run.request.payload.n_feed != 0)  # the link refuses others
    h.assume_stream(sequencer.run.request)

    # ---- What the datapath owes: a context's last result, of an operation only after its end.
    awaited, ended = Signal(), Signal()
    with m.If(sequencer.operations.ends):
        m.d.sync += ended.eq(1)
    with m.If(sequencer.done):
        m.d.sync += awaited.eq(0)
    with m.If(sequencer.context.load):
        m.d.sync += [awaited.eq(1), ended.eq(0)]
    embedding = sequencer.context.context.embedding
    h.assume(implies(sequencer.operations.ends, sequencer.operations.rows_enabled))
    h.assume(implies(sequencer.done, awaited & (embedding | ended)))
    h.lemma(~data.View(sequencer.context.context.shape(), h.signal("next_context")).embedding)
    owed = sequencer.context.load | awaited
    done = h.signal("done")
    h.claim(implies(sequencer.context.load, ~awaited))
    h.lemma(implies(owed, ~done))
    h.lemma(implies(sequencer.operations.rows_enabled, awaited & ~ended & ~embedding))
    h.lemma(implies(is_in("IDLE", "ACCEPT-RUN", "READ-HEADER", "START", "ADDRESS-TOKEN",
                          "END-TOKEN", *EMBEDDING),
                    ~owed & ~done))
    h.lemma(implies(is_in("FETCH-SCALE", *DIVIDING, "ENABLE-ROWS"),
                    owed & ~embedding & ~sequencer.operations.rows_enabled & ~(awaited & ended)))
    h.lemma(implies(is_in("NEXT-SEQUENCE", *SELECTING, *ISSUING, "AWAIT-TOKEN", "LOAD-CONTEXT"),
                    owed | done))
    h.lemma(implies(is_in("NEXT-SEQUENCE"), embedding))
    h.lemma(implies(is_in(*SELECTING, *ISSUING, "AWAIT-TOKEN", "LOAD-CONTEXT") & ~embedding & owed,
                    sequencer.operations.rows_enabled | ended))
    # The divider is asked one thing at a time, and owes an answer while one is waited for.
    dividing = Signal()
    m.d.sync += dividing.eq(divider.start | (dividing & ~divider.done))
    h.assume(implies(divider.done, dividing))
    h.lemma(dividing == is_in("AWAIT-DIVISION"))

    # ---- What is true of every state that can be reached.
    h.lemma(sequencer.status.running == ~is_in("IDLE", "ACCEPT-RUN"))
    h.lemma(implies(r.works & r.starting, is_in(
        "ADDRESS-TOKEN", "READ-TOKEN", "EMBED-TOKEN", "NEXT-SEQUENCE")))
    h.lemma(implies(is_in("ADDRESS-TOKEN", "NEXT-SEQUENCE"), r.starting))
    h.lemma(implies(r.token_ends, is_in(*SELECTING, *ISSUING, *FINISHING)))
    h.lemma(implies(is_in(*FINISHING), r.token_ends))
    h.lemma(implies(r.works, (r.op_count != 0) & (r.ops_after <= r.op_count)))
    h.lemma(implies(r.works & ~r.first_op, r.ops_after != r.op_count))
    h.lemma(implies(r.works & r.first_op,
                    (r.ops_after == r.op_count) | ((r.ops_after == 0) & (r.op_count == 1))))
    for state, minimum, maximum in (("ACCEPT-RUN", 0, 0), ("READ-HEADER", 0, HEADER_END),
                               ("FETCH-OP", 0, 2), ("FETCH-SCALE", 0, 0),
                               ("START-DIVISION", 0, scales - 1),
                               ("AWAIT-DIVISION", 1, scales)):
        h.lemma(implies(is_in(state), (r.word >= minimum) & (r.word <= maximum)))
    h.lemma(implies(is_in("READ-HEADER", "START"), Cat(*r.requested).any()))

    # What was worked out in the cycle before.
    for k in sequences:
        h.lemma(implies(is_in("READ-TOKEN", "EMBED-TOKEN", *DIVIDING, "ENABLE-ROWS"),
                        (r.feeds_more[k] == (r.n_feed[k] > 1))
                        & (r.generates[k] == (r.n_generate[k] != 0))
                        & (r.generates_more[k] == (r.n_generate[k] > 1))))
    h.lemma(implies(is_in("AWAIT-DIVISION", "ENABLE-ROWS"), r.token_follows == Mux(
        r.samples[r.sequence], r.generates_more[r.sequence], r.feeds_more[r.sequence])))
    h.lemma(implies(is_in("AWAIT-DIVISION", "ENABLE-ROWS", *SELECTING),
                    (r.is_head == (r.ops_after == 0)) & (r.before_head == (r.ops_after == 1))))
    h.lemma(implies(is_in("SELECT-OP"), (r.shared_by_1 == (
        r.active[1] & (r.samples[1] | (r.ops_after != 0)) & ~r.sequence))
        & (r.any_samples == Cat(r.samples[k] & r.active[k] for k in sequences).any())))
    h.lemma(implies(is_in("SELECT-OP", *ISSUING, *FINISHING),
                    r.any_continues == Cat(*r.continues).any()))
    h.lemma(implies(is_in("SELECT-OP", *ISSUING, *FINISHING) & r.token_ends,
                    r.sampled_now == r.samples[r.token_sequence]))

    # The present operation is of a sequence that takes part and has not had its last one.
    h.lemma(implies(is_in(*SELECTING), r.active[r.sequence] & (r.token_ends == (
        r.is_head | (r.before_head & ~r.samples[r.sequence])))))
    h.lemma(implies(is_in(*SELECTING) & r.token_ends, r.token_sequence == r.sequence))
    h.lemma(implies(r.works & ~is_in(*SELECTING) & (~is_in(*FINISHING) | r.any_continues),
                    r.continues[r.sequence] & ~Array(r.is_past(k) for k in sequences)[r.sequence]))
    h.lemma(implies(r.works & r.starting, r.first_op & (r.ops_after == r.op_count)
                    & (r.sequence == ~r.active[0]) & r.continues[r.token_sequence]
                    & ((r.token_sequence == r.sequence) | r.active[0])))
    h.lemma(implies(r.works & r.first_op & (r.ops_after == r.op_count),
                    ~r.active[0] | ~r.sequence | r.is_given(0)))
    for k in sequences:
        h.lemma(implies(r.requested[k], ~r.works & (r.n_feed[k] != 0)))
        in_round = r.works & r.active[k]
        between = r.is_past(k) | ~r.is_given(k)
        h.lemma(implies(r.ends(k) & r.active[k], between))
        h.lemma(implies(is_in(*EMBEDDING) & (r.token_sequence == k), r.continues[k] & between))
        h.lemma(implies(r.works & r.continues[k], r.active[k] & (r.n_feed[k] != 0)))
        h.lemma(implies(in_round & ~r.is_past(k), r.continues[k]))
        # As many tokens are left as are counted on.
        left = Mux(r.samples[k], r.n_generate[k], r.n_feed[k])
        h.lemma(implies(r.ends(k), left > r.continues[k]))
        h.lemma(implies(in_round & ~between, (r.samples[k] == r.next_samples[k])
                        & (~r.samples[k] | (r.n_generate[k] != 0))))
        to_embed = r.ends(k) | (is_in(*EMBEDDING) & (r.token_sequence == k)) | (
            r.starting & ((r.token_sequence < k)
                          | (is_in("ADDRESS-TOKEN") & (r.token_sequence == k))))
        h.lemma(implies(r.works & r.continues[k] & between & ~to_embed,
                        ~r.next_samples[k] | (r.n_generate[k] != 0)))

    # ---- The rank.
    step = ranked(h, machine, {
        "READ-HEADER": 2 + (HEADER_END - r.word)[:3], "START": 1,
        "ADDRESS-TOKEN": 24, "FETCH-OP": 21 + (2 - r.word)[:2], "ISSUE-OP": 20,
        "AWAIT-TOKEN": 19, "END-TOKEN": 18, "WRITE-TOKEN": 17, "READ-TOKEN": 16,
        "EMBED-TOKEN": 15, "LOAD-CONTEXT": 14, "NEXT-SEQUENCE": 14, "FETCH-SCALE": 13,
        "START-DIVISION": 4 + 2 * (scales - r.word)[:2],
        "AWAIT-DIVISION": 5 + 2 * (scales - r.word)[:2],
        "ENABLE-ROWS": 2, "SETTLE": 1, "SELECT-OP": 0}, "step")
    place, left = Signal(10), Signal(18)
    counted = r.token_ends & ~is_in(*SELECTING)
    m.d.comb += [
        place.eq(Mux(r.starting, Cat(~r.token_sequence, Const(1 << 8, 9)),
                     Cat(~r.sequence, r.ops_after))),
        left.eq(sum((*r.n_feed, *r.n_generate), Const(0)) - counted),
    ]
    rank = Mux(r.works, Cat(step, place, left), Cat(step, Const(0, 28), 1))
    waits = (is_in("ISSUE-OP") & ~sequencer.operations.ops.ready
             | is_in("LOAD-CONTEXT", "AWAIT-TOKEN") & ~done
             | is_in("NEXT-SEQUENCE") & ~(r.token_sequence.any() | ~r.active[1]) & ~done
             | is_in("READ-TOKEN") & ~sequencer.tape.read_ready
             | is_in("AWAIT-DIVISION") & ~divider.done)
    before = h.register(rank)
    running = sequencer.status.running
    h.claim(implies(h.register(running & ~waits) & running, rank < before))
    h.claim(implies(h.register(running) & running, rank <= before))
    return h


PROOFS = [
    Proof(name="sequencer.keeps", build=_keeps, method="induction", depth=2,
          claim="An operation and events that are offered stay as they are until they are taken.",
          fault=Edit("control/scheduler.py", """            with m.If(ops.ready):
                m.d.sync += ops.valid.eq(0)
""", """            m.d.sync += ops.valid.eq(0)
            with m.If(ops.ready):
"""), shows=40),
    Proof(name="sequencer.rests", build=_rests, method="induction", depth=3,
          claim="Every run ends, whatever the program and the number of tokens: with each cycle in "
                "which nothing is awaited, what is left to do gets less. No context is given "
                "before the last result of the one before.",
          fault=Edit("control/tokens.py", "[done.eq(0), self.sequence.eq(lowest(later) + 1)]",
                     "self.sequence.eq(lowest(later) + 1)"), shows=32),
]
