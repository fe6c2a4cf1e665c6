"""An imported model as integers, and its file.

``docs/imported-formats.md`` says what the integers mean and how they are stored.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.imported import FORMATS
from trilight.sw.errors import CheckpointError, ModelFileError, TrilightError
from trilight.sw.model.trits import unpack_trits

from .layout import FORMAT, GAINS, METADATA_KEY, VERSION, check_width, tensor_key, tensor_sizes
from .shape import LAYER_MATRICES, Shape
from .tensors import open_safetensors

__all__ = ["ImportedLayer", "ImportedMatrix", "ImportedModel", "is_imported", "unpack_matrix"]


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
        return bool(json.loads(metadata[METADATA_KEY]).get("format") == FORMAT)
    except (TrilightError, KeyError, ValueError, AttributeError, TypeError):
        return False


def unpack_matrix(matrix: "ImportedMatrix") -> NDArray[np.int8]:
    """Trits [rows, columns] of a matrix."""
    return unpack_trits(np.ascontiguousarray(matrix.weights.T), matrix.columns)


def _about(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file says of its model, checked as far as anything shows or uses it."""
    try:
        about = json.loads(metadata.get(METADATA_KEY, "{}"))
    except RecursionError as error:
        raise CheckpointError("its metadata is nested too deeply") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
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
    if about.get("version") != VERSION:
        raise CheckpointError(f"it is of format version {about.get('version')!r}, not {VERSION}")
    shape = Shape(**about["shape"])
    check_width(shape)
    if shape.layers > len(tensors):
        raise CheckpointError(f"it has too few tensors for {shape.layers:,} layers")
    if verify:
        _verify(path, about["sha256"])
    sizes = tensor_sizes(shape, len(tensors["tokenizer"].data), "lower_bounds" in tensors)
    for name, (kind, size) in sizes.items():
        if (tensors[name].kind, tensors[name].shape) != (kind, size):
            raise CheckpointError(f"tensor {name} must be {kind} {list(size)}, not "
                                  f"{tensors[name].kind} {list(tensors[name].shape)}")

    def matrix(name: str, layer: int | None = None) -> ImportedMatrix:
        key = tensor_key(name, layer)
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
    if not isinstance(residual_frac, int) or abs(residual_frac) > _MAX_FRACTION:
        raise CheckpointError(f"its residual stream has {residual_frac!r} fraction bits")
    return ImportedModel(
        shape=shape, residual_frac=residual_frac,
        embedding=tensors["embedding"].integers("<i4"),
        lower_bounds=None if bounds is None else bounds.integers("<i4"),
        layers=tuple({name: matrix(name, layer) for name in LAYER_MATRICES}
                     for layer in range(shape.layers)),
        head=matrix("head"), about=about, tokenizer=tensors["tokenizer"].data.tobytes(),
        sha256=about["sha256"])


_MAX_FRACTION = 512
"""Fraction bits of any value, at most: twice what products of single precision need."""


def _check_matrix(key: str, matrix: ImportedMatrix) -> None:
    """Refuse integers that the contract's widths do not hold."""
    for what, values, bits in (("gain", matrix.gain, FORMATS.gain_bits),
                               ("norm", matrix.norm, FORMATS.norm_bits)):
        if values is not None:
            _check_range(f"{key}.{what}", values, 1 - (1 << bits - 1), (1 << bits - 1) - 1)
    fractions = (matrix.gain_frac, matrix.norm_frac, matrix.scale_frac)
    if (max(map(abs, fractions)) > _MAX_FRACTION or matrix.norm_frac > FORMATS.max_norm_frac
            or matrix.scale.bit_length() != FORMATS.scale_bits):
        raise CheckpointError(f"tensor {key}.scalars is out of range: {fractions}, {matrix.scale}")


def _check_range(name: str, values: NDArray[np.int32], minimum: int, maximum: int) -> None:
    low, high = int(values.min()), int(values.max())
    if low < minimum or high > maximum:
        raise CheckpointError(f"tensor {name} must be in [{minimum}, {maximum}], "
                              f"not {low} ... {high}")


def _verify(path: Path, promised: str) -> None:
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != promised:
        raise CheckpointError(f"its tensors have SHA-256 {found}, not {promised} as written in it")
