"""Memories and products beside the blocks that they were mapped to, on random inputs."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trilight.hw.flow.build import COLLISIONS, BoardDesign, Hdl, run_yosys
from trilight.sim.native.compile import NativeBench

from .pairs import Pairs

__all__ = ["FACTORS", "MEMORIES", "Shape", "block_modes", "blocks", "differences",
           "map_blocks", "mapped_shapes"]

CYCLES = 20_000


@dataclass(frozen=True)
class Shape:
    """A memory with a port to write and one to read."""

    depth: int
    width: int
    byte: int
    """Bits that can be written alone."""
    single: bool = False
    """Both ports have one address, and the memory is read or written."""
    always: bool = False
    """It is read in every cycle; what a cycle that writes reads is not used."""


MEMORIES = {
    "memory_1": Shape(16384, 1, 1),
    "memory_2": Shape(8192, 2, 2),
    "memory_4": Shape(4096, 4, 4),
    "memory_9": Shape(2048, 9, 9),
    "memory_18": Shape(1024, 18, 18),
    "memory_18_bytes": Shape(1024, 18, 9),
    "memory_36": Shape(512, 36, 36),
    "memory_36_bytes": Shape(512, 36, 9),
    "memory_64_bytes": Shape(300, 64, 8),
    "single_1": Shape(16384, 1, 1, single=True),
    "single_2": Shape(8192, 2, 2, single=True),
    "single_4": Shape(4096, 4, 4, single=True),
    "single_9": Shape(2048, 9, 9, single=True),
    "single_16": Shape(4096, 16, 16, single=True),
    "single_16_deep": Shape(6144, 16, 16, single=True),
    "single_18": Shape(1024, 18, 18, single=True),
    "single_36": Shape(512, 36, 36, single=True),
    "always_1": Shape(16384, 1, 1, single=True, always=True),
}

FACTORS = {"product_16_12": (16, 12), "product_18_18": (18, 18), "product_9_7": (9, 7)}
"""Bits of the factors, each as signed and as unsigned numbers."""

SIGNS = ("uu", "ss", "su", "us")



def mapped_shapes(board: BoardDesign) -> dict[str, Shape]:
    """Memories of ``MEMORIES`` that chips of a board's family may have."""
    return {name: shape for name, shape in MEMORIES.items()
            if not shape.always or board.device_config.late_block_ram}


MAP = f"""
design -push-copy
hierarchy -top {{name}}
proc
opt -mux_undef
memory_dff
{COLLISIONS}
{{synthesis}}
write_json {{name}}.json
write_verilog -noattr {{name}}.v
design -pop
"""


