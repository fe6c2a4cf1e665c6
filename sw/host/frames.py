"""Frames of the link: sequence number, command, payload and CRC-32 between SLIP delimiters.

``docs/protocol.md`` is the contract. Both the driver and the emulated device use this module, so
its tests check it against published vectors.
"""

import zlib
from dataclasses import dataclass

import sliplib

from trilight.hw.contract.protocol import CRC_BYTES, MAX_FRAME_BYTES, MIN_FRAME_BYTES

__all__ = ["Frame", "FrameReader", "encode_frame"]


@dataclass(frozen=True)
class Frame:
    """A frame without its CRC."""

    sequence: int
    """0 ... 255."""
    command: int
    """A ``Command``, a ``Command`` with the bit ``RESPONSE``, or ``EVENT`` plus the number of a
    sequence."""
    payload: bytes = b""
    """Bytes, ``MAX_FRAME_BYTES - MIN_FRAME_BYTES`` at the most."""


def _crc(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(CRC_BYTES, "little")


def encode_frame(frame: Frame) -> bytes:
    """Bytes of ``frame`` on the wire, with a delimiter at both ends.

    Raises
    ------
    ValueError
        The payload is too long for a frame.
    """
    body = bytes((frame.sequence, frame.command)) + frame.payload
    if len(body) + CRC_BYTES > MAX_FRAME_BYTES:
        raise ValueError(f"a frame holds {MAX_FRAME_BYTES - MIN_FRAME_BYTES} bytes of payload, "
                         f"not {len(frame.payload)}")
    body += _crc(body)
    return b"".join((sliplib.END, sliplib.encode(body), sliplib.END))


class FrameReader:
    """Reader of the frames in a stream of bytes that may be damaged.

    Attributes
    ----------
    received : int
        Bytes fed so far.
    damaged : int
        Packets dropped so far: too short, too long, a bad escape or a bad CRC.
    """

    def __init__(self) -> None:
        self.received = 0
        self.damaged = 0
        self._slip = sliplib.Driver()

    def feed(self, data: bytes) -> list[Frame]:
        """Take in ``data`` and return the frames that it completes, oldest first."""
        if not data:
            return []
        self.received += len(data)
        self._slip.receive(data)
        frames: list[Frame] = []
        while True:
            try:
                body = self._slip.get(block=False)
            except sliplib.ProtocolError:
                self.damaged += 1
                continue
            if body is None:
                return frames
            content = body[:-CRC_BYTES]
            if (not MIN_FRAME_BYTES <= len(body) <= MAX_FRAME_BYTES
                    or body[-CRC_BYTES:] != _crc(content)):
                self.damaged += 1
                continue
            frames.append(Frame(content[0], content[1], content[2:]))
