"""Mutants of the gateware asked of the cocotb benches, which are what ``make test`` runs.

A mutant is of the block that a bench is about, or of the whole chip where no block's bench has it.
Its block is compiled with all the bench's mutants, as ``mutants`` does it; which one is active is
an argument of the simulator's.
"""

import math
import os
import random
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from trilight.hw.flow.build import BoardDesign, design_sha256
from trilight.hw.support.cache import digest
from trilight.hw.support.tools import Progress, no_progress
from trilight.sim.bench import chip, components
from trilight.sim.bench.build import (
    BenchDesign,
    component_rtlil,
    pins_design,
    run_bench,
    verilog_design,
)
from trilight.sw.errors import SimulationError
from trilight.sw.journal import Journal
from trilight.sw.records import read_record

from .child import in_child
from .equivalence import PROOF, prove
from .mutants import CONTROL, Mutant, Prepared, choose, mutated, prepare, prepare_text
from .results import MutantResult

__all__ = ["BenchCampaign"]

CHIP = "chip"

ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "core": ("engine", "vector", "sampler", "sequencer.divider"),
    CHIP: ("chip.core", "chip.link"),
}
"""Modules of a bench's design that others are about."""

TIMEOUT_FACTOR = 5
"""Factor by which a bench may take longer than with the design without a fault."""

SECONDS = 10
"""Processor time that it may take besides."""

Finished = Callable[[MutantResult], None]


@dataclass(frozen=True, eq=False)
class _Bench:
    """A bench and its mutants."""

    name: str
    prepared: Prepared
    design: Callable[[str], BenchDesign]
    """Makes of Verilog what the bench drives."""
    environment: Mapping[str, str]

    @property
    def modules(self) -> tuple[str, ...]:
        """Return the modules that no other bench is about."""
        top = self.prepared.top
        left_out = tuple(f"{top}.{name}" for name in ELSEWHERE.get(self.name, ()))
        return tuple(module for module in self.prepared.modules
                     if not any(module == name or module.startswith(f"{name}.")
                                for name in left_out))

    def module(self, mutant: Mutant) -> str:
        """The mutant's module under the name of the bench."""
        return self.name + mutant.module.removeprefix(self.prepared.top)


def _benches(board: BoardDesign, names: Collection[str], progress: Progress) -> Iterator[_Bench]:
    for name, make in components.COMPONENTS.items():
        if name in names:
            top, text = component_rtlil(make(), sources=True)
            yield _Bench(name, prepare_text(text, top, progress), partial(verilog_design, top), {})
    if CHIP in names:
        prepared = prepare(board, progress)
        yield _Bench(CHIP, prepared, partial(pins_design, board),
                     {chip.BUILD_ID: str(prepared.build_id)})


def _with_argument(verilog: str, top: str) -> str:
    """The module with its control input as a register that an argument of the simulator sets."""
    header = re.search(rf"^module \\?{top} ?\((.*?)\);$", verilog, re.MULTILINE | re.DOTALL)
    declared = re.search(rf"^  input (\[\d+:0\]) {CONTROL} ?;\n  wire \[\d+:0\] {CONTROL} ?;$",
                         verilog, re.MULTILINE)
    if header is None or declared is None or header.start() > declared.start():
        raise SimulationError(f"the Verilog of {top} has no input {CONTROL}")
    ports = [port for port in re.split(r",\s*", header[1]) if port.strip() != CONTROL]
    register = (f"  reg {declared[1]} {CONTROL};\n"
                f'  initial if (!$value$plusargs("{CONTROL}=%d", {CONTROL})) {CONTROL} = 0;')
    return (verilog[:header.start(1)] + ", ".join(ports)
            + verilog[header.end(1):declared.start()] + register + verilog[declared.end():])


