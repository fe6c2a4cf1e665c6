"""The values of every stage of the model, as the gateware shows them and as the reference has them.

The vector unit shows what it writes as ``trace_<name>`` with ``trace_<name>_valid``: ``x``, ``h``,
``act`` (``q``, ``u``, ``v``) and ``logit``.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, Protocol

from numpy.typing import NDArray

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import RunFlag
from trilight.sw.model.model import Model
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.reference.sampler import Sampler

from .checker import InOrderChecker
from .streams import Dut, Watch, signed

__all__ = ["TRACES", "Expecting", "ReferenceDevice", "TraceChecker"]

TRACES = ("x", "h", "act", "logit")


class Expecting(Protocol):
    """Receiver of the values that the traces must show."""

    def expect(self, name: str, values: Iterable[Any]) -> None:
        """Add values to those that trace ``name`` must still show."""


class TraceChecker:
    """Comparison of every traced value of a design, in order, with what it should be.

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


Step = list[tuple[str, NDArray[Any]]]
"""Traced values of an operation or an embedding, in order."""


class _Sequence:
    """One sequence: its tape, state, generator, and what is left to do of a run."""

    def __init__(self, model: Model, device: Device) -> None:
        self.tape = [0] * device.tape_tokens
        self.position = 0
        self.n_feed = 0
        self.n_generate = 0
        self.reference = ReferenceModel(model)
        self.sampler = Sampler(0, 0, device.noise)
        self._steps: list[Step] = []

    @property
    def head(self) -> bool:
        """Tell if logits of the present token are wanted."""
        return self.n_feed == 1 and self.n_generate > 0

    def steps(self) -> tuple[list[Step], NDArray[Any]]:
        """Feed the token at the position: its embedding, operations and maybe head; logits."""
        self._steps = []
        token = self.tape[self.position % len(self.tape)]
        logits: NDArray[Any] = self.reference.step([token], self._stage)[0]
        if not self.head:
            del self._steps[-1]  # the head, and the vector that only it would take
            self._steps[-1] = [item for item in self._steps[-1] if item[0] == "x"]
        return self._steps, logits

    def advance(self, logits: NDArray[Any]) -> int | None:
        """Go on to the next token; return it if it was generated."""
        head = self.head
        self.position = (self.position + 1) % (1 << 16)
        if not head:
            self.n_feed -= 1
            return None
        token = self.sampler.sample(logits)
        self.tape[self.position % len(self.tape)] = token
        self.n_generate -= 1
        self.n_feed = int(self.n_generate > 0)
        return token

    def _stage(self, stage: str, layer: int, values: NDArray[Any]) -> None:
        if stage in ("x", "h", "v", "logits"):
            self._steps.append([])
        name = {"x": "x", "h": "h", "logits": "logit"}.get(stage, "act")
        self._steps[-1].append((name, values[0]))


class ReferenceDevice:
    """Model of a loaded device: tapes, states, samplers and counters around the reference.

    Parameters
    ----------
    model : Model
    device : Device
        Sizes of the device that it stands for.

    Attributes
    ----------
    traces : Expecting or None
        Is told every value of every token.
    """

    def __init__(self, model: Model, device: Device) -> None:
        self.traces: Expecting | None = None
        self._model = model
        self._device = device
        self._config = model.config
        self.sequences: list[_Sequence] = []
        self.reset()

    def reset(self) -> None:
        """Begin as after power-on, with the tapes as they are."""
        tapes = [sequence.tape for sequence in self.sequences]
        self.words = 0
        self.tokens = 0
        self.sequences = [_Sequence(self._model, self._device)
                          for _ in range(self._device.sequences)]
        for sequence, tape in zip(self.sequences, tapes, strict=False):
            sequence.tape = tape

    @property
    def positions(self) -> list[int]:
        return [sequence.position for sequence in self.sequences]

    def write_tape(self, position: int, tokens: Iterable[int], sequence: int = 0) -> None:
        tape = self.sequences[sequence].tape
        for offset, token in enumerate(tokens):
            tape[(position + offset) % len(tape)] = token

    def run(self, flags: RunFlag, n_feed: int, n_generate: int, temperature: int = 0,
            seed: int = 0, number: int = 0) -> list[tuple[int, int, int]]:
        """Execute a RUN about a sequence; return sequence, position and token of each event."""
        if not number:
            for other in self.sequences[1:]:
                other.n_feed = 0
        sequence = self.sequences[number]
        if RunFlag.RESET in flags:
            sequence.reference.reset()
            sequence.position = 0
        if RunFlag.SEED in flags:
            sequence.sampler = Sampler(seed, 0, sequence.sampler.noise)
        if RunFlag.CLEAR in flags:
            self.words = self.tokens = 0
        for one in self.sequences:
            one.sampler.temperature = temperature
        sequence.n_feed, sequence.n_generate = n_feed, n_generate
        return [] if RunFlag.HOLD in flags else self._go()

    def _go(self) -> list[tuple[int, int, int]]:
        """Sequences take turns; one that has done with a token embeds its next at once."""
        events = []
        tokens = {number: self._embed(number)
                  for number, one in enumerate(self.sequences) if one.n_feed}
        while tokens:
            following = {}
            for operation in range(4 * self._config.n_layers + 1):
                for number, (steps, logits) in tokens.items():
                    if operation >= len(steps):
                        continue
                    self._expect(steps[operation])
                    if operation + 1 < len(steps):
                        continue
                    sequence = self.sequences[number]
                    token = sequence.advance(logits)
                    if token is not None:
                        events.append((number, sequence.position, token))
                    if sequence.n_feed:
                        following[number] = self._embed(number)
            # By number again: one without a head may have finished before one with a head.
            tokens = dict(sorted(following.items()))
        return events

    def _embed(self, number: int) -> tuple[list[Step], NDArray[Any]]:
        """Begin a token; return the steps of its operations, and its logits."""
        sequence = self.sequences[number]
        (embedding, *steps), logits = sequence.steps()
        self._expect(embedding)
        packing = self._device.packing
        self.words += self._config.weight_words(packing)
        if not sequence.head:
            self.words -= self._config.head(packing).words
        self.tokens += 1
        return steps, logits

    def _expect(self, step: Step) -> None:
        if self.traces is not None:
            for name, values in step:
                self.traces.expect(name, values)
