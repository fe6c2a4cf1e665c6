"""Quantiser of imported models against the integer reference: codes, multipliers, lower bounds.

The bench is the memories that the quantiser reads, the engine that takes codes, and the row unit
that takes multipliers.
"""

from collections.abc import Iterator

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from trilight.hw.contract.imported import FORMATS, Kind
from trilight.hw.imported.layouts import (
    operation_layout,
    parameter_layout,
    result_layout,
    shape_layout,
)
from trilight.hw.imported.timing import ACT
from trilight.hw.interfaces import ACTIVATION
from trilight.sw.checkpoint.image import parameter_words
from trilight.sw.checkpoint.importer import make_matrix
from trilight.sw.checkpoint.model import ImportedMatrix
from trilight.sw.checkpoint.reader import TernaryMatrix
from trilight.sw.checkpoint.reference import Integers, Quantised, down_epsilon, quantise

from .checker import InOrderChecker
from .coverage import cover, ends
from .device import IMPORTED_DEVICE
from .streams import (
    NEVER,
    Dut,
    Sink,
    Source,
    Watch,
    cycle,
    generator,
    pack,
    pauses,
    start,
    unpack,
)

OLD = (Kind.FORGET, Kind.OUTPUT_GATE)
"""Matrices whose input is that of the one before."""

GATE_BITS = 2 * IMPORTED_DEVICE.engine.acc_bits + IMPORTED_DEVICE.engine.column_bits


def draw_matrix(rng: np.random.Generator, kind: Kind, columns: int) -> ImportedMatrix:
    """Gains around 1, or of any size, or all alike."""
    spread = float(rng.choice([0, 0.2, 30]))
    norm = None if kind == Kind.DOWN else rng.normal(1, spread, columns)
    return make_matrix(TernaryMatrix(np.ones((1, columns), np.int8), float(rng.uniform(1e-3, 10))),
                       rng.normal(float(rng.choice([1, 1e-4, 1e3])), spread, columns), norm)


def draw_vector(rng: np.random.Generator, kind: Kind, columns: int) -> Integers:
    """Values of any size, at both ends of their range, few or none of them other than 0."""
    bits = FORMATS.value_bits if kind in (Kind.OUTPUT, Kind.DOWN) else FORMATS.residual_bits
    maximum = 1 << int(rng.integers(1, bits))
    values = rng.integers(-maximum, maximum, columns)
    values[:2] = (-maximum, maximum - 1)[:columns]
    share = float(rng.choice([0, 0.1, 1], p=[0.1, 0.2, 0.7]))
    return np.asarray(rng.permutation(values) * (rng.random(columns) < share), np.int64)


