"""The vector unit: everything that happens to a row sum on its way to the next matrix."""

from itertools import pairwise

from amaranth.hdl import Array, Cat, Const, Module, Mux, ShapeLike, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.protocol import Op
from trilight.hw.engine.embedding import CHANNEL
from trilight.hw.engine.rows import ROW
from trilight.hw.engine.tables import ACT
from trilight.hw.lib.arith import Multiplier, add_carry, clip_symmetric, round_add, saturate

__all__ = ["LOGIT", "LOGIT_LATENCY", "TABLE_WRITE", "VectorUnit", "context_layout"]

LOGIT = data.StructLayout({"value": signed(NUMBERS.logit_bits), "last": 1})

LOGIT_LATENCY = 4
"""Cycles from a draw to its logit."""

MIX_ACT = 13
"""Stage of the gate row at which ``u`` leaves."""

GLU_ACT = 10
"""Stage of the linear branch's row at which ``v`` leaves."""

RESIDUAL_ACT = 9
"""Stage of a row at which ``q`` leaves; a channel of the embedding is at stage 3."""

TABLE_WRITE = data.StructLayout({"addr": 9, "data": 16})


def context_layout(device: Device) -> data.StructLayout:
    """What an operation's rows, or an embedding's channels, are for.

    ``again``: the operation before was the same one for another sequence. ``first``: it is the
    first of a token. ``fresh``: the state counts as zero, as it is the first token after a reset.
    ``mute``: nothing takes the results. ``act_short``: short words will look them up.
    """
    return data.StructLayout({
        "kind": Op,
        "embedding": 1,
        "sequence": (device.sequences - 1).bit_length(),
        "again": 1,
        "first": 1,
        "fresh": 1,
        "mute": 1,
        "act_short": 1,
    })


