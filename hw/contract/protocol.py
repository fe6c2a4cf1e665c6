"""Everything that host and device must agree on: frames, commands, addresses, program, image.

``docs/protocol.md`` explains it in prose. Standard library only; plain ``IntEnum`` members serve
in Amaranth's ``m.Case`` as well as in ``struct.pack``.
"""

import enum
import struct

__all__ = [
    "CHECK",
    "CRC_BYTES",
    "IDENTITY",
    "IMAGE_HEADER",
    "IMAGE_MAGIC",
    "IMAGE_SEGMENT",
    "IMAGE_VERSION",
    "MAX_FRAME_BYTES",
    "MAX_UNITS",
    "MIN_FRAME_BYTES",
    "NOTICE",
    "OP_AFTER_SHORT",
    "OP_BLOCKS",
    "OP_DIVIDED",
    "OP_SCALES",
    "OP_SHORT",
    "PROGRAM_HEADER_WORDS",
    "PROGRAM_OP_WORDS",
    "PROTOCOL_MAGIC",
    "PROTOCOL_VERSION",
    "RESPONSE",
    "RUN",
    "SPACE_BITS",
    "SPACE_UNITS",
    "STATUS",
    "Command",
    "Op",
    "ProgramHeader",
    "Result",
    "RunFlag",
    "Slip",
    "Space",
]

PROTOCOL_MAGIC = b"TRIL"
PROTOCOL_VERSION = 3


class Slip(enum.IntEnum):
    """Framing bytes of RFC 1055."""

    END = 0xC0
    ESC = 0xDB
    ESC_END = 0xDC
    ESC_ESC = 0xDD


MAX_FRAME_BYTES = 256
"""Longest frame after unescaping: sequence, command, payload and CRC."""

CRC_BYTES = 4

MIN_FRAME_BYTES = 2 + CRC_BYTES
"""Sequence number, command and CRC of a frame without payload."""

MAX_UNITS = 123
"""Most 16-bit units in one WRITE or READ."""


class Command(enum.IntEnum):
    """Second byte of a host frame. A response repeats it with bit 7 set."""

    IDENTIFY = 0x01
    """No payload. Responds with ``IDENTITY``."""
    WRITE = 0x02
    """Payload: address u24, then units u16. Only while idle."""
    READ = 0x03
    """Payload: address u24, count u8. Responds with units u16. Weights (while idle), tape and
    check."""
    RUN = 0x04
    """Payload: ``RUN``. Feeds tokens from the tape, then generates. Executed once per sequence
    number: a repeat of the last accepted RUN is only acknowledged again."""
    STOP = 0x05
    """No payload. Ends a run after the token in progress."""
    STATUS = 0x06
    """No payload. Responds with ``STATUS``."""


NOTICE = 0x40
"""Command byte of an unsolicited TOKEN notice, plus the number of the sequence; payload: position
u16, token u8."""

RESPONSE = 0x80
"""Bit 7 of a response's command byte; its payload begins with a ``Result`` byte."""


class Result(enum.IntEnum):
    """First byte of a response's payload."""

    OK = 0
    BAD_COMMAND = 1
    BAD_LENGTH = 2
    BAD_ADDRESS = 3
    BUSY = 4


class RunFlag(enum.IntFlag):
    """Flags of a RUN: what is done before the first token."""

    RESET = 1
    """Clear the sequence's recurrent state and set its position to 0."""
    SEED = 2
    """Load the sequence's random generator from the seed field."""
    CLEAR = 4
    """Zero the counters."""
    SECOND = 8
    """Everything else is about sequence 1; without it, about sequence 0."""
    HOLD = 16
    """Only prepare: the sequence starts with the next RUN, which is about the other one. That RUN's
    temperature holds for both."""


RUN = struct.Struct("<BHHHI")
"""flags, n_feed, n_generate, temperature (Q3.8), seed. ``n_feed`` >= 1."""

STATUS = struct.Struct("<BHHIII")
"""running, position of sequence 0, of sequence 1, cycles, words, tokens: cycles spent running,
weight words used, tokens fed."""

IDENTITY = struct.Struct("<4sBBIHIHHHHHHHH")
"""magic, protocol version, lanes, clock_hz, clocks per bit, build id, weight words, max rows,
max columns, max channels, program words, tape tokens, max vocab, sequences."""