def _memory(name: str, shape: Shape, rng: np.random.Generator) -> str:
    """Verilog of a memory, with contents."""
    byte = shape.byte
    writes = "\n".join(
        f"    if (enable[{k}]) rows[to][{k * byte} +: {byte}] <= data[{k * byte} +: {byte}];"
        for k in range(shape.width // byte))
    start = "\n".join(
        f"    rows[{row}] = {shape.width}'h{int.from_bytes(rng.bytes(9)) % 2**shape.width:x};"
        for row in range(16))
    when = "" if shape.always else "if (read) "
    return f"""
module {name} (input clk, input [13:0] to, from, input [{shape.width // byte - 1}:0] enable,
               input write, read, input [{shape.width - 1}:0] data,
               output reg [{shape.width - 1}:0] got);
  reg [{shape.width - 1}:0] rows [0:{shape.depth - 1}];
  initial begin
{start}
  end
  always @(posedge clk) if (write) begin
{writes}
  end
  initial got = 0;
  always @(posedge clk) {when}got <= rows[{"to" if shape.single else "from"}];
endmodule
"""


def _product(name: str, a: int, b: int) -> str:
    """Verilog of a multiplication of every kind of sign."""
    signed = {"s": "$signed", "u": ""}
    kinds = "".join(
        f"  wire signed [{a}:0] a_{kind} = {signed[kind[0]]}(a);\n"
        f"  wire signed [{b}:0] b_{kind} = {signed[kind[1]]}(b);\n"
        f"  assign p_{kind} = a_{kind} * b_{kind};\n" for kind in SIGNS)
    outputs = ", ".join(f"output [{a + b - 1}:0] p_{kind}" for kind in SIGNS)
    return (f"module {name} (input [{a - 1}:0] a, input [{b - 1}:0] b, {outputs});\n"
            f"{kinds}endmodule\n")


def block_modes(cells: dict[str, Any], types: Collection[str]) -> set[str]:
    """Return what distinguishes uses of blocks of these types, without their contents."""
    def text(value: str) -> str:
        return str(int(value, 2)) if set(value) <= {"0", "1"} else value

    return {f"{cell['type']} " + " ".join(
        f"{name}={text(value)}" for name, value in sorted(cell["parameters"].items())
        if not name.startswith("INIT")) for cell in cells.values() if cell["type"] in types}


def map_blocks(board: BoardDesign, types: Collection[str], folder: Path,
               rng: np.random.Generator) -> tuple[str, dict[str, set[str]]]:
    """Return every module as cells of a board's part, and as RTL under another name; and in which
    modes each uses blocks of ``types``."""
    rtl = {name: _memory(name, shape, rng) for name, shape in mapped_shapes(board).items()}
    rtl |= {name: _product(name, *bits) for name, bits in FACTORS.items()}
    script = "read_verilog rtl.v\n" + "".join(
        MAP.format(name=name, synthesis=board.toolchain.synthesis(name)) for name in rtl)
    run_yosys(script, folder, f"cells-{board.toolchain.name}",
              inputs={"rtl.v": "".join(rtl.values())}, what="mapping memories and products")
    modes = {name: block_modes(json.loads(
        (folder / f"{name}.json").read_text())["modules"][name]["cells"], types) for name in rtl}
    original = re.sub(r"^module (\w+)", r"module rtl_\1", "\n".join(rtl.values()),
                      flags=re.MULTILINE)
    return "".join((folder / f"{name}.v").read_text() for name in rtl) + original, modes


def blocks(pairs: Pairs, board: BoardDesign) -> None:
    """Place every module that was mapped beside its RTL."""
    for name, shape in mapped_shapes(board).items():
        # A few addresses only, so that what has been written is read; the upper ones too.
        top = f"14'd{shape.depth - 16 & ~15}"
        places = {port: f"({{14{{{pairs.random(1)}}}}} & {top}) | 14'({pairs.random(4)})"
                  for port in ("to", "from")}
        to, source = (f"{port}_{name}" for port in places)
        pairs.lines += [f"wire [13:0] {to} = {places['to']};",
                        f"wire [13:0] {source} = {places['from']};",
                        f"wire write_{name} = {pairs.random(1)};",
                        # What is written in the cycle in which it is read is left undefined.
                        f"wire meet_{name} = write_{name} & "
                        + ("1'b1;" if shape.single else f"{to} == {source};"),
                        f"wire read_{name} = {pairs.random(1)} & ~meet_{name};"]
        when = "1"
        if shape.single:
            # Yosys lets blocks of a deep memory read while another of them is written, so what is
            # read is there for a cycle; the chip takes it then.
            when = f"fresh_{name}"
            pairs.lines += [f"reg {when} = 0;",
                            f"always @(posedge clk) {when} <= read_{name};"]
        data = ", ".join(pairs.random(min(16, shape.width - k))
                         for k in range(0, shape.width, 16))
        pairs.pair(name, {}, {
            "clk": "clk", "to": to, "from": source, "write": f"write_{name}",
            "read": f"read_{name}", "enable": pairs.random(shape.width // shape.byte),
            "data": f"{{{data}}}",
        }, {"got": shape.width}, when=when)
    for name, (a, b) in FACTORS.items():
        pairs.pair(name, {}, {"a": pairs.random(a), "b": pairs.random(b)},
                   {f"p_{kind}": a + b for kind in SIGNS})


def differences(pairs: Pairs, board: BoardDesign, modules: str, folder: Path) -> dict[str, int]:
    """Cycles with a difference, by cell."""
    verilog = folder / "design.v"
    verilog.write_text(pairs.verilog(board, modules))
    bench = NativeBench(Hdl(kind="rtl", board=board, verilog=verilog, sha256="",
                            design_sha256="", build_id=0))
    bench.run(CYCLES)
    values = bench.values()
    bench.close()
    assert values["cycle"] == bench.RESET_CYCLES + CYCLES
    return values
