"""Packed forms of ternary weights, decoded to the codes -1, 0, +1 and their scales.

Layouts are those of the programs that write them: ``TQ1_0``, ``TQ2_0`` and ``Q2_0`` of llama.cpp
(``ggml/src/ggml-quants.c``), ``I2_S`` of microsoft/BitNet (``src/ggml-bitnet-mad.cpp``, x86), and
the two-bit form of Hugging Face transformers (``integrations/bitnet.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import CheckpointError

__all__ = ["BLOCKS", "BlockFormat", "Codes", "decode_i2_s", "decode_two_bit_rows"]

Codes = NDArray[np.int8]
Bytes = NDArray[np.uint8]
Scales = NDArray[np.float32]

_NOT_TERNARY = 2
"""Meaning of the fourth code of a two-bit form."""


@dataclass(frozen=True)
class BlockFormat:
    """A form that packs a number of weights and their scale into a block of bytes.

    Attributes
    ----------
    name : str
    weights : int
        Of a block.
    size : int
        Bytes of a block.
    codes : callable
        Codes [blocks, weights] of blocks [blocks, size].
    scale_at : int
        Where the block's scale lies, a 16-bit float.
    """

    name: str
    weights: int
    size: int
    codes: Callable[[Bytes], Codes]
    scale_at: int

    def decode(self, data: Bytes, rows: int, columns: int) -> tuple[Codes, Scales]:
        """Decode a matrix.

        Returns
        -------
        int8 array [rows, columns]
        float32 array [rows, columns / weights]
            Scale of each block.

        Raises
        ------
        CheckpointError
            Rows are no whole blocks, or a code is not ternary.
        """
        if columns % self.weights:
            raise CheckpointError(f"{self.name} packs {self.weights} weights into a block, which "
                                  f"do not divide a row of {columns}; the file is damaged")
        blocks = data.reshape(-1, self.size)
        codes = check_ternary(self.name, self.codes(blocks)).reshape(rows, columns)
        scales = np.ascontiguousarray(blocks[:, self.scale_at:self.scale_at + 2]).view("<f2")
        return codes, scales.astype(np.float32).reshape(rows, -1)


def check_ternary(name: str, codes: Codes) -> Codes:
    """Refuse the fourth code of a two-bit form."""
    if (codes == _NOT_TERNARY).any():
        share = (codes == _NOT_TERNARY).mean()
        raise CheckpointError(f"{share:.1%} of its {name} codes stand for +2, so its weights are "
                              "not ternary; take a checkpoint that was trained with ternary ones")
    return codes


def _two_bits(packed: Bytes, shifts: tuple[int, ...]) -> Codes:
    """Codes [..., len(shifts), n] of bytes [..., n]."""
    places = np.array(shifts, np.uint8)[:, None]
    return ((packed[..., None, :] >> places & 3).astype(np.int8) - 1)


def _tq2_0(blocks: Bytes) -> Codes:
    """Each half of 32 bytes holds four runs of 32 weights, one in each pair of bits."""
    halves = blocks[:, :64].reshape(-1, 2, 32)
    return _two_bits(halves, (0, 2, 4, 6)).reshape(-1, 256)


def _five_trits(packed: Bytes, count: int) -> Codes:
    """Trits [..., count, n] of bytes [..., n] that hold a fraction in base 3, first digit first."""
    powers = np.array([3**n for n in range(count)], np.uint8)[:, None]
    fraction = (packed[..., None, :] * powers).astype(np.uint16)
    return (fraction * 3 >> 8).astype(np.int8) - 1


def _tq1_0(blocks: Bytes) -> Codes:
    """Bytes 0..31 hold 160 weights, 32..47 hold 80, both five to a byte; 48..51 hold 16, four."""
    parts = [_five_trits(blocks[:, :32], 5), _five_trits(blocks[:, 32:48], 5),
             _five_trits(blocks[:, 48:52], 4)]
    return np.concatenate([part.reshape(len(blocks), -1) for part in parts], axis=1)


def _q2_0(blocks: Bytes) -> Codes:
    """Four weights in a byte, the first in its low bits."""
    codes = _two_bits(blocks[:, 2:], (0, 2, 4, 6))
    return codes.transpose(0, 2, 1).reshape(len(blocks), -1)


BLOCKS = {
    "TQ1_0": BlockFormat("TQ1_0", 256, 54, _tq1_0, 52),
    "TQ2_0": BlockFormat("TQ2_0", 256, 66, _tq2_0, 64),
    "Q2_0/64": BlockFormat("Q2_0", 64, 18, _q2_0, 0),
    "Q2_0/128": BlockFormat("Q2_0", 128, 34, _q2_0, 0),
}
"""Block formats. Of Q2_0 there are two, with as many weights to a block as the name says."""


def decode_i2_s(data: Bytes, rows: int, columns: int) -> tuple[Codes, Scales]:
    """Decode a matrix of I2_S as x86 processors write it: 128 weights in 32 bytes.

    Byte ``j`` of a block holds weights ``j``, ``j + 32``, ``j + 64`` and ``j + 96``, the first in
    its high bits. One scale for the matrix follows the weights, a 32-bit float. Writers for ARM
    use another order under the same name; their files cannot be told apart.

    Returns
    -------
    int8 array [rows, columns]
    float32 array [1, 1]
    """
    weights = rows * columns
    if weights % 128:
        raise CheckpointError(f"I2_S packs 128 weights into a block, which do not divide "
                              f"{rows} x {columns}; the file is damaged")
    packed = data[:weights // 4].reshape(-1, 32)
    codes = check_ternary("I2_S", _two_bits(packed, (6, 4, 2, 0))).reshape(rows, columns)
    scale = np.ascontiguousarray(data[weights // 4:weights // 4 + 4]).view("<f4")
    return codes, scale.astype(np.float32).reshape(1, 1)


def decode_two_bit_rows(packed: Bytes, rows: int) -> Codes:
    """Decode the form of transformers: byte row ``r`` holds rows ``r``, ``r + n``, ``r + 2 n``...

    Parameters
    ----------
    packed : uint8 array [n, columns]
        With ``n`` a quarter of the rows, rounded up.
    rows : int

    Returns
    -------
    int8 array [rows, columns]
    """
    codes = _two_bits(packed, (0, 2, 4, 6))
    whole = codes.transpose(1, 0, 2).reshape(-1, packed.shape[1])
    return check_ternary("two-bit", whole[:rows])
