"""Responses to IDENTIFY and STATUS: a device's identity, sizes and state."""

from dataclasses import dataclass
from typing import Any, Self

from trilight.hw.contract.device import SPRAM_WORDS, Device, WeightMemory
from trilight.hw.contract.errors import CapacityError
from trilight.hw.contract.program import HEADER_WORDS, OPERATION_WORDS
from trilight.hw.contract.protocol import (
    IDENTITY,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    REGION_WORDS,
    Region,
    status_struct,
)
from trilight.sw.errors import DeviceError, WrongDeviceError

__all__ = ["Counters", "Identity", "Status"]

MIN_TAPE = 2
"""A run feeds a token and generates at least one more, which must not overwrite it."""

MAX_TOKENS = 1 << 16
"""A token has 16 bits."""

LUT_RAM_TRITS = 3
"""Trits of a code whose tables lie in LUT RAM, which a part with SPRAM has none of."""

SIZES = ("weight_words", "max_rows", "max_columns", "max_channels", "program_words", "tape_tokens",
         "max_vocab", "sequences")
"""Fields of a device in the order of ``IDENTITY``."""


@dataclass(frozen=True)
class Identity:
    """Identity and sizes of a device; see ``IDENTITY`` in ``hw/contract/protocol.py``."""

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
        (_, _, trits, lanes, clock_hz, clocks_per_bit, build_id, *values) = IDENTITY.unpack(payload)
        *values, adaptation = values
        sizes: dict[str, Any] = dict(zip(SIZES, values, strict=True))
        sizes |= Device.adaptation_of(adaptation)
        try:
            device = Device(name=name, trits=trits, lanes=lanes,
                            weight_memory=_memory(sizes["weight_words"], trits), **sizes)
            if wrong := _contradiction(device):
                raise CapacityError(wrong)
        except CapacityError as error:
            raise WrongDeviceError(f"{name} says of itself what can not be: {error}; flash the "
                                   "bitstream of this release") from error
        return cls(clock_hz, clocks_per_bit, build_id, device)


def _memory(weight_words: int, trits: int) -> WeightMemory:
    """A memory that holds so many words; which one it is does not matter to the host."""
    if weight_words > SPRAM_WORDS or trits == LUT_RAM_TRITS:
        return WeightMemory.BLOCK_RAM
    return WeightMemory.SPRAM


def _contradiction(device: Device) -> str | None:
    """Say what of an identity no address region has room for, or no run could do with."""
    for what, value, minimum, maximum in (
            ("weight words", device.weight_words, 1, Region.PROGRAM // device.packing.word_units),
            ("program words", device.program_words, HEADER_WORDS + OPERATION_WORDS, REGION_WORDS),
            ("tape tokens", device.tape_tokens, MIN_TAPE, REGION_WORDS // device.sequences),
            ("tokens of a vocabulary", device.max_vocab, 1, MAX_TOKENS),
            ("biases of an order", max(device.adapt_depths, default=0), 0, REGION_WORDS)):
        if not minimum <= value <= maximum:
            return f"{value:,} {what}, not {minimum:,} to {maximum:,}"
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
    """State of a device."""

    running: bool
    positions: tuple[int, ...]
    """Tokens of each sequence that were fed since its last reset, modulo 65536."""
    counters: Counters
    """Counters over all sequences."""

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Take apart the answer to STATUS; its length tells the number of sequences.

        Raises
        ------
        DeviceError
            It has another length.
        """
        without, one = status_struct(0).size, status_struct(1).size
        sequences, odd = divmod(len(payload) - without, one - without)
        if sequences < 1 or odd:
            raise DeviceError(f"STATUS must answer {one} bytes, or {one - without} more for each "
                              f"further sequence, not {len(payload)}; reset the board and try "
                              "again")
        layout = status_struct(sequences)
        running, cycles, words, tokens, *positions = layout.unpack(payload)
        return cls(running != 0, tuple(positions), Counters(cycles, words, tokens))
