"""All runs that a benchmark consists of, and their document."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from trilight.sw.api import open_board
from trilight.sw.errors import MeterError
from trilight.sw.host.driver import Board
from trilight.sw.host.generation import LastRun
from trilight.sw.meters import measure, open_meter
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model
from trilight.sw.report.releases import load_releases
from trilight.sw.report.report import build_report
from trilight.sw.report.run import Run

from .baselines import Baseline, open_baseline
from .document import Protocol, build_document
from .field import load_field
from .runner import BoardSystem, LocalSystem, System, merge, run_for, run_once
from .system import AssumedPower, Carbon, Expected, Pass, device_system, local_system
from .workload import Workload

__all__ = ["Settings", "Watch", "run_benchmark"]

PASSES = 3
"""Passes of a baseline over the workload, at least."""

PASS_SECONDS = 1.0
"""Time that the passes of a baseline take together, at least."""

Watch = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Display that something goes on: given what, a context with a progress callback."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a benchmark: what runs beside the workload, and what the user states."""

    target: str = "reference"
    meter: str | None = None
    """Meter in the supply of the target."""
    clocks_hz: tuple[float, ...] = ()
    baselines: tuple[str, ...] = ()
    host_power: AssumedPower | None = None
    carbon: Carbon | None = None
    protocol: Protocol = field(default_factory=Protocol)


def run_benchmark(model: Model, workload: Workload, settings: Settings, *,
                  say: Callable[[str], None], watch: Watch) -> dict[str, Any]:
    """Run a workload on a target and on baselines; return the document.

    Parameters
    ----------
    model, workload
        Model, and the queries that it answers.
    settings
        Target, baselines and protocol.
    say
        Function that shows a message about something that takes seconds.
    watch
        Display of progress.

    Raises
    ------
    TrilightError
        A target, meter or baseline that cannot be used; said before anything has run where that
        can be known.
    """
    workload.check(model)
    # What misses a package or an instrument fails now, not after minutes.
    baselines = [open_baseline(name, model) for name in settings.baselines]
    meter = open_meter(settings.meter) if settings.meter else None
    reference = LocalSystem(open_baseline("numpy", model), model)
    with watch("Reference") as progress:
        expected_runs = run_once(reference, workload, progress)
    expected = Expected(tuple(run.token_ids for run in expected_runs))
    with open_board(settings.target, progress=say) as board:
        with watch(f"Loading the model into {settings.target}") as progress:
            board.load(model, progress=progress)
        system = BoardSystem(board)
        with watch(f"Running {settings.target}") as progress:
            runs = run_once(system, workload, progress)
        measurement = None
        if meter is not None:
            measurement = _measure(settings.meter or "", system, workload, settings.protocol, watch)
        report, release = _report(board, model, runs)
        image_bytes = len(compile_image(model, board.identity.device).to_bytes())
    weights = model.config.ternary_weights_per_token
    first = device_system(report, runs, expected, weights=weights, image_bytes=image_bytes,
                          release=release, clocks_hz=settings.clocks_hz, measurement=measurement,
                          carbon=settings.carbon)
    quality = {name: report["figures"][name] for name in ("bits_per_byte", "nats_per_char")}
    others = []
    for baseline, passes in zip(baselines, _pass_all(baselines, model, workload, watch),
                                strict=True):
        energy, reason = _energy(baseline, model, workload, settings, watch)
        others.append(local_system(
            baseline.info, passes, expected, quality, weights=weights, power=settings.host_power,
            measurement=energy, no_energy=reason, carbon=settings.carbon))
    return build_document(
        [first, *others], model=model, workload=workload, reference=expected_runs,
        quality=report["model"]["quality"], protocol=settings.protocol, carbon=settings.carbon,
        rivals=load_field())


def _report(board: Board, model: Model, runs: Sequence[LastRun],
            ) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Report of all runs together, and the released build that ran."""
    releases = load_releases()
    report = build_report(Run(
        model=model, target=board.transport.name, generation=merge(runs),
        device=board.identity.device, clock_hz=board.identity.clock_hz,
        build_id=board.identity.build_id,
        **board.transport.build_info), releases)
    found = report["release"]
    return report, next((dict(release) for release in releases.values()
                         if found and release["board"] == found["board"]), None)


def _measure(spec: str, system: System, workload: Workload, protocol: Protocol, watch: Watch,
             ) -> dict[str, Any]:
    """Measure a system's energy with the meter that ``spec`` describes."""
    with watch(f"Measuring with {spec}") as progress:
        return measure(open_meter(spec), run_for(system, workload), windows=protocol.windows,
                       seconds=protocol.window_s, idle_seconds=protocol.idle_s,
                       warmup_seconds=protocol.warmup_s, progress=progress).to_dict()


def _pass_all(baselines: Sequence[Baseline], model: Model, workload: Workload, watch: Watch,
              ) -> list[list[Pass]]:
    """Run all baselines in turn, pass by pass, so that a busy computer slows them alike."""
    systems = [LocalSystem(baseline, model) for baseline in baselines]
    passes: list[list[Pass]] = [[] for _ in baselines]
    first_token = replace(workload, tokens=1)
    for baseline, system in zip(baselines, systems, strict=True):
        # The first pass fills caches and is not counted.
        with watch(f"Running baseline {baseline.info.name}") as progress:
            run_once(system, workload, progress)
    end = time.monotonic() + PASS_SECONDS * len(baselines)
    with watch("Running baselines in turn") as progress:
        while baselines and (len(passes[0]) < PASSES or time.monotonic() < end):
            for system, own in zip(systems, passes, strict=True):
                before = time.process_time()
                runs = run_once(system, workload, progress)
                spent = time.process_time() - before
                own.append(Pass(runs, run_once(system, first_token, progress), spent))
    return passes


def _energy(baseline: Baseline, model: Model, workload: Workload, settings: Settings, watch: Watch,
            ) -> tuple[dict[str, Any] | None, str]:
    """What a meter says of a baseline, or why there is none."""
    try:
        return _measure(baseline.info.meter, LocalSystem(baseline, model), workload,
                        settings.protocol, watch), ""
    except MeterError as error:
        return None, (f"no meter sees it ({error}), and no watts were stated: "
                      "--host-watts with --host-watts-source")
