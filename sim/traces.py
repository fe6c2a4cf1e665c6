"""The values of every stage of the model, as the gateware shows them and as the reference has them.

The vector unit shows what it writes as ``trace_<name>`` with ``trace_<name>_valid``: ``x``, ``y``
(what a norm sees, after the token shift if there is one), ``h``, ``act`` (``q``, ``u``, ``v``) and
``logit``.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from numpy.typing import NDArray

from trilight.sw.reference.model import ReferenceModel

from .checker import InOrderChecker
from .streams import Dut, Watch, signed

__all__ = ["TRACES", "ReferenceTrace", "TraceChecker"]

TRACES = ("x", "y", "h", "act", "logit")


class TraceChecker:
    """Compares every traced value of a design, in order, with what it should be.

    Parameters
    ----------
    dut : Dut
        Has the traces as ports.
    clock : Dut
    """

    def __init__(self, dut: Dut, clock: Dut) -> None:
        self._checkers = {name: InOrderChecker(name) for name in TRACES}
        for name, checker in self._checkers.items():
            value = dut[f"trace_{name}"]
            Watch(clock, dut[f"trace_{name}_valid"], value,
                  partial(self._take, checker, len(value)))

    @staticmethod
    def _take(checker: InOrderChecker, width: int, bits: int) -> None:
        checker(signed(bits, width))

    def expect(self, name: str, values: Iterable[Any]) -> None:
        self._checkers[name].expect(values)

    @property
    def pending(self) -> int:
        """Values that have not come yet."""
        return sum(checker.pending for checker in self._checkers.values())

    def finish(self) -> None:
        """Raise ``AssertionError`` if a value of any trace has not come, or none ever did."""
        for checker in self._checkers.values():
            checker.finish()


class ReferenceTrace:
    """Runs the integer reference and tells a ``TraceChecker`` what to expect.

    Parameters
    ----------
    reference : ReferenceModel
        Of a single stream.
    traces : TraceChecker
    """

    def __init__(self, reference: ReferenceModel, traces: TraceChecker) -> None:
        self.reference = reference
        self._traces = traces
        self._norm_input: NDArray[Any] | None = None
        self._head = False

    def step(self, token: int, *, head: bool) -> NDArray[Any]:
        """Feed a token and return its logits; without ``head`` the design computes none."""
        self._head = head
        logits: NDArray[Any] = self.reference.step([token], self._stage)[0]
        return logits

    def _stage(self, stage: str, layer: int, values: NDArray[Any]) -> None:
        row = values[0]
        match stage:
            case "x":
                self._traces.expect("x", row)
                self._norm_input = row
            case "y":
                self._norm_input = row
            case "q":
                assert self._norm_input is not None
                self._traces.expect("y", self._norm_input)
                self._traces.expect("act", row)
            case "u" | "v":
                self._traces.expect("act", row)
            case "h":
                self._traces.expect("h", row)
            case "logits" if self._head:
                self._traces.expect("logit", row)
