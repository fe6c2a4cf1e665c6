# amaranth: UnusedElaboratable=no
import itertools
import struct
import zlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sliplib
from amaranth.sim import Simulator

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import (
    ACCESS,
    ADDRESS,
    EVENT,
    IDENTITY,
    MAX_FRAME_BYTES,
    MAX_WORDS,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    REGION_WORDS,
    RESPONSE,
    RUN,
    TOKEN_EVENT,
    Command,
    Region,
    Result,
    RunFlag,
    Slip,
    status_struct,
)
from trilight.hw.link.link import Link
from trilight.hw.support.boards import board_device
from trilight.sw.host.frames import Frame, FrameReader, encode_frame

DEVICE = board_device()

CLOCK_HZ = 25_000_000
CLOCK_S = 1 / CLOCK_HZ
CLOCKS_PER_BIT = 4
BYTE_CYCLES = 10 * CLOCKS_PER_BIT
BUILD_ID = 0x89ABCDEF
WEIGHT_WORDS = 4 * DEVICE.weight_words
END_OF_REGIONS = Region.WEIGHT_CRC + REGION_WORDS
STATUS = status_struct(DEVICE.sequences)


async def pulses(ctx: Any, pulse: Any, *values: Any) -> AsyncIterator[tuple[int, ...]]:
    """Values in each cycle of ``pulse``."""
    while True:
        await ctx.posedge(pulse)
        while True:
            _, _, still, *sampled = await ctx.tick().sample(pulse, *values)
            if not still:
                break
            yield tuple(sampled)


def place(to_weights: int, region: int, word: int) -> int:
    """Address of a word on the bus."""
    return word if to_weights else Region.PROGRAM + region * REGION_WORDS + word


