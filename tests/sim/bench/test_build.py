"""A bench that fails, or that tests nothing, must not pass."""

from dataclasses import replace
from pathlib import Path

import pytest

from trilight.hw.sampler import Sampler
from trilight.hw.support.boards import board_device
from trilight.sim.bench import build as bench_build
from trilight.sim.bench.build import BenchDesign, component_design, run_bench
from trilight.sw.errors import SimulationError

DEVICE = board_device()

pytestmark = pytest.mark.timeout(900)  # may be the first compilation

PASSES = """
import cocotb

@cocotb.test()
async def passes(dut):
    dut.logits__draw.value = 1
"""

FAILS = PASSES + """
@cocotb.test()
async def fails(dut):
    assert len(dut.sampling__token) == 0
"""

BREAKS = PASSES + "raise ImportError"


@pytest.fixture(scope="module")
def design() -> BenchDesign:
    return component_design(Sampler(device=DEVICE))


def run(design: BenchDesign, source: str, name: str, folder: Path, seed: int,
        monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    run_bench(design, name, folder, seed=seed)


def test_design_has_its_ports(design: BenchDesign) -> None:
    ports = {"clk", "rst", "write_gumbel__en", "logits__logits__payload", "done"}
    assert ports <= set(design.ports)


def test_bench_passes(design: BenchDesign, tmp_path: Path, seed: int,
                      monkeypatch: pytest.MonkeyPatch) -> None:
    run(design, PASSES, "bench_that_passes", tmp_path, seed, monkeypatch)


@pytest.mark.parametrize(("name", "source", "message"), [
    ("bench_that_fails", FAILS, r"^bench_that_fails on verilator failed: fails; its output "),
    ("bench_that_breaks", BREAKS, r"^bench_that_breaks on verilator failed"),
    ("bench_without_tests", "", r"^bench_without_tests on verilator"),
])
def test_bench_does_not_pass(
    name: str,
    source: str,
    message: str,
    design: BenchDesign,
    tmp_path: Path,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SimulationError, match=message):
        run(design, source, name, tmp_path, seed, monkeypatch)


@pytest.mark.parametrize("changed", ["cells", "tools", "flags", "design"])
def test_key_of_a_compiled_bench_depends_on_all_that_goes_in(
        changed: str, design: BenchDesign, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was compiled with another model of the cells, tool or flag is not taken for this."""
    keys: list[str] = []

    def keep(_: str, key: str, __: object, **___: object) -> Path:
        keys.append(key)
        return Path()

    monkeypatch.setattr(bench_build, "cached", keep)
    bench_build._verilate(design, False)
    if changed == "cells":
        cells = bench_build._cells()
        monkeypatch.setattr(bench_build, "_cells", lambda: cells + "\n// another model\n")
    elif changed == "tools":
        monkeypatch.setattr(bench_build, "_tools", lambda: "Verilator of tomorrow")
    elif changed == "flags":
        monkeypatch.setattr(bench_build, "VERILATOR_FLAGS", (*bench_build.VERILATOR_FLAGS, "-O0"))
    else:
        design = replace(design, verilog=design.verilog + "\n")
    bench_build._verilate(design, False)
    bench_build._verilate(design, False)
    assert keys[1] == keys[2] != keys[0]
