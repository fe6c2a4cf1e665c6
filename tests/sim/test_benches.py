"""Runs the cocotb benches of ``sim/``; docs/verification.md says what each compares."""

from pathlib import Path

import pytest
from amaranth.lib import wiring

from trilight.hw.config import UP5K
from trilight.hw.core import Core
from trilight.hw.engine import Engine
from trilight.hw.sampler import Sampler
from trilight.hw.vector import VectorUnit
from trilight.sim.cocotb_build import Simulator, component_design, installed, run_bench

COMPONENTS: dict[str, wiring.Component] = {
    "engine": Engine(device=UP5K),
    "vector": VectorUnit(device=UP5K),
    "sampler": Sampler(device=UP5K),
    "core": Core(device=UP5K),
}


@pytest.fixture
def simulator_found(simulator: Simulator) -> Simulator:
    if not installed(simulator):
        pytest.skip(f"{simulator} is not installed (apt-get install iverilog)")
    return simulator


@pytest.mark.parametrize("name", COMPONENTS)
def test_component(name: str, simulator_found: Simulator, seed: int, waves: Path | None,
                   tmp_path: Path) -> None:
    run_bench(component_design(COMPONENTS[name]), f"trilight.sim.bench_{name}", tmp_path,
              simulator=simulator_found, seed=seed, waves=waves)
