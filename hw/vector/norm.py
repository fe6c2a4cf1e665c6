"""Activations as they leave: rounded, clipped, and their magnitudes summed for the L1 norm."""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.lib.arith import add_carry, clip_symmetric, round_add
from trilight.hw.lib.select import numbered

from .stages import Stages

__all__ = ["add_rounding", "add_sum"]


def add_rounding(m: Module, stages: Stages, tapped: Signal, product: Value) -> Signal:
    """Add the alignment, rounding and clipping of an activation; return it, two cycles later.

    It is the residual stream times its taps, or the product of a gate, by the kind of operation.
    """
    n = NUMBERS
    bits = len(product) + n.glu_shift - n.mix_shift
    aligned = Signal(signed(bits))
    with m.If(stages.enters_residual):
        m.d.comb += aligned.eq(Cat(Const(0, n.glu_shift - n.tap_frac), tapped).as_signed())
    with m.Elif(stages.is_mix):
        m.d.comb += aligned.eq(Cat(Const(0, n.glu_shift - n.mix_shift), product).as_signed())
    with m.Else():
        m.d.comb += aligned.eq(product)
    assert len(tapped) + n.glu_shift - n.tap_frac <= bits
    rounded = Signal(signed(bits - n.glu_shift + 1), reset_less=True)
    act = Signal(signed(n.act_bits), reset_less=True)
    m.d.sync += [
        rounded.eq(round_add(aligned, n.glu_shift, Const(0, 1), width=len(rounded))),
        act.eq(clip_symmetric(rounded, n.act_bits)),
    ]
    return act


def add_sum(m: Module, device: Device, stages: Stages, act: Signal, valid: Signal,
            done: Signal, load: Signal) -> Value:
    """Add ``~sum|q|`` of each sequence's last vector; return that of the context's sequence.

    It is summed downwards from ``~0``, as the division wants to add it.

    ::

        act, valid   < q0 >< q1 > ... < q_last >
        done         _________________/^^^^^^^^\\____________________
        sum          <  ~0 >< ~|q0| > ... ...... < ~sum >
        result                                           < ~sum >
    """
    n = NUMBERS
    not_total = Signal(device.norm_bits, init=-1)
    not_totals = numbered(Signal(device.norm_bits, name=f"not_total_{k}", reset_less=True)
                          for k in range(device.sequences))
    summed = Signal()
    m.d.sync += summed.eq(done & stages.enters_residual)
    with m.If(valid):
        negative = act[-1]
        m.d.sync += not_total.eq(add_carry(
            not_total.as_signed(),
            (act.as_unsigned() ^ (~negative).replicate(n.act_bits)).as_signed(),
            ~negative, width=device.norm_bits))
    with m.If(summed):
        m.d.sync += not_totals[stages.context.sequence].eq(not_total)
    with m.If(load):
        m.d.sync += not_total.eq(-1)
    return not_totals[stages.context.sequence]
