"""The host's end of the link in a bench: bytes on pins, frames, requests and responses."""

from collections.abc import Iterator
from itertools import groupby

import cocotb
from cocotb.queue import Queue
from cocotb.triggers import FallingEdge, Timer

from trilight.hw.contract.protocol import EVENT, RESPONSE, TOKEN_EVENT, Result
from trilight.sw.host.frames import Frame, FrameReader, encode_frame

from .device import DEVICE
from .streams import CLOCK_NS, NEVER, Dut

__all__ = ["Host"]


class Host:
    """Host of a design: sends requests to its receive pin, and takes responses from its other one.

    Parameters
    ----------
    rx, tx : Dut
        The design's pins.
    clocks_per_bit : int
    pauses : iterator of int
        Cycles to rest before each byte.
    slower : float
        By which share of a bit the host's bits are longer than the design's.

    Attributes
    ----------
    events : list of (int, int, int)
        Sequence, position and token of each event so far.
    """

    def __init__(self, rx: Dut, tx: Dut, clocks_per_bit: int,
                 pauses: Iterator[int] = NEVER, *, slower: float = 0) -> None:
        self._rx, self._tx = rx, tx
        self._bit_ps = round(clocks_per_bit * CLOCK_NS * 1000 * (1 + slower))
        self._pauses = pauses
        self._reader = FrameReader()
        self._answers: Queue[Frame] = Queue()
        self.events: list[tuple[int, int, int]] = []
        self._rx.value = 1
        cocotb.start_soon(self._listen())

    async def send(self, data: bytes, *, stop: int = 1) -> None:
        """Send bytes; ``stop`` is the level of their stop bits."""
        for byte in data:
            if rest := next(self._pauses):
                await Timer(rest * CLOCK_NS, unit="ns")
            bits = [0, *(byte >> k & 1 for k in range(8)), stop]
            for level, same in groupby(bits):
                self._rx.value = level
                await Timer(len(list(same)) * self._bit_ps, unit="ps")
        self._rx.value = 1

    async def send_frame(self, sequence: int, command: int, payload: bytes = b"") -> None:
        await self.send(encode_frame(Frame(sequence, command, payload)))

    async def response(self) -> Frame:
        """Return the next response."""
        return await self._answers.get()

    async def request(self, sequence: int, command: int, payload: bytes = b"") -> tuple[int, bytes]:
        """Send a request; return the result and the payload of its response."""
        await self.send_frame(sequence, command, payload)
        response = await self.response()
        expected = (sequence, command | RESPONSE)
        assert (response.sequence, response.command) == expected, (
            f"{response} (expected {expected})")
        return response.payload[0], response.payload[1:]

    async def do(self, sequence: int, command: int, payload: bytes = b"") -> bytes:
        """Make a request that must succeed; return the payload of its response."""
        result, response = await self.request(sequence, command, payload)
        assert result == Result.OK, f"command {command}: result {result}"
        return response

    def finish(self) -> None:
        """Raise ``AssertionError`` if a response was not asked for, or a frame came damaged."""
        assert self._answers.empty(), f"{self._answers.get_nowait()} (nothing expected)"
        assert self._reader.damaged == 0, "the design sent a damaged frame"

    async def _listen(self) -> None:
        while True:
            await FallingEdge(self._tx)
            await Timer(self._bit_ps * 3 // 2, unit="ps")
            byte = 0
            for k in range(8):
                byte |= int(self._tx.value) << k
                await Timer(self._bit_ps, unit="ps")
            assert int(self._tx.value) == 1, f"no stop bit after {byte:#04x}"
            for frame in self._reader.feed(bytes([byte])):
                number = frame.command - EVENT
                if number in range(DEVICE.sequences):
                    assert frame.sequence == 0, f"{frame}: events have sequence number 0"
                    self.events.append((number, *TOKEN_EVENT.unpack(frame.payload)))
                else:
                    self._answers.put_nowait(frame)
