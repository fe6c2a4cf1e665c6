"""Scale folding: how the trainer's real numbers become the integers of ``docs/number-formats.md``.

The trainer computes with these same multipliers in its forward pass, so a trained network and its
exported model differ only by the roundings of activations. Needs no PyTorch.
"""

import math
from dataclasses import dataclass

from trilight.hw.contract.numbers import NUMBERS

__all__ = [
    "RESIDUAL_GAIN",
    "SCALES",
    "MatrixScale",
    "head_gain",
    "head_scale",
    "multiplier",
    "norm_step",
    "to_fixed",
    "weight_of",
]

NORM_MEAN = 0.8
"""Mean magnitude of a norm's output; the root mean square of normally distributed values is then
1.0."""

RESIDUAL_GAIN = 0.5
"""Sum that a branch adds to the residual stream, for each unit that it computes. Norms make the
model indifferent to it; with 0.5 the multipliers and the stream stay within their ranges as they
grow."""

_MIX_STEP = RESIDUAL_GAIN * 2.0 ** (NUMBERS.mix_shift - 2 * NUMBERS.gate_frac)
_GLU_STEP = RESIDUAL_GAIN * 2.0 ** (NUMBERS.glu_shift - 2 * NUMBERS.gate_frac)


@dataclass(frozen=True)
class MatrixScale:
    """Units at the two sides of a matrix."""

    input_step: float | None
    """Value that one count of the input stands for, gain included; ``None`` for a norm's output."""
    output_frac: int
    """Fraction bits of the output."""


_TABLE = MatrixScale(None, NUMBERS.index_frac)

SCALES: dict[str, MatrixScale] = {
    "forget": _TABLE,
    "candidate": _TABLE,
    "gate": _TABLE,
    "mix_out": MatrixScale(_MIX_STEP, NUMBERS.residual_frac),
    "glu_gate": _TABLE,
    "glu_up": MatrixScale(None, NUMBERS.gate_frac),
    "glu_down": MatrixScale(_GLU_STEP, NUMBERS.residual_frac),
}
"""Matrices of a layer, in the order in which the device uses them."""


def norm_step(d_model: int) -> float:
    """Return what a count stands for when the magnitudes of ``d_model`` counts add up to 4096."""
    return NORM_MEAN * d_model / (1 << NUMBERS.norm_shift)


def to_fixed(value: float, frac: int, low: int, high: int) -> int:
    """Round ``value * 2**frac`` to nearest, halves to even, and clip to ``[low, high]``."""
    return min(max(round(value * 2.0**frac), low), high)


def multiplier(weight: float, scale: MatrixScale, d_model: int) -> int:
    """Return the ``m_*`` of a matrix, in [1, 32767].

    Parameters
    ----------
    weight
        What a trit of +1 stands for: the mean magnitude of the trainer's real weights.
    scale
        Units of the matrix.
    d_model
        Width of the model.
    """
    return to_fixed(weight * _input_step(scale, d_model), NUMBERS.scale_frac + scale.output_frac,
                    1, 2**NUMBERS.scale_bits - 1)


def weight_of(m: int, scale: MatrixScale, d_model: int) -> float:
    """Return what a trit of +1 stands for in a matrix of a multiplier; ``multiplier`` undone."""
    return m * 2.0 ** -(NUMBERS.scale_frac + scale.output_frac) / _input_step(scale, d_model)


def _input_step(scale: MatrixScale, d_model: int) -> float:
    return norm_step(d_model) if scale.input_step is None else scale.input_step


_HEAD = MatrixScale(None, NUMBERS.logit_frac)


def head_scale(gain: float, d_model: int) -> int:
    """Return ``m_head`` for a head whose logits are ``gain / sqrt(d_model)`` per unit of input."""
    return multiplier(gain / math.sqrt(d_model), _HEAD, d_model)


def head_gain(m: int, d_model: int) -> float:
    """Return the gain of a head of a multiplier; ``head_scale`` undone."""
    return weight_of(m, _HEAD, d_model) * math.sqrt(d_model)