class Host:
    """The host's end of a simulated link, and everything behind the device's end.

    ``bus`` is what the device has done to the bus and ``runs`` the runs that it has accepted.
    """

    def __init__(self, *, device: Device = DEVICE, read_latency: int = 1,
                 clocks_per_bit: int = CLOCKS_PER_BIT) -> None:
        self.dut = Link(device=device, clock_hz=CLOCK_HZ, clocks_per_bit=clocks_per_bit,
                        build_id=BUILD_ID)
        bus = self.dut.bus
        self.where = bus.to_weights, bus.region, bus.address
        self._events = self.dut.events
        self.bit_s = clocks_per_bit * CLOCK_S
        self.read_latency = read_latency
        self.memory: dict[int, int] = {}
        self.writes: list[tuple[int, int]] = []
        self.reads: list[int] = []
        self.runs: list[dict[str, int]] = []
        self.stops = 0
        self.line = b""
        self._reader = FrameReader()
        self._frames: deque[Frame] = deque()

    def simulate(self, script: Callable[["Host"], Awaitable[None]],
                 *processes: Callable[[Any], Awaitable[None]]) -> None:
        """Run ``script`` to its end; whatever the device then still says is an error."""
        async def testbench(ctx: Any) -> None:
            self.ctx = ctx
            await ctx.delay(CLOCK_S / 4)
            await script(self)
            await self.silence()

        sim = Simulator(self.dut)
        sim.add_clock(CLOCK_S)
        sim.add_testbench(testbench)
        sim.add_testbench(self._listen, background=True)
        for process in (self._serve_writes, self._serve_reads, self._serve_runs, self._count_stops,
                        *processes):
            sim.add_process(process)
        sim.run()

    async def _serve_writes(self, ctx: Any) -> None:
        dut = self.dut
        async for *where, data in pulses(ctx, dut.bus.write, *self.where, dut.bus.data):
            addr = place(*where)
            self.writes.append((addr, data))
            self.memory[addr] = data

    async def _serve_reads(self, ctx: Any) -> None:
        dut = self.dut
        ctx.set(dut.bus.read_data, 0xDEAD)
        async for where in pulses(ctx, dut.bus.read, *self.where):
            addr = place(*where)
            self.reads.append(addr)
            if self.read_latency > 1:
                await ctx.tick().repeat(self.read_latency - 1)
            ctx.set(dut.bus.read_data, self.memory.get(addr, 0))
            ctx.set(dut.bus.read_valid, 1)
            await ctx.tick()
            # The data are there for one cycle only.
            ctx.set(dut.bus.read_data, 0xDEAD)
            ctx.set(dut.bus.read_valid, 0)

    async def _serve_runs(self, ctx: Any) -> None:
        run = self.dut.run.request
        fields = list(run.payload.shape().members)
        async for ready, *values in pulses(ctx, run.valid, run.ready,
                                           *(run.payload[field] for field in fields)):
            assert ready, "refused instead"
            self.runs.append(dict(zip(fields, values, strict=True)))

    async def _count_stops(self, ctx: Any) -> None:
        async for _ in pulses(ctx, self.dut.run.stop):
            self.stops += 1

    async def _listen(self, ctx: Any) -> None:
        tx = self.dut.tx
        while True:
            await ctx.negedge(tx)
            await ctx.delay(self.bit_s / 2)
            byte = 0
            for i in range(8):
                await ctx.delay(self.bit_s)
                byte |= ctx.get(tx) << i
            await ctx.delay(self.bit_s)
            assert ctx.get(tx) == 1, "stop bit"
            self.line += bytes([byte])
            self._frames.extend(self._reader.feed(bytes([byte])))
            assert self._reader.damaged == 0

    async def wait(self, cycles: int) -> None:
        if cycles:
            await self.ctx.delay(cycles * CLOCK_S)

    async def bits(self, bits: Iterable[int]) -> None:
        for bit in bits:
            self.ctx.set(self.dut.rx, bit)
            await self.ctx.delay(self.bit_s)

    async def send(self, data: bytes) -> None:
        """Send bytes without a gap."""
        for byte in data:
            await self.bits([0, *(byte >> i & 1 for i in range(8)), 1])

    async def frame(self, *, bytes_at_most: int = 600) -> Frame:
        for _ in range(bytes_at_most):
            if self._frames:
                return self._frames.popleft()
            await self.ctx.delay(10 * self.bit_s)
        raise AssertionError(f"no frame within {bytes_at_most} bytes")

    async def silence(self) -> None:
        """Check that the device says nothing more."""
        await self.ctx.delay(30 * 10 * self.bit_s)
        assert list(self._frames) == []
        assert self.ctx.get(self.dut.tx) == 1

    async def request(self, sequence: int, command: int, payload: bytes = b"") -> Frame:
        await self.send(encode_frame(Frame(sequence, command, payload)))
        return await self.frame()

    async def expect(self, sequence: int, command: int, payload: bytes = b"", *,
                     result: Result = Result.OK, response: bytes = b"") -> None:
        """Send a request and check its response."""
        got = await self.request(sequence, command, payload)
        assert got == Frame(sequence, command | RESPONSE, bytes([result]) + response)

    def set_running(self, running: int) -> None:
        self.ctx.set(self.dut.status.running, running)

    def set_event(self, position: int, token: int, sequence: int = 0) -> None:
        event = self._events[sequence]
        self.ctx.set(event.payload, {"position": position, "token": token})
        self.ctx.set(event.valid, 1)

    async def event_taken(self, sequence: int = 0) -> None:
        for _ in range(100 * BYTE_CYCLES):
            *_, mine, other = await self.ctx.tick().sample(
                self._events[sequence].ready, self._events[1 - sequence].ready)
            assert not other, "the other sequence's event is taken"
            if mine:
                self.ctx.set(self._events[sequence].valid, 0)
                return
        raise AssertionError("the event is not taken")


def address(value: int) -> bytes:
    return ADDRESS.pack(value)


def words(units: Iterable[int]) -> bytes:
    return b"".join(struct.pack("<H", unit) for unit in units)


def event(position: int, token: int, sequence: int = 0) -> Frame:
    return Frame(0, EVENT + sequence, TOKEN_EVENT.pack(position, token))


async def check_alive(host: Host, sequence: int = 0x77) -> None:
    """A short command is executed and answered."""
    stops = host.stops
    await host.expect(sequence, Command.STOP)
    assert host.stops == stops + 1


