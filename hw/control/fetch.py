"""Reading the program, a word per cycle."""

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring

from trilight.hw.contract.program import HEADER_WORDS, OPERATION, OPERATION_WORDS

__all__ = ["ProgramReader"]


class ProgramReader:
    """Address of the program memory, and the number of the word that it answers with.

    ::

        address   A     A+1   A+2   A+3
        word      0     1     2     3
        data            [A]   [A+1] [A+2]      in the cycle of ``word`` k + 1: word k

    Attributes
    ----------
    word : Signal
        Words asked for since ``seek``.
    data : Signal(16)
        Word ``word - 1``.
    operation : View(OPERATION)
        The same as an operation's first word.
    """

    def __init__(self, m: Module, port: "wiring.PureInterface") -> None:
        self.word = Signal(range(max(HEADER_WORDS, OPERATION_WORDS) + 1), reset_less=True)
        self.data = port.data
        self.operation = data.View(data.StructLayout(OPERATION), port.data)
        self._address = Signal.like(port.addr, name="address", reset_less=True)
        m.d.comb += port.addr.eq(self._address)

    def seek(self, address: Value | int) -> list[Any]:
        """Ask for the word at an address next, as word 0."""
        return [self.word.eq(0), self._address.eq(address)]

    def advance(self) -> list[Any]:
        """Ask for the word after."""
        return [self.word.eq(self.word + 1), self._address.eq(self._address + 1)]
