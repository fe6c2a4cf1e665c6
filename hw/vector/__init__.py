"""The vector unit: everything that happens to a row sum on its way to the next matrix."""

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, ShapeLike, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arith import Multiplier, add_carry, clip_symmetric, round_add, saturate
from ..config import NUMBERS, DeviceConfig
from ..engine import ACT, CHANNEL, ROW
from ..protocol import Op
from .norm import Reciprocal

__all__ = ["LOGIT", "LOGIT_LATENCY", "TABLE_WRITE", "VectorUnit"]

LOGIT = data.StructLayout({"value": signed(NUMBERS.logit_bits), "last": 1})

LOGIT_LATENCY = 4
"""Cycles from a head row to its logit."""

MIX_ACT = 12
"""Stage of the gate row at which ``u`` leaves."""

GLU_ACT = 9
"""Stage of the linear branch's row at which ``v`` leaves."""

NORM_ACT = 5
"""Cycles from the address of a channel in the norm's second pass to its ``q``."""

TABLE_WRITE = data.StructLayout({"addr": 9, "data": 16})


class VectorUnit(wiring.Component):
    """Requantisation, tables, MLGRU, GLU, residual, token shift and norm, a row per cycle.

    A row enters at stage 0. Stages 0 to 1 multiply by the matrix's scale, 2 adds (bias, residual
    or nothing), 3 saturates; at stage 4 the value is a logit, the new residual, the GLU's linear
    branch or a table index, and the tables answer at stage 5. What follows depends on ``kind``:

    MIX       f, c, g look up at stage 5 of their rows; h leaves at 9 of c's, u at 12 of g's
    GLU       a looks up, b passes; v leaves at stage 9 of b's row
    RESIDUAL  x is written at stage 4, y = taps of x at 8 with its magnitude summed; after the last
              row the reciprocal is divided out and a second pass writes q, a channel per cycle
    HEAD      logits leave at stage 4

    Stage numbers count cycles after the row of the phase that they name. No stage ever waits.

    Members
    -------
    kind : In(Op)
    scales : In(3 x 15 bits)
        Loaded by ``load_scales``; rows of interleaved matrices use them in turn.
    load_scales : In(1)
    restart : In(1)
        Pulse before a token: layer counters to zero.
    fresh : In(1)
        The state counts as zero: first token after a reset.
    norm_scale : In(13)
    rows : In(stream of ROW, always ready)
    channels : In(stream of CHANNEL, always ready)
        Embedding; enters as a new residual.
    head_bias_addr : Out(8), head_bias_read : Out(1), head_bias : In(16)
        Bias of a head row, one cycle after its address.
    acts : Out(stream of ACT, always ready)
    draw : Out(1)
        A head row is at stage 0: a logit comes ``LOGIT_LATENCY`` cycles later.
    logits : Out(stream of LOGIT, always ready)
    write_taps, write_forget_bias, write_activation : In(1)
        Write ``table`` to a parameter memory.
    table : In(TABLE_WRITE)
    """

    kind: Signal
    scales: data.View
    load_scales: Signal
    restart: Signal
    fresh: Signal
    norm_scale: Signal
    rows: stream.Interface
    channels: stream.Interface
    head_bias_addr: Signal
    head_bias_read: Signal
    head_bias: Signal
    acts: stream.Interface
    draw: Signal
    logits: stream.Interface
    write_taps: Signal
    write_forget_bias: Signal
    write_activation: Signal
    table: data.View

    def __init__(self, *, device: DeviceConfig) -> None:
        self._device = device
        super().__init__({
            "kind": In(Op),
            "scales": In(data.ArrayLayout(unsigned(NUMBERS.scale_bits), 3)),
            "load_scales": In(1),
            "restart": In(1),
            "fresh": In(1),
            "norm_scale": In(NUMBERS.norm_scale_bits),
            "rows": In(stream.Signature(ROW, always_ready=True)),
            "channels": In(stream.Signature(CHANNEL, always_ready=True)),
            "head_bias_addr": Out(8),
            "head_bias_read": Out(1),
            "head_bias": In(signed(NUMBERS.logit_bits)),
            "acts": Out(stream.Signature(ACT, always_ready=True)),
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
        state_bits = (self._device.max_channels - 1).bit_length()
        channel_bits = (self._device.max_columns - 1).bit_length()
        # Decoded into registers: the kind is known long before the first row that it applies to.
        is_mix = Signal()
        is_glu = Signal()
        is_head = Signal()
        is_residual = Signal()
        is_shift = Signal()
        m.d.sync += [
            is_mix.eq(self.kind == Op.MIX),
            is_glu.eq(self.kind == Op.GLU),
            is_head.eq(self.kind == Op.HEAD),
            is_residual.eq((self.kind == Op.RESIDUAL) | (self.kind == Op.RESIDUAL_SHIFT)),
            is_shift.eq(self.kind == Op.RESIDUAL_SHIFT),
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
        with m.If(self.load_scales):
            m.d.sync += [s.eq(self.scales[k]) for k, s in enumerate(scale)]
        with m.Elif(self.rows.valid & (is_mix | is_glu)):
            m.d.sync += [
                scale[0].eq(scale[1]),
                scale[1].eq(Mux(is_mix, scale[2], scale[0])),
                scale[2].eq(scale[0]),
            ]
        m.submodules.requant = requant = Multiplier(
            a_width=n.acc_bits, b_width=n.scale_bits + 1)
        m.d.comb += [
            requant.a.eq(self.rows.payload.sum),
            requant.b.eq(Cat(scale[0], Const(0, 1)).as_signed()),
        ]

        # ---- 1: addresses of what stage 2 adds
        forget_bias = memory("forget_bias", signed(n.index_bits), self._device.max_channels)
        bias_read = forget_bias.read_port()
        bias_write = forget_bias.write_port()
        # The layer's channel, counted over layers; it stays until the gate row has passed.
        mix_channel = counter(
            "mix_channel", state_bits,
            row[3].valid & is_mix & (row[3].phase == 0), self.restart)
        m.d.comb += [
            bias_read.addr.eq(mix_channel),
            bias_read.en.eq(row[1].valid & is_mix),
            bias_write.addr.eq(self.table.addr),
            bias_write.data.eq(self.table.data),
            bias_write.en.eq(self.write_forget_bias),
        ]
        residual = memory("residual", signed(n.residual_bits), 1 << channel_bits)
        x_read = residual.read_port()
        x_write = residual.write_port()
        x_read_channel = counter(
            "x_read_channel", channel_bits, row[1].valid, row[1].valid & row[1].last)
        m.d.comb += [
            x_read.addr.eq(x_read_channel),
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
        m.d.sync += total.eq(round_add(requant.p, n.scale_frac, addend, width=sum_bits))

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
        m.d.comb += [
            self.draw.eq(row[0].valid & is_head),
            self.logits.valid.eq(row[4].valid & is_head),
            self.logits.payload.value.eq(value),
            self.logits.payload.last.eq(row[4].last),
        ]

        # ---- 4: tables, indexed by int8 with -128 first: the sign bit inverted
        activation = memory("activation", signed(n.gate_bits), 2 << n.index_bits)
        table_read = activation.read_port()
        table_write = activation.write_port()
        is_forget = is_mix & (row[4].phase == 0)
        m.d.comb += [
            table_read.addr.eq(Cat(index[:-1], ~index[-1], ~is_forget)),
            table_read.en.eq(row[4].valid & (is_mix | is_glu)),
            table_write.addr.eq(self.table.addr),
            table_write.data.eq(self.table.data),
            table_write.en.eq(self.write_activation),
        ]
        looked_up = table_read.data

        # ---- MIX: h = c + rshift(f * (h - c), 12)
        state = memory("state", signed(n.gate_bits), self._device.max_channels)
        h_read = state.read_port()
        h_write = state.write_port()
        m.d.comb += [
            h_read.addr.eq(mix_channel),
            h_read.en.eq(row[3].valid & is_mix & (row[3].phase == 0)),
        ]
        forget = Signal(n.forget_bits, reset_less=True)  # from stage 6 of its row on
        candidate = Signal(signed(n.gate_bits), reset_less=True)
        gate = Signal(signed(n.gate_bits), reset_less=True)
        change = Signal(signed(n.gate_bits + 1), reset_less=True)
        # Held, because the next channel's read comes before this one's candidate.
        h_before = Signal(signed(n.gate_bits), reset_less=True)
        with m.If(row[4].valid & (row[4].phase == 0)):
            m.d.sync += h_before.eq(Mux(self.fresh, 0, h_read.data))
        with m.If(row[5].valid & (row[5].phase == 0)):
            m.d.sync += forget.eq(looked_up)
        with m.If(row[5].valid & (row[5].phase == 1)):
            m.d.sync += [candidate.eq(looked_up), change.eq(h_before - looked_up)]
        m.submodules.mix = mix = Multiplier(a_width=n.forget_bits + 1, b_width=n.gate_bits + 1)
        m.d.comb += [
            mix.a.eq(Cat(forget, Const(0, 1)).as_signed()),
            mix.b.eq(change),
        ]
        # The candidate's stage 6 holds it; its product is there at 8, h is registered at 9.
        h = Signal(signed(n.gate_bits), reset_less=True)
        m.d.sync += h.eq(round_add(mix.p, n.forget_bits, candidate, width=n.gate_bits))
        h_done = row[9].valid & is_mix & (row[9].phase == 1)
        h_write_channel = counter("h_write_channel", state_bits, h_done, self.restart)
        m.d.comb += [
            h_write.addr.eq(h_write_channel),
            h_write.data.eq(h),
            h_write.en.eq(h_done),
        ]

        # ---- RESIDUAL: write x, shift over tokens, sum magnitudes
        enter = data.StructLayout({"valid": 1, "last": 1})
        entered = [Signal(enter, name=f"channel_{k}") for k in range(4, 9)]  # stage 4 ... 8
        m.d.sync += [
            entered[0].valid.eq(self.channels.valid | (row[3].valid & is_residual)),
            entered[0].last.eq(Mux(self.channels.valid, self.channels.payload.last, row[3].last)),
        ]
        for before, after in pairwise(entered):
            m.d.sync += after.eq(before)
        embedding = Signal()
        with m.If(self.restart):
            m.d.sync += embedding.eq(1)
        with m.If(entered[-1].valid & entered[-1].last):
            m.d.sync += embedding.eq(0)
        shifting = embedding | is_shift

        x_write_channel = counter(
            "x_write_channel", channel_bits,
            entered[0].valid, entered[0].valid & entered[0].last)
        m.d.comb += [
            x_write.addr.eq(x_write_channel),
            x_write.data.eq(value),
            x_write.en.eq(entered[0].valid),
        ]
        taps = memory("taps", data.ArrayLayout(signed(n.tap_bits), 2), self._device.max_channels)
        taps_read = taps.read_port()
        taps_write = taps.write_port()
        previous = memory("previous", signed(n.residual_bits), self._device.max_channels)
        previous_read = previous.read_port()
        previous_write = previous.write_port()
        # One ahead of stage 4: reads must answer when x is there, so they take the next channel.
        shift_channel = Signal(state_bits)
        next_channel = Signal(state_bits)
        m.d.comb += next_channel.eq(shift_channel + (entered[0].valid & shifting))
        m.d.sync += shift_channel.eq(Mux(self.restart, 0, next_channel))
        m.d.comb += [
            taps_read.addr.eq(next_channel),
            previous_read.addr.eq(next_channel),
            previous_write.addr.eq(shift_channel),
            previous_write.data.eq(value),
            previous_write.en.eq(entered[0].valid & shifting),
            taps_write.addr.eq(self.table.addr),
            taps_write.data.eq(self.table.data),
            taps_write.en.eq(self.write_taps),
        ]
        m.submodules.tap_now = tap_now = Multiplier(a_width=n.residual_bits, b_width=n.tap_bits)
        m.submodules.tap_prev = tap_prev = Multiplier(a_width=n.residual_bits, b_width=n.tap_bits)
        m.d.comb += [
            tap_now.a.eq(value),
            tap_now.b.eq(Mux(shifting, taps_read.data[0], 1 << n.tap_frac)),
            tap_prev.a.eq(previous_read.data),
            tap_prev.b.eq(Mux(shifting & ~self.fresh, taps_read.data[1], 0)),
        ]
        tapped = Signal(signed(n.residual_bits + n.tap_bits + 1), reset_less=True)  # stage 7
        # With a carry, so that it does not look like a multiplier block's own adder: Yosys would
        # take one product's register both for that product and for the adder's operand, and
        # leave the operand undefined (seen with 0.70).
        m.d.sync += tapped.eq(add_carry(
            tap_now.p, tap_prev.p, Const(0, 1), width=len(tapped)))
        y = Signal(signed(n.residual_bits), reset_less=True)  # stage 8
        rounded = round_add(tapped, n.tap_frac, Const(0, 1), width=len(tapped) - n.tap_frac + 1)
        m.d.sync += y.eq(saturate(rounded, n.residual_bits))

        normed = memory("normed", signed(n.residual_bits), 1 << channel_bits)
        y_read = normed.read_port()
        y_write = normed.write_port()
        y_done = entered[-1].valid
        y_last = y_done & entered[-1].last
        y_channel = counter("y_channel", channel_bits, y_done, y_last)
        m.d.comb += [y_write.addr.eq(y_channel), y_write.data.eq(y), y_write.en.eq(y_done)]
        # Summed downwards from ~0, which leaves ~sum|y|: what the division wants to add.
        not_total = Signal(n.norm_sum_bits, init=-1)
        summed = Signal()
        m.d.sync += summed.eq(y_last)
        with m.If(y_done):
            negative = y[-1]
            m.d.sync += not_total.eq(add_carry(
                not_total, y.as_unsigned() ^ (~negative).replicate(n.residual_bits), ~negative,
                width=n.norm_sum_bits))

        # ---- Norm: divide, then a second pass over y
        m.submodules.reciprocal = reciprocal = Reciprocal()
        m.d.comb += [
            reciprocal.start.eq(summed),
            reciprocal.scale.eq(self.norm_scale),
            reciprocal.not_total.eq(not_total),
        ]
        last_channel = Signal(channel_bits, reset_less=True)
        with m.If(y_last):
            m.d.sync += last_channel.eq(y_channel)
        norm_channel = Signal(channel_bits)
        norming = Signal()
        norm_end = norming & (norm_channel == last_channel)
        with m.If(reciprocal.done):
            m.d.sync += [norming.eq(1), not_total.eq(-1)]
        with m.If(norming):
            m.d.sync += norm_channel.eq(norm_channel + 1)
        with m.If(norm_end):
            m.d.sync += [norming.eq(0), norm_channel.eq(0)]
        m.d.comb += [y_read.addr.eq(norm_channel), y_read.en.eq(norming)]
        # Stage 1: y is read; 3: product
        normed_tag = [Signal(enter, name=f"norm_{k}") for k in range(NORM_ACT)]
        m.d.comb += [normed_tag[0].valid.eq(norming), normed_tag[0].last.eq(norm_end)]
        for before, after in pairwise(normed_tag):
            m.d.sync += after.eq(before)

        # ---- One multiplier for g * h, a * b and y * r, which never coincide
        with m.If(row[5].valid & (row[5].phase == Mux(is_mix, 2, 0))):
            m.d.sync += gate.eq(looked_up)
        linear = Signal(signed(n.gate_bits), reset_less=True)
        m.d.sync += linear.eq(value)
        m.submodules.product = product = Multiplier(
            a_width=n.gate_bits, b_width=n.scale_bits + 1)
        norm_product = normed_tag[1].valid
        m.d.comb += [
            product.a.eq(Mux(norm_product, y_read.data, Mux(is_mix, h, linear))),
            product.b.eq(Mux(norm_product, Cat(reciprocal.r, Const(0, 1)).as_signed(), gate)),
        ]
        # |y| <= sum|y|, so y * r stays below norm_scale * 2**10 and may be shifted left.
        product_bits = len(product.p)
        aligned = Signal(signed(product_bits))
        with m.If(normed_tag[3].valid):
            m.d.comb += aligned.eq(Cat(Const(0, n.glu_shift - n.norm_frac), product.p).as_signed())
        with m.Elif(is_mix):
            m.d.comb += aligned.eq(Cat(Const(0, n.glu_shift - n.mix_shift), product.p).as_signed())
        with m.Else():
            m.d.comb += aligned.eq(product.p)
        rounded_product = Signal(signed(product_bits - n.glu_shift + 1), reset_less=True)
        act = Signal(signed(n.act_bits), reset_less=True)
        m.d.sync += [
            rounded_product.eq(round_add(
                aligned, n.glu_shift, Const(0, 1), width=len(rounded_product))),
            act.eq(clip_symmetric(rounded_product, n.act_bits)),
        ]
        # Decided a stage early, so that what leaves comes straight from registers.
        mix_act = row[MIX_ACT - 1]
        glu_act = row[GLU_ACT - 1]
        norm_act = normed_tag[NORM_ACT - 1]
        act_valid = Signal()
        act_last = Signal(reset_less=True)
        m.d.sync += [
            act_valid.eq(
                norm_act.valid
                | (is_mix & mix_act.valid & (mix_act.phase == 2))
                | (is_glu & glu_act.valid & (glu_act.phase == 1))),
            act_last.eq(Mux(norm_act.valid, norm_act.last,
                            Mux(is_mix, mix_act.last, glu_act.last))),
        ]
        m.d.comb += [
            self.acts.payload.value.eq(act),
            self.acts.payload.last.eq(act_last),
            self.acts.valid.eq(act_valid),
        ]

        # ---- Probes for simulation; registers seen elsewhere too, so they cost nothing.
        for name, valid, probe in (
            ("x", entered[0].valid, value[:n.residual_bits]),
            ("y", y_done, y),
            ("h", h_done, h),
            ("act", self.acts.valid, act),
            ("logit", self.logits.valid, value),
        ):
            trace_valid = Signal(name=f"trace_{name}_valid", attrs={"keep": 1})
            trace_value = Signal(len(probe), name=f"trace_{name}", attrs={"keep": 1})
            m.d.comb += [trace_valid.eq(valid), trace_value.eq(probe)]
        return m
