"""Sigmoid by a table and a straight line between its entries."""

import math
from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.imported import FORMATS, ImportedFormats

__all__ = ["Sigmoid", "sigmoid_tail"]


def sigmoid_tail(formats: ImportedFormats) -> list[int]:
    """Entries of the table: ``round(2**n sigmoid(-k / 2**s))``, and 0 after the last."""
    steps, scale = 1 << formats.table_steps, 1 << formats.sigmoid_bits
    entries = [round(scale / (1 + math.exp(k / steps))) for k in range(formats.table_entries)]
    return [*entries, 0]


class Sigmoid(wiring.Component):
    """``SIGMOID`` of pre-activations.

    The latency is ``LATENCY`` cycles and the throughput one value per cycle. An entry of the table
    lies beside its distance from the next one, so that one read serves both.

    Parameters
    ----------
    formats : ImportedFormats

    Members
    -------
    z : In(signed(z_bits))
    sigmoid : Out(sigmoid_bits + 1)
        In [0, 2**sigmoid_bits].
    """

    LATENCY = 5

    z: Signal
    sigmoid: Signal

    def __init__(self, formats: ImportedFormats = FORMATS) -> None:
        self._formats = formats
        super().__init__({"z": In(signed(formats.z_bits)),
                          "sigmoid": Out(formats.sigmoid_bits + 1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        formats = self._formats
        tail = sigmoid_tail(formats)
        falls = [low - high for low, high in pairwise(tail)]
        fall_bits = max(falls).bit_length()
        inside = formats.z_frac - formats.table_steps
        index_bits = (formats.table_entries - 1).bit_length()
        m.submodules.table = table = memory.Memory(
            shape=formats.sigmoid_bits + fall_bits, depth=formats.table_entries,
            init=[low | fall << formats.sigmoid_bits
                  for low, fall in zip(tail, falls, strict=False)])
        read = table.read_port()

        magnitude = Signal(formats.z_bits, reset_less=True)
        negative = Signal(4, reset_less=True)
        beyond = Signal(3, reset_less=True)
        between = Signal(inside, reset_less=True)
        m.d.sync += [
            magnitude.eq(Mux(self.z[-1], -self.z, self.z)),
            negative.eq(Cat(self.z[-1], negative)),
            between.eq(magnitude[:inside]),
            beyond.eq(Cat(magnitude[inside + index_bits:].any(), beyond)),
        ]
        m.d.comb += read.addr.eq(magnitude[inside:inside + index_bits])

        low = Signal(formats.sigmoid_bits, reset_less=True)
        product = Signal(fall_bits + inside, reset_less=True)
        m.d.sync += [
            low.eq(read.data[:formats.sigmoid_bits]),
            product.eq(read.data[formats.sigmoid_bits:] * between),
        ]
        # Halves of the product, which goes down, are rounded to the side of the entry.
        half = (1 << inside - 1) - 1
        fallen = Signal(fall_bits, reset_less=True)
        low_later = Signal.like(low)
        m.d.sync += [fallen.eq((product + half) >> inside), low_later.eq(low)]
        value = Signal(formats.sigmoid_bits)
        m.d.comb += value.eq(Mux(beyond[2], 0, low_later - fallen))
        m.d.sync += self.sigmoid.eq(Mux(negative[3], value, (1 << formats.sigmoid_bits) - value))
        return m
