"""Verilog around a design: its pins, what it shows, and what of it is reached from outside."""

import re
from collections.abc import Sequence

from trilight.hw.flow.build import Hdl
from trilight.sw.errors import SimulationError

from .bench import WORD_BITS, Trace

__all__ = ["CONTROL", "MEMORY_CELL", "MODELS", "bench_verilog", "reading_traces", "traces_of",
           "weight_memories"]

WEIGHT_CELL = re.compile(r"^  SB_SPRAM256KA (\\\S+)  \(", re.MULTILINE)
"""Cells whose rows are the weight memory, each a unit of a word."""

MEMORY_CELL = re.compile(r"^  TRILIGHT_\w+ (?:#\(.*?^  \) )?(\S+)  ?\(",
                         re.MULTILINE | re.DOTALL)
"""The model of a memory outside the chip, whose rows are the weight memory of such a design."""

MODELS = "memories.v"
"""File in ``trilight.sim.cells`` with those models."""

CONTROL = re.compile(r"^  input (?:wire )?(?P<range>\[\d+:0\]) mutant ?;$", re.MULTILINE)
"""The input of a design with mutants that chooses one; ``lock`` is the other.

See ``sim/verify/mutation/``.
"""

LAMPS = re.compile(r"^  (?:output|inout) (?:wire )?((?:busy|led\w*)_0__io) ?;$", re.MULTILINE)
"""Pins of a design that people and meters look at."""


def traces_of(verilog: str) -> list[Trace]:
    """Outputs of the design that are traces, from the declarations of its ports.

    One with mutants shows its lamps too, as trace ``pins`` that is valid when one has changed.
    """
    pattern = re.compile(r"^  output (?:wire )?(signed )?(?:\[(\d+):0\] )?"
                         r"\\?((?:\S+\.)?trace_\S+?) ?;$", re.MULTILINE)
    lamps = LAMPS.findall(verilog) if CONTROL.search(verilog) else []
    return [Trace(name, int(msb or 0) + 1, bool(signed))
            for signed, msb, name in pattern.findall(verilog)] + (
        [Trace("trace_pins", len(lamps), False, "lamps"),
         Trace("trace_pins_valid", 1, False, "lamps != lamps_before")] if lamps else [])


def _weight_cells(verilog: str) -> list[str]:
    return sorted(WEIGHT_CELL.findall(verilog))


def weight_memories(verilog: str) -> list[str]:
    """Return the memories of a design that hold its weights, as Verilog inside of it.

    Unit k of a word is in the k-th of them. There are none if the memory cannot be reached. The
    one of a memory outside the chip holds all units, one after the other.
    """
    if outside := MEMORY_CELL.search(verilog):
        return [f"{outside[1]} .rows"]
    return [f"{cell} .rows" for cell in _weight_cells(verilog)]


def reading_traces(verilog: str) -> list[Trace]:
    """Return a trace that is 1 in cycles in which weights are read, if they can be reached."""
    enables = [f"dut.{cell} .CHIPSELECT" for cell in _weight_cells(verilog)]
    return [Trace("trace_reading", 1, False, " | ".join(enables))] if enables else []


def _direction(verilog: str, pin: str) -> str:
    """Direction in which the design declares a pin, which synthesis may have changed."""
    match = re.search(rf"^  (input|inout|output) (?:wire )?{pin};$", verilog, re.MULTILINE)
    if match is None:
        raise SimulationError(f"the design has no pin {pin}")
    return match[1]


