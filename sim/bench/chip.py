"""A chip by its pins against the reference: load, prompt, generate, continue, one text or two.

The same bench runs on the design before synthesis and on the netlist of iCE40 cells. It compares
every stage of every token, the events, the tape and the counters.
"""

import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from trilight.hw.contract.protocol import (
    ACCESS,
    ADDRESS,
    IDENTITY,
    MAX_WORDS,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    RUN,
    Command,
    Region,
    RunFlag,
    status_struct,
)
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import find_board
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model

from .coverage import TURNS, cover, cover_flags, temperature_bin
from .device import DEVICE
from .streams import CLOCK_NS, Dut, cycle, generator, pauses
from .traces import ReferenceDevice, TraceChecker
from .uart import Host

BUILD_ID = "TRILIGHT_BENCH_BUILD_ID"
"""Environment variable with the build id that the design must report."""

BOARD = find_board()

POWER_ON_CYCLES = 8192

CONFIG = ModelConfig(vocab_size=96, d_model=24, n_layers=2, d_hidden=45)
"""Two layers of unequal blocks; its vocabulary has all letters."""

PROMPTS = ("To be", "Now")


STATUS = status_struct(DEVICE.sequences)


def tape(sequence: int) -> int:
    """Address of a sequence's first token."""
    return Region.TAPE + sequence * DEVICE.tape_tokens


class Bench:
    """Bench that loads a model through the pins, runs it, and compares all that can be seen."""

    def __init__(self, dut: Dut, rng: np.random.Generator, model: Model) -> None:
        self.dut = dut
        self.model = model
        self.host = Host(dut.rx, dut.tx, BOARD.clocks_per_bit,
                         pauses(rng, 0.1, 40))
        self.traces = TraceChecker(dut, dut.clk)
        self.device = ReferenceDevice(model, DEVICE)
        self.device.traces = self.traces
        self.sequence = 0
        self.cycles = 0

    async def start(self) -> None:
        Clock(self.dut.clk, CLOCK_NS, unit="ns", impl="gpi").start()
        await ClockCycles(self.dut.clk, POWER_ON_CYCLES)
        cocotb.start_soon(self._count_cycles())

    async def _count_cycles(self) -> None:
        while True:
            await RisingEdge(self.dut.trace_running)
            begin = cycle()
            await FallingEdge(self.dut.trace_running)
            self.cycles += cycle() - begin

    async def do(self, command: Command, payload: bytes = b"") -> bytes:
        self.sequence = self.sequence % 255 + 1
        cover("chip.command", command.name)
        return await self.host.do(self.sequence, command, payload)

    async def identify(self) -> None:
        assert await self.do(Command.IDENTIFY) == IDENTITY.pack(
            PROTOCOL_MAGIC, PROTOCOL_VERSION, DEVICE.trits, DEVICE.lanes, BOARD.clock_hz,
            BOARD.clocks_per_bit, int(os.environ[BUILD_ID]), DEVICE.weight_words, DEVICE.max_rows,
            DEVICE.max_columns, DEVICE.max_channels, DEVICE.program_words, DEVICE.tape_tokens,
            DEVICE.max_vocab, DEVICE.sequences, DEVICE.adapt_code)

    async def load(self) -> None:
        """Write the model's image; read the first and the last of its weights back."""
        image = compile_image(self.model, DEVICE)
        for first, units in image.segments:
            for start in range(0, len(units), MAX_WORDS):
                part = units[start:start + MAX_WORDS].astype("<u2").tobytes()
                await self.do(Command.WRITE, ADDRESS.pack(first + start) + part)
        first, units = image.segments[0]
        assert first == Region.WEIGHTS
        for start in (0, len(units) - MAX_WORDS):
            part = await self.do(Command.READ, ACCESS.pack(start, MAX_WORDS))
            assert part == units[start:start + MAX_WORDS].astype("<u2").tobytes()

    async def write_tape(self, sequence: int, position: int, tokens: list[int]) -> None:
        self.device.write_tape(position, tokens, sequence)
        await self.do(Command.WRITE, ADDRESS.pack(tape(sequence) + position)
                      + np.array(tokens, "<u2").tobytes())

    async def run(self, flags: RunFlag, n_feed: int, n_generate: int, temperature: int,
                  seed: int, sequence: int = 0) -> None:
        """Run to the end, or prepare a run; compare events, tapes and counters."""
        if RunFlag.CLEAR in flags:
            self.cycles = 0
        events = self.device.run(flags, n_feed, n_generate, temperature, seed, sequence)
        self.host.events.clear()
        await self.do(Command.RUN, RUN.pack(
            flags, sequence, n_feed, n_generate, temperature, seed))
        if RunFlag.HOLD not in flags:
            await FallingEdge(self.dut.trace_running)
        device = self.device
        status = STATUS.unpack(await self.do(Command.STATUS))
        assert status == (0, self.cycles, device.words, device.tokens, *device.positions)
        for number, one in enumerate(device.sequences):
            part = await self.do(Command.READ, ACCESS.pack(tape(number), MAX_WORDS))
            assert part == np.array(one.tape[:MAX_WORDS], "<u2").tobytes()
        assert self.host.events == events
        cover_flags("chip.flag", flags)
        cover("chip.temperature", temperature_bin(temperature))
        cover("chip.event", *(event[0] for event in events))
        if RunFlag.HOLD not in flags:
            cover("chip.run", TURNS[len({event[0] for event in events}) - 1])
        assert not self.traces.pending, "values are missing"

    async def run_without_model(self) -> None:
        """Two texts, right after power-on: the run ends at once, and nothing is fed."""
        for number, flags in enumerate((RunFlag.CLEAR | RunFlag.HOLD, RunFlag(0))):
            await self.do(Command.RUN, RUN.pack(
                flags | RunFlag.RESET | RunFlag.SEED, number, 3, 2, 0, 1))
        status = STATUS.unpack(await self.do(Command.STATUS))
        assert status == (0, self.cycles, 0, 0, 0, 0)
        assert self.cycles

    def finish(self) -> None:
        self.host.finish()
        self.traces.finish()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def generates_texts(dut: Dut) -> None:
    """A text by itself, then two that take turns, and continuations of both and of either.

    Sampled texts come first and greedy ones after them.
    """
    rng = generator()
    model = Model.random(CONFIG, int(rng.integers(1 << 32)))
    bench = Bench(dut, rng, model)
    await bench.start()
    await bench.identify()
    await bench.run_without_model()
    await bench.load()
    begin = RunFlag.RESET | RunFlag.SEED
    first, second = (model.encode(prompt) for prompt in PROMPTS)
    for sequence, prompt in enumerate((first, second)):
        # What the block RAM held is not known.
        await bench.write_tape(sequence, 0, [0] * MAX_WORDS)
        await bench.write_tape(sequence, 0, prompt)
    seeds = rng.integers(1 << 32, size=3).tolist()
    await bench.run(begin | RunFlag.CLEAR, len(first), 4, 205, seeds[0])
    await bench.run(RunFlag(0), 1, 2, 0, 0)
    # The second text is shorter, and so ends while the first goes on.
    await bench.run(begin | RunFlag.CLEAR | RunFlag.HOLD, len(first), 3, 0, seeds[1])
    await bench.run(begin, len(second), 2, 205, seeds[2], 1)
    await bench.run(RunFlag(0), 1, 1, 205, 0, 1)
    await bench.run(RunFlag.HOLD, 1, 1, 205, 0)
    await bench.run(RunFlag(0), 1, 2, 0, 0, 1)
    bench.finish()
