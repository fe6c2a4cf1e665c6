"""Running a workload once, and for so many seconds."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from trilight.sw.bench import runner
from trilight.sw.bench.runner import merge, run_for, run_once
from trilight.sw.bench.workload import Query, Workload
from trilight.sw.host.generation import Generated, LastRun

WORK = Workload(prompts=("a", "bc"), tokens=4, temperature=0.5, seed=7)


class Clocked:
    """Takes a second per token of a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked: list[Query] = []

    def answer(self, request: Query, *, tokens: int, temperature: float,
               arrived: Callable[[], None]) -> LastRun:
        self.asked.append(request)
        for _ in range(tokens):
            self.now += 1
            arrived()
        n = len(self.asked)
        text = Generated(prompt=request.prompt, text="x" * tokens, token_ids=(n,) * tokens,
                         seed=request.seed)
        return LastRun(generated=(text,), sequences=1, temperature=temperature, cycles=10 * n,
                       words=n, tokens=tokens, prompt_cycles=n, host_seconds=tokens, repeats=0)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Clocked:
    made = Clocked()
    monkeypatch.setattr(runner.time, "monotonic", lambda: made.now)
    return made


def test_once(system: Clocked) -> None:
    seen: list[tuple[int, int]] = []
    runs = run_once(system, WORK, lambda done, total: seen.append((done, total)))
    assert system.asked == list(WORK.requests)
    assert [run.prompt for run in runs] == ["a", "bc"]
    assert sorted(set(seen)) == [(n, 8) for n in range(1, 9)]
    assert seen == sorted(seen)


@pytest.mark.parametrize(("seconds", "queries"), [(0.1, 1), (4, 1), (4.5, 2), (17, 5)])
def test_for_seconds_ends_after_a_whole_query(system: Clocked, seconds: float,
                                              queries: int) -> None:
    generate = run_for(system, WORK)
    assert generate(seconds) == 4 * queries
    assert system.asked == [WORK.requests[n % 2] for n in range(queries)]


def test_windows_go_on_where_the_last_one_ended(system: Clocked) -> None:
    generate = run_for(system, WORK)
    generate(1)
    generate(1)
    assert system.asked == list(WORK.requests)


def test_merge_adds_up(system: Clocked) -> None:
    runs = run_once(system, WORK, lambda _done, _total: None)
    whole = merge(runs)
    assert (whole.cycles, whole.prompt_cycles, whole.words) == (30, 3, 3)
    assert (whole.tokens, whole.host_seconds) == (8, 8)
    assert [text.prompt for text in whole.generated] == ["a", "bc"]
    assert [text.token_ids for text in whole.generated] == [(1,) * 4, (2,) * 4]


def test_a_run_without_cycles_leaves_none(system: Clocked) -> None:
    first, second = run_once(system, WORK, lambda _done, _total: None)
    assert merge([first, replace(second, cycles=None)]).cycles is None
