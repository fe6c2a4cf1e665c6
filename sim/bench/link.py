"""Link by its pins against the protocol: every command and refusal, damage, events, pauses.

Behind the link are a memory that answers late, and events of two sequences that come at any time,
also at once.
"""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.protocol import (
    ACCESS,
    ADDRESS,
    IDENTITY,
    MAX_FRAME_BYTES,
    MAX_WORDS,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    REGION_WORDS,
    RUN,
    Command,
    Region,
    Result,
    RunFlag,
    Slip,
    status_struct,
)
from trilight.hw.interfaces import bus_address_bits, run_layout, token_event_layout
from trilight.sw.host.frames import Frame, encode_frame

from .checker import InOrderChecker
from .coverage import DAMAGE, cover, cover_flags
from .device import DEVICE
from .streams import Dut, Source, Watch, generator, pack, pauses, start
from .uart import Host

CLOCK_HZ = 24_000_000
CLOCKS_PER_BIT = 4
BUILD_ID = 0x12345678
"""Build id of the link under test."""

WEIGHT_WORDS = DEVICE.weight_words * DEVICE.lanes // 2
LAST = Region.WEIGHT_CRC + REGION_WORDS - 1
MAX_TEMPERATURE = (1 << NUMBERS.temperature_bits) - 1
LONGEST_READ = 20
MAX_SKEW = 0.02
"""Tolerance of the host's baud rate, at 4 clocks per bit."""
SEQUENCES = range(DEVICE.sequences)




def place(first: int, offset: int) -> int:
    """Address of a word of an access, as it comes out on the bus: a region repeats there."""
    region = Region.of(first)
    return region + (first - region + offset) % (1 << bus_address_bits(DEVICE))


def cover_escapes(data: bytes, way: str) -> None:
    """Note which bytes had to be escaped."""
    cover("link.escaped", *(f"{Slip(byte).name} {way}" for byte in (Slip.END, Slip.ESC)
                            if byte in data))