class Bench:
    """Operations of tokens; what comes of each is checked."""

    def __init__(self, dut: Dut, rng: np.random.Generator, rests: Iterator[int]) -> None:
        self.dut = dut
        self.rng = rng
        self.rests = rests
        self.vector: Integers = np.zeros(1, np.int64)
        self.last = Quantised(self.vector, 0, 0)
        self.begun = self.written = 0
        self.of_values = False
        self.codes, self.code_times, self.multipliers, self.bounds = map(
            InOrderChecker, ("code", "cycle of a code", "multiplier", "lower bound"))

    async def start(self) -> None:
        dut = self.dut
        await start(dut, shape=0, clear=0, ops__valid=0, written=0, residual=0, value=0,
                    may_write=1, gate_squares=0)
        self.operations = Source(dut, "ops", operation_layout(), self.rests)
        self.parameters = Source(dut, "parameters", parameter_layout(), self.rests)
        Watch.stream(dut, "acts__acts", self._take_code)
        Watch(dut.clk, dut.begins, dut.begins, self._begin)
        Watch(dut.clk, dut.write_bound, dut.bound,
              lambda bound: self.bounds((int(dut.bound_row.value), bound)))
        Sink(dut, "result", self._take_multiplier, self.rests)
        cocotb.start_soon(self._answer())

    async def _answer(self) -> None:
        """Both memories, of which only the one that an operation is about holds its vector."""
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            column = int(dut.column.value)
            # Before a value is written, another is there.
            value = (int(self.vector[column]) if column < self.written
                     else int(self.rng.integers(1 << FORMATS.residual_bits)))
            await RisingEdge(dut.clk)
            bits, other = ((FORMATS.value_bits, FORMATS.residual_bits) if self.of_values
                           else (FORMATS.residual_bits, FORMATS.value_bits))
            noise = int(self.rng.integers(1 << other))
            own = value & (1 << bits) - 1
            dut.value.value, dut.residual.value = (own, noise) if self.of_values else (noise, own)

    def _begin(self, _: int) -> None:
        assert int(self.dut.may_write.value), "codes begin while the engine takes none"
        self.begun = cycle()

    def _take_code(self, bits: int) -> None:
        found = unpack(ACTIVATION, bits)
        self.codes((found["value"], found["last"]))
        self.code_times(cycle() - self.begun)

    def _take_multiplier(self, bits: int) -> None:
        found = unpack(result_layout(), bits)
        self.multipliers((found["mantissa"], found["fraction"]))

    async def token(self, hidden: int, inner: int) -> None:
        """Run an operation of every kind."""
        dut, rng = self.dut, self.rng
        dut.shape.value = pack(shape_layout(IMPORTED_DEVICE), hidden=hidden - 1, inner=inner - 1)
        dut.clear.value = 1
        await RisingEdge(dut.clk)
        dut.clear.value = 0
        for kind in Kind:
            columns = inner if kind == Kind.DOWN else hidden
            matrix = draw_matrix(rng, kind, columns)
            gate = int(rng.integers(1 << int(rng.integers(1, GATE_BITS))))
            if kind not in OLD:
                vector = draw_vector(rng, kind, columns)
            await self.operation(kind, matrix, vector, gate)

    async def operation(self, kind: Kind, matrix: ImportedMatrix, vector: Integers,
                        gate: int) -> None:
        """Run one; its vector is written while it runs."""
        dut, rng = self.dut, self.rng
        extra = ((gate, 2 * (FORMATS.z_frac - FORMATS.product_shift)) if kind == Kind.OUTPUT
                 else down_epsilon(self.last, len(vector)) if kind == Kind.DOWN else ())
        self.last = quantised = quantise(vector, matrix, *extra)
        cover("imported_quantiser.kind", kind.name)
        cover("imported_quantiser.vector", "others" if vector.any() else "zeros")
        ends("imported_quantiser.code", quantised.codes, -FORMATS.act_max, FORMATS.act_max)
        last = len(vector) - 1
        self.codes.expect((int(code), int(k == last)) for k, code in enumerate(quantised.codes))
        self.code_times.expect(range(1 + ACT, 1 + ACT + len(vector)))
        self.multipliers.expect([(quantised.mantissa, quantised.fraction)])
        bounds = None
        if kind == Kind.FORGET:
            bounds = rng.integers(0, 1 << FORMATS.sigmoid_bits, len(vector), endpoint=True)
            self.bounds.expect(enumerate(bounds.tolist()))
        self.vector, self.of_values = vector, kind in (Kind.OUTPUT, Kind.DOWN)
        dut.gate_squares.value = gate
        dut.may_write.value = int(rng.integers(2))
        if kind not in OLD:
            self.written = 0
            cocotb.start_soon(self._write(len(vector)))
        sending = cocotb.start_soon(
            self.parameters.send(parameter_words(matrix, bounds).tolist()))
        await self.operations.send([{"kind": kind}])
        await sending
        await ClockCycles(dut.clk, 1 + next(self.rests))
        dut.may_write.value = 1
        while self.multipliers.pending or self.codes.pending:
            await RisingEdge(dut.clk)

    async def _write(self, count: int) -> None:
        for _ in range(count):
            await ClockCycles(self.dut.clk, 1 + next(self.rests))
            self.dut.written.value = 1
            await RisingEdge(self.dut.clk)
            self.dut.written.value = 0
            self.written += 1

    async def finish(self) -> None:
        await ClockCycles(self.dut.clk, 64)
        for checker in (self.codes, self.code_times, self.multipliers, self.bounds):
            checker.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(stalled=[False, True])
async def follows_the_reference(dut: Dut, stalled: bool) -> None:
    """Matrices of every kind and several sizes, one after the other."""
    rng = generator()
    bench = Bench(dut, rng, pauses(rng) if stalled else NEVER)
    await bench.start()
    for hidden, inner in ((1, 2), (3, 5), (16, 16), (48, 37), (64, 200)):
        for _ in range(3):
            await bench.token(hidden, inner)
    await bench.finish()
