"""Zeros of a model's weights, as an engine that skips them would find them."""

from dataclasses import dataclass

import numpy as np

from trilight.hw.contract.shapes import OperationShape
from trilight.hw.contract.trits import Packing

from .model import Model

__all__ = ["ZeroShares", "zero_shares"]


@dataclass(frozen=True)
class ZeroShares:
    """Shares that are 0, between 0 and 1, and what skipping them saves at most.

    Padding past the last column is of no weight, but part of its code and its word.
    """

    weights: float
    codes: float
    """Codes of which all trits are 0."""
    words: float
    """Words of which all trits are 0: the share of words that skipping whole words saves."""
    lanes: float
    """Share of words that are saved if each lane skips its codes of zeros alone and waits for the
    others at the end of a block: by the lane with most codes that are not 0."""


def zero_shares(model: Model, packing: Packing) -> ZeroShares:
    """Count the zeros of a model's weights as they lie in the words of a device.

    Parameters
    ----------
    model
    packing
        Layout of trits in weight words.
    """
    operations = [*(np.vstack([getattr(layer, name).trits for name in names])
                    for layer in model.layers for names in _OPERATIONS), model.embedding]
    used = codes = codes_used = words = words_used = longest = 0
    for trits in operations:
        rows, columns = trits.shape
        shape = OperationShape(rows, columns, packing)
        width = shape.blocks * packing.lanes * shape.trits
        padded = np.pad(trits, ((0, 0), (0, width - columns)))
        present = (padded.reshape(rows, shape.blocks, packing.lanes, shape.trits) != 0).any(axis=3)
        used += int(np.count_nonzero(trits))
        codes += rows * -(-columns // shape.trits)
        codes_used += int(present.sum())
        words += shape.words
        words_used += int(present.any(axis=2).sum())
        longest += int(present.sum(axis=0).max(axis=1).sum())
    return ZeroShares(weights=1 - used / model.config.ternary_weights, codes=1 - codes_used / codes,
                      words=1 - words_used / words, lanes=1 - longest / words)


_OPERATIONS = (("forget", "candidate", "gate"), ("mix_out",), ("glu_gate", "glu_up"),
               ("glu_down",))
"""Matrices of each operation of a layer; in which order their rows take turns does not matter."""