class Bench:
    """The host on one side; memory, runs and events on the other."""

    def __init__(self, dut: Dut, rng: np.random.Generator, slower: float = 0) -> None:
        self.dut = dut
        self.rng = rng
        self.host = Host(dut.rx, dut.tx, CLOCKS_PER_BIT, pauses(rng, 0.2, 100), slower=slower)
        self.memory: dict[int, int] = {}
        self.writes = InOrderChecker("write")
        self.runs = InOrderChecker("run")
        self.stops = 0
        self.announced: list[list[tuple[int, int, int]]] = [[] for _ in SEQUENCES]
        """By sequence: its number, position and token."""
        self.sequence = 0

    async def start(self) -> None:
        dut = self.dut
        self.events = [Source(dut, f"events__{k}", token_event_layout(DEVICE)) for k in SEQUENCES]
        await start(dut, bus__read_data=0, bus__read_valid=0, status__running=0,
                    status__positions=0, status__cycles=0, status__words=0, status__tokens=0,
                    run__request__ready=1)
        Watch.stream(dut, "run__request", self.runs)
        Watch(dut.clk, dut.bus__write, dut.bus__write, self._write)
        Watch(dut.clk, dut.run__stop, dut.run__stop, self._stop)
        cocotb.start_soon(self._serve_reads())

    def _write(self, _bits: int) -> None:
        self.writes((self.address(), int(self.dut.bus__data.value)))

    def address(self) -> int:
        """Address of the word on the bus."""
        dut, word = self.dut, int(self.dut.bus__address.value)
        if int(dut.bus__to_weights.value):
            return word
        return Region.PROGRAM + int(dut.bus__region.value) * REGION_WORDS + word

    def _stop(self, _bits: int) -> None:
        self.stops += 1

    async def _serve_reads(self) -> None:
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            if not int(dut.bus__read.value):
                await RisingEdge(dut.bus__read)
                continue
            unit = self.memory[self.address()]
            await ClockCycles(dut.clk, int(self.rng.integers(1, LONGEST_READ)))
            dut.bus__read_data.value = unit
            dut.bus__read_valid.value = 1
            await RisingEdge(dut.clk)
            dut.bus__read_valid.value = 0
            dut.bus__read_data.value = 0

    async def announce(self, sequence: int, count: int) -> None:
        """Announce tokens of a sequence now and then."""
        for _ in range(count):
            await ClockCycles(self.dut.clk, int(self.rng.integers(1, 3000)))
            position = int(self.rng.integers(1 << 16))
            token = int(self.rng.integers(DEVICE.max_vocab))
            self.announced[sequence].append((sequence, position, token))
            await self.events[sequence].send([{"position": position, "token": token}])

    def set_running(self, running: bool) -> None:
        self.dut.status__running.value = int(running)
        self.dut.run__request__ready.value = int(not running)

    async def request(self, command: int, payload: bytes = b"") -> tuple[int, bytes]:
        self.sequence = self.sequence % 255 + 1
        return await self.host.request(self.sequence, command, payload)

    async def refused(self, result: Result, command: int, payload: bytes = b"") -> None:
        assert await self.request(command, payload) == (result, b"")
        cover("link.refusal", result.name if result == Result.BAD_COMMAND
              else f"{result.name} {Command(command).name}")

    async def accepted(self, command: Command, payload: bytes = b"") -> bytes:
        """Make a request that must succeed; return the payload of its response."""
        result, response = await self.request(command, payload)
        assert result == Result.OK, f"{command.name} is refused: {result}"
        cover("link.command", command.name)
        cover_escapes(payload, "received")
        cover_escapes(response, "sent")
        return response

    async def write(self, first: int, units: list[int]) -> None:
        places = [place(first, k) for k in range(len(units))]
        self.writes.expect(zip(places, units, strict=True))
        self.memory.update(zip(places, units, strict=True))
        payload = ADDRESS.pack(first) + np.array(units, "<u2").tobytes()
        assert await self.accepted(Command.WRITE, payload) == b""
        cover("link.written", Region.of(first).name)

    async def read(self, first: int, count: int) -> None:
        units = [self.memory[place(first, k)] for k in range(count)]
        response = await self.accepted(Command.READ, ACCESS.pack(first, count))
        assert response == np.array(units, "<u2").tobytes()
        cover("link.read", Region.of(first).name)

    async def run(self, flags: int, *, repeats: int = 0) -> None:
        """A run of random parameters that is executed once, however often it is repeated."""
        rng = self.rng
        fields = {"flags": flags,
                  "sequence": int(rng.choice(SEQUENCES)),
                  "n_feed": int(rng.integers(1, 1 << 16)),
                  "n_generate": int(rng.integers(1 << 16)),
                  "temperature": int(rng.integers(MAX_TEMPERATURE)),
                  "seed": int(rng.integers(1 << 32))}
        self.runs.expect([pack(run_layout(DEVICE), **fields)])
        assert await self.accepted(Command.RUN, RUN.pack(*fields.values())) == b""
        cover_flags("link.flag", fields["flags"])
        for _ in range(repeats):
            self.set_running(True)
            response = await self.host.request(self.sequence, Command.RUN,
                                               RUN.pack(*fields.values()))
            assert response == (Result.OK, b"")
            cover("link.repeated RUN", "acknowledged")
        self.set_running(False)

    async def status(self) -> None:
        positions = [int(self.rng.integers(1 << 16)) for _ in SEQUENCES]
        counters = {name: int(self.rng.integers(1 << 32))
                    for name in ("cycles", "words", "tokens")}
        running = int(self.rng.integers(2))
        self.dut.status__running.value = running
        self.dut.status__positions.value = sum(
            position << 16 * k for k, position in enumerate(positions))
        for name, value in counters.items():
            self.dut[f"status__{name}"].value = value
        assert await self.accepted(Command.STATUS) == status_struct(len(SEQUENCES)).pack(
            running, *counters.values(), *positions)
        self.dut.status__running.value = 0

    async def identify(self) -> None:
        identity = IDENTITY.pack(
            PROTOCOL_MAGIC, PROTOCOL_VERSION, DEVICE.trits, DEVICE.lanes, CLOCK_HZ, CLOCKS_PER_BIT,
            BUILD_ID, DEVICE.weight_words, DEVICE.max_rows, DEVICE.max_columns, DEVICE.max_channels,
            DEVICE.program_words, DEVICE.tape_tokens, DEVICE.max_vocab, DEVICE.sequences,
            DEVICE.adapt_code)
        assert await self.accepted(Command.IDENTIFY) == identity

    async def stop(self) -> None:
        before = self.stops
        assert await self.accepted(Command.STOP) == b""
        assert self.stops == before + 1

    async def finish(self) -> None:
        await ClockCycles(self.dut.clk, 20 * 10 * CLOCKS_PER_BIT)
        self.host.finish()
        self.writes.finish()
        assert not self.runs.pending, "a run was not executed"
        # Of two sequences' events either may come first.
        by_sequence = [[event for event in self.host.events if event[0] == sequence]
                       for sequence in SEQUENCES]
        assert by_sequence == self.announced
        cover("link.event", *(event[0] for event in self.host.events))


