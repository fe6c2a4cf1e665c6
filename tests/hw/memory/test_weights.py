# amaranth: UnusedElaboratable=no
"""The weight memory of a chip, for several packings: host, check, stream and single words."""

import zlib
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator
from numpy.typing import NDArray

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.errors import CapacityError
from trilight.hw.memory.scrub import check_cycles
from trilight.hw.memory.weights import UNIT_LATENCY, WeightStore

WORDS = 20

DEVICES = [
    Device(name=f"{lanes} lanes of {trits}", lanes=lanes, trits=trits, weight_words=WORDS,
           weight_memory=WeightMemory.BLOCK_RAM)
    for lanes, trits in ((2, 5), (8, 5), (12, 5), (12, 3), (64, 3), (86, 3))]


class Store:
    """A weight store, and what its host and its engine do with it."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.dut: Any = WeightStore(device=device)
        self.ctx: Any = None

    def simulate(self, script: Any) -> None:
        async def testbench(ctx: Any) -> None:
            self.ctx = ctx
            await script(self)

        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(testbench)
        simulator.run()

    async def write(self, units: NDArray[np.uint16]) -> None:
        ctx, dut = self.ctx, self.dut
        for address, unit in enumerate(units.tolist()):
            ctx.set(dut.write, 1)
            ctx.set(dut.addr, address)
            ctx.set(dut.unit_data, unit)
            await ctx.tick()
            ctx.set(dut.write, 0)
            if self.device.write_cycles > 1:
                await ctx.tick().repeat(self.device.write_cycles - 1)

    async def read(self, address: int) -> int:
        ctx, dut = self.ctx, self.dut
        ctx.set(dut.addr, address)
        ctx.set(dut.read, 1)
        await ctx.tick()
        ctx.set(dut.read, 0)
        await ctx.tick().repeat(UNIT_LATENCY - 1)
        return int(ctx.get(dut.unit))


def contents(device: Device, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Units of all words; bits past a word's end are 0."""
    packing = device.packing
    bits = rng.integers(0, 2, (WORDS, 16 * packing.word_units), np.uint8)
    bits[:, packing.word_bits:] = 0
    return np.frombuffer(np.packbits(bits, bitorder="little").tobytes(), "<u2")


def words(units: NDArray[np.uint16], device: Device) -> list[int]:
    return [int.from_bytes(word.astype("<u2").tobytes(), "little")
            for word in units.reshape(-1, device.packing.word_units)]


@pytest.fixture(params=DEVICES, ids=lambda device: device.name)
def store(request: pytest.FixtureRequest) -> Store:
    return Store(request.param)


def test_units_are_written_and_read(store: Store, rng: np.random.Generator) -> None:
    units = contents(store.device, rng)

    async def script(store: Store) -> None:
        await store.write(units)
        for address in rng.permutation(len(units))[:40].tolist():
            assert await store.read(address) == units[address]

    store.simulate(script)


@pytest.mark.parametrize("last", [0, 1, WORDS - 1])
def test_check_is_of_all_units(store: Store, last: int, rng: np.random.Generator) -> None:
    units = contents(store.device, rng)
    used = units[:store.device.packing.word_units * (last + 1)]

    async def script(store: Store) -> None:
        ctx, dut = store.ctx, store.dut
        await store.write(units)
        ctx.set(dut.unit_data, last)
        ctx.set(dut.write_check, 1)
        await ctx.tick()
        ctx.set(dut.write_check, 0)
        cycles = 0
        while not ctx.get(dut.complete):
            await ctx.tick()
            cycles += 1
        assert cycles == check_cycles(store.device, last + 1)
        assert ctx.get(dut.crc) == zlib.crc32(used.astype("<u2").tobytes())

    store.simulate(script)


def test_words_stream_in_order_and_again(store: Store, rng: np.random.Generator) -> None:
    """Three operations, the second one twice, while single words are fetched; then from word 0."""
    units = contents(store.device, rng)
    memory = words(units, store.device)
    lengths = [(4, False), (5, False), (5, True), (6, False)]
    expected: list[int] = []
    for length, replay in lengths:
        begin = expected[-length] if replay else (expected[-1] + 1 if expected else 0)
        expected += range(begin, begin + length)
    expected += range(4)

    async def script(store: Store) -> None:
        ctx, dut = store.ctx, store.dut
        await store.write(units)
        ctx.set(dut.running, 1)
        await ctx.tick().repeat(2)
        ctx.set(dut.words.rests, 1)
        ctx.set(dut.words.jumps, 1)
        ctx.set(dut.words.rewinds, 1)
        await ctx.tick()
        for name in ("rests", "jumps", "rewinds"):
            ctx.set(getattr(dut.words, name), 0)
        shown: dict[int, int] = {}  # cycle: word that has to be shown then
        operations = [*(length for length, _ in lengths), 4]
        replays = [*(replay for _, replay in lengths[1:]), None]
        number, done, cycle, got = 0, 0, 0, 0
        while got < len(expected) or max(shown) >= cycle:
            fetches = bool(rng.integers(4) == 0)
            address = int(rng.integers(WORDS))
            ctx.set(dut.fetch.read, fetches)
            ctx.set(dut.fetch.addr, address)
            takes = got < len(expected) and bool(rng.integers(3))
            ctx.set(dut.words.ready, takes)
            if got < len(expected):
                last = done == operations[number] - 1
                following = replays[number] if last and number < len(replays) else False
                ctx.set(dut.words.opens, done == 0)
                ctx.set(dut.words.jumps, following is None or bool(following))
                ctx.set(dut.words.rewinds, following is None)
            if cycle in shown:
                assert ctx.get(dut.words.payload) == ctx.get(dut.fetch.data) == shown[cycle]
            assert ctx.get(dut.words.valid) == (not fetches)
            if fetches:
                shown[cycle + store.device.read_latency] = memory[address]
            elif takes:
                shown[cycle + store.device.read_latency] = memory[expected[got]]
                got, done = got + 1, done + 1
                if done == operations[number]:
                    number, done = number + 1, 0
            await ctx.tick()
            cycle += 1

    store.simulate(script)


def test_words_from_outside_are_in_no_chip() -> None:
    device = Device(name="outside", weight_words=WORDS, weight_memory=WeightMemory.EXTERNAL)
    with pytest.raises(CapacityError, match="needs SPRAM or block RAM, not the external memory"):
        WeightStore(device=device)
