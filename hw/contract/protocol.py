"""Everything that host and device must agree on: frames, commands, addresses, image.

``docs/protocol.md`` explains it in prose. Standard library only; plain ``IntEnum`` members serve
in Amaranth's ``m.Case`` as well as in ``struct.pack``. The program has a file of its own,
``program.py``.
"""

import enum
import struct

__all__ = [
    "ACCESS",
    "ADDRESS",
    "BIASES",
    "CRC_BYTES",
    "EVENT",
    "FLASH_GAP",
    "FLASH_LEAD_BYTES",
    "FLASH_MAX_HZ",
    "FLASH_OFFSET",
    "FLASH_SLOTS",
    "FLASH_SLOT_BYTES",
    "IDENTITY",
    "IMAGE_HEADER",
    "IMAGE_MAGIC",
    "IMAGE_SEGMENT",
    "IMAGE_VERSION",
    "MAX_FRAME_BYTES",
    "MAX_WORDS",
    "MIN_FRAME_BYTES",
    "PROTOCOL_MAGIC",
    "PROTOCOL_VERSION",
    "REGION_BITS",
    "REGION_WORDS",
    "RESPONSE",
    "REST_SECONDS",
    "RUN",
    "START_SECONDS",
    "TERMINAL",
    "TERMINAL_NO_TOKEN",
    "TERMINAL_WORDS",
    "TOKEN_EVENT",
    "WEIGHT_CRC",
    "WORD_BYTES",
    "Command",
    "FlashCommand",
    "Region",
    "Result",
    "RunFlag",
    "Slip",
    "TerminalWord",
    "boot_cycles",
    "byte_cycles",
    "flash_half_period",
    "status_struct",
]

PROTOCOL_MAGIC = b"TRIL"
PROTOCOL_VERSION = 4


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

WORD_BYTES = 2
"""Bytes of a word of the address space."""

MAX_WORDS = 123
"""Words in one WRITE or READ, at most."""


class Command(enum.IntEnum):
    """Second byte of a host frame. A response repeats it with bit 7 set."""

    IDENTIFY = 0x01
    """No payload. Responds with ``IDENTITY``."""
    WRITE = 0x02
    """Payload: ``ADDRESS``, then words u16. Only while idle."""
    READ = 0x03
    """Payload: ``ACCESS``. Responds with words u16. Weights (while idle), tape and weight CRC."""
    RUN = 0x04
    """Payload: ``RUN``. Feeds tokens from the tape, then generates. Executed once per sequence
    number: a repeat of the last accepted RUN is only acknowledged again."""
    STOP = 0x05
    """No payload. Ends a run after the token in progress."""
    STATUS = 0x06
    """No payload. Responds with ``status_struct``."""


ADDRESS = struct.Struct("<I")
"""Address of the first word."""

ACCESS = struct.Struct("<IB")
"""Address of the first word, number of words."""

EVENT = 0x40
"""Command byte of an event, plus the number of the sequence; payload: ``TOKEN_EVENT``."""

TOKEN_EVENT = struct.Struct("<HH")
"""position modulo 65536, token."""

RESPONSE = 0x80
"""Bit 7 of a response's command byte; its payload begins with a ``Result`` byte."""


REST_SECONDS = 0.5
"""Time without anything to do after which a device may stop its clock, at least: longer than hosts
wait before they repeat what was lost while it started."""

START_SECONDS = 0.5e-3
"""Time from the first bit that such a device is sent to the first byte that it hears, at most."""


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
    HOLD = 8
    """Only prepare: the sequence starts with the next RUN without this flag, which is about a
    sequence of a higher number. The last RUN's temperature holds for all."""
    ADAPT = 16
    """Adaptation, of a run of sequence 0 alone: add the biases that were learnt while reading to
    its logits, and learn from the tokens that are fed. Other devices, and other runs, ignore it."""


RUN = struct.Struct("<BBHHHI")
"""flags, sequence, n_feed, n_generate, temperature (Q3.8), seed. ``n_feed`` >= 1."""


def status_struct(sequences: int) -> struct.Struct:
    """Response to STATUS of a device with so many sequences.

    running, cycles, words, tokens: cycles spent running, weight words used, tokens fed; then the
    position of each sequence.
    """
    return struct.Struct(f"<BIII{sequences}H")


IDENTITY = struct.Struct("<4sBBHIHIIIIIIIIBB")
"""magic, protocol version, trits of a code, lanes (codes of a weight word), clock_hz, clocks per
bit, build id, weight words, max rows, max columns, max channels, program words, tape tokens, max
vocab, sequences, learning while reading (``Device.adapt_code``)."""


REGION_BITS = 20
REGION_WORDS = 1 << REGION_BITS
"""Words of each region but the weights."""


