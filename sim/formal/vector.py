"""Proofs about the vector unit: its norm, and the divider."""

from amaranth.hdl import Mux, Signal

from trilight.hw.config import NUMBERS, UP5K

from .harness import Harness, at_most, count_while
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]

WIDE = 24
"""Bits in which no sum of these proofs overflows."""


def _norm_fits(gateware: Gateware) -> Harness:
    vector = gateware.module("vector").VectorUnit(device=UP5K)
    h = Harness(vector, gateware)
    h.cut("requant", "mix", "tap_now", "tap_prev", "product", "forget_bias", "residual",
          "activation", "state", "taps", "previous")
    m = h.m
    count, magnitudes = Signal(10), Signal(WIDE)
    act = h.signal("act")
    with m.If(vector.acts.valid):
        m.d.sync += [count.eq(count + 1),
                     magnitudes.eq(magnitudes + Mux(act < 0, -act, act).as_unsigned())]
    with m.If(vector.load):
        m.d.sync += [count.eq(0), magnitudes.eq(0)]
    h.assume(count + vector.acts.valid <= UP5K.max_columns)
    h.claim(at_most(act, NUMBERS.act_max))
    h.claim(magnitudes <= NUMBERS.act_max * count)
    h.claim(magnitudes == (~h.signal("not_total")).as_unsigned())
    return h


SMALL_BITS, SMALL_SHIFT = 5, 3
SMALL_NORM = (
    Edit("config.py", "scale_bits: int = 15", f"scale_bits: int = {SMALL_BITS}"),
    Edit("config.py", "norm_bits: int = 15", f"norm_bits: int = {SMALL_BITS}"),
    Edit("config.py", "norm_shift: int = 12", f"norm_shift: int = {SMALL_SHIFT}"),
)


def _divider_divides(gateware: Gateware) -> Harness:
    divider = gateware.module("vector.norm").EffectiveScale()
    h = Harness(divider, gateware)
    m = h.m
    scale, total = Signal(SMALL_BITS, name="asked_scale"), Signal(SMALL_BITS, name="asked_total")
    divides, asked, busy = Signal(), Signal(), Signal()
    m.d.sync += busy.eq(divider.start | (busy & ~divider.done))
    h.assume(~divider.start | ~busy | divider.done)
    with m.If(divider.start):
        m.d.sync += [scale.eq(divider.scale), total.eq(~divider.not_total), asked.eq(1),
                     divides.eq(divider.divide)]
    numerator = scale << SMALL_SHIFT
    most = (1 << SMALL_BITS) - 1
    product = divider.result * total
    right = Mux(divides, Mux(
        divider.result == most, numerator >= product,
        (numerator >= product) & (numerator < product + total)), divider.result == scale)
    h.claim(~divider.done | (asked & ((divides & (total == 0)) | right)))
    # The largest quotient that fits is also what larger ones become.
    h.claim(~(divider.done & divides & (total != 0) & (divider.result != most))
            | (numerator < (total << SMALL_BITS)))
    return h


def _divider_answers(gateware: Gateware) -> Harness:
    divider = gateware.module("vector.norm").EffectiveScale()
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
          fault=Edit("vector/__init__.py", "~negative, width=n.norm_bits))",
                     "Const(1, 1), width=n.norm_bits))"), shows=12),
    Proof(name="divider.divides", build=_divider_divides, method="bounded",
          depth=SMALL_BITS + SMALL_SHIFT + 6, sizes=SMALL_NORM,
          claim="The quotient is the largest that is not too large, or the largest that fits.",
          fault=Edit("vector/norm.py", "Cat(low[-1], difference[:-1]), addend, ~negative",
                     "Cat(low[-1], difference[:-1]), addend, Const(1, 1)")),
    Proof(name="divider.answers", build=_divider_answers, method="every state", depth=36,
          claim="A division that was begun is answered once, after as many cycles as are promised.",
          fault=Edit("vector/norm.py", "(steps_left == 2) | (self", "(steps_left == 3) | (self")),
]
