"""An imported model as integers, and its file.

``docs/imported-formats.md`` says what the integers mean and how they are stored.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.imported import FORMATS
from trilight.sw.errors import CheckpointError, ModelFileError, TrilightError
from trilight.sw.model.model import pack_trits, unpack_trits

from .reader import Checkpoint, TernaryMatrix
from .shape import LAYER_MATRICES, Shape
from .tensors import open_safetensors

__all__ = [
    "GAINS",
    "ImportedLayer",
    "ImportedMatrix",
    "ImportedModel",
    "fixed_point",
    "import_checkpoint",
    "is_imported",
    "pack_matrix",
    "unpack_matrix",
]

_FORMAT = "trilight-imported-model"
_VERSION = 2
_KEY = "trilight"

Progress = Callable[[int, int], None]
"""Called with the matrices that are done and those there are."""

GAINS = {"i": "attn_norm", "f": "attn_norm", "g": "attn_norm", "o": "g_norm", "gate": "mlp_norm",
         "head": "norm"}
"""The norm before each matrix's own; ``down`` has none."""


@dataclass(frozen=True, eq=False)
class ImportedMatrix:
    """A ternary matrix and what quantises its input.

    Attributes
    ----------
    weights : uint8 array [ceil(columns / 5), rows]
        Trit codes of five columns each.
    gain : int32 array [columns]
        Gain of a channel before quantising.
    gain_frac : int
        Its fraction bits.
    norm : int32 array [columns] or None
        Gain of a channel in the mean square; None stands for 1.
    norm_frac : int
    scale, scale_frac : int
        ``mean|W| * sqrt(columns) / 127``: a mantissa and its fraction bits.
    """

    weights: NDArray[np.uint8]
    gain: NDArray[np.int32]
    gain_frac: int
    norm: NDArray[np.int32] | None
    norm_frac: int
    scale: int
    scale_frac: int

    @property
    def rows(self) -> int:
        return int(self.weights.shape[1])

    @property
    def columns(self) -> int:
        return len(self.gain)


ImportedLayer = Mapping[str, ImportedMatrix]
"""The matrices of a layer by name."""


@dataclass(frozen=True, eq=False)
class ImportedModel:
    """A model that ``trilight import`` has made; its arrays are mapped from its file.

    Attributes
    ----------
    shape : Shape
    residual_frac : int
        Fraction bits of the residual stream and of the embedding.
    embedding : int32 array [V, hidden]
    lower_bounds : int32 array [layers, hidden] or None
        Of the forget gates, with ``FORMATS.sigmoid_bits`` fraction bits.
    layers : tuple of ImportedLayer
    head : ImportedMatrix
    about : dict
        Where it comes from, its densities and ranges.
    tokenizer : bytes
        The checkpoint's tokenizer file; empty without one.
    sha256 : str
        Digest of all tensors of the file.
    """

    shape: Shape
    residual_frac: int
    embedding: NDArray[np.int32]
    lower_bounds: NDArray[np.int32] | None
    layers: tuple[ImportedLayer, ...]
    head: ImportedMatrix
    about: Mapping[str, Any]
    tokenizer: bytes
    sha256: str

    @classmethod
    def load(cls, path: Path, *, verify: bool = True) -> "ImportedModel":
        """Map a file that ``import_checkpoint`` wrote.

        Parameters
        ----------
        path : Path
        verify : bool
            Whether the digest is compared, which reads the whole file once.

        Raises
        ------
        ModelFileError
            It is missing, damaged, or no imported model.
        """
        try:
            return _load(path, verify)
        except (CheckpointError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"imported model {path} cannot be used: {error}; import the "
                                 "checkpoint again") from error


def is_imported(path: Path) -> bool:
    """Tell if a file is an imported model, judged by its metadata."""
    try:
        _, metadata = open_safetensors(path)
        return bool(json.loads(metadata[_KEY]).get("format") == _FORMAT)
    except (TrilightError, KeyError, ValueError, AttributeError, TypeError):
        return False


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


