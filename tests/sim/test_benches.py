"""Runs the cocotb benches of ``sim/``; docs/verification.md says what each compares."""

from collections.abc import Callable
from pathlib import Path

import pytest
from amaranth.lib import wiring

from trilight.boards.icebreaker import Icebreaker
from trilight.hw.config import UP5K
from trilight.hw.core import Core
from trilight.hw.engine import Engine
from trilight.hw.flow.build import Hdl, elaborate, synthesise
from trilight.hw.link import Link
from trilight.hw.sampler import Sampler
from trilight.hw.vector import VectorUnit
from trilight.hw.vector.norm import EffectiveScale
from trilight.sim import bench_chip, bench_link
from trilight.sim.cocotb_build import (
    Simulator,
    board_design,
    component_design,
    installed,
    run_bench,
)

# The first compilation of all makes the compiler's own library, which takes minutes.
pytestmark = pytest.mark.timeout(900)

COMPONENTS: dict[str, Callable[[], wiring.Component]] = {
    "engine": lambda: Engine(device=UP5K),
    "vector": lambda: VectorUnit(device=UP5K),
    "norm": EffectiveScale,
    "sampler": lambda: Sampler(device=UP5K),
    "link": lambda: Link(device=UP5K, clock_hz=bench_link.CLOCK_HZ,
                         clocks_per_bit=bench_link.CLOCKS_PER_BIT, build_id=bench_link.BUILD_ID),
    "core": lambda: Core(device=UP5K),
}
STAGES: dict[str, Callable[[Icebreaker], Hdl]] = {"rtl": elaborate, "netlist": synthesise}


@pytest.fixture
def usable_simulator(simulator: Simulator) -> Simulator:
    if not installed(simulator):
        pytest.skip(f"{simulator} is not installed")
    return simulator


@pytest.mark.parametrize("name", COMPONENTS)
def test_component(name: str, usable_simulator: Simulator, seed: int, waves: Path | None,
                   tmp_path: Path) -> None:
    run_bench(component_design(COMPONENTS[name]()), f"trilight.sim.bench_{name}", tmp_path,
              simulator=usable_simulator, seed=seed, waves=waves)


@pytest.mark.parametrize("stage", STAGES)
def test_chip(stage: str, usable_simulator: Simulator, seed: int, waves: Path | None,
              tmp_path: Path) -> None:
    if usable_simulator == "icarus":
        pytest.skip("icarus does not know all of what the models of a board's cells use")
    hdl = STAGES[stage](bench_chip.BOARD)
    run_bench(board_design(hdl), "trilight.sim.bench_chip", tmp_path, simulator=usable_simulator,
              seed=seed, waves=waves, environment={bench_chip.BUILD_ID: str(hdl.build_id)})
