"""Tensors of a checkpoint, read from mapped files: safetensors in one file or several."""

import json
import math
import mmap
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import CheckpointError

from .config import read_json

__all__ = ["FLOATS", "StoredTensor", "map_file", "open_safetensors", "read_folder",
           "refuse_overlaps"]

INDEX = "model.safetensors.index.json"

_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
          "BOOL": 1}
FLOATS = ("F32", "F16", "BF16")
_MAX_HEADER = 8 << 20
"""A hundred times that of the largest published model; what it becomes in memory is bounded too."""


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor in a mapped file; nothing is read before it is asked for.

    Attributes
    ----------
    name : str
    kind : str
        Type of its elements, as safetensors or GGUF call it.
    shape : tuple of int
    data : uint8 array
        Its bytes.
    file : str
        Name of the file, for messages.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]
    file: str

    def floats(self, first: int = 0, last: int | None = None) -> NDArray[np.float32]:
        """Rows ``first`` to ``last`` (exclusive) in single precision; exact.

        Raises
        ------
        CheckpointError
            A number is infinite or not a number.
        """
        rows = self._rows(first, last)
        if self.kind == "BF16":
            values = (rows.view("<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = rows.view({"F32": "<f4", "F16": "<f2"}[self.kind]).astype(np.float32)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise CheckpointError(f"tensor {self.name} in {self.file} has {bad} numbers that are "
                                  "infinite or not a number; take a checkpoint whose training did "
                                  "not diverge, or download it again")
        self._let_go()
        return values

    def _let_go(self) -> None:
        """Let go of the file's pages in memory, which a large file would otherwise fill."""
        mapped = getattr(self.data, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    def integers(self, dtype: str) -> NDArray[Any]:
        """All elements as little-endian integers, mapped and read-only."""
        return self.data.view(dtype).reshape(self.shape)

    def _rows(self, first: int, last: int | None) -> NDArray[Any]:
        """Rows as unsigned integers, copied out of the file."""
        whole = self.data.reshape(self.shape[0], -1) if self.shape else self.data.reshape(1, -1)
        chosen = np.ascontiguousarray(whole[first:last]).view(f"<u{_SIZES[self.kind]}")
        return chosen.reshape((len(chosen), *self.shape[1:]) if self.shape else ())


def map_file(path: Path) -> NDArray[np.uint8]:
    """Map a file into memory, read-only.

    Raises
    ------
    CheckpointError
        It cannot be read, or is no file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"{path} is no file; give a checkpoint's folder as it is "
                                  "published")
        if path.stat().st_size == 0:
            raise CheckpointError(f"{path} is empty; download it again")
        return np.memmap(path, np.uint8, "r")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def open_safetensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Tensors by name, and metadata, of one safetensors file.

    Raises
    ------
    CheckpointError
        It cannot be read, is truncated, or its header is illegal.
    """
    data = map_file(path)
    header, base = _header(path, data)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise _illegal(path, "its metadata is no object")
    tensors = {name: _stored(path, name, entry) for name, entry in header.items()}
    refuse_overlaps(path, {name: (start, stop) for name, (_, _, start, stop) in tensors.items()})
    end = max((base + stop for _, _, _, stop in tensors.values()), default=base)
    if len(data) < end:
        raise CheckpointError(f"{path} is truncated: its header promises {end:,} bytes, the file "
                              f"has {len(data):,}; download it again")
    return {name: StoredTensor(name, kind, shape, data[base + start:base + stop], path.name)
            for name, (kind, shape, start, stop) in tensors.items()}, metadata


def _header(path: Path, data: NDArray[np.uint8]) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or length > _MAX_HEADER or data[8:9].tobytes() not in (b"{", b""):
        raise _illegal(path, "it does not begin with a header")
    if len(data) < 8 + length:
        raise CheckpointError(f"{path} is truncated: its header alone has {length:,} bytes, the "
                              f"file has {len(data):,}; download it again")
    try:
        header = json.loads(data[8:8 + length].tobytes(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _illegal(path, f"its header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise _illegal(path, "its header is no object")
    if not all(map(str.isprintable, header)):
        raise _illegal(path, "a name in its header is no text")
    return header, 8 + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are all different."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def refuse_overlaps(path: Path, places: Mapping[str, tuple[int, int]]) -> None:
    """Refuse tensors that share bytes, given begin and end of each."""
    ordered = sorted((start, stop, name) for name, (start, stop) in places.items() if stop > start)
    for (_, stop, name), (start, _, other) in pairwise(ordered):
        if start < stop:
            raise CheckpointError(f"{path} is damaged: tensors {name} and {other} overlap; "
                                  "download it again")


def _stored(path: Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape, begin and end of a tensor, checked against each other."""
    try:
        kind, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        numbers = (*shape, start, stop)
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers):
            raise ValueError("a size is no natural number")
        if kind not in _SIZES:
            raise CheckpointError(f"tensor {name} in {path.name} is of type {kind}, which no "
                                  "published checkpoint has; convert it to F32, F16 or BF16")
        if stop - start != math.prod(shape) * _SIZES[kind]:
            raise ValueError(f"{list(shape)} of {kind} are not {stop - start} bytes")
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise _illegal(path, f"tensor {name}: {error}") from error
    return kind, shape, start, stop


def _illegal(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} is no whole safetensors file: {why}; download it again")


def read_folder(folder: Path) -> dict[str, StoredTensor]:
    """Tensors of all safetensors files of a folder; of those that its index names, if it has one.

    Raises
    ------
    CheckpointError
        There are none, one is missing, damaged or truncated, or two files hold the same tensor.
    """
    promised = _index(folder)
    files = (sorted(set(promised.values())) if promised
             else sorted(path.name for path in folder.glob("*.safetensors")))
    if not files:
        other = next((path.name for path in _others(folder)), None)
        found = f"has {other} but" if other else "has"
        raise CheckpointError(f"{folder} {found} no .safetensors file; give a folder with "
                              "model.safetensors, or convert it with the transformers library")
    tensors: dict[str, StoredTensor] = {}
    for name in files:
        found_here, _ = open_safetensors(folder / name)
        if twice := sorted(tensors.keys() & found_here.keys()):
            raise CheckpointError(f"tensor {twice[0]} is in {tensors[twice[0]].file} and in "
                                  f"{name}; remove the file that does not belong to the checkpoint")
        tensors |= found_here
    for name, file in promised.items():
        if name not in tensors or tensors[name].file != file:
            raise CheckpointError(f"{INDEX} says that tensor {name} is in {file}, and it is not; "
                                  "the shards are of different checkpoints, download them again")
    return tensors


def _index(folder: Path) -> Mapping[str, str]:
    path = folder / INDEX
    if not path.exists():
        return {}
    entries = read_json(path).get("weight_map")
    if not isinstance(entries, dict) or not all(
            isinstance(file, str) and file == os.path.basename(file) and file
            for file in entries.values()):
        raise CheckpointError(f"{path} has no weight_map from tensors to files; download it again")
    for file in sorted(set(entries.values())):
        if not (folder / file).is_file():
            raise CheckpointError(f"{INDEX} names the shard {file}, which is not in {folder}; "
                                  "download it too")
    return entries


def _others(folder: Path) -> Iterator[Path]:
    for pattern in ("*.bin", "*.pt", "*.pth"):
        yield from sorted(folder.glob(pattern))
