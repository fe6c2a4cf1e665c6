"""L1 norm: the reciprocal of a vector's mean magnitude."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import NUMBERS

__all__ = ["Reciprocal"]


class Reciprocal(wiring.Component):
    """``r = min(2**15 - 1, floor(scale * 2**10 / max(total, 1)))``, by long division.

    ``done`` comes ``CYCLES`` cycles after ``start``: one to find out whether the quotient has more
    bits than ``r``, when ``done`` comes at once, and then one for each quotient bit.

    Members
    -------
    start : In(1)
        Pulse; ``scale`` and ``total`` hold until ``done``.
    scale : In(13)
    total : In(20)
    done : Out(1)
        Pulse; ``r`` holds until the next ``start``.
    r : Out(15)
    """

    CYCLES = NUMBERS.scale_bits + 2

    start: Signal
    scale: Signal
    total: Signal
    done: Signal
    r: Signal

    def __init__(self) -> None:
        super().__init__({
            "start": In(1),
            "scale": In(NUMBERS.norm_scale_bits),
            "total": In(NUMBERS.norm_sum_bits),
            "done": Out(1),
            "r": Out(NUMBERS.scale_bits),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = NUMBERS.scale_bits
        dividend = Cat(Const(0, NUMBERS.norm_frac), self.scale)
        rest = Signal(NUMBERS.norm_sum_bits, reset_less=True)
        low = Signal(bits, reset_less=True)
        r = Signal(bits, reset_less=True)
        step = Signal(range(bits + 1))
        m.d.comb += self.r.eq(r)

        trial = Mux(step == 0, dividend[bits:], Cat(low[-1], rest))
        over = Signal(NUMBERS.norm_sum_bits + 2)
        m.d.comb += over.eq(Cat(trial, Const(0, 1)) - self.total)
        fits = ~over[-1]
        running = Signal()
        with m.If(self.start):
            m.d.sync += [running.eq(1), step.eq(0)]
        m.d.sync += self.done.eq(0)
        with m.If(running):
            m.d.sync += [step.eq(step + 1), low.eq(low << 1)]
            with m.If(step == 0):
                m.d.sync += [low.eq(dividend[:bits]), rest.eq(trial), r.eq(0)]
                with m.If(fits):
                    m.d.sync += r.eq((1 << bits) - 1)
            with m.Else():
                m.d.sync += [
                    rest.eq(Mux(fits, over, trial)),
                    r.eq(Cat(fits, r)),
                ]
            with m.If((step == bits) | ((step == 0) & fits)):
                m.d.sync += [running.eq(0), self.done.eq(1)]
        return m
