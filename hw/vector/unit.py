"""Vector unit: everything that happens to a row's sum on its way to the next matrix."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.interfaces import (
    CHANNEL,
    ActivationSignature,
    ContextSignature,
    HeadBiasSignature,
    LogitSignature,
    TableWriteSignature,
    row_layout,
)

from .activation import add_activation
from .glu import add_gate_product
from .mix import add_forget_bias, add_mix_channels, add_state
from .norm import add_rounding, add_sum
from .requantise import add_requantisation, add_scales
from .residual import Residual
from .stages import Stages
from .timing import GLU_ACT, MIX_ACT, RESIDUAL_ACT

__all__ = ["VectorUnit"]


class VectorUnit(wiring.Component):
    """Requantise rows, apply activations, MLGRU, GLU, residual, token shift and norm.

    It takes a row per cycle, and no stage ever waits. A row enters at stage 0 and is at stage k
    after k cycles; activations (q, u, v), logits and draws leave at the stages below.

    ::

        stage     0    1    2    3    4    5    6    7    8    9    10   11   12   13
        all       scale     add  sat. value
        MIX                           look up   f,c,g     f * (h-c) h    g * h     u
        GLU                           look up   a    a * b          v
        RESIDUAL                      x    tap  tap  sum       q
        HEAD           draw                logit

    MIX's numbers are those of the row that a value comes from: ``h`` is there at stage 10 of the
    candidate row, ``u`` at 13 of the gate row.

    Members
    -------
    context : In(ContextSignature)
        ``not_total`` is up to date two cycles after a vector's last activation.
    rows : In(stream of row_layout, always ready)
    channels : In(stream of CHANNEL, always ready)
        Embedding; enters as a new residual.
    head_bias : Out(HeadBiasSignature)
    acts : Out(ActivationSignature)
    done : Out(1)
        Pulse: the context's last activation leaves, or would if it were not discarded.
    logits : Out(LogitSignature)
        A draw comes with stage 1 of a head row.
    write_taps, write_forget_bias, write_activation : In(TableWriteSignature)
    """

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__({
            "context": In(ContextSignature(device)),
            "rows": In(stream.Signature(row_layout(device), always_ready=True)),
            "channels": In(stream.Signature(CHANNEL, always_ready=True)),
            "head_bias": Out(HeadBiasSignature(device)),
            "acts": Out(ActivationSignature(device)),
            "done": Out(1),
            "logits": Out(LogitSignature(device)),
            "write_taps": In(TableWriteSignature(device.max_channels)),
            "write_forget_bias": In(TableWriteSignature(device.max_channels)),
            "write_activation": In(TableWriteSignature(1 << NUMBERS.index_bits)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        device, rows, context = self._device, self.rows, self.context.context
        stages = Stages(m, device, context, self.context.load, rows, MIX_ACT)
        scales = add_scales(m, stages, rows, self.context)
        mix_channels = add_mix_channels(m, stages)
        residual = Residual(m, device, stages, self.channels, RESIDUAL_ACT - 1)
        token = Cat(residual.channel, Const(0, device.program_bits))
        m.d.comb += [
            self.head_bias.addr.eq(~token[:device.program_bits]),
            self.head_bias.read.eq(stages.row[stages.addend].valid & stages.is_head),
        ]
        value, index = add_requantisation(
            m, stages, rows, scales[0],
            forget_bias=add_forget_bias(m, device, stages, mix_channels, self.write_forget_bias),
            residual=residual.x, head_bias=self.head_bias.data, channels=self.channels)
        self._add_logits(m, stages, value)
        looked_up = add_activation(m, stages, index, self.write_activation)
        h, h_ready = add_state(m, device, stages, mix_channels, looked_up)
        residual.add_write(m, value)
        tapped = residual.add_token_shift(
            m, value, scales[1][:NUMBERS.tap_bits].as_signed(), self.write_taps)
        product = add_gate_product(m, stages, looked_up, value, h)
        act = add_rounding(m, stages, tapped, product)
        act_valid = self._add_departure(m, stages, residual)
        m.d.comb += [
            self.acts.acts.payload.value.eq(act),
            self.acts.acts.payload.last.eq(self.done),
            self.acts.acts.valid.eq(act_valid),
            self.acts.short.eq(context.act_short),
            self.acts.sequence.eq(context.sequence),
            self.context.not_total.eq(add_sum(
                m, device, stages, act, act_valid, self.done, self.context.load)),
        ]
        logits = self.logits.logits
        self._add_probes(
            m, x=(residual.tag(4).valid, value[:NUMBERS.residual_bits]), h=(h_ready, h),
            act=(act_valid, act), logit=(logits.valid, logits.payload.value))
        return m

    def _add_logits(self, m: Module, stages: Stages, value: Signal) -> None:
        logits = self.logits.logits
        m.d.comb += self.logits.sequence.eq(stages.context.sequence)
        m.d.sync += [
            self.logits.draw.eq(stages.row[0].valid & stages.is_head),
            logits.valid.eq(stages.row[4].valid & stages.is_head),
            logits.payload.value.eq(value),
            logits.payload.last.eq(stages.row[4].last),
        ]

    def _add_departure(self, m: Module, stages: Stages, residual: Residual) -> Signal:
        """Add ``done``; return the pulse with which an activation leaves.

        Both are decided a stage early, so that what leaves comes straight from registers.
        """
        mix = stages.row[MIX_ACT - 1]
        glu = stages.row[GLU_ACT - 1]
        channel = residual.tag(RESIDUAL_ACT - 1)
        leaves = (channel.valid
                  | (stages.is_mix & mix.valid & (mix.phase == 2))
                  | (stages.is_glu & glu.valid & (glu.phase == 1)))
        act_valid = Signal()
        m.d.sync += [
            act_valid.eq(leaves & ~stages.context.discard),
            self.done.eq(leaves & Mux(stages.enters_residual, channel.last,
                                      Mux(stages.is_mix, mix.last, glu.last))),
        ]
        return act_valid

    @staticmethod
    def _add_probes(m: Module, **probes: tuple[Value, Value]) -> None:
        """Add signals for simulation: registers that are seen elsewhere too, so they cost
        nothing."""
        for name, (valid, probe) in probes.items():
            trace_valid = Signal(name=f"trace_{name}_valid", attrs={"keep": 1})
            trace_value = Signal(len(probe), name=f"trace_{name}", attrs={"keep": 1})
            m.d.comb += [trace_valid.eq(valid), trace_value.eq(probe)]