SPACE_BITS = 9
SPACE_UNITS = 1 << SPACE_BITS
"""Words of each space but the weights."""


class Space(enum.IntEnum):
    """Device address space, in 16-bit units.

    Units from WEIGHTS to PROGRAM - 1 are the weight memory: unit 4w + k is bits 16k+15 ... 16k of
    word w. In the other spaces each unit is one entry. A space is ``SPACE_UNITS``, so that bits
    12..9 of the address select it.
    """

    WEIGHTS = 0x00000
    PROGRAM = 0x10000
    """256 x 16: header, operations; output bias of token t at unit 255 - t."""
    TAPS = 0x10200
    """512 x 16: tap_now in the low byte, tap_prev in the high byte; index layer * d_model + i."""
    FORGET_BIAS = 0x10400
    """512 x 8, same index."""
    ACTIVATION = 0x10600
    """256 x 12: SIGMOID for indices 0 ... 127 at units 0 ... 127, then SILU likewise."""
    GUMBEL = 0x10800
    """256 x 12."""
    TAPE = 0x10A00
    """512 x 8: token of position p of sequence s at unit 256 s + p mod 256."""
    CHECK = 0x10C00
    """Check of the weight memory. Write: number of its last word in use. Read: ``CHECK``, from the
    first unit on."""


CHECK = struct.Struct("<HI")
"""1 when the weight memory has been read from word 0 to the last in use, and the CRC-32 (zlib) of
its bytes. The reading starts again when a run has ended, and with each READ or WRITE of weights and
WRITE of ``Space.CHECK``; before its end, the CRC is none."""


class ProgramHeader(enum.IntEnum):
    """Words at the start of the program space."""

    CHANNELS = 0
    """d_model - 1."""
    EMBED_SCALE = 1
    EMBED_BASE = 2
    """First weight word of the embedding, which is also the head's matrix."""
    EMBED_STRIDE = 3
    """vocab_size: block b of token t is word EMBED_BASE + b * EMBED_STRIDE + t."""
    EMBED_FLAGS = 4
    """Those of an operation's first word: OP_SHORT if the head's words are short, OP_AFTER_SHORT if
    those of the first operation are."""
    OPS = 5
    """Number of operations - 1."""


PROGRAM_HEADER_WORDS = len(ProgramHeader)

PROGRAM_OP_WORDS = 5
"""kind | (blocks - 1) << OP_BLOCKS | flags, rows - 1, then three scales m. Unused ones are 0, but
that the second one of a RESIDUAL is the tap of the norm that follows."""

OP_SCALES = 3
"""Scales of an operation."""

OP_BLOCKS = 4
OP_SHORT = 1 << 8
"""The operation's weight words are short: four trits to a byte, and so 32 columns."""
OP_AFTER_SHORT = 1 << 9
"""Flag: words of the operation that takes the results as input are short."""


class Op(enum.IntEnum):
    """Kind of an operation: what the vector unit does with each finished row.

    Weight words lie in program order, block after block of columns, all rows of a block in order,
    starting at word 0.
    """

    MIX = 0
    """Rows 3i, 3i+1, 3i+2: forget, candidate, gate of channel i; scales in that order."""
    GLU = 1
    """Rows 2i, 2i+1: glu_gate, glu_up of hidden unit i; scales in that order."""
    RESIDUAL = 2
    """Row i is added to channel i; the norm that follows takes x itself, times a tap."""
    RESIDUAL_SHIFT = 3
    """The same; the norm that follows takes the next layer's token shift of x."""
    HEAD = 4
    """Row t is the logit of token t."""


OP_DIVIDED = {Op.MIX: 3, Op.GLU: 2, Op.HEAD: 1}
"""Number of scales of each kind that belong to matrices behind a norm, whose sum divides them."""

IMAGE_MAGIC = b"TRILIMG\0"
IMAGE_VERSION = 2

IMAGE_HEADER = struct.Struct("<8sHHHHHH32s")
"""magic, version, segments, vocab_size, d_model, n_layers, d_hidden, SHA-256 of the model.
Segments follow, then the CRC-32 (zlib) of all bytes before it, as u32."""

IMAGE_SEGMENT = struct.Struct("<II")
"""address and number of units; the units follow, u16 each."""
