"""Proofs about the link's commands and answers.

That the link comes back to rest is shown by a rank: a number of its state that falls with every
step, and stays only while an answer is awaited that must come.
"""

from typing import Any

from amaranth.hdl import Mux, Signal, Value

from trilight.hw.contract.protocol import MAX_FRAME_BYTES, MAX_WORDS, Result

from .harness import Harness, ranked
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]


def _link(gateware: Gateware) -> tuple[Harness, Any, Any]:
    """The link without the line: a good frame, and a byte's being taken, may come at any time."""
    link = gateware.module("link.link").Link(device=gateware.device, clock_hz=1, clocks_per_bit=4)
    h = Harness(link, gateware)
    sender = h.block("sender")
    h.cut("uart_receiver", "uart_transmitter", "receiver", "sender", "buffer")
    commands, answers = h.machines
    index, words = h.signal("index"), h.signal("words")
    right = Value.cast(h.signal("result")) == Result.OK
    # What is true of every state that can be reached, and needed to see the rest.
    answering = ~answers.ongoing("IDLE") & ~h.signal("is_event")
    h.lemma(~answering | commands.ongoing("RESPOND"))
    for state in ("RUNNING", "BODY", "BUS-READ", "AWAIT-WORD", "COUNTED"):
        h.lemma(~answers.ongoing(state) | answering)
    h.lemma(~answers.ongoing("TOKEN-HIGH") | h.signal("is_event"))
    h.lemma(~h.signal("taken") | commands.ongoing("RESPOND"))
    h.lemma(~link.run.request.valid | commands.ongoing("START-RUN"))
    fits = (index <= words) & (words <= MAX_WORDS)
    h.lemma(~commands.ongoing("RESPOND") | ~right | fits)
    h.lemma(~commands.ongoing("CHECK-ADDRESS") | (right & (index <= MAX_WORDS)))
    h.lemma(~commands.ongoing("REFUSE-OR-ACCEPT")
            | (right & (h.signal("too_many") | (words <= MAX_WORDS))))
    h.lemma(~commands.ongoing("WRITE-LOW") | (right & fits))
    h.lemma(~commands.ongoing("WRITE-HIGH") | (right & fits & (index != words)))
    for state in ("STOP", "CHECK-RUN", "START-RUN"):
        h.lemma(~commands.ongoing(state) | (right & (index == 1) & (words == 1)))
    for state in ("FETCH", "SETTLE", "DECODE"):
        h.lemma(~commands.ongoing(state) | (right & (index == 0)))
    for state in ("BUS-READ", "AWAIT-WORD", "LOW", "HIGH"):
        h.lemma(~(answers.ongoing(state) & answering) | (right & fits & (index != words)))
    h.lemma(~answers.ongoing("BODY") | ~right | (h.signal("was_last") == (index == words)))
    return h, link, sender


def _link_keeps(gateware: Gateware) -> Harness:
    h, link, sender = _link(gateware)
    h.claim_stream(link.run.request)
    h.claim_offered(sender.i)
    return h


def _link_rests(gateware: Gateware) -> Harness:
    h, link, sender = _link(gateware)
    commands, answers = h.machines
    index, words, pointer = h.signal("index"), h.signal("words"), h.signal("pointer")
    shift, buffer = h.signal("shift"), gateware.module("link.buffer").FrameBuffer
    left = (words - index)[:8]
    fetch_end = (len(shift) // 8 + buffer.START) % MAX_FRAME_BYTES
    write = 2 * MAX_WORDS + 16
    check = write + MAX_WORDS + 16
    command_rank = ranked(h, commands, {
        "START-RUN": 2, "CHECK-RUN": 3, "STOP": 3, "WRITE-HIGH": 2 + 2 * left,
        "WRITE-LOW": 3 + 2 * left,
        "REFUSE-OR-ACCEPT": write, "CHECK-ADDRESS": write + 1 + (MAX_WORDS - index)[:8],
        "DECODE": check, "SETTLE": check + 1, "FETCH": check + 2 + (fetch_end - pointer)[:8],
    }, "command_rank")
    answer = 8 << 8
    answer_rank = ranked(h, answers, {
        "IDLE": answer + 4, "SEQUENCE": answer + 3, "COMMAND": answer + 2, "RESULT": answer + 1,
        "RUNNING": answer, "COUNTED": 8 * left + 7, "BODY": 8 * left + 6, "BUS-READ": 8 * left + 5,
        "AWAIT-WORD": 8 * left + 4, "LOW": 8 * left + 3, "HIGH": 8 * left + 2, "END": 1,
    }, "answer_rank")
    event_rank = ranked(h, answers, {
        state: answer + 5 + k for k, state in enumerate(
            ("END", "TOKEN-HIGH", "HIGH", "LOW", "RESULT", "COMMAND", "SEQUENCE"))}, "event_rank")
    sending_event = ~answers.ongoing("IDLE") & h.signal("is_event")
    rank = Signal(17)
    h.m.d.comb += rank.eq(Mux(
        commands.ongoing("RESPOND"), Mux(sending_event, event_rank, answer_rank),
        (1 << 16) + command_rank))
    busy = ~commands.ongoing("IDLE")
    waits = ((h.signal("sending") & ~sender.i.ready)
             | (answers.ongoing("AWAIT-WORD") & ~link.bus.read_valid)
             | (commands.ongoing("START-RUN") & ~(link.run.request.valid & link.run.request.ready)))
    before = h.register(rank)
    h.claim(~h.register(busy & ~waits) | ~busy | (rank < before))
    h.claim(~h.register(busy) | ~busy | (rank <= before))
    return h


PROOFS = [
    Proof(name="link.keeps", build=_link_keeps, method="induction", depth=4,
          claim="A run that is offered stays as it is until it is taken.",
          fault=Edit("link/responses.py", "is_event.eq(~commands.responding)",
                     "is_event.eq(0)"), shows=60),
    Proof(name="link.rests", build=_link_rests, method="induction", depth=4,
          claim="Every command ends: with each cycle in which nothing is awaited, what is left to "
                "do gets less.",
          fault=Edit("link/commands.py",
                     "buffer.advance.eq(1), buffer.count_on.eq(1), bus.write.eq(1)",
                     "buffer.advance.eq(1), bus.write.eq(1)"), shows=40),
]
