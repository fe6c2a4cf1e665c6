"""Codes of an operation's activations, from their magnitudes and the reciprocal of the largest."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.imported import FORMATS, ImportedFormats

__all__ = ["Code"]


class Code(wiring.Component):
    """``sign(y) * min(rshift((|y| >> down) * reciprocal, n), 127)``.

    The latency is ``LATENCY`` cycles and the throughput one value per cycle.

    Parameters
    ----------
    bits : int
        Of ``y``.
    formats : ImportedFormats

    Members
    -------
    y : In(signed(bits))
    down : In(signed(7))
        To the left where it is negative. The shifted magnitude fits ``y_bits``.
    reciprocal : In(reciprocal_bits + 1)
        Of the largest magnitude, rounded up; ``2**reciprocal_bits`` is the largest.
    code : Out(signed(8))
        In [-127, 127].
    """

    LATENCY = 4

    y: Signal
    down: Signal
    reciprocal: Signal
    code: Signal

    def __init__(self, *, bits: int, formats: ImportedFormats = FORMATS) -> None:
        self._bits = bits
        self._formats = formats
        super().__init__({"y": In(signed(bits)), "down": In(signed(7)),
                          "reciprocal": In(formats.reciprocal_bits + 1),
                          "code": Out(signed(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        formats = self._formats
        shift = formats.reciprocal_shift
        magnitude = Signal(self._bits, reset_less=True)
        down = Signal(signed(7), reset_less=True)
        negative = Signal(3, reset_less=True)
        m.d.sync += [
            magnitude.eq(Mux(self.y[-1], -self.y, self.y)),
            down.eq(self.down),
            negative.eq(negative << 1 | self.y[-1]),
        ]
        small = Signal(formats.y_bits, reset_less=True)
        left = Signal(range(formats.y_bits))
        m.d.comb += left.eq(-down)
        m.d.sync += small.eq(Mux(down[-1], magnitude[:formats.y_bits] << left,
                                 magnitude >> down[:6]))
        product = Signal(formats.y_bits + formats.reciprocal_bits + 1, reset_less=True)
        m.d.sync += product.eq(small * self.reciprocal)
        rounded = Signal(8)
        m.d.comb += rounded.eq((product + (1 << shift - 1)) >> shift)
        code = Signal(7)
        m.d.comb += code.eq(Mux(rounded[-1], formats.act_max, rounded))
        m.d.sync += self.code.eq(Mux(negative[2], -code, code))
        return m