class VectorUnit(wiring.Component):
    """Requantisation, tables, MLGRU, GLU, residual, token shift and norm, a row per cycle.

    A row enters at stage 0. Stages 0 to 1 multiply by the matrix's scale, 2 adds (bias, residual
    or nothing), 3 saturates; at stage 4 the value is a logit, the new residual, the GLU's linear
    branch or a table index, and the tables answer at stage 6. What follows depends on the kind:

    MIX       f, c, g look up at stage 6 of their rows; h is there at 10 of c's, u at 13 of g's
    GLU       a looks up, b passes; v leaves at stage 10 of b's row
    RESIDUAL  x is written at stage 4; q, x times its taps, leaves at 9 with its magnitude summed
    HEAD      logits leave at stage 5, draws at 1

    Stage numbers count cycles after the row of the phase that they name. No stage ever waits.

    Members
    -------
    context : In(context_layout)
    load : In(1)
        Pulse in the first cycle of a new context, at least two before its first row or channel.
    scale : In(15), push_scale : In(1)
        Three for each operation, after ``load``, in the order of the interleaved matrices' rows.
        The second one of a RESIDUAL is the tap of x.
    rows : In(stream of ROW, always ready)
    channels : In(stream of CHANNEL, always ready)
        Embedding; enters as a new residual.
    head_bias_addr : Out(8), head_bias_read : Out(1), head_bias : In(16)
        Bias of a head row, one cycle after its address.
    acts : Out(stream of ACT, always ready)
    done : Out(1)
        The context's last act leaves, or would if it were not mute.
    not_total : Out(15)
        ``~sum|q|`` of the last vector of the sequence, two cycles after its last act.
    draw : Out(1)
        A head row is at stage 1: a logit comes ``LOGIT_LATENCY`` cycles later.
    logits : Out(stream of LOGIT, always ready)
    write_taps, write_forget_bias, write_activation : In(1)
        Write ``table`` to a parameter memory.
    table : In(TABLE_WRITE)
    """

    context: data.View
    load: Signal
    scale: Signal
    push_scale: Signal
    rows: stream.Interface
    channels: stream.Interface
    head_bias_addr: Signal
    head_bias_read: Signal
    head_bias: Signal
    acts: stream.Interface
    done: Signal
    not_total: Signal
    draw: Signal
    logits: stream.Interface
    write_taps: Signal
    write_forget_bias: Signal
    write_activation: Signal
    table: data.View

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__({
            "context": In(context_layout(device)),
            "load": In(1),
            "scale": In(NUMBERS.scale_bits),
            "push_scale": In(1),
            "rows": In(stream.Signature(ROW, always_ready=True)),
            "channels": In(stream.Signature(CHANNEL, always_ready=True)),
            "head_bias_addr": Out(8),
            "head_bias_read": Out(1),
            "head_bias": In(signed(NUMBERS.logit_bits)),
            "acts": Out(stream.Signature(ACT, always_ready=True)),
            "done": Out(1),
            "not_total": Out(NUMBERS.norm_bits),
            "draw": Out(1),
            "logits": Out(stream.Signature(LOGIT, always_ready=True)),
            "write_taps": In(1),
            "write_forget_bias": In(1),
            "write_activation": In(1),
            "table": In(TABLE_WRITE),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n = NUMBERS
        layer_bits = (self._device.max_channels - 1).bit_length()
        channel_bits = (self._device.max_columns - 1).bit_length()
        sequences = self._device.sequences
        context = self.context
        # Decoded into registers: the kind is known long before the first row that it applies to.
        is_mix = Signal()
        is_glu = Signal()
        is_head = Signal()
        is_residual = Signal()
        shifting = Signal()
        tapping = Signal()
        loaded = Signal()
        m.d.sync += [
            loaded.eq(self.load),
            is_mix.eq(context.kind == Op.MIX),
            is_glu.eq(context.kind == Op.GLU),
            is_head.eq(context.kind == Op.HEAD),
            is_residual.eq(~context.embedding & (
                (context.kind == Op.RESIDUAL) | (context.kind == Op.RESIDUAL_SHIFT))),
            tapping.eq((context.kind == Op.RESIDUAL) | (context.kind == Op.RESIDUAL_SHIFT)),
            shifting.eq(context.kind == Op.RESIDUAL_SHIFT),
        ]

        def memory(name: str, shape: ShapeLike, depth: int) -> Memory:
            m.submodules[name] = block = Memory(shape=shape, depth=depth, init=[])
            return block

        def counter(name: str, width: int, advance: Value, clear: Value) -> Signal:
            count = Signal(width, name=name)
            with m.If(advance):
                m.d.sync += count.eq(count + 1)
            with m.If(clear):
                m.d.sync += count.eq(0)
            return count

        def layer_counter(name: str, advance: Value, loads: Value, clear: Value,
                          base: Value) -> Signal:
            """Counts a layer's channels on from those of the layer before, for each sequence."""
            count = Signal(layer_bits, name=name)
            with m.If(advance):
                m.d.sync += count.eq(count + 1)
            with m.If(loads & context.again):
                m.d.sync += count.eq(base)
            with m.If(clear):
                m.d.sync += count.eq(0)
            return count

        # ---- Stage tags: which row of the interleaved matrices, and whether it is the last.
        tag = data.StructLayout({"valid": 1, "phase": 2, "last": 1})
        row = [Signal(tag, name=f"row_{k}") for k in range(MIX_ACT)]
        phase = Signal(2)
        end_of_phase = Mux(is_mix, phase == 2, ~is_glu | (phase == 1))
        with m.If(self.rows.valid):
            m.d.sync += phase.eq(Mux(end_of_phase | self.rows.payload.last, 0, phase + 1))
        m.d.comb += [
            row[0].valid.eq(self.rows.valid),
            row[0].phase.eq(phase),
            row[0].last.eq(self.rows.payload.last),
        ]
        for before, after in pairwise(row):
            m.d.sync += after.eq(before)

        # ---- 0..1: scale
        scale = [Signal(n.scale_bits, name=f"scale_{k}", reset_less=True) for k in range(3)]
        rotate = self.rows.valid & (is_mix | is_glu)
        with m.If(self.push_scale | rotate):
            m.d.sync += [
                scale[0].eq(scale[1]),
                scale[1].eq(Mux(rotate & is_glu, scale[0], scale[2])),
                scale[2].eq(Mux(rotate, scale[0], self.scale)),
            ]
        m.submodules.requant = requant = Multiplier(
            a_width=n.acc_bits, b_width=n.scale_bits + 1)
        m.d.comb += [
            # Sums of the blocks before the last pass too, and would keep all that follows busy.
            requant.a.eq(Mux(self.rows.valid, self.rows.payload.sum, 0)),
            requant.b.eq(Cat(scale[0], Const(0, 1)).as_signed()),
        ]

        # ---- 1: addresses of what stage 2 adds
        forget_bias = memory("forget_bias", signed(n.index_bits), self._device.max_channels)
        bias_read = forget_bias.read_port()
        bias_write = forget_bias.write_port()
        mix_loads = loaded & is_mix
        mix_clear = mix_loads & context.first
        mix_base = Signal(layer_bits)
        # The layer's channel, counted over layers; it stays until the gate row has passed.
        mix_channel = layer_counter(
            "mix_channel", row[3].valid & is_mix & (row[3].phase == 0),
            mix_loads, mix_clear, mix_base)
        with m.If(mix_clear):
            m.d.sync += mix_base.eq(0)
        with m.Elif(mix_loads & ~context.again):
            m.d.sync += mix_base.eq(mix_channel)
        m.d.comb += [
            bias_read.addr.eq(mix_channel),
            bias_read.en.eq(row[1].valid & is_mix),
            bias_write.addr.eq(self.table.addr),
            bias_write.data.eq(self.table.data),
            bias_write.en.eq(self.write_forget_bias),
        ]
        residual = memory("residual", signed(n.residual_bits), sequences << channel_bits)
        x_read = residual.read_port()
        x_write = residual.write_port()
        x_read_channel = counter(
            "x_read_channel", channel_bits, row[1].valid, row[1].valid & row[1].last)
        m.d.comb += [
            x_read.addr.eq(Cat(x_read_channel, context.sequence)),
            x_read.en.eq(row[1].valid & is_residual),
            self.head_bias_addr.eq(~x_read_channel),
            self.head_bias_read.eq(row[1].valid & is_head),
        ]

        # ---- 2: add; 3: saturate
        addend = Signal(signed(n.logit_bits))
        with m.If(is_mix & (row[2].phase == 0)):
            m.d.comb += addend.eq(bias_read.data)
        with m.Elif(is_residual):
            m.d.comb += addend.eq(x_read.data)
        with m.Elif(is_head):
            m.d.comb += addend.eq(self.head_bias)
        sum_bits = n.logit_bits + 1
        total = Signal(signed(sum_bits), reset_less=True)
        # A table's index is rounded down, because the entry is that of the middle of a step.
        looks_up = is_mix | (is_glu & (row[2].phase == 0))
        m.d.sync += total.eq(add_carry(
            requant.p[n.scale_frac:], addend, requant.p[n.scale_frac - 1] & ~looks_up,
            width=sum_bits))

        value = Signal(signed(n.logit_bits), reset_less=True)  # stage 4
        index = Signal(n.index_bits, reset_less=True)
        with m.If(self.channels.valid):
            m.d.sync += value.eq(self.channels.payload.value)
        with m.Elif(is_head):
            m.d.sync += value.eq(saturate(total, n.logit_bits))
        with m.Else():
            m.d.sync += value.eq(saturate(total, n.residual_bits))
        m.d.sync += index.eq(saturate(total, n.index_bits))

        # ---- HEAD leaves
        m.d.sync += [
            self.draw.eq(row[0].valid & is_head),
            self.logits.valid.eq(row[4].valid & is_head),
            self.logits.payload.value.eq(value),
            self.logits.payload.last.eq(row[4].last),
        ]

        # ---- 4: tables of the positive half, of which the negative one is a mirror image
        activation = memory("activation", signed(n.gate_bits), 1 << n.index_bits)
        table_read = activation.read_port()
        table_write = activation.write_port()
        is_forget = is_mix & (row[4].phase == 0)
        half_index = index[:-1] ^ index[-1].replicate(n.index_bits - 1)
        m.d.comb += [
            table_read.addr.eq(Cat(half_index, ~is_forget)),
            table_read.en.eq(row[4].valid & (is_mix | is_glu)),
            table_write.addr.eq(self.table.addr),
            table_write.data.eq(self.table.data),
            table_write.en.eq(self.write_activation),
        ]
        # SIGMOID[~i] = ~SIGMOID[i]; SILU[~i] = SILU[i] - (16 i + 8)
        mirrored = Signal(reset_less=True)
        was_forget = Signal(reset_less=True)
        was_index = Signal(n.index_bits - 1, reset_less=True)
        m.d.sync += [
            mirrored.eq(index[-1]), was_forget.eq(is_forget), was_index.eq(half_index)]
        flip = (mirrored & was_forget).replicate(n.gate_bits)
        step = n.gate_frac - n.index_frac  # of the linear function that the two halves differ by
        slope = Cat(Const(0, step - 1), Const(1, 1), was_index)
        less = Mux(mirrored & ~was_forget, slope, 0)
        looked_up = Signal(signed(n.gate_bits), reset_less=True)  # stage 6
        m.d.sync += looked_up.eq((table_read.data.as_unsigned() ^ flip) - less)

        # ---- MIX: h = c + rshift(f * (h - c), 12)
        state = memory("state", signed(n.gate_bits), sequences << layer_bits)
        h_read = state.read_port()
        h_write = state.write_port()
        m.d.comb += [
            h_read.addr.eq(Cat(mix_channel, context.sequence)),
            h_read.en.eq(row[3].valid & is_mix & (row[3].phase == 0)),
        ]
        forget = Signal(n.forget_bits, reset_less=True)  # from stage 7 of its row on
        candidate = Signal(signed(n.gate_bits), reset_less=True)
        gate = Signal(signed(n.gate_bits), reset_less=True)
        change = Signal(signed(n.gate_bits + 1), reset_less=True)
        # Held, because the next channel's read comes before this one's candidate.
        h_before = Signal(signed(n.gate_bits), reset_less=True)
        with m.If(row[4].valid & (row[4].phase == 0)):
            m.d.sync += h_before.eq(Mux(context.fresh, 0, h_read.data))
        with m.If(row[6].valid & (row[6].phase == 0)):
            m.d.sync += forget.eq(looked_up)
        with m.If(row[6].valid & (row[6].phase == 1)):
            m.d.sync += [candidate.eq(looked_up), change.eq(h_before - looked_up)]
        m.submodules.mix = mix = Multiplier(a_width=n.forget_bits + 1, b_width=n.gate_bits + 1)
        m.d.comb += [
            mix.a.eq(Cat(forget, Const(0, 1)).as_signed()),
            mix.b.eq(change),
        ]
        # The candidate's stage 7 holds it; its product is there at 9, h is registered at 10.
        h = Signal(signed(n.gate_bits), reset_less=True)
        m.d.sync += h.eq(round_add(mix.p, n.forget_bits, candidate, width=n.gate_bits))
        h_done = row[10].valid & is_mix & (row[10].phase == 1)
        h_write_channel = layer_counter(
            "h_write_channel", h_done, mix_loads, mix_clear, mix_base)
        m.d.comb += [
            h_write.addr.eq(Cat(h_write_channel, context.sequence)),
            h_write.data.eq(h),
            h_write.en.eq(h_done),
        ]

        # ---- RESIDUAL: write x, shift over tokens
        enter = data.StructLayout({"valid": 1, "last": 1})
        entering = Signal(enter)  # stage 3
        m.d.comb += [
            entering.valid.eq(self.channels.valid | (row[3].valid & is_residual)),
            entering.last.eq(Mux(self.channels.valid, self.channels.payload.last, row[3].last)),
        ]
        entered = [Signal(enter, name=f"channel_{k}") for k in range(4, RESIDUAL_ACT)]
        for before, after in pairwise([entering, *entered]):
            m.d.sync += after.eq(before)

        x_write_channel = counter(
            "x_write_channel", channel_bits,
            entered[0].valid, entered[0].valid & entered[0].last)
        m.d.comb += [
            x_write.addr.eq(Cat(x_write_channel, context.sequence)),
            x_write.data.eq(value),
            x_write.en.eq(entered[0].valid),
        ]
        taps = memory("taps", data.ArrayLayout(signed(n.tap_bits), 2), self._device.max_channels)
        taps_read = taps.read_port()
        taps_write = taps.write_port()
        previous = memory("previous", signed(n.prev_bits), sequences << layer_bits)
        previous_read = previous.read_port()
        previous_write = previous.write_port()
        # At stage 3, so that reads answer when x is there.
        shift_loads = loaded & shifting & ~context.embedding
        shift_base = Signal(layer_bits)
        shift_channel = layer_counter(
            "shift_channel", entering.valid & shifting, shift_loads,
            loaded & context.embedding, shift_base)
        with m.If(shift_loads & ~context.again):
            m.d.sync += shift_base.eq(shift_channel)
        shifted_channel = [shift_channel, *(
            Signal(layer_bits, name=f"shift_channel_{k}", reset_less=True) for k in (4, 5, 6))]
        for before, after in pairwise(shifted_channel):
            m.d.sync += after.eq(before)
        rounded_x = Signal(signed(n.residual_bits - n.prev_shift + 1), reset_less=True)  # stage 5
        remembered = Signal(signed(n.prev_bits), reset_less=True)  # stage 6
        m.d.sync += [
            rounded_x.eq(round_add(value, n.prev_shift, Const(0, 1), width=len(rounded_x))),
            remembered.eq(clip_symmetric(rounded_x, n.prev_bits)),
        ]
        m.d.comb += [
            taps_read.addr.eq(shift_channel),
            taps_read.en.eq(entering.valid & shifting),
            previous_read.addr.eq(Cat(shift_channel, context.sequence)),
            previous_read.en.eq(entering.valid & shifting),
            previous_write.addr.eq(Cat(shifted_channel[-1], context.sequence)),
            previous_write.data.eq(remembered),
            previous_write.en.eq(entered[2].valid & shifting),
            taps_write.addr.eq(self.table.addr),
            taps_write.data.eq(self.table.data),
            taps_write.en.eq(self.write_taps),
        ]
        m.submodules.tap_now = tap_now = Multiplier(a_width=n.residual_bits, b_width=n.tap_bits)
        m.submodules.tap_prev = tap_prev = Multiplier(a_width=n.prev_bits, b_width=n.tap_bits)
        norm_tap = scale[1][:n.tap_bits].as_signed()
        m.d.comb += [
            tap_now.a.eq(value),
            tap_now.b.eq(Mux(shifting, taps_read.data[0], norm_tap)),
            tap_prev.a.eq(previous_read.data),
            tap_prev.b.eq(Mux(shifting & ~context.fresh, taps_read.data[1], 0)),
        ]
        tapped = Signal(signed(n.residual_bits + n.tap_bits), reset_less=True)  # stage 7
        # With a carry, so that it does not look like a multiplier block's own adder: Yosys would
        # take one product's register both for that product and for the adder's operand, and
        # leave the operand undefined (seen with 0.70).
        m.d.sync += tapped.eq(add_carry(
            tap_now.p, Cat(Const(0, n.prev_shift), tap_prev.p).as_signed(), Const(0, 1),
            width=len(tapped)))

        # ---- One multiplier for g * h and a * b, which never coincide
        with m.If(row[6].valid & (row[6].phase == Mux(is_mix, 2, 0))):
            m.d.sync += gate.eq(looked_up)
        linear = [Signal(signed(n.gate_bits), name=f"linear_{k}", reset_less=True) for k in (5, 6)]
        m.d.sync += [linear[0].eq(value), linear[1].eq(linear[0])]
        m.submodules.product = product = Multiplier(a_width=n.gate_bits, b_width=n.gate_bits)
        m.d.comb += [product.a.eq(Mux(is_mix, h, linear[1])), product.b.eq(gate)]

        # ---- Acts: round, clip, sum magnitudes
        product_bits = len(product.p) + n.glu_shift - n.mix_shift
        aligned = Signal(signed(product_bits))
        with m.If(tapping):
            m.d.comb += aligned.eq(Cat(Const(0, n.glu_shift - n.tap_frac), tapped).as_signed())
        with m.Elif(is_mix):
            m.d.comb += aligned.eq(Cat(Const(0, n.glu_shift - n.mix_shift), product.p).as_signed())
        with m.Else():
            m.d.comb += aligned.eq(product.p)
        assert len(tapped) + n.glu_shift - n.tap_frac <= product_bits
        rounded = Signal(signed(product_bits - n.glu_shift + 1), reset_less=True)
        act = Signal(signed(n.act_bits), reset_less=True)
        m.d.sync += [
            rounded.eq(round_add(aligned, n.glu_shift, Const(0, 1), width=len(rounded))),
            act.eq(clip_symmetric(rounded, n.act_bits)),
        ]
        # Decided a stage early, so that what leaves comes straight from registers.
        mix_act = row[MIX_ACT - 1]
        glu_act = row[GLU_ACT - 1]
        residual_act = entered[-1]
        act_valid = Signal()
        leaves = (residual_act.valid
                  | (is_mix & mix_act.valid & (mix_act.phase == 2))
                  | (is_glu & glu_act.valid & (glu_act.phase == 1)))
        m.d.sync += [
            act_valid.eq(leaves & ~context.mute),
            self.done.eq(leaves & Mux(tapping, residual_act.last,
                                      Mux(is_mix, mix_act.last, glu_act.last))),
        ]
        m.d.comb += [
            self.acts.payload.value.eq(act),
            self.acts.payload.last.eq(self.done),
            self.acts.valid.eq(act_valid),
        ]

        # Summed downwards from ~0, which leaves ~sum|q|: what the division wants to add.
        not_total = Signal(n.norm_bits, init=-1)
        not_totals = Array(Signal(n.norm_bits, name=f"not_total_{k}", reset_less=True)
                           for k in range(sequences))
        summed = Signal()
        m.d.sync += summed.eq(self.done & tapping)
        m.d.comb += self.not_total.eq(not_totals[context.sequence])
        with m.If(act_valid):
            negative = act[-1]
            m.d.sync += not_total.eq(add_carry(
                not_total.as_signed(),
                (act.as_unsigned() ^ (~negative).replicate(n.act_bits)).as_signed(),
                ~negative, width=n.norm_bits))
        with m.If(summed):
            m.d.sync += not_totals[context.sequence].eq(not_total)
        with m.If(self.load):
            m.d.sync += not_total.eq(-1)

        # ---- Probes for simulation; registers seen elsewhere too, so they cost nothing.
        for name, valid, probe in (
            ("x", entered[0].valid, value[:n.residual_bits]),
            ("h", h_done, h),
            ("act", self.acts.valid, act),
            ("logit", self.logits.valid, self.logits.payload.value),
        ):
            trace_valid = Signal(name=f"trace_{name}_valid", attrs={"keep": 1})
            trace_value = Signal(len(probe), name=f"trace_{name}", attrs={"keep": 1})
            m.d.comb += [trace_valid.eq(valid), trace_value.eq(probe)]
        return m
