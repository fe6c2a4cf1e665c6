"""Mutants of the host's Python: reference, compiler, driver. mutmut makes and runs them.

What an error says is left out: its wording is no behaviour that a test should hold still.

It works in a copy of the sources whose folders are laid out as the package imports, so that an
interrupted run leaves nothing in the checkout, and keeps each result there.
"""

import ast
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from trilight.hw.support.cache import digest
from trilight.hw.support.tools import Progress, no_progress
from trilight.sw.errors import SimulationError

from .mutants import ROOT
from .results import MutantResult

__all__ = ["PARTS", "campaign"]

PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "core": {
        "sw/reference/model.py": ("sw/reference/test_model", "sw/host/test_emulator"),
        "sw/reference/sampler.py": ("sw/reference/test_sampler",),
        "sw/model/image.py": ("sw/model/test_image",),
        "sw/model/checks.py": ("sw/model/test_model",),
        "sw/model/model.py": ("sw/model/test_model",),
        "sw/model/trits.py": ("sw/model/test_model", "sw/model/test_image"),
        "sw/host/driver.py": ("sw/host/test_driver",),
        "sw/host/generation.py": ("sw/host/test_driver", "sw/host/test_misuse"),
        "sw/host/loader.py": ("sw/host/test_driver",),
        "sw/host/link.py": ("sw/host/test_driver", "sw/host/test_link"),
        "sw/host/frames.py": ("sw/host/test_frames",),
        "sw/host/responses.py": ("sw/host/test_driver",),
        "sw/host/session.py": ("sw/host/test_driver", "sw/host/test_session"),
        "sw/host/weight_crc.py": ("sw/host/test_weight_crc",),
    },
    "rest": {
        "sw/power/estimate.py": ("sw/power/test_estimate",),
        "sw/power/activity.py": ("sw/power/test_estimate", "sw/power/test_parts"),
        "sw/power/fit.py": ("sw/power/test_fit",),
        "sw/power/parts.py": ("sw/power/test_parts",),
        "sw/report/performance.py": ("sw/report/test_performance",),
        "sw/report/schedule.py": ("sw/report/test_performance",),
        "sw/report/figures.py": ("sw/report/test_report",),
        "sw/report/report.py": ("sw/report/test_report",),
        "sw/report/run.py": ("sw/report/test_report",),
        "sw/report/summary.py": ("sw/report/test_summary",),
        "sw/quality/evaluate.py": ("sw/quality/test_evaluate",),
        "sw/meters/align.py": ("sw/meters/test_session", "sw/meters/test_csvfile"),
        "sw/meters/analysis.py": ("sw/meters/test_session", "sw/meters/test_energy"),
        "sw/meters/correction.py": ("sw/meters/test_calibrate", "sw/meters/test_instruments"),
        "sw/meters/csvfile.py": ("sw/meters/test_csvfile", "sw/meters/test_headers"),
        "sw/meters/table.py": ("sw/meters/test_csvfile", "sw/meters/test_headers"),
        "sw/meters/times.py": ("sw/meters/test_csvfile", "sw/meters/test_headers"),
        "sw/meters/units.py": ("sw/meters/test_csvfile", "sw/meters/test_headers"),
        "sw/train/corpus.py": ("sw/train/test_train", "sw/task/test_lines"),
        "sw/train/export.py": ("sw/train/test_train",),
        "sw/train/reader.py": ("sw/train/test_train", "sw/train/test_held_out",
                               "sw/train/test_labelled"),
        "sw/train/scales.py": ("sw/train/test_train",),
        "boards/families/board.py": ("boards/test_families",),
        "boards/guard.py": ("boards/test_guard",),
        "hw/flow/build.py": ("boards/test_build",),
    },
    "gateware": {
        "hw/link/commands.py": ("hw/link/test_link",),
        "hw/link/responses.py": ("hw/link/test_link",),
        "hw/link/buffer.py": ("hw/link/test_link",),
        "hw/link/link.py": ("hw/link/test_link",),
        "hw/lib/arith.py": ("hw/lib/test_arith",),
        "hw/lib/crc.py": ("hw/lib/test_crc",),
        "hw/lib/frames.py": ("hw/lib/test_frames",),
        "hw/lib/slip.py": ("hw/lib/test_slip",),
        "hw/lib/uart.py": ("hw/lib/test_uart",),
        "hw/memory/weights.py": ("hw/memory/test_weights",),
        "hw/memory/spram.py": ("hw/memory/test_weights",),
        "hw/memory/bram.py": ("hw/memory/test_weights",),
        "hw/memory/scrub.py": ("hw/memory/test_weights",),
        "hw/imported/serial.py": ("hw/imported/test_blocks",),
        "hw/imported/scale.py": ("hw/imported/test_blocks",),
        "hw/imported/sigmoid.py": ("hw/imported/test_blocks",),
    },
}
"""Parts that are mutated, and the files ``tests/<name>.py`` about them: reference, compiler and
driver; what measures, reports, trains and builds; or the gateware's blocks that have tests in
Amaranth's simulator."""

