"""L1 norm: multipliers divided by the magnitude of the vector that they will scale."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith import add_carry
from ..config import NUMBERS

__all__ = ["EffectiveScale"]


class EffectiveScale(wiring.Component):
    """``m_eff = min(2**15 - 1, (m << 12) // max(total, 1))``, by long division; or ``m`` itself.

    ``done`` comes ``CYCLES`` cycles after ``start``, or one if nothing is divided: one quotient bit
    is found in each. A total of zero gives some number, which then multiplies zeros only.

    Members
    -------
    start : In(1)
        Pulse; takes ``scale`` and ``divide``, while ``not_total`` holds until ``done``.
    scale : In(15)
    divide : In(1)
    not_total : In(15)
        ``~total``, so that the trial subtraction needs no inverters before its carry chain.
    done : Out(1)
        Pulse; ``result`` holds until the next ``start``.
    result : Out(15)
    """

    CYCLES = NUMBERS.scale_bits + NUMBERS.norm_shift + 2

    start: Signal
    scale: Signal
    divide: Signal
    not_total: Signal
    done: Signal
    result: Signal

    def __init__(self) -> None:
        super().__init__({
            "start": In(1),
            "scale": In(NUMBERS.scale_bits),
            "divide": In(1),
            "not_total": In(NUMBERS.norm_bits),
            "done": Out(1),
            "result": Out(NUMBERS.scale_bits),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # What the divisor is taken from next: the rest so far with the dividend's next bit. All
        # its bits start from zero, so that they share a reset and stay on one carry chain.
        trial = Signal(NUMBERS.norm_bits + 1, reset_less=True)
        low = Signal(NUMBERS.scale_bits, reset_less=True)
        result = Signal(NUMBERS.scale_bits, reset_less=True)
        steps = NUMBERS.scale_bits + NUMBERS.norm_shift + 1
        steps_left = Signal(range(steps + 1))
        saturated = Signal(reset_less=True)
        m.d.comb += self.result.eq(result)

        over = Signal(NUMBERS.norm_bits + 2)
        m.d.comb += over.eq(add_carry(
            Cat(trial, Const(0, 1)), Cat(self.not_total, Const(-1, 2)), Const(1, 1),
            width=len(over)))
        fits = ~over[-1]
        m.d.sync += self.done.eq((steps_left == 1) | (self.start & ~self.divide))
        with m.If(steps_left.any()):
            m.d.sync += [
                steps_left.eq(steps_left - 1),
                trial.eq(Cat(low[-1], Mux(fits, over, trial))),
                low.eq(low << 1),
                saturated.eq(saturated | result[-1]),
                result.eq(Cat(fits, result) | (saturated | result[-1]).replicate(len(result))),
            ]
        with m.If(self.start):
            m.d.sync += [
                steps_left.eq(Mux(self.divide, steps, 0)),
                trial.eq(0),
                low.eq(self.scale),
                saturated.eq(0),
                result.eq(Mux(self.divide, 0, self.scale)),
            ]
        return m