@pytest.mark.parametrize(("orders", "learning"), [(0, 0), (1, 1), (2, 2 + 8)])
def test_identify_reports_what_was_built(orders: int, learning: int) -> None:
    """Its last byte says how many rows of biases there are: none, or with order 2, 256."""
    async def script(host: Host) -> None:
        for _ in range(2):
            await host.expect(3, Command.IDENTIFY, response=IDENTITY.pack(
                PROTOCOL_MAGIC, PROTOCOL_VERSION, DEVICE.trits, DEVICE.lanes, CLOCK_HZ,
                CLOCKS_PER_BIT, BUILD_ID, DEVICE.weight_words, DEVICE.max_rows, DEVICE.max_columns,
                DEVICE.max_channels, DEVICE.program_words, DEVICE.tape_tokens, DEVICE.max_vocab,
                DEVICE.sequences, learning))

    Host(device=replace(DEVICE, adapt_orders=orders, adapt_rows=256)).simulate(script)


def test_write_puts_units_on_the_bus(rng: np.random.Generator) -> None:
    cases = [(0, 1), (WEIGHT_WORDS - MAX_WORDS, MAX_WORDS), (WEIGHT_WORDS - 5, 5),
             *((region, 2) for region in Region), (Region.GUMBEL + 511, 3),
             (Region.WEIGHT_CRC + 1000, MAX_WORDS)]

    async def script(host: Host) -> None:
        for sequence, (start, n) in enumerate(cases, 1):
            host.writes.clear()
            units = rng.integers(1 << 16, size=n).tolist()
            await host.expect(sequence, Command.WRITE, address(start) + words(units))
            assert host.writes == list(zip(range(start, start + n), units, strict=True))

    Host().simulate(script)


def test_escaped_bytes_in_all_places() -> None:
    special = [Slip.END, Slip.ESC, Slip.ESC_END, Slip.ESC_ESC]
    units = [low | high << 8 for low, high in itertools.product(special, special)]

    async def script(host: Host) -> None:
        for sequence in special:
            await host.expect(sequence, Command.WRITE, address(0xC0DB) + words(units))
            await host.expect(sequence, Command.READ, ACCESS.pack(0xC0DB, len(units)),
                              response=words(units))
        assert host.writes == list(zip(itertools.count(0xC0DB), units, strict=False)) * 4

    Host().simulate(script)


@pytest.mark.parametrize("latency", [1, 2, 50])
def test_read_returns_units(rng: np.random.Generator, latency: int) -> None:
    cases = [(0, 1), (WEIGHT_WORDS - 17, 17), (Region.TAPE, 2), (Region.WEIGHT_CRC + 100, 9)]
    if latency == 1:
        cases.append((0xFFF, MAX_WORDS))

    async def script(host: Host) -> None:
        for sequence, (start, n) in enumerate(cases, 1):
            host.reads.clear()
            units = rng.integers(1 << 16, size=n).tolist()
            places = range(start, start + n)
            host.memory.update(zip(places, units, strict=True))
            await host.expect(sequence, Command.READ, ACCESS.pack(start, n),
                              response=words(units))
            assert host.reads == list(places)
        assert host.writes == []

    Host(read_latency=latency).simulate(script)


