"""State machines with a flip-flop for each state."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import or_

from amaranth.hdl import Module, Signal, Value

__all__ = ["OneHotFSM"]


class OneHotFSM:
    """A state machine in which being in a state is one signal, so that nothing has to be decoded.

    It is used like Amaranth's ``m.FSM()``, whose states are numbered: on this device the decoding
    of a number costs two levels of logic, a third of a cycle at 48 MHz.

    Parameters
    ----------
    m : Module
    states : str
        Names of all states; the machine starts in the first.

    Examples
    --------
    >>> fsm = OneHotFSM(m, "IDLE", "BUSY")
    >>> with fsm.State("IDLE"):
    ...     with m.If(start):
    ...         fsm.next = "BUSY"
    """

    def __init__(self, m: Module, *states: str) -> None:
        self._m = m
        self._numbers = {name: k for k, name in enumerate(states)}
        self._state = Signal(len(states), init=1, name="fsm_state")
        # What follows from each state, or 0 in the others, so that no state waits for another's
        # logic.
        self._following = [Signal(len(states), name=f"after_{k}") for k in range(len(states))]
        self._present = 0
        m.d.sync += self._state.eq(reduce(or_, self._following))

    @contextmanager
    def State(self, name: str) -> Iterator[None]:
        """Open the block of a state, once for each."""
        self._present = self._numbers[name]
        with self._m.If(self.ongoing(name)):
            self._go(name)
            yield

    def ongoing(self, name: str) -> Value:
        """1 in a state."""
        return self._state[self._numbers[name]]

    def _go(self, name: str) -> None:
        self._m.d.comb += self._following[self._present].eq(1 << self._numbers[name])

    next = property(fset=_go, doc="The next state, to be assigned within a state.")
