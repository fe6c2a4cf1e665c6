"""Model images of version 2, which were made for the address space of protocol 3."""

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.program import SCALES, Op, Operation, Program
from trilight.hw.contract.protocol import Region
from trilight.sw.errors import ImageError

__all__ = ["HEADER", "VERSION", "convert"]

VERSION = 2

HEADER = struct.Struct("<8sHHHHHH32s")
"""Header of version 2: magic, version, segments, vocab_size, d_model, n_layers, d_hidden, SHA-256
of the model."""

PROGRAM, PROGRAM_WORDS = 0x10000, 256
"""Place of the program, of which the output bias of token t is word 255 - t."""

TABLES = {0x10200: Region.TAPS, 0x10400: Region.FORGET_BIAS, 0x10600: Region.ACTIVATION,
          0x10800: Region.GUMBEL}
"""Places of the tables, whose contents are the same."""

HEADER_WORDS, OPERATION_WORDS = 6, 2 + SCALES
CHANNELS, EMBED_SCALE, _, VOCABULARY, _, LAST_OPERATION = range(HEADER_WORDS)

Words = NDArray[np.uint16]


def convert(segments: list[tuple[int, Words]]) -> list[tuple[int, Words]]:
    """Return the segments of an image of version 2 as those of this version.

    Weights and tables are the same and lie elsewhere; the program is encoded in another way.

    Raises
    ------
    ImageError
        A segment lies at no place of version 2, or its program is none.
    """
    converted: list[tuple[int, Words]] = []
    for address, words in segments:
        if address in TABLES:
            converted.append((TABLES[address], words))
        elif address == PROGRAM and len(words) == PROGRAM_WORDS:
            converted += _program(words)
        elif address + len(words) <= PROGRAM:
            converted.append((address, words))
        else:
            raise ImageError(f"an image of version {VERSION} has nothing at {address:#07x}; it is "
                             "damaged, compile it again from its model")
    return converted


def _program(words: Words) -> Iterator[tuple[int, Words]]:
    old = words.tolist()
    count, vocabulary = old[LAST_OPERATION] + 1, old[VOCABULARY]
    end = HEADER_WORDS + count * OPERATION_WORDS
    if end + vocabulary > len(old):
        raise ImageError(f"the program of an image has {count} operations and {vocabulary} output "
                         f"biases, more than its {len(old)} words; it is damaged, compile it again")
    try:
        operations = tuple(_operation(old[start:start + OPERATION_WORDS])
                           for start in range(HEADER_WORDS, end, OPERATION_WORDS))
        program = Program(channels=old[CHANNELS] + 1, vocab_size=vocabulary,
                          embed_scale=old[EMBED_SCALE], operations=operations).encode()
    except ValueError as error:
        raise ImageError(f"the program of an image is none: {error}; it is damaged, compile it "
                         "again") from error
    yield Region.PROGRAM, np.array(program, np.uint16)
    yield Region.HEAD_BIAS, words[:-vocabulary - 1:-1].copy()


def _operation(words: list[int]) -> Operation:
    """Operation of bits 0 to 3 kind, 4 to 7 blocks - 1, 8 and 9 the flags; rows - 1; scales."""
    first, rows, *scales = words
    return Operation(kind=Op(first & 0xF), rows=rows + 1, blocks=(first >> 4 & 0xF) + 1,
                     short=bool(first >> 8 & 1), after_short=bool(first >> 9 & 1),
                     parameters=tuple(scales))
