"""A small model, a run of it with made-up counters, and documents of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.bench.baselines import open_baseline
from trilight.sw.bench.document import Protocol, build_document
from trilight.sw.bench.field import load_field
from trilight.sw.bench.runner import LocalSystem, merge, run_once
from trilight.sw.bench.system import (
    AssumedPower,
    Carbon,
    Expected,
    Pass,
    device_system,
    local_system,
)
from trilight.sw.bench.workload import Workload
from trilight.sw.host.generation import LastRun
from trilight.sw.model.model import Model
from trilight.sw.power import Activity
from trilight.sw.report.releases import Release
from trilight.sw.report.report import build_report
from trilight.sw.report.run import Run

DEVICE = board_device()

Document = dict[str, Any]

UNTRAINED = Model.random(ModelConfig(vocab_size=40, d_model=48, n_layers=2, d_hidden=80), seed=1)
MODEL = replace(UNTRAINED, provenance={"quality": {
    "bits_per_byte": 2.125, "nats_per_char": 1.473, "dataset": "a play",
    "split": "last 10 %", "protocol": "stateful"}})

BUSY = Activity(clock_nets=1, ff_clocked=1500, net_transitions=250, ebr_accesses=16,
                spram_accesses=3.5, dsp_ops=2, io_edges=0.01, cycles=40_000)
RELEASE: dict[str, Any] = {
    **Release(
        board="icebreaker", design_sha256="d" * 64, netlist_sha256="e" * 64,
        bitstream_sha256="b" * 64, build_id=77, clock_hz=30e6, clock_source="placed and routed",
        pll=True, model_sha256=MODEL.sha256, cycles_per_token=600.0,
        activity={"busy": BUSY.to_dict(), "idle": replace(BUSY, net_transitions=9.0).to_dict(),
                  "windows": [replace(BUSY, net_transitions=nets).to_dict()
                              for nets in (240.0, 250.0, 260.0)]},
        tools={"yosys": "0.70"}),
    "part": "iCE40UP5K-SG48", "resources": {"lc": 3000, "ebr": 30},
    "fmax_hz": {"1": 40e6, "2": 38e6}}

WORKLOAD = Workload(prompts=("12", "#$%&", "'"), tokens=10, temperature=0.75, seed=5)
CYCLES, PROMPT_CYCLES = 6000, 900
"""Of a query, and of its prompt."""

MEASUREMENT: dict[str, Any] = {
    "joules_per_token": {"value": 4e-6, "u_k2": 5e-7, "runs": [3.9e-6, 4e-6, 4.2e-6]},
    "above_idle": {"value": 3e-6, "u_k2": 4e-7, "runs": [2.9e-6, 3e-6, 3.2e-6]},
    "idle_w": 0.002, "active_w": 0.012, "tokens_per_s": 3000.0,
    "windows": [{"name": f"window {n}", "start_s": 100.0 + 12 * n, "seconds": 10.0,
                 "tokens": 30_000, "watts": 0.012 + n * 1e-4} for n in (1, 2, 3)],
    "meter": {"type": "ina226", "accuracy": "1 % of the reading"}, "boundary": "fpga_core",
    "provenance": "measured", "warnings": ["the windows were short"]}


def passing(runs: list[LastRun]) -> Pass:
    """A pass whose first tokens took a fifth of each query, and the processor half of the time."""
    return Pass(runs, [replace(run, host_seconds=run.host_seconds / 5) for run in runs],
                sum(run.host_seconds for run in runs) / 2)


def no_progress(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="session")
def model() -> Model:
    return MODEL


@pytest.fixture(scope="session")
def release() -> dict[str, Any]:
    """The build that ran."""
    return RELEASE


@pytest.fixture(scope="session")
def measurement() -> dict[str, Any]:
    """What a meter found."""
    return MEASUREMENT


@pytest.fixture(scope="session")
def workload() -> Workload:
    return WORKLOAD


@pytest.fixture(scope="session")
def reference() -> list[LastRun]:
    """Runs of the integer reference."""
    return run_once(LocalSystem(open_baseline("numpy", MODEL), MODEL), WORKLOAD, no_progress)


@pytest.fixture(scope="session")
def runs(reference: list[LastRun]) -> list[LastRun]:
    """The same as from a chip, with counters."""
    words = WORKLOAD.tokens * MODEL.config.weight_words(DEVICE.packing)
    return [replace(run, cycles=CYCLES, prompt_cycles=PROMPT_CYCLES, words=words)
            for run in reference]


@pytest.fixture(scope="session")
def expected(reference: list[LastRun]) -> Expected:
    return Expected(tuple(run.token_ids for run in reference))


@pytest.fixture(scope="session")
def report_of() -> Callable[..., dict[str, Any]]:
    """Makes the report of all queries; data of the run may be replaced."""
    def report_of(runs: list[LastRun], **changes: Any) -> dict[str, Any]:
        about = {"target": "netlist:icebreaker", "clock_hz": 30e6, "build_id": 77,
                 "design_sha256": "d" * 64, "netlist_sha256": "e" * 64, **changes}
        return build_report(Run(model=MODEL, generation=merge(runs), **about),
                            {"icebreaker": RELEASE})

    return report_of


@pytest.fixture(scope="session")
def report(runs: list[LastRun], report_of: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Report of the netlist of the release."""
    return report_of(runs)