REFUSALS = [
    # running, command, payload, result
    (0, 0x00, b"", Result.BAD_COMMAND),
    (0, 0x07, b"", Result.BAD_COMMAND),
    (0, 0x0A, address(0) + words([1]), Result.BAD_COMMAND),
    (0, RESPONSE | Command.STOP, b"", Result.BAD_COMMAND),
    (0, EVENT, b"\0\0\0", Result.BAD_COMMAND),
    (0, EVENT + 1, b"\0\0\0", Result.BAD_COMMAND),
    (0, 0xFF, bytes(MAX_FRAME_BYTES - 6), Result.BAD_COMMAND),
    (0, Command.IDENTIFY, b"\0", Result.BAD_LENGTH),
    (0, Command.STOP, b"\0", Result.BAD_LENGTH),
    (0, Command.STATUS, b"\0\0", Result.BAD_LENGTH),
    (0, Command.WRITE, b"", Result.BAD_LENGTH),
    (0, Command.WRITE, address(0), Result.BAD_LENGTH),
    (0, Command.WRITE, ACCESS.pack(0, 0), Result.BAD_LENGTH),
    (0, Command.WRITE, address(0) + bytes(3), Result.BAD_LENGTH),
    (0, Command.WRITE, address(0) + bytes(2 * MAX_WORDS - 1), Result.BAD_LENGTH),
    (0, Command.READ, address(0), Result.BAD_LENGTH),
    (0, Command.READ, address(0) + b"\1\0", Result.BAD_LENGTH),
    (0, Command.READ, ACCESS.pack(0, 0), Result.BAD_LENGTH),
    (0, Command.READ, ACCESS.pack(0, MAX_WORDS + 1), Result.BAD_LENGTH),
    (0, Command.READ, ACCESS.pack(0, 127), Result.BAD_LENGTH),
    (0, Command.READ, ACCESS.pack(0, 129), Result.BAD_LENGTH),
    (0, Command.READ, ACCESS.pack(0, 255), Result.BAD_LENGTH),
    (0, Command.WRITE, address(END_OF_REGIONS) + words([1]), Result.BAD_ADDRESS),
    (0, Command.WRITE, address(WEIGHT_WORDS - 1) + words([1, 2]), Result.BAD_ADDRESS),
    (0, Command.WRITE, address(WEIGHT_WORDS - MAX_WORDS + 1) + words([1] * MAX_WORDS),
     Result.BAD_ADDRESS),
    (0, Command.WRITE, address(0x1FFFF) + words([1, 2, 3]), Result.BAD_ADDRESS),
    *((0, Command.WRITE, address(1 << bit) + words([1]), Result.BAD_ADDRESS)
      for bit in range(16, 31)),
    *((0, Command.WRITE, address(Region.PROGRAM | 1 << bit) + words([1]), Result.BAD_ADDRESS)
      for bit in range(23, 31)),
    (0, Command.READ, ACCESS.pack(WEIGHT_WORDS, 1), Result.BAD_ADDRESS),
    (0, Command.READ, ACCESS.pack(WEIGHT_WORDS - 1, 2), Result.BAD_ADDRESS),
    (0, Command.READ, ACCESS.pack(Region.TAPE - 1, 2), Result.BAD_ADDRESS),
    (0, Command.READ, ACCESS.pack(END_OF_REGIONS, 1), Result.BAD_ADDRESS),
    (0, Command.READ, ACCESS.pack(1 << 17, 1), Result.BAD_ADDRESS),
    (1, Command.READ, ACCESS.pack(0, 1), Result.BUSY),
    (1, Command.WRITE, address(5) + words([1]), Result.BUSY),
    *((1, Command.WRITE, address(region) + words([1]), Result.BUSY) for region in Region),
    (1, Command.WRITE, address(Region.TAPE - 1) + words([1, 2]), Result.BUSY),
    (1, Command.WRITE, address(END_OF_REGIONS) + words([1]), Result.BAD_ADDRESS),
    (1, Command.WRITE, ACCESS.pack(WEIGHT_WORDS, 0), Result.BAD_LENGTH),
    (1, Command.READ, ACCESS.pack(WEIGHT_WORDS - 1, 2), Result.BAD_ADDRESS),
    (1, Command.RUN, RUN.pack(0, 0, 1, 0, 0, 0), Result.BUSY),
    (0, Command.RUN, RUN.pack(0, 0, 0, 1, 2, 3), Result.BAD_LENGTH),
    *((0, Command.RUN, RUN.pack(0, 1 << bit, 1, 1, 2, 3), Result.BAD_LENGTH)
      for bit in range(1, 8)),
    (1, Command.RUN, RUN.pack(0, 0, 0, 1, 2, 3), Result.BAD_LENGTH),
    (0, Command.RUN, RUN.pack(0, 0, 1, 1, 2, 3)[:-1], Result.BAD_LENGTH),
    (0, Command.RUN, RUN.pack(0, 0, 1, 1, 2, 3) + b"\0", Result.BAD_LENGTH),
]


def test_refusals_have_no_effect() -> None:
    async def script(host: Host) -> None:
        host.ctx.set(host.dut.run.request.ready, 1)
        for sequence, (running, command, payload, result) in enumerate(REFUSALS, 1):
            host.set_running(running)
            await host.expect(sequence, command, payload, result=result)
        assert (host.writes, host.reads, host.runs, host.stops) == ([], [], [], 0)
        host.set_running(0)
        await check_alive(host)

    Host().simulate(script)


