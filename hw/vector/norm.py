"""L1 norm: the reciprocal of a vector's mean magnitude."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith import add_carry
from ..config import NUMBERS

__all__ = ["Reciprocal"]


class Reciprocal(wiring.Component):
    """``r = min(2**15 - 1, floor(scale * 2**10 / max(total, 1)))``, by long division.

    ``done`` comes ``CYCLES`` cycles after ``start``: one quotient bit is found in each.

    Members
    -------
    start : In(1)
        Pulse; ``scale`` and ``not_total`` hold until ``done``.
    scale : In(13)
    not_total : In(20)
        ``~total``, so that the trial subtraction needs no inverters before its carry chain.
    done : Out(1)
        Pulse; ``r`` holds until the next ``start``.
    r : Out(15)
    """

    CYCLES = NUMBERS.norm_scale_bits + NUMBERS.norm_frac + 2

    start: Signal
    scale: Signal
    not_total: Signal
    done: Signal
    r: Signal

    def __init__(self) -> None:
        super().__init__({
            "start": In(1),
            "scale": In(NUMBERS.norm_scale_bits),
            "not_total": In(NUMBERS.norm_sum_bits),
            "done": Out(1),
            "r": Out(NUMBERS.scale_bits),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        dividend = Cat(Const(0, NUMBERS.norm_frac), self.scale)
        # What the divisor is taken from next: the rest so far with the dividend's next bit. All
        # its bits start from zero, so that they share a reset and stay on one carry chain.
        trial = Signal(NUMBERS.norm_sum_bits + 1, reset_less=True)
        low = Signal(len(dividend), reset_less=True)
        r = Signal(NUMBERS.scale_bits, reset_less=True)
        steps_left = Signal(range(len(dividend) + 1))
        saturated = Signal(reset_less=True)
        m.d.comb += self.r.eq(r)

        over = Signal(NUMBERS.norm_sum_bits + 2)
        m.d.comb += over.eq(add_carry(
            Cat(trial, Const(0, 1)), Cat(self.not_total, Const(-1, 2)), Const(1, 1),
            width=len(over)))
        fits = ~over[-1]
        m.d.sync += self.done.eq(steps_left == 1)
        with m.If(steps_left.any()):
            m.d.sync += [
                steps_left.eq(steps_left - 1),
                trial.eq(Cat(low[-1], Mux(fits, over, trial))),
                low.eq(low << 1),
                saturated.eq(saturated | r[-1]),
                r.eq(Cat(fits, r) | (saturated | r[-1]).replicate(len(r))),
            ]
        with m.If(self.start):
            m.d.sync += [
                steps_left.eq(len(dividend) + 1),
                trial.eq(0),
                low.eq(dividend),
                saturated.eq(0),
                r.eq(0),
            ]
        return m
