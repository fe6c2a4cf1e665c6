"""Proofs about what directs the others: the link's commands and answers, and the sequencer.

That the link comes back to rest is shown by a rank: a number of its state that falls with every
step, and stays only while an answer is awaited that must come.
"""

from typing import Any

from amaranth.hdl import Mux, Signal, Value

from trilight.hw.config import UP5K
from trilight.hw.protocol import MAX_UNITS, Result

from .harness import Harness, count_while
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]


def _ranked(harness: Harness, machine: Any, ranks: "dict[str, Value | int]", name: str) -> Signal:
    """The rank of a machine's present state, in a signal."""
    rank = Signal(16, name=name)
    for state, value in ranks.items():
        with harness.m.If(machine.ongoing(state)):
            harness.m.d.comb += rank.eq(value)
    return rank


def _link(gateware: Gateware) -> tuple[Harness, Any, Any]:
    """The link without the line: a good frame, and a byte's being taken, may come at any time."""
    link = gateware.module("link").Link(device=UP5K, clock_hz=1, clocks_per_bit=4)
    h = Harness(link, gateware)
    sender = h.block("sender")
    h.cut("uart_receiver", "uart_transmitter", "receiver", "sender", "buffer")
    commands, answers = h.machines
    index, units = h.signal("index"), h.signal("units")
    right = Value.cast(h.signal("result")) == Result.OK
    # What is true of every state that can be reached, and needed to see the rest.
    answering = ~answers.ongoing("IDLE") & ~h.signal("announce")
    h.claim(~answering | commands.ongoing("RESPOND"))
    for state in ("RUNNING", "BODY", "READ", "READ WAIT", "COUNTED"):
        h.claim(~answers.ongoing(state) | answering)
    h.claim(~h.signal("taken") | commands.ongoing("RESPOND"))
    h.claim(~link.run.valid | commands.ongoing("START"))
    fits = (index <= units) & (units <= MAX_UNITS)
    h.claim(~commands.ongoing("RESPOND") | ~right | fits)
    h.claim(~commands.ongoing("CHECK") | (right & (index <= MAX_UNITS)))
    h.claim(~commands.ongoing("CHECKED")
            | (right & (h.signal("too_many") | (units <= MAX_UNITS))))
    h.claim(~commands.ongoing("WRITE LOW") | (right & fits))
    h.claim(~commands.ongoing("WRITE HIGH") | (right & fits & (index != units)))
    for state in ("STOP", "RUN", "START"):
        h.claim(~commands.ongoing(state) | (right & (index == 1) & (units == 1)))
    for state in ("FETCH", "LOOK", "DECODE"):
        h.claim(~commands.ongoing(state) | (right & (index == 0)))
    for state in ("READ", "READ WAIT", "LOW", "HIGH"):
        h.claim(~(answers.ongoing(state) & answering) | (right & fits & (index != units)))
    h.claim(~answers.ongoing("BODY") | ~right | (h.signal("was_last") == (index == units)))
    return h, link, sender


def _link_keeps(gateware: Gateware) -> Harness:
    h, link, _ = _link(gateware)
    h.claim_stream(link.run)
    return h


