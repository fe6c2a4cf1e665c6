"""RESIDUAL: the residual stream ``x``, and its shift over tokens."""

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.lib.arith import Multiplier, add_carry, clip_symmetric, round_add

from .stages import Stages

__all__ = ["FIRST_STAGE", "Residual"]

TAG = data.StructLayout({"valid": 1, "last": 1})

FIRST_STAGE = 3
"""Stage at which a channel, of a row or of the embedding, enters."""


class Residual:
    """Residual stream of all sequences, added to a module.

    ::

        stage         1        2       3         4         5       6        7
        row           read x   < x >
        value                                    < v >
        write x                                  ^^^^^
        previous, taps                 read      < p, t >
        products                                                   < v*t >
        tapped                                                              < q >
        write previous                                             ^^^^^

    Parameters
    ----------
    m : Module
    device : Device
    stages : Stages
    channels : stream of CHANNEL
        Embedding, instead of rows.
    last_stage : int
        Stage up to which channels are tagged.

    Attributes
    ----------
    channel : Signal
        Channel of the row at stage ``Stages.addend``; of a head, the token.
    x : Value
        Channel of the row at the next stage, before.
    tags : list of {valid, last}
        Tags of the channels from ``FIRST_STAGE`` on.
    """

    def __init__(self, m: Module, device: Device, stages: Stages,
                 channels: "stream.Interface", last_stage: int) -> None:
        self._device = device
        self._stages = stages
        row = stages.row[stages.addend]
        m.submodules.residual = memory = Memory(
            shape=signed(NUMBERS.residual_bits), depth=device.sequences << stages.channel_bits,
            init=[])
        read, self._write = memory.read_port(), memory.write_port()
        # A vocabulary may be larger than any vector.
        bits = max(stages.channel_bits, device.token_bits)
        self.channel = stages.channel_counter(m, "x_read_channel", row.valid,
                                              row.valid & row.last, bits=bits)
        self.x = read.data
        m.d.comb += [
            read.addr.eq(Cat(self.channel[:stages.channel_bits], stages.context.sequence)),
            read.en.eq(row.valid & stages.is_residual),
        ]
        self.tags = [Signal(TAG, name=f"channel_{k}") for k in range(FIRST_STAGE, last_stage + 1)]
        entering, row = self.tags[0], stages.row[FIRST_STAGE]
        m.d.comb += [
            entering.valid.eq(channels.valid | (row.valid & stages.is_residual)),
            entering.last.eq(Mux(channels.valid, channels.payload.last, row.last)),
        ]
        for before, after in pairwise(self.tags):
            m.d.sync += after.eq(before)

    def tag(self, stage: int) -> Signal:
        """Return the tag of the channel in a stage."""
        return self.tags[stage - FIRST_STAGE]

    def add_write(self, m: Module, value: Signal) -> None:
        """Write ``value``, at stage 4, back to its channel."""
        tag = self.tag(4)
        channel = self._stages.channel_counter(m, "x_write_channel", tag.valid,
                                               tag.valid & tag.last)
        m.d.comb += [
            self._write.addr.eq(Cat(channel, self._stages.context.sequence)),
            self._write.data.eq(value),
            self._write.en.eq(tag.valid),
        ]

    def add_token_shift(self, m: Module, value: Signal, norm_tap: Value,
                        taps_write: "wiring.PureInterface") -> Signal:
        """Add ``tap_now * x + (tap_prev * x_prev << 3)``, or ``norm_tap * x``; return it, at
        stage 7.

        ``x_prev`` is the channel of the token before, rounded to 8 bits.
        """
        n, device, stages = NUMBERS, self._device, self._stages
        context = stages.context
        m.submodules.taps = taps = Memory(
            shape=data.ArrayLayout(signed(n.tap_bits), 2), depth=device.max_channels, init=[])
        taps_read, taps_port = taps.read_port(), taps.write_port()
        m.submodules.previous = previous = Memory(
            shape=signed(n.prev_bits), depth=device.sequences << stages.layer_bits, init=[])
        previous_read, previous_write = previous.read_port(), previous.write_port()

        # At stage 3, so that reads answer when x is there.
        entering = self.tag(3)
        loads = stages.loaded & stages.shifts & ~context.embedding
        base = Signal(stages.layer_bits, name="shift_base")
        channel = stages.layer_counter(
            m, "shift_channel", entering.valid & stages.shifts, loads,
            stages.loaded & context.embedding, base)
        with m.If(loads & ~context.replay):
            m.d.sync += base.eq(channel)
        channels = [channel, *(
            Signal(stages.layer_bits, name=f"shift_channel_{k}", reset_less=True)
            for k in (4, 5, 6))]
        for before, after in pairwise(channels):
            m.d.sync += after.eq(before)
        rounded_x = Signal(signed(n.residual_bits - n.prev_shift + 1), reset_less=True)  # stage 5
        remembered = Signal(signed(n.prev_bits), reset_less=True)  # stage 6
        m.d.sync += [
            rounded_x.eq(round_add(value, n.prev_shift, Const(0, 1), width=len(rounded_x))),
            remembered.eq(clip_symmetric(rounded_x, n.prev_bits)),
        ]
        m.d.comb += [
            taps_read.addr.eq(channel),
            taps_read.en.eq(entering.valid & stages.shifts),
            previous_read.addr.eq(Cat(channel, context.sequence)),
            previous_read.en.eq(entering.valid & stages.shifts),
            previous_write.addr.eq(Cat(channels[-1], context.sequence)),
            previous_write.data.eq(remembered),
            previous_write.en.eq(self.tag(6).valid & stages.shifts),
            taps_port.addr.eq(taps_write.addr),
            taps_port.data.eq(taps_write.data),
            taps_port.en.eq(taps_write.en),
        ]
        m.submodules.tap_now = tap_now = Multiplier(a_width=n.residual_bits, b_width=n.tap_bits)
        m.submodules.tap_prev = tap_prev = Multiplier(a_width=n.prev_bits, b_width=n.tap_bits)
        m.d.comb += [
            tap_now.a.eq(value),
            tap_now.b.eq(Mux(stages.shifts, taps_read.data[0], norm_tap)),
            tap_prev.a.eq(previous_read.data),
            tap_prev.b.eq(Mux(stages.shifts & ~context.zero_state, taps_read.data[1], 0)),
        ]
        tapped = Signal(signed(n.residual_bits + n.tap_bits), reset_less=True)
        # With a carry, so that it does not look like a multiplier block's own adder: Yosys would
        # take one product's register both for that product and for the adder's operand, and
        # leave the operand undefined (seen with 0.70).
        m.d.sync += tapped.eq(add_carry(
            tap_now.p, Cat(Const(0, n.prev_shift), tap_prev.p).as_signed(), Const(0, 1),
            width=len(tapped)))
        return tapped
