"""A campaign: the regression against every mutant, in a process for each, with results kept.

A mutant may hang or crash the simulator, so each runs in a process of its own that is forked where
everything has been loaded. Every result is written at once; a campaign that is started again goes
on where it was.
"""

import json
import os
import random
import resource
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trilight.hw.flow.build import Board
from trilight.hw.flow.tools import Progress, no_progress
from trilight.sim.native import NativeBench
from trilight.sw.errors import SimulationError

from .dialogue import Replay
from .mutants import Mutant, Prepared, batch, choose, prepare
from .program import Part, record
from .results import Fate

__all__ = ["Campaign", "Outcome"]

BATCH = 256
"""Mutants in one design: fewer take more time to compile, more take more time to simulate."""

CPU_SECONDS = 120
"""Of a mutant, after which it counts as one that hangs the simulator."""

WALL_SECONDS = 3600
"""After which a process that waits for something is given up, and the campaign with it."""

CRASHES = frozenset({signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGXCPU})
"""How the simulator ends that does not settle, or that takes too much of the processor's time."""

Finished = Callable[["Outcome"], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    Parameters
    ----------
    mutation : str
        See ``Mutant``.
    sources : tuple of str
    module : str
    verdict : {"killed", "survived", "equivalent"}
    by : str
        Where it was first seen, or by what it is proved equivalent.
    how : str
        What was different.
    program : str
        Digest of what it was asked, up to where it was killed.
    """

    mutation: str
    sources: tuple[str, ...]
    module: str
    verdict: str
    by: str
    how: str
    program: str


class Campaign:
    """Mutants of a board's design, and what is known of them.

    Parameters
    ----------
    board : Board
    number : int
        About how many mutants.
    seed : int
        What their choice and the regression's data follow from.
    folder : pathlib.Path
        Where results are kept.
    thorough : bool
        See ``program.record``.
    """

    def __init__(self, board: Board, *, number: int, seed: int, folder: Path,
                 thorough: bool = True, progress: Progress = no_progress) -> None:
        self._progress = progress
        self._thorough = thorough
        self.seed = seed
        self.prepared: Prepared = prepare(board, progress)
        self.mutants = choose(self.prepared, number, seed, progress=progress)
        # So that the first part of a campaign is a sample of all modules.
        random.Random(seed).shuffle(self.mutants)
        folder.mkdir(parents=True, exist_ok=True)
        self.design_sha256 = self.prepared.sha256
        self.path = folder / f"gateware-{self.design_sha256[:16]}.jsonl"
        self.outcomes: dict[str, Outcome] = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                fields = json.loads(line)
                fields["sources"] = tuple(fields["sources"])
                self.outcomes[fields["mutation"]] = Outcome(**fields)

    def fates(self, limit: int | None = None) -> list[Fate]:
        """What is known of the mutants, or of the first of them."""
        known = [self.outcomes[mutant.mutation] for mutant in self.mutants[:limit]
                 if mutant.mutation in self.outcomes]
        return [Fate(each.module, each.mutation, each.sources, each.verdict, each.by, each.how)
                for each in known]

    def keep(self, outcome: Outcome) -> None:
        """Write an outcome down; a later one of the same mutant takes its place."""
        self.outcomes[outcome.mutation] = outcome
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")

    def run(self, finished: Finished = lambda outcome: None, limit: int | None = None) -> None:
        """Ask every mutant whose outcome is not known yet.

        Parameters
        ----------
        finished : callable
            Called with each outcome, known before or not.
        limit : int, optional
            Only that many mutants, from the first on.

        Raises
        ------
        BuildError, SimulationError
            A design can not be compiled; the one without a fault is not what the reference is.
        """
        mutants = self.mutants[:limit]
        programs: dict[bool, list[Part]] = {}
        for start in range(0, len(mutants), BATCH):
            group = mutants[start:start + BATCH]
            todo = self._open(group, programs) if programs else group
            for mutant in group:
                if mutant not in todo:
                    finished(self.outcomes[mutant.mutation])
            if not todo:
                continue
            bench = NativeBench(batch(self.prepared, group, self._progress),
                                progress=self._progress)
            if not programs:
                for link_first in (False, True):
                    self._progress("recording what the design without a fault does")
                    bench.restart()
                    programs[link_first] = record(bench, self.seed, link_first=link_first,
                                                  thorough=self._thorough)
                todo = self._open(group, programs)
                for mutant in group:
                    if mutant not in todo:
                        finished(self.outcomes[mutant.mutation])
                self._progress("asking mutants")
            # What a simulation has open does not survive a fork, so each mutant opens its own.
            bench.close()
            for number, mutant in enumerate(group, 1):
                if mutant not in todo:
                    continue
                parts = programs[_is_link(mutant)]
                by, how, reached = _ask(bench, number, parts)
                outcome = Outcome(mutant.mutation, mutant.sources, mutant.module,
                                  "killed" if how else "survived", by, how, parts[reached].chain)
                self.keep(outcome)
                finished(outcome)

    def _open(self, group: Sequence[Mutant], programs: dict[bool, list[Part]]) -> list[Mutant]:
        """Those whose outcome is not known, or is that of another regression."""
        def known(mutant: Mutant) -> bool:
            outcome = self.outcomes.get(mutant.mutation)
            if outcome is None:
                return False
            parts = programs[_is_link(mutant)]
            if outcome.verdict == "survived":
                return outcome.program == parts[-1].chain
            return outcome.verdict == "equivalent" or outcome.program in {
                part.chain for part in parts}

        return [mutant for mutant in group if not known(mutant)]


def _is_link(mutant: Mutant) -> bool:
    """Whether a fault shows before there is a model."""
    return ".core" not in mutant.module


def _ask(bench: NativeBench, number: int, parts: Sequence[Part]) -> tuple[str, str, int]:
    """Replay in a process of its own; return where and how the mutant differs, and the part."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of the parent's may run here
        status = 1
        try:
            os.close(reads)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            signal.alarm(WALL_SECONDS)
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
            bench.restart(number)
            os.write(writes, json.dumps(_replay(bench, parts)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writes)
    try:
        with os.fdopen(reads) as stream:
            text = stream.read()
        _, status = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    if not text:
        # Any other end is not the mutant's doing: too little memory, somebody's kill, a deadlock.
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) not in CRASHES:
            raise SimulationError(f"the process of a mutant ended with status {status}; free some "
                                  "memory or wait until the computer is less busy, and go on with "
                                  "the same command")
        return "simulator", "does not settle or does not end", 0
    by, how, reached = json.loads(text)
    return by, how, reached


def _replay(bench: NativeBench, parts: Sequence[Part]) -> tuple[str, str, int]:
    chip = Replay(bench)
    for reached, part in enumerate(parts):
        if found := chip.differs(part.exchanges):
            return (*found, reached)
    return "", "", len(parts) - 1
