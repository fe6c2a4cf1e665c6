"""Proof about the sampler."""

from amaranth.hdl import Mux, Signal

from trilight.hw.contract.numbers import NUMBERS

from .harness import Harness, at_most, implies
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]


def _takes_largest(gateware: Gateware) -> Harness:
    latency = gateware.module("interfaces").LOGIT_LATENCY
    sampler = gateware.module("sampler").Sampler(device=gateware.device)
    h = Harness(sampler, gateware)
    scale = h.block("scale")
    h.cut("rng", "gumbel", "scale")
    m = h.m
    h.assume(at_most(scale.p, 1 << NUMBERS.gumbel_bits - 1 + NUMBERS.temperature_bits))
    # A logit comes for each draw, the last of a token for the last one, and then the token before
    # the next draw.
    draw, logit = sampler.logits.draw, sampler.logits.logits
    coming = [draw]
    for stage in range(latency):
        coming.append(h.register(coming[-1], f"coming_{stage}"))
    h.assume(logit.valid == coming[-1])
    ends = logit.valid & logit.payload.last
    pending = Signal()
    m.d.sync += pending.eq(ends | (pending & ~sampler.done))
    for earlier in coming[:-1]:
        h.assume(~earlier | ~(ends | pending))

    # The largest so far of the present token, and after its last logit.
    fresh = Signal(init=1)
    index = Signal.like(h.signal("index"), name="number")
    largest = Signal.like(h.signal("score"), name="largest")
    largest_index = Signal.like(index, name="largest_index")
    score = logit.payload.value + h.signal("noise")
    with m.If(logit.valid):
        m.d.sync += [fresh.eq(logit.payload.last), index.eq(Mux(logit.payload.last, 0, index + 1))]
        with m.If(fresh | (score > largest)):
            m.d.sync += [largest.eq(score), largest_index.eq(index)]
    result = h.register(largest_index, "result")
    ended = h.register(ends)
    h.claim(sampler.done == h.register(ended))
    # It stays until the next token's first draw.
    first = h.signal("first")
    h.claim(implies(sampler.done | first, sampler.sampling.token == result))

    # What is true of every state that can be reached: the gateware is a cycle behind.
    best, arrived = h.signal("best"), h.signal("arrived")
    some_before = h.register(~fresh) | sampler.done
    begun = h.register(draw & first)
    h.lemma(implies(first, fresh & ~pending & ~sum(coming[1:]).any() & ~arrived))
    h.lemma(implies(fresh, index == 0))
    h.lemma(arrived == h.register(logit.valid))
    h.lemma(ended == (arrived & h.signal("last")))
    h.lemma(pending == (sampler.done ^ ended))
    h.lemma(implies(pending, fresh & ~first))
    h.lemma(h.signal("index") == h.register(index))
    h.lemma(implies(some_before, best == h.register(largest)))
    h.lemma(implies(some_before, h.signal("best_index") == result))
    minimum = -1 << len(best) - 1
    h.lemma(implies(~first & ~begun & ~some_before, best == minimum))
    h.lemma(implies(h.started & ~arrived, h.signal("score") == Mux(begun, -minimum, minimum)))
    h.lemma(implies(arrived, h.signal("score") == h.register(score)))
    h.lemma(implies(arrived, at_most(h.signal("score"), -minimum - 1)))
    h.lemma(at_most(largest, -minimum - 1))
    return h


PROOFS = [
    Proof(name="sampler.takes_largest", build=_takes_largest, method="induction", depth=2,
          claim="The token is the first of those with the largest sum of logit and noise, which is "
                "exact, whatever the pauses between logits; it stays until the next token's first "
                "draw.",
          fault=Edit("sampler.py", "Mux(self.logits.draw & first, most", "Mux(first, most"),
          shows=24),
]
