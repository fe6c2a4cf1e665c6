"""Trit codes of whole matrices: packed into bytes and out of them."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.trits import FILE_CODE, TritCode
from trilight.sw.errors import ModelError

__all__ = ["pack_trits", "unpack_trits"]


@cache
def _code_of(code: TritCode) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Place values of trits + 1 as ternary digits, and the code of each such number."""
    places = 3 ** np.arange(code.trits)
    codes = np.zeros(3**code.trits, np.uint8)
    for trits, number in code.to_code.items():
        codes[int((np.array(trits) + 1) @ places)] = number
    return places, codes


@cache
def _trits_of(code: TritCode) -> NDArray[np.int8]:
    """Trits of each byte, all 2 for one that is no code."""
    table = np.full((256, code.trits), 2, np.int8)
    for number, trits in code.to_trits.items():
        table[number] = trits
    return table


def pack_trits(trits: NDArray[np.int8], code: TritCode = FILE_CODE) -> NDArray[np.uint8]:
    """Trit codes of each row, the last one padded with zero trits.

    Parameters
    ----------
    trits : int8 array [rows, columns]
        Values -1, 0, +1.

    Returns
    -------
    uint8 array [rows, ceil(columns / code.trits)]
    """
    rows, columns = trits.shape
    places, codes = _code_of(code)
    padded = np.pad(trits, ((0, 0), (0, -columns % code.trits)))
    groups = padded.reshape(rows, -1, code.trits).astype(np.intp)
    packed: NDArray[np.uint8] = codes[(groups + 1) @ places]
    return packed


def unpack_trits(codes: NDArray[np.uint8], columns: int,
                 code: TritCode = FILE_CODE) -> NDArray[np.int8]:
    """Inverse of ``pack_trits``.

    Parameters
    ----------
    codes : uint8 array [rows, ceil(columns / code.trits)]
    columns
        Trits of each row; those after it must be zero.

    Returns
    -------
    int8 array [rows, columns]

    Raises
    ------
    ModelError
        If a byte is no trit code, or a trit past the last column is not zero.
    """
    table = _trits_of(code)
    trits = table[codes].reshape(len(codes), -1)
    if (trits == 2).any():
        bad = codes[(table[codes] == 2).any(axis=-1)][0]
        last = code.entries - 1
        raise ModelError(f"trit codes must be 0..{last} or {code.sign + 1}..{code.sign + last}, "
                         f"not {bad}")
    if trits[:, columns:].any():
        raise ModelError(f"trits past column {columns - 1} must be 0")
    return np.ascontiguousarray(trits[:, :columns])
