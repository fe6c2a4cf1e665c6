"""Divider of the norm against the integer formula, with multipliers and sums at all ends."""

from collections.abc import Iterator

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.control.divider import EffectiveScale

from .checker import InOrderChecker
from .coverage import cover, ends
from .device import DEVICE
from .streams import NEVER, Dut, Watch, cycle, generator, pauses, start

MAX_SCALE = (1 << NUMBERS.scale_bits) - 1
MAX_TOTAL = DEVICE.max_columns * NUMBERS.act_max
ALL_ONES = (1 << DEVICE.norm_bits) - 1

UNCHANGED = 1 << NUMBERS.norm_shift
"""The sum that leaves a multiplier as it is."""


def effective_scale(scale: int, total: int) -> int:
    """The formula of ``docs/number-formats.md``."""
    return min(MAX_SCALE, (scale << NUMBERS.norm_shift) // max(total, 1))


class Bench:
    """Starts one division after the other, and checks every result and when it comes."""

    def __init__(self, dut: Dut, rng: np.random.Generator, rests: Iterator[int]) -> None:
        self.dut = dut
        self.rng = rng
        self.rests = rests
        self.results = InOrderChecker("effective scale")
        self.times = InOrderChecker("cycle of done")
        self.defined = True
        """The quotient is not one by zero."""

    async def start(self) -> None:
        await start(self.dut, start=0, scale=0, divide=0, not_total=0)
        Watch(self.dut.clk, self.dut.done, self.dut.result, self._done)

    def _done(self, result: int) -> None:
        self.results(result if self.defined else None)
        self.times(cycle())

    async def scale(self, scale: int, total: int | None) -> None:
        """Divide by a sum, or by nothing; ``scale`` and ``divide`` are there for a cycle only."""
        dut = self.dut
        divide = total is not None
        expected = scale if total is None else effective_scale(scale, total)
        self.defined = total != 0
        ends("norm.scale", [scale], 0, MAX_SCALE)
        if total == 0:
            cover("norm.sum", 0)
        elif total is not None:
            ends("norm.sum", [total], 1, MAX_TOTAL)
        cover("norm.quotient", "passed on" if total is None else "divided"
              if expected < MAX_SCALE else "saturated")
        self.results.expect([expected if self.defined else None])
        self.times.expect([cycle() + (EffectiveScale.CYCLES if divide else 1)])
        dut.start.value = 1
        dut.scale.value = scale
        dut.divide.value = int(divide)
        dut.not_total.value = ALL_ONES - (total or 0)
        await RisingEdge(dut.clk)
        dut.start.value = 0
        dut.scale.value = int(self.rng.integers(MAX_SCALE, endpoint=True))
        dut.divide.value = int(self.rng.integers(2))
        while self.results.pending:
            await RisingEdge(dut.clk)
        if rest := next(self.rests):
            await ClockCycles(dut.clk, rest)
            assert int(dut.result.value) == expected, "the result does not hold"

    async def finish(self) -> None:
        await ClockCycles(self.dut.clk, 2 * EffectiveScale.CYCLES)
        self.results.finish()
        self.times.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(stalled=[False, True])
async def follows_formula(dut: Dut, stalled: bool) -> None:
    """Multipliers and sums at their ends, on both sides of every limit, and spread."""
    rng = generator()
    bench = Bench(dut, rng, pauses(rng) if stalled else NEVER)
    await bench.start()
    scales = [0, 1, 2, UNCHANGED, MAX_SCALE - 1, MAX_SCALE]
    totals = [1, 2, 3, UNCHANGED - 1, UNCHANGED, UNCHANGED + 1, MAX_TOTAL - 1, MAX_TOTAL]
    pairs: list[tuple[int, int | None]] = [(scale, total) for scale in scales for total in totals]
    pairs += [(scale, None) for scale in scales]
    for _ in range(300):
        total = int(2 ** rng.uniform(0, np.log2(MAX_TOTAL)))
        # Quotients that are whole, nearly whole, and nearly too large.
        whole = total * int(rng.integers(MAX_SCALE)) >> NUMBERS.norm_shift
        limit = total * (MAX_SCALE + 1) >> NUMBERS.norm_shift
        spread = int(rng.integers(MAX_SCALE))
        scale = int(rng.choice([whole, whole + 1, limit - 1, limit, limit + 1, spread]))
        pairs.append((min(max(scale, 0), MAX_SCALE), None if rng.random() < 0.1 else total))
    for number in rng.permutation(len(pairs)).tolist():
        await bench.scale(*pairs[number])
    await bench.finish()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sum_of_zero_ends(dut: Dut) -> None:
    """Nothing depends on the quotient by a sum of zero, but it comes, and leaves nothing behind."""
    rng = generator()
    bench = Bench(dut, rng, NEVER)
    await bench.start()
    for scale in (0, 1, MAX_SCALE):
        await bench.scale(scale, 0)
        await bench.scale(scale, UNCHANGED)
    await bench.finish()