@pytest.mark.parametrize(("command", "payload", "cycles"), [
    (Command.STOP, b"", 30),
    (Command.RUN, RUN.pack(0, 0, 1, 2, 3, 4), 30),
    (Command.READ, ACCESS.pack(0, 20), 30 + 20),
    (Command.WRITE, address(0) + words([5] * 20), 30 + 3 * 20),
], ids=["STOP", "RUN", "READ", "WRITE"])
def test_answer_begins_in_time(command: Command, payload: bytes, cycles: int) -> None:
    async def script(host: Host) -> None:
        host.ctx.set(host.dut.run.request.ready, 1)
        await host.send(encode_frame(Frame(1, command, payload)))
        began, _ = await host.ctx.negedge(host.dut.tx).delay(cycles * CLOCK_S)
        assert began
        assert (await host.frame()).payload[0] == Result.OK

    Host().simulate(script)


def test_small_weight_memory_has_a_gap_behind_it() -> None:
    device = Device(name="small", weight_words=300)

    async def script(host: Host) -> None:
        await host.expect(1, Command.WRITE, address(1199) + words([7]))
        await host.expect(2, Command.READ, ACCESS.pack(1199, 1), response=words([7]))
        for start in (1200, Region.PROGRAM - 1):
            await host.expect(3, Command.WRITE, address(start) + words([7]),
                              result=Result.BAD_ADDRESS)
        await host.expect(4, Command.WRITE, address(1199) + words([7, 8]),
                          result=Result.BAD_ADDRESS)
        await host.expect(5, Command.READ, ACCESS.pack(1199, 2), result=Result.BAD_ADDRESS)
        assert host.writes == [(1199, 7)]

    Host(device=device).simulate(script)


def test_tape_is_only_read_during_a_run() -> None:
    async def script(host: Host) -> None:
        await host.expect(1, Command.WRITE, address(Region.TAPE + 255) + words([1, 2]))
        written = list(host.writes)
        host.set_running(1)
        await host.expect(3, Command.WRITE, address(Region.TAPE + 255) + words([3, 4]),
                          result=Result.BUSY)
        assert host.writes == written
        await host.expect(2, Command.READ, ACCESS.pack(Region.TAPE + 255, 2),
                          response=words([1, 2]))

    Host().simulate(script)


def test_run_is_executed_once(rng: np.random.Generator) -> None:
    reset = RunFlag.RESET
    fields = {"flags": 5, "sequence": 0, "n_feed": 0xC0DB, "n_generate": 0x1234,
              "temperature": 0x56D, "seed": 0x89ABCDEF}
    other = {"flags": 2, "sequence": 1, "n_feed": 0x100, "n_generate": 0xFFFF, "temperature": 0,
             "seed": 0}
    minimum = {"flags": int(reset), "sequence": 0, "n_feed": 1, "n_generate": 0,
             "temperature": 0x7FF, "seed": 1}

    async def script(host: Host) -> None:
        ready = host.dut.run.request.ready
        host.set_running(1)
        await host.expect(9, Command.RUN, RUN.pack(*fields.values()), result=Result.BUSY)
        host.set_running(0)
        host.ctx.set(ready, 1)
        # A refused RUN does not count as accepted.
        await host.expect(9, Command.RUN, RUN.pack(*fields.values()))
        assert host.runs == [fields]
        host.ctx.set(ready, 0)
        host.set_running(1)
        await host.expect(9, Command.RUN, RUN.pack(*fields.values()))
        host.ctx.set(ready, 1)
        host.set_running(0)
        # Other commands in between, also refused ones, change nothing.
        await host.expect(10, Command.STOP)
        await host.expect(11, Command.RUN, RUN.pack(0, 0, 0, 0, 0, 0), result=Result.BAD_LENGTH)
        await host.expect(9, Command.RUN, RUN.pack(*other.values()))
        assert host.runs == [fields]
        await host.expect(12, Command.RUN, RUN.pack(*other.values()))
        assert host.runs == [fields, other]
        await host.expect(9, Command.RUN, RUN.pack(*minimum.values()))
        assert host.runs == [fields, other, minimum]
        # A new host begins with sequence number 0, and may come to 9 by itself.
        await host.expect(9, Command.RUN, RUN.pack(*minimum.values()))
        assert len(host.runs) == 3
        await host.expect(0, Command.STOP)
        await host.expect(9, Command.RUN, RUN.pack(*minimum.values()))
        assert len(host.runs) == 4

    Host().simulate(script)