def bench_verilog(hdl: Hdl, verilog: str, traces: Sequence[Trace], nets: Sequence[str] = (),
                  memories: Sequence[str] = (), *, cxxrtl: bool = False,
                  flash: bool = False) -> str:
    """Verilog of a module with plain ports around the design.

    Parameters
    ----------
    verilog
        Of the design.
    traces, nets, memories
        What is shown, what is probed, and what can be reached from outside.
    cxxrtl
        For CXXRTL, which has no pin that is both input and output, nor a port that is an array.
    flash
        Put a flash memory beside the chip, which can be reached as a memory after the others.

    Raises
    ------
    SimulationError
        A trace is too wide.
    """
    board = hdl.board
    pins = {"clock": board.clock_pin, "rx": board.rx_pin, "tx": board.tx_pin}
    missing = [name for name, pin in pins.items() if not pin]
    pins = {name: pin for name, pin in pins.items() if pin}
    for trace in traces:
        if trace.width > WORD_BITS:
            raise SimulationError(f"trace {trace.name} has {trace.width} bits; at most "
                                  f"{WORD_BITS} can be watched as one, so split it")
    connections = [f".{pin}({name})" for name, pin in pins.items()]
    connections += [f".\\{trace.name} (trace_{k})" for k, trace in enumerate(traces)
                    if not trace.net]
    lines = ["module bench("]
    plain = {"clock": "input", "rx": "input", "tx": "output"}
    lines += [f"  {plain[name] if cxxrtl else _direction(verilog, pin)} {name},"
              for name, pin in pins.items()]
    lines += [f"  {plain[name]} {name}," for name in missing]
    if control := CONTROL.search(verilog):
        lines += [f"  input {control['range']} mutant,", "  input lock,"]
        connections += [".mutant(mutant)", ".lock(lock)"]
    if nets:
        words = -(-len(nets) // WORD_BITS)
        lines += [f"  output [{WORD_BITS - 1}:0] nets [0:{words - 1}],"]
    if memories or flash:
        width = 32 if MEMORY_CELL.search(verilog) else 16
        lines += ["  input reach, reach_keeps,", "  input [7:0] reach_memory,",
                  f"  input [{width - 1}:0] reach_address,",
                  f"  input [{WORD_BITS - 1}:0] reach_value,"]
    words = max(len(traces), 1)
    lamps = LAMPS.findall(verilog) if any(trace.net == "lamps" for trace in traces) else []
    lines += [f"  output [{WORD_BITS * words - 1}:0] traces);" if cxxrtl else
              f"  output [{WORD_BITS - 1}:0] traces [0:{words - 1}]);"]
    if lamps:
        levels = ", ".join(f"dut.{pin}" for pin in lamps)
        lines += [f"  wire [{len(lamps) - 1}:0] lamps = {{{levels}}};",
                  f"  reg [{len(lamps) - 1}:0] lamps_before = 0;",
                  "  always @(posedge clock) lamps_before <= lamps;"]
    for k, trace in enumerate(traces):
        place = f"{WORD_BITS * k} +: {WORD_BITS}" if cxxrtl else f"{k}"
        value = f" = {trace.net}" if trace.net else ""
        lines += [f"  wire [{trace.width - 1}:0] trace_{k}{value};",
                  f"  assign traces[{place}] = {WORD_BITS}'(trace_{k});"]
    lines += [f"  {board.top} dut({', '.join(connections)});"]
    if flash:
        ports = board.flash_pins
        shown = {trace.name: f"trace_{k}" for k, trace in enumerate(traces)}
        lines[-1] = lines[-1].removesuffix(");") + "".join(
            f", .{port}(flash_{name})" for name, port in ports.items() if port not in shown) + ");"
        lines.insert(-1, f"  wire {', '.join(f'flash_{name}' for name in ports)};")
        # A line without a pin that is a port is a trace.
        lines += [f"  assign flash_{name} = {shown[port]};" for name, port in ports.items()
                  if port in shown]
        lines += ["  spi_flash flash(clock, flash_cs, flash_clk, flash_copi, flash_cipo);"]
    if "tx" in missing:
        lines += ["  assign tx = 1'b1;"]
    for word in range(0, len(nets), WORD_BITS):
        bits = ", ".join(f"dut.{net}" for net in reversed(nets[word:word + WORD_BITS]))
        lines += [f"  assign nets[{word // WORD_BITS}] = {WORD_BITS}'({{{bits}}});"]
    places = [f"dut.{memory} " for memory in memories] + ["flash.rows"] * flash
    if places:
        lines += ["  always @(posedge clock) if (reach) case (reach_memory)"]
        for k, memory in enumerate(places):
            place = f"{memory}[reach_address]"
            lines += [f"    {k}: {place} <= (reach_keeps ? {place} : '0) ^ reach_value;"]
        lines += ["    default: ;", "  endcase"]
    return "\n".join([*lines, "endmodule", ""])
