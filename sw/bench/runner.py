"""Runs of a workload on anything that generates tokens, once or for so many seconds."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Protocol

from trilight.sw.host.driver import Board
from trilight.sw.host.generation import Generated, LastRun
from trilight.sw.model.model import Model

from .workload import Query, Workload

__all__ = ["BoardSystem", "Generator", "LocalSystem", "merge", "run_for", "run_once"]

Progress = Callable[[int, int], None]


class Generator(Protocol):
    """Generator of a model's tokens on this computer."""

    def generate(self, prompt: Sequence[int], *, tokens: int, temperature: float,
                 seed: int) -> list[int]:
        """Return ``tokens`` tokens after a prompt of one or more, from a clean state."""
        ...


class System(Protocol):
    """System that answers queries."""

    def answer(self, request: Query, *, tokens: int, temperature: float,
               arrived: Callable[[], None]) -> LastRun:
        """Generate after one prompt; ``arrived`` is called for each token, or is not."""
        ...


class BoardSystem:
    """A board with its model loaded, real or virtual."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def answer(self, request: Query, *, tokens: int, temperature: float,
               arrived: Callable[[], None]) -> LastRun:
        for _ in self._board.generate(request.prompt, tokens=tokens, temperature=temperature,
                                      seed=request.seed):
            arrived()
        assert self._board.last_run is not None  # it has just ended
        return self._board.last_run


class LocalSystem:
    """A baseline on this computer."""

    def __init__(self, generator: Generator, model: Model) -> None:
        self._generator = generator
        self._model = model

    def answer(self, request: Query, *, tokens: int, temperature: float,
               arrived: Callable[[], None]) -> LastRun:
        prompt = self._model.encode(request.prompt)
        started = time.monotonic()
        ids = self._generator.generate(prompt, tokens=tokens, temperature=temperature,
                                       seed=request.seed)
        seconds = time.monotonic() - started
        text = Generated(prompt=request.prompt, text=self._model.decode(ids),
                         token_ids=tuple(ids), seed=request.seed)
        return LastRun(generated=(text,), sequences=1, temperature=temperature, cycles=None,
                       words=0, tokens=tokens, prompt_cycles=None, host_seconds=seconds, repeats=0)


def run_once(system: System, workload: Workload, progress: Progress) -> list[LastRun]:
    """Answer each query of a workload once; ``progress`` counts tokens."""
    total = workload.tokens * len(workload.prompts)
    runs: list[LastRun] = []
    for number, request in enumerate(workload.requests):
        done = number * workload.tokens

        def arrived() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        runs.append(system.answer(request, tokens=workload.tokens,
                                  temperature=workload.temperature, arrived=arrived))
        progress((number + 1) * workload.tokens, total)
    return runs


def run_for(system: System, workload: Workload) -> Callable[[float], int]:
    """Return what a measurement runs: answers queries in turn, for about so many seconds.

    It always finishes a query that it has begun, and returns the tokens generated.
    """
    requests: Iterator[Query] = cycle(workload.requests)

    def generate(seconds: float) -> int:
        end = time.monotonic() + seconds
        tokens = 0
        while tokens == 0 or time.monotonic() < end:
            run = system.answer(next(requests), tokens=workload.tokens,
                                temperature=workload.temperature, arrived=lambda: None)
            tokens += len(run.token_ids)
        return tokens

    return generate


def merge(runs: Sequence[LastRun]) -> LastRun:
    """All queries as one run: counters and times added up, generated texts beside each other."""
    def total(values: list[int | None]) -> int | None:
        return None if None in values else sum(value or 0 for value in values)

    return LastRun(
        generated=tuple(each for run in runs for each in run.generated),
        sequences=runs[0].sequences, temperature=runs[0].temperature,
        cycles=total([run.cycles for run in runs]),
        words=sum(run.words for run in runs), tokens=sum(run.tokens for run in runs),
        prompt_cycles=total([run.prompt_cycles for run in runs]),
        host_seconds=sum(run.host_seconds for run in runs),
        repeats=sum(run.repeats for run in runs))
