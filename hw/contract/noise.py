"""Noise of the sampler: how random bits become an entry of the table of Gumbel noise.

The maximum of V draws lies where a draw exceeds one in V, so a vocabulary of thousands needs a
table that is fine there; one of 256 quantiles ends at 6.2, and would decide among many tokens by
their number. Standard library only.
"""

from dataclasses import dataclass

__all__ = ["BYTE", "FINE", "NoiseFormat"]


@dataclass(frozen=True)
class NoiseFormat:
    """Random bits of a draw, and the table that they index.

    Parameters
    ----------
    draw_bits : int
        Bits of the generator that a draw uses up.
    mantissa_bits : int
        0: the bits are the index, quantile by quantile. Else the index is like a floating-point
        number: the count of zeros before the first one of the draw, then the bits behind that one.
        So each half of what is left of the distribution's tail has as many entries.
    value_bits : int
        Width of an entry, signed, with ``NUMBERS.gumbel_frac`` fraction bits.
    """

    draw_bits: int
    mantissa_bits: int
    value_bits: int

    @property
    def index_bits(self) -> int:
        """Width of an index."""
        if not self.mantissa_bits:
            return self.draw_bits
        return (self.draw_bits - 1).bit_length() + self.mantissa_bits

    @property
    def entries(self) -> int:
        """Depth of the table."""
        return 1 << self.index_bits

    def index(self, draw: int) -> int:
        """Index of a draw."""
        if not self.mantissa_bits:
            return draw
        draw = max(draw, 1)  # a draw of zeros counts as its neighbour
        length = draw.bit_length()
        behind = (draw << self.draw_bits >> length - 1) % (1 << self.draw_bits)
        return (self.draw_bits - length << self.mantissa_bits
                | behind >> self.draw_bits - self.mantissa_bits)


BYTE = NoiseFormat(draw_bits=8, mantissa_bits=0, value_bits=12)
"""256 quantiles, for vocabularies of up to 256 tokens."""

FINE = NoiseFormat(draw_bits=24, mantissa_bits=5, value_bits=14)
"""32 entries for each halving of the tail down to 2**-24, for larger vocabularies."""
