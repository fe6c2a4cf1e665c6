"""Boot from a flash memory: what is sent on its pins, what is executed, what counts as damage."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from trilight.hw.contract.protocol import (
    ADDRESS,
    FLASH_MAX_HZ,
    FLASH_OFFSET,
    FLASH_SLOT_BYTES,
    RUN,
    Command,
    FlashCommand,
    Region,
    RunFlag,
    boot_cycles,
    byte_cycles,
)
from trilight.hw.link.link import Link
from trilight.hw.support.boards import board_device
from trilight.sw.host.frames import Frame, encode_frame

DEVICE = board_device()

END = b"\xc0"


@dataclass
class Flash:
    """A flash memory in SPI mode 0, edge by edge, as data sheets describe it.

    It is asleep until it is woken, and then for ``wake_s`` more. ``content`` maps addresses to
    bytes; what is not in it is erased.
    """

    content: dict[int, bytes]
    wake_s: float = 20e-6
    asleep: bool = True
    answers: bool = True
    commands: list[bytes] = field(default_factory=list)
    shortest_s: float = 1.0
    """Shortest time between two edges of the clock."""
    _awake_at: float = 0.0
    _received: list[int] = field(default_factory=list)
    _last: tuple[int, int] = (0, 0)
    _edge_at: float = -1.0

    def byte(self, address: int) -> int:
        for start, data in self.content.items():
            if start <= address < start + len(data):
                return data[address - start]
        return 0xFF

    def step(self, now: float, cs: int, sck: int, mosi: int, miso: int) -> int:
        """Take in the pins, and return what the flash drives."""
        was_cs, was_sck = self._last
        self._last = cs, sck
        if not cs:
            if was_cs:
                self._end(now)
            return 1
        if not was_cs:
            self._received = []
        if sck != was_sck:
            self.shortest_s = min(self.shortest_s, now - self._edge_at)
            self._edge_at = now
        if sck and not was_sck:
            self._received.append(mosi)
        elif was_sck and not sck:
            return self._drive(now)
        return miso

    def _bytes(self) -> bytes:
        bits = self._received[:32]
        return bytes(int("".join(map(str, bits[k:k + 8])), 2) for k in range(0, len(bits) - 7, 8))

    def _end(self, now: float) -> None:
        command = self._bytes()
        self.commands.append(command)
        if command == bytes([FlashCommand.WAKE]):
            self.asleep = False
            self._awake_at = now + self.wake_s

    def _drive(self, now: float) -> int:
        sent = len(self._received) - 32
        command = self._bytes()
        if (sent < 0 or command[0] != FlashCommand.READ or self.asleep or now < self._awake_at
                or not self.answers):
            return 1
        address = int.from_bytes(command[1:4], "big") + sent // 8
        return self.byte(address) >> 7 - sent % 8 & 1


class Boot:
    """A link that boots from a flash memory, what it wrote and ran, and what it said."""

    def __init__(self, flash: Flash, *, clock_hz: int = 48_000_000, slot: int = 0,
                 cycles: int = 12_000) -> None:
        self.flash = flash
        self.writes: list[tuple[int, int]] = []
        self.runs = 0
        self.edges = 0
        link = Link(device=DEVICE, clock_hz=clock_hz, clocks_per_bit=4, boots=True)
        self.stopped_at: int | None = None

        async def testbench(ctx: Any) -> None:
            pins, bus = link.flash, link.bus
            ctx.set(pins.slot, slot)
            ctx.set(link.run.request.ready, 1)
            miso, tx = 1, 1
            for cycle in range(cycles):
                miso = flash.step(cycle / clock_hz, ctx.get(pins.cs), ctx.get(pins.sck),
                                  ctx.get(pins.mosi), miso)
                ctx.set(pins.miso, miso)
                if ctx.get(bus.write):
                    base = 0 if ctx.get(bus.to_weights) else Region.PROGRAM
                    self.writes.append((base + (ctx.get(bus.region) << 20 if base else 0)
                                        + ctx.get(bus.address), ctx.get(bus.data)))
                self.runs += ctx.get(link.run.request.valid)
                self.edges += ctx.get(link.tx) != tx
                tx = ctx.get(link.tx)
                if self.stopped_at is None and not ctx.get(link._reader.busy):
                    self.stopped_at = cycle
                await ctx.tick()
            self.damaged = ctx.get(link.damaged)

        sim = Simulator(link)
        sim.add_clock(1 / clock_hz)
        sim.add_testbench(testbench)
        sim.run()


def write(address: int, words: Sequence[int]) -> bytes:
    return encode_frame(Frame(0, Command.WRITE, ADDRESS.pack(address) + b"".join(
        int(word).to_bytes(2, "little") for word in words)))


STOP = encode_frame(Frame(0, Command.STOP))


@pytest.fixture
def words(rng: np.random.Generator) -> list[int]:
    return [int(word) for word in rng.integers(1 << 16, size=40)]


def placed(address: int, words: Sequence[int]) -> list[tuple[int, int]]:
    return [(address + k, word) for k, word in enumerate(words)]


@pytest.mark.parametrize(("clock_hz", "slot"), [(48_000_000, 0), (48_000_000, 1), (101_000_000, 0),
                                                (6_000_000, 0)])
def test_an_image_is_executed(words: list[int], clock_hz: int, slot: int) -> None:
    image = (write(Region.WEIGHTS, words) + 16 * END + write(Region.TAPS, words[:3]) + 8 * END
             + STOP)
    flash = Flash({FLASH_OFFSET + slot * FLASH_SLOT_BYTES: image})
    boot = Boot(flash, clock_hz=clock_hz, slot=slot, cycles=320 * byte_cycles(clock_hz))
    assert boot.writes == placed(0, words) + placed(Region.TAPS, words[:3])
    assert not boot.damaged
    assert flash.shortest_s >= 0.999 / (2 * FLASH_MAX_HZ)
    assert flash.commands[0] == bytes([FlashCommand.WAKE])
    assert flash.commands[1][:4] == bytes([
        FlashCommand.READ, *(FLASH_OFFSET + slot * FLASH_SLOT_BYTES).to_bytes(3, "big")])
    assert boot.stopped_at == boot_cycles(len(image), clock_hz)
    # Nothing is said but the response to the last command.
    assert 0 < boot.edges < 100


def test_a_run_ends_the_boot(words: list[int]) -> None:
    run = encode_frame(Frame(1, Command.RUN, RUN.pack(RunFlag.RESET, 0, 1, 9, 0, 0)))
    boot = Boot(Flash({FLASH_OFFSET: write(Region.TAPE, words) + 16 * END + run + STOP}))
    assert boot.runs == 1
    assert not boot.damaged
    assert boot.stopped_at is not None


@pytest.mark.parametrize("content", [{}, {FLASH_OFFSET: bytes(1000)}], ids=["erased", "zeros"])
def test_without_an_image_the_line_is_soon_listened_to(content: dict[int, bytes]) -> None:
    boot = Boot(Flash(content), cycles=5000)
    assert not boot.damaged
    assert boot.stopped_at is not None
    assert boot.stopped_at < 131 * byte_cycles(48_000_000)
    assert not boot.writes
    assert not boot.edges


@pytest.mark.parametrize("flash", [Flash({}, answers=False), Flash({}, wake_s=1.0)],
                         ids=["none", "sleeps on"])
def test_a_flash_that_does_not_answer(flash: Flash, words: list[int]) -> None:
    flash.content[FLASH_OFFSET] = write(0, words) + STOP
    boot = Boot(flash, cycles=5000)
    assert not boot.damaged
    assert boot.stopped_at is not None
    assert not boot.writes


def damage_a_bit(image: bytes, at: int) -> bytes:
    return image[:at] + bytes([image[at] ^ 4]) + image[at + 1:]


def test_nothing_after_damage_is_executed(words: list[int], rng: np.random.Generator) -> None:
    first, second = write(0, words), write(Region.TAPS, words)
    image = first + 16 * END + second + 16 * END + STOP
    # Within the first frame; its delimiters are another test's.
    at = int(rng.integers(1, len(first) - 1))
    boot = Boot(Flash({FLASH_OFFSET: damage_a_bit(image, at)}), cycles=12_000)
    assert boot.damaged
    assert not boot.writes
    assert boot.stopped_at is not None
    assert boot.stopped_at < 12_000


@pytest.mark.parametrize("kept", [20, 95, 96, 120])
def test_an_image_that_was_cut_off_is_damaged(words: list[int], kept: int) -> None:
    """As by a power cut while it was written: the rest is erased."""
    image = write(0, words) + 16 * END + write(Region.TAPS, words)
    boot = Boot(Flash({FLASH_OFFSET: image[:kept]}), cycles=18_000)
    assert boot.damaged
    assert boot.stopped_at is not None
    assert boot.stopped_at < (129 + kept + 260) * byte_cycles(48_000_000)


def test_a_command_that_is_refused_is_damage(words: list[int]) -> None:
    beyond = 4 * DEVICE.weight_words
    boot = Boot(Flash({FLASH_OFFSET: write(beyond, words) + 32 * END + write(0, words) + STOP}))
    assert boot.damaged
    assert not boot.writes


def test_pace_of_the_flash_is_bounded() -> None:
    for clock_hz in (1_000_000, 24_000_000, 48_000_000, 50_000_000, 50_000_001, 133_000_000):
        serial_hz = 8 * clock_hz / byte_cycles(clock_hz)
        assert serial_hz <= FLASH_MAX_HZ
        assert serial_hz > FLASH_MAX_HZ / 2 or byte_cycles(clock_hz) == 32