@pytest.mark.parametrize("orders", [0, 1])
@pytest.mark.parametrize("sequences", [1, 2, 4])
@pytest.mark.parametrize("flags", [
    RunFlag(0), RunFlag.HOLD, RunFlag(sum(flag for flag in RunFlag))], ids=str)
def test_run_is_about_any_sequence(flags: RunFlag, sequences: int, orders: int) -> None:
    """The last one of the device; the one after it counts as a wrong length.

    A device that does not learn while it reads ignores ADAPT.
    """
    known = flags if orders else flags & ~RunFlag.ADAPT
    fields = {"flags": int(known), "sequence": sequences - 1, "n_feed": 3, "n_generate": 4,
              "temperature": 5, "seed": 6}

    async def script(host: Host) -> None:
        host.ctx.set(host.dut.run.request.ready, 1)
        await host.expect(1, Command.RUN, RUN.pack(flags, *list(fields.values())[1:]))
        assert host.runs == [fields]
        await host.expect(2, Command.RUN, RUN.pack(flags, sequences, 3, 4, 5, 6),
                          result=Result.BAD_LENGTH)
        assert host.runs == [fields]

    Host(device=replace(DEVICE, sequences=sequences, adapt_orders=orders)).simulate(script)


def test_device_of_one_sequence_has_no_second() -> None:
    device = Device(name="small", weight_words=300, sequences=1)

    async def script(host: Host) -> None:
        host.ctx.set(host.dut.run.request.ready, 1)
        identity = await host.request(1, Command.IDENTIFY)
        assert IDENTITY.unpack(identity.payload[1:])[-2] == 1
        for running in (0, 1):
            host.set_running(running)
            for flags in (RunFlag(0), RunFlag.HOLD | RunFlag.RESET):
                await host.expect(2, Command.RUN, RUN.pack(flags, 1, 1, 1, 0, 0),
                                  result=Result.BAD_LENGTH)
        assert host.runs == []
        host.set_running(0)
        # Neither does it count as accepted.
        await host.expect(2, Command.RUN, RUN.pack(RunFlag.HOLD, 0, 1, 1, 0, 0))
        assert [run["flags"] for run in host.runs] == [RunFlag.HOLD]

    Host(device=device).simulate(script)


def test_status_is_of_one_moment() -> None:
    """Every field follows one clock, so that a response of two moments contradicts itself."""
    period = 3 * BYTE_CYCLES
    host = Host()
    status = host.dut.status

    def fields(now: int) -> dict[str, int]:
        spread = [0x9E3779B1 * (now + i) & 0xFFFFFFFF for i in range(4)]
        return {"running": now // period % 2, "cycles": spread[0], "words": spread[1],
                "tokens": spread[2], "position_0": now, "position_1": spread[3] & 0xFFFF}

    async def clock(ctx: Any) -> None:
        async for *_, position in ctx.tick().sample(status.positions[0]):
            values = fields((position + 1) & 0xFFFF)
            ctx.set(status.positions, [values.pop("position_0"), values.pop("position_1")])
            for name, value in values.items():
                ctx.set(getattr(status, name), value)

    async def script(host: Host) -> None:
        seen = set()
        for attempt in range(8):
            await host.wait(attempt * 17)
            got = await host.request(attempt, Command.STATUS)
            assert got.payload[0] == Result.OK
            values = STATUS.unpack(got.payload[1:])
            assert values == tuple(fields(values[4]).values())
            seen.add(values[0])
        assert seen == {0, 1}

    host.simulate(script, clock)


def test_events_are_sent_whole_and_taken_once_sent() -> None:
    tokens = [(0, 0, 0), (0xC0DB, 0xC0, 1), (0xFFFF, 0xDB, 1), (0x0102, 3, 0), (0x0102, 3, 1)]

    async def script(host: Host) -> None:
        for token in tokens:
            host.set_event(*token)
            await host.event_taken(token[-1])
        assert [await host.frame() for _ in tokens] == [event(*token) for token in tokens]

    Host().simulate(script)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("delay", [0, 1, 2, 10, 2 * BYTE_CYCLES])
