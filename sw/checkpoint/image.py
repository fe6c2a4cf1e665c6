"""An imported model as the streams that a core takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.imported import (
    HEADER_FIELDS,
    PARAMETER_FIELDS,
    ImportedDevice,
    Kind,
    shape_fields,
)

from .model import ImportedMatrix, ImportedModel
from .shape import LAYER_MATRICES

__all__ = ["CoreImage", "core_image", "matrix_words", "parameter_words"]


@dataclass(frozen=True, eq=False)
class CoreImage:
    """Image of a model in a device, which streams it in every token.

    Attributes
    ----------
    shape : int
        Fields of ``shape_fields``.
    parameters : uint64 array
    words : uint8 array [words, lanes]
        Weight words.
    """

    shape: int
    parameters: NDArray[np.uint64]
    words: NDArray[np.uint8]


def core_image(model: ImportedModel, device: ImportedDevice, layers: Sequence[int] | None = None,
               head: bool = True) -> CoreImage:
    """Streams of a token of some layers, with or without the head.

    Parameters
    ----------
    model : ImportedModel
    device : ImportedDevice
    layers : sequence of int, optional
        Neighbours. Default: all.
    head : bool
    """
    chosen = range(model.shape.layers) if layers is None else layers
    parameters: list[NDArray[np.uint64]] = []
    words: list[NDArray[np.uint8]] = []
    for layer, kind, matrix in _matrices(model, chosen, head):
        bounds = None
        if kind is Kind.FORGET:
            bounds = np.zeros(matrix.rows, np.int64)
            if model.lower_bounds is not None and layer > 0:
                bounds = model.lower_bounds[layer].astype(np.int64)
        parameters.append(parameter_words(matrix, bounds))
        words.append(matrix_words(matrix, device))
    return CoreImage(_shape(model, device, len(chosen), head), np.concatenate(parameters),
                     np.concatenate(words))


def _matrices(model: ImportedModel, layers: Sequence[int],
              head: bool) -> Iterator[tuple[int, Kind, ImportedMatrix]]:
    for layer in layers:
        for kind, name in zip(Kind, LAYER_MATRICES, strict=False):
            yield layer, kind, model.layers[layer][name]
    if head:
        yield model.shape.layers, Kind.HEAD, model.head


def _pack(fields: Sequence[tuple[str, int]], **values: int) -> int:
    """Fields as an integer, the first in the low bits."""
    word, at = 0, 0
    for name, bits in fields:
        word |= (values[name] & (1 << bits) - 1) << at
        at += bits
    return word


def _shape(model: ImportedModel, device: ImportedDevice, layers: int, head: bool) -> int:
    shape, block = model.shape, device.engine.packing.block
    return _pack(
        shape_fields(device), hidden=shape.hidden - 1, inner=shape.inner - 1,
        vocabulary=shape.vocabulary - 1, hidden_blocks=-(-shape.hidden // block) - 1,
        inner_blocks=-(-shape.inner // block) - 1, layers=layers - 1, head=head,
        residual_frac=model.residual_frac)


def parameter_words(matrix: ImportedMatrix,
                    bounds: NDArray[np.int64] | None) -> NDArray[np.uint64]:
    """Header and parameters of a matrix, and lower bounds where it has them."""
    (_, gain_bits), (_, norm_bits) = PARAMETER_FIELDS
    gain = matrix.gain.astype(np.int64) & (1 << gain_bits) - 1
    norm = np.zeros_like(gain) if matrix.norm is None else matrix.norm.astype(np.int64)
    words = gain | (norm & (1 << norm_bits) - 1) << gain_bits
    header = _pack(HEADER_FIELDS, scale=matrix.scale, norm_frac=matrix.norm_frac,
                   frac=matrix.scale_frac + matrix.gain_frac)
    parts = [np.array([header]), words, *([] if bounds is None else [bounds])]
    return np.concatenate(parts).astype(np.uint64)


def matrix_words(matrix: ImportedMatrix, device: ImportedDevice) -> NDArray[np.uint8]:
    """Weight words [words, lanes] of a matrix: tile, block, row.

    The model file's bytes are the engine's, so only their order changes.
    """
    engine = device.engine
    lanes = engine.lanes
    groups = np.pad(matrix.weights, ((0, -matrix.weights.shape[0] % lanes), (0, 0)))
    by_row = groups.reshape(-1, lanes, matrix.rows).swapaxes(1, 2)  # block, row, lane
    ends = np.cumsum(engine.tiles(matrix.rows))
    return np.concatenate([tile.reshape(-1, lanes)
                           for tile in np.split(by_row, ends[:-1], axis=1)])
