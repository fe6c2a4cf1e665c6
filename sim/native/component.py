"""A component of the gateware and a harness in C++, compiled to a shared library."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from trilight.hw.flow.build import tool_versions
from trilight.hw.support.cache import cache_root, cached, digest
from trilight.hw.support.tools import no_progress, run_all
from trilight.sim.bench.build import component_design

from .compile import (
    COMPILER,
    COMPILER_FLAGS,
    RECIPE,
    compile_sources,
    compiler_environment,
    gather,
    host_key,
    runtime,
    verilator_folder,
)

__all__ = ["compile_component"]

_FLAGS = ("--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "--Mdir", ".",
          "-Wno-fatal", "-Wno-WIDTH")


def compile_component(component: "wiring.Component[Any]", harness: str,
                      define: Sequence[str]) -> Path:
    """Return the shared library of a component and its harness, compiled once.

    Parameters
    ----------
    component
        Its class is ``V`` and its name in lower case, such as ``Vengine``.
    harness
        File beside this one.
    define
        Options of the compiler for the harness.

    Raises
    ------
    BuildError
        It could not be compiled.
    """
    design = component_design(component)
    source = (resources.files("trilight.sim.native") / harness).read_text()
    flags = [*COMPILER_FLAGS, *define]
    options = (*_FLAGS, "--top-module", design.top, "--prefix", f"V{design.top}")
    key = digest(design.verilog, source, host_key(), *options, *flags,
                 str(tool_versions("verilator", "ziglang", extra="sim")))
    logs = cache_root() / "logs"
    variables = compiler_environment()
    library = f"{design.top}.so"

    def make(work: Path) -> None:
        (work / "design.v").write_text(design.verilog)
        run_all([[str(verilator_folder() / "bin" / "verilator_bin"), *options, "design.v"]], work,
                logs / f"verilator-{key[:16]}.log", env=variables,
                what=f"turning an {design.top} into C++")
        (work / "harness.cpp").write_text(source)
        compile_sources(gather(work), work, logs / f"compile-{key[:16]}.log", no_progress,
                        f"compiling an {design.top}", flags)
        objects = [*work.glob("*.o"), *runtime(RECIPE, no_progress).glob("*.o")]
        run_all([[*COMPILER, "-shared", "-s", *map(str, objects), "-o", library, "-lpthread"]],
                work, logs / f"link-{key[:16]}.log", env=variables, what=f"linking an {design.top}")
        for file in work.iterdir():
            if file.name != library:
                file.unlink()

    return cached(design.top, key, make) / library
