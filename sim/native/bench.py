"""A running design: bytes in and out of its pins, and cycles, whatever it was compiled to."""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import SimulationError

from .library import Argument, Library

__all__ = ["Bench", "CountedStage", "Probe", "Trace"]

WORD_BITS = 64

BIT_PARTS = 256
"""Parts of a cycle in which the host's bits are measured."""

PINS = ("rx", "tx")


@dataclass(frozen=True)
class Trace:
    """A signal that a simulation can watch."""

    name: str
    """Path in the design, for example ``chip.vector.trace_x``."""
    width: int
    """Bits, at most 64."""
    signed: bool
    net: str = ""
    """Verilog of its value, seen from around the design; empty for an output of it."""

    @property
    def short(self) -> str:
        """Name without ``trace_``."""
        return self.name.rpartition("trace_")[2]


@dataclass(frozen=True)
class Probe:
    """Further counts of a bench, in each cycle."""

    nets: Sequence[str] = ()
    """Single bits, as Verilog inside the design."""
    events: Sequence[Sequence[int]] = ()
    """Each is counted in a cycle in which all of these nets, by index, are 1. The complement of an
    index asks for 0."""
    groups: Sequence[Sequence[int]] = ()
    """Each is counted in a cycle in which any of these nets has changed."""
    repeats: Sequence[Sequence[int]] = ()
    """Each begins with an event, by index, and is counted when that event comes again without a
    change of the nets that follow."""
    apart: Sequence[int] = ()
    """Events, by index: cycles with any of them are counted apart from the others."""

    @property
    def columns(self) -> int:
        """Numbers that are counted, besides each net's own changes."""
        return 2 + len(self.events) + len(self.groups) + len(self.repeats)


@dataclass(frozen=True)
class CountedStage:
    """Part of a window: it ends when a trace has been 1 in ``pulses`` cycles."""

    trace: str
    """Name of the trace after ``trace_``."""
    pulses: int