def _link_rests(gateware: Gateware) -> Harness:
    h, link, sender = _link(gateware)
    commands, answers = h.machines
    index, units, pointer = h.signal("index"), h.signal("units"), h.signal("pointer")
    shift, module = h.signal("shift"), gateware.module("link")
    left = (units - index)[:8]
    fetch_end = (len(shift) // 8 - module.WRITE_BYTES) % module.MAX_FRAME_BYTES
    write = 2 * MAX_UNITS + 16
    check = write + MAX_UNITS + 16
    command_rank = _ranked(h, commands, {
        "START": 2, "RUN": 3, "STOP": 3, "WRITE HIGH": 2 + 2 * left, "WRITE LOW": 3 + 2 * left,
        "CHECKED": write, "CHECK": write + 1 + (MAX_UNITS - index)[:8],
        "DECODE": check, "LOOK": check + 1, "FETCH": check + 2 + (fetch_end - pointer)[:8],
    }, "command_rank")
    answer = 8 << 8
    answer_rank = _ranked(h, answers, {
        "IDLE": answer + 4, "SEQUENCE": answer + 3, "COMMAND": answer + 2, "RESULT": answer + 1,
        "RUNNING": answer, "COUNTED": 8 * left + 7, "BODY": 8 * left + 6, "READ": 8 * left + 5,
        "READ WAIT": 8 * left + 4, "LOW": 8 * left + 3, "HIGH": 8 * left + 2, "END": 1,
    }, "answer_rank")
    notice_rank = _ranked(h, answers, {
        state: answer + 5 + k for k, state in enumerate(
            ("END", "HIGH", "LOW", "RESULT", "COMMAND", "SEQUENCE"))}, "notice_rank")
    announcing = ~answers.ongoing("IDLE") & h.signal("announce")
    rank = Signal(17)
    h.m.d.comb += rank.eq(Mux(
        commands.ongoing("RESPOND"), Mux(announcing, notice_rank, answer_rank),
        (1 << 16) + command_rank))
    busy = ~commands.ongoing("IDLE")
    waits = ((h.signal("sending") & ~sender.i.ready)
             | (answers.ongoing("READ WAIT") & ~link.bus_read_valid)
             | (commands.ongoing("START") & ~(link.run.valid & link.run.ready)))
    before = h.register(rank)
    h.claim(~h.register(busy & ~waits) | ~busy | (rank < before))
    h.claim(~h.register(busy) | ~busy | (rank <= before))
    return h


PATIENCE = 1
"""Cycles for which the datapath keeps the sequencer waiting."""

OPERATIONS = 2
TOKENS = 2

OPERATION_CYCLES = 24
TOKEN_CYCLES = 12
RUN_CYCLES = 16 + UP5K.sequences * TOKENS * (OPERATIONS * OPERATION_CYCLES + TOKEN_CYCLES)
"""At most, of a run of so few operations and tokens whose answers come so soon."""


def _sequencer_keeps(gateware: Gateware) -> Harness:
    sequencer = gateware.module("sequencer").Sequencer(device=UP5K)
    h = Harness(sequencer, gateware)
    h.cut("divider")
    [machine] = h.machines
    h.claim(~sequencer.ops.valid | machine.ongoing("HAND"))
    for given in (sequencer.ops, sequencer.notice_0, sequencer.notice_1):
        h.claim_stream(given)
    return h


def _sequencer_rests(gateware: Gateware) -> Harness:
    header = gateware.module("protocol").ProgramHeader
    sequencer = gateware.module("sequencer").Sequencer(device=UP5K)
    h = Harness(sequencer, gateware)
    divider = h.block("divider")
    h.cut("divider")
    [machine] = h.machines
    m = h.m

    # The host asks for a few tokens of one or both sequences, and may stop them.
    run = sequencer.run.payload
    h.assume((run.n_feed >= 1) & (run.n_feed <= TOKENS))
    h.assume(run.n_generate <= TOKENS - (run.n_feed - 1))
    h.assume_stream(sequencer.run)
    # The program has a few operations.
    h.assume(~machine.ongoing("HEADER") | (h.signal("word") != header.OPS + 1)
             | (sequencer.program_data == OPERATIONS - 1))
    h.answers_within(Value.cast(1), sequencer.tape_read_ready, PATIENCE, "tape_patience")
    h.answers_within(sequencer.ops.valid, sequencer.ops.ready, PATIENCE, "ops_patience")
    # The divider answers once, a cycle later at the earliest.
    dividing = Signal()
    m.d.sync += dividing.eq(divider.start | (dividing & ~divider.done))
    h.assume(~divider.done | dividing)
    h.answers_within(dividing, divider.done, PATIENCE, "division_patience")
    # An operation ends after it was expected; a context has one last result, after that.
    h.assume(~sequencer.op_ends | sequencer.expected)
    h.answers_within(sequencer.expected, sequencer.op_ends, PATIENCE, "end_patience")
    awaited, ended = Signal(), Signal()
    results = awaited & (sequencer.context.embedding | ended)
    with m.If(sequencer.op_ends):
        m.d.sync += ended.eq(1)
    with m.If(sequencer.done):
        m.d.sync += awaited.eq(0)
    with m.If(sequencer.load):
        m.d.sync += [awaited.eq(1), ended.eq(0)]
    h.assume(~sequencer.done | results)
    h.answers_within(results, sequencer.done, PATIENCE, "result_patience")

    h.claim(~sequencer.load | ~awaited)
    h.claim(count_while(h, sequencer.running, RUN_CYCLES + 1, "ran") <= RUN_CYCLES)
    return h


PROOFS = [
    Proof(name="link.keeps", build=_link_keeps, method="induction", depth=4,
          claim="A run that is offered stays as it is until it is taken.",
          fault=Edit("link.py", "announce.eq(~responding)", "announce.eq(0)"), shows=60),
    Proof(name="link.rests", build=_link_rests, method="induction", depth=4,
          claim="Every command ends: with each cycle in which nothing is awaited, what is left to "
                "do gets less.",
          fault=Edit("link.py", "advance.eq(1), count_on.eq(1), self.bus_write.eq(1)",
                     "advance.eq(1), self.bus_write.eq(1)"), shows=40),
    Proof(name="sequencer.keeps", build=_sequencer_keeps, method="induction", depth=2,
          claim="An operation and notices that are offered stay as they are until they are taken.",
          fault=Edit("sequencer.py", """            with m.If(self.ops.ready):
                m.d.sync += self.ops.valid.eq(0)
""", """            m.d.sync += self.ops.valid.eq(0)
            with m.If(self.ops.ready):
"""), shows=40),
    Proof(name="sequencer.rests", build=_sequencer_rests, method="bounded", depth=RUN_CYCLES + 8,
          claim=f"A run of {OPERATIONS} operations and up to {TOKENS} tokens of each sequence, "
                f"stopped or not, ends within {RUN_CYCLES} cycles if answers come, and no context "
                "is given before the last result of the one before.",
          fault=Edit("sequencer.py", "m.d.sync += done.eq(1)  # nothing is under way",
                     "m.d.sync += done.eq(0)"), undecided=True),
]
