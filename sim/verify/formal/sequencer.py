"""Proofs about the sequencer.

That a run ends is shown by a rank, whatever the program's length and the number of tokens: what is
left of the run, of the round of operations, and of the present one, in this order of weight.
"""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value
from amaranth.lib import data

from trilight.hw.contract.device import UP5K
from trilight.hw.contract.protocol import PROGRAM_HEADER_WORDS

from .harness import Harness, implies, ranked
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]

HANDING = "FETCH", "HAND"
FINISHING = "FINISH", "ADVANCE"
EMBEDDING = "WRITTEN", "TAPE", "EMBED"
DIVIDING = "DIVIDE", "DIVIDED"
CHOOSING = "LOOK", "CHOOSE"


def _sequencer(gateware: Gateware) -> tuple[Harness, Any, Any]:
    """The sequencer, and the divider that it has been left without."""
    sequencer = gateware.module("control.sequencer").Sequencer(device=UP5K)
    h = Harness(sequencer, gateware)
    divider = h.block("divider")
    h.cut("divider")
    return h, sequencer, divider


def _keeps(gateware: Gateware) -> Harness:
    h, sequencer, _ = _sequencer(gateware)
    [machine] = h.machines
    h.claim(implies(sequencer.ops.valid, machine.ongoing("HAND")))
    for given in (sequencer.ops, sequencer.notice_0, sequencer.notice_1):
        h.claim_stream(given)
    return h


class _Run:
    """The sequencer's registers, those that each sequence has as arrays, and what they say of the
    run in progress."""

    def __init__(self, h: Harness, machine: Any) -> None:
        self._machine = machine
        for name in ("starting", "embed_due", "embedded", "sequence", "first_op", "op_count",
                     "ops_after", "at_head", "before_head", "several", "both", "some_head",
                     "some_go_on", "generated", "word"):
            setattr(self, name, h.signal(name))
        for name in ("requested", "n_feed", "n_generate", "active", "goes_on", "head", "next_head",
                     "feeds_more", "generates", "generates_more"):
            setattr(self, name, Array(h.signal(f"{name}_{k}") for k in range(UP5K.sequences)))
        self.works = ~self.is_in("IDLE", "RUN", "HEADER", "START")
        """The walk through the program has begun."""

    def __getattr__(self, name: str) -> Any:
        """Says to type checkers that there is more than they see."""
        raise AttributeError(name)

    def is_in(self, *states: str) -> Value:
        return Cat(self._machine.ongoing(state) for state in states).any()

    def ends(self, k: int) -> Value:
        """The present token of sequence ``k`` has had its last operation, and is not yet
        finished."""
        return self.embed_due & (self.embedded == k)

    def is_given(self, k: int) -> Value:
        """The present token of sequence ``k`` has been given its first operation of the round."""
        present = (self.sequence == k) & self.is_in("SCALE", *DIVIDING, "EXPECT", *CHOOSING)
        return (~(self.first_op & (self.ops_after == self.op_count)) | (self.sequence > k)
                | present)

    def is_past(self, k: int) -> Value:
        """The present operation comes after the round's last one of sequence ``k``."""
        last = ~self.head[k]
        return self.is_given(k) & ((self.ops_after < last) | ((self.ops_after == last) & (
            (self.sequence > k) | ((self.sequence == k) & self.is_in(*CHOOSING)))))


