"""MIX: the recurrent state of the MLGRU, ``h = c + rshift(f * (h - c), 12)``."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.lib.arith import Multiplier, round_add
from trilight.hw.lib.ram import early_attributes

from .stages import Stages

__all__ = ["MixChannels", "add_forget_bias", "add_mix_channels", "add_state"]


@dataclass(frozen=True)
class MixChannels:
    """Channels of the rows under way, counted over all layers.

    ``read`` stays until the channel's gate row has passed stage 3.
    """

    read: Signal
    base: Signal
    loads: Signal
    clear: Signal


def add_mix_channels(m: Module, stages: Stages) -> MixChannels:
    """Add the counter of a MIX operation's channels."""
    loads, clear = Signal(name="mix_loads"), Signal(name="mix_clear")
    m.d.comb += [
        loads.eq(stages.loaded & stages.is_mix),
        clear.eq(loads & stages.context.first),
    ]
    base = Signal(stages.layer_bits, name="mix_base")
    tag = stages.row[3]
    channel = stages.layer_counter(
        m, "mix_channel", tag.valid & stages.is_mix & (tag.phase == 0), loads, clear, base)
    with m.If(clear):
        m.d.sync += base.eq(0)
    with m.Elif(loads & ~stages.context.replay):
        m.d.sync += base.eq(channel)
    return MixChannels(channel, base, loads, clear)


def add_forget_bias(m: Module, device: Device, stages: Stages, channels: MixChannels,
                    write: "wiring.PureInterface") -> Signal:
    """Add the biases of the forget gates; return that of the row at stage 2."""
    m.submodules.forget_bias = memory = Memory(
        shape=signed(NUMBERS.index_bits), depth=device.max_channels, init=[],
        attrs=early_attributes(device))
    bias, bias_write = memory.read_port(), memory.write_port()
    m.d.comb += [
        bias.addr.eq(channels.read),
        bias.en.eq(stages.row[1].valid & stages.is_mix),
        bias_write.addr.eq(write.addr),
        bias_write.data.eq(write.data),
        bias_write.en.eq(write.en),
    ]
    return bias.data


def add_state(m: Module, device: Device, stages: Stages, channels: MixChannels,
              looked_up: Signal) -> tuple[Signal, Signal]:
    """Add the state of all sequences and layers; return ``h`` and the pulse with which it is ready.

    A channel's rows come one after the other, or later: forget (f), candidate (c), gate.

    ::

        stage of the candidate row  3     4     5     6       7         8     9       10
        forget (f)                                    held from stage 7 of its row on
        candidate (c), h - c                          < c >   < c, d >
        product                                                               < f*d >
        h                                                                             < h >
        write                                                                         ^^^^^
    """
    n = NUMBERS
    row, context = stages.row, stages.context
    m.submodules.state = state = Memory(
        shape=signed(n.gate_bits), depth=device.sequences << stages.layer_bits, init=[])
    h_read, h_write = state.read_port(), state.write_port()
    m.d.comb += [
        h_read.addr.eq(Cat(channels.read, context.sequence)),
        h_read.en.eq(row[3].valid & stages.is_mix & (row[3].phase == 0)),
    ]
    forget = Signal(n.forget_bits, reset_less=True)
    candidate = Signal(signed(n.gate_bits), reset_less=True)
    change = Signal(signed(n.gate_bits + 1), reset_less=True)
    # Held, because the next channel's read comes before this one's candidate.
    h_before = Signal(signed(n.gate_bits), reset_less=True)
    with m.If(row[4].valid & (row[4].phase == 0)):
        m.d.sync += h_before.eq(Mux(context.zero_state, 0, h_read.data))
    with m.If(row[6].valid & (row[6].phase == 0)):
        m.d.sync += forget.eq(looked_up)
    with m.If(row[6].valid & (row[6].phase == 1)):
        m.d.sync += [candidate.eq(looked_up), change.eq(h_before - looked_up)]
    m.submodules.mix = mix = Multiplier(a_width=n.forget_bits + 1, b_width=n.gate_bits + 1)
    m.d.comb += [
        mix.a.eq(Cat(forget, Const(0, 1)).as_signed()),
        mix.b.eq(change),
    ]
    h = Signal(signed(n.gate_bits), reset_less=True)
    m.d.sync += h.eq(round_add(mix.p, n.forget_bits, candidate, width=n.gate_bits))
    h_ready = Signal()
    m.d.comb += h_ready.eq(row[10].valid & stages.is_mix & (row[10].phase == 1))
    channel = stages.layer_counter(
        m, "h_write_channel", h_ready, channels.loads, channels.clear, channels.base)
    m.d.comb += [
        h_write.addr.eq(Cat(channel, context.sequence)),
        h_write.data.eq(h),
        h_write.en.eq(h_ready),
    ]
    return h, h_ready