def unpack_matrix(matrix: "ImportedMatrix") -> NDArray[np.int8]:
    """Trits [rows, columns] of a matrix."""
    return unpack_trits(np.ascontiguousarray(matrix.weights.T), matrix.columns)


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
        metadata = {_KEY: json.dumps({**about, "sha256": digest.hexdigest()}, sort_keys=True)}
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


def _sizes(shape: Shape, tokenizer_bytes: int,
           bounded: bool) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Kind and shape of every tensor of a file."""
    sizes: dict[str, tuple[str, tuple[int, ...]]] = {
        "embedding": ("I32", (shape.vocabulary, shape.hidden)),
        "tokenizer": ("U8", (tokenizer_bytes,))}
    if bounded:
        sizes["lower_bounds"] = ("I32", (shape.layers, shape.hidden))
    for layer, name in _matrices(shape):
        rows, columns = shape.matrix(name)
        key = _key(name, layer)
        sizes[f"{key}.weights"] = ("U8", (-(-columns // 5), rows))
        sizes[f"{key}.gain"] = ("I32", (columns,))
        if name in GAINS:
            sizes[f"{key}.norm"] = ("I32", (columns,))
        sizes[f"{key}.scalars"] = ("I32", (4,))
    return sizes


def _matrices(shape: Shape) -> Iterator[tuple[int | None, str]]:
    """Layer and name of each matrix, in the order of computation."""
    for layer in range(shape.layers):
        for name in LAYER_MATRICES:
            yield layer, name
    yield None, "head"


def _key(name: str, layer: int | None) -> str:
    return name if layer is None else f"layers.{layer}.{name}"


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
    _check_width(checkpoint.shape)
    writer = _Writer(path, _sizes(checkpoint.shape, len(tokenizer),
                                 checkpoint.config.lower_bounds))
    try:
        about = _write(checkpoint, writer, tokenizer, progress)
        writer.finish({**about, "licence": licence})
    except BaseException:
        writer.abandon()
        raise
    return ImportedModel.load(path, verify=False)


def _check_width(shape: Shape) -> None:
    """Refuse matrices whose sums would not fit their width."""
    most = ((1 << FORMATS.acc_bits - 1) - 1) // FORMATS.act_max
    if max(shape.hidden, shape.inner) > most:
        raise CheckpointError(f"a matrix has {max(shape.hidden, shape.inner):,} columns, and sums "
                              f"of {FORMATS.acc_bits} bits hold {most:,}; no published model is as "
                              "wide")


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
    for number, (layer, name) in enumerate(_matrices(shape), 1):
        matrix = checkpoint.matrix(name, layer)
        norm = checkpoint.gain(GAINS[name], layer) if name in GAINS else None
        gain = checkpoint.gain(name, layer)
        _put_matrix(writer, _key(name, layer), make_matrix(matrix, gain, norm))
        statistics[_key(name, layer)] = {
            "density": float(np.count_nonzero(matrix.codes) / matrix.codes.size),
            "scale": matrix.scale, "largest_gain": float(np.abs(gain).max())}
        if progress is not None:
            progress(number, shape.products)
    return {
        "format": _FORMAT, "version": _VERSION, "shape": shape.to_dict(),
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


def _about(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of its model, checked as far as anything shows or uses it."""
    try:
        about = json.loads(metadata.get(_KEY, "{}"))
    except RecursionError as error:
        raise CheckpointError("its metadata is nested too deeply") from error
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        raise CheckpointError("it is no imported model")
    texts = (about["licence"], about["container"], about["dtype"], about["sha256"])
    spans = [span for found in about["summary"].values() for span in (
        found["density"], found["scale"], found["largest_gain"])]
    numbers = [about["largest_embedding"], *(number for span in spans for number in span)]
    if (not all(isinstance(text, str) for text in texts)
            or not all(isinstance(number, int | float) for number in numbers)
            or any(len(span) != 2 for span in spans)):
        raise CheckpointError("its metadata is damaged")
    return about


