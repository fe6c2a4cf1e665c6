"""Serial arithmetic of imported models' norm against the contract: root, divisions, products.

``docs/imported-formats.md`` has the formulas; here they are whole numbers of Python.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from trilight.hw.contract.imported import FORMATS, Kind
from trilight.hw.imported.layouts import header_layout, result_layout
from trilight.hw.imported.norm import square_sum_bits
from trilight.hw.imported.timing import DOWN_SCALE, PEAK_DONE, RESULT_READY, SCALE

from .checker import InOrderChecker
from .coverage import cover, ends
from .device import IMPORTED_DEVICE
from .streams import NEVER, Dut, Sink, cycle, generator, pack, pauses, signed, start, unpack

SUM_BITS = square_sum_bits(IMPORTED_DEVICE)
COLUMNS = IMPORTED_DEVICE.engine.max_columns
MAX_GATE = COLUMNS * (COLUMNS * FORMATS.act_max) ** 2
"""Greatest sum of squares of as many rows as columns."""
FRAC_BITS = FORMATS.gain_bits + FORMATS.norm_bits - FORMATS.scale_bits - 8


@dataclass(frozen=True)
class Norm:
    """Operands of one norm, and its results by the formulas."""

    kind: Kind
    columns: int
    scale: int
    norm_frac: int
    frac: int
    peak: int
    largest: int
    total: int
    plain: int
    gate_squares: int

    @property
    def down(self) -> int:
        return self.peak.bit_length() - FORMATS.y_bits

    @property
    def aligned(self) -> int:
        return shifted(self.peak, -self.down)

    @property
    def reciprocal(self) -> int:
        return -((-FORMATS.act_max << FORMATS.reciprocal_shift) // self.aligned)

    @property
    def square_down(self) -> int:
        return self.largest.bit_length() - FORMATS.square_bits

    def multiplier(self, before: tuple[int, int]) -> tuple[int, int]:
        """Mantissa and fraction, given those of the matrix before."""
        if not self.peak:
            return 0, 0
        down, gains = self.kind == Kind.DOWN, FORMATS.norm_bits - 1
        unit = self.square_down + (0 if down else gains - self.norm_frac)
        product = 2 * (FORMATS.z_frac - FORMATS.product_shift)
        if down:
            inverse = 2**40 // max(before[0], 1 << FORMATS.scale_bits - 1)
            share, by = self.columns * inverse**2, product + 2 * (before[1] - 40 - unit)
        elif self.kind == Kind.OUTPUT:
            share, by = self.gate_squares, product - 2 * unit
        else:
            share, by = self.plain >> 12, 12 + 2 * (self.norm_frac - gains)
        epsilon = shifted(share * 537, by - 29)
        squares = max(self.total + min(epsilon, 1 << 60), 1)
        cover("imported_norm.epsilon", "none" if not epsilon else "greatest"
              if epsilon >= 1 << 60 else "some")
        even = (2 * FORMATS.root_bits - squares.bit_length()) // 2
        quotient = self.aligned * self.scale // math.isqrt(shifted(squares, 2 * even))
        drop = quotient.bit_length() - FORMATS.scale_bits
        return quotient >> drop, self.frac - drop - self.down + unit - even


def shifted(value: int, left: int) -> int:
    """``value * 2**left``, rounded down."""
    return value << left if left >= 0 else value >> -left


def number(rng: np.random.Generator, bits: int) -> int:
    """A number of any length, sometimes the least or greatest of it."""
    length = int(rng.integers(bits, endpoint=True))
    low, high = (1 << length) >> 1, (1 << length) - 1
    return int(rng.choice([low, high, int(rng.integers(low, high + 1))]))


def draw(rng: np.random.Generator, kind: Kind) -> Norm:
    """Sums that are no larger than a vector's can be, and zeros."""
    columns = int(rng.choice([1, COLUMNS, int(rng.integers(1, COLUMNS))]))
    largest = number(rng, FORMATS.value_bits)
    peak = largest and max(1, number(rng, FORMATS.y_total_bits))
    maximum = min(columns << 2 * FORMATS.square_bits, (1 << SUM_BITS) - 1)
    plain = 0 if not largest else int(rng.choice([maximum, number(rng, maximum.bit_length() - 1)]))
    scale = 1 << FORMATS.scale_bits - 1
    return Norm(kind=kind, columns=columns, peak=peak, largest=largest, plain=plain,
                scale=int(rng.choice([scale, 2 * scale - 1, int(rng.integers(scale, 2 * scale))])),
                norm_frac=int(rng.choice([28, -128, int(rng.integers(0, 28))])),
                frac=int(rng.integers(-1 << FRAC_BITS - 1, 1 << FRAC_BITS - 1)),
                total=number(rng, SUM_BITS) if plain else 0,
                gate_squares=min(MAX_GATE, number(rng, MAX_GATE.bit_length())))


