"""Proofs about the vector unit: its norm, and the divider."""

from amaranth.hdl import Cat, Const, Mux, Signal

from trilight.hw.contract.numbers import NUMBERS

from .harness import Harness, at_most, count_while, implies
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]

WIDE = 24
"""Bits in which no sum of these proofs overflows."""


def _norm_fits(gateware: Gateware) -> Harness:
    vector = gateware.module("vector.unit").VectorUnit(device=gateware.device)
    h = Harness(vector, gateware)
    h.cut("requant", "mix", "tap_now", "tap_prev", "product", "forget_bias", "residual",
          "activation", "state", "taps", "previous")
    m = h.m
    count, magnitudes = Signal(10), Signal(WIDE)
    act = h.signal("act")
    with m.If(vector.acts.acts.valid):
        m.d.sync += [count.eq(count + 1),
                     magnitudes.eq(magnitudes + Mux(act < 0, -act, act).as_unsigned())]
    with m.If(vector.context.load):
        m.d.sync += [count.eq(0), magnitudes.eq(0)]
    h.assume(count + vector.acts.acts.valid <= gateware.device.max_columns)
    h.claim(at_most(act, NUMBERS.act_max))
    h.claim(magnitudes <= NUMBERS.act_max * count)
    h.claim(magnitudes == (~h.signal("not_total")).as_unsigned())
    return h


def _divider_divides(gateware: Gateware) -> Harness:
    divider = gateware.module("control.divider").EffectiveScale(device=gateware.device)
    h = Harness(divider, gateware)
    m = h.m
    scale_bits, norm_bits = NUMBERS.scale_bits, gateware.device.norm_bits
    numerator_bits = scale_bits + NUMBERS.norm_shift
    busy, divides = Signal(), Signal()
    scale, total = Signal(scale_bits, name="asked_scale"), Signal(norm_bits, name="asked_total")
    m.d.sync += busy.eq(divider.start | (busy & ~divider.done))
    h.assume(implies(divider.start, ~busy | divider.done))  # one at a time
    with m.If(divider.start):
        m.d.sync += [scale.eq(divider.scale), total.eq(~divider.not_total),
                     divides.eq(divider.divide)]

    # The quotient so far and its product with the divisor, formed as in long multiplication, and
    # the part of the numerator that has been looked at, with the bit that comes after the last.
    quotient, product = Signal(numerator_bits), Signal(numerator_bits)
    part = Signal(numerator_bits + 1)
    result, difference = h.signal("result"), h.signal("difference").as_signed()
    steps_left, first = h.signal("steps_left"), h.signal("first")
    bit = ~(difference < 0) & ~first
    numerator = Cat(Const(0, NUMBERS.norm_shift + 1), scale)
    m.d.comb += part.eq(numerator >> (steps_left - 1).as_unsigned())
    with m.If(divider.start):
        m.d.sync += [quotient.eq(0), product.eq(0)]
    with m.Elif(h.signal("stepping")):
        m.d.sync += [quotient.eq(Cat(bit, quotient)),
                     product.eq((product << 1) + Mux(bit, total, 0))]
    maximum = (1 << scale_bits) - 1
    limited = Mux(quotient > maximum, maximum, quotient)
    h.claim(implies(divider.done & ~divides, divider.result == scale))
    h.claim(implies(divider.done & divides & (total != 0),
                    (product <= numerator[1:]) & (numerator[1:] < product + total)
                    & (divider.result == limited)))

    # The difference is what is left of that part, were the next bit of the quotient 1.
    h.lemma(divider.done == (busy & (~divides | (steps_left == 1))))
    h.lemma(steps_left <= divider.CYCLES)
    h.lemma(h.signal("stepping") == (steps_left > 1))
    h.lemma(first == (busy & (~divides | (steps_left == divider.CYCLES))))
    h.lemma(implies(busy & ~divides, result == scale))
    with m.If(steps_left != 0):
        h.lemma(busy & divides & (total == ~h.signal("not_total")))
        h.lemma(h.signal("low") == (scale << (divider.CYCLES - steps_left)
                                    .as_unsigned())[:scale_bits])
        h.lemma(result == limited)
        h.lemma(h.signal("saturated") == (quotient > maximum))
        h.lemma(first | (quotient >> (divider.CYCLES - 1 - steps_left).as_unsigned() == 0))
        with m.If(first):
            h.lemma((difference == 0) & (quotient == 0) & (product == 0))
        with m.Elif(total != 0):
            h.lemma(difference == part - (product << 1) - total)
            h.lemma(at_most(difference, total) & (difference != total))
    return h


def _divider_answers(gateware: Gateware) -> Harness:
    divider = gateware.module("control.divider").EffectiveScale(device=gateware.device)
    h = Harness(divider, gateware)
    h.assume(~divider.start | (h.signal("steps_left") <= 1))  # one at a time
    since = count_while(h, ~divider.start, divider.CYCLES + 1, "since")
    asked, divides = Signal(), Signal()
    with h.m.If(divider.start):
        h.m.d.sync += [asked.eq(1), divides.eq(divider.divide)]
    due = asked & (since == Mux(divides, divider.CYCLES - 1, 0))
    h.claim(~asked | (divider.done == due))
    return h


PROOFS = [
    Proof(name="vector.norm_fits", build=_norm_fits, method="induction", depth=2,
          claim="Activations are within ±127, and the sum of their magnitudes is exact and fits.",
          fault=Edit("vector/norm.py", "~negative, width=device.norm_bits))",
                     "Const(1, 1), width=device.norm_bits))"), shows=12),
    Proof(name="divider.divides", build=_divider_divides, method="induction", depth=2,
          claim="The quotient is the largest that is not too large, or the largest that fits.",
          fault=Edit("control/divider.py", "Cat(low[-1], difference[:-1]), addend, ~negative",
                     "Cat(low[-1], difference[:-1]), addend, Const(1, 1)"), shows=36),
    Proof(name="divider.answers", build=_divider_answers, method="every state", depth=36,
          claim="A division that was begun is answered once, after as many cycles as are promised.",
          fault=Edit("control/divider.py", "(steps_left == 2) | (self",
                     "(steps_left == 3) | (self")),
]
