"""Square root and division, a bit in each cycle: what a norm needs once for a matrix.

Both take their operands with ``start`` and give ``done`` a fixed number of cycles later; a pulse
of ``start`` in between starts again. The result holds until then.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Divider", "SquareRoot"]


class SquareRoot(wiring.Component):
    """Whole part of a square root.

    The latency is ``bits + 1`` cycles from ``start`` to ``done``.

    Parameters
    ----------
    bits : int
        Of the root.

    Members
    -------
    start : In(1)
    square : In(2 * bits)
    done : Out(1)
    root : Out(bits)
    """

    start: Signal
    square: Signal
    done: Signal
    root: Signal

    def __init__(self, *, bits: int) -> None:
        self._bits = bits
        super().__init__({"start": In(1), "square": In(2 * bits), "done": Out(1),
                          "root": Out(bits)})

    @property
    def cycles(self) -> int:
        """Cycles from ``start`` to ``done``."""
        return self._bits + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self._bits
        left = Signal(2 * bits, reset_less=True)
        # What is left of the square is at most twice the root.
        remainder = Signal(bits + 1, reset_less=True)
        steps = Signal(range(bits + 1))
        brought = Cat(left[-2:], remainder)
        difference = Signal(bits + 4)
        m.d.comb += difference.eq(brought - Cat(1, 0, self.root))
        m.d.sync += self.done.eq(steps == 1)
        with m.If(steps.any()):
            m.d.sync += [
                steps.eq(steps - 1),
                left.eq(left << 2),
                remainder.eq(Mux(difference[-1], brought, difference)),
                self.root.eq(Cat(~difference[-1], self.root)),
            ]
        with m.If(self.start):
            m.d.sync += [steps.eq(bits), left.eq(self.square), remainder.eq(0), self.root.eq(0),
                         self.done.eq(0)]
        return m


class Divider(wiring.Component):
    """Whole part of a quotient, and whether something is left.

    The latency is as many cycles as the dividend has bits, and one. By zero the quotient is all
    ones.

    Parameters
    ----------
    dividend_bits, divisor_bits : int

    Members
    -------
    start : In(1)
    dividend : In(dividend_bits)
    divisor : In(divisor_bits)
        Must hold until ``done``.
    done : Out(1)
    quotient : Out(dividend_bits)
    inexact : Out(1)
        The quotient was rounded down: one more is the quotient rounded up.
    """

    start: Signal
    dividend: Signal
    divisor: Signal
    done: Signal
    quotient: Signal
    inexact: Signal

    def __init__(self, *, dividend_bits: int, divisor_bits: int) -> None:
        self._bits = dividend_bits
        self._divisor_bits = divisor_bits
        super().__init__({"start": In(1), "dividend": In(dividend_bits),
                          "divisor": In(divisor_bits), "done": Out(1),
                          "quotient": Out(dividend_bits), "inexact": Out(1)})

    @property
    def cycles(self) -> int:
        """Cycles from ``start`` to ``done``."""
        return self._bits + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        remainder = Signal(self._divisor_bits, reset_less=True)
        steps = Signal(range(self._bits + 1))
        brought = Cat(self.quotient[-1], remainder)
        difference = Signal(self._divisor_bits + 2)
        m.d.comb += [
            difference.eq(brought - self.divisor),
            self.inexact.eq(remainder.any()),
        ]
        m.d.sync += self.done.eq(steps == 1)
        with m.If(steps.any()):
            # Bits of the dividend leave above as those of the quotient come in below.
            m.d.sync += [
                steps.eq(steps - 1),
                remainder.eq(Mux(difference[-1], brought, difference)),
                self.quotient.eq(Cat(~difference[-1], self.quotient)),
            ]
        with m.If(self.start):
            m.d.sync += [steps.eq(self._bits), self.quotient.eq(self.dividend), remainder.eq(0),
                         self.done.eq(0)]
        return m
