"""GGUF files: their metadata, and their tensors where they lie.

Layout of version 3: ``docs/gguf.md`` of ggml. The types that matter here are those of ternary
weights, of which ``I2_S`` and the wider ``Q2_0`` are not ggml's own; this is why the file is read
here and not through a package that knows ggml's types only.
"""

import math
import struct
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import CheckpointError

from .containers import BLOCKS
from .tensors import StoredTensor, map_file, refuse_overlaps

__all__ = ["PACKED", "GgufFile", "open_gguf"]

_FLOATS = {0: "F32", 1: "F16", 30: "BF16"}
_BLOCKS = {34: "TQ1_0", 35: "TQ2_0"}
_I2_S = 36
_Q2_0 = 42
_REFUSED = {38: "TL1, the form of ARM processors", 39: "TL2, a form of one x86 processor"}
PACKED = ("TQ1_0", "TQ2_0", "I2_S", *(name for name in BLOCKS if name.startswith("Q2_0")))

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q",
            11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32
_MAX = 1 << 40
_MAX_HEAD = 64 << 20
_MAX_TEXT = 1 << 20
_MAX_NAME = 256
_MAX_ENTRIES = 1 << 16
_DEEPEST = 4
"""Arrays of arrays."""


@dataclass(frozen=True, eq=False)
class GgufFile:
    """A GGUF file.

    Attributes
    ----------
    metadata : dict
        Values by key; ``None`` of arrays.
    tensors : dict of StoredTensor
        By name, shapes with rows first.
    """

    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]


