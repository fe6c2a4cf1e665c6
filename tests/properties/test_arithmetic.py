"""Arithmetic of the vector unit: every case where they are few, drawn ones where they are not."""

from typing import Any

import numpy as np
from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.control.divider import EffectiveScale
from trilight.hw.lib.arith import clip_symmetric, round_add, saturate
from trilight.hw.support.boards import board_device
from trilight.sw.reference.model import rshift

DEVICE = board_device()

CLOCK_S = 1e-6
MAX = (1 << NUMBERS.scale_bits) - 1


def test_the_state_stays_between_its_ends() -> None:
    """h = c + rshift(f (h - c), 12) for every f and every difference: so it never saturates."""
    forget = np.arange(1 << NUMBERS.forget_bits, dtype=np.int32)
    maximum = (1 << NUMBERS.gate_bits) - 1
    for change in range(-maximum, maximum + 1):
        step = rshift(forget * change, NUMBERS.forget_bits)
        low, high = min(change, 0), max(change, 0)
        assert low <= step.min()
        assert step.max() <= high


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, MAX), st.integers(1, MAX), st.booleans()), min_size=1,
                max_size=6))
@example([(MAX, 1, True), (1, MAX, True), (MAX, MAX, True), (1, 1, False)])
def test_divider_gives_the_quotient(cases: list[tuple[int, int, bool]]) -> None:
    divider = EffectiveScale(device=DEVICE)
    found: list[int] = []

    async def bench(context: Any) -> None:
        for scale, total, divide in cases:
            for signal, value in ((divider.scale, scale), (divider.not_total, MAX - total),
                                  (divider.divide, int(divide)), (divider.start, 1)):
                context.set(signal, value)
            await context.tick()
            context.set(divider.start, 0)
            while not context.get(divider.done):
                await context.tick()
            found.append(context.get(divider.result))

    simulator = Simulator(divider)
    simulator.add_clock(CLOCK_S)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == [min(MAX, (scale << NUMBERS.norm_shift) // total) if divide else scale
                     for scale, total, divide in cases]


WIDTH, SHIFT, BITS = 20, 7, 8
VALUES = st.integers(-(1 << WIDTH - 1), (1 << WIDTH - 1) - 1)


@given(st.lists(VALUES, min_size=1, max_size=40))
@example([-(1 << WIDTH - 1), (1 << WIDTH - 1) - 1, -1, 0, 127, 128, -127, -128, -129])
def test_rounding_and_saturation(values: list[int]) -> None:
    m = Module()
    value = Signal(signed(WIDTH))
    results = [Signal(signed(WIDTH), name=name) for name in ("saturated", "clipped", "rounded")]
    m.d.comb += [signal.eq(formula) for signal, formula in zip(results, (
        saturate(value, BITS), clip_symmetric(value, BITS),
        round_add(value, SHIFT, Signal(signed(1)), width=WIDTH - SHIFT + 1)), strict=True)]
    found: list[tuple[int, ...]] = []

    async def bench(context: Any) -> None:
        for each in values:
            context.set(value, each)
            await context.delay(CLOCK_S)
            found.append(tuple(context.get(signal)
                               for signal in results))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    half = 1 << BITS - 1
    assert found == [(min(max(each, -half), half - 1), min(max(each, 1 - half), half - 1),
                      (each + (1 << SHIFT - 1)) >> SHIFT) for each in values]
