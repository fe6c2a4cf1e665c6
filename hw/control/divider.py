"""Divider of the L1 norm: multipliers by the magnitude of the vector that they will scale."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.lib.arith import add_carry

from .timing import DIVISION

__all__ = ["EffectiveScale"]


class EffectiveScale(wiring.Component):
    r"""Divide: ``m_eff = min(2**15 - 1, (m << 12) // max(total, 1))``; or pass ``m`` on.

    A long division, one bit of the quotient per cycle. A total of zero gives some number, which
    then multiplies zeros only.

    ::

        cycle           0         1         2        ...     CYCLES    later
        start, divide   /^^^^^^^^^\___________________________________________
        done            ______________________________________/^^^^^^^^\______
        result                    < bits so far ...        >< quotient        >

    Without ``divide``, ``done`` and ``result`` follow one cycle after ``start``.

    Members
    -------
    start : In(1)
        Pulse; takes what follows. At most one division is under way.
    scale : In(15)
    divide : In(1)
    not_total : In(15)
        ``~total``.
    done : Out(1)
        Pulse; ``result`` holds until the next ``start``.
    result : Out(15)
    """

    CYCLES = DIVISION

    def __init__(self, *, device: Device) -> None:
        self._norm_bits = device.norm_bits
        super().__init__({
            "start": In(1),
            "scale": In(NUMBERS.scale_bits),
            "divide": In(1),
            "not_total": In(device.norm_bits),
            "done": Out(1),
            "result": Out(NUMBERS.scale_bits),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Without restoring: a difference that fell below zero has the divisor added in the next
        # step, not taken away, which comes to the same. So a step ends with its sum, and what
        # depends on the sum's sign waits for the next one.
        bits = self._norm_bits + 2
        difference = Signal(bits, reset_less=True)
        low = Signal(NUMBERS.scale_bits, reset_less=True)
        not_total = Signal(self._norm_bits, reset_less=True)
        result = Signal(NUMBERS.scale_bits, reset_less=True)
        steps_left = Signal(range(self.CYCLES + 1))
        stepping = Signal()
        first = Signal(reset_less=True)
        saturated = Signal(reset_less=True)
        m.d.comb += self.result.eq(result)

        negative = difference[-1]
        addend = Cat(not_total, Const(-1, 2)) ^ negative.replicate(bits)
        m.d.sync += [
            self.done.eq((steps_left == 2) | (self.start & ~self.divide)),
            stepping.eq(steps_left > 2),
            first.eq(self.start),
        ]
        with m.If(stepping):
            m.d.sync += [
                difference.eq(add_carry(
                    Cat(low[-1], difference[:-1]), addend, ~negative, width=bits)),
                low.eq(low << 1),
                saturated.eq(saturated | result[-1]),
                result.eq(Cat(~(negative | first), result)
                          | (saturated | result[-1]).replicate(len(result))),
            ]
        with m.If(steps_left.any()):
            m.d.sync += steps_left.eq(steps_left - 1)
        with m.If(self.start):
            m.d.sync += [
                steps_left.eq(Mux(self.divide, self.CYCLES, 0)),
                stepping.eq(self.divide),
                difference.eq(0),
                low.eq(self.scale),
                not_total.eq(self.not_total),
                saturated.eq(0),
                result.eq(Mux(self.divide, 0, self.scale)),
            ]
        return m