TIMED = "tests/sw/host/test_driver.py::test_two_prompts_take_half_as_many_turns"
"""A test that counts what a computer does in a time, and would kill mutants on a busy one."""

PACKAGES = ("hw", "sw", "sim", "boards")

PAGES = "docs"
"""Folder that some tests compare the code with."""

MUTANT = "__mutmut_"
"""Prefix of mutmut before the number of a function's mutant."""

KILLED = frozenset({"killed", "timeout", "segfault", "suspicious"})

# Not in mutmut's command line: make the mutants without running any.
GENERATE = """
from mutmut.__main__ import (copy_also_copy_files, copy_src_dir, create_mutants,
                             set_mutant_under_test, setup_source_paths)
set_mutant_under_test("mutant_generation")
copy_src_dir()
copy_also_copy_files()
setup_source_paths()
create_mutants(1)
"""

CONFIGURATION = """
[tool.mutmut]
source_paths = ["trilight/sw", "trilight/boards", "trilight/hw"]
only_mutate = {only_mutate}
also_copy = ["trilight/sim", "{pages}"]
pytest_add_cli_args = ["-p", "no:cacheprovider", "--deselect", "{timed}"]
pytest_add_cli_args_test_selection = {tests}
timeout_multiplier = 2.0
timeout_constant = 10.0
track_dependencies = false
use_git_change_detection = false
"""


def _lay_out(folder: Path, modules: Mapping[str, Sequence[str]]) -> Path:
    """A copy of sources and tests, in a folder of its own for each state of them."""
    names = sorted({name for names in modules.values() for name in names})
    tests = [f"tests/{name}.py" for name in names]
    configuration = (ROOT / "pyproject.toml").read_text() + CONFIGURATION.format(
        only_mutate=[f"trilight/{module}" for module in modules], pages=PAGES, timed=TIMED,
        tests=tests)
    sources = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")
                     if Path(__file__).parent not in path.parents)
    key = digest(configuration, version("mutmut"),
                 *(path.read_bytes() for path in [*sources, *(ROOT / test for test in tests)]))
    tree = folder / key[:16]
    if not tree.exists():
        work = folder / f"{key[:16]}.new"
        shutil.rmtree(work, ignore_errors=True)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, work / "trilight" / package,
                            ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("tests", PAGES):
            shutil.copytree(ROOT / name, work / name,
                            ignore=shutil.ignore_patterns("__pycache__"))
        (work / "pyproject.toml").write_text(configuration)
        work.replace(tree)
    return tree


