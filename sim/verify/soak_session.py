"""A model run in a chip and in the reference: prompts and generations, compared stage by stage."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.protocol import MAX_WORDS, RUN, Command, Region, RunFlag, status_struct
from trilight.hw.contract.shapes import ModelConfig
from trilight.sim.bench.core import corner_case
from trilight.sim.bench.traces import TRACES, ReferenceDevice
from trilight.sim.board import CHUNK, IDLE, QUIET_BITS
from trilight.sim.native.bench import Bench
from trilight.sim.verify.events import TokenEvent, event_cycles, in_order, lost_events
from trilight.sw.errors import SimulationError, TrilightError
from trilight.sw.host.link import Link, Request, read_request, write_request
from trilight.sw.host.transport import Transport
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model

__all__ = ["TOKENS_PER_MODEL", "Session", "SoakOutcome", "draw_config", "run_model"]

SMALL = 48
"""Largest size of those models of which there are most."""

EDGES = (16, 17, 31, 32, 33, 39, 40, 41, 64, 65, 80, 81, 120, 121, 122, 123, 128, 160, 170)
"""Sizes at which blocks, words and tables' fillings begin to differ."""

MODEL_CYCLES = 600_000
"""About what the tokens of a model take; loading it takes 40 a byte."""

TOKENS_PER_MODEL = 40, 500
"""Fewest and most tokens that are run of a model."""

RUNNING_CYCLES = 2000
"""Between two looks at whether a run has ended."""

LONGEST_PROMPT = 12
LONGEST_GENERATION = 40
TEMPERATURES = (0, 1, 205, 256, (1 << NUMBERS.temperature_bits) - 1)


