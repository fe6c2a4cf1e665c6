# amaranth: UnusedElaboratable=no
from typing import Any

import numpy as np
import pytest
import sliplib
from amaranth.sim import Simulator

from trilight.hw.contract.protocol import Slip
from trilight.hw.lib.slip import SlipDecoder, SlipEncoder

from .line import sent_by

LOST = -1
"""In a line: a byte that the UART could not read."""


def packets(rng: np.random.Generator) -> list[bytes]:
    special = np.array([*Slip, 0x00, 0xFF], dtype=np.uint8)
    return [
        bytes(Slip), bytes([Slip.END]), bytes([Slip.ESC] * 3), b"\x00", bytes(range(256)),
        *(rng.choice(special, size=n).tobytes() for n in range(1, 9)),
    ]


def decode(line: list[int], *, gap: int) -> list[tuple[bytes, int]]:
    """Packets that a decoder finds, each with its ``bad``."""
    dut = SlipDecoder()
    found: list[tuple[bytes, int]] = []
    packet = bytearray()

    async def source(ctx: Any) -> None:
        for byte in line:
            ctx.set(dut.error, byte == LOST)
            ctx.set(dut.i.valid, byte != LOST)
            ctx.set(dut.i.payload, byte & 0xFF)
            await ctx.tick()
            ctx.set(dut.error, 0)
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.i.payload, Slip.END)
            if gap:
                await ctx.tick().repeat(gap)
        await ctx.tick().repeat(2)

    async def monitor(ctx: Any) -> None:
        async for _, _, valid, payload, end, bad in ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.end, dut.bad):
            assert not (valid and end)
            if valid:
                packet.append(payload)
            if end:
                found.append((bytes(packet), bad))
                packet.clear()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(source)
    sim.add_process(monitor)
    sim.run()
    assert packet == b""
    return found


@pytest.mark.parametrize("gap", [0, 1, 3])
def test_decoder_finds_what_sliplib_encoded(gap: int, rng: np.random.Generator) -> None:
    sent = packets(rng)
    line = b"".join(sliplib.encode(packet) + sliplib.END for packet in sent)
    assert decode(list(line), gap=gap) == [(packet, 0) for packet in sent]


def test_decoder_reports_every_bad_escape() -> None:
    good = (Slip.ESC_END, Slip.ESC_ESC)
    for byte in sorted({0, 1, 0xFF, *Slip} | {code ^ 1 << i for code in good for i in range(8)}):
        tail = [] if byte == Slip.END else [Slip.END]
        line = [1, Slip.ESC, byte, *tail, 2, Slip.END]
        (_, bad), after = decode(line, gap=0)
        assert bad == (byte not in good), f"{byte:#x}"
        assert after == (b"\x02", 0)


@pytest.mark.parametrize("gap", [0, 2])
def test_decoder_reports_lost_bytes(gap: int) -> None:
    line = [LOST, Slip.END, 1, LOST, 2, Slip.END, 3, Slip.END, 4, LOST, Slip.END, Slip.END]
    found = decode(line, gap=gap)
    assert [bad for _, bad in found] == [1, 1, 0, 1, 0]
    assert found[2] == (b"\x03", 0)


@pytest.mark.parametrize("stall_out", [0, 1, 3])
@pytest.mark.parametrize("stall_in", [0, 2])
def test_encoder_makes_what_sliplib_decodes(stall_in: int, stall_out: int,
                                            rng: np.random.Generator) -> None:
    sent = packets(rng)
    expected = b"".join(sliplib.encode(packet) + sliplib.END for packet in sent)
    items = [item for packet in sent for item in [*((byte, 0) for byte in packet), (Slip.ESC, 1)]]
    assert sent_by(SlipEncoder(), items, len(expected), stall_in=stall_in,
                   stall_out=stall_out) == expected
