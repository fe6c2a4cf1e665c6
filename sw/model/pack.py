"""Weight words: ternary matrices in the order and form in which the engine takes them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.shapes import OperationShape
from trilight.hw.contract.trits import Packing

from .trits import pack_trits, unpack_trits

__all__ = ["pack_matrix", "unpack_matrix"]


def pack_matrix(trits: NDArray[np.int8], shape: OperationShape, tiles: Sequence[int],
                short: bool | None = None) -> NDArray[np.uint16]:
    """The 16-bit units of a matrix: tile after tile of rows, block after block of columns, rows.

    Parameters
    ----------
    trits : int8 array [rows, columns]
    shape
        Of the operation, whose rows are the matrix'.
    tiles
        Rows of each tile: ``Device.tiles``.
    short
        Whether the words are short, by default as the shape has it.

    Returns
    -------
    uint16 array [words * packing.word_units]
    """
    packing = shape.packing
    width = packing.short_trits if (shape.short if short is None else short) else packing.trits
    padded = np.pad(trits, ((0, 0), (0, -shape.columns % (packing.lanes * width))))
    codes = pack_trits(padded.reshape(-1, width), packing.code)
    by_row = codes.reshape(shape.rows, -1, packing.lanes)
    ends = np.cumsum(tiles)
    return np.concatenate([
        _to_units(tile.swapaxes(0, 1).reshape(-1, packing.lanes), packing)
        for tile in np.split(by_row, ends[:-1])])


def unpack_matrix(units: NDArray[np.uint16], rows: int, packing: Packing,
                  short: bool) -> NDArray[np.int8]:
    """Inverse of ``pack_matrix`` for one tile: the trits [rows, columns], padding included.

    Parameters
    ----------
    units : uint16 array
        Those of whole words: all rows of a block, then the next block.
    short
        Whether the words are short.

    Raises
    ------
    ModelError
        A code is none.
    """
    codes = _from_units(units, packing).reshape(-1, rows, packing.lanes).swapaxes(0, 1)
    trits = packing.short_trits if short else packing.trits
    return unpack_trits(codes.reshape(-1, 1), trits, packing.code).reshape(rows, -1)


def _to_units(codes: NDArray[np.uint8], packing: Packing) -> NDArray[np.uint16]:
    """Units of words [words, lanes], lane 0 in the low bits."""
    bits = np.unpackbits(codes[:, :, np.newaxis], axis=2, bitorder="little")
    words = bits[:, :, :packing.code.bits].reshape(len(codes), -1)
    padded = np.pad(words, ((0, 0), (0, 16 * packing.word_units - packing.word_bits)))
    packed = np.packbits(padded, axis=1, bitorder="little")
    return np.frombuffer(packed.tobytes(), "<u2").astype(np.uint16)


def _from_units(units: NDArray[np.uint16], packing: Packing) -> NDArray[np.uint8]:
    """Codes [words, lanes] of units."""
    raw = np.frombuffer(units.astype("<u2").tobytes(), np.uint8)
    bits = np.unpackbits(raw.reshape(-1, 2 * packing.word_units), axis=1, bitorder="little")
    codes = bits[:, :packing.word_bits].reshape(len(bits), packing.lanes, packing.code.bits)
    return np.packbits(codes, axis=2, bitorder="little")[:, :, 0]