def _load(path: Path, verify: bool) -> ImportedModel:
    tensors, metadata = open_safetensors(path)
    about = _about(metadata)
    if about.get("version") != _VERSION:
        raise CheckpointError(f"it is of format version {about.get('version')!r}, not {_VERSION}")
    shape = Shape(**about["shape"])
    _check_width(shape)
    if shape.layers > len(tensors):
        raise CheckpointError(f"it has too few tensors for {shape.layers:,} layers")
    if verify:
        _verify(path, about["sha256"])
    sizes = _sizes(shape, len(tensors["tokenizer"].data), "lower_bounds" in tensors)
    for name, (kind, size) in sizes.items():
        if (tensors[name].kind, tensors[name].shape) != (kind, size):
            raise CheckpointError(f"tensor {name} must be {kind} {list(size)}, not "
                                  f"{tensors[name].kind} {list(tensors[name].shape)}")

    def matrix(name: str, layer: int | None = None) -> ImportedMatrix:
        key = _key(name, layer)
        gain_frac, norm_frac, scale, scale_frac = tensors[f"{key}.scalars"].integers("<i4").tolist()
        found = ImportedMatrix(
            tensors[f"{key}.weights"].integers("<u1"), tensors[f"{key}.gain"].integers("<i4"),
            gain_frac, tensors[f"{key}.norm"].integers("<i4") if name in GAINS else None,
            norm_frac, scale, scale_frac)
        _check_matrix(key, found)
        return found

    bounds = tensors.get("lower_bounds")
    if bounds is not None:
        _check_range("lower_bounds", bounds.integers("<i4"), 0, 1 << FORMATS.sigmoid_bits)
    residual_frac = about["residual_frac"]
    if not isinstance(residual_frac, int) or abs(residual_frac) > _MOST_FRACTION:
        raise CheckpointError(f"its residual stream has {residual_frac!r} fraction bits")
    return ImportedModel(
        shape=shape, residual_frac=residual_frac,
        embedding=tensors["embedding"].integers("<i4"),
        lower_bounds=None if bounds is None else bounds.integers("<i4"),
        layers=tuple({name: matrix(name, layer) for name in LAYER_MATRICES}
                     for layer in range(shape.layers)),
        head=matrix("head"), about=about, tokenizer=tensors["tokenizer"].data.tobytes(),
        sha256=about["sha256"])


_MOST_FRACTION = 512
"""Of any value: twice what products of single-precision numbers need."""


def _check_matrix(key: str, matrix: ImportedMatrix) -> None:
    """Refuse integers that the contract's widths do not hold."""
    for what, values, bits in (("gain", matrix.gain, FORMATS.gain_bits),
                               ("norm", matrix.norm, FORMATS.norm_bits)):
        if values is not None:
            _check_range(f"{key}.{what}", values, 1 - (1 << bits - 1), (1 << bits - 1) - 1)
    fractions = (matrix.gain_frac, matrix.norm_frac, matrix.scale_frac)
    if (max(map(abs, fractions)) > _MOST_FRACTION or matrix.norm_frac > FORMATS.max_norm_frac
            or matrix.scale.bit_length() != FORMATS.scale_bits):
        raise CheckpointError(f"tensor {key}.scalars is out of range: {fractions}, {matrix.scale}")


def _check_range(name: str, values: NDArray[np.int32], least: int, most: int) -> None:
    low, high = int(values.min()), int(values.max())
    if low < least or high > most:
        raise CheckpointError(f"tensor {name} must be in [{least}, {most}], not {low} ... {high}")


def _verify(path: Path, promised: str) -> None:
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != promised:
        raise CheckpointError(f"its tensors have SHA-256 {found}, not {promised} as written in it")