def test_events_of_two_sequences_share_the_line(first: int, delay: int) -> None:
    """One comes ``delay`` cycles after the other; each is sent whole, and then taken."""
    second = 1 - first

    async def script(host: Host) -> None:
        host.set_event(0x1234, 0x56, first)
        await host.wait(delay)
        host.set_event(0xABCD, 0xEF, second)
        begun = first if delay else 0
        for sequence in (begun, 1 - begun):
            await host.event_taken(sequence)
        assert [await host.frame(), await host.frame()] == [
            event(*((0x1234, 0x56) if sequence == first else (0xABCD, 0xEF)), sequence)
            for sequence in (begun, 1 - begun)]

    Host().simulate(script)


@pytest.mark.parametrize("delay", range(-4, 14, 3), ids=lambda delay: f"{delay} bytes")
def test_event_and_answer_share_the_line(delay: int) -> None:
    """The event comes ``delay`` bytes after the end of a request."""
    n = 3

    async def script(host: Host) -> None:
        host.memory.update((Region.TAPE + i, i + 1) for i in range(n))
        host.set_running(1)
        request = encode_frame(Frame(5, Command.READ, ACCESS.pack(Region.TAPE, n)))
        early = min(delay, 0) % (len(request) + 1)
        await host.send(request[:early])
        if delay < 0:
            host.set_event(0x1234, 0x56)
            await host.send(request[early:])
        else:
            await host.send(request[early:])
            await host.wait(delay * BYTE_CYCLES)
            host.set_event(0x1234, 0x56)
        await host.event_taken()
        got = [await host.frame(), await host.frame()]
        assert sorted(got, key=lambda frame: frame.sequence) == [
            event(0x1234, 0x56),
            Frame(5, Command.READ | RESPONSE, bytes([Result.OK]) + words(range(1, n + 1)))]

    Host().simulate(script)


@pytest.mark.parametrize("leading", [Slip.END.to_bytes(), b""], ids=["END", "no END"])
def test_full_frames_follow_each_other(rng: np.random.Generator, leading: bytes) -> None:
    """The bytes of a frame come in while the one before is still read from the same buffer."""
    starts = [0, MAX_WORDS, WEIGHT_WORDS - MAX_WORDS, Region.TAPS]
    blocks = rng.integers(1 << 16, size=(len(starts), MAX_WORDS)).tolist()

    async def script(host: Host) -> None:
        for sequence, (start, units) in enumerate(zip(starts, blocks, strict=True), 1):
            frame = encode_frame(Frame(sequence, Command.WRITE, address(start) + words(units)))
            await host.send(leading + frame.lstrip(Slip.END.to_bytes()))
        for sequence in range(1, len(starts) + 1):
            assert await host.frame() == Frame(sequence, Command.WRITE | RESPONSE, b"\0")
        places = itertools.chain(*(range(start, start + MAX_WORDS) for start in starts))
        assert host.writes == list(zip(places, itertools.chain(*blocks), strict=True))

    Host().simulate(script)


def test_frame_that_ends_during_an_answer_is_dropped() -> None:
    async def script(host: Host) -> None:
        host.memory.update((i, i) for i in range(8))
        read = encode_frame(Frame(1, Command.READ, ACCESS.pack(0, 8)))
        await host.send(read + encode_frame(Frame(2, Command.STOP)))
        got = await host.frame()
        assert got == Frame(1, Command.READ | RESPONSE, b"\0" + words(range(8)))
        await host.silence()
        assert host.stops == 0
        # Without the delimiter in front that would clear what is left of the frame.
        await host.send(encode_frame(Frame(3, Command.STOP))[1:])
        assert await host.frame() == Frame(3, Command.STOP | RESPONSE, b"\0")

    Host().simulate(script)


def wire(body: bytes) -> bytes:
    return sliplib.END + sliplib.encode(body) + sliplib.END


