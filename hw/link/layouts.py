"""Bytes of a frame as the link sees them."""

import struct

from amaranth.lib import data

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import CRC_BYTES, MIN_FRAME_BYTES

__all__ = ["ADDRESS", "ADDRESS_BITS", "FRAME", "HEADER_BYTES", "READ", "WORD_BYTES", "WRITE_BYTES",
           "status_layout"]

WORD_BYTES = 2

HEADER_BYTES = MIN_FRAME_BYTES - CRC_BYTES
"""Sequence number and command."""

ADDRESS_BITS = 17

ADDRESS = struct.Struct("<HB")
"""Address u24."""

READ = struct.Struct("<HBB")
"""Address and count."""

WRITE_BYTES = HEADER_BYTES + ADDRESS.size + CRC_BYTES
"""A WRITE without words."""

FRAME = data.StructLayout({
    "sequence": 8,
    "command": 8,
    "payload": data.UnionLayout({
        "access": data.StructLayout({"address": ADDRESS_BITS, "beyond": 7, "count": 8}),
        "run": data.StructLayout({
            "flags": 8, "n_feed": 16, "n_generate": 16, "temperature": 16, "seed": 32}),
    }),
})
"""First bytes of a frame from the host."""


def status_layout(device: Device) -> data.StructLayout:
    """Response to STATUS, after ``running``."""
    return data.StructLayout({
        "positions": data.ArrayLayout(16, 2), "cycles": 32, "words": 32, "tokens": 32})