def units(rng: np.random.Generator, count: int) -> list[int]:
    """Random units, many of them with bytes that must be escaped."""
    special = [Slip.END << 8 | Slip.ESC, Slip.ESC << 8 | Slip.END, 0xFFFF, 0]
    escaped = rng.random(count) < 0.2
    return [int(unit) for unit in np.where(
        escaped, rng.choice(special, count), rng.integers(1 << 16, size=count))]


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def every_command(dut: Dut) -> None:
    """Every command with legal parameters, at the ends of every space, while tokens come."""
    rng = generator()
    bench = Bench(dut, rng)
    await bench.start()
    announcing = [cocotb.start_soon(bench.announce(sequence, 20)) for sequence in SEQUENCES]
    await bench.identify()
    places = [0, WEIGHT_WORDS - MAX_WORDS,
              *(int(space) for space in Region if space != Region.WEIGHTS), LAST + 1 - MAX_WORDS]
    for first in places:
        await bench.write(first, units(rng, int(rng.choice([1, 2, MAX_WORDS]))))
    await bench.write(Region.TAPE, units(rng, MAX_WORDS))
    bench.memory.update({Region.WEIGHT_CRC + k: unit for k, unit in enumerate(units(rng, 3))})
    for first, count in ((Region.TAPE, MAX_WORDS), (Region.TAPE + 3, 1), (0, 1),
                         (Region.WEIGHT_CRC, 3)):
        await bench.read(first, count)
    every = (1 << len(RunFlag)) - 1
    for repeats, flags in ((0, every), (2, 0), (1, int(rng.integers(every)))):
        await bench.run(flags, repeats=repeats)
        await bench.status()
        await bench.stop()
    for task in announcing:
        await task
    await bench.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def refusals(dut: Dut) -> None:
    """Refusals: a command that is refused does nothing, and says why."""
    rng = generator()
    bench = Bench(dut, rng)
    await bench.start()
    await bench.write(Region.TAPE, [1, 2])
    run = RUN.pack(RunFlag.RESET, 0, 1, 0, 0, 0)
    one = np.array([1], "<u2").tobytes()
    for command in (0, 7, 0x41, 0xFF):
        await bench.refused(Result.BAD_COMMAND, command)
    for command, payload in (
            (Command.IDENTIFY, b"\0"), (Command.STATUS, b"\0"), (Command.STOP, b"\0"),
            (Command.RUN, run[:-1]), (Command.RUN, RUN.pack(0, 0, 0, 1, 0, 0)),
            (Command.RUN, RUN.pack(0, DEVICE.sequences, 1, 1, 0, 0)),
            (Command.WRITE, ADDRESS.pack(0)), (Command.WRITE, ADDRESS.pack(0) + b"\0"),
            (Command.READ, ADDRESS.pack(0)), (Command.READ, ACCESS.pack(0, 0)),
            (Command.READ, ACCESS.pack(0, MAX_WORDS + 1))):
        await bench.refused(Result.BAD_LENGTH, command, payload)
    for command, payload in (
            (Command.WRITE, ADDRESS.pack(LAST + 1) + one),
            (Command.WRITE, ADDRESS.pack(WEIGHT_WORDS) + one),
            (Command.WRITE, ADDRESS.pack(WEIGHT_WORDS - 1) + 2 * one),
            (Command.READ, ACCESS.pack(Region.PROGRAM, 1)),
            (Command.READ, ACCESS.pack(LAST + 1, 2))):
        await bench.refused(Result.BAD_ADDRESS, command, payload)
    bench.set_running(True)
    for command, payload in (
            (Command.WRITE, ADDRESS.pack(0) + one), (Command.READ, ACCESS.pack(0, 1)),
            (Command.RUN, run)):
        await bench.refused(Result.BUSY, command, payload)
    await bench.read(Region.TAPE, 2)
    assert bench.stops == 0
    await bench.finish()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def damage(dut: Dut) -> None:
    """Noise, damaged frames and frames of any length have no effect, and the next one is heard."""
    rng = generator()
    bench = Bench(dut, rng)
    await bench.start()
    frame = encode_frame(Frame(9, Command.WRITE, ADDRESS.pack(Region.TAPE) + bytes([1, 2, 3, 4])))
    for number in range(24):
        cover("link.damage", DAMAGE[number % len(DAMAGE)])
        match number % len(DAMAGE):
            case 0:  # a bit of the frame
                damaged = bytearray(frame)
                damaged[rng.integers(1, len(frame) - 1)] ^= 1 << int(rng.integers(8))
                await bench.host.send(bytes(damaged))
            case 1:  # a byte is lost
                lost = int(rng.integers(1, len(frame) - 1))
                await bench.host.send(frame[:lost] + frame[lost + 1:])
            case 2:  # noise
                await bench.host.send(rng.bytes(int(rng.integers(1, 40))))
            case 3:  # a stop bit
                await bench.host.send(frame[:-1])
                await bench.host.send(bytes([rng.integers(128)]), stop=0)
                await ClockCycles(dut.clk, CLOCKS_PER_BIT)
                await bench.host.send(frame[-1:])
            case 4:  # an escape that is none
                await bench.host.send(bytes([Slip.END, 1, Command.STOP, Slip.ESC, 1, Slip.END]))
            case 5:  # too long
                payload = ADDRESS.pack(Region.TAPE) + bytes(MAX_FRAME_BYTES)
                await bench.host.send(
                    bytes([Slip.END, 1, Command.WRITE]) + payload + bytes([Slip.END]))
        await bench.write(Region.TAPE + number, units(rng, int(rng.integers(1, 4))))
    assert bench.stops == 0
    await bench.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(slower=[-MAX_SKEW, 0.0, MAX_SKEW])
async def baud_tolerance(dut: Dut, slower: float) -> None:
    """A host whose clock is off by what the receiver promises to bear is understood."""
    rng = generator()
    bench = Bench(dut, rng, slower)
    await bench.start()
    for length in (MAX_WORDS, 1, 17):
        await bench.write(Region.TAPE, units(rng, length))
        await bench.read(Region.TAPE, length)
    await bench.identify()
    cover("link.baud", "slower" if slower > 0 else "faster" if slower else "nominal")
    await bench.finish()