@pytest.fixture(scope="session")
def describe(report: dict[str, Any], runs: list[LastRun], expected: Expected,
             ) -> Callable[..., dict[str, Any]]:
    """Describes the device; arguments of ``device_system`` may be replaced."""
    def describe(**changes: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "report": report, "runs": runs, "expected": expected, "release": RELEASE,
            "weights": MODEL.config.ternary_weights_per_token, "image_bytes": 4321,
            "clocks_hz": (), "measurement": None, "carbon": None, **changes}
        return device_system(arguments.pop("report"), arguments.pop("runs"),
                             arguments.pop("expected"), **arguments)

    return describe


@pytest.fixture(scope="session")
def describe_local(report: dict[str, Any], reference: list[LastRun], expected: Expected,
                   ) -> Callable[..., dict[str, Any]]:
    """Describes a baseline; arguments of ``local_system`` may be replaced."""
    def describe(**changes: Any) -> dict[str, Any]:
        quality = {name: report["figures"][name] for name in ("bits_per_byte", "nats_per_char")}
        arguments: dict[str, Any] = {
            "info": open_baseline("numpy", MODEL).info, "passes": [reference] * 3,
            "weights": MODEL.config.ternary_weights_per_token, "expected": expected,
            "quality": quality, "power": None, "measurement": None, "carbon": None,
            "no_energy": "there is no counter", **changes}
        arguments["passes"] = [passing(runs) for runs in arguments["passes"]]
        positional = [arguments.pop(name) for name in ("info", "passes", "expected", "quality")]
        return local_system(*positional, **arguments)

    return describe


@pytest.fixture(scope="session")
def document_of(model: Model, workload: Workload, reference: list[LastRun],
                ) -> Callable[..., Document]:
    """A document of some systems."""
    def document_of(*systems: dict[str, Any], carbon: Carbon | None = None) -> Document:
        return build_document(
            systems, model=model, workload=workload, reference=reference,
            quality=model.provenance["quality"], protocol=Protocol(), carbon=carbon,
            rivals=load_field())

    return document_of


@pytest.fixture(scope="session")
def documents(describe: Callable[..., dict[str, Any]],
              describe_local: Callable[..., dict[str, Any]],
              document_of: Callable[..., Document], report: dict[str, Any]) -> dict[str, Document]:
    """Documents of all kinds."""
    carbon = Carbon(300.0, "the grid's operator")
    stated = AssumedPower(9.0, "data sheet")
    unknown = {**report, "release": None, "power": None, "figures": {
        name: {**figure, "value": None, "provenance": None, "boundary": None, "interval": None,
               "reason": "unknown"}
        if "joule" in name or "power" in name else figure
        for name, figure in report["figures"].items()}}
    return {
        "modelled": document_of(describe(clocks_hz=(12e6, 30e6, 60e6), carbon=carbon),
                                carbon=carbon),
        "measured": document_of(describe(measurement=MEASUREMENT)),
        "baselines": document_of(describe(), describe_local(power=stated),
                                 describe_local(),
                                 describe_local(measurement={**MEASUREMENT, "boundary": "host"})),
        "no energy": document_of(describe(report=unknown, release=None)),
    }
