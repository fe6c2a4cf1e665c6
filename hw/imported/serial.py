"""Root, division, product and shift, a step in each cycle: what a norm needs once for a matrix.

All take their operands with ``start`` and give ``done`` a fixed number of cycles later; a pulse
of ``start`` in between starts again. The result holds until then.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Divider", "SerialMultiplier", "SerialShifter", "SquareRoot"]


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
    ones. Where it is known to be shorter than the dividend, the upper part of that is ``high``.

    Parameters
    ----------
    dividend_bits, divisor_bits : int

    Members
    -------
    start : In(1)
    high : In(divisor_bits)
        Upper part of the dividend, less than the divisor.
    dividend : In(dividend_bits)
    divisor : In(divisor_bits)
        Must hold until ``done``.
    done : Out(1)
    quotient : Out(dividend_bits)
    inexact : Out(1)
        The quotient was rounded down: one more is the quotient rounded up.
    """

    start: Signal
    high: Signal
    dividend: Signal
    divisor: Signal
    done: Signal
    quotient: Signal
    inexact: Signal

    def __init__(self, *, dividend_bits: int, divisor_bits: int) -> None:
        self._bits = dividend_bits
        self._divisor_bits = divisor_bits
        super().__init__({"start": In(1), "high": In(divisor_bits),
                          "dividend": In(dividend_bits),
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
            m.d.sync += [steps.eq(self._bits), self.quotient.eq(self.dividend),
                         remainder.eq(self.high), self.done.eq(0)]
        return m


class SerialMultiplier(wiring.Component):
    """Product of two natural numbers, by additions.

    The latency is ``b_bits + 1`` cycles from ``start`` to ``done``.

    Parameters
    ----------
    a_bits, b_bits : int

    Members
    -------
    start : In(1)
    a : In(a_bits)
        Must hold until ``done``.
    b : In(b_bits)
    done : Out(1)
    product : Out(a_bits + b_bits)
    """

    start: Signal
    a: Signal
    b: Signal
    done: Signal
    product: Signal

    def __init__(self, *, a_bits: int, b_bits: int) -> None:
        self._a_bits = a_bits
        self._b_bits = b_bits
        super().__init__({"start": In(1), "a": In(a_bits), "b": In(b_bits), "done": Out(1),
                          "product": Out(a_bits + b_bits)})

    @property
    def cycles(self) -> int:
        """Cycles from ``start`` to ``done``."""
        return self._b_bits + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        steps = Signal(range(self._b_bits + 1))
        upper = self.product[self._b_bits:]
        total = Signal(self._a_bits + 1)
        m.d.comb += total.eq(upper + Mux(self.product[0], self.a, 0))
        m.d.sync += self.done.eq(steps == 1)
        with m.If(steps.any()):
            # Bits of b leave below as those of the product come in above.
            m.d.sync += [steps.eq(steps - 1),
                         self.product.eq(Cat(self.product[1:self._b_bits], total))]
        with m.If(self.start):
            m.d.sync += [steps.eq(self._b_bits), self.product.eq(self.b), self.done.eq(0)]
        return m


class SerialShifter(wiring.Component):
    """Shift of a natural number by a variable amount, or until its first bit is the upper one.

    The latency is ``cycles`` from ``start`` to ``done``: a power of two is shifted by in each.

    Parameters
    ----------
    bits : int

    Members
    -------
    start : In(1)
    value : In(bits)
    align : In(1)
        Shift to the left until the upper bit is 1; of 0, by ``bits - 1``.
    amount : In(signed(12))
        Otherwise: to the left, or, where negative, to the right.
    done : Out(1)
    result : Out(bits)
    count : Out
        Bits that ``align`` has shifted by.
    lost : Out(1)
        A bit that was 1 has left on the left.
    """

    start: Signal
    value: Signal
    align: Signal
    amount: Signal
    done: Signal
    result: Signal
    count: Signal
    lost: Signal

    def __init__(self, *, bits: int) -> None:
        self._bits = bits
        # Of the amount: beyond it nothing is left.
        self._steps = bits.bit_length()
        super().__init__({"start": In(1), "value": In(bits), "align": In(1),
                          "amount": In(signed(12)), "done": Out(1), "result": Out(bits),
                          "count": Out((bits - 1).bit_length()), "lost": Out(1)})

    @property
    def cycles(self) -> int:
        """Cycles from ``start`` to ``done``."""
        return self._steps + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        align, right = Signal(reset_less=True), Signal(reset_less=True)
        left = Signal(self._steps, reset_less=True)
        step = Signal(self._steps)
        magnitude = Signal(12)
        m.d.comb += magnitude.eq(Mux(self.amount[-1], -self.amount, self.amount))
        m.d.sync += [self.done.eq(step[0]), step.eq(step >> 1)]
        for k in range(self._steps):
            by = 1 << k
            with m.If(step[k]):
                # A step by all bits leaves nothing, and aligns nothing.
                upper = self.result[max(self._bits - by, 0):]
                with m.If(align):
                    if by < self._bits:
                        with m.If(~upper.any()):
                            m.d.sync += [self.result.eq(self.result << by), self.count[k].eq(1)]
                with m.Elif(left[k]):
                    m.d.sync += [
                        self.result.eq(Mux(right, self.result >> by, self.result << by)),
                        self.lost.eq(self.lost | (~right & upper.any())),
                    ]
        with m.If(self.start):
            m.d.sync += [
                align.eq(self.align), right.eq(self.amount[-1]), self.result.eq(self.value),
                left.eq(Mux(magnitude[self._steps:].any(), (1 << self._steps) - 1, magnitude)),
                step.eq(1 << self._steps - 1), self.count.eq(0), self.lost.eq(0),
                self.done.eq(0)]
        return m
