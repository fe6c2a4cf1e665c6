"""Sampler against the integer reference: ties, extreme logits, every temperature, pauses.

Two sequences take turns, each with a generator of its own.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge
from numpy.typing import NDArray

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.interfaces import LOGIT, LOGIT_LATENCY
from trilight.sw.reference.model import rshift
from trilight.sw.reference.sampler import Rng, Sampler
from trilight.sw.reference.tables import GUMBEL

from .checker import InOrderChecker
from .coverage import Pace, cover, ends, temperature_bin
from .device import DEVICE
from .streams import NEVER, Dut, Watch, cycle, generator, pack, pauses, start

TOKEN_LATENCY = 2
"""Cycles from the last logit to the token."""

SEQUENCES = range(DEVICE.sequences)

MAX_TEMPERATURE = (1 << NUMBERS.temperature_bits) - 1
LOGITS = (-(1 << NUMBERS.logit_bits - 1), (1 << NUMBERS.logit_bits - 1) - 1)
NOISE = (-(1 << NUMBERS.gumbel_bits - 1), (1 << NUMBERS.gumbel_bits - 1) - 1)


class SamplerModel:
    """The reference's formula with any table in place of Gumbel's."""

    def __init__(self) -> None:
        self.rng = Rng(0)

    def sample(self, logits: NDArray[Any], temperature: int, table: NDArray[Any]) -> int:
        drawn = [self.rng.draw() for _ in logits]
        noise = table[drawn]
        cover("sampler.noise entry", *drawn)
        ends("sampler.noise", noise, *NOISE)
        noisy = logits + rshift(temperature * noise, NUMBERS.noise_shift)
        if (noisy == noisy.max()).sum() > 1:
            cover("sampler.tie", "seen")
        return int(np.argmax(noisy))


class Bench:
    """Drives draws and logits, and checks every token and when it comes."""

    def __init__(self, dut: Dut, rests: Iterator[int]) -> None:
        self.dut = dut
        self.rests = rests
        self.pace = Pace("logits__logits")
        self.tokens = InOrderChecker("token")
        self.times = InOrderChecker("cycle of token")

    async def start(self) -> None:
        await start(self.dut, logits__draw=0, logits__logits__valid=0, logits__logits__payload=0,
                    logits__sequence=0, sampling__temperature=0, sampling__seed=0,
                    sampling__seed_sequence=0, sampling__load_seed=0, write_gumbel__addr=0,
                    write_gumbel__data=0, write_gumbel__en=0)
        Watch(self.dut.clk, self.dut.done, self.dut.sampling__token, self._token)

    def _token(self, token: int) -> None:
        self.tokens(token)
        self.times(cycle())

    async def write_table(self, table: NDArray[Any]) -> None:
        self.dut.write_gumbel__en.value = 1
        for addr, value in enumerate(table.tolist()):
            self.dut.write_gumbel__addr.value = addr
            self.dut.write_gumbel__data.value = value & 0xFFFF
            await RisingEdge(self.dut.clk)
        self.dut.write_gumbel__en.value = 0

    async def load_seed(self, sequence: int, seed: int) -> None:
        cover("sampler.seed", "other" if seed else "0")
        self.dut.sampling__seed.value = seed
        self.dut.sampling__seed_sequence.value = sequence
        self.dut.sampling__load_seed.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.sampling__load_seed.value = 0

    async def sample(self, sequence: int, logits: NDArray[Any], temperature: int,
                     token: int) -> None:
        """Send one vector of logits, each some cycles after its draw, and expect ``token``.

        The draws of a vector do not begin before the token of the one before.
        """
        dut = self.dut
        cover("sampler.sequence", sequence)
        cover("sampler.temperature", temperature_bin(temperature))
        ends("sampler.logit", logits, *LOGITS)
        ends("sampler.vocabulary", [len(logits)], 1, DEVICE.max_vocab)
        await ClockCycles(dut.clk, TOKEN_LATENCY)
        dut.logits__sequence.value = sequence
        dut.sampling__temperature.value = temperature
        on_the_way: deque[int | None] = deque([None] * LOGIT_LATENCY)
        last = len(logits) - 1
        for index, logit in enumerate(logits.tolist()):
            payload = pack(LOGIT, value=logit, last=index == last)
            on_the_way.extend([None] * next(self.rests))
            on_the_way.append(payload)
        self.tokens.expect([token])
        self.times.expect([cycle() + len(on_the_way) - 1 + TOKEN_LATENCY])
        drawn = [payload is not None for payload in on_the_way][LOGIT_LATENCY:]
        for draw, arrived in zip([*drawn, *[False] * LOGIT_LATENCY], on_the_way, strict=True):
            dut.logits__draw.value = draw
            dut.logits__logits__valid.value = arrived is not None
            dut.logits__logits__payload.value = arrived or 0
            if arrived is not None:
                self.pace.transfer(cycle())
            await RisingEdge(dut.clk)
        dut.logits__logits__valid.value = 0

    async def finish(self) -> None:
        for _ in range(8):
            await RisingEdge(self.dut.clk)
        self.tokens.finish()
        self.times.finish()


def vectors(rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Logits of every kind: spread, close together, all alike, at the ends of their range."""
    size = DEVICE.max_vocab
    yield np.full(size, LOGITS[0])
    yield np.full(size, LOGITS[1])
    yield rng.choice(LOGITS, size)
    yield np.zeros(1, np.int64)
    for _ in range(4):
        size = int(rng.integers(2, DEVICE.max_vocab + 1))
        yield rng.integers(*LOGITS, size, endpoint=True)
        yield rng.integers(-3, 4, size)
        yield rng.integers(-200, 200, size)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(stalled=[False, True])
async def follows_reference(dut: Dut, stalled: bool) -> None:
    """The published table: tokens are those of the reference, and so are the generators' states."""
    rng = generator()
    bench = Bench(dut, pauses(rng) if stalled else NEVER)
    await bench.start()
    await bench.write_table(GUMBEL)
    references = [Sampler(0, 0) for _ in SEQUENCES]
    for seed in (0, 1, (1 << NUMBERS.rng_bits) - 1, int(rng.integers(1 << NUMBERS.rng_bits))):
        # The other generator goes on from where it is.
        seeded = int(rng.choice(SEQUENCES))
        await bench.load_seed(seeded, seed)
        references[seeded] = Sampler(seed, 0)
        for logits in vectors(rng):
            sequence = int(rng.choice(SEQUENCES))
            reference = references[sequence]
            choices = [0, 1, MAX_TEMPERATURE, int(rng.integers(MAX_TEMPERATURE))]
            temperature = int(rng.choice(choices))
            reference.temperature = temperature
            await bench.sample(sequence, logits, temperature, reference.sample(logits))
    await bench.finish()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def takes_any_table(dut: Dut) -> None:
    """Tables at the ends of their range, where sums are widest; without a seed, that of 0."""
    rng = generator()
    bench = Bench(dut, pauses(rng))
    await bench.start()
    models = [SamplerModel() for _ in SEQUENCES]
    for table in (np.full(256, NOISE[0]), np.full(256, NOISE[1]), rng.choice(NOISE, 256),
                  rng.integers(*NOISE, 256, endpoint=True)):
        await bench.write_table(table)
        for logits in vectors(rng):
            sequence = int(rng.choice(SEQUENCES))
            temperature = int(rng.choice([1, 512, MAX_TEMPERATURE]))
            await bench.sample(sequence, logits, temperature,
                               models[sequence].sample(logits, temperature, table))
    await bench.finish()
