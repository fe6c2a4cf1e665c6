"""A connection that carries frames, and vectors in several of them."""

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.chain import VECTOR, ChainCommand, value_bytes, values_of_frame
from trilight.sw.errors import ChainError
from trilight.sw.host.frames import Frame, FrameReader, encode_frame

__all__ = ["Assembler", "ChainLink", "Vector"]

_CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class Vector:
    """Values of one position of a sequence."""

    command: ChainCommand
    """``RESIDUAL`` or ``LOGITS``."""
    run: int
    sequence: int
    position: int
    wanted: bool
    """True if the host wants logits of this position."""
    values: NDArray[np.int64]

    def frames(self) -> Iterator[Frame]:
        """Frames that carry it, at least one."""
        size, many = value_bytes(self.command), values_of_frame(self.command)
        raw = np.ascontiguousarray(self.values, "<i8").view(np.uint8).reshape(-1, 8)[:, :size]
        for first in range(0, max(1, len(raw)), many):
            head = VECTOR.pack(self.run, self.sequence, self.wanted, self.position, first)
            yield Frame(0, self.command, head + raw[first:first + many].tobytes())


class Assembler:
    """Puts vectors together from the frames of one connection.

    Parameters
    ----------
    values
        Of a whole vector.
    """

    def __init__(self, command: ChainCommand, values: int) -> None:
        self._command = command
        self._values = values
        self._head: tuple[int, int, int, int] | None = None
        self._parts: list[NDArray[np.int64]] = []

    def add(self, payload: bytes) -> Vector | None:
        """Take in a frame's payload; return the vector that it completes.

        Raises
        ------
        ValueError
            It does not follow the frame before: something was lost.
        """
        size = value_bytes(self._command)
        if len(payload) < VECTOR.size or (len(payload) - VECTOR.size) % size:
            raise ValueError("a frame of no whole values")
        run, sequence, wanted, position, first = VECTOR.unpack_from(payload)
        head, have = (run, sequence, wanted, position), sum(map(len, self._parts))
        if first == 0:
            self._head, self._parts, have = head, [], 0
        elif head != self._head or first != have:
            self._head, self._parts = None, []
            raise ValueError(f"value {first} of a vector in place of {have}")
        values = _integers(payload[VECTOR.size:], size)
        # A host that wants no logits gets an empty vector.
        whole = 0 if self._command is ChainCommand.LOGITS and not wanted else self._values
        if have + len(values) > whole:
            self._head, self._parts = None, []
            raise ValueError(f"a vector of more than {whole} values")
        self._parts.append(values)
        if have + len(values) < whole:
            return None
        found = np.concatenate(self._parts)
        self._head, self._parts = None, []
        return Vector(self._command, run, sequence, position, bool(wanted), found)


def _integers(raw: bytes, size: int) -> NDArray[np.int64]:
    """Signed little-endian integers of ``size`` bytes."""
    wide = np.zeros((len(raw) // size, 8), np.uint8)
    wide[:, 8 - size:] = np.frombuffer(raw, np.uint8).reshape(-1, size)
    result: NDArray[np.int64] = wide.view("<i8").reshape(-1) >> 8 * (8 - size)
    return result


class ChainLink:
    """Frames over a socket.

    Parameters
    ----------
    send_timeout_s
        After which a peer that takes nothing counts as lost.

    Attributes
    ----------
    sent, received : int
        Bytes.
    """

    def __init__(self, connection: socket.socket, send_timeout_s: float) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.sent = 0
        self._send_timeout_s = send_timeout_s
        self._reader = FrameReader()

    @property
    def received(self) -> int:
        return self._reader.received

    def send(self, *frames: Frame) -> None:
        """Send frames.

        Raises
        ------
        ChainError
            The peer is gone or takes nothing.
        """
        data = b"".join(map(encode_frame, frames))
        try:
            self.socket.settimeout(self._send_timeout_s)
            self.socket.sendall(data)
        except OSError as error:
            raise ChainError(f"the connection is lost ({error})") from error
        self.sent += len(data)

    def receive(self, timeout_s: float) -> list[Frame]:
        """Return frames as soon as some are whole; none after the timeout.

        Raises
        ------
        ChainError
            The peer is gone.
        """
        until = time.monotonic() + timeout_s
        while True:
            try:
                self.socket.settimeout(max(until - time.monotonic(), 1e-3))
                data = self.socket.recv(_CHUNK)
            except TimeoutError:
                return []
            except OSError as error:
                raise ChainError(f"the connection is lost ({error})") from error
            if not data:
                raise ChainError("the connection is closed")
            frames = self._reader.feed(data)
            if frames or time.monotonic() >= until:
                return frames

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()
