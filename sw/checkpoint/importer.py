"""An imported model made of a checkpoint: its real numbers as integers, and the file written.

``docs/imported-formats.md`` says how each is rounded.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.imported import FORMATS
from trilight.sw.errors import CheckpointError
from trilight.sw.model.trits import pack_trits

from .layout import (
    FORMAT,
    GAINS,
    METADATA_KEY,
    VERSION,
    check_width,
    matrix_names,
    tensor_key,
    tensor_sizes,
)
from .model import ImportedMatrix, ImportedModel
from .reader import Checkpoint, TernaryMatrix
from .shape import LAYER_MATRICES

__all__ = [
    "Progress",
    "fixed_point",
    "import_checkpoint",
    "make_matrix",
    "mantissa",
    "pack_matrix",
    "residual_fraction",
]

Progress = Callable[[int, int], None]
"""Called with the matrices that are done and those there are."""


def fixed_point(values: NDArray[Any], bits: int,
                max_frac: int = 60) -> tuple[NDArray[np.int32], int]:
    """Integers of ``bits`` with as many fraction bits as the largest magnitude allows.

    Returns
    -------
    int32 array
    int
        The fraction bits, at most ``max_frac``.
    """
    wide = values.astype(np.float64)
    largest = float(np.abs(wide).max(initial=0))
    frac = max_frac
    if largest > 0:
        frac = min(bits - 1 - math.frexp(largest)[1], max_frac)
        if round(math.ldexp(largest, frac)) >= 1 << bits - 1:
            frac -= 1
    return np.rint(np.ldexp(wide, frac)).astype(np.int32), frac


def mantissa(value: float, bits: int) -> tuple[int, int]:
    """A positive number as an integer of exactly ``bits`` and its fraction bits."""
    frac = bits - math.frexp(value)[1]
    whole = round(math.ldexp(value, frac))
    return (whole >> 1, frac - 1) if whole >> bits else (whole, frac)


def pack_matrix(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Trit codes [ceil(columns / 5), rows] of a matrix [rows, columns].

    Groups of columns come first, as a weight image streams them.
    """
    packed = np.empty((-(-codes.shape[1] // 5), len(codes)), np.uint8)
    step = max(1, (1 << 20) // codes.shape[1])
    for first in range(0, len(codes), step):
        packed[:, first:first + step] = pack_trits(codes[first:first + step]).T
    return packed


def make_matrix(matrix: TernaryMatrix, gain: NDArray[np.floating[Any]],
                norm: NDArray[np.floating[Any]] | None) -> ImportedMatrix:
    """Integers of a BitLinear layer with gain ``gain``, behind a norm with gain ``norm``."""
    columns = matrix.codes.shape[1]
    folded = gain.astype(np.float64) * (1 if norm is None else norm.astype(np.float64))
    gains, gain_frac = fixed_point(folded, FORMATS.gain_bits)
    norms, norm_frac = (None, 0) if norm is None else fixed_point(
        norm, FORMATS.norm_bits, FORMATS.max_norm_frac)
    scale, scale_frac = mantissa(matrix.scale * math.sqrt(columns) / FORMATS.act_max,
                                 FORMATS.scale_bits)
    return ImportedMatrix(pack_matrix(matrix.codes), gains, gain_frac, norms, norm_frac, scale,
                          scale_frac)


def residual_fraction(largest: float) -> int:
    """Fraction bits of the residual stream: fewer where the embedding is large.

    Six bits above the largest magnitude of the embedding are left for what layers add.
    """
    before = math.frexp(largest)[1] if largest > 0 else 0
    return min(FORMATS.residual_frac, FORMATS.embedding_bits - 1 - before,
               FORMATS.residual_bits - 1 - 6 - before)


_ROOM_FOR_METADATA = 1 << 16


class _Writer:
    """A safetensors file of known tensors, mapped, which takes its place when it is whole."""

    def __init__(self, path: Path, sizes: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}")
        self._entries: dict[str, Any] = {}
        at = 0
        # Wide elements first, so that each lies at a multiple of its size.
        for name, (kind, shape) in sorted(sizes.items(), key=lambda item: item[1][0] == "U8"):
            size = math.prod(shape) * (1 if kind == "U8" else 4)
            self._entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
            at += size
        self._begin = 8 + -(-(len(json.dumps(self._entries)) + _ROOM_FOR_METADATA) // 64) * 64
        try:
            self._data = np.memmap(self._part, np.uint8, "w+", shape=(self._begin + at,))
        except OSError as error:
            raise CheckpointError(f"{path} cannot be written: {error.strerror}") from error

    def put(self, name: str, values: NDArray[Any], first: int = 0) -> None:
        """Write a tensor, or some rows of it from ``first`` on."""
        entry = self._entries[name]
        kind = "<i4" if entry["dtype"] == "I32" else np.uint8
        raw = np.ascontiguousarray(values, kind).view(np.uint8).reshape(-1)
        row = len(raw) // len(values) if len(values) else 0
        at = self._begin + entry["data_offsets"][0] + first * row
        self._data[at:at + len(raw)] = raw

    def finish(self, about: Mapping[str, Any]) -> str:
        """Write the header and put the file into its place; return the digest of its tensors."""
        digest = hashlib.sha256()
        for first in range(self._begin, len(self._data), 1 << 24):
            digest.update(self._data[first:first + (1 << 24)].tobytes())
        metadata = {METADATA_KEY: json.dumps({**about, "sha256": digest.hexdigest()},
                                             sort_keys=True)}
        text = json.dumps({"__metadata__": metadata, **self._entries}).encode()
        header = (self._begin - 8).to_bytes(8, "little") + text.ljust(self._begin - 8)
        if len(header) != self._begin:
            raise CheckpointError("what is to be kept of the checkpoint is too long; it has "
                                  f"{len(text):,} bytes")
        self._data[:self._begin] = np.frombuffer(header, np.uint8)
        self._data.flush()
        self._part.replace(self._path)
        return digest.hexdigest()

    def abandon(self) -> None:
        self._part.unlink(missing_ok=True)


def import_checkpoint(checkpoint: Checkpoint, path: Path, *, tokenizer: bytes = b"",
                      licence: str = "", progress: Progress | None = None) -> ImportedModel:
    """Make the integers of a checkpoint and write them to a file.

    One matrix is in memory at a time. The file takes its name only when it is whole.

    Parameters
    ----------
    checkpoint : Checkpoint
    path : Path
    tokenizer : bytes
        The checkpoint's tokenizer file, kept in the model file.
    licence : str
        What the checkpoint says of its licence, kept too.
    progress : callable, optional

    Raises
    ------
    CheckpointError
        A weight is not finite or not ternary, or the file cannot be written.
    """
    check_width(checkpoint.shape)
    writer = _Writer(path, tensor_sizes(checkpoint.shape, len(tokenizer),
                                 checkpoint.config.lower_bounds))
    try:
        about = _write(checkpoint, writer, tokenizer, progress)
        writer.finish({**about, "licence": licence})
    except BaseException:
        writer.abandon()
        raise
    return ImportedModel.load(path, verify=False)


def _write(checkpoint: Checkpoint, writer: _Writer, tokenizer: bytes,
           progress: Progress | None) -> dict[str, Any]:
    shape = checkpoint.shape
    largest = max(float(np.abs(rows).max()) for rows in checkpoint.embedding())
    residual_frac = residual_fraction(largest)
    done = 0
    for rows in checkpoint.embedding():
        writer.put("embedding", np.rint(np.ldexp(rows.astype(np.float64), residual_frac)), done)
        done += len(rows)
    writer.put("tokenizer", np.frombuffer(tokenizer, np.uint8))
    bounds = checkpoint.lower_bounds()
    if bounds is not None:
        writer.put("lower_bounds", np.rint(np.ldexp(bounds, FORMATS.sigmoid_bits)))
    statistics = {}
    for number, (layer, name) in enumerate(matrix_names(shape), 1):
        matrix = checkpoint.matrix(name, layer)
        norm = checkpoint.gain(GAINS[name], layer) if name in GAINS else None
        gain = checkpoint.gain(name, layer)
        _put_matrix(writer, tensor_key(name, layer), make_matrix(matrix, gain, norm))
        statistics[tensor_key(name, layer)] = {
            "density": float(np.count_nonzero(matrix.codes) / matrix.codes.size),
            "scale": matrix.scale, "largest_gain": float(np.abs(gain).max())}
        if progress is not None:
            progress(number, shape.products)
    return {
        "format": FORMAT, "version": VERSION, "shape": shape.to_dict(),
        "residual_frac": residual_frac, "largest_embedding": largest,
        "container": checkpoint.container, "dtype": checkpoint.config.dtype,
        "tied": checkpoint.config.tied, "heads": checkpoint.config.heads,
        "summary": _summary(statistics),
    }


def _put_matrix(writer: _Writer, key: str, matrix: ImportedMatrix) -> None:
    writer.put(f"{key}.weights", matrix.weights)
    writer.put(f"{key}.gain", matrix.gain)
    if matrix.norm is not None:
        writer.put(f"{key}.norm", matrix.norm)
    writer.put(f"{key}.scalars", np.array([matrix.gain_frac, matrix.norm_frac, matrix.scale,
                                           matrix.scale_frac]))


def _summary(statistics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, list[float]]]:
    """Smallest and largest of each statistic over the layers, by matrix."""
    summary: dict[str, dict[str, list[float]]] = {}
    for name in (*LAYER_MATRICES, "head"):
        found = [values for key, values in statistics.items() if key.split(".")[-1] == name]
        summary[name] = {what: [min(values[what] for values in found),
                                max(values[what] for values in found)] for what in found[0]}
    return summary
