"""Files that configure a part, down to the netlist that they make of it."""

from collections.abc import Iterator
from functools import cache

import numpy as np

from trilight.hw.flow.build import find_board, pin_ports
from trilight.hw.support.boards import DEFAULT_BOARD
from trilight.sim.bitstream.chip import Chip, load_chip
from trilight.sim.bitstream.image import (
    BANKS,
    COLUMNS,
    CRC_START,
    CRC_TABLE,
    PREAMBLE,
    RAM_COLUMNS,
    RAM_ROWS,
    Image,
    parse,
)
from trilight.sim.bitstream.recover import recover
from trilight.sim.bitstream.verilog import write_verilog
from trilight.sw.errors import BitstreamError

from .structure import piece, pieces
from .target import Target

__all__ = ["BITSTREAM", "compress", "expand"]

# An input is short where a bitstream is long and mostly zero.

BYTES, SPARSE, CHECKSUM = range(3)
"""Kinds of pieces, modulo their number: bytes as they are; zeros but for some bytes, as how many
there are and as places and values; the checksum that is right there."""

PLACE_BYTES = 2
MAX_SPARSE = 1 << 15
"""Bytes that a piece stands for; a bank of the configuration has 29,064."""

MAX_VALUES = (255 - PLACE_BYTES) // (PLACE_BYTES + 1)

RESET_CRC = bytes((0x01, 0x05))
CHECK_CRC = 0x22
OSCILLATOR_HZ = 12e6


def expand(data: bytes) -> bytes:
    """The bitstream that an input stands for."""
    made = bytearray()
    for kind, content in pieces(data):
        match kind % 3:
            case 0:  # BYTES
                made += content
            case 1:  # SPARSE
                sparse = bytearray(int.from_bytes(content[:PLACE_BYTES], "little") % MAX_SPARSE)
                for at in range(PLACE_BYTES, len(content) - PLACE_BYTES, PLACE_BYTES + 1):
                    place = int.from_bytes(content[at:at + PLACE_BYTES], "little")
                    if place < len(sparse):
                        sparse[place] = content[at + PLACE_BYTES]
                made += sparse
            case 2:  # CHECKSUM
                made.append(CHECK_CRC)
                crc = CRC_START
                for byte in made[made.rfind(RESET_CRC) + len(RESET_CRC):]:
                    crc = crc << 8 & 0xffff ^ CRC_TABLE[crc >> 8 ^ byte]
                made += crc.to_bytes(2, "big")
    return bytes(made)


def compress(image: Image) -> bytes:
    """An input that stands for a bitstream of an image."""
    def command(code: int, value: int) -> bytes:
        size = 2 if value > 255 else 1
        return bytes((code << 4 | size,)) + value.to_bytes(size, "big")

    made = piece(BYTES, PREAMBLE + command(5, 0) + RESET_CRC + command(9, 32))
    for write, banks in ((1, image.cram), (3, image.bram)):
        for bank, bits in banks.items():
            rows, columns = bits.shape
            made += piece(BYTES, command(1, bank) + command(6, columns - 1) + command(7, rows)
                          + command(8, 0) + command(0, write))
            data = np.packbits(bits)
            places = np.flatnonzero(data)
            start = 0
            while start < len(data):
                inside = places[places >= start][:MAX_VALUES + 1]
                # As far as this piece has values for.
                end = int(inside[-1]) if len(inside) > MAX_VALUES else len(data)
                made += piece(SPARSE, (end - start).to_bytes(PLACE_BYTES, "little") + b"".join(
                    (int(place) - start).to_bytes(PLACE_BYTES, "little") + bytes((data[place],))
                    for place in inside if place < end))
                start = end
            made += piece(BYTES, bytes(2))
    return made + piece(CHECKSUM, b"") + piece(BYTES, command(0, 6) + bytes(1))


@cache
def _part() -> tuple[Chip, dict[str, str]]:
    return load_chip(), pin_ports(find_board(DEFAULT_BOARD))


def _recover(data: bytes) -> None:
    image = parse(expand(data))
    again = parse(expand(compress(image)))
    for memory, other in ((image.cram, again.cram), (image.bram, again.bram)):
        assert all(np.array_equal(bits, other[bank]) for bank, bits in memory.items()), \
            "an image that was written and read differs"
    chip, ports = _part()
    design = recover(chip, image, ports)
    assert write_verilog(design, "top").count("endmodule") == 1, "no module, or more"
    assert design.clock_hz(OSCILLATOR_HZ) > 0, "a clock that stands still"


def _seeds() -> Iterator[bytes]:
    image = Image({bank: np.zeros((rows, COLUMNS), bool) for bank, rows in BANKS.items()},
                  {bank: np.zeros((RAM_ROWS, columns), bool)
                   for bank, columns in RAM_COLUMNS.items()})
    yield compress(image)
    image.bram[2][3, 4] = True
    yield compress(image)
    image.cram[1][5, 600] = True
    yield compress(image)


BITSTREAM = Target(what="configurations of a part (parse, recover)", parse=_recover,
                   refusals=(BitstreamError,), seeds=_seeds, longest=32768)
