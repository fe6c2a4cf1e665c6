"""Scale folding: how the trainer's real numbers become the integers of ``docs/number-formats.md``.

The trainer computes with these same multipliers in its forward pass, so a trained network and its
exported model differ only by the roundings of activations. Needs no PyTorch.
"""

import math
from dataclasses import dataclass

from trilight.hw.config import NUMBERS

__all__ = [
    "NORM_STEP",
    "RESIDUAL_GAIN",
    "SCALES",
    "MatrixScale",
    "head_scale",
    "multiplier",
    "to_fixed",
]

NORM_STEP = 1 / 30
"""What one count of a normalised activation ``q`` stands for. Its mean magnitude is
``NUMBERS.norm_gain`` counts; for normally distributed values the root mean square is then 1.0."""

RESIDUAL_GAIN = 0.5
"""What a branch adds to the residual stream, for each unit that it computes. Norms make the model
indifferent to it; with 0.5 the multipliers and the stream stay within their ranges as they grow."""

_MIX_STEP = RESIDUAL_GAIN * 2.0 ** (NUMBERS.mix_shift - 2 * NUMBERS.gate_frac)
_GLU_STEP = RESIDUAL_GAIN * 2.0 ** (NUMBERS.glu_shift - 2 * NUMBERS.gate_frac)


@dataclass(frozen=True)
class MatrixScale:
    """Units at the two sides of a matrix."""

    input_step: float
    """What one count of the input stands for, gain included."""
    output_frac: int
    """Fraction bits of the output."""


_TABLE = MatrixScale(NORM_STEP, NUMBERS.index_frac)

SCALES: dict[str, MatrixScale] = {
    "forget": _TABLE,
    "candidate": _TABLE,
    "gate": _TABLE,
    "mix_out": MatrixScale(_MIX_STEP, NUMBERS.residual_frac),
    "glu_gate": _TABLE,
    "glu_up": MatrixScale(NORM_STEP, NUMBERS.gate_frac),
    "glu_down": MatrixScale(_GLU_STEP, NUMBERS.residual_frac),
}
"""Matrices of a layer, in the order in which the device uses them."""


def to_fixed(value: float, frac: int, low: int, high: int) -> int:
    """Round ``value * 2**frac`` to nearest, halves to even, and clip to ``[low, high]``."""
    return min(max(round(value * 2.0**frac), low), high)


def multiplier(weight: float, scale: MatrixScale) -> int:
    """Return the ``m_*`` of a matrix, in [1, 32767].

    Parameters
    ----------
    weight
        What a trit of +1 stands for: the mean magnitude of the trainer's real weights.
    scale
        Units of the matrix.
    """
    return to_fixed(weight * scale.input_step, NUMBERS.scale_frac + scale.output_frac,
                    1, 2**NUMBERS.scale_bits - 1)


def head_scale(gain: float, d_model: int) -> int:
    """Return ``m_head`` for a head whose logits are ``gain / sqrt(d_model)`` per unit of input."""
    return multiplier(gain / math.sqrt(d_model), MatrixScale(NORM_STEP, NUMBERS.logit_frac))
