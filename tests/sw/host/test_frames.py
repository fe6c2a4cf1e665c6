"""Frames: published vectors, an independent CRC, and streams cut up and damaged in every way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilight.hw.contract.protocol import MAX_FRAME_BYTES, MIN_FRAME_BYTES, Slip
from trilight.sw.host.frames import Frame, FrameReader, encode_frame

END, ESC = bytes((Slip.END,)), bytes((Slip.ESC,))

FRAMES = st.builds(Frame, st.integers(0, 255), st.integers(0, 255),
                   st.binary(max_size=MAX_FRAME_BYTES - MIN_FRAME_BYTES))


def bitwise_crc(data: bytes) -> int:
    """CRC-32 of IEEE 802.3 straight from the exponents of its polynomial, bits reversed."""
    polynomial = sum(1 << 31 - k for k in (26, 23, 22, 16, 12, 11, 10, 8, 7, 5, 4, 2, 1, 0))
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            carry = (crc ^ byte >> bit) & 1
            crc = crc >> 1 ^ carry * polynomial
    return crc ^ 0xFFFFFFFF


def packet(body: bytes) -> bytes:
    return body + bitwise_crc(body).to_bytes(4, "little")


def test_crc_check_value() -> None:
    """0xCBF43926 is the check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRCs."""
    assert bitwise_crc(b"123456789") == 0xCBF43926


@given(FRAMES)
def test_crc_equals_polynomial_division(frame: Frame) -> None:
    body = bytes((frame.sequence, frame.command)) + frame.payload
    escaped = packet(body).replace(ESC, ESC + b"\xdd").replace(END, ESC + b"\xdc")
    assert encode_frame(frame) == END + escaped + END


def test_bytes_on_the_wire() -> None:
    """RFC 1055: 0xC0 goes as 0xDB 0xDC, 0xDB as 0xDB 0xDD; the CRC is little endian."""
    body = bytes((5, 2, 0xC0, 0xDB, 7))
    crc = bitwise_crc(body).to_bytes(4, "little")
    assert not {0xC0, 0xDB} & set(crc)
    assert encode_frame(Frame(5, 2, b"\xc0\xdb\x07")) == (
        b"\xc0" + b"\x05\x02\xdb\xdc\xdb\xdd\x07" + crc + b"\xc0")


@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(1, 40), max_size=30))
def test_round_trip_in_any_pieces(frames: list[Frame], sizes: list[int]) -> None:
    data = b"".join(map(encode_frame, frames))
    reader = FrameReader()
    received = []
    for size in sizes:
        received += reader.feed(data[:size])
        data = data[size:]
    received += reader.feed(data)
    assert received == frames
    assert reader.damaged == 0


def test_longest_frame() -> None:
    payload = bytes(MAX_FRAME_BYTES - MIN_FRAME_BYTES)
    assert FrameReader().feed(encode_frame(Frame(1, 2, payload))) == [Frame(1, 2, payload)]
    with pytest.raises(ValueError, match=r"^a frame holds 250 bytes of payload, not 251$"):
        encode_frame(Frame(1, 2, payload + b"\0"))


@pytest.mark.parametrize("bad", [
    packet(b"\x01"),
    packet(bytes(MAX_FRAME_BYTES - 3)),
    b"\x01\x02\x03\x04\x05\x06",
    packet(b"\x01\x02\x03") + b"\x00",
    packet(b"\x01\x02\x03").replace(b"\x03", ESC + b"\x03"),
    b"\x01\x02" + ESC,
], ids=["short", "long", "crc", "zero", "escape", "cut escape"])
def test_bad_packets_are_dropped(bad: bytes) -> None:
    reader = FrameReader()
    good = Frame(9, 1, b"after")
    assert reader.feed(END + bad + END + encode_frame(good)) == [good]
    assert reader.damaged == 1


def test_noise_before_a_frame_is_cleared() -> None:
    reader = FrameReader()
    frame = Frame(9, 1, b"frame")
    assert reader.feed(b"noise" + encode_frame(frame)) == [frame]
    assert reader.feed(END * 5) == []
    assert reader.damaged == 1


def test_no_single_damage_makes_another_frame(rng: np.random.Generator) -> None:
    frame = Frame(200, 0x82, bytes(rng.integers(0, 256, 40, np.uint8)) + END + ESC)
    wire = encode_frame(frame)
    for place in range(len(wire)):
        damaged = [wire[:place] + wire[place + 1:], wire[:place] + wire[place:place + 1]
                   + wire[place:], wire[:place] + END + wire[place:]]
        damaged += [wire[:place] + bytes((wire[place] ^ 1 << bit,)) + wire[place + 1:]
                    for bit in range(8)]
        for data in damaged:
            reader = FrameReader()
            assert set(reader.feed(data + END)) <= {frame}
