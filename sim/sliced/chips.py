"""64 chips of one design, which one simulation runs in lockstep, each a bench of its own."""

import ctypes
import threading
from importlib import resources
from pathlib import Path

import numpy as np

from trilight.hw.flow.build import Hdl, tool_versions
from trilight.hw.support.cache import cache_root, cached, digest
from trilight.hw.support.tools import Progress, no_progress, run_all
from trilight.sim.native.bench import Bench
from trilight.sim.native.compile import COMPILER, COMPILER_FLAGS, compiler_environment, host_key
from trilight.sim.native.library import Argument
from trilight.sim.native.verilog import traces_of, weight_memories
from trilight.sw.errors import SimulationError

from .circuit import Circuit, read_circuit
from .code import circuit_code

__all__ = ["LANES", "Chips", "compile_chips"]

LANES = 64
"""Chips of a simulation: bits of a word."""

_U64, _U32, _I32 = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int32
_HANDLE = _DATA = ctypes.c_void_p

_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "chips_new": (_HANDLE, [_U32, _I32, _I32]),
    "chips_delete": (None, [_HANDLE]),
    "chips_cycles": (_U64, [_HANDLE]),
    "chips_start": (None, [_HANDLE, _U32]),
    "chips_wait": (None, [_HANDLE, _U32, _U64, _U64, _U64]),
    "chips_run": (_U64, [_HANDLE]),
    "bench_cycles": (_U64, [_HANDLE, _U32]),
    "bench_write": (None, [_HANDLE, _U32, _DATA, _U64]),
    "bench_read": (_U64, [_HANDLE, _U32, _DATA, _U64]),
    "bench_idle": (_I32, [_HANDLE, _U32]),
    "bench_values": (None, [_HANDLE, _U32, _DATA, _U64]),
    "bench_record": (None, [_HANDLE, _U32, _U32, _U32]),
    "bench_recorded": (_U64, [_HANDLE, _U32, _U32]),
    "bench_take": (None, [_HANDLE, _U32, _U32, _DATA]),
    "bench_upset": (None, [_HANDLE, _U32, _U32, _U32, _U64]),
    "bench_place": (None, [_HANDLE, _U32, _U32, _U32, _DATA, _U64]),
}


def compile_chips(hdl: Hdl, circuit: Circuit, progress: Progress = no_progress) -> Path:
    """Compile a netlist for many chips at once, unless that has been done; return the library.

    Raises
    ------
    SimulationError
        The design has something without a model.
    BuildError
        Yosys or the compiler failed.
    """
    code = circuit_code(circuit)
    harness = (resources.files("trilight.sim.sliced") / "harness.cpp").read_text()
    key = digest(code, harness, host_key(), *COMPILER_FLAGS,
                 str(tool_versions("ziglang", extra="sim")))

    def make(work: Path) -> None:
        (work / "circuit.h").write_text(code)
        (work / "harness.cpp").write_text(harness)
        run_all([[*COMPILER, *COMPILER_FLAGS, "-shared", "-s", "harness.cpp", "-o", "chips.so"]],
                work, cache_root() / "logs" / f"chips-{key[:16]}.log",
                env=compiler_environment(), progress=progress,
                what=f"compiling {LANES} chips of the {hdl.kind} of {hdl.board.name}",
                about="about 20 s")
        for file in work.iterdir():
            if file.name != "chips.so":
                file.unlink()

    return cached("native", key, make, code=True) / "chips.so"