def with_crc(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


WRITE = bytes([0x5A, Command.WRITE]) + address(0x1234) + words([0xC0DB, 0x0102])
ENCODED = sliplib.encode(with_crc(WRITE))

DROPPED = {
    "empty": sliplib.END * 7,
    "one byte": wire(b"\x05"),
    "CRC of nothing": wire(with_crc(b"")),
    "five bytes": wire(with_crc(b"\x05")),
    "no CRC": wire(WRITE),
    "CRC swapped": wire(WRITE + with_crc(WRITE)[:-5:-1]),
    "too long by one": wire(with_crc(bytes([1, Command.STOP]) + bytes(MAX_FRAME_BYTES - 5))),
    "too long by 256": wire(with_crc(bytes([1, Command.STOP]) + bytes(MAX_FRAME_BYTES))),
    "escaped delimiter": sliplib.END + ENCODED + bytes([Slip.ESC]) + sliplib.END,
    "escaped escape": sliplib.END + bytes([Slip.ESC]) + ENCODED + sliplib.END,
    "escaped byte": sliplib.END + ENCODED[:1] + bytes([Slip.ESC]) + ENCODED[1:] + sliplib.END,
    "stopped in the middle": sliplib.END + ENCODED[:7],
    "stopped in an escape": sliplib.END + ENCODED[:ENCODED.index(Slip.ESC) + 1],
}


@pytest.mark.parametrize("line", DROPPED.values(), ids=DROPPED.keys())
def test_damaged_frame_is_dropped(line: bytes) -> None:
    async def script(host: Host) -> None:
        await host.send(line)
        await host.silence()
        assert (host.line, host.writes, host.stops) == (b"", [], 0)
        await check_alive(host)

    Host().simulate(script)


def test_bad_stop_bit_drops_the_frame() -> None:
    frame = sliplib.END + ENCODED + sliplib.END

    async def script(host: Host) -> None:
        for place in (1, 5, len(frame) - 2):
            await host.send(frame[:place])
            byte = frame[place]
            await host.bits([0, *(byte >> i & 1 for i in range(8)), 0, 1])
            await host.send(frame[place + 1:])
        # A break is a long row of them.
        await host.send(frame[:6])
        await host.bits([0] * 100 + [1] * 10)
        await host.send(frame[6:])
        await host.silence()
        assert (host.line, host.writes) == (b"", [])
        await check_alive(host)

    Host().simulate(script)


def test_every_damaged_byte_is_noticed(rng: np.random.Generator) -> None:
    """Bytes of a RUN's frame are changed on the line, delimiters and escapes included."""
    frame = encode_frame(Frame(7, Command.RUN, RUN.pack(5, 0, 0xDB, 3, 4, 0xC0FFEE)))

    async def script(host: Host) -> None:
        host.ctx.set(host.dut.run.request.ready, 1)
        for place in range(1, len(frame)):
            changes = {0xFF, 1 << int(rng.integers(8)), int(rng.integers(1, 256))}
            for change in sorted(changes):
                damaged = bytearray(frame)
                damaged[place] ^= change
                await host.send(bytes(damaged))
            # A lost delimiter would join the frame with the next one.
            await host.send(sliplib.END)
        await host.silence()
        assert (host.line, host.runs) == (b"", [])
        await host.expect(7, Command.RUN, RUN.pack(5, 0, 0xDB, 3, 4, 0xC0FFEE))
        assert len(host.runs) == 1

    Host().simulate(script)


def test_noise_does_nothing(rng: np.random.Generator) -> None:
    noise = rng.integers(256, size=2048).astype(np.uint8).tobytes()
    # Delimiters and escapes more often than by chance.
    noise += rng.choice(np.array([*Slip, 0, Command.STOP]), size=256).astype(np.uint8).tobytes()

    async def script(host: Host) -> None:
        await host.send(noise)
        await host.bits(rng.integers(2, size=2000).tolist())
        host.ctx.set(host.dut.rx, 1)
        await host.silence()
        assert (host.line, host.writes, host.runs, host.stops) == (b"", [], [], 0)
        await check_alive(host)

    Host().simulate(script)


@pytest.mark.parametrize("clocks_per_bit", [5, 12])
def test_slower_lines_work(clocks_per_bit: int) -> None:
    async def script(host: Host) -> None:
        await host.expect(1, Command.WRITE, address(3) + words([0x1234]))
        await host.expect(2, Command.READ, ACCESS.pack(3, 1), response=words([0x1234]))

    Host(clocks_per_bit=clocks_per_bit).simulate(script)


@pytest.mark.parametrize(("change", "message"), [
    ({"clocks_per_bit": 3}, r"^clocks_per_bit must be at least 4, not 3$"),
    ({"build_id": 1 << 32}, r"^clock_hz=1, clocks_per_bit=4, build_id=4294967296 or .* reported: "),
])
def test_impossible_builds_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Link(**({"device": DEVICE, "clock_hz": 1, "clocks_per_bit": 4} | change))
