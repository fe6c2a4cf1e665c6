"""A simulated chip under a campaign: by its pins, in the time of its own clock."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from trilight.hw.flow.build import Hdl, elaborate, find_board, synthesise
from trilight.hw.support.boards import DEFAULT_BOARD
from trilight.sim.board import IDLE, QUIET_BITS
from trilight.sim.native.compile import NativeBench

from .line import FaultyDevice

__all__ = ["Memory", "PinDevice", "design_info", "memories_of_rtl", "open_pins", "open_upsets"]

MAX_CYCLES = 50_000
"""Maximum of cycles after which a reset comes when bytes are on their way."""


@dataclass(frozen=True)
class Memory:
    """A memory of a design."""

    path: str
    """Verilog, within the design."""
    words: int
    width: int


@cache
def _design(target: str, board: str) -> Hdl:
    return {"rtl": elaborate, "netlist": synthesise}[target](find_board(board))


def open_pins(target: str, board: str = DEFAULT_BOARD) -> Callable[[], "PinDevice"]:
    """Return a maker of chips of target ``rtl`` or ``netlist``."""
    return lambda: PinDevice(_design(target, board))


def design_info(target: str, board: str = DEFAULT_BOARD) -> dict[str, str]:
    """Digests by which the design of a target or of its memories is known; none of ``device``."""
    if target == "device":
        return {}
    return _design("netlist" if target == "netlist" else "rtl", board).build_info


def memories_of_rtl(board: str = DEFAULT_BOARD) -> dict[str, Memory]:
    """Memories of target ``rtl`` by their names in the design, without ``chip``."""
    verilog = _design("rtl", board).verilog.read_text()
    found = {name: Memory(f"\\chip.{name}", int(last) + 1, int(top) + 1) for top, name, last
             in re.findall(r"^  reg \[(\d+):0\] \\chip\.(\S+)  \[(\d+):0\];$", verilog,
                           re.MULTILINE)}
    for name in re.findall(r"SB_SPRAM256KA \\chip\.(\S+)  \(", verilog):
        found[name] = Memory(f"\\chip.{name} .rows", 1 << 14, 16)
    return found


def open_upsets(board: str = DEFAULT_BOARD) -> "PinDevice":
    """A chip of target ``rtl`` whose memories' bits can be flipped."""
    return PinDevice(_design("rtl", board),
                     [memory.path for memory in memories_of_rtl(board).values()])


class PinDevice(FaultyDevice):
    """A simulated chip. Its time stands still unless somebody reads, and leaps when it rests.

    Parameters
    ----------
    memories
        Paths of memories whose bits can be flipped.
    """

    def __init__(self, hdl: Hdl, memories: Sequence[str] = ()) -> None:
        self.pins = self
        self._hdl = hdl
        self._memories = memories
        self._bench = NativeBench(hdl, memories=memories)
        self._upset: tuple[int, str, int, int] | None = None
        self.hz = hdl.board.clock_hz
        """Frequency of its clock."""
        self._before = 0.0
        """Seconds that were leapt over, or that former chips have run."""
        self._output = b""
        self._right_rate_at = 0.0

    @property
    def name(self) -> str:
        return self._hdl.kind

    def now(self) -> float:
        return self._before + self._bench.cycles / self.hz

    def write(self, data: bytes) -> None:
        self._bench.write(data)

    def read(self, timeout_s: float) -> bytes:
        end = self.now() + timeout_s
        while not self._output and (left := end - self.now()) > 0:
            if self._right_rate_at and self.now() >= self._right_rate_at:
                self.set_rate(1, 0)
            maximum = max(1, round(left * self.hz))
            if self._upset:
                maximum = max(1, min(maximum, self._upset[0] - self._bench.cycles))
            ran = self._bench.run(maximum, quiet=QUIET_BITS * self._hdl.board.clocks_per_bit,
                                  idle=IDLE)
            self._output += self._bench.read()
            idle = ran < maximum and not self._output
            if self._upset and (idle or self._bench.cycles >= self._upset[0]):
                self._bench.upset(*self._upset[1:])
                self._upset = None
            elif idle:
                self._before += end - self.now()
        data, self._output = self._output, b""
        return data

    def close(self) -> None:
        self._bench.close()

    def reset(self, rng: random.Random) -> None:
        self._bench.run(rng.randrange(MAX_CYCLES), idle=IDLE)
        self._output += self._bench.read()
        self._before = self.now()
        self._bench.close()
        self._bench = NativeBench(self._hdl, memories=self._memories)
        self._before -= self._bench.cycles / self.hz

    def upset(self, memory: Memory, address: int, bit: int, wait: int) -> None:
        """Flip a bit in ``wait`` cycles, or when the chip rests before."""
        self._upset = self._bench.cycles + wait, memory.path, address, 1 << bit

    @property
    def cycles(self) -> int:
        """Cycles that have been simulated since power-on."""
        return self._bench.cycles

    @property
    def upset_is_due(self) -> bool:
        """True if the bit has not been flipped yet."""
        return self._upset is not None

    def set_rate(self, ratio: float, seconds: float) -> None:
        self._bench.set_bit_length(self._hdl.board.clocks_per_bit / ratio)
        self._right_rate_at = self.now() + seconds if seconds else 0

    def glitch(self, pin: str, rng: random.Random) -> None:
        self._bench.glitch(pin, rng.randrange(2), wait=rng.randrange(4000),
                           length=rng.randint(1, 200))
