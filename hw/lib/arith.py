"""Small arithmetic shared by the blocks: rounding, saturation, a registered multiplier."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Counter", "Multiplier", "add_carry", "clip_symmetric", "round_add", "saturate"]


def _extend(value: Value, width: int) -> Value:
    """The low ``width`` bits of a signed value, extended by its sign."""
    if len(value) >= width:
        return value[:width]
    return Cat(value, value[-1].replicate(width - len(value)))


def add_carry(a: Value, b: Value, carry: Value, *, width: int) -> Value:
    """``a + b + carry`` of signed values, in ``width`` bits, on a single carry chain.

    A position below the least significant bit adds 1 and ``carry``, and so makes the carry; three
    summands would become two adders.
    """
    total = Cat(Const(1, 1), _extend(a, width)) + Cat(carry, _extend(b, width))
    return total[1:width + 1].as_signed()


def round_add(product: Value, shift: int, addend: Value, *, width: int) -> Value:
    """``rshift(product, shift) + addend`` in ``width`` bits, the rounding bit as carry."""
    return add_carry(product[shift:], addend, product[shift - 1], width=width)


def saturate(value: Value, bits: int) -> Value:
    """A signed value clipped to [-2**(bits-1), 2**(bits-1) - 1]."""
    sign = value[-1]
    top = value[bits - 1:]
    fits = top.all() | ~top.any()
    limit = Cat((~sign).replicate(bits - 1), sign)
    return Mux(fits, value[:bits], limit).as_signed()


def clip_symmetric(value: Value, bits: int) -> Value:
    """A signed value clipped to ±(2**(bits-1) - 1)."""
    sign = value[-1]
    top = value[bits - 1:]
    fits = top.all() | (~top.any())
    lowest = sign & ~value[:bits - 1].any()
    limit = Cat(Const(1, 1), (~sign).replicate(bits - 2), sign)
    return Mux(fits & ~lowest, value[:bits], limit).as_signed()


class Counter:
    """A wide counter whose carry chain is half as long as the counter.

    Whether the lower half is all ones is a register, and is the carry into the upper half. The
    value is exact in every cycle.

    Parameters
    ----------
    m : Module
        Where the logic goes.
    value : Signal
        The counter, a register of two bits or more.
    enable : Value
        Count in this cycle.
    """

    def __init__(self, m: Module, value: Signal, enable: Value) -> None:
        half = len(value) // 2
        low, high = value[:half], value[half:]
        full = Signal(name=f"{value.name}_half_full")
        self._cleared = [value.eq(0), full.eq(0)]
        # Of the next cycle's value: all ones but the last, which enable turns around.
        m.d.sync += full.eq(low[1:].all() & (low[0] ^ enable))
        with m.If(enable):
            m.d.sync += [low.eq(low + 1), high.eq(high + full)]

    def clear(self, m: Module) -> None:
        """Zero the counter at the end of this cycle, under the conditions that ``m`` is in."""
        m.d.sync += self._cleared


class Multiplier(wiring.Component):
    """``p = a * b``, registered before and after, as a hard multiplier block does it.

    The latency is two cycles and the throughput one product per cycle. The registers have no
    reset, so that they can move into the block.

    Parameters
    ----------
    a_width, b_width : int
        Bits of the signed factors, at most 16 for one block of an iCE40.

    Members
    -------
    a : In(signed(a_width))
    b : In(signed(b_width))
    p : Out(signed(a_width + b_width))
        ``a * b`` of two cycles ago.
    """

    a: Signal
    b: Signal
    p: Signal

    def __init__(self, *, a_width: int, b_width: int) -> None:
        super().__init__({
            "a": In(signed(a_width)),
            "b": In(signed(b_width)),
            "p": Out(signed(a_width + b_width)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a = Signal.like(self.a, reset_less=True)
        b = Signal.like(self.b, reset_less=True)
        p = Signal.like(self.p, reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), p.eq(a * b)]
        m.d.comb += self.p.eq(p)
        return m
