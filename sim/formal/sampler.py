"""Proof about the sampler."""

from amaranth.hdl import Mux, Signal, signed

from trilight.hw.config import NUMBERS, UP5K

from .harness import Harness, at_most
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]

WIDE = 24
"""Bits in which no sum of these proofs overflows."""


def _sampler_takes_largest(gateware: Gateware) -> Harness:
    sampler_module, vector = gateware.module("sampler"), gateware.module("vector")
    sampler = sampler_module.Sampler(device=UP5K)
    h = Harness(sampler, gateware)
    scale = h.block("scale")
    h.cut("rng", "gumbel", "scale")
    m = h.m
    h.assume(at_most(scale.p, 1 << NUMBERS.gumbel_bits - 1 + NUMBERS.temperature_bits))
    coming = sampler.draw
    for stage in range(vector.LOGIT_LATENCY):
        coming = h.register(coming, f"coming_{stage}")
    h.assume(sampler.logits.valid == coming)
    # No draw between a token's last one and the token.
    index, best, best_index = Signal(8), Signal(signed(WIDE)), Signal(8)
    score = sampler.logits.payload.value + h.signal("noise")
    arrived = sampler.logits.valid
    fresh = Signal(init=1)
    with m.If(arrived):
        m.d.sync += [index.eq(index + 1), fresh.eq(sampler.logits.payload.last)]
        with m.If(fresh | (score > best)):
            m.d.sync += [best.eq(score), best_index.eq(Mux(fresh, 0, index))]
        with m.If(fresh):
            m.d.sync += index.eq(1)
    done = arrived & sampler.logits.payload.last
    pending = Signal()  # the last draw is over, the token has not come
    drawn = Signal(8)
    with m.If(sampler.draw & ~coming):
        m.d.sync += drawn.eq(drawn + 1)
    with m.Elif(coming & ~sampler.draw):
        m.d.sync += drawn.eq(drawn - 1)
    with m.If(done):
        m.d.sync += pending.eq(1)
    with m.If(sampler.token.valid):
        m.d.sync += pending.eq(0)
    # The last logit is that of the last draw.
    h.assume(~done | ((drawn == 1) & ~sampler.draw))
    h.assume(~sampler.draw | ~pending)
    h.claim(sampler.token.valid == h.register(h.register(done)))
    result = h.register(best_index)
    h.claim(~sampler.token.valid | (sampler.token.payload == result))
    return h


PROOFS = [
    Proof(name="sampler.takes_largest", build=_sampler_takes_largest, method="bounded", depth=24,
          claim="The token is that of the first of the largest sums of logit and noise, whatever "
                "the pauses between logits.",
          fault=Edit("sampler.py", "Mux(self.draw & first, most", "Mux(first, most"),
          undecided=True),
]