class Bench:
    """One norm after the other; each result is checked, and when it comes."""

    def __init__(self, dut: Dut, rests: Iterator[int]) -> None:
        self.dut = dut
        self.rests = rests
        self.results = InOrderChecker("multiplier")
        self.times = InOrderChecker("cycle of the multiplier")
        self.last = (0, 0)

    async def start(self) -> None:
        await start(self.dut, kind=0, columns=0, header=0, start_peak=0, peak=0, largest=0,
                    squares=0, total=0, plain=0, gate_squares=0)
        Sink(self.dut, "result", self._take, self.rests)
        cocotb.start_soon(self._note_times())

    async def _note_times(self) -> None:
        while True:
            await RisingEdge(self.dut.result__valid)
            self.times(cycle())

    def _take(self, bits: int) -> None:
        found = unpack(result_layout(), bits)
        self.results((found["mantissa"], found["fraction"]))

    async def norm(self, given: Norm) -> None:
        """Run a norm; sums of squares come some cycles after its peak."""
        dut, began = self.dut, cycle()
        cover("imported_norm.kind", given.kind.name)
        ends("imported_norm.columns", [given.columns], 1, COLUMNS)
        for name, bits in (("peak", FORMATS.y_total_bits), ("largest", FORMATS.value_bits),
                           ("total", SUM_BITS)):
            ends(f"imported_norm.{name}", [getattr(given, name)], 0, (1 << bits) - 1)
        assert int(dut.idle.value), "not at rest"
        for name in ("peak", "largest"):
            dut[name].value = getattr(given, name)
        dut.kind.value, dut.columns.value = given.kind, given.columns - 1
        dut.header.value = pack(header_layout(), scale=given.scale, norm_frac=given.norm_frac,
                                frac=given.frac)
        dut.start_peak.value = 1
        await RisingEdge(dut.clk)
        dut.start_peak.value = 0
        await RisingEdge(dut.peak_done)
        assert cycle() == began + PEAK_DONE - 1, "the reciprocal is not there in time"
        if given.peak:
            found = (int(dut.reciprocal.value), signed(int(dut.down.value), 7),
                     signed(int(dut.square_down.value), 7))
            assert found == (given.reciprocal, given.down, given.square_down)
        await RisingEdge(dut.clk)
        await ClockCycles(dut.clk, next(self.rests))
        for name in ("total", "plain", "gate_squares"):
            dut[name].value = getattr(given, name)
        dut.squares.value = 1
        waits = began + (DOWN_SCALE if given.kind == Kind.DOWN else SCALE)
        self.last = given.multiplier(self.last)
        self.results.expect([self.last])
        self.times.expect([max(cycle(), waits) + RESULT_READY])
        while self.results.pending:
            await RisingEdge(dut.clk)
        dut.squares.value = 0
        while not int(dut.idle.value):
            await RisingEdge(dut.clk)

    async def finish(self) -> None:
        self.results.finish()
        self.times.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(stalled=[False, True])
async def follows_the_contract(dut: Dut, stalled: bool) -> None:
    """Matrices of every kind in any order, with all numbers at their ends and between."""
    rng = generator()
    bench = Bench(dut, pauses(rng, 0.5, 300) if stalled else NEVER)
    await bench.start()
    for _ in range(60):
        for kind in rng.permutation(list(Kind)).tolist():
            await bench.norm(draw(rng, Kind(kind)))
    await bench.finish()