class SteppedBoard(Transport):
    """A compiled design that runs only while the host waits, so that all of it is repeatable."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._quiet = QUIET_BITS * bench.clocks_per_bit

    @property
    def name(self) -> str:
        return "the compiled design"

    @property
    def timeout_scale(self) -> float:
        """Factor so large that a simulation on a busy computer meets no timeout."""
        return 1000.0

    def write(self, data: bytes) -> None:
        self._bench.write(data)

    def read(self, timeout_s: float) -> bytes:
        self._bench.run(CHUNK, quiet=self._quiet, idle=IDLE)
        return self._bench.read()

    def close(self) -> None:
        self._bench.close()


class ExpectedTraces:
    """Values that the traces must show, in the form in which the reference says them."""

    def __init__(self) -> None:
        self._values: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def expect(self, name: str, values: NDArray[Any]) -> None:
        self._values[name].append(values)

    def take(self, name: str) -> NDArray[np.int64]:
        """Values since the last call."""
        values = self._values.pop(name, [])
        return np.concatenate(values).astype(np.int64) if values else np.empty(0, np.int64)


@dataclass(kw_only=True)
class SoakOutcome:
    """Counts of what was compared of a model, all of it equal.

    Parameters
    ----------
    number : int
        Of the model in its campaign.
    config : dict
        Sizes.
    corner_case : bool
        Many parameters were at the ends of their ranges.
    tokens : int
        Tokens fed.
    generated : int
        Tokens generated.
    runs : int
    together : int
        Runs of two sequences at once.
    values : dict
        Values compared, by stage.
    cycles : int
        Clock cycles of the chip.
    """

    number: int
    config: dict[str, int]
    corner_case: bool
    tokens: int = 0
    generated: int = 0
    runs: int = 0
    together: int = 0
    values: dict[str, int] = field(default_factory=dict)
    cycles: int = 0


def draw_config(rng: np.random.Generator, device: Device) -> ModelConfig:
    """Sizes of a model that a device holds; most are small, and edges come often."""
    def size(maximum: int) -> int:
        if rng.random() < 0.4:
            return int(rng.choice([edge for edge in EDGES if edge <= maximum]))
        return int(np.exp(rng.uniform(np.log(device.min_rows), np.log(maximum + 1))))

    while True:
        small = rng.random() < 0.6
        vocab_size, d_model, d_hidden = (
            size(SMALL if small else maximum)
            for maximum in (device.max_vocab, device.max_rows // 3, device.max_columns))
        config = ModelConfig(vocab_size=vocab_size, d_model=d_model, d_hidden=d_hidden,
                             n_layers=int(rng.integers(1, 4 if small else 9)))
        if not config.violations(device):
            return config


def _tokens(config: ModelConfig, device: Device) -> int:
    """Return how many tokens a campaign runs of a model."""
    return int(np.clip(MODEL_CYCLES // config.weight_words(device.packing), *TOKENS_PER_MODEL))


class Session:
    """A model in a chip fresh from power-on, and the reference beside it."""

    def __init__(
        self, bench: Bench, device: Device, model: Model, rng: np.random.Generator,
        outcome: SoakOutcome
    ) -> None:
        self._bench = bench
        self._link = Link(SteppedBoard(self._bench))
        self._recorders = {name: self._bench.record(name) for name in TRACES}
        # The Verilog has lost which of them are signed: all are.
        self._widths = {trace.name.rpartition("trace_")[2]: trace.width
                        for trace in self._bench.traces}
        self._expected = ExpectedTraces()
        self._sizes = device
        self._device = ReferenceDevice(model, self._sizes)
        self._device.traces = self._expected  # type: ignore[assignment]  # expects alike
        self._model, self._rng, self._outcome = model, rng, outcome
        self._fresh = [True] * self._sizes.sequences
        self._link.request(Request(Command.IDENTIFY), sequence=0)
        for address, units in compile_image(model, self._sizes).segments:
            self._write(address, units)
        tapes = self._sizes.sequences * self._sizes.tape_tokens
        self._write(Region.TAPE, np.zeros(tapes, np.uint16))

    def close(self) -> None:
        self._outcome.cycles = self._bench.cycles
        self._bench.close()

    def _write(self, address: int, units: NDArray[Any]) -> None:
        requests = [write_request(address + start, units[start:start + MAX_WORDS]
                                  .astype("<u2").tobytes())
                    for start in range(0, len(units), MAX_WORDS)]
        for response in self._link.exchange(requests):
            response.check()

    def run(self, together: bool, longest: int = LONGEST_GENERATION) -> None:
        """A prompt and a generation for one sequence or for two, drawn at random, and compared.

        Raises
        ------
        SimulationError
            Something differs from the reference.
        """
        rng, device = self._rng, self._device
        chosen = [0, 1] if together else [int(rng.integers(2)) if not any(self._fresh) else 0]
        events: list[tuple[int, int, int]] = []
        self._link.events.clear()
        temperature = int(rng.choice(TEMPERATURES))
        for sequence in chosen:
            flags = RunFlag(0)
            if self._fresh[sequence] or rng.random() < 0.3:
                flags |= RunFlag.RESET | RunFlag.SEED
                self._fresh[sequence] = False
            flags |= RunFlag.CLEAR if rng.random() < 0.5 else RunFlag(0)
            if together and sequence == 0:
                flags |= RunFlag.HOLD
            n_feed = int(rng.integers(1, min(LONGEST_PROMPT, longest) + 1))
            n_generate = int(rng.integers(0, longest + 1)) * (rng.random() < 0.9)
            position = 0 if RunFlag.RESET in flags else device.positions[sequence]
            self._prompt(sequence, position, n_feed)
            seed = int(rng.choice([0, 1, int(rng.integers(1 << 32))]))
            events = device.run(flags, n_feed, n_generate, temperature, seed, sequence)
            self._link.request(Request(Command.RUN, RUN.pack(
                flags, sequence, n_feed, n_generate, temperature, seed))).check()
        self._compare(events)
        self._outcome.runs += 1
        self._outcome.together += together

    def _prompt(self, sequence: int, position: int, count: int) -> None:
        tokens = self._rng.integers(0, self._model.config.vocab_size, count)
        self._device.write_tape(position, tokens.tolist(), sequence)
        tape = self._sizes.tape_tokens
        for offset in range(count):
            self._write(Region.TAPE + sequence * tape + (position + offset) % tape,
                        tokens[offset:offset + 1])

    def _compare(self, events: list[tuple[int, int, int]]) -> None:
        """Wait for the end of the run; compare events, positions, counters and traces."""
        device, outcome = self._device, self._outcome
        while self._bench.values()["running"]:
            self._bench.run(RUNNING_CYCLES)
        self._link.listen(0.1)  # to the last event
        running, _, words, tokens, *positions = status_struct(self._sizes.sequences).unpack(
            self._link.request(Request(Command.STATUS)).check())
        same("running, positions", [running, *positions], [0, *device.positions])
        same("words and tokens", [words, tokens], [device.words, device.tokens])
        taken = {name: self._bench.take(recorder) for name, recorder in self._recorders.items()}
        self._compare_events(events, taken["logit"][0])
        outcome.generated += len(events)
        channels = self._model.config.d_model * (2 * self._model.config.n_layers + 1)
        for name, (_, got) in taken.items():
            got -= got >> self._widths[name] - 1 << self._widths[name]
            expected = self._expected.take(name)
            same(f"number of values of {name}", len(got), len(expected))
            if (wrong := np.flatnonzero(got != expected)).size:
                first = int(wrong[0])
                raise SimulationError(f"{name} {first} of {len(expected)} of the run: "
                                      f"{got[first]} != {expected[first]} (expected)")
            outcome.values[name] = outcome.values.get(name, 0) + len(got)
            if name == "x":
                outcome.tokens += len(got) // channels

    def _compare_events(self, expected: list[TokenEvent], logit_cycles: NDArray[Any]) -> None:
        """Compare the events of a run: all have come, but for those the line had no time for."""
        came = [(n.sequence, n.position, n.token) for n in self._link.events]
        if not in_order(expected, came):
            raise SimulationError(f"events: {came} != {expected} (expected)")
        # The response to RUN and an event of each other sequence go before an event.
        wait = (1 + len({number for number, *_ in expected})) * event_cycles(
            came, self._bench.clocks_per_bit)
        vocabulary = self._model.config.vocab_size
        ends = logit_cycles[vocabulary - 1::vocabulary].tolist()
        same("events that are missing", lost_events(expected, came, ends, wait), [])

    def compare_tapes(self) -> None:
        """Compare all tokens of both tapes."""
        for number, sequence in enumerate(self._device.sequences):
            tape: list[int] = []
            start = Region.TAPE + number * self._sizes.tape_tokens
            for first in range(0, self._sizes.tape_tokens, MAX_WORDS):
                count = min(MAX_WORDS, self._sizes.tape_tokens - first)
                tape += self._link.request(read_request(start + first, count)).check()[::2]
            same(f"tape of sequence {number}", tape, sequence.tape)


def same(what: str, got: object, expected: object) -> None:
    """Raise ``SimulationError`` unless both are equal."""
    if got != expected:
        raise SimulationError(f"{what}: {got} != {expected} (expected)")


def run_model(make: Callable[[], Bench], device: Device, seed: int, number: int,
              maximum: int | None = None) -> SoakOutcome:
    """Run model ``number`` of the campaign ``seed``, until ``maximum`` tokens are through or more.

    Parameters
    ----------
    make : callable
        Returns a chip fresh from power-on.
    device : Device
        Its sizes.
    seed, number : int
    maximum : int, optional

    Raises
    ------
    SimulationError
        Something differs from the reference; the text says what, and in which model.
    """
    rng = np.random.default_rng([seed, number])
    config = draw_config(rng, device)
    model = Model.random(config, int(rng.integers(1 << 32)))
    outcome = SoakOutcome(
        number=number, config=config.to_dict(), corner_case=bool(rng.random() < 0.4)
    )
    if outcome.corner_case:
        model = corner_case(model, rng)
    tokens = _tokens(config, device)
    if maximum is not None:
        tokens = min(maximum, tokens)
    session = Session(make(), device, model, rng, outcome)
    try:
        while outcome.tokens < tokens:
            session.run(together=outcome.runs % 2 == 1)
        session.compare_tapes()
    except TrilightError as error:
        raise SimulationError(
            f"model {number} of seed {seed} ({config}, corner_case: {outcome.corner_case}), "
            f"run {outcome.runs}: {error}"
        ) from error
    finally:
        session.close()
    return outcome
