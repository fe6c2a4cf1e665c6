"""Number formats, written down once: widths and binary points of ``docs/number-formats.md``.

The gateware, the integer reference, the trainer and the image compiler all take them from here.
Standard library only.
"""

from dataclasses import dataclass

__all__ = ["NUMBERS", "NumberFormats"]


@dataclass(frozen=True, kw_only=True)
class NumberFormats:
    """Widths in bits and binary-point positions; see ``docs/number-formats.md``."""

    act_bits: int = 8
    """Matrix-product inputs ``q, u, v``, in [-127, 127]."""
    act_max: int = 127
    scale_bits: int = 15
    """Unsigned requantisation multipliers ``m``."""
    scale_frac: int = 15
    residual_bits: int = 12
    residual_frac: int = 6
    prev_bits: int = 8
    """``x_prev``, in [-127, 127]."""
    prev_shift: int = 3
    """``x_prev = clip127(rshift(x, prev_shift))``."""
    tap_bits: int = 8
    tap_frac: int = 7
    norm_shift: int = 12
    """``m_eff = (m << norm_shift) // sum|q|``: a vector whose magnitudes add up to 4096 leaves
    ``m`` as it is."""
    index_bits: int = 8
    index_frac: int = 4
    gate_bits: int = 12
    """``SILU`` entries, the state ``h`` and the GLU's linear branch."""
    gate_frac: int = 8
    forget_bits: int = 12
    """``SIGMOID`` entries, unsigned, all fraction."""
    mix_shift: int = 11
    """``u = clip127(rshift(g * h, mix_shift))``: 32 counts per unit."""
    glu_shift: int = 12
    """``v = clip127(rshift(a * b, glu_shift))``: 16 counts per unit."""
    logit_bits: int = 16
    logit_frac: int = 6
    gumbel_bits: int = 12
    gumbel_frac: int = 8
    temperature_bits: int = 11
    temperature_frac: int = 8
    noise_shift: int = 10
    """``gumbel_frac + temperature_frac - logit_frac``."""
    adapt_bits: int = 8
    """Biases that are learnt while reading."""
    adapt_shift: int = 3
    """Logits have this many more fraction bits: a unit of a bias is an eighth of a nat."""
    rng_bits: int = 32
    rng_taps: tuple[int, ...] = (0, 1, 2, 3, 5, 7)
    rng_step: int = 8
    rng_zero_seed: int = 0x5EED5EED


NUMBERS = NumberFormats()
"""Formats of all models. They are no sizes of a device, but arithmetic that is trained for: another
width anywhere makes other logits, on every device, in reference, trainer and files alike. So they
are stated here once and not passed down. What depends on the sizes of a device, such as the width
of a sum, is a property of ``Device``."""
