"""Stages 0 to 3: scale a row's sum, add what belongs to it, saturate."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.lib.arith import Multiplier, add_carry, saturate

from .stages import Stages

__all__ = ["add_requantisation", "add_scales"]


def add_scales(m: Module, stages: Stages, rows: "stream.Interface",
               context: "wiring.PureInterface") -> list[Signal]:
    """Add the scales of an operation; return the one of the row that comes, then the others.

    They rotate, as the rows of matrices do.
    """
    scale = [Signal(NUMBERS.scale_bits, name=f"scale_{k}", reset_less=True) for k in range(3)]
    rotate = rows.valid & (stages.is_mix | stages.is_glu)
    with m.If(context.push_scale | rotate):
        m.d.sync += [
            scale[0].eq(scale[1]),
            scale[1].eq(Mux(rotate & stages.is_glu, scale[0], scale[2])),
            scale[2].eq(Mux(rotate, scale[0], context.scale)),
        ]
    return scale


def add_requantisation(m: Module, stages: Stages, rows: "stream.Interface", scale: Signal, *,
                       forget_bias: Value, residual: Value, head_bias: Value,
                       channels: "stream.Interface") -> tuple[Signal, Signal]:
    """Add ``saturate(rshift(sum * scale, 15) + addend)``.

    ::

        stage     0       1         2         3        4
        sum       < S >
        product                     < S*m >
        addend                      < a >
        total                                 < t >
        value, index                                   < v >

    The addend is the bias of a forget row, the channel that a residual row is added to, or the bias
    of a head row, and else 0. An embedding's channel enters at stage 3 and becomes ``value``.

    Parameters
    ----------
    forget_bias : Value
        At stage 2 of the row.
    residual, head_bias : Value
        At the stage after ``Stages.addend`` of the row.

    Returns
    -------
    value : Signal(16)
        Logit, or value of the residual stream or the linear branch.
    index : Signal(8)
        Index into an activation table.
    """
    n = NUMBERS
    acc_bits = len(rows.payload.sum)
    m.submodules.requant = requant = Multiplier(a_width=acc_bits, b_width=n.scale_bits + 1)
    m.d.comb += [
        # Sums of the blocks before the last pass too, and would keep all that follows busy.
        requant.a.eq(Mux(rows.valid, rows.payload.sum, 0)),
        requant.b.eq(Cat(scale, Const(0, 1)).as_signed()),
    ]
    if stages.addend == 0:  # block RAM answers too late for an adder, and the next stage will do
        early = Signal(signed(n.logit_bits), reset_less=True)
        m.d.sync += early.eq(Mux(stages.is_head, head_bias.as_signed(), residual))
        residual = head_bias = early
    tag = stages.row[2]
    addend = Signal(signed(n.logit_bits))
    with m.If(stages.is_mix & (tag.phase == 0)):
        m.d.comb += addend.eq(forget_bias)
    with m.Elif(stages.is_residual):
        m.d.comb += addend.eq(residual)
    with m.Elif(stages.is_head):
        m.d.comb += addend.eq(head_bias)
    sum_bits = max(acc_bits, n.logit_bits) + 1
    total = Signal(signed(sum_bits), reset_less=True)
    # A table's index is rounded down, because the entry is that of the middle of a step.
    looks_up = stages.is_mix | (stages.is_glu & (tag.phase == 0))
    m.d.sync += total.eq(add_carry(
        requant.p[n.scale_frac:], addend, requant.p[n.scale_frac - 1] & ~looks_up,
        width=sum_bits))

    value = Signal(signed(n.logit_bits), reset_less=True)
    index = Signal(n.index_bits, reset_less=True)
    with m.If(channels.valid):
        m.d.sync += value.eq(channels.payload.value)
    with m.Elif(stages.is_head):
        m.d.sync += value.eq(saturate(total, n.logit_bits))
    with m.Else():
        m.d.sync += value.eq(saturate(total, n.residual_bits))
    m.d.sync += index.eq(saturate(total, n.index_bits))
    return value, index