def _run(tree: Path, arguments: Sequence[str], what: str) -> str:
    result = subprocess.run([sys.executable, *arguments], cwd=tree, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        end = "\n  ".join(result.stdout.splitlines()[-15:])
        raise SimulationError(f"mutmut failed while {what}; its output ends with\n  {end}")
    return result.stdout


def _verdicts(tree: Path) -> dict[str, str]:
    """Return what mutmut knows of each mutant."""
    lines = _run(tree, ["-m", "mutmut", "results", "--all", "true"], "listing").splitlines()
    pairs = [line.strip().rpartition(": ") for line in lines if MUTANT in line]
    return {name: verdict for name, _, verdict in pairs}


class _Wordless(ast.NodeTransformer):
    """Takes out of every error what it says."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id.endswith("Error"):
            node.args = [argument for argument in node.args if not _is_text(argument)]
        return self.generic_visit(node)


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_text(node.left)
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, str)))


def _wording(source: Path) -> set[str]:
    """Functions of a mutated source that differ from theirs only in what an error says."""
    functions = {node.name: ast.dump(ast.Module([*map(_Wordless().visit, node.body)], []))
                 + ast.dump(node.args)
                 for node in ast.walk(ast.parse(source.read_text()))
                 if isinstance(node, ast.FunctionDef) and MUTANT in node.name}
    return {name for name, text in functions.items()
            if text == functions.get(f"{name.partition(MUTANT)[0]}{MUTANT}orig")}


def campaign(folder: Path, number: int, seed: int, processes: int = 1,
             progress: Progress = no_progress, part: str = "core", *, each: int | None = None,
             only: Sequence[str] = ()) -> tuple[list[MutantResult], int]:
    """Choose mutants at random, run the tests against those whose result is not known.

    Parameters
    ----------
    folder
        Folder that keeps the results.
    number
        Number of mutants; fewer are the first of more.
    processes
        Mutants at once.
    part
        One of ``PARTS``.
    each
        Number of mutants of each module, in place of ``number`` of all.
    only
        Modules of the part; all if there are none.

    Returns
    -------
    The results, and how many mutants there are to choose from.

    Raises
    ------
    SimulationError
        mutmut failed; the tests fail without a mutant.
    """
    folder.mkdir(parents=True, exist_ok=True)
    modules = PARTS[part]
    if unknown := [module for module in only if module not in modules]:
        raise SimulationError(f"no mutants are made of {', '.join(unknown)}; the modules of "
                              f"{part} are {', '.join(modules)}")
    modules = {module: tests for module, tests in modules.items() if not only or module in only}
    tree = _lay_out(folder, modules)
    if not (tree / "mutants").exists():
        progress("making mutants")
        _run(tree, ["-c", GENERATE], "making mutants")
    wording = {f"trilight.{module.removesuffix('.py').replace('/', '.')}.{name}"
               for module in modules for name in _wording(tree / "mutants" / "trilight" / module)}
    verdicts = _verdicts(tree)
    names = sorted(verdicts.keys() - wording)
    chosen = _choose(names, number, seed) if each is None else [
        name for module in modules for name in _choose(
            [name for name in names if _source(name) == module], each, f"{seed} {module}")]
    todo = [name for name in chosen if verdicts[name] == "not checked"]
    if todo:
        progress(f"asking {len(todo)} mutants; Ctrl-C loses nothing")
        _run(tree, ["-m", "mutmut", "run", "--max-children", str(processes), *todo],
             "asking mutants")
        verdicts = _verdicts(tree)
    return [_result(tree, name, verdicts[name]) for name in chosen], len(names)


def _choose(names: Sequence[str], number: int, seed: int | str) -> list[str]:
    """So many at random; fewer are the first of more."""
    mixed = list(names)
    random.Random(seed).shuffle(mixed)
    return mixed[:number]


def _source(name: str) -> str:
    """The module that a mutant is of."""
    return f"{name.rpartition('.')[0].removeprefix('trilight.').replace('.', '/')}.py"


def _result(tree: Path, name: str, verdict: str) -> MutantResult:
    path, function = _source(name), name.rpartition(".")[2]
    if verdict in KILLED:
        return MutantResult(path, function, (path,), "killed", "tests", verdict)
    change = _run(tree, ["-m", "mutmut", "show", name], "showing a mutant")
    lines = [line for line in change.splitlines()
             if line.startswith(("-", "+")) and not line.startswith(("---", "+++"))]
    return MutantResult(path, function, (path,), "survived", "", "\n".join(lines))
