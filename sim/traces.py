"""The values of every stage of the model, as the gateware shows them and as the reference has them.

The vector unit shows what it writes as ``trace_<name>`` with ``trace_<name>_valid``: ``x``, ``y``
(what a norm sees, after the token shift if there is one), ``h``, ``act`` (``q``, ``u``, ``v``) and
``logit``.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray

from trilight.hw.config import NUMBERS, UP5K
from trilight.hw.protocol import RunFlag
from trilight.sw.model import Model
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.reference.sampler import Sampler

from .checker import InOrderChecker
from .streams import Dut, Watch, signed

__all__ = ["TRACES", "ReferenceDevice", "TraceChecker"]

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


class ReferenceDevice:
    """What a loaded device must do: tape, state, sampler and counters around the reference.

    Parameters
    ----------
    model : Model

    Attributes
    ----------
    traces : TraceChecker or None
        Is told every value of every token.
    """

    def __init__(self, model: Model) -> None:
        self.traces: TraceChecker | None = None
        self.tape = [0] * UP5K.tape_tokens
        self.position = 0
        self.words = 0
        self.tokens = 0
        self._config = model.config
        self._reference = ReferenceModel(model)
        self._sampler = Sampler(0, 0)
        self._norm_input: NDArray[Any] | None = None
        self._head = False

    def write_tape(self, position: int, tokens: Sequence[int]) -> None:
        for offset, token in enumerate(tokens):
            self.tape[(position + offset) % len(self.tape)] = token

    def run(self, flags: RunFlag, n_feed: int, n_generate: int, temperature: int = 0,
            seed: int = 0) -> list[tuple[int, int]]:
        """Execute a RUN; return position and token of each notice."""
        if RunFlag.RESET in flags:
            self._reference.reset()
            self.position = 0
        if RunFlag.SEED in flags:
            self._sampler = Sampler(seed, 0)
        if RunFlag.CLEAR in flags:
            self.words = self.tokens = 0
        self._sampler.temperature = temperature
        for _ in range(n_feed - (n_generate > 0)):
            self._feed(head=False)
        notices = []
        for _ in range(n_generate):
            token = self._sampler.sample(self._feed(head=True))
            self.write_tape(self.position, [token])
            notices.append((self.position, token))
        return notices

    def _feed(self, *, head: bool) -> NDArray[Any]:
        """Feed the token at the position; without ``head`` the device computes no logits."""
        token = self.tape[self.position % len(self.tape)]
        self._head = head
        logits: NDArray[Any] = self._reference.step([token], self._stage)[0]
        config = self._config
        self.words += config.weight_words
        if not head:
            self.words -= config.vocab_size * NUMBERS.blocks(config.d_model)
        self.position = (self.position + 1) % (1 << 16)
        self.tokens += 1
        return logits

    def _stage(self, stage: str, layer: int, values: NDArray[Any]) -> None:
        traces = self.traces
        if traces is None:
            return
        row = values[0]
        match stage:
            case "x":
                traces.expect("x", row)
                self._norm_input = row
            case "y":
                self._norm_input = row
            case "q":
                assert self._norm_input is not None
                traces.expect("y", self._norm_input)
                traces.expect("act", row)
            case "u" | "v":
                traces.expect("act", row)
            case "h":
                traces.expect("h", row)
            case "logits" if self._head:
                traces.expect("logit", row)