class BenchCampaign:
    """Mutants of all benches' designs, and what is known of them.

    Parameters
    ----------
    board
        For the bench of the whole chip.
    number
        Number of mutants of all benches together.
    seed
        Seed of their choice and of the benches' data.
    folder
        Folder that keeps the results.
    names
        Benches that are asked; by default all.
    """

    def __init__(self, board: BoardDesign, *, number: int, seed: int, folder: Path,
                 names: Collection[str] = (*components.COMPONENTS, CHIP),
                 progress: Progress = no_progress) -> None:
        self._progress = progress
        self._seed = seed
        benches = list(_benches(board, names, progress))
        self.design_sha256 = design_sha256(board)
        # At least one of each module, so that small modules are not forgotten.
        chosen = [(bench, mutant) for bench in benches
                  for mutant in choose(bench.prepared, number, seed, minimum=1,
                                       modules=bench.modules, progress=progress)]
        self.chosen = len(chosen)
        self.mutants = _spread(chosen, number, seed)
        sha256 = digest(*(bench.prepared.sha256 for bench in benches), *_bench_sources())
        self.journal = Journal(folder / f"benches-{sha256[:16]}-{seed}.jsonl",
                               {"benches_sha256": sha256, "seed": seed})

    def run(self, finished: Finished = lambda result: None) -> list[MutantResult]:
        """Ask every mutant whose result is not known yet, bench by bench.

        Raises
        ------
        BuildError, SimulationError
            A design can not be compiled; a bench fails without a fault.
        """
        results = []
        for bench in dict.fromkeys(bench for bench, _ in self.mutants):
            group = [mutant for of, mutant in self.mutants if of is bench]
            self._ask_all(bench, group)
            for mutant in group:
                kept = self.journal.results[f"{bench.name} {mutant.mutation}"]
                results.append(read_record(
                    MutantResult, kept, SimulationError, "result of a mutant"))
                finished(results[-1])
        return results

    def _keep(self, bench: _Bench, mutant: Mutant, verdict: str, by: str, how: str = "") -> None:
        result = MutantResult(
            bench.module(mutant), mutant.mutation, mutant.sources, verdict, by, how)
        self.journal.keep(f"{bench.name} {mutant.mutation}", asdict(result))

    def _ask_all(self, bench: _Bench, group: Sequence[Mutant]) -> None:
        todo = [(number, mutant) for number, mutant in enumerate(group, 1)
                if f"{bench.name} {mutant.mutation}" not in self.journal.results]
        if not todo:
            return
        verilog = mutated(bench.prepared, group, self._progress)
        design = bench.design(_with_argument(verilog.read_text(), bench.prepared.top))
        self._progress(f"{bench.name}: asking the design with mutants, none of which is active")
        before = os.times()
        if how := self._ask(bench, design, 0, 3600):
            raise SimulationError(f"the bench of {bench.name} fails without a fault: {how}")
        after = os.times()
        limit = math.ceil(TIMEOUT_FACTOR * (after.children_user - before.children_user)) + SECONDS
        self._progress(f"{bench.name}: asking {len(todo)} mutants")
        survivors = []
        for number, mutant in todo:
            if how := self._ask(bench, design, number, limit):
                self._keep(bench, mutant, "killed", f"bench {bench.name}", how)
            else:
                survivors.append(mutant)
        equal = set(prove(bench.prepared, survivors, self._progress))
        for mutant in survivors:
            self._keep(bench, mutant, *(("equivalent", PROOF) if mutant in equal
                                        else ("survived", "")))

    def _ask(self, bench: _Bench, design: BenchDesign, number: int, seconds: int) -> str:
        """Return how the bench fails; empty if it does not."""
        def work() -> str:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    run_bench(design, f"trilight.sim.bench.{bench.name}", Path(folder),
                              seed=self._seed, environment=bench.environment,
                              plusargs=[f"+{CONTROL}={number}"])
                except SimulationError as error:
                    return str(error)
            return ""

        found = in_child(work, seconds)
        return "does not end" if found is None else str(found)


def _bench_sources() -> Iterator[bytes]:
    folder = Path(components.__file__).parent
    yield from (path.read_bytes() for path in sorted(folder.glob("*.py")))


def _spread(chosen: Sequence[tuple[_Bench, Mutant]], number: int,
            seed: int) -> list[tuple[_Bench, Mutant]]:
    """So many at random, of each module as its share is; in the order of the benches."""
    places = list(range(len(chosen)))
    random.Random(seed).shuffle(places)
    return [chosen[place] for place in sorted(places[:number])]
