"""Stages 4 to 6: sigmoid and SiLU, by tables of their positive halves."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from trilight.hw.contract.numbers import NUMBERS

from .stages import Stages

__all__ = ["add_activation"]


def add_activation(m: Module, stages: Stages, index: Signal, write: "wiring.PureInterface",
                   ) -> Signal:
    """Add the look-up of the index at stage 4; return its entry, at stage 6.

    ::

        stage     4          5           6
        index     < i >
        entry                < T[i] >
        result                           < f(i) >

    The halves for negative indices are mirror images: ``SIGMOID[~i] = ~SIGMOID[i]`` and
    ``SILU[~i] = SILU[i] - (16 i + 8)``, see ``docs/number-formats.md``.
    """
    n = NUMBERS
    m.submodules.activation = table = Memory(
        shape=signed(n.gate_bits), depth=1 << n.index_bits, init=[])
    read, table_write = table.read_port(), table.write_port()
    tag = stages.row[4]
    is_forget = stages.is_mix & (tag.phase == 0)
    half_index = index[:-1] ^ index[-1].replicate(n.index_bits - 1)
    m.d.comb += [
        read.addr.eq(Cat(half_index, ~is_forget)),
        read.en.eq(tag.valid & (stages.is_mix | stages.is_glu)),
        table_write.addr.eq(write.addr),
        table_write.data.eq(write.data),
        table_write.en.eq(write.en),
    ]
    mirrored = Signal(reset_less=True)
    was_forget = Signal(reset_less=True)
    was_index = Signal(n.index_bits - 1, reset_less=True)
    m.d.sync += [mirrored.eq(index[-1]), was_forget.eq(is_forget), was_index.eq(half_index)]
    flip = (mirrored & was_forget).replicate(n.gate_bits)
    step = n.gate_frac - n.index_frac  # of the linear function that the two halves differ by
    slope = Cat(Const(0, step - 1), Const(1, 1), was_index)
    less = Mux(mirrored & ~was_forget, slope, 0)
    looked_up = Signal(signed(n.gate_bits), reset_less=True)
    m.d.sync += looked_up.eq((read.data.as_unsigned() ^ flip) - less)
    return looked_up
