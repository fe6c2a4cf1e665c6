"""A campaign: the regression against every mutant, in a process for each, with results kept.

A mutant may hang or crash the simulator, so each runs in a process of its own that is forked where
everything has been loaded. Every result is written at once; a campaign that is started again goes
on where it was.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from trilight.hw.flow.build import BoardDesign
from trilight.hw.support.tools import Progress, no_progress
from trilight.sim.native.compile import NativeBench
from trilight.sw.errors import SimulationError
from trilight.sw.journal import Journal
from trilight.sw.records import read_record

from .child import in_child
from .equivalence import PROOF, prove
from .mutants import Mutant, PreparedBoard, batch, choose, prepare
from .program import LINK, ProgramPart, record
from .results import MutantResult
from .transcript import Replay

__all__ = ["MutantOutcome", "MutationCampaign"]

BATCH = 128
"""Mutants in one design: fewer take more time to compile, more take more time to simulate."""

FIRST_PARTS = 2
"""Parts of the regression that are asked before a proof of equivalence is tried."""

CPU_SECONDS = 120
"""Processor time of a mutant after which it counts as one that hangs the simulator; all parts take
some 15."""

Finished = Callable[["MutantOutcome"], None]


@dataclass(frozen=True)
class MutantOutcome(MutantResult):
    """Verdict on a mutant, and the parts of the regression that gave it."""

    parts: tuple[str, ...] = ()
    """Digests of the parts that it was asked; the last one killed it, if any."""


class MutationCampaign:
    """Mutants of a board's design, and what is known of them.

    Parameters
    ----------
    number
        About how many mutants.
    seed
        Seed of their choice and of the regression's data.
    folder
        Folder that keeps the results.
    thorough
        See ``program.record``.
    mutants
        These instead of ``number`` chosen ones.
    """

    def __init__(self, board: BoardDesign, *, number: int, seed: int, folder: Path,
                 thorough: bool = True, mutants: Sequence[Mutant] | None = None,
                 progress: Progress = no_progress) -> None:
        self._progress = progress
        self._thorough = thorough
        self.seed = seed
        self.prepared: PreparedBoard = prepare(board, progress)
        self._flash = b"" if board.flash_pins else None
        if mutants is None:
            self.mutants = choose(self.prepared, number, seed, progress=progress)
            # So that the first part of a campaign is a sample of all modules.
            random.Random(seed).shuffle(self.mutants)
        else:
            self.mutants = list(mutants)
        self.journal = Journal(folder / f"gateware-{self.prepared.sha256[:16]}.jsonl",
                               {"prepared_sha256": self.prepared.sha256})
        self.outcomes = {mutation: read_record(MutantOutcome, kept, SimulationError, "outcome")
                         for mutation, kept in self.journal.results.items()}

    def keep(self, outcome: MutantOutcome) -> None:
        """Write an outcome down; a later one of the same mutant takes its place."""
        self.outcomes[outcome.mutation] = outcome
        self.journal.keep(outcome.mutation, asdict(outcome))

    def run(self, finished: Finished = lambda outcome: None,
            limit: int | None = None) -> list[MutantOutcome]:
        """Ask every mutant whose outcome is not known yet, and prove equivalence where it can be.

        ``finished`` is called with each outcome, known before or not; with a ``limit`` only so many
        mutants are asked, from the first on.

        Raises
        ------
        BuildError, SimulationError
            A design can not be compiled; the one without a fault is not what the reference is.
        """
        mutants = self.mutants[:limit]
        parts: list[ProgramPart] = []
        for start in range(0, len(mutants), BATCH):
            group = mutants[start:start + BATCH]
            if not parts or not all(self._known(mutant, parts) for mutant in group):
                bench = NativeBench(batch(self.prepared, group, self._progress),
                                    progress=self._progress, flash=self._flash)
                if not parts:
                    self._progress("recording what the design without a fault does")
                    parts = record(bench, self.seed, thorough=self._thorough)
                # What a simulation has open does not survive a fork, so each mutant opens its own.
                bench.close()
                self._ask_all(bench, group, parts)
            for mutant in group:
                finished(self.outcomes[mutant.mutation])
        return [self.outcomes[mutant.mutation] for mutant in mutants]

    def _ask_all(
        self, bench: NativeBench, group: Sequence[Mutant], parts: Sequence[ProgramPart]
    ) -> None:
        """Ask the mutants of a design, the first parts first; then all that are not equivalent."""
        todo = [(number, mutant) for number, mutant in enumerate(group, 1)
                if not self._known(mutant, parts)]
        if not todo:
            return
        self._progress("asking the design with mutants, none of which is active")
        by, how, _ = _ask(bench, 0, parts)
        if how:
            raise SimulationError(f"mutants that are not active change the design: {by}, {how}")
        for asked in (parts[:FIRST_PARTS], parts):
            self._progress(f"asking mutants {len(asked)} of {len(parts)} parts")
            for number, mutant in todo:
                if not self._known(mutant, asked):
                    self._ask_one(bench, number, mutant, asked)
            if asked is not parts:
                survivors = [mutant for _, mutant in todo
                             if self.outcomes[mutant.mutation].verdict == "survived"]
                for mutant in prove(self.prepared, survivors, self._progress):
                    self.keep(replace(self.outcomes[mutant.mutation], verdict="equivalent",
                                      by=PROOF))

    def _ask_one(self, bench: NativeBench, number: int, mutant: Mutant,
                 parts: Sequence[ProgramPart]) -> None:
        """Ask a mutant what it has not been asked yet, and write down what became of it."""
        earlier = self.outcomes.get(mutant.mutation)
        passed = [] if earlier is None or earlier.verdict != "survived" else [
            part for part in parts if part.sha256 in earlier.parts]
        asked = [part for part in parts if part not in passed]
        if ".core" not in mutant.module:
            # Before there is a model, a fault outside of the core shows in less time.
            asked.sort(key=lambda part: part.name != LINK)
        by, how, reached = _ask(bench, number, asked)
        self.keep(MutantOutcome(mutant.module, mutant.mutation, mutant.sources,
                                "killed" if how else "survived", by, how,
                                tuple(part.sha256 for part in [*passed, *asked[:reached + 1]])))

    def _known(self, mutant: Mutant, parts: Sequence[ProgramPart]) -> bool:
        """Tell if the regression has to say no more than it has said."""
        outcome = self.outcomes.get(mutant.mutation)
        if outcome is None:
            return False
        current = {part.sha256 for part in parts}
        if outcome.verdict == "survived":
            return current <= set(outcome.parts)
        return outcome.verdict == "equivalent" or outcome.parts[-1] in current


def _ask(bench: NativeBench, number: int, parts: Sequence[ProgramPart]) -> tuple[str, str, int]:
    """Replay in a process of its own; return where and how the mutant differs, and the part."""
    found = in_child(lambda: _replay(bench, number, parts), CPU_SECONDS)
    if found is None:
        return "simulator", "does not settle or does not end", 0
    by, how, reached = found
    return by, how, reached


def _replay(bench: NativeBench, number: int, parts: Sequence[ProgramPart]) -> tuple[str, str, int]:
    for reached, part in enumerate(parts):
        bench.restart(number, part.flash)
        if found := Replay(bench).differs(part.exchanges):
            return (*found, reached)
    return "", "", len(parts) - 1