class Region(enum.IntEnum):
    """Memory regions of the address space, which consists of 16-bit words.

    Words below PROGRAM are the weight memory: word n * w + k is bits 16k+15 ... 16k of weight word
    w, of n 16-bit words. In the other regions each word is one entry. A memory shorter than its
    region repeats in it, and an access that reaches its end goes on at its beginning.
    """

    WEIGHTS = 0x00000000
    PROGRAM = 0x80000000
    """16 bits: header and operations, see ``Program``."""
    HEAD_BIAS = 0x80100000
    """16 bits: output bias of token t at word t."""
    TAPS = 0x80200000
    """16 bits: tap_now in the low byte, tap_prev in the high byte; index layer * d_model + i."""
    FORGET_BIAS = 0x80300000
    """8 bits, same index."""
    ACTIVATION = 0x80400000
    """256 x 12 bits: SIGMOID for indices 0 ... 127 at words 0 ... 127, then SILU likewise."""
    GUMBEL = 0x80500000
    """256 x 12 bits."""
    TAPE = 0x80600000
    """Token of position p of sequence s, at word n * s + p mod n of tapes of n tokens."""
    WEIGHT_CRC = 0x80700000
    """CRC of the weight memory. Write: number of the last weight word in use, low half, then high
    half. Read: ``WEIGHT_CRC``, from the first word on."""

    @property
    def number(self) -> int:
        """Number of the region, from PROGRAM on; the weights have none."""
        return (self - Region.PROGRAM) >> REGION_BITS

    @classmethod
    def of(cls, address: int) -> "Region":
        """Return the region of an address.

        Raises
        ------
        ValueError
            There is none.
        """
        if 0 <= address < cls.PROGRAM:
            return cls.WEIGHTS
        return cls(address & -REGION_WORDS)


WEIGHT_CRC = struct.Struct("<HI")
"""1 when the weight memory has been read from word 0 to the last in use, and the CRC-32 (zlib) of
its bytes. The reading starts again when a run has ended, and with each READ or WRITE of weights and
WRITE of ``Region.WEIGHT_CRC``; before its end, the CRC is none."""


BIASES = (0x80900000, 0x80A00000)
"""Regions of a device that learns while it reads, 8 bits a word, which other devices refuse: the
bias of a token by the last token, and by the hash of the last two, at word row * 2**token_bits +
token. Read and written while idle."""

IMAGE_MAGIC = b"TRILIMG\0"
IMAGE_VERSION = 3

IMAGE_HEADER = struct.Struct("<8sHHIIII32s")
"""magic, version, segments, vocab_size, d_model, n_layers, d_hidden, SHA-256 of the model.
Segments follow, then the CRC-32 (zlib) of all bytes before it, as u32."""

IMAGE_SEGMENT = struct.Struct("<II")
"""address and number of words; the words follow, u16 each."""


FLASH_OFFSET = 1 << 20
"""Byte of a board's flash memory at which the first slot of a model begins; bitstreams lie below.
"""

FLASH_SLOT_BYTES = 1 << 20
"""Bytes from one slot to the next."""

FLASH_GAP = 16
"""Delimiters after each command of a flash image, while which it is executed."""

FLASH_SLOTS = 2
"""Slots that a chip can boot from."""


FLASH_LEAD_BYTES = 127
"""Bytes of the flash's pace until its first one: it is woken in the first, and then has time."""


class FlashCommand(enum.IntEnum):
    """Commands of a SPI flash memory that a boot uses; every maker's parts share them."""

    READ = 0x03
    """Three bytes of address follow, then data come."""
    WAKE = 0xAB
    """Release from deep power-down."""


FLASH_MAX_HZ = 25_000_000
"""Clock of the flash memory at most: READ is good for 33 MHz in the slowest part on our boards."""


def flash_half_period(clock_hz: int) -> int:
    """Cycles of half a period of the flash's clock, a power of two.

    At least 2: a frame is fetched from its buffer before the byte after it comes.
    """
    half = 2
    while clock_hz > 2 * half * FLASH_MAX_HZ:
        half *= 2
    return half


def byte_cycles(clock_hz: int) -> int:
    """Cycles of the chip in which its flash memory sends a byte."""
    return 16 * flash_half_period(clock_hz)


def boot_cycles(image_bytes: int, clock_hz: int) -> int:
    """Cycles from reset until a flash image that ends in a STOP has been executed."""
    return (FLASH_LEAD_BYTES + image_bytes) * byte_cycles(clock_hz) + 26


TERMINAL = Region.PROGRAM + (len(Region) - 1) * REGION_WORDS
"""Region of the tables of a chip with a terminal, of 8 bits each; other chips refuse it."""

TERMINAL_WORDS = 512

TERMINAL_NO_TOKEN = 0xFF
"""Token of a character that the model does not know."""


class TerminalWord(enum.IntEnum):
    """Places in the tables of a terminal."""

    TOKENS_OF = 0
    """Token of each of 128 characters of ASCII."""
    TEMPERATURE = 128
    """Q3.8, low byte and high byte."""
    TOKENS = 130
    """Tokens after a line, low byte and high byte."""
    CHARACTERS = 256
    """Character of each token."""
