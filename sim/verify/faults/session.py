"""Sessions under faults, and what became of each request."""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import TrilightError
from trilight.sw.host.driver import Board
from trilight.sw.model.model import Model
from trilight.sw.reference.continuation import continue_text

from .line import FaultyDevice, HangError, HostKilled, Line
from .plan import KINDS, Fault, draw

__all__ = ["AFTERWARDS", "GENERATIONS", "LOAD", "OPEN", "OUTCOMES", "FaultOutcome", "Sessions"]

CONFIG = ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16)
TEMPERATURE = 4.0
OPEN, LOAD, AFTERWARDS = "open", "load", "afterwards"
GENERATIONS = {**{f"one text {k}": (1, 6) for k in range(1, 5)},
               **{f"two sequences {k}": (2, 3) for k in range(1, 5)}}
"""Requests with prompts of their own: how many sequences, and how many tokens of each."""

REQUESTS = 10
"""Generations of a session."""

ATTEMPTS = 3
"""Requests after which a device that still gives none right is given up."""

OUTCOMES = {
    "unnoticed": "all tokens right, nothing had to be repeated",
    "recovered": "all tokens right, after the driver repeated frames or retried",
    "refused": "an error of the project's own; the next requests gave the right tokens",
    "wrong": "a wrong token, from a bit of a memory that nothing checks",
    "lost": "the device gave no right tokens any more",
    "silent": "a wrong token, and no error",
    "hung": "no end within a minute of virtual time",
    "crashed": "an error that is none of the project's own",
}
"""The last four must not happen."""


@dataclass(frozen=True)
class FaultOutcome:
    """Outcome of a request."""

    session: int
    """Number to repeat it by, with that of the request."""
    request: int
    name: str
    """Name of the request."""
    kind: str
    """Kind of the faults."""
    outcome: str
    """One of ``OUTCOMES``."""
    injected: int
    """Faults during the request; of noise, damaged bytes."""
    seconds: float
    """Virtual time until all was right, beyond that of a request without faults."""
    repeats: int
    """Frames that the driver has sent again."""
    recoveries: int
    """Times that it began a request again."""
    detail: str
    """The error, or what was wrong."""

    @property
    def bad(self) -> bool:
        """True if it must not happen."""
        return self.outcome in ("lost", "silent", "hung", "crashed")

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