def _rests(gateware: Gateware) -> Harness:
    h, sequencer, divider = _sequencer(gateware)
    [machine] = h.machines
    r = _Run(h, machine)
    m, is_in = h.m, r.is_in
    sequences, scales = range(UP5K.sequences), gateware.module("contract.protocol").OP_SCALES
    h.assume(sequencer.run.payload.n_feed != 0)  # the link refuses others
    h.assume_stream(sequencer.run)

    # ---- What the datapath owes: a context's last result, of an operation only after its end.
    awaited, ended = Signal(), Signal()
    with m.If(sequencer.op_ends):
        m.d.sync += ended.eq(1)
    with m.If(sequencer.done):
        m.d.sync += awaited.eq(0)
    with m.If(sequencer.load):
        m.d.sync += [awaited.eq(1), ended.eq(0)]
    embedding = sequencer.context.embedding
    h.assume(implies(sequencer.op_ends, sequencer.expected))
    h.assume(implies(sequencer.done, awaited & (embedding | ended)))
    h.lemma(~data.View(sequencer.context.shape(), h.signal("coming")).embedding)
    owed = sequencer.load | awaited
    done = h.signal("done")
    h.claim(implies(sequencer.load, ~awaited))
    h.lemma(implies(owed, ~done))
    h.lemma(implies(sequencer.expected, awaited & ~ended & ~embedding))
    h.lemma(implies(is_in("IDLE", "RUN", "HEADER", "START", "PLACE", "ADVANCE", *EMBEDDING),
                    ~owed & ~done))
    h.lemma(implies(is_in("SCALE", *DIVIDING, "EXPECT"),
                    owed & ~embedding & ~sequencer.expected & ~(awaited & ended)))
    h.lemma(implies(is_in("BEGIN", *CHOOSING, *HANDING, "FINISH", "WAIT"), owed | done))
    h.lemma(implies(is_in("BEGIN"), embedding))
    h.lemma(implies(is_in(*CHOOSING, *HANDING, "FINISH", "WAIT") & ~embedding & owed,
                    sequencer.expected | ended))
    # The divider is asked one thing at a time, and owes an answer while one is waited for.
    dividing = Signal()
    m.d.sync += dividing.eq(divider.start | (dividing & ~divider.done))
    h.assume(implies(divider.done, dividing))
    h.lemma(dividing == is_in("DIVIDED"))

    # ---- What is true of every state that can be reached.
    h.lemma(sequencer.running == ~is_in("IDLE", "RUN"))
    h.lemma(implies(r.works & r.starting, is_in("PLACE", "TAPE", "EMBED", "BEGIN")))
    h.lemma(implies(is_in("PLACE", "BEGIN"), r.starting))
    h.lemma(implies(r.embed_due, is_in(*CHOOSING, *HANDING, *FINISHING)))
    h.lemma(implies(is_in(*FINISHING), r.embed_due))
    h.lemma(implies(r.works, (r.op_count != 0) & (r.ops_after <= r.op_count)))
    h.lemma(implies(r.works & ~r.first_op, r.ops_after != r.op_count))
    h.lemma(implies(r.works & r.first_op,
                    (r.ops_after == r.op_count) | ((r.ops_after == 0) & (r.op_count == 1))))
    for state, least, most in (("RUN", 0, 0), ("HEADER", 0, PROGRAM_HEADER_WORDS),
                               ("FETCH", 0, 2), ("SCALE", 0, 0), ("DIVIDE", 0, scales - 1),
                               ("DIVIDED", 1, scales)):
        h.lemma(implies(is_in(state), (r.word >= least) & (r.word <= most)))
    h.lemma(implies(is_in("HEADER", "START"), Cat(*r.requested).any()))

    # What was worked out in the cycle before.
    for k in sequences:
        h.lemma(implies(is_in("TAPE", "EMBED", *DIVIDING, "EXPECT"),
                        (r.feeds_more[k] == (r.n_feed[k] > 1))
                        & (r.generates[k] == (r.n_generate[k] != 0))
                        & (r.generates_more[k] == (r.n_generate[k] > 1))))
    h.lemma(implies(is_in("DIVIDED", "EXPECT"), r.several == Mux(
        r.head[r.sequence], r.generates_more[r.sequence], r.feeds_more[r.sequence])))
    h.lemma(implies(is_in("DIVIDED", "EXPECT", *CHOOSING),
                    (r.at_head == (r.ops_after == 0)) & (r.before_head == (r.ops_after == 1))))
    h.lemma(implies(is_in("CHOOSE"), (r.both == (
        r.active[1] & (r.head[1] | (r.ops_after != 0)) & ~r.sequence))
        & (r.some_head == Cat(r.head[k] & r.active[k] for k in sequences).any())))
    h.lemma(implies(is_in("CHOOSE", *HANDING, *FINISHING),
                    r.some_go_on == Cat(*r.goes_on).any()))
    h.lemma(implies(is_in("CHOOSE", *HANDING, *FINISHING) & r.embed_due,
                    r.generated == r.head[r.embedded]))

    # The present operation is of a sequence that takes part and has not had its last one.
    h.lemma(implies(is_in(*CHOOSING), r.active[r.sequence] & (r.embed_due == (
        r.at_head | (r.before_head & ~r.head[r.sequence])))))
    h.lemma(implies(is_in(*CHOOSING) & r.embed_due, r.embedded == r.sequence))
    h.lemma(implies(r.works & ~is_in(*CHOOSING) & (~is_in(*FINISHING) | r.some_go_on),
                    r.goes_on[r.sequence] & ~Array(r.is_past(k) for k in sequences)[r.sequence]))
    h.lemma(implies(r.works & r.starting, r.first_op & (r.ops_after == r.op_count)
                    & (r.sequence == ~r.active[0]) & r.goes_on[r.embedded]
                    & ((r.embedded == r.sequence) | r.active[0])))
    h.lemma(implies(r.works & r.first_op & (r.ops_after == r.op_count),
                    ~r.active[0] | ~r.sequence | r.is_given(0)))
    for k in sequences:
        h.lemma(implies(r.requested[k], ~r.works & (r.n_feed[k] != 0)))
        in_round = r.works & r.active[k]
        between = r.is_past(k) | ~r.is_given(k)
        h.lemma(implies(r.ends(k) & r.active[k], between))
        h.lemma(implies(is_in(*EMBEDDING) & (r.embedded == k), r.goes_on[k] & between))
        h.lemma(implies(r.works & r.goes_on[k], r.active[k] & (r.n_feed[k] != 0)))
        h.lemma(implies(in_round & ~r.is_past(k), r.goes_on[k]))
        # As many tokens are left as are counted on.
        h.lemma(implies(r.ends(k), Mux(r.head[k], r.n_generate[k], r.n_feed[k]) > r.goes_on[k]))
        h.lemma(implies(in_round & ~between,
                        (r.head[k] == r.next_head[k]) & (~r.head[k] | (r.n_generate[k] != 0))))
        to_embed = r.ends(k) | (is_in(*EMBEDDING) & (r.embedded == k)) | (
            r.starting & ((r.embedded < k) | (is_in("PLACE") & (r.embedded == k))))
        h.lemma(implies(r.works & r.goes_on[k] & between & ~to_embed,
                        ~r.next_head[k] | (r.n_generate[k] != 0)))

    # ---- The rank.
    step = ranked(h, machine, {
        "HEADER": 2 + (PROGRAM_HEADER_WORDS - r.word)[:3], "START": 1,
        "PLACE": 24, "FETCH": 21 + (2 - r.word)[:2], "HAND": 20, "FINISH": 19, "ADVANCE": 18,
        "WRITTEN": 17, "TAPE": 16, "EMBED": 15, "WAIT": 14, "BEGIN": 14, "SCALE": 13,
        "DIVIDE": 4 + 2 * (scales - r.word)[:2], "DIVIDED": 5 + 2 * (scales - r.word)[:2],
        "EXPECT": 2, "LOOK": 1, "CHOOSE": 0}, "step")
    place, left = Signal(10), Signal(18)
    counted = r.embed_due & ~is_in(*CHOOSING)
    m.d.comb += [
        place.eq(Mux(r.starting, Cat(~r.embedded, Const(1 << 8, 9)),
                     Cat(~r.sequence, r.ops_after))),
        left.eq(sum((*r.n_feed, *r.n_generate), Const(0)) - counted),
    ]
    rank = Mux(r.works, Cat(step, place, left), Cat(step, Const(0, 28), 1))
    waits = (is_in("HAND") & ~sequencer.ops.ready
             | is_in("WAIT", "FINISH") & ~done
             | is_in("BEGIN") & ~(r.embedded.any() | ~r.active[1]) & ~done
             | is_in("TAPE") & ~sequencer.tape_read_ready
             | is_in("DIVIDED") & ~divider.done)
    before = h.register(rank)
    h.claim(implies(h.register(sequencer.running & ~waits) & sequencer.running, rank < before))
    h.claim(implies(h.register(sequencer.running) & sequencer.running, rank <= before))
    return h


PROOFS = [
    Proof(name="sequencer.keeps", build=_keeps, method="induction", depth=2,
          claim="An operation and notices that are offered stay as they are until they are taken.",
          fault=Edit("control/sequencer.py", """            with m.If(self.ops.ready):
                m.d.sync += self.ops.valid.eq(0)
""", """            m.d.sync += self.ops.valid.eq(0)
            with m.If(self.ops.ready):
"""), shows=40),
    Proof(name="sequencer.rests", build=_rests, method="induction", depth=3,
          claim="Every run ends, whatever the program and the number of tokens: with each cycle in "
                "which nothing is awaited, what is left to do gets less. No context is given "
                "before the last result of the one before.",
          fault=Edit("control/sequencer.py", "[done.eq(0), embedded.eq(1)]", "embedded.eq(1)"),
          shows=32),
]
