# amaranth: UnusedElaboratable=no
import zlib
from typing import Any

import numpy as np
import pytest
import sliplib
from amaranth.sim import Simulator

from trilight.hw.contract.protocol import MAX_FRAME_BYTES, Slip
from trilight.hw.lib.crc import CRC_INIT, CRC_RESIDUE
from trilight.hw.lib.frames import FrameReceiver, FrameSender

from .line import sent_by

ORIGIN = 7


def with_crc(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def receive(lines: list[bytes]) -> tuple[list[bytes], list[int]]:
    """Frames that a receiver finds, and the index of the line that each came from."""
    dut = FrameReceiver(origin=ORIGIN)
    buffer = bytearray(MAX_FRAME_BYTES)
    frames: list[bytes] = []
    places: list[int] = []
    current = 0

    async def source(ctx: Any) -> None:
        nonlocal current
        for index, line in enumerate(lines):
            current = index
            for byte in line:
                ctx.set(dut.i.valid, 1)
                ctx.set(dut.i.payload, byte)
                await ctx.tick()
                # A delimiter's result is dealt with before the next byte.
                ctx.set(dut.i.valid, 0)
                if byte == Slip.END:
                    await ctx.tick().repeat(3)

    async def monitor(ctx: Any) -> None:
        async for _, _, write, addr, data, good, count in ctx.tick().sample(
                dut.write, dut.addr, dut.data, dut.good, dut.count):
            ctx.set(dut.release, good)
            if write:
                buffer[addr] = data
            if good:
                frames.append(bytes(buffer[i % MAX_FRAME_BYTES] for i in range(-ORIGIN, count)))
                places.append(current)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(source)
    sim.add_process(monitor)
    sim.run()
    return frames, places


def wire(frame: bytes) -> bytes:
    return sliplib.encode(frame) + sliplib.END


def test_receiver_finds_frames_of_every_length(rng: np.random.Generator) -> None:
    lengths = [2, 3, 4, 5, 250, 251, 252]
    frames = [with_crc(rng.bytes(length)) for length in lengths]
    lines = [wire(frame) for frame in frames]
    assert receive(lines) == (frames, list(range(len(frames))))


def test_receiver_drops_frames_of_wrong_length(rng: np.random.Generator) -> None:
    good = with_crc(rng.bytes(6))
    lines = [wire(with_crc(rng.bytes(length)))
             for length in (0, 1, 253, 254, 256, 257, 508, 509, 600)]
    assert receive([*lines, wire(good)]) == ([good], [len(lines)])


def test_receiver_notices_any_change_of_one_byte(rng: np.random.Generator) -> None:
    """Every change of a byte but the delimiter, which would join two frames."""
    good = with_crc(bytes([*rng.bytes(4), Slip.ESC, Slip.END]))
    line = wire(good)
    lines = []
    for place in range(len(line) - 1):
        for change in range(1, 256):
            damaged = bytearray(line)
            damaged[place] ^= change
            lines.append(bytes(damaged))
    frames, places = receive([*lines, line])
    assert places == [len(lines)]
    assert frames == [good]


def before_crc(register: int) -> int:
    """What the register, before 32 bits of zeros, must be to become ``register``."""
    for _ in range(32):
        out = register >> 31
        register = (register ^ out * 0xEDB88320) << 1 & 0xFFFFFFFF | out
    return register


def test_receiver_looks_at_every_bit_of_the_crc() -> None:
    body = b"\x12\x34"
    register = zlib.crc32(body) ^ CRC_INIT
    tails = [(register ^ before_crc(CRC_RESIDUE ^ wrong)).to_bytes(4, "little")
             for wrong in (*(1 << bit for bit in range(32)), 0)]
    assert body + tails[-1] == with_crc(body)
    assert receive([wire(body + tail) for tail in tails]) == ([with_crc(body)], [32])


def test_receiver_drops_frames_with_bytes_behind_the_crc() -> None:
    """Zeros, to which a register of 0 would be blind, and a frame's own end once more."""
    good = with_crc(b"\x12\x34\x56")
    lines = [wire(good + tail) for tail in (b"\0", b"\0\0", bytes(4), bytes(32), good[-4:])]
    assert receive([*lines, wire(good)]) == ([good], [len(lines)])


@pytest.mark.parametrize("stall_out", [0, 2])
@pytest.mark.parametrize("stall_in", [0, 5])
def test_sender_frames_what_it_is_given(stall_in: int, stall_out: int,
                                        rng: np.random.Generator) -> None:
    bodies = [rng.bytes(n) for n in (1, 2, 3, 40)] + [bytes(Slip) * 2]
    # Bodies whose CRC needs escapes.
    for special in (Slip.END, Slip.ESC):
        for place in range(4):
            bodies.append(next(
                body for body in (rng.bytes(3) for _ in range(10_000))
                if with_crc(body)[-4:][place] == special))
    expected = b"".join(sliplib.END + wire(with_crc(body)) for body in bodies)
    items = [item for body in bodies for item in [*((byte, 0) for byte in body), (0x55, 1)]]
    assert sent_by(FrameSender(), items, len(expected), stall_in=stall_in,
                   stall_out=stall_out) == expected
