"""Products of a gate: ``g * h`` of MIX and ``a * b`` of GLU, by one multiplier."""

from amaranth.hdl import Module, Mux, Signal, Value, signed

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.lib.arith import Multiplier

from .stages import Stages

__all__ = ["add_gate_product"]


def add_gate_product(m: Module, stages: Stages, looked_up: Signal, value: Signal, h: Signal,
                     ) -> Value:
    """Add the multiplier, which the two never want at once; return the product.

    ::

        stage of GLU's linear row   4      5      6      7      8
        gate (a)                                         held from stage 7 of its row on
        linear branch (b)           < b >  < b >  < b >
        product                                                 < a*b >

        stage of MIX's gate row     6      7      8      9      10     11
        gate (g)                    < g >  held
        h                                                < h >  held
        product                                                        < g*h >
    """
    n = NUMBERS
    tag = stages.row[6]
    gate = Signal(signed(n.gate_bits), reset_less=True)
    with m.If(tag.valid & (tag.phase == Mux(stages.is_mix, 2, 0))):
        m.d.sync += gate.eq(looked_up)
    linear = [Signal(signed(n.gate_bits), name=f"linear_{k}", reset_less=True) for k in (5, 6)]
    m.d.sync += [linear[0].eq(value), linear[1].eq(linear[0])]
    m.submodules.product = product = Multiplier(a_width=n.gate_bits, b_width=n.gate_bits)
    m.d.comb += [product.a.eq(Mux(stages.is_mix, h, linear[1])), product.b.eq(gate)]
    return product.p