class Sessions:
    """Sessions of a driver, each request under faults of another kind.

    A session opens a device, loads a model and generates after one text or two, again and again.

    Parameters
    ----------
    device
        Makes a device as it is after power-on.
    requests
        Generations of a session.
    apart
        Of the kinds that have a campaign of their own.
    """

    def __init__(self, device: Callable[[], FaultyDevice], seed: int, requests: int = REQUESTS,
                 apart: bool = False) -> None:
        self._make = device
        self._seed = seed
        self._count = requests
        self.model = Model.random(CONFIG, seed)
        self._other = Model.random(CONFIG, seed + 1)
        rng = random.Random(seed)
        self._requests: dict[str, tuple[Sequence[str], int, Sequence[int]]] = {}
        for name, (count, tokens) in {**GENERATIONS, AFTERWARDS: (1, 3)}.items():
            prompts = [self.model.decode([rng.randrange(16) for _ in range(rng.randint(3, 6))])
                       for _ in range(count)]
            self._requests[name] = prompts, tokens, [rng.randrange(1 << 32) for _ in prompts]
        self._expected = {
            name: [continue_text(self.model, prompt, tokens, seed=seed, temperature=TEMPERATURE)
                   for prompt, seed in zip(prompts, seeds, strict=True)]
            for name, (prompts, tokens, seeds) in self._requests.items()}
        has_pins = device().pins is not None
        self._kinds = [name for name, kind in KINDS.items() if kind.apart == apart
                       and (has_pins or not kind.pins)]
        self._lengths: dict[str, dict[str, int]] = {}
        """Bytes of each request and direction, if all is well."""
        self.seconds: dict[str, float] = {}
        """Virtual time of each request, if all is well."""
        self.connect(device())
        for name in (OPEN, LOAD, *GENERATIONS, AFTERWARDS):
            before, start = dict(self._line.passed), self._line.now()
            if not self.request(name):
                raise AssertionError(f"wrong tokens without a fault: {name}")
            self.seconds[name] = self._line.now() - start
            self._lengths[name] = {direction: passed - before[direction]
                                   for direction, passed in self._line.passed.items()}

    def connect(self, device: FaultyDevice) -> None:
        """Begin a session."""
        self._board: Board | None = None
        self._line = Line(device, self._intrude)

    @property
    def recoveries(self) -> int:
        """Retries of the last generation by the driver."""
        run = self._board.last_run if self._board else None
        return run.recoveries if run else 0

    def request(self, name: str) -> bool:
        """Ask the driver for something; whether all tokens that it gave are right."""
        if self._board is None or name == OPEN:
            self._board = Board(self._line)
        if name == OPEN:
            return True
        if name == LOAD or self._board.model is None:
            self._board.load(self.model)
        if name == LOAD:
            return True
        prompts, tokens, seeds = self._requests[name]
        given: list[list[int]] = [[] for _ in prompts]
        for token in self._board.generate_many(prompts, tokens=tokens, temperature=TEMPERATURE,
                                               seeds=seeds):
            given[token.prompt].append(token.id)
        return given == self._expected[name]

    def _intrude(self, device: FaultyDevice, rng: random.Random) -> None:
        """Another host opens the device, loads a model, begins a run, and is gone."""
        line = Line(device)
        board = Board(line)
        board.load(self._other if rng.random() < 0.5 else self.model)
        prompts, _, _ = self._requests[AFTERWARDS]
        stream = board.generate(prompts[0], tokens=50)
        for _ in range(rng.randint(1, 20)):
            next(stream)
        line.close()

    def run(self, session: int) -> list[FaultOutcome]:
        """Make the requests of a session; it ends early after what must not happen."""
        rng = random.Random(f"{self._seed}:{session}")
        device = self._make()
        self.connect(device)
        outcomes: list[FaultOutcome] = []
        for number in range(self._count + 2):
            name = (OPEN, LOAD)[number] if number < 2 else rng.choice(list(GENERATIONS))
            kind = self._kinds[(session * (self._count + 2) + number) % len(self._kinds)]
            # Most of the time is to go into what a device is for.
            faults = draw(rng, kind, self._lengths[name])
            if number < 2 and rng.random() < 0.5:
                faults = []
            outcomes.append(self._one(session, number, name, kind, faults))
            if outcomes[-1].bad:
                break
        device.close()
        return [outcome for outcome in outcomes if outcome.injected or outcome.bad]

    def _one(self, session: int, number: int, name: str, kind: str, faults: Sequence[Fault]
             ) -> FaultOutcome:
        """Make a request under faults; after an error, ask until the tokens are right again."""
        line, device = self._line, self._line.device
        before = (self._board.repeats, self._board.damaged) if self._board else (0, 0)
        start = line.now()
        line.arm(faults)
        outcome, detail, recoveries, repeats = "unnoticed", "", 0, 0
        usual = self.seconds[name]
        try:
            board_before = self._board
            try:
                if not self.request(name):
                    outcome, detail = "silent", "wrong tokens"
            except TrilightError as error:
                outcome, detail = "refused", f"{type(error).__name__}: {error}"
            except HostKilled:
                outcome, self._board = "killed", None
                line.reopen()
            injected = line.injected
            if board := self._board:
                if board is not board_before:
                    before = (0, 0)
                repeats = board.repeats - before[0]
                if name in self._requests and outcome == "unnoticed":
                    recoveries = self.recoveries
                if outcome == "unnoticed" and (recoveries
                                               or (board.repeats, board.damaged) != before):
                    outcome = "recovered"
            if outcome in ("refused", "killed"):
                usual += self.seconds[AFTERWARDS]
                line.arm([])
                if wrong := self._afterwards():
                    outcome, detail = wrong, f"afterwards; {detail}"
                elif outcome == "killed":
                    outcome = "recovered"
        except HangError:
            outcome, injected = "hung", line.injected
        except Exception as error:
            outcome, injected, detail = "crashed", line.injected, f"{type(error).__name__}: {error}"
        if device.undefined:
            # What a chip would have done then is another question, but this was found out.
            if outcome == "unnoticed" or (outcome == "recovered" and not recoveries):
                outcome, detail = "silent", f"memory other than written: {device.undefined}"
            device.undefined = ""
        return FaultOutcome(session, number, name, kind, outcome, injected,
                       round(max(0.0, line.now() - start - usual), 6), repeats, recoveries, detail)

    def _afterwards(self) -> str:
        """Ask for tokens until they come, first of the same driver, then of new ones."""
        for _ in range(ATTEMPTS):
            try:
                if not self.request(AFTERWARDS):
                    return "silent"
            except TrilightError:
                self._board = None
            else:
                return ""
        return "lost"
