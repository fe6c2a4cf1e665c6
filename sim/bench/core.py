"""Core against the integer reference: every stage of every token, tokens, tape and counters.

Random models of several shapes, some of them corner cases: scales, taps and biases at the ends of
their ranges, matrices of one sign.
"""

import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.program import Op
from trilight.hw.contract.protocol import Region, RunFlag
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.core import READ_LATENCY, RESTART_LATENCY
from trilight.hw.interfaces import run_layout, token_event_layout
from trilight.hw.memory.scrub import check_cycles
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import MATRICES, Layer, Matrix, Model
from trilight.sw.report.schedule import Schedule, SequenceRequest

from .coverage import TURNS, cover, cover_flags, temperature_bin
from .device import DEVICE
from .streams import Dut, Sink, Source, cycle, generator, pauses, start, unpack
from .traces import ReferenceDevice, TraceChecker

TOKEN_EVENT = token_event_layout(DEVICE)

PROGRAM_WORDS = ModelConfig(
    vocab_size=16, d_model=16, n_layers=1, d_hidden=16).program_words - 16
"""Words of the program of a layer and a head, without the output bias."""

ALL_FLAGS = RunFlag.RESET | RunFlag.SEED | RunFlag.CLEAR
MAX_TEMPERATURE = (1 << NUMBERS.temperature_bits) - 1

LONGEST_PAUSE = 200
"""Cycles; a link is done with an event long before the next token."""

TOKEN_CYCLES = 1000
"""About what a token of the least model takes."""

MIN = DEVICE.min_rows

