"""Runs the cocotb benches of ``sim/``; docs/verification.md says what each compares."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from trilight.boards.icebreaker import Icebreaker
from trilight.hw.flow.build import Hdl, elaborate, synthesise
from trilight.sim.bench import chip as bench_chip
from trilight.sim.bench import coverage
from trilight.sim.bench.build import (
    BenchDesign,
    Simulator,
    board_design,
    component_design,
    installed,
    run_bench,
)
from trilight.sim.bench.components import COMPONENTS, IMPORTED
from trilight.sw.errors import SimulationError
from trilight.sw.report.summary import write_section

# The first compilation of all makes the compiler's own library, which takes minutes.
pytestmark = pytest.mark.timeout(900)

STAGES: dict[str, Callable[[Icebreaker], Hdl]] = {"rtl": elaborate, "netlist": synthesise}


@pytest.fixture
def usable_simulator(simulator: Simulator) -> Simulator:
    if not installed(simulator):
        pytest.skip(f"{simulator} is not installed")
    return simulator


Run = Callable[..., None]


@pytest.fixture(scope="module")
def bins() -> dict[str, list[Path]]:
    """Files of the bins that were hit, by bench, of the benches that have run."""
    return {}


@pytest.fixture
def run(usable_simulator: Simulator, seed: int, waves: Path | None, failure_waves: Path | None,
        tmp_path: Path, bins: dict[str, list[Path]]) -> Run:
    """Runs a bench; one that fails is run again with waveforms, if these are asked for."""
    def run_named(design: BenchDesign, name: str, **variables: str) -> None:
        noted = tmp_path / "coverage.txt"

        def once(waves: Path | None) -> None:
            run_bench(design, f"trilight.sim.bench.{name}", tmp_path, simulator=usable_simulator,
                      seed=seed, waves=waves,
                      environment={**variables, coverage.VARIABLE: str(noted)})

        try:
            once(waves)
        except SimulationError:
            if waves is None and failure_waves is not None:
                with contextlib.suppress(SimulationError):
                    once(failure_waves)
            raise
        bins.setdefault(name, []).append(noted)
    return run_named


@pytest.mark.parametrize("name", [*COMPONENTS, *IMPORTED])
def test_component(name: str, run: Run) -> None:
    run(component_design({**COMPONENTS, **IMPORTED}[name]()), name)


@pytest.mark.parametrize("stage", STAGES)
def test_chip(stage: str, run: Run, simulator: Simulator) -> None:
    if simulator == "icarus":
        pytest.skip("icarus does not know all of what the models of a board's cells use")
    hdl = STAGES[stage](bench_chip.BOARD)
    run(board_design(hdl), "chip", **{bench_chip.BUILD_ID: str(hdl.build_id)})


def test_functional_coverage(bins: dict[str, list[Path]], root: Path, seed: int) -> None:
    """The benches that have run, all together, have hit every bin of theirs."""
    if not bins:
        pytest.skip("no bench has run before")
    found = coverage.hits(file for files in bins.values() for file in files)
    hit, total = coverage.write_coverage(found, bins, root / "build" / "coverage.json")
    write_section("coverage", "Functional coverage of the benches", [
        ("benches", ", ".join(bins), ""), ("bins hit", hit, f"of {total}")],
        seed=seed, command='make test ARGS="tests/sim/bench/test_benches.py"',
        folder=root / "build" / "ci")
    assert not coverage.missing(found, bins)


def test_coverage_points_are_of_benches() -> None:
    assert {point.split(".")[0] for point in coverage.POINTS} == {*COMPONENTS, *IMPORTED, "chip"}


def test_missing_bins_are_named(tmp_path: Path) -> None:
    noted = tmp_path / "coverage.txt"
    noted.write_text("norm.scale\tleast\nnorm.quotient\tdivided\n")
    found = coverage.hits([noted, tmp_path / "nothing.txt"])
    assert coverage.missing(found, ["norm"]) == [
        "norm.scale: greatest", "norm.sum: 0", "norm.sum: greatest", "norm.sum: least",
        "norm.quotient: passed on", "norm.quotient: saturated"]
    assert coverage.write_coverage(found, ["norm"], tmp_path / "coverage.json") == (2, 8)


def test_bins_have_to_be_declared() -> None:
    with pytest.raises(AssertionError, match="no bin 'sideways'"):
        coverage.cover("norm.scale", "sideways")
