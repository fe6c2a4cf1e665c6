"""The file that configures an iCE40 UP5K: its commands, checksum and memories.

The format is that of Project IceStorm's documentation. Nothing of the tools that wrote the file is
used, so that they can be wrong and this can notice.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import BitstreamError

__all__ = ["BANKS", "RAM_ROWS", "Bits", "Image", "parse"]

Bits = NDArray[np.bool_]

PREAMBLE = bytes.fromhex("7eaa997e")

BANKS = {0: 336, 1: 176, 2: 336, 3: 176}
"""Rows of the configuration memory by bank: bottom left, top left, bottom right, top right."""

COLUMNS = 692
"""Bits of a row of the configuration memory."""

RAM_ROWS = 256
"""Rows of the block RAMs' banks; a block RAM is a column of 16 bits of it."""

RAM_COLUMNS = {0: 160, 1: 80, 2: 160, 3: 80}
"""Bits of a row of the block RAMs' banks: a block RAM has 16."""

OTHER_PARTS = {332: "1K", 872: "4K or 8K", 182: "384", 656: "LM4K"}
"""Other iCE40 parts by the width of their configuration memory."""

CRC_POLYNOMIAL = 0x1021
CRC_START = 0xffff


@dataclass(frozen=True)
class Image:
    """Content that a bitstream writes into the part."""

    cram: dict[int, Bits]
    """Configuration memory by bank, bool [rows, columns]."""
    bram: dict[int, Bits]
    """Contents of the block RAMs by bank, bool [256, columns]; zero where the file says nothing."""


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = crc << 1 ^ (CRC_POLYNOMIAL if crc & 0x8000 else 0)
        table.append(crc & 0xffff)
    return table


CRC_TABLE = _crc_table()


class _Reader:
    """Bytes of a file one after the other, and their checksum."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at
        self.crc = CRC_START

    def take(self, count: int, what: str) -> bytes:
        taken = self.data[self.at:self.at + count]
        if len(taken) != count:
            raise BitstreamError(
                f"the bitstream is cut off: {what} at byte {self.at:,} needs {count:,} bytes and "
                f"{len(taken):,} are left of {len(self.data):,}; copy or build the file again")
        crc = self.crc
        for byte in taken:
            crc = crc << 8 & 0xffff ^ CRC_TABLE[crc >> 8 ^ byte]
        self.crc = crc
        self.at += count
        return taken

    def number(self, count: int, what: str) -> int:
        return int.from_bytes(self.take(count, what), "big")


class _Loader:
    """Carries out the commands of a bitstream."""

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader
        self.bank = self.width = self.height = self.offset = 0
        self.cram = {bank: np.zeros((rows, COLUMNS), dtype=bool)
                     for bank, rows in BANKS.items()}
        self.bram = {bank: np.zeros((RAM_ROWS, columns), dtype=bool)
                     for bank, columns in RAM_COLUMNS.items()}
        self.written = dict.fromkeys(BANKS, 0)
        self.checked = False

    def run(self) -> None:
        while self.step():
            pass
        missing = [bank for bank, rows in BANKS.items() if self.written[bank] != rows]
        if missing:
            raise BitstreamError(f"the bitstream leaves bank {missing[0]} of the configuration "
                                 f"unwritten: {self.written[missing[0]]} of "
                                 f"{BANKS[missing[0]]} rows are there; build it again")
        if not self.checked:
            raise BitstreamError("the bitstream has no checksum, so that damage would go "
                                 "unnoticed; icepack writes one")

    def step(self) -> bool:
        """Carry out a command, and return whether another follows."""
        start = self.reader.at
        command = self.reader.number(1, "a command")
        value = self.reader.number(command & 15, "a command's argument")
        match command >> 4, value:
            case 0, 1:
                self.write_cram()
            case 0, 3:
                self.write_bram()
            case 0, 5:
                self.reader.crc = CRC_START
            case 0, 6:
                return False
            case 1, _ if value in BANKS:
                self.bank = value
            case 2, _:
                self.check_crc(start)
            case 4, _:
                raise BitstreamError(
                    "the file is a multiboot image, which holds several bitstreams and where each "
                    "begins; give one of those that it was made from")
            case 5, (0 | 1 | 2):
                pass  # how fast the part reads the flash
            case 6, _:
                self.width = value + 1
            case 7, _:
                self.height = value
            case 8, _:
                self.offset = value
            case 9, (0 | 16 | 32):
                pass  # whether it may be configured again without power-on
            case _:
                raise BitstreamError(
                    f"the bitstream has the unknown command {command:#04x} with the argument "
                    f"{value:#x} at byte {start:,}; it is damaged or not for an iCE40")
        return True

    def check_crc(self, start: int) -> None:
        # The checksum of everything before it and itself is zero.
        if self.reader.crc != 0:
            raise BitstreamError(f"the bitstream's checksum at byte {start:,} does not fit its "
                                 "contents: the file is damaged; copy or build it again")
        self.checked = True

    def rows(self) -> Bits:
        """Rows that a command brings along."""
        count, rest = divmod(self.width * self.height, 8)
        if rest or not count:
            raise BitstreamError(f"the bitstream has {self.height} rows of {self.width} bits, "
                                 "which are no whole bytes; it is damaged")
        data = self.reader.take(count, f"data of bank {self.bank}")
        if end := self.reader.number(2, "the end of a bank's data"):
            raise BitstreamError(f"the bitstream has {end:#06x} instead of zero after the data of "
                                 f"bank {self.bank}, at byte {self.reader.at - 2:,}; it is damaged")
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8)).astype(bool)
        return bits.reshape(self.height, self.width)

    def write_cram(self) -> None:
        rows = self.rows()
        if self.width != COLUMNS:
            part = OTHER_PARTS.get(self.width)
            raise BitstreamError(
                f"the bitstream is for {f'an iCE40 {part}' if part else 'another part'}: its "
                f"configuration is {self.width} bits wide, that of an iCE40 UP5K {COLUMNS}")
        end = self.offset + self.height
        if self.offset != self.written[self.bank] or end > BANKS[self.bank]:
            raise BitstreamError(
                f"the bitstream writes rows {self.offset} to {end - 1} of bank {self.bank} after "
                f"{self.written[self.bank]}; an iCE40 UP5K has {BANKS[self.bank]} there")
        self.cram[self.bank][self.offset:end] = rows
        self.written[self.bank] = end

    def write_bram(self) -> None:
        rows = self.rows()
        memory = self.bram[self.bank]
        if self.width != memory.shape[1] or self.offset + self.height > RAM_ROWS:
            raise BitstreamError(
                f"the bitstream writes {self.height} rows of {self.width} bits from row "
                f"{self.offset} on into the block RAMs of bank {self.bank}, which have "
                f"{RAM_ROWS} rows of {memory.shape[1]}; it is damaged or for another part")
        memory[self.offset:self.offset + self.height] = rows


def parse(data: bytes) -> Image:
    """Read a bitstream for an iCE40 UP5K.

    Raises
    ------
    BitstreamError
        It is none, cut off, damaged, or for another part.
    """
    start = data.find(PREAMBLE)
    if start < 0:
        raise BitstreamError(f"the file is no iCE40 bitstream: in its {len(data):,} bytes there is "
                             f"no {PREAMBLE.hex(' ')}; trilight build writes one with the "
                             "suffix .bin")
    loader = _Loader(_Reader(data, start + len(PREAMBLE)))
    loader.run()
    return Image(loader.cram, loader.bram)
