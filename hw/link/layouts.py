"""Bytes of a frame as the link sees them."""

from amaranth.lib import data

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import ADDRESS, CRC_BYTES, MIN_FRAME_BYTES

__all__ = ["FRAME", "HEADER_BYTES", "WRITE_BYTES", "status_layout"]

HEADER_BYTES = MIN_FRAME_BYTES - CRC_BYTES
"""Sequence number and command."""

WRITE_BYTES = HEADER_BYTES + ADDRESS.size + CRC_BYTES
"""A WRITE without words."""

FRAME = data.StructLayout({
    "sequence": 8,
    "command": 8,
    "payload": data.UnionLayout({
        "access": data.StructLayout({"address": 8 * ADDRESS.size, "count": 8}),
        "run": data.StructLayout({
            "flags": 8, "sequence": 8, "n_feed": 16, "n_generate": 16, "temperature": 16,
            "seed": 32}),
    }),
})
"""First bytes of a frame from the host."""


def status_layout(device: Device) -> data.StructLayout:
    """Response to STATUS, after ``running``."""
    return data.StructLayout({
        "cycles": 32, "words": 32, "tokens": 32,
        "positions": data.ArrayLayout(16, device.sequences)})
