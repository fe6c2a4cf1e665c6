"""The tables of docs/protocol.md are those of hw/contract/protocol.py."""

import enum
import re
from pathlib import Path
from struct import Struct

import pytest

from trilight.hw.contract import protocol

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")

STRUCTURES = ("RUN", "STATUS", "IDENTITY", "CHECK", "IMAGE_HEADER", "IMAGE_SEGMENT")
NUMBERS = (protocol.Command, protocol.Result, protocol.RunFlag, protocol.Space,
           protocol.ProgramHeader, protocol.Op)


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure_has_its_fields_in_order(name: str) -> None:
    [fields] = re.findall(rf"^\| `{name}` \| (.*) \|$", PAGE, re.MULTILINE)
    layout: Struct = getattr(protocol, name)
    types = [{"B": "u8", "H": "u16", "I": "u32", "s": ""}[letter]
             for count, letter in re.findall(r"(\d*)([A-Za-z])", layout.format.lstrip("<"))
             for _ in range(1 if letter == "s" else int(count or 1))]
    written = [next(iter(re.findall(r" (u8|u16|u32)\b", field)), "")
               for field in fields.split(", ")]
    assert written == types


@pytest.mark.parametrize("member", [member for kind in NUMBERS for member in kind],
                         ids=lambda member: f"{type(member).__name__}.{member.name}")
def test_number_has_its_line(member: enum.IntEnum) -> None:
    digits = {protocol.Command: "0x{:02X}", protocol.Space: "0x{:05X}"}.get(type(member), "{}")
    assert f"| {member.name} | {digits.format(member.value)} |" in PAGE


def test_limits_are_named() -> None:
    assert f"at most {protocol.MAX_UNITS} |" in PAGE
    assert f"at most {protocol.MAX_FRAME_BYTES} bytes" in PAGE
    assert f"spaces of {protocol.Space.TAPS - protocol.Space.PROGRAM} units" in PAGE
