"""Responses to IDENTIFY and STATUS: a device's identity, sizes and state."""

from dataclasses import dataclass
from typing import Self

from trilight.hw.contract.device import Device
from trilight.hw.contract.errors import CapacityError
from trilight.hw.contract.protocol import (
    IDENTITY,
    PROGRAM_HEADER_WORDS,
    PROGRAM_OP_WORDS,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    SPACE_UNITS,
    STATUS,
    Space,
)
from trilight.sw.errors import DeviceError, WrongDeviceError

__all__ = ["Counters", "Identity", "Status"]

SEQUENCES = 2
"""Sequences that STATUS has a position of."""

UNITS_PER_WORD = 4
"""16-bit units of a weight word in the address space."""

MIN_TAPE = 2
"""A run feeds a token and generates at least one more, which must not overwrite it."""

MAX_TOKENS = 256
"""A token is a byte."""

TRITS = 5
"""Trits of a code, of which this version of the protocol knows one kind."""


@dataclass(frozen=True)
class Identity:
    """Identity and sizes of a device; see ``IDENTITY`` in ``hw/contract/protocol.py``."""

    lanes: int
    clock_hz: int
    """0 for a device without a clock."""
    clocks_per_bit: int
    build_id: int
    device: Device

    @classmethod
    def parse(cls, payload: bytes, name: str) -> Self:
        """Check and take apart the answer to IDENTIFY of the device called ``name``.

        Raises
        ------
        WrongDeviceError
            It is no Trilight, one of another protocol version, or says what no Trilight is.
        """
        magic = payload[:len(PROTOCOL_MAGIC)]
        if magic != PROTOCOL_MAGIC:
            raise WrongDeviceError(f"{name} is not a Trilight: it calls itself {magic!r}, not "
                                   f"{PROTOCOL_MAGIC!r}; choose another port")
        version = payload[len(magic)] if len(payload) > len(magic) else None
        if version != PROTOCOL_VERSION or len(payload) != IDENTITY.size:
            raise WrongDeviceError(
                f"{name} speaks protocol version {version} in {len(payload)} bytes, and this "
                f"program version {PROTOCOL_VERSION} in {IDENTITY.size}; flash the bitstream of "
                "this release, or install the release of that bitstream")
        (_, _, lanes, clock_hz, clocks_per_bit, build_id, weight_words, max_rows, max_columns,
         max_channels, program_words, tape_tokens, max_vocab, sequences) = IDENTITY.unpack(payload)
        wrong = _contradiction(lanes, weight_words, program_words, tape_tokens, max_vocab,
                               sequences)
        try:
            if wrong:
                raise CapacityError(wrong)
            device = Device(
                name=name, lanes=lanes // TRITS, trits=TRITS, weight_words=weight_words,
                max_rows=max_rows, max_columns=max_columns, max_channels=max_channels,
                program_words=program_words, tape_tokens=tape_tokens, max_vocab=max_vocab,
                sequences=sequences)
        except CapacityError as error:
            raise WrongDeviceError(f"{name} says of itself what can not be: {error}; flash the "
                                   "bitstream of this release") from error
        return cls(lanes, clock_hz, clocks_per_bit, build_id, device)


def _contradiction(lanes: int, weight_words: int, program_words: int, tape_tokens: int,
                   max_vocab: int, sequences: int) -> str | None:
    """Return what an identity states that no address space has room for, or no run could use."""
    spaces = (("sequences", sequences, 1, SEQUENCES),
              ("weight words", weight_words, 1, Space.PROGRAM // UNITS_PER_WORD),
              ("program words", program_words, PROGRAM_HEADER_WORDS + PROGRAM_OP_WORDS,
               SPACE_UNITS),
              ("tape tokens", tape_tokens, MIN_TAPE, SPACE_UNITS // max(sequences, 1)),
              ("tokens of a vocabulary", max_vocab, 1, MAX_TOKENS))
    for name, value, least, most in spaces:
        if not least <= value <= most:
            return f"{value:,} {name}, not {least:,} to {most:,}"
    if not lanes or lanes % TRITS:
        return f"{lanes} weights at once, not a multiple of {TRITS}"
    return None


@dataclass(frozen=True)
class Counters:
    """Clock cycles spent running, weight words used and tokens fed, since they were cleared."""

    cycles: int = 0
    words: int = 0
    tokens: int = 0

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(self.cycles + other.cycles, self.words + other.words,
                        self.tokens + other.tokens)


@dataclass(frozen=True)
class Status:
    """State of a device.

    Parameters
    ----------
    running : bool
    positions : tuple of int
        Of each sequence, the tokens fed since its last reset, modulo 65536.
    counters : Counters
        Over both sequences.
    """

    running: bool
    positions: tuple[int, int]
    counters: Counters

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Take apart the answer to STATUS.

        Raises
        ------
        DeviceError
            It has another length.
        """
        if len(payload) != STATUS.size:
            raise DeviceError(f"STATUS must answer {STATUS.size} bytes, not {len(payload)}; "
                              "reset the board and try again")
        running, first, second, *counters = STATUS.unpack(payload)
        return cls(running != 0, (first, second), Counters(*counters))