class _Reader:
    """Reads the head of a file, front to back."""

    def __init__(self, path: Path, data: NDArray[np.uint8]) -> None:
        self.path = path
        self.data = data
        self.at = 0

    def number(self, form: str) -> Any:
        begin = self.at
        self.skip(struct.calcsize(form))
        value, = struct.unpack(form, self.data[begin:self.at].tobytes())
        return value

    def text(self, maximum: int = _MAX_TEXT) -> str:
        length = self.number("<Q")
        if length > maximum:
            raise CheckpointError(f"{self.path} is damaged: a text of {length:,} bytes is in its "
                                  "head; download it again")
        begin = self.at
        self.skip(length)
        return self.data[begin:self.at].tobytes().decode(errors="replace")

    def value(self, kind: int) -> Any:
        """A value; ``None`` of an array, which nothing here asks for."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self.pass_array()
        return self.number(self.scalar(kind))

    def pass_array(self, depth: int = 0) -> None:
        """Go past an array without keeping it."""
        kind, length = self.number("<I"), self.number("<Q")
        if kind == _STRING:
            for _ in range(self.bounded(length)):
                self.skip(self.number("<Q"))
        elif kind == _ARRAY and depth < _DEEPEST:
            for _ in range(self.bounded(length)):
                self.pass_array(depth + 1)
        else:
            self.skip(length * struct.calcsize(self.scalar(kind)))

    def skip(self, size: int) -> None:
        if self.at + size > min(len(self.data), _MAX_HEAD):
            raise CheckpointError(f"{self.path} is truncated within its head; download it again")
        self.at += size

    def scalar(self, kind: int) -> str:
        """Form of a number."""
        if kind not in _SCALARS:
            raise CheckpointError(f"{self.path} is no GGUF file that can be read: it has a value "
                                  f"of type {kind}; download it again")
        return _SCALARS[kind]

    def bounded(self, count: int, maximum: int = _MAX_HEAD) -> int:
        """A number of things, of which each takes a byte at least."""
        if count > min(len(self.data) - self.at, maximum):
            raise CheckpointError(f"{self.path} is damaged: its head promises {count:,} entries; "
                                  "download it again")
        return count


def open_gguf(path: Path) -> GgufFile:
    """Read a GGUF file's head and map its tensors.

    Raises
    ------
    CheckpointError
        It cannot be read, is truncated or damaged, or packs weights in a form that is unknown.
    """
    reader = _Reader(path, map_file(path))
    if reader.data[:4].tobytes() != b"GGUF":
        raise CheckpointError(f"{path} is no GGUF file: it does not begin with GGUF")
    reader.at = 4
    version = reader.number("<I")
    if version not in (2, 3):
        raise CheckpointError(f"{path} is of GGUF version {version}; versions 2 and 3 can be read")
    tensors, values = reader.number("<Q"), reader.number("<Q")
    metadata: dict[str, Any] = {}
    for _ in range(reader.bounded(values, _MAX_ENTRIES)):
        key = reader.text()
        metadata[key] = reader.value(reader.number("<I"))
    infos = [_info(reader) for _ in range(reader.bounded(tensors, _MAX_ENTRIES))]
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise CheckpointError(f"{path} is damaged: its alignment is {alignment!r}")
    base = -(-reader.at // alignment) * alignment
    return GgufFile(metadata, _tensors(path, reader.data, infos, base))


@dataclass(frozen=True)
class _Info:
    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


def _info(reader: _Reader) -> _Info:
    name, dimensions = reader.text(_MAX_NAME), reader.number("<I")
    if not name.isprintable():
        raise CheckpointError(f"{reader.path} is damaged: a tensor's name is no text")
    if dimensions > 4:
        raise CheckpointError(f"{reader.path} is damaged: tensor {name} has {dimensions} "
                              "dimensions")
    shape = tuple(reversed([reader.number("<Q") for _ in range(dimensions)]))
    info = _Info(name, shape, reader.number("<I"), reader.number("<Q"))
    if math.prod(shape) > _MAX:
        raise CheckpointError(f"{reader.path} is damaged: tensor {name} has shape {list(shape)}")
    return info


def _tensors(path: Path, data: NDArray[np.uint8], infos: list[_Info],
             base: int) -> dict[str, StoredTensor]:
    offsets = [*sorted(info.offset for info in infos), len(data) - base]
    tensors: dict[str, StoredTensor] = {}
    places: dict[str, tuple[int, int]] = {}
    for info in infos:
        after = offsets[min(bisect_right(offsets, info.offset), len(infos))]
        kind, size = _kind(path, info, after - info.offset)
        if info.name in tensors:
            raise CheckpointError(f"{path} is damaged: tensor {info.name} is there twice")
        places[info.name] = info.offset, info.offset + size
        if base + info.offset + size > len(data):
            raise CheckpointError(f"{path} is truncated: tensor {info.name} ends at byte "
                                  f"{base + info.offset + size:,}, the file has {len(data):,}; "
                                  "download it again")
        begin = base + info.offset
        tensors[info.name] = StoredTensor(info.name, kind, info.shape, data[begin:begin + size],
                                          path.name)
    refuse_overlaps(path, places)
    return tensors


def _kind(path: Path, info: _Info, room: int) -> tuple[str, int]:
    """Name and bytes of a tensor; ``room`` is what lies between it and the next one."""
    weights = math.prod(info.shape)
    if info.kind in _FLOATS:
        return _FLOATS[info.kind], weights * (4 if info.kind == 0 else 2)
    if info.kind in _BLOCKS:
        return _sized(_BLOCKS[info.kind], weights)
    if info.kind == _I2_S:
        return "I2_S", weights // 4 + 4
    if info.kind == _Q2_0:
        # Two forms share the number; the wider one is shorter.
        name, size = _sized("Q2_0/64", weights)
        fits = weights % 64 == 0 and size <= room
        return (name, size) if fits else _sized("Q2_0/128", weights)
    what = _REFUSED.get(info.kind, f"ggml's type {info.kind}")
    raise CheckpointError(f"tensor {info.name} in {path} is packed as {what}, which is not read; "
                          "convert the model to TQ1_0, TQ2_0, I2_S (x86) or F16")


def _sized(name: str, weights: int) -> tuple[str, int]:
    form = BLOCKS[name]
    return name, -(-weights // form.weights) * form.size
