"""Selection among flags."""

from collections.abc import Iterable, Sequence

from amaranth.hdl import Cat, Const, Mux, Value

__all__ = ["any_of", "lowest"]


def lowest(flags: Sequence[Value]) -> Value:
    """Return the number of the lowest flag that is set; that of the last if no other is."""
    number: Value = Const(len(flags) - 1)
    for k in reversed(range(len(flags) - 1)):
        number = Mux(flags[k], k, number)
    return number


def any_of(flags: Iterable[Value]) -> Value:
    """Return 1 if a flag is set, and 0 if there is none."""
    return Cat(Const(0, 1), *flags).any()
