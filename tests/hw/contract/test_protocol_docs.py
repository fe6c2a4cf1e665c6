"""The tables of docs/protocol.md are those of hw/contract/protocol.py and program.py."""

import enum
import re
from pathlib import Path
from struct import Struct

import pytest

from trilight.hw.contract import program, protocol

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")

STRUCTURES = ("ADDRESS", "ACCESS", "RUN", "TOKEN_EVENT", "IDENTITY", "WEIGHT_CRC", "IMAGE_HEADER",
              "IMAGE_SEGMENT")
NUMBERS = (protocol.Command, protocol.Result, protocol.RunFlag, protocol.Region, program.Header,
           program.Op)


def types(layout: Struct) -> list[str]:
    """Types of a structure's fields in order; none for bytes."""
    return [{"B": "u8", "H": "u16", "I": "u32", "s": ""}[letter]
            for count, letter in re.findall(r"(\d*)([A-Za-z])", layout.format.lstrip("<"))
            for _ in range(1 if letter == "s" else int(count or 1))]


def written(name: str) -> list[str]:
    """Types that the page gives to the fields of a structure."""
    [fields] = re.findall(rf"^\| `?{name}`? \| (.* u\d+.*) \|$", PAGE, re.MULTILINE)
    return [next(iter(re.findall(r" (u8|u16|u32)\b", field)), "") for field in fields.split(", ")]


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure_has_its_fields_in_order(name: str) -> None:
    assert written(name) == types(getattr(protocol, name))


@pytest.mark.parametrize("sequences", [1, 2, 4])
def test_status_has_a_position_for_each_sequence(sequences: int) -> None:
    *fields, position = written("STATUS")
    assert [*fields, *[position] * sequences] == types(protocol.status_struct(sequences))


@pytest.mark.parametrize("member", [member for kind in NUMBERS for member in kind],
                         ids=lambda member: f"{type(member).__name__}.{member.name}")
def test_number_has_its_line(member: enum.IntEnum) -> None:
    digits = {protocol.Command: "0x{:02X}", protocol.Region: "0x{:08X}"}.get(type(member), "{}")
    assert f"| {member.name} | {digits.format(member.value)} |" in PAGE


def test_fields_of_an_operation_have_their_bits() -> None:
    bits, first = {}, 0
    for name, width in program.OPERATION.items():
        bits[name] = (first + width - 1, first)
        first += width
    for name, text in (("kind", "kind in bits {}..{}"), ("blocks", "blocks - 1 in bits {}..{}"),
                       ("short", "`short` (bit {})"), ("after_short", "`after_short` (bit {})")):
        assert text.format(*bits[name]) in PAGE


def test_limits_are_named() -> None:
    assert f"at most {protocol.MAX_WORDS} |" in PAGE
    assert f"at most {protocol.MAX_FRAME_BYTES} bytes" in PAGE
    assert f"regions of {protocol.REGION_WORDS:,} words" in PAGE
    assert f"This is version {protocol.PROTOCOL_VERSION}" in PAGE
    assert f"a header of {program.HEADER_WORDS} words, then {program.OPERATION_WORDS} words" in PAGE
