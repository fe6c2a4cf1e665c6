"""An imported model as the streams that its core takes."""

from collections.abc import Iterator, Sequence

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from trilight.hw.contract.imported import FORMATS, ImportedDevice, Kind
from trilight.hw.imported.layouts import header_layout, parameter_layout, shape_layout
from trilight.sim.native.imported import CoreImage
from trilight.sw.checkpoint.model import ImportedMatrix, ImportedModel
from trilight.sw.checkpoint.shape import LAYER_MATRICES

__all__ = ["core_image", "matrix_words", "parameter_words"]


def core_image(model: ImportedModel, device: ImportedDevice, layers: Sequence[int] | None = None,
               head: bool = True) -> CoreImage:
    """Streams of a token of some layers, with or without the head.

    Parameters
    ----------
    model : ImportedModel
    device : ImportedDevice
    layers : sequence of int, optional
        Default: all.
    head : bool
    """
    chosen = range(model.shape.layers) if layers is None else layers
    parameters: list[NDArray[np.uint64]] = []
    words: list[NDArray[np.uint64]] = []
    for layer, kind, matrix in _matrices(model, chosen, head):
        bounds = None
        if kind is Kind.FORGET:
            bounds = np.zeros(matrix.rows, np.int64)
            if model.lower_bounds is not None and layer > 0:
                bounds = model.lower_bounds[layer].astype(np.int64)
        parameters.append(parameter_words(matrix, bounds))
        words.append(matrix_words(matrix, device))
    return CoreImage(_shape(model, device, len(chosen), head), np.concatenate(parameters),
                     np.ascontiguousarray(np.concatenate(words)),
                     _counts(model, len(chosen), head), model.shape.hidden)


def _matrices(model: ImportedModel, layers: Sequence[int],
              head: bool) -> Iterator[tuple[int, Kind, ImportedMatrix]]:
    for layer in layers:
        for kind, name in zip(Kind, LAYER_MATRICES, strict=False):
            yield layer, kind, model.layers[layer][name]
    if head:
        yield model.shape.layers, Kind.HEAD, model.head


def _fields(layout: data.StructLayout, **values: int) -> int:
    """Fields of a layout as an integer."""
    word = 0
    for name, value in values.items():
        field = layout[name]
        word |= (value & (1 << field.width) - 1) << field.offset
    return word


def _shape(model: ImportedModel, device: ImportedDevice, layers: int, head: bool) -> int:
    shape, block = model.shape, device.engine.packing.block
    return _fields(
        shape_layout(device), hidden=shape.hidden - 1, inner=shape.inner - 1,
        vocabulary=shape.vocabulary - 1, hidden_blocks=-(-shape.hidden // block) - 1,
        inner_blocks=-(-shape.inner // block) - 1, layers=layers - 1, head=head,
        residual_frac=model.residual_frac)


def _counts(model: ImportedModel, layers: int, head: bool) -> dict[str, int]:
    """Values of each probe in a token."""
    h, n, v = model.shape.hidden, model.shape.inner, model.shape.vocabulary * head
    gated = layers * (3 * h + n)
    return {"code": layers * (5 * h + n) + h * head, "sum": layers * (5 * h + 2 * n) + v,
            "multiplier": layers * len(LAYER_MATRICES) + head, "argument": gated, "gate": gated,
            "result": layers * (3 * h + 2 * n), "residual": layers * 2 * h, "logit": v}


def parameter_words(matrix: ImportedMatrix,
                    bounds: NDArray[np.int64] | None) -> NDArray[np.uint64]:
    """Header and parameters of a matrix, and lower bounds where it has them."""
    layout = parameter_layout()
    gain = matrix.gain.astype(np.int64) & (1 << FORMATS.gain_bits) - 1
    norm = np.zeros_like(gain) if matrix.norm is None else matrix.norm.astype(np.int64)
    norm = norm & (1 << FORMATS.norm_bits) - 1
    words = gain << layout["gain"].offset | norm << layout["norm"].offset
    header = _fields(header_layout(), scale=matrix.scale, norm_frac=matrix.norm_frac,
                     frac=matrix.scale_frac + matrix.gain_frac)
    parts = [np.array([header]), words, *([] if bounds is None else [bounds])]
    return np.concatenate(parts).astype(np.uint64)


def matrix_words(matrix: ImportedMatrix, device: ImportedDevice) -> NDArray[np.uint64]:
    """Weight words [words, 64-bit parts] of a matrix: tile, block, row.

    The model file's bytes are the engine's, so only their order changes.
    """
    engine = device.engine
    lanes = engine.lanes
    groups = np.pad(matrix.weights, ((0, -matrix.weights.shape[0] % lanes), (0, 0)))
    by_row = groups.reshape(-1, lanes, matrix.rows).swapaxes(1, 2)  # block, row, lane
    ends = np.cumsum(engine.tiles(matrix.rows))
    words = np.concatenate([tile.reshape(-1, lanes)
                            for tile in np.split(by_row, ends[:-1], axis=1)])
    return np.ascontiguousarray(np.pad(words, ((0, 0), (0, -lanes % 8)))).view("<u8")
