"""Frames between boards that share an imported model, and the host that leads them.

Frames are those of ``docs/protocol.md``; commands are others than a chip's, so that one that is
plugged in at the wrong place refuses them. ``docs/imported-formats.md`` explains the exchange.
"""

import enum
import struct

from .imported import FORMATS
from .protocol import MAX_FRAME_BYTES, MIN_FRAME_BYTES

__all__ = [
    "CHAIN_KINDS",
    "CHAIN_STATUS",
    "JOIN",
    "NEXT",
    "REFUSED",
    "STATUS_OF",
    "VECTOR",
    "ChainCommand",
    "Refusal",
    "Role",
    "value_bytes",
    "values_of_frame",
    "vector_bytes",
]


class ChainCommand(enum.IntEnum):
    """Second byte of a frame."""

    JOIN = 0x10
    """Payload: ``JOIN``. First frame of a connection; one that begins otherwise is closed."""
    STATUS = 0x11
    """Payload: ``STATUS_OF``. Answered with ``CHAIN_STATUS``, the command repeated."""
    NEXT = 0x12
    """Payload: ``NEXT``. Answered with the command repeated once the connection stands."""
    RESIDUAL = 0x13
    """Payload: ``VECTOR``, then some channels of the residual stream."""
    LOGITS = 0x14
    """Payload: ``VECTOR``, then some logits; none where the host wants none."""
    REFUSED = 0x15
    """Payload: ``REFUSED``, to the host."""


class Role(enum.IntEnum):
    """Role of whoever joins."""

    HOST = 0
    NEIGHBOUR = 1


class Refusal(enum.IntEnum):
    """Reason why a board refuses a vector. It computes nothing from it."""

    POSITION = 0
    """The vector is not for the next position of its sequence: a state is lost, or a vector."""
    INCOMPLETE = 1
    """Channels are missing, or a value is out of range."""
    NEXT = 2
    """The next board takes nothing."""


JOIN = struct.Struct("<B16s")
"""``Role``, and the key that the boards of a chain share."""

NEXT = struct.Struct("<H")
"""TCP port of the next board."""

STATUS_OF = struct.Struct("<B")
"""Number of the sequence whose saturations are asked for."""

CHAIN_KINDS = ("i", "f", "gate", "residual", "logits", "any")
"""Values that saturate, in the order of their counts; ``any`` of a chip that counts them as one."""

CHAIN_STATUS = struct.Struct(f"<32sHHBI{len(CHAIN_KINDS)}I")
"""SHA-256 of the model's tensors, first layer, layer after the last, 1 with the head, tokens since
the host joined, saturations of the sequence."""

VECTOR = struct.Struct("<IBBII")
"""run, sequence, 1 if logits are wanted, position, number of the frame's first value. A run ends
with the first vector of a later one: what was under way of it counts no more."""

REFUSED = struct.Struct("<IBBII")
"""run, sequence, ``Refusal``, position that came, position that was expected."""


def value_bytes(command: ChainCommand) -> int:
    """Bytes of a value in a vector, little-endian and signed."""
    bits = FORMATS.residual_bits if command is ChainCommand.RESIDUAL else FORMATS.logit_bits
    return -(-bits // 8)


def values_of_frame(command: ChainCommand) -> int:
    """Values of a vector that a frame holds."""
    return (MAX_FRAME_BYTES - MIN_FRAME_BYTES - VECTOR.size) // value_bytes(command)


def vector_bytes(command: ChainCommand, values: int) -> int:
    """Bytes of a vector on a link, delimiters included, escapes not."""
    frames = max(1, -(-values // values_of_frame(command)))
    return values * value_bytes(command) + frames * (MIN_FRAME_BYTES + VECTOR.size + 2)