class Bench:
    """A running design: bytes in and out of its pins, and cycles.

    Its power-on reset is over when it is made. Not to be used from two threads at once, except
    for ``stop``.

    Parameters
    ----------
    library
        What it was compiled to.
    traces
        What it shows, in the library's order.
    clocks_per_bit
        Of the serial port.
    probe
        What to count.
    memories
        Memories that can be reached from outside, as Verilog inside the design.
    weights
        Which of ``memories`` are the weight memory: unit k of a word is in the k-th of them.
    has_mutants
        Whether ``restart`` may choose a mutant.
    flash
        Content of the flash memory beside the chip, if there is one: the memory after the others.
    flash_byte_cycles
        Cycles that the chip takes to read a byte of it; it has read all when it is made.
    """

    RESET_CYCLES = 8192

    draws_waves = False
    """True if signals go into a file."""

    def __init__(self, library: Library, traces: Sequence[Trace], clocks_per_bit: int, *,
                 probe: Probe | None = None, memories: Sequence[str] = (),
                 weights: range = range(0), has_mutants: bool = False,
                 flash: bytes | None = None, flash_byte_cycles: int = 0) -> None:
        self.traces = traces
        self.clocks_per_bit = clocks_per_bit
        self.memories = memories
        self.weights = weights
        self._library = library
        self._names = [trace.short for trace in traces]
        self._has_mutants = has_mutants
        self._flash = flash
        self._flash_byte_cycles = flash_byte_cycles
        self._probe = probe or Probe()
        self._recorders: list[Trace] = []
        self.tells_when_running = "running" in self._names
        self._finalizer: weakref.finalize[..., Any] | None = None
        self.restart()

    @property
    def build_info(self) -> Mapping[str, Any]:
        """Build info of the design, as fields of ``trilight.sw.report.Run``."""
        return {}

    def restart(self, mutant: int = 0, flash: bytes | None = None) -> None:
        """Start again at power-on, with nothing recorded.

        Parameters
        ----------
        mutant
            Of a design with mutants (``sim/verify/mutation/``), the active one; 0 for none.
        flash
            Content of the flash memory from now on, if there is one.
        """
        if self._finalizer is not None:
            self._finalizer()
        self._recorders.clear()
        working = [self._names.index(name) if name in self._names else -1
                   for name in ("running", "checking")]
        self._handle = self._library.call("new", self.clocks_per_bit, *working)
        self._finalizer = weakref.finalize(self, self._library.call, "delete", self._handle)
        if self._has_mutants:
            self._call("mutate", mutant)
            self._call("lock", True)
        if self._probe.nets:
            for kind, sets in enumerate((self._probe.events, self._probe.groups,
                                         self._probe.repeats, [self._probe.apart])):
                for indices in sets:
                    self._call("probe", kind, np.array(indices, np.int32).tobytes(),
                               len(indices))
        boot_cycles = 0
        if self._flash is not None:
            self._flash = self._flash if flash is None else flash
            boot_cycles = len(self._flash) * self._flash_byte_cycles
            # Faster than the chip reads it. It lies there inverted, so that the rest is erased.
            data = self._flash + bytes([0xFF]) * (-len(self._flash) % 8)
            rows = ~np.frombuffer(data, "<u8")
            self._call("place", len(self.memories), 0, rows.tobytes(), len(rows))
        self.run(self.RESET_CYCLES + boot_cycles)

    def _call(self, name: str, *arguments: Argument) -> int:
        if self._finalizer is None or not self._finalizer.alive:
            raise SimulationError("the simulation has been closed")
        return self._library.call(name, self._handle, *arguments)

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
        buffer = np.empty(4096, np.uint8)
        data = b""
        while got := self._call("read", buffer, buffer.size):
            data += buffer[:got].tobytes()
        return data

    def set_bit_length(self, cycles: float) -> None:
        """Make the host's bits, in both directions, as long as this from now on.

        Parameters
        ----------
        cycles
            Rounded to ``1 / BIT_PARTS`` of a cycle.
        """
        self._call("period", round(BIT_PARTS * cycles))

    def glitch(self, pin: str, level: int, *, wait: int, length: int) -> None:
        """Hold a pin at a level for ``length`` cycles, ``wait`` cycles from now.

        Parameters
        ----------
        pin
            ``rx`` or ``tx``. Each has one glitch; another one takes its place.
        """
        self._call("glitch", PINS.index(pin), wait, length, level)

    def upset(self, memory: str, address: int, mask: int) -> None:
        """Invert bits of a word, and let a cycle pass.

        Parameters
        ----------
        memory
            One of ``memories``.
        mask
            Bits to invert, at most 64.
        """
        self._call("upset", self.memories.index(memory), address, mask)

    def place(self, unit: int, units: NDArray[np.uint16]) -> None:
        """Write units of 16 bits into the weight memory from outside, as a boot from flash does.

        A word of each memory is written in a cycle of the chip, which does not know of it.

        Parameters
        ----------
        unit
            Where the first one goes; the first of a word.
        units : uint16 [n]
        """
        lanes = len(self.weights)
        for lane, memory in enumerate(self.weights):
            values = units[lane::lanes].astype(np.uint64)
            self._call("place", memory, unit // lanes, values.tobytes(), len(values))

    def lose_lock(self) -> None:
        """Have a design with mutants reset because its PLL has lost its lock for a while."""
        self._call("lock", False)
        self.run(self.RESET_CYCLES)
        self._call("lock", True)
        self.run(self.RESET_CYCLES)

    def run(self, maximum: int, *, quiet: int | None = None, idle: int | None = None) -> int:
        """Run the clock.

        Parameters
        ----------
        most
            Number of cycles.
        quiet
            Return earlier when bytes have come and none has followed for this many cycles.
        idle
            Return earlier when the design has been idle for this many cycles.

        Returns
        -------
        int
            Cycles that were run.
        """
        never = 2**64 - 1
        before = self.cycles
        self._call("run", maximum, never if quiet is None else quiet,
                   never if idle is None else idle)
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
        self._call("values", values, len(values))
        return dict(zip(self._names, map(int, values), strict=True))

    def pulses(self) -> dict[str, int]:
        """Return in how many cycles since power-on each trace was not 0."""
        counts = np.empty(len(self.traces), dtype=np.uint64)
        self._call("pulses", counts, len(counts))
        return dict(zip(self._names, map(int, counts), strict=True))

    def record(self, name: str) -> int:
        """Begin to note down trace ``name`` in each cycle in which it is valid.

        Parameters
        ----------
        name
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
        self._call("take", recorder, rows)
        cycles, values = rows[::2], rows[1::2].astype(np.int64)
        trace = self._recorders[recorder]
        if trace.signed:
            values -= (values >> (trace.width - 1)) << trace.width
        return cycles, values

    def count(self, *, busy: bool, length: int = 0, stages: Sequence[CountedStage] = (),
              once: int = 0, skip: int = 0) -> None:
        """Begin to count what the probe asks for, and forget earlier counts.

        Parameters
        ----------
        busy
            Whether to count in the cycles in which the chip runs, or in those in which it rests.
        length
            Length of a window in such cycles; or
        stages
            What a window consists of, one after the other; the first begins now.
        once
            How many of the stages come only once, at the beginning, as a window of their own.
        skip
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
        self._call("windows", rows)
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
            self._call("slot", k, sums[k], changes[k])
        nets = len(self._probe.nets)
        return sums.reshape(-1, 2, sums.shape[1]), changes[:, :nets].reshape(-1, 2, nets)
