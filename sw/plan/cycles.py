"""Cycles of a token of an imported model, computed event by event from its sizes.

The core's timing depends on sizes only, as long as neither weights nor parameters keep it waiting.
``TokenSchedule`` follows its events (a column written, a table full, a multiplier found, a row out)
from operation to operation, and is exact to the cycle: ``trilight verify-token`` holds it against
the core's own counter. What it knows of the gateware are the latencies that its blocks are built
from. Pure Python.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from trilight.hw.contract.device import Device
from trilight.hw.contract.imported import Kind
from trilight.hw.contract.trits import TritCode
from trilight.hw.engine.timing import EngineTiming
from trilight.hw.imported import timing
from trilight.sw.checkpoint.shape import Shape

__all__ = ["TokenSchedule"]


@dataclass(frozen=True)
class _Operation:
    """A matrix times a vector."""

    kind: Kind
    rows: int
    columns: int


@dataclass
class _Vector:
    """A vector's way through the quantiser: when its codes begin and its multiplier is there."""

    acts: int
    """Cycle of column 0's code; one a cycle follows."""
    multiplier: int


class TokenSchedule:
    """Every operation of a token on one device.

    Parameters
    ----------
    device
        The engine.
    layers
        Layers of the token. Default: all.
    share
        Boards that divide the rows of every matrix.

    Attributes
    ----------
    cycles : int
        Of the token, as the core counts them.
    units : list of int
        Cycles of each layer, and of the head: from the last row of the one before to its own.
    words : int
        Weight words.
    """

    def __init__(self, shape: Shape, device: Device, *, layers: int | None = None,
                 head: bool = True, share: int = 1) -> None:
        self._device = device
        self._engine = EngineTiming(device)
        self._entries = TritCode(device.trits).entries
        # The token begins in cycle 0.
        self._offered = self._filled = self._taken = timing.BEGIN
        self._streamed = -1
        self._released = [0, 0]
        self._half = 0
        self._next_vector = timing.BEGIN
        self._may_write = 0
        self._rows_free = timing.BEGIN
        self._last_row = 0
        self.words = 0
        # The embedding comes a channel a cycle.
        self._written = shape.hidden
        self.units: list[int] = []
        for operation in _operations(shape, shape.layers if layers is None else layers, head,
                                     share):
            self._run(operation)
            if operation.kind in (Kind.DOWN, Kind.HEAD):
                self.units.append(self._last_row + timing.RESIDUAL + 1 - sum(self.units))
        self.cycles = sum(self.units)

    def _run(self, operation: _Operation) -> None:
        vector = self._quantise(operation)
        taken = max(vector.multiplier, self._rows_free)
        self._next_vector = max(self._next_vector, taken + timing.BEGIN)
        first, last = self._stream(operation, vector, taken + timing.ENABLE)
        self._may_write = first + 1
        self._rows_free = last + 1
        self._last_row = last
        self._written = last + (timing.RESIDUAL if operation.kind in (Kind.OUTPUT, Kind.DOWN)
                                else timing.RESULT)

    def _quantise(self, operation: _Operation) -> _Vector:
        """Both passes over a vector, and the norm's serial part."""
        begin, columns = self._next_vector, operation.columns
        asked = begin + columns
        if operation.kind not in (Kind.FORGET, Kind.OUTPUT_GATE):
            asked = max(asked, self._written + timing.CREDIT)
        peak = asked + timing.PEAK
        passed = asked + 1 + (columns if operation.kind is Kind.FORGET else 0)
        begins = max(peak + timing.PEAK_DONE, passed, self._may_write)
        squares = begins + columns + timing.SQUARES
        awaited = peak + (timing.DOWN_SCALE if operation.kind is Kind.DOWN else timing.SCALE)
        self._next_vector = squares + 1
        return _Vector(begins + 1 + timing.ACT, max(awaited, squares) + timing.RESULT_READY)

    def _stream(self, operation: _Operation, vector: _Vector, enabled: int) -> tuple[int, int]:
        """Pass an operation's rows tile by tile; when its first and its last row come out."""
        t = self._engine
        block = self._device.packing.block
        blocks = -(-operation.columns // block)
        first_row, kept = None, False
        for rows in self._device.tiles(operation.rows):
            handed = max(self._offered, self._filled, self._taken)
            took = handed + t.TAKE
            filling = took
            took = max(took, self._streamed)
            ready = took + 1
            self._taken = took + t.TAKEN
            self._offered = handed + 1
            for number in range(blocks):
                start = max(filling, self._released[self._half])
                if not kept:
                    column = min((number + 1) * block, operation.columns) - 1
                    start = max(start, vector.acts + column + t.FILL_START)
                step = start + self._entries
                filling = step + t.FILL_END
                issued = max(ready, step + t.full)
                if number == blocks - 1:
                    issued = max(issued, enabled + t.EXPECT)
                self._streamed = issued + rows - 1
                ready = self._streamed + 1
                self._released[self._half] = self._streamed + t.RELEASE
                self._half ^= 1
            self._filled = filling
            self.words += rows * blocks
            if first_row is None:
                first_row = issued + t.row
            kept = True
        assert first_row is not None
        return first_row, self._streamed + t.row


def _operations(shape: Shape, layers: int, head: bool, share: int) -> Iterator[_Operation]:
    kinds = [kind for kind in Kind if kind is not Kind.HEAD] * layers
    for kind in [*kinds, *([Kind.HEAD] if head else [])]:
        rows, columns = shape.matrix(kind.matrix)
        yield _Operation(kind, -(-rows // share), columns)
