"""Selection among flags."""

from collections.abc import Iterable, Sequence
from typing import Any

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value

__all__ = ["any_of", "lowest", "numbered"]


class _Only(Array):
    """The only signal, whatever its number, which has no bits."""

    def __getitem__(self, index: object) -> Any:
        return super().__getitem__(index if isinstance(index, int) else 0)


def numbered(signals: Iterable[Signal]) -> Array:
    """Return an array of signals that a number selects.

    That of a single one has no bits, and a switch on it would never match in Yosys.
    """
    signals = list(signals)
    return Array(signals) if len(signals) > 1 else _Only(signals)


def lowest(flags: Sequence[Value]) -> Value:
    """Return the number of the lowest flag that is set; that of the last if no other is."""
    number: Value = Const(len(flags) - 1)
    for k in reversed(range(len(flags) - 1)):
        number = Mux(flags[k], k, number)
    return number


def any_of(flags: Iterable[Value]) -> Value:
    """Return 1 if a flag is set, and 0 if there is none."""
    return Cat(Const(0, 1), *flags).any()
