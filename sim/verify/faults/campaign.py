"""Many sessions under faults: in batches, resumable, and summed up by kind."""

import signal
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import trilight.hw
import trilight.sim
import trilight.sw
from trilight.hw.support.boards import DEFAULT_BOARD
from trilight.hw.support.cache import digest
from trilight.sw.errors import FaultsError
from trilight.sw.journal import Journal

from .line import EmulatedDevice, HangError
from .pins import open_pins
from .plan import KINDS
from .session import OUTCOMES, FaultOutcome, Sessions
from .upsets import Upsets

__all__ = ["BATCH", "EMULATED", "TARGETS", "UPSETS", "Progress", "file_stem", "run_batches",
           "run_one", "sessions_of", "summarise"]

BATCH = 20
"""Sessions between two results that are kept."""

WATCHDOG_S = 600
"""Seconds of this computer's time after which a session is given up, whatever it counts itself."""

TARGETS = ("device", "rtl", "netlist", "hanging")
"""``hanging`` is the emulated device too, which hangs in its run and is reset afterwards."""

EMULATED = ("device", "hanging")
"""Targets without a chip, and so without a board."""

UPSETS = ("weights", "memories")

Progress = Callable[[int, int, int], None]
"""Called with the sessions that are done, faults, and requests that went as they must not."""


def file_stem(target: str, board: str) -> str:
    """Return what files of a target's results are called after."""
    return target if board == DEFAULT_BOARD else f"{board}-{target}"


@cache
def sessions_of(target: str, seed: int, board: str = DEFAULT_BOARD) -> Sessions:
    """Sessions on a target; making them includes building it."""
    if target in UPSETS:
        return Upsets(seed, checked=target == "weights", board=board)
    if target in EMULATED:
        return Sessions(EmulatedDevice, seed, apart=target == "hanging")
    return Sessions(open_pins(target, board), seed)


def run_one(target: str, seed: int, session: int,
            board: str = DEFAULT_BOARD) -> list[FaultOutcome]:
    """The session of a number; no other one has a say in what becomes of it."""
    # Synthesising and compiling a target takes as long as it takes.
    sessions = sessions_of(target, seed, board)
    with _watchdog():
        return sessions.run(session)


@contextmanager
def _watchdog() -> Iterator[None]:
    def bark(number: int, frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(WATCHDOG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _batch(target: str, seed: int, board: str, first: int,
           count: int) -> tuple[int, list[dict[str, Any]]]:
    return first, [outcome.to_dict() for session in range(first, first + count)
                   for outcome in run_one(target, seed, session, board)]


def _version() -> str:
    """Return a digest of all sources that the outcome of a fault depends on."""
    files = sorted(path for package in (trilight.hw, trilight.sw, trilight.sim)
                   for folder in package.__path__ for path in Path(folder).rglob("*.py"))
    return digest(*(path.read_text() for path in files))


def run_batches(target: str, seed: int, count: int, folder: Path, *,
                board: str = DEFAULT_BOARD, jobs: int = 1,
                progress: Progress = lambda done, faults, bad: None) -> list[FaultOutcome]:
    """Make ``count`` sessions, but those whose results are in ``folder``; return all outcomes.

    Parameters
    ----------
    target
        Of ``TARGETS`` or ``UPSETS``.
    count
        Sessions; they have numbers from 0.
    folder
        Where results are kept. A change of the program begins a new file.
    board
        Board whose chip is simulated.
    jobs
        Processes.

    Raises
    ------
    FaultsError
        The folder can not be used.
    """
    version = _version()
    journal = Journal(folder / f"{file_stem(target, board)}-{seed}-{version[:12]}.jsonl",
                      {"target": target, "board": board, "seed": seed, "version": version},
                      error=FaultsError)
    batches = {int(first): [FaultOutcome(**outcome) for outcome in outcomes]
               for first, outcomes in journal.results.items()}

    def report() -> None:
        done = [outcome for batch in batches.values() for outcome in batch]
        progress(BATCH * len(batches), sum(outcome.injected for outcome in done),
                 sum(outcome.bad for outcome in done))

    report()
    todo = (first for first in range(0, count, BATCH) if first not in batches)
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(_batch, target, seed, board, first, BATCH)
                   for first in islice(todo, jobs)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    first, outcomes = future.result()
                    journal.keep(str(first), outcomes)
                    batches[first] = [FaultOutcome(**outcome) for outcome in outcomes]
                    running |= {pool.submit(_batch, target, seed, board, first, BATCH)
                                for first in islice(todo, 1)}
                report()
        except BaseException:
            for future in running:
                future.cancel()
            raise
    return [outcome for first in sorted(batches) for outcome in batches[first]
            if outcome.session < count]


def summarise(target: str, seed: int, outcomes: Iterable[FaultOutcome]) -> dict[str, Any]:
    """Counts by kind and outcome, as a JSON object."""
    by_kind: dict[str, list[FaultOutcome]] = {}
    for outcome in outcomes:
        by_kind.setdefault(outcome.kind, []).append(outcome)
    every = [outcome for some in by_kind.values() for outcome in some]
    return {
        "target": target,
        "seed": seed,
        "sessions": len({outcome.session for outcome in every}),
        "requests": len(every),
        "injected": sum(outcome.injected for outcome in every),
        "outcomes": _counts(every),
        "kinds": {kind: {
            **({"group": KINDS[kind].group, "meaning": KINDS[kind].meaning} if kind in KINDS
               else {"group": "memory", "meaning": "a bit is flipped"}),
            "requests": len(some),
            "injected": sum(outcome.injected for outcome in some),
            "outcomes": _counts(some),
            "seconds": _seconds([outcome.seconds for outcome in some
                                 if outcome.outcome in ("recovered", "refused")]),
            "repeats": sum(outcome.repeats for outcome in some),
            "recoveries": sum(outcome.recoveries for outcome in some),
        } for kind, some in sorted(by_kind.items(), key=_order)},
        "errors": dict(Counter(outcome.detail.partition(":")[0] for outcome in every
                               if outcome.outcome == "refused")),
        "bad": [outcome.to_dict() for outcome in every if outcome.bad],
    }


def _order(item: tuple[str, list[FaultOutcome]]) -> tuple[int, str]:
    names = list(KINDS)
    return names.index(item[0]) if item[0] in names else len(names), item[0]


def _counts(outcomes: Iterable[FaultOutcome]) -> dict[str, int]:
    counted = Counter(outcome.outcome for outcome in outcomes)
    return {name: counted[name] for name in OUTCOMES}


def _seconds(seconds: list[float]) -> dict[str, float] | None:
    """Virtual time until all was right again, beyond that of a session without a fault."""
    if not seconds:
        return None
    return {"median": round(statistics.median(seconds), 6), "max": round(max(seconds), 6)}
