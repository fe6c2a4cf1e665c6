"""Noise for large vocabularies: tokens are drawn as their probabilities say."""

from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.noise import BYTE, FINE, NoiseFormat
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.interfaces import LOGIT_LATENCY
from trilight.hw.sampler import Sampler as SamplerGateware
from trilight.sw.reference.sampler import Sampler
from trilight.sw.reference.tables import gumbel_table

VOCAB = 32_768

LARGE = Device(name="large vocabulary", max_vocab=VOCAB, program_words=VOCAB, max_rows=VOCAB,
               weight_words=1 << 20, weight_memory=WeightMemory.EXTERNAL)


def share_of_favourite(noise: NoiseFormat, lead: float) -> float:
    """Exact probability that a token ``lead`` ahead of all others of the vocabulary is drawn.

    Ties are the favourite's, as it comes first.
    """
    length = np.array([draw_count(noise, index) for index in range(noise.entries)], float)
    values = gumbel_table(noise) / (1 << NUMBERS.gumbel_frac)
    chance = length / length.sum()
    order = np.argsort(values)
    below = np.cumsum(chance[order])
    rank = np.searchsorted(values[order], values + lead, side="right")
    others = np.where(rank > 0, below[np.maximum(rank, 1) - 1], 0.0)
    return float(np.sum(chance * others ** (VOCAB - 1)))


def draw_count(noise: NoiseFormat, index: int) -> int:
    """Draws that an entry stands for."""
    if not noise.mantissa_bits:
        return 1
    zeros, mantissa = divmod(index, 1 << noise.mantissa_bits)
    one = noise.draw_bits - 1 - zeros
    if one < 0:
        return 0
    if one >= noise.mantissa_bits:
        return 1 << one - noise.mantissa_bits
    return int(mantissa % (1 << noise.mantissa_bits - one) == 0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_shares_are_those_of_the_softmax(share: float) -> None:
    lead = np.log(share * (VOCAB - 1) / (1 - share))
    assert share_of_favourite(FINE, lead) == pytest.approx(share, abs=0.02)
    # 256 quantiles end below the lead that a likely token has among so many.
    assert share_of_favourite(BYTE, lead) > 0.99


def test_each_entry_stands_for_its_draws(rng: np.random.Generator) -> None:
    draws = [0, 1, 2, (1 << FINE.draw_bits) - 1,
             *(int(draw) >> int(rng.integers(24)) for draw in rng.integers(1 << 24, size=2000))]
    table = gumbel_table(FINE) / (1 << NUMBERS.gumbel_frac)
    for draw in draws:
        above = (draw + 0.5) / (1 << FINE.draw_bits)
        exact = -np.log(-np.log1p(-above))
        # Half of an entry's width, which is largest at the lower end, where nothing is drawn from.
        assert abs(table[FINE.index(draw)] - exact) < (0.04 if above < 0.9 else 1.6) or not draw


def test_tokens_that_are_drawn(seed: int) -> None:
    """The sampler itself, at an even chance."""
    logits = np.zeros(VOCAB, np.int64)
    favourite = VOCAB // 3
    logits[favourite] = round(np.log(VOCAB - 1) * (1 << NUMBERS.logit_frac))
    sampler, draws = Sampler(seed, 1.0, FINE), 24
    hits = sum(sampler.sample(logits) == favourite for _ in range(draws))
    # Always or never is one run in eight million.
    assert 0 < hits < draws
    assert Sampler(seed, 1.0, BYTE).sample(logits) == favourite


def test_the_gateware_draws_the_same(seed: int, rng: np.random.Generator) -> None:
    dut: Any = SamplerGateware(device=LARGE)
    reference = Sampler(seed, 1.5, LARGE.noise)
    table = gumbel_table(LARGE.noise)
    vectors = [rng.integers(-300, 300, int(rng.integers(2, 60))) for _ in range(8)]
    expected = [reference.sample(vector) for vector in vectors]
    found: list[int] = []

    async def testbench(ctx: Any) -> None:
        ctx.set(dut.write_gumbel.en, 1)
        for address, value in enumerate(table.tolist()):
            ctx.set(dut.write_gumbel.addr, address)
            ctx.set(dut.write_gumbel.data, value & 0xFFFF)
            await ctx.tick()
        ctx.set(dut.write_gumbel.en, 0)
        ctx.set(dut.sampling.seed, seed)
        ctx.set(dut.sampling.load_seed, 1)
        ctx.set(dut.sampling.temperature, reference.temperature)
        await ctx.tick()
        ctx.set(dut.sampling.load_seed, 0)
        for vector in vectors:
            for cycle in range(len(vector) + LOGIT_LATENCY):
                ctx.set(dut.logits.draw, cycle < len(vector))
                row = cycle - LOGIT_LATENCY
                ctx.set(dut.logits.logits.valid, row >= 0)
                if row >= 0:
                    ctx.set(dut.logits.logits.payload.value, int(vector[row]))
                    ctx.set(dut.logits.logits.payload.last, row == len(vector) - 1)
                await ctx.tick()
            ctx.set(dut.logits.logits.valid, 0)
            await ctx.tick().until(dut.done)
            found.append(ctx.get(dut.sampling.token))
            await ctx.tick().repeat(3)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert found == expected
