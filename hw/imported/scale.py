"""A row sum times its matrix' multiplier, shifted, rounded and saturated."""

from amaranth.hdl import Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.imported import FORMATS, ImportedFormats
from trilight.hw.lib.arith import saturate

__all__ = ["RowScale"]


class RowScale(wiring.Component):
    """``sat(rshift(sum * mantissa, shift), bits)``, to the left where the shift is negative.

    The latency is ``LATENCY`` cycles and the throughput one row per cycle.

    Parameters
    ----------
    bits : int
        Of the result. Where it is added to a number of ``n`` bits and clipped to as many, ``n + 2``
        are enough.
    formats : ImportedFormats

    Members
    -------
    sum : In(signed(acc_bits))
    mantissa : In(scale_bits)
    shift : In(signed(8))
        At least ``-max_left_shift``; beyond 62 the result is 0.
    result : Out(signed(bits))
    saturated : Out(1)
    """

    LATENCY = 4

    sum: Signal
    mantissa: Signal
    shift: Signal
    result: Signal
    saturated: Signal

    def __init__(self, *, bits: int, formats: ImportedFormats = FORMATS) -> None:
        self._bits = bits
        self._formats = formats
        super().__init__({"sum": In(signed(formats.acc_bits)), "mantissa": In(formats.scale_bits),
                          "shift": In(signed(8)), "result": Out(signed(bits)),
                          "saturated": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        formats = self._formats
        left = formats.max_left_shift
        product = Signal(signed(formats.acc_bits + formats.scale_bits), reset_less=True)
        right = Signal(range(left + 64), reset_less=True)
        m.d.sync += [
            product.eq(self.sum * self.mantissa),
            right.eq(self.shift + left),
        ]
        # A bit below the point, which rounds; left of it, as far as the shift may go.
        wide = Signal(signed(len(product) + left + 1))
        m.d.comb += wide.eq(product << left + 1)
        # A shift in two steps of a cycle: the coarse one, the fine one.
        coarse = Signal.like(wide, reset_less=True)
        fine_by = Signal(3, reset_less=True)
        fine = Signal.like(wide, reset_less=True)
        m.d.sync += [
            coarse.eq(wide >> (right & Const(~7 & (1 << len(right)) - 1, len(right)))),
            fine_by.eq(right[:3]),
            fine.eq(coarse >> fine_by),
        ]
        rounded = Signal(signed(len(wide)))
        m.d.comb += rounded.eq((fine + 1) >> 1)
        top = rounded[self._bits - 1:]
        m.d.sync += [
            self.result.eq(saturate(rounded, self._bits)),
            self.saturated.eq(top.any() & ~top.all()),
        ]
        return m
