"""Many chips in one simulation: cells as Verilator has them, lanes that share nothing, the chip.

What is compared by ``==`` with one chip, simulated by Verilator, is every trace in every cycle.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from trilight.boards.icebreaker import Icebreaker
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import Hdl, synthesise
from trilight.hw.support.boards import board_device
from trilight.sim.native.bench import Bench
from trilight.sim.native.compile import RECIPE, NativeBench
from trilight.sim.native.speed import TOGETHER, compare
from trilight.sim.sliced.chips import LANES, Chips
from trilight.sim.sliced.circuit import read_circuit
from trilight.sim.verify.soak_campaign import SoakCampaign, soak_together
from trilight.sim.verify.soak_session import Session, SoakOutcome
from trilight.sw.errors import SimulationError
from trilight.sw.model.model import Model

CYCLES = 4000
DEVICE = board_device()
MODES = range(4)


def cells_design(rng: np.random.Generator) -> str:
    """Every memory cell in every mode, a multiplier and flip-flops, on bits drawn in the design.

    The receive pin is among what they are drawn from, so that chips which are sent other bytes do
    other things.
    """
    taps = rng.permutation(96)
    body = [
        "  wire line;",
        """  SB_IO #(.PIN_TYPE(6'b000001)) rx_pin(.PACKAGE_PIN(rx), .LATCH_INPUT_VALUE(1'b0),
    .CLOCK_ENABLE(1'b1), .INPUT_CLK(clk), .OUTPUT_CLK(clk), .OUTPUT_ENABLE(1'b0), .D_OUT_0(1'b0),
    .D_OUT_1(1'b0), .D_IN_0(line));""",
        "  assign tx = 1'b1;", "  assign trace_running = 1'b1;",
        "  reg [95:0] s = 1;",
        "  always @(posedge clk) s <= {s[94:0], s[95] ^ s[93] ^ s[48] ^ s[46] ^ ~line};"]
    shown: dict[str, int] = {}

    def random(bits: int) -> str:
        return "{" + ", ".join(f"s[{taps[k]}] ^ s[{taps[-1 - k]}]"
                               for k in rng.integers(96, size=bits)) + "}"

    def show(name: str, width: int, value: str) -> None:
        shown[name] = width
        body.append(f"  assign trace_{name} = {value};")

    # Few rows, so that what was written is read again.
    few = f"{{{random(3)}, 6'd0, {random(2)}}}"
    for read in MODES:
        for write in MODES:
            name = f"ram{read}{write}"
            start = "".join(f"{value:04x}" for value in rng.integers(1 << 16, size=16))
            body.append(
                f"  wire [15:0] {name};\n  SB_RAM40_4K #(.READ_MODE({read}), .WRITE_MODE({write}),"
                f" .INIT_0(256'h{start})) c_{name}(.RDATA({name}), .RCLK(clk), .WCLK(clk),"
                f" .RCLKE({random(1)} | {random(1)}), .RE(1'b1), .RADDR({few}), .WCLKE(1'b1),"
                f" .WE({random(1)}), .WADDR({few}), .MASK({random(16)}), .WDATA({random(16)}));")
            show(name, 16, name)
    body.append(
        "  wire [15:0] big;\n  SB_SPRAM256KA c_big(.ADDRESS({11'd0, " + random(3) + "}), .DATAIN("
        + random(16) + "), .MASKWREN(" + random(4) + "), .WREN(" + random(1) + "), .CHIPSELECT("
        + f"{random(1)} | {random(1)}), .CLOCK(clk), .STANDBY(1'b0), .SLEEP(1'b0), "
        ".POWEROFF(1'b1), .DATAOUT(big));")
    show("big", 16, "big")
    body.append(
        "  wire [31:0] product;\n  SB_MAC16 #(.TOPOUTPUT_SELECT(2'd3), .BOTOUTPUT_SELECT(2'd3),"
        " .A_SIGNED(1'b1), .B_SIGNED(1'b1), .A_REG(1'b1)) c_product(.CLK(clk), .CE(1'b1), .A("
        + random(16) + "), .B(" + random(16) + "), .C(16'd0), .D(16'd0), "
        + ", ".join(f".{pin}(1'b0)" for pin in (
            "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT",
            "OLOADTOP", "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI",
            "ACCUMCI", "SIGNEXTIN")) + ", .O(product));")
    show("product", 32, "product")
    body.append(f"  wire sum;\n  SB_LUT4 #(.LUT_INIT({int(rng.integers(1 << 16))})) c_sum(.O(sum), "
                + ", ".join(f".I{k}({random(1)})" for k in range(4)) + ");")
    body.append(f"  wire kept;\n  SB_DFFESR c_kept(.Q(kept), .C(clk), .E({random(1)}), "
                f".R({random(1)}), .D(sum));")
    show("kept", 1, "kept")
    body += [f"  assign trace_{name}_valid = 1'b1;" for name in shown]
    # As in Yosys' output, each port is declared again, which is where traces are looked for.
    declared = [line for name, width in shown.items() for line in (
        f"  output [{width - 1}:0] trace_{name};", f"  output trace_{name}_valid;")]
    names = [name for trace in shown for name in (f"trace_{trace}", f"trace_{trace}_valid")]
    lines = [f"module top(clk, rx, tx, trace_running, {', '.join(names)});", "  input clk;",
             "  inout rx;", "  output tx;", "  output trace_running;", *declared]
    return "\n".join([*lines, *body, "endmodule", ""])


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Hdl:
    verilog = tmp_path_factory.mktemp("sliced") / "design.v"
    verilog.write_text(cells_design(np.random.default_rng(seed)))
    board = SimpleNamespace(name="mixture", top="top", clock_pin="clk", rx_pin="rx", tx_pin="tx",
                            clocks_per_bit=4, clock_hz=48e6, toolchain=Icebreaker().toolchain)
    return Hdl(kind="netlist", board=cast(Any, board), verilog=verilog, sha256="",
               design_sha256="", build_id=0)


def watched(bench: Bench, data: bytes) -> dict[str, list[list[int]]]:
    """All traces of some thousand cycles, in which ``data`` is sent."""
    names = [trace.short for trace in bench.traces if f"{trace.short}_valid" in
             {other.short for other in bench.traces}]
    # Lanes run whole bytes' times.
    bench.run(-bench.cycles % (10 * bench.clocks_per_bit))
    recorders = {name: bench.record(name) for name in names}
    bench.write(data)
    bench.run(CYCLES)
    taken = {name: bench.take(recorder) for name, recorder in recorders.items()}
    bench.close()
    return {name: [cycles.tolist(), values.tolist()] for name, (cycles, values) in taken.items()}


def test_each_lane_is_a_chip_of_its_own(cells: Hdl, rng: np.random.Generator) -> None:
    """Cells in all modes: lanes that do alike and lanes that do not are what one chip is."""
    sent = {0: b"", 1: b"", 5: rng.bytes(40), LANES - 1: rng.bytes(90)}
    chips = Chips(cells)
    with ThreadPoolExecutor(len(sent)) as pool:
        found = dict(zip(sent, pool.map(
            lambda number: watched(chips.lane(number), sent[number]), sent), strict=True))
    chips.close()
    for number, data in sent.items():
        assert found[number] == watched(NativeBench(cells), data), number


@pytest.fixture(scope="module")
def netlist() -> Hdl:
    return synthesise(Icebreaker())


@pytest.fixture
def chips(netlist: Hdl) -> Iterator[Chips]:
    chips = Chips(netlist)
    yield chips
    chips.close()


def session_of(bench: Bench, seed: int) -> tuple[int, int]:
    """A model of this seed on a chip, compared with the reference; its cycles and tokens."""
    rng = np.random.default_rng(seed)
    config = ModelConfig(vocab_size=int(rng.integers(16, 40)), d_model=int(rng.integers(16, 24)),
                         n_layers=1, d_hidden=int(rng.integers(16, 40)))
    outcome = SoakOutcome(number=seed, config=config.to_dict(), corner_case=False)
    session = Session(bench, DEVICE, Model.random(config, seed), rng, outcome)
    try:
        for together in (False, True):
            session.run(together=together, longest=6)
        session.compare_tapes()
    finally:
        session.close()
    return outcome.cycles, outcome.tokens


def test_chips_with_other_models_equal_the_reference(chips: Chips, seed: int) -> None:
    """And what a chip does takes the same cycles, whatever runs beside it."""
    numbers = [0, 1, 2, 62, 63]
    with ThreadPoolExecutor(len(numbers)) as pool:
        together = list(pool.map(lambda number: session_of(chips.lane(number), seed + number),
                                 numbers))
    assert all(tokens for _, tokens in together)
    assert session_of(chips.lane(7), seed + numbers[0]) == together[0]


def test_a_fault_in_one_lane_stays_there(chips: Chips, seed: int) -> None:
    """An upset weight is noticed in its own lane, by the comparison, and in no other."""
    def work(number: int) -> str:
        bench = chips.lane(number)
        try:
            if number == 3:
                # The model is loaded over it, but for the rows that it does not take.
                class Struck(type(bench)):  # type: ignore[misc]  # of whatever it is
                    def run(self, *arguments: Any, **named: Any) -> int:
                        for memory in self.memories:
                            if "weights" in memory:
                                self.upset(memory, 0, 0xffff)
                        return int(super().run(*arguments, **named))

                bench.__class__ = Struck
            session_of(bench, seed)
        except SimulationError as error:
            return str(error)
        return ""

    numbers = [2, 3, 4]
    with ThreadPoolExecutor(len(numbers)) as pool:
        said = dict(zip(numbers, pool.map(work, numbers), strict=True))
    assert said[3]
    assert not said[2]
    assert not said[4]


def test_campaign_of_several_chips(netlist: Hdl, tmp_path: Path,
                                   monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Models are given out once each, and an interrupted campaign takes those that are missing."""
    where = "trilight.sim.verify.soak_session.draw_config"
    monkeypatch.setattr(where, lambda rng, _device: ModelConfig(
        vocab_size=17, d_model=16, n_layers=1, d_hidden=int(rng.integers(16, 20))))
    path = tmp_path / "soak.jsonl"
    heard: list[int] = []
    soak_together(Chips(netlist), SoakCampaign(path, netlist, seed), 120, 3, heard.append)
    campaign = SoakCampaign(path, netlist, seed)
    assert sorted(outcome.number for outcome in campaign.outcomes) == [0, 1, 2]
    assert heard[-1] == campaign.tokens >= 120
    assert campaign.next_number() == 3


def test_difference_ends_the_campaign(netlist: Hdl, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    def broken(make: Any, _device: Any, seed: int, number: int, maximum: int) -> SoakOutcome:
        bench = make()
        bench.run(5000 if number else 100)
        bench.close()
        raise SimulationError(f"model {number} differs")

    monkeypatch.setattr("trilight.sim.verify.soak_campaign.run_model", broken)
    with pytest.raises(SimulationError, match="model 0 differs"):
        soak_together(Chips(netlist), SoakCampaign(tmp_path / "soak.jsonl", netlist, seed), 500, 3,
                      lambda _tokens: None)


def test_speed_is_that_of_chips_that_send_the_same(netlist: Hdl) -> None:
    speeds = compare(netlist, {"one chip": RECIPE} | TOGETHER, cycles=4000, rounds=1,
                     progress=lambda _text: None)
    assert list(speeds) == ["one chip", *TOGETHER]
    assert all(found > 0 for [found] in speeds.values())


def test_what_has_no_model_is_named(cells: Hdl) -> None:
    with pytest.raises(SimulationError, match="run as a netlist, not as rtl"):
        read_circuit(Hdl(kind="rtl", board=cells.board, verilog=cells.verilog, sha256="",
                         design_sha256="", build_id=0))


def test_lane_in_use_is_refused(chips: Chips) -> None:
    bench = chips.lane(1)
    for number in (1, LANES, -1):
        with pytest.raises(SimulationError, match="a lane is a number from 0 to 63"):
            chips.lane(number)
    bench.close()
    chips.lane(1).close()
    with pytest.raises(SimulationError, match="no period; give one chip"):
        chips.lane(2).set_bit_length(4.5)
