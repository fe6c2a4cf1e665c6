"""Headers of bitstreams, by which a file for another part is refused before it is written.

Enough of each format to tell parts apart; what configures a chip wrongly in its middle is for the
chip's own checksum to find. Sources: Project IceStorm's and Project Trellis' documentation, and
what Project Apicula's packer writes.
"""

__all__ = ["ecp5_problem", "gowin_problem", "ice40_problem"]

_ICE40_PREAMBLE = bytes.fromhex("7eaa997e")
_ICE40_PARTS = {182: "iCE40 384", 332: "iCE40 1K", 656: "iCE40 LM4K", 872: "iCE40 4K or 8K",
                692: "iCE40 UP5K"}
"""Parts by the width in bits of their configuration memory."""
_ICE40_WIDTH, _ICE40_BOOT, _ICE40_DATA = 6, 4, (0x01, 0x01)
"""Commands: width of a bank, address of the next image, and rows of a bank follow."""
_ICE40_WAKE_UP = bytes.fromhex("0106")

_ECP5_PREAMBLE = bytes.fromhex("ffffbdb3")
_ECP5_DONE = bytes.fromhex("5e000000")
_ECP5_IDENTITY = bytes.fromhex("e2000000")
_ECP5_DIES = {0x111: "12F or 25F", 0x112: "45F", 0x113: "85F"}
"""Sizes by the bits of the identity that say which die it is."""

_GOWIN_IDENTITY = "00000110" + "0" * 24
"""Beginning of the line whose last 32 bits are the identity of the part."""
_GOWIN_PARTS = {0x81b: "GW2A-18"}
_GOWIN_DONE = "00001000" + "0" * 24
"""Last line but for ones, which nothing does."""


def ice40_problem(data: bytes, part: str) -> str | None:
    """Say why a file is none for an iCE40 ``part`` such as ``iCE40 UP5K``; ``None`` if it may."""
    at = data.find(_ICE40_PREAMBLE)
    if at < 0:
        return f"is no bitstream of an iCE40: there is no {_ICE40_PREAMBLE.hex(' ')} in it"
    at += len(_ICE40_PREAMBLE)
    width = 0
    while at < len(data):
        command = data[at]
        size = command & 15
        value = int.from_bytes(data[at + 1:at + 1 + size], "big")
        at += 1 + size
        if command >> 4 == _ICE40_BOOT:
            return ("is a multiboot image, which holds several bitstreams and where each begins; "
                    "give one of those that it was made from")
        if command >> 4 == _ICE40_WIDTH:
            width = value + 1
        if (command, value) == _ICE40_DATA:
            found = _ICE40_PARTS.get(width, f"a part whose configuration is {width} bits wide")
            if found != part:
                return f"is a bitstream of {found}, not of the {part}"
            # The last command has a byte of padding after it.
            if not data.rstrip(b"\0\xff").endswith(_ICE40_WAKE_UP):
                return "is cut off: it has the beginning of a bitstream and not its end"
            return None
    return "is cut off: it has the beginning of a bitstream of an iCE40 and no configuration"


def ecp5_problem(data: bytes, size: str) -> str | None:
    """Say why a file is none for an ECP5 of a size such as ``45F``; ``None`` if it may."""
    start = data.find(_ECP5_PREAMBLE)
    at = data.find(_ECP5_IDENTITY, start)
    if start < 0 or at < 0:
        return f"is no bitstream of an ECP5: there is no {_ECP5_PREAMBLE.hex(' ')} in it"
    at += len(_ECP5_IDENTITY)
    identity = int.from_bytes(data[at:at + 4], "big")
    die = _ECP5_DIES.get(identity >> 12 & 0xfff)
    if die is None:
        return f"is for a part with the identity {identity:#010x}, which is no ECP5"
    if size not in die.split(" or "):
        return f"is a bitstream of an ECP5 {die}, not {size}"
    if not data.rstrip(b"\xff").endswith(_ECP5_DONE):
        return "is cut off: it has the beginning of a bitstream and not its end"
    return None


def gowin_problem(data: bytes, part: str) -> str | None:
    """Say why a file is none for a Gowin ``part`` such as ``GW2A-18``; ``None`` if it may."""
    lines = data.decode("ascii", "replace").split()
    identities = [line for line in lines[:40]
                  if line.startswith(_GOWIN_IDENTITY) and len(line) == 64]
    if not identities or set("".join(lines[:40])) - set("01"):
        return "is no bitstream of a Gowin part as text of zeros and ones (.fs)"
    number = int(identities[0][32:], 2)
    found = _GOWIN_PARTS.get(number, f"a part with the identity {number:#010x}")
    if found != part:
        return f"is a bitstream of {found}, not of the {part}"
    last = next(line for line in reversed(lines) if line.strip("1"))
    if last != _GOWIN_DONE:
        return "is cut off: it has the beginning of a bitstream and not its end"
    return None
