"""Encoders of packed ternary weights, weight by weight, from the formats' descriptions."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

TYPES = {"F32": 0, "F16": 1, "BF16": 30, "TQ1_0": 34, "TQ2_0": 35, "I2_S": 36, "Q2_0": 42}


def encode_hugging_face(codes: np.ndarray) -> np.ndarray:
    """Two bits each; row ``r`` of the result holds rows ``r``, ``r + n``, ``r + 2 n``..."""
    rows, columns = codes.shape
    n = (rows + 3) // 4
    packed = np.zeros((n, columns), np.uint8)
    for row in range(rows):
        for column in range(columns):
            packed[row % n, column] |= int(codes[row, column] + 1) << 2 * (row // n)
    return packed


def encode_i2_s(codes: np.ndarray, scale: float) -> bytes:
    flat = codes.reshape(-1)
    packed = bytearray(len(flat) // 4)
    for n, code in enumerate(flat.tolist()):
        block, place = divmod(n, 128)
        packed[block * 32 + place % 32] |= (code + 1) << (6 - 2 * (place // 32))
    return bytes(packed) + struct.pack("<f", scale) + bytes(28)


def encode_q2_0(codes: np.ndarray, scale: float, group: int) -> bytes:
    out = bytearray()
    for block in codes.reshape(-1, group).tolist():
        out += struct.pack("<e", scale)
        for first in range(0, group, 4):
            out.append(sum((code + 1) << 2 * n for n, code in enumerate(block[first:first + 4])))
    return bytes(out)


def encode_tq2_0(codes: np.ndarray, scale: float) -> bytes:
    out = bytearray()
    for block in codes.reshape(-1, 256).tolist():
        packed = bytearray(64)
        for n, code in enumerate(block):
            half, place = divmod(n, 128)
            packed[half * 32 + place % 32] |= (code + 1) << 2 * (place // 32)
        out += packed + struct.pack("<e", scale)
    return bytes(out)


def encode_tq1_0(codes: np.ndarray, scale: float) -> bytes:
    out = bytearray()
    for block in codes.reshape(-1, 256).tolist():
        for begin, lanes, digits in ((0, 32, 5), (160, 16, 5), (240, 4, 4)):
            for lane in range(lanes):
                number = 0
                for digit in range(digits):
                    number = 3 * number + block[begin + digit * lanes + lane] + 1
                number *= 3 ** (5 - digits)
                out.append((number * 256 + 242) // 243)
        out += struct.pack("<e", scale)
    return bytes(out)


def write_gguf(path: Path, tensors: Mapping[str, tuple[str, Sequence[int], bytes]],
               metadata: Mapping[str, str | int] | None = None) -> None:
    """A GGUF file, version 3."""
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    values = {"general.architecture": "hgrn_bit", **(metadata or {})}
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for key, value in values.items():
        head += text(key) + (struct.pack("<I", 8) + text(value) if isinstance(value, str)
                             else struct.pack("<Ii", 5, value))
    body = b""
    for name, (kind, shape, data) in tensors.items():
        head += text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", size) for size in reversed(shape))
        head += struct.pack("<IQ", TYPES[kind], len(body))
        body += data + bytes(-len(data) % 32)
    path.write_bytes(head + bytes(-len(head) % 32) + body)