class Chips:
    """A simulation of 64 chips.

    Each open lane is used from a thread of its own. The simulation runs while all open lanes
    wait in ``Bench.run``, so that a lane's chip and host see the same cycles whatever the other
    lanes do.

    Parameters
    ----------
    hdl
        A netlist.
    progress
        Called with a short message when something that takes seconds begins.

    Raises
    ------
    SimulationError, BuildError
        The design cannot be compiled.
    """

    def __init__(self, hdl: Hdl, progress: Progress = no_progress) -> None:
        circuit = read_circuit(hdl, progress)
        library = ctypes.CDLL(str(compile_chips(hdl, circuit, progress)))
        self._functions = {}
        for name, (result, arguments) in _SIGNATURES.items():
            self._functions[name] = function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        verilog = hdl.verilog.read_text()
        self.hdl = hdl
        self.traces = traces_of(verilog)
        names = [trace.short for trace in self.traces]
        self.memories = [f"\\{memory.name} .rows" for memory in circuit.memories]
        of_weights = [self.memories.index(name) for name in weight_memories(verilog)]
        self._weights = range(of_weights[0], of_weights[-1] + 1) if of_weights else range(0)
        self._handle: int | None = self._functions["chips_new"](
            hdl.board.clocks_per_bit,
            *(names.index(name) if name in names else -1 for name in ("running", "checking")))
        self._turn = threading.Condition()
        self._open: set[int] = set()
        self._waiting: set[int] = set()

    @property
    def cycles(self) -> int:
        """Clock cycles that all of them have run together."""
        return self.call("chips_cycles")

    def close(self) -> None:
        """Free the simulation. May be called twice."""
        with self._turn:
            if self._handle is not None:
                self._functions["chips_delete"](self._handle)
            self._handle = None
            self._turn.notify_all()

    def call(self, name: str, *arguments: Argument) -> int:
        """Call a function of the library."""
        if self._handle is None:
            raise SimulationError("the simulation has been closed")
        result: int | None = self._functions[name](self._handle, *(
            argument.ctypes.data if isinstance(argument, np.ndarray) else argument
            for argument in arguments))
        return result or 0

    def lane(self, number: int) -> Bench:
        """Switch a chip on, in a lane that is not open, and return its bench."""
        with self._turn:
            if not 0 <= number < LANES or number in self._open:
                raise SimulationError(f"a lane is a number from 0 to {LANES - 1} that is not in "
                                      f"use, not {number}")
            self._open.add(number)
        return Bench(_Lane(self, number), self.traces, self.hdl.board.clocks_per_bit,
                     memories=self.memories, weights=self._weights)

    def start(self, number: int) -> None:
        """Switch the chip of a lane off and on."""
        with self._turn:
            self.call("chips_start", number)

    def shut(self, number: int) -> None:
        """End a lane's use; the others go on."""
        with self._turn:
            self._open.discard(number)
            self._waiting.discard(number)
            self._run()

    def wait(self, number: int, maximum: int, quiet: int, idle: int) -> None:
        """Let a lane's chip run; see ``Bench.run``."""
        with self._turn:
            self.call("chips_wait", number, maximum, quiet, idle)
            self._waiting.add(number)
            self._run()
            self._turn.wait_for(lambda: number not in self._waiting or self._handle is None)

    def _run(self) -> None:
        """Run the simulation if nobody is left that has something else to do."""
        if not self._waiting or self._waiting != self._open or self._handle is None:
            return
        done = self.call("chips_run")
        self._waiting -= {number for number in range(LANES) if done >> number & 1}
        self._turn.notify_all()


class _Lane:
    """A ``Library`` of one lane: functions of a bench, with the simulation behind them."""

    def __init__(self, chips: Chips, number: int) -> None:
        self._chips = chips
        self._number = number

    def call(self, name: str, *arguments: Argument) -> int:
        chips, number = self._chips, self._number
        if name == "new":
            chips.start(number)
        elif name == "delete":
            chips.shut(number)
        elif name == "run":
            maximum, quiet, idle = arguments[1:]
            assert isinstance(maximum, int)
            assert isinstance(quiet, int)
            assert isinstance(idle, int)
            if maximum > 0:
                chips.wait(number, maximum, quiet, idle)
        elif f"bench_{name}" in _SIGNATURES:
            return chips.call(f"bench_{name}", number, *arguments[1:])
        else:
            raise SimulationError(f"many chips at once have no {name}; give one chip")
        return 0
