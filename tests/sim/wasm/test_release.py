"""The released chip as a module: that it is what it says, and when it is taken."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trilight.boards.echo import Echo
from trilight.boards.icebreaker import Icebreaker
from trilight.hw.flow.build import synthesise
from trilight.sim import board as board_module
from trilight.sim.board import VirtualBoard, netlist_target
from trilight.sim.native.compile import NativeBench
from trilight.sim.wasm import release
from trilight.sim.wasm.bench import WasmBench
from trilight.sim.wasm.compile import compile_module
from trilight.sim.wasm.library import build_info_of
from trilight.sw.api import open_board
from trilight.sw.errors import SimulationError, TargetError, WeightsChangedError
from trilight.sw.host.driver import Board
from trilight.sw.host.targets import TargetOptions
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model

BOARD = "icebreaker"


@pytest.fixture(scope="module")
def code() -> bytes:
    found = release.load_module(BOARD)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def build_info(code: bytes) -> dict[str, Any]:
    return build_info_of(code)


@pytest.fixture
def bench(code: bytes) -> Iterator[WasmBench]:
    bench = WasmBench(code)
    yield bench
    bench.close()


def test_release_states_the_module(code: bytes, build_info: dict[str, Any]) -> None:
    assert release.is_released(code, BOARD)
    stated = release.load_releases()[BOARD]
    assert {name: build_info[name] for name in ("design_sha256", "netlist_sha256", "build_id")} == {
        name: stated[name] for name in ("design_sha256", "netlist_sha256", "build_id")}
    assert build_info["clock_hz"] == stated["clock_hz"]


def test_bench_runs_and_starts_anew(bench: WasmBench) -> None:
    assert bench.cycles == bench.RESET_CYCLES
    assert bench.run(1000) == 1000
    assert bench.cycles == bench.RESET_CYCLES + 1000
    bench.restart()
    assert bench.cycles == bench.RESET_CYCLES
    bench.stop()
    assert bench.run(1000) == 0
    bench.close()
    with pytest.raises(SimulationError, match="has been closed"):
        _ = bench.cycles


def test_placing_takes_a_cycle_a_word_of_each_memory(bench: WasmBench, seed: int) -> None:
    units = np.random.default_rng(seed).integers(0, 1 << 16, 40, np.uint16)
    before = bench.cycles
    bench.place(8, units)
    assert bench.cycles - before == len(units)


def test_reads_of_the_memory_are_seen(bench: WasmBench) -> None:
    """After a reset the chip works out the CRC of its weights, eight cycles a word."""
    bench.run(8000)
    before = bench.pulses()
    bench.run(8000)
    after = bench.pulses()
    assert after["reading"] - before["reading"] == 1000
    assert after["running"] == 0


def test_released_chip_generates_what_the_reference_does(build_info: dict[str, Any]) -> None:
    if not release.is_current(build_info):
        pytest.skip("the design is another than the released one, and may speak another protocol; "
                    "trilight build icebreaker --release makes it the released one")
    texts = []
    for target, boot in (("netlist", True), ("reference", False)):
        with open_board(target, boot=boot) as device:
            if boot:
                assert (dict(device.transport.build_info)["netlist_sha256"]
                        == build_info["netlist_sha256"])
            device.load()
            texts.append("".join(map(str, device.generate("ROMEO:", tokens=6, seed=3))))
    assert texts[0] == texts[1]


def test_wrong_weights_do_not_pass_the_check(code: bytes, build_info: dict[str, Any],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    if not release.is_current(build_info):
        pytest.skip("the design is another than the released one, and may speak another protocol")
    place = VirtualBoard.place

    def damaged(self: VirtualBoard, unit: int, data: bytes) -> None:
        place(self, unit, data[:-1] + bytes((data[-1] ^ 1,)))

    monkeypatch.setattr(VirtualBoard, "place", damaged)
    with Board(VirtualBoard(WasmBench(code))) as device, pytest.raises(
            WeightsChangedError, match="have changed"):
        device.load(Model.load(default_model_path()))


@pytest.mark.parametrize("current", [True, False])
@pytest.mark.parametrize("from_source", [True, False])
def test_netlist_target_takes_the_module_of_the_same_design(
        code: bytes, monkeypatch: pytest.MonkeyPatch, current: bool, from_source: bool) -> None:
    made = []
    monkeypatch.setattr(release, "is_current", lambda _build_info: current)

    def compiled(*_: object) -> VirtualBoard:
        made.append(True)
        return VirtualBoard(WasmBench(code))

    monkeypatch.setattr(board_module, "_target", compiled)
    netlist_target(TargetOptions(from_source=from_source)).close()
    assert made == ([True] if from_source or not current else [])


def test_changed_sources_are_another_design(build_info: dict[str, Any],
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    other = {**build_info, "sources_sha256": "", "design_sha256": ""}
    assert not release.is_current(other)
    monkeypatch.setattr(release, "find_spec", lambda _name: None)
    assert not release.is_current({**build_info, "sources_sha256": ""})
    assert not release.is_current({**build_info, "sources": ["trilight.hw/none.py"]})


def test_equal_design_of_other_sources_is_the_same(build_info: dict[str, Any],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "design_sha256", lambda _board: build_info["design_sha256"])
    assert release.is_current({**build_info, "sources_sha256": ""})


def test_module_of_other_figures_is_not_taken(code: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "is_current", lambda _build_info: True)
    assert release.released_module(BOARD) == code
    monkeypatch.setattr(release, "load_releases", lambda: {BOARD: {"module_sha256": "0" * 64}})
    assert release.released_module(BOARD) is None


def test_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                               code: bytes) -> None:
    path = tmp_path / "cut.wasm.gz"

    class Point:
        def load(self) -> Any:
            return lambda: path

    monkeypatch.setattr(release, "entry_points", lambda **_: [Point()])
    assert release.load_module(BOARD) is None
    path.write_bytes(gzip.compress(code)[:1000])
    with pytest.raises(SimulationError, match=r"cut\.wasm\.gz is damaged"):
        release.load_module(BOARD)


def test_boot_is_for_simulated_designs() -> None:
    with pytest.raises(TargetError, match="a boot from flash is simulated by targets"):
        open_board("reference", boot=True)


@pytest.mark.slow
def test_module_and_native_code_are_the_same_design(seed: int) -> None:
    """A small one, as its pins and traces show it after any number of cycles."""
    netlist = synthesise(Icebreaker(chip=Echo))
    benches = [NativeBench(netlist), WasmBench(compile_module(netlist))]
    rng = np.random.default_rng(seed)
    for _ in range(20):
        data = rng.bytes(int(rng.integers(1, 20)))
        cycles = int(rng.integers(1, 2000))
        seen = []
        for bench in benches:
            bench.write(data)
            bench.run(cycles)
            seen.append((bench.cycles, bench.read(), bench.idle, {
                name: value for name, value in bench.values().items() if name != "reading"}))
        assert seen[0] == seen[1]
    for bench in benches:
        bench.close()
