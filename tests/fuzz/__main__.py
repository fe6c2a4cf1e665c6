"""Fuzz every parser for some minutes each, and go on where the last time ended."""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from trilight.hw.support.extras import pip_install
from trilight.sw.cli.console import replace_json
from trilight.sw.report.summary import write_section

from .corpus import keep, pack, read_all, unpack
from .targets import TARGETS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / "build" / "fuzz"

ENDLESS_SECONDS = 300
"""After which an input is taken to hang; that it takes too long, the worker says sooner."""

MAX_KEPT = 20_000
"""Bytes of a parser's kept inputs beyond which none is added: they are for tests, a fuzzer makes
more by itself."""

POLL_S = 0.5
MEMORY_MB = 512
"""At which libFuzzer stops, as at a finding."""

FRESH_MB = 384
"""At which a fresh worker takes over. Under atheris half a kilobyte of an input stays where texts
are compared; without it nothing does (``tests/fuzz/test_fuzz.py``)."""

PULSE = re.compile(r"^#(?P<runs>\d+)\s+(?!READ).*cov: (?P<edges>\d+).*?rss: (?P<memory>\d+)Mb")


@dataclass
class State:
    """What has been done for one parser, over all runs."""

    executions: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    edges: int = 0
    memory_at_first_mb: int = 0
    """When the seeds had been read."""
    memory_mb: int = 0
    """Most that the process ever held."""
    findings: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> "State":
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def sentence(self) -> str:
        """What stands behind the number of executions."""
        return (f"executions in {self.seconds / 60:.1f} min, {self.processor_seconds / 60:.1f} min "
                f"of processor time, {self.edges} edges, at most {self.memory_mb} MB, "
                f"{len(self.findings)} findings")


def fuzz(name: str, seconds: float, seed: int, progress: Progress) -> State:
    """Fuzz one parser for ``seconds`` of processor time in all, or until something is found."""
    folder = WORK / name
    corpus = folder / "corpus"
    unpack(name, folder / "kept")
    for path in (corpus, folder / "findings"):
        path.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(TARGETS[name].seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    state = State.load(folder / "state.json")
    state.findings = []
    bar = progress.add_task(f"{name:<13}", total=seconds, completed=state.processor_seconds,
                            figures="")

    def show() -> None:
        # Whatever ends this program, what has been done counts.
        replace_json(folder / "state.json", asdict(state))
        progress.update(bar, completed=min(state.processor_seconds, seconds),
                        figures=f"{state.executions:,} runs, {state.edges} edges")

    # Workers differ in their seed, so that none repeats what the one before did.
    workers = 0
    while state.processor_seconds < seconds and not state.findings:
        _work(name, folder, state, seconds, seed + workers, show)
        workers += 1
    return state


def _work(name: str, folder: Path, state: State, seconds: float, seed: int,
          show: Callable[[], None]) -> None:
    """Let a worker fuzz until the time is over, it has grown, or something is found."""
    findings = folder / "findings"
    command = [
        sys.executable, "-m", "fuzz.worker", name, folder / "corpus",
        folder / "kept",
        f"-timeout={ENDLESS_SECONDS}", f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={TARGETS[name].longest}", f"-seed={seed}", "-print_final_stats=1",
        f"-artifact_prefix={findings}{os.sep}"]
    before = replace(state)
    began = time.monotonic()
    with (folder / "log.txt").open("w", buffering=1) as log, subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(HERE.parent)}) as worker:
        grown = False

        def listen() -> None:
            nonlocal grown
            for line in worker.stdout or ():
                log.write(line)
                if pulse := PULSE.match(line):
                    memory = int(pulse["memory"])
                    state.executions = before.executions + int(pulse["runs"])
                    state.edges = max(before.edges, int(pulse["edges"]))
                    state.memory_at_first_mb = state.memory_at_first_mb or memory
                    state.memory_mb = max(state.memory_mb, memory)
                    grown = memory >= FRESH_MB
                elif line.startswith("stat::number_of_executed_units:"):
                    state.executions = before.executions + int(line.split()[-1])

        listener = threading.Thread(target=listen)
        listener.start()
        ended = False
        try:
            while worker.poll() is None:
                with contextlib.suppress(psutil.Error):
                    times = psutil.Process(worker.pid).cpu_times()
                    state.processor_seconds = before.processor_seconds + times.user + times.system
                state.seconds = before.seconds + time.monotonic() - began
                show()
                if not ended and (grown or state.processor_seconds >= seconds):
                    ended = True
                    worker.send_signal(signal.SIGINT)
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            ended = True
            worker.send_signal(signal.SIGINT)
            raise
        finally:
            worker.wait()
            listener.join()
            if not ended:
                found = sorted(str(path.relative_to(ROOT)) for path in findings.iterdir())
                state.findings = found or [f"exit status {worker.returncode}"]
            show()


def main() -> int:
    """Parse the command line and fuzz; the exit status is 1 if anything was found."""
    parser = argparse.ArgumentParser(
        prog="make fuzz", description=__doc__,
        epilog="Corpora, logs and findings are kept under build/fuzz. A run that is stopped goes "
               "on there; one that is complete does nothing until --minutes is raised.")
    parser.add_argument("parsers", nargs="*", metavar="PARSER",
                        help=f"what to fuzz: {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--minutes", type=float, default=10,
                        help="of processor time for each parser, all runs together (default: "
                             "%(default)s)")
    parser.add_argument("--keep", action="store_true",
                        help="instead, add to tests/fuzz/corpus.zip what reaches more")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="also write what has been done so far to this file")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer (default: 1)")
    chosen = parser.parse_args()
    if unknown := set(chosen.parsers) - set(TARGETS):
        parser.error(f"there is no parser {', '.join(sorted(unknown))}; there are "
                     f"{', '.join(TARGETS)}")
    if chosen.keep:
        kept = read_all()
        for name in chosen.parsers or TARGETS:
            found = WORK / name / "corpus"
            found.mkdir(parents=True, exist_ok=True)
            print(f"{name}: {keep(TARGETS[name], found, kept.setdefault(name, {}), MAX_KEPT):,} "
                  "bytes")
        pack(kept)
        return 0
    try:
        import atheris  # noqa: F401  # is it there?
    except ImportError:
        parser.error(f"the fuzzer is missing: {pip_install('trilight[fuzz]')}, which takes Python "
                     "3.11 to 3.13 on Linux")
    console = Console()
    print(f"seed: {chosen.seed}")
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(),
                  TextColumn("{task.fields[figures]}"), console=console) as progress:
        try:
            for name in chosen.parsers or TARGETS:
                fuzz(name, 60 * chosen.minutes, chosen.seed, progress)
        except KeyboardInterrupt:
            console.print("stopped; the same command goes on")
            return 130
    states = {name: State.load(WORK / name / "state.json") for name in TARGETS}
    write_section("fuzz", "Fuzzing of parsers", [
        (name, state.executions, state.sentence())
        for name, state in states.items() if state.executions],
        seed=chosen.seed, command="make fuzz", folder=ROOT / "build" / "ci")
    if chosen.json:
        replace_json(chosen.json, {
            "command": "make fuzz", "seed": chosen.seed, "targets": {
                name: {"what": TARGETS[name].what, **asdict(state)}
                for name, state in states.items()}})
    for name, state in states.items():
        for finding in state.findings:
            print(f"{name}: {finding}; the log is build/fuzz/{name}/log.txt", file=sys.stderr)
    return int(any(state.findings for state in states.values()))


if __name__ == "__main__":
    sys.exit(main())
