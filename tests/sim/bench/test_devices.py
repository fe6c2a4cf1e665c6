"""Core and vector unit of a table of devices, with tiny models: to the last bit, to the cycle."""

from pathlib import Path

import pytest

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.core import Core
from trilight.hw.vector.unit import VectorUnit
from trilight.sim.bench.build import component_design, run_bench
from trilight.sim.bench.device import device_environment

# The first compilation of all makes the compiler's own library, which takes minutes.
pytestmark = pytest.mark.timeout(900)

MEMORY = WeightMemory.BLOCK_RAM

DEVICES = [
    Device(name="2 lanes of 3 trits, 1 sequence", lanes=2, trits=3, sequences=1,
           weight_words=1 << 13, weight_memory=MEMORY),
    Device(name="4 lanes, 4 sequences", lanes=4, sequences=4, weight_words=1 << 13,
           weight_memory=MEMORY),
    Device(name="12 lanes, 4 sequences, 1,024 columns, 4,096 tokens", lanes=12, sequences=4,
           max_columns=1024, max_rows=4096, max_vocab=4096, program_words=8192,
           weight_words=1 << 13, weight_memory=MEMORY, late_block_ram=True),
    Device(name="24 lanes of 3 trits, tiles", lanes=24, trits=3, max_rows=1024, tile_rows=128,
           max_vocab=128, weight_words=1 << 13, weight_memory=MEMORY),
    Device(name="64 lanes, 1 sequence", lanes=64, sequences=1, max_columns=1024,
           weight_words=1 << 13, weight_memory=MEMORY),
]


VECTORS = [DEVICES[0], DEVICES[2]]
"""The vector unit has sequences, columns and tokens, and knows of no lanes."""


@pytest.mark.parametrize("device", VECTORS, ids=lambda device: device.name)
def test_vector_unit(device: Device, seed: int, tmp_path: Path) -> None:
    run_bench(component_design(VectorUnit(device=device)), "trilight.sim.bench.vector", tmp_path,
              seed=seed, environment=device_environment(device), tests="follows|edges")


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_core(device: Device, seed: int, tmp_path: Path) -> None:
    """Every stage and token is the reference's; the cycles are those of the performance model."""
    run_bench(component_design(Core(device=device)), "trilight.sim.bench.core", tmp_path,
              seed=seed, environment=device_environment(device),
              tests=r"(every_stage|several_sequences)/shape=(least|edges)/is_corner_case=False")