SHAPES = {
    "least": ModelConfig(vocab_size=MIN, d_model=MIN, n_layers=1, d_hidden=MIN),
    "deep": ModelConfig(vocab_size=MIN + 5, d_model=MIN + 2, n_layers=4, d_hidden=MIN + 7),
    "blocks": ModelConfig(vocab_size=50, d_model=41, n_layers=2, d_hidden=121),
    "wide": ModelConfig(vocab_size=128, d_model=121, n_layers=1, d_hidden=200),
    "edges": ModelConfig(
        vocab_size=min(DEVICE.max_vocab, DEVICE.program_words - PROGRAM_WORDS), d_model=MIN,
        n_layers=1, d_hidden=min(DEVICE.max_columns, DEVICE.max_rows // 2)),
}
"""Shapes of models, of which ``edges`` has as many tokens, columns and rows as the device."""

WORD_CYCLES = check_cycles(DEVICE, 1) - check_cycles(DEVICE, 0)
"""Cycles of a word's check."""


def corner_case(model: Model, rng: np.random.Generator) -> Model:
    """The model with many parameters at the ends of their ranges."""
    d = model.config.d_model

    def matrix(original: Matrix) -> Matrix:
        trits = original.trits.copy()
        if rng.random() < 0.3:
            trits[:] = rng.choice([-1, 1], (len(trits), 1))
        scale = int(np.clip(original.scale * 2 ** rng.uniform(-2, 4), 1, (1 << 15) - 1))
        return Matrix(trits, scale)

    def layer(original: Layer) -> Layer:
        return replace(
            original, **{name: matrix(getattr(original, name)) for name in MATRICES},
            tap_now=rng.choice([-128, 127], d), tap_prev=rng.choice([-128, 127], d),
            glu_tap=int(rng.choice([1, 127])),
            forget_bias=rng.choice([-128, 0, 127], d))

    tokens = model.config.vocab_size
    return replace(model, layers=tuple(layer(original) for original in model.layers),
                   embed_scale=(1 << 11) - 1, head_scale=(1 << 15) - 1, head_tap=127,
                   head_bias=rng.choice([-1 << 15, (1 << 15) - 1, 0], tokens))


class Bench:
    """Bench that writes a model into the core, runs it, and compares tokens, counters, traces."""

    def __init__(self, dut: Dut, rng: np.random.Generator) -> None:
        self.dut = dut
        self.rng = rng
        self.announced: list[tuple[int, int, int]] = []
        """Sequence, position and token of each event since the last run began."""
        self.traces: TraceChecker | None = None
        self.held = False
        """Sequence 0 has been prepared."""
        self._requests: list[SequenceRequest | None] = [None] * DEVICE.sequences
        """Parameters of the next run, of sequences that have been prepared."""

    async def start(self) -> None:
        dut = self.dut
        self.runs = Source(dut, "run__request", run_layout(DEVICE), pauses(self.rng, 0.5))
        for number in range(DEVICE.sequences):
            Sink(dut, f"events__{number}", partial(self._on_event, number),
                 pauses(self.rng, 0.7, LONGEST_PAUSE))
        await start(dut, bus__address=0, bus__region=0, bus__to_weights=0, bus__data=0,
                    bus__write=0, bus__read=0, run__stop=0)

    def _on_event(self, sequence: int, bits: int) -> None:
        event = unpack(TOKEN_EVENT, bits)
        self.announced.append((sequence, event["position"], event["token"]))
        cover("core.event", sequence)

    def address(self, address: int) -> None:
        """Put the address of a word on the bus."""
        region = Region.of(address)
        to_weights = region == Region.WEIGHTS
        self.dut.bus__to_weights.value = int(to_weights)
        self.dut.bus__region.value = 0 if to_weights else region.number
        self.dut.bus__address.value = address - region

    async def write(self, address: int, units: Iterable[int]) -> None:
        dut = self.dut
        pause = DEVICE.write_cycles - 1 if Region.of(address) == Region.WEIGHTS else 0
        for offset, unit in enumerate(units):
            self.address(address + offset)
            dut.bus__data.value = unit
            dut.bus__write.value = 1
            await RisingEdge(dut.clk)
            if pause:
                dut.bus__write.value = 0
                await ClockCycles(dut.clk, pause)
        dut.bus__write.value = 0

    async def read(self, address: int) -> int:
        dut = self.dut
        self.address(address)
        dut.bus__read.value = 1
        await RisingEdge(dut.clk)
        dut.bus__read.value = 0
        await ClockCycles(dut.clk, READ_LATENCY - 1)
        await FallingEdge(dut.clk)
        assert int(dut.bus__read_valid.value), f"no response to a read of {address:#x}"
        unit = int(dut.bus__read_data.value)
        await RisingEdge(dut.clk)
        return unit

    async def load(self, model: Model) -> None:
        """Write a model's image; read some of its weights back."""
        for address, units in compile_image(model, DEVICE).segments:
            await self.write(address, units.tolist())
            if address == Region.WEIGHTS:
                self.weights = units.astype("<u2")
                for unit in self.rng.integers(0, len(units), 20).tolist():
                    got = await self.read(address + unit)
                    assert got == units[unit], f"unit {unit}: {got:#x} != {units[unit]:#x}"
        # Memories keep what was in them before the reset.
        await self.write(Region.TAPE, [0] * DEVICE.sequences * DEVICE.tape_tokens)
        self.device = ReferenceDevice(model, DEVICE)
        self.config = config = model.config
        kinds = (Op.MIX, Op.RESIDUAL, Op.GLU)
        *shapes, down = config.layer_operations(DEVICE.packing)
        for kind, shape in (*zip(kinds, shapes, strict=True), (Op.RESIDUAL, down),
                            (Op.HEAD, config.head(DEVICE.packing))):
            cover("core.operation", f"{kind.name} {'short' if shape.short else 'long'}")

    def trace(self) -> TraceChecker:
        """Compare every stage from now on."""
        self.traces = self.device.traces = TraceChecker(self.dut, self.dut.clk)
        return self.traces

    async def write_tape(self, position: int, tokens: list[int], sequence: int = 0) -> None:
        self.device.write_tape(position, tokens, sequence)
        start = Region.TAPE + sequence * DEVICE.tape_tokens
        for offset, token in enumerate(tokens):
            await self.write(start + (position + offset) % DEVICE.tape_tokens, [token])

    async def begin(self, flags: RunFlag, n_feed: int, n_generate: int, temperature: int,
                    seed: int, sequence: int = 0) -> None:
        self.announced.clear()
        cover_flags("core.flag", flags)
        cover("core.temperature", temperature_bin(temperature))
        cover("core.seed", "other" if seed else "0")
        cover("core.run", "generates" if n_generate else "prompt only")
        if RunFlag.HOLD not in flags:
            # Of a device that has been prepared the other sequence runs too.
            cover("core.run", TURNS[self.held and sequence > 0])
        self.held = RunFlag.HOLD in flags
        await self.runs.send([{"flags": flags, "sequence": sequence, "n_feed": n_feed,
                               "n_generate": n_generate, "temperature": temperature, "seed": seed}])

    async def run(self, flags: RunFlag, n_feed: int, n_generate: int, temperature: int = 0,
                  seed: int = 0, sequence: int = 0, *, disturbed: bool = False) -> None:
        """Run to the end and compare events and counters; traces are compared as they come.

        Parameters
        ----------
        disturbed : bool
            The host makes the sequencer wait meanwhile: the run takes longer than is computed.
        """
        dut = self.dut
        if not sequence:
            self._requests = [None] * DEVICE.sequences
        self._requests[sequence] = SequenceRequest(n_feed, n_generate)
        cycles = 0 if RunFlag.CLEAR in flags else int(dut.status__cycles.value)
        events = self.device.run(flags, n_feed, n_generate, temperature, seed, sequence)
        await self.begin(flags, n_feed, n_generate, temperature, seed, sequence)
        if RunFlag.HOLD in flags:
            return
        begin = cycle()
        await FallingEdge(dut.status__running)
        took = cycle() - begin
        cycles += took
        requests, self._requests = self._requests, [None] * DEVICE.sequences
        if not disturbed:
            assert took == Schedule(self.config, requests, DEVICE).cycles, "cycles of the model"
        await ClockCycles(dut.clk, LONGEST_PAUSE + 10)
        # Events of two sequences wait for each other, so only those of one have an order.
        assert sorted(self.announced) == sorted(events)
        device = self.device
        counted = {name: int(dut[f"status__{name}"].value)
                   for name in ("cycles", "words", "tokens")}
        assert counted == {"cycles": cycles, "words": device.words, "tokens": device.tokens}
        assert self.positions() == device.positions
        if device.positions[0] > DEVICE.tape_tokens:
            cover("core.tape", "wraps")
        assert self.traces is None or not self.traces.pending, "values are missing"

    def positions(self) -> list[int]:
        """Position of each sequence."""
        bits = int(self.dut.status__positions.value)
        return [bits >> 16 * k & 0xFFFF for k in range(DEVICE.sequences)]

    async def read_tape_always(self, first: int, last: int) -> None:
        """Read some of the tape in half of all cycles, which the sequencer has to wait for."""
        dut = self.dut
        asked: deque[int | None] = deque([None] * READ_LATENCY)
        tape = self.device.sequences[0].tape
        while True:
            position = int(self.rng.integers(first, last)) if self.rng.random() < 0.5 else None
            dut.bus__read.value = int(position is not None)
            self.address(Region.TAPE + (position or 0))
            asked.append(position)
            await FallingEdge(dut.clk)
            answered = asked.popleft()
            assert int(dut.bus__read_valid.value) == (answered is not None)
            if answered is not None:
                assert int(dut.bus__read_data.value) == tape[answered]
                cover("core.tape", "read while running")
            await RisingEdge(dut.clk)

    async def compare_tapes(self) -> None:
        for number, sequence in enumerate(self.device.sequences):
            start = Region.TAPE + number * DEVICE.tape_tokens
            tape = [await self.read(start + position) for position in range(DEVICE.tape_tokens)]
            assert tape == sequence.tape, f"tape of sequence {number}"


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """Temperature and seed of a run, often special ones."""
    return {"temperature": int(rng.choice([0, 1, 205, 256, MAX_TEMPERATURE])),
            "seed": int(rng.choice([0, 1, int(rng.integers(1 << 32))]))}


async def loaded(dut: Dut, shape: str, is_corner_case: bool = False) -> Bench:
    """A bench with a random model of a shape in the core."""
    rng = generator()
    bench = Bench(dut, rng)
    await bench.start()
    model = Model.random(SHAPES[shape], int(rng.integers(1 << 32)))
    await bench.load(corner_case(model, rng) if is_corner_case else model)
    return bench


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize((("shape", "is_corner_case"), [
    ("least", False), ("least", True), ("deep", False), ("blocks", True), ("wide", False),
    ("edges", False)]))
async def every_stage(dut: Dut, shape: str, is_corner_case: bool) -> None:
    """A prompt, a generation, and continuations with and without a reset."""
    bench = await loaded(dut, shape, is_corner_case)
    rng, config, traces = bench.rng, SHAPES[shape], bench.trace()
    await bench.write_tape(0, rng.integers(0, config.vocab_size, 3).tolist())
    await bench.run(ALL_FLAGS, 1, 0, **draw(rng))
    await bench.run(RunFlag(0), 1, 1, **draw(rng))
    await bench.run(RunFlag.SEED | RunFlag.CLEAR, 1, 1, **draw(rng))
    await bench.run(RunFlag.RESET, 2, 1, **draw(rng))
    traces.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize((("shape", "is_corner_case"), [
    ("least", False), ("least", True), ("deep", False), ("blocks", True), ("wide", False)]))
async def several_sequences(dut: Dut, shape: str, is_corner_case: bool) -> None:
    """Sequences at once give what each gives alone, whichever ends first."""
    bench = await loaded(dut, shape, is_corner_case)
    rng, config, traces = bench.rng, SHAPES[shape], bench.trace()
    again = RunFlag(0)
    last = DEVICE.sequences - 1
    for given in (((1, 2), (3, 0), (1, 1), (2, 1)), ((3, 1), (1, 1), (1, 0), (1, 2)),
                  ((1, 0), (1, 2), (2, 0), (1, 1)), ((2, 0), (2, 0), (2, 0), (2, 0))):
        lengths = given[:DEVICE.sequences]
        for number, (n_feed, _) in enumerate(lengths):
            tokens = rng.integers(0, config.vocab_size, n_feed).tolist()
            await bench.write_tape(bench.device.positions[number] * bool(again), tokens, number)
        for number in range(DEVICE.sequences):
            hold = RunFlag.HOLD if number < last else RunFlag(0)
            reset = again or RunFlag.RESET | RunFlag.SEED
            await bench.run(hold | reset, *lengths[number], **draw(rng), sequence=number)
        again = RunFlag.SEED
    await bench.run(RunFlag(0), 1, 1, **draw(rng), sequence=last)
    await bench.run(ALL_FLAGS, 1, 1, **draw(rng))
    await bench.compare_tapes()
    traces.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def tape_wraps_and_is_read(dut: Dut) -> None:
    """More tokens than the tape holds, while the host reads it."""
    bench = await loaded(dut, "least")
    rng, config = bench.rng, SHAPES["least"]
    await bench.write_tape(0, rng.integers(0, config.vocab_size, DEVICE.tape_tokens).tolist())
    await bench.run(ALL_FLAGS, 250, 4, **draw(rng))
    traces = bench.trace()
    reading = cocotb.start_soon(bench.read_tape_always(20, 240))
    await bench.run(RunFlag(0), 1, 12, **draw(rng), disturbed=True)
    reading.cancel()
    await ClockCycles(dut.clk, 2)
    dut.bus__read.value = 0
    await bench.compare_tapes()
    traces.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def stops_after_a_token(dut: Dut) -> None:
    """A run that is stopped ends after the token in progress, and can be continued."""
    bench = await loaded(dut, "least")
    rng, config = bench.rng, SHAPES["least"]
    for number in range(6):
        prompt = rng.integers(0, config.vocab_size, 3).tolist()
        await bench.write_tape(0, prompt)
        parameters = draw(rng)
        await bench.begin(ALL_FLAGS, len(prompt), 50, **parameters)
        await ClockCycles(dut.clk, number * TOKEN_CYCLES + int(rng.integers(TOKEN_CYCLES)))
        dut.run__stop.value = 1
        before = bench.positions()[0]
        await RisingEdge(dut.clk)
        dut.run__stop.value = 0
        await FallingEdge(dut.status__running)
        fed = bench.positions()[0]
        # The next token may have been begun when the last result of this one was still to come.
        assert fed - before <= 2, f"{fed - before} tokens after a stop"
        generated = max(fed - len(prompt) + 1, 0)
        device = bench.device
        await ClockCycles(dut.clk, LONGEST_PAUSE + 10)
        events = device.run(ALL_FLAGS, min(fed, len(prompt)), generated, **parameters)
        assert bench.announced == events
        counted = (int(dut.status__tokens.value), int(dut.status__words.value))
        assert counted == (device.tokens, device.words)
        cover("core.run", "stopped")
        if generated:
            await bench.run(RunFlag(0), 1, 2, **parameters)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def check_of_the_weights(dut: Dut) -> None:
    """The check reads as zlib has it, for any number of words, after whatever has restarted it."""
    bench = await loaded(dut, "least")
    rng = bench.rng
    weights = rng.integers(0, 1 << 16, len(bench.weights), np.uint16)
    await bench.write(Region.WEIGHTS, weights.tolist())

    async def compare(words: int) -> None:
        used = weights[:DEVICE.packing.word_units * words].astype("<u2").tobytes()
        found = [await bench.read(Region.WEIGHT_CRC + place) for place in range(3)]
        cover("core.check", "complete")
        assert found == [1, *np.frombuffer(zlib.crc32(used).to_bytes(4, "little"), "<u2")], words

    async def completes(words: int, since: int) -> None:
        assert await bench.read(Region.WEIGHT_CRC) == 0, "complete before its end"
        cover("core.check", "not complete")
        await FallingEdge(dut.checking)
        took = cycle() - since - RESTART_LATENCY
        assert took == check_cycles(DEVICE, words)
        await compare(words)

    last = len(weights) // DEVICE.packing.word_units
    for words in (1, 2, int(rng.integers(3, last)), last):
        await bench.write(Region.WEIGHT_CRC, [words - 1])
        await completes(words, cycle() - 1)
    # What touches other memories meanwhile does not matter.
    await bench.write(Region.WEIGHT_CRC, [last - 1])
    since = cycle() - 1
    for _ in range(20):
        await bench.write(Region.TAPE + 5, [0] * int(rng.integers(1, 2 * WORD_CYCLES)))
        assert await bench.read(Region.TAPE + 5) == 0
    await completes(last, since)
    # Whatever touches the weights restarts it, however far it is.
    for _ in range(20):
        await ClockCycles(dut.clk, int(rng.integers(1, 3 * WORD_CYCLES)))
        place = int(rng.integers(len(weights)))
        if rng.integers(2):
            weights[place] ^= 1 << rng.integers(16)
            await bench.write(place, [int(weights[place])])
        else:
            assert await bench.read(place) == weights[place]
            await ClockCycles(dut.clk, int(rng.integers(2)))
    await FallingEdge(dut.checking)
    await compare(last)
    # A run too; what it shows meanwhile is that nothing is complete.
    await bench.write_tape(0, [0, 1, 2])
    await bench.begin(ALL_FLAGS, 3, 0, 0, 0)
    await RisingEdge(dut.status__running)
    assert [await bench.read(Region.WEIGHT_CRC + place) for place in range(3)] == [0, 0, 0]
    await FallingEdge(dut.status__running)
    await FallingEdge(dut.checking)
    await compare(last)
