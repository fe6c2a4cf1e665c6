"""Files that are no bitstream of a board's part are refused before its flash memory is erased."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trilight.boards.flash import _check_bitstream
from trilight.boards.icebreaker import Icebreaker
from trilight.boards.tang_nano_20k import TangNano20k
from trilight.boards.ulx3s import Ulx3s25F, Ulx3s45F, Ulx3s85F
from trilight.boards.upduino3 import Upduino3
from trilight.hw.contract.errors import BuildError
from trilight.hw.flow.build import BoardDesign
from trilight.sim.bitstream.image import parse
from trilight.sw.errors import BitstreamError


def ice40(width: int) -> bytes:
    """As icepack begins: preamble, frequency, CRC, no warm boot, width, height, offset, bank."""
    return (bytes.fromhex("ff0000ff7eaa997e5100010592002062") + (width - 1).to_bytes(2, "big")
            + bytes.fromhex("72015082000011000101") + bytes(64) + bytes.fromhex("22abcd010600"))


def ecp5(identity: int) -> bytes:
    """As ecppack begins, after a comment."""
    return (b"\xff\x00Part: LFE5U\0" + bytes.fromhex("ffffbdb3ffffffff3b000000e2000000")
            + identity.to_bytes(4, "big") + bytes.fromhex("220000005e000000ffffffff"))


def gowin(identity: int) -> bytes:
    """As gowin_pack begins and ends: lines of zeros and ones."""
    lines = ["1" * 160, "1" * 16, "1010010111000011", f"{6:08b}{0:024b}{identity:032b}",
             f"{16:08b}{0:056b}", "01" * 80, f"{8:08b}{0:024b}", "1" * 64, "1" * 16]
    return "\n".join(lines).encode()


def icemulti() -> bytes:
    """Each header says where an image begins, and starts it."""
    header = bytes.fromhex("7eaa997e9200004403000080820000010800000000000000000000000000000000")
    return header * 5 + ice40(692)


RIGHT = {
    Icebreaker: ice40(692), Upduino3: ice40(692), Ulx3s85F: ecp5(0x41113043),
    Ulx3s45F: ecp5(0x41112043), Ulx3s25F: ecp5(0x41111043), TangNano20k: gowin(0x81b),
}


def check(board: Any, path: Path) -> None:
    """What a part takes is known of its board, whatever is to be built for it."""
    _check_bitstream(path, cast(BoardDesign, SimpleNamespace(
        name=board.name, bitstream_problem=partial(board.bitstream_problem, board))))


@pytest.mark.parametrize("board", RIGHT)
def test_what_may_be_written(board: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(RIGHT[board])
    check(board, tmp_path / "f")


@pytest.mark.parametrize("board", RIGHT)
@pytest.mark.parametrize("other", RIGHT)
def test_each_board_refuses_the_others(board: Any, other: Any, tmp_path: Path) -> None:
    if RIGHT[board] == RIGHT[other]:
        return
    (tmp_path / "f").write_bytes(RIGHT[other])
    with pytest.raises(BuildError, match="nothing was written"):
        check(board, tmp_path / "f")


@pytest.mark.parametrize("board", RIGHT)
@pytest.mark.parametrize("data", [
    b"", b"\0" * 5000, b"\xff" * 5000, b"#!/bin/sh\nexit\n", b"PK\x03\x04" + bytes(2000),
    b"\x7fELF" + bytes(2000), "Größe\n".encode() * 400, b"\x7e\xaa\x99\x7e",
    bytes.fromhex("ffffbdb3"), b"0101\n" * 90], ids=lambda data: repr(data[:6]))
def test_what_is_no_bitstream(board: Any, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(BuildError, match="nothing was written"):
        check(board, tmp_path / "f")


@pytest.mark.parametrize(("board", "data", "text"), [
    (Icebreaker, ice40(332), "is a bitstream of iCE40 1K, not of the iCE40 UP5K"),
    (Icebreaker, ice40(872), "is a bitstream of iCE40 4K or 8K, not"),
    (Icebreaker, icemulti(), "is a multiboot image, which holds several"),
    (Icebreaker, ecp5(0x41111043), "is no bitstream of an iCE40"),
    (Ulx3s85F, ecp5(0x41111043), "is a bitstream of an ECP5 12F or 25F, not 85F"),
    (Ulx3s85F, ecp5(0x0362d093), "identity 0x0362d093, which is no ECP5"),
    (Icebreaker, ice40(692)[:-20], "is cut off: .* not its end"),
    (Ulx3s85F, ecp5(0x41113043)[:-9], "is cut off: .* not its end"),
    (TangNano20k, gowin(0x81b)[:-120], "is cut off: .* not its end"),
    (TangNano20k, gowin(0x81b).rpartition(b"\n")[0][:-90], "is cut off: .* not its end"),
    (TangNano20k, gowin(0x100481b), "a part with the identity 0x0100481b, not of the GW2A-18"),
])
def test_what_it_is_is_said(board: Any, data: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(BuildError, match=text):
        check(board, tmp_path / "f")


def test_a_multiboot_image_is_not_simulated_either() -> None:
    with pytest.raises(BitstreamError, match="is a multiboot image"):
        parse(icemulti())
