"""Learning while reading: biases of the logits, stepped by what is read and by what was drawn."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .contract.device import Device
from .contract.numbers import NUMBERS
from .interfaces import (
    LOGIT_LATENCY,
    BiasAccessSignature,
    LearningSignature,
    LogitSignature,
)
from .lib.arith import saturate

__all__ = ["LEARNING_CYCLES", "LearntBias"]

LEARNING_CYCLES = 6
"""Cycles from a token to its biases in the tables, and to the context of the next logits."""


class LearntBias(wiring.Component):
    """Add what was learnt while reading to the logits; ``docs/adaptation.md``.

    Takes a logit per cycle and hands it on a cycle later::

        cycle               0      1      2      3      4      5
        logits.draw         i
        biases read                i
        their sum                         i
        logits.payload                                  i
        biased.draw                i
        biased.payload                                         i

    A token takes ``LEARNING_CYCLES``, in which no logit may come: the operations before the head
    take longer. ::

        cycle               0        1      2      3      4      5
        learning.valid      came
        biases read                  came          drawn
        biases written                      +1            -1
        context                                                  came from cycle 6 on

    Members
    -------
    logits : In(LogitSignature)
    biased : Out(LogitSignature)
    learning : In(LearningSignature)
    drawn, token : In
        Pulse ``drawn``: ``token`` was drawn for the logits that came last.
    access : In(array of BiasAccessSignature)
        The host's, by order; a read or write excludes logits and tokens.
    """

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__({
            "logits": In(LogitSignature(device)),
            "biased": Out(LogitSignature(device)),
            "learning": In(LearningSignature(device)),
            "drawn": In(1),
            "token": In(device.token_bits),
            **{f"access_{number}": In(BiasAccessSignature(depth))
               for number, depth in enumerate(device.adapt_depths)},
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        device = self._device
        context = Signal(device.token_bits)
        before = Signal(device.token_bits)
        rows: list[Value] = [context]
        if device.adapt_token_rows:
            rows = [context[:device.adapt_token_rows.bit_length() - 1]]
        if len(device.adapt_depths) > 1:
            hashed = Signal(range(device.adapt_rows), reset_less=True)
            # 17 context + 5 before
            m.d.sync += hashed.eq(context + Cat(Const(0, 4), context)
                                  + before + Cat(Const(0, 2), before))
            rows.append(hashed)
        column = Signal(device.token_bits)
        gain, lose = self._add_learning(m, context, before, column)
        read = [self._add_table(m, number, Cat(column, row), gain, lose)
                for number, row in enumerate(rows)]
        self._add_way_of_logits(m, read)
        return m

    def _add_learning(self, m: Module, context: Signal, before: Signal, column: Signal
                      ) -> tuple[Value, Value]:
        """Add the steps after a token; return when its bias gains, and when the drawn one loses.

        ``column`` counts draws at all other times.
        """
        learning = self.learning
        came = Signal.like(context, name="came", reset_less=True)
        drawn = Signal.like(context, name="drawn_token", reset_less=True)
        pending, learns = Signal(), Signal()
        phase = Signal(range(LEARNING_CYCLES))
        with m.If(self.drawn & learning.reads):
            m.d.sync += [pending.eq(1), drawn.eq(self.token)]
        with m.If(self.logits.draw):
            m.d.sync += column.eq(column + 1)
        with m.If(learning.valid):
            m.d.sync += [phase.eq(1), came.eq(learning.token), column.eq(learning.token)]
        with m.Switch(phase):
            with m.Case(1):
                m.d.sync += [phase.eq(2), learns.eq(pending & (drawn != came))]
            with m.Case(2):
                m.d.sync += [phase.eq(3), column.eq(drawn)]
            with m.Case(3):
                m.d.sync += phase.eq(4)
            with m.Case(4):
                m.d.sync += phase.eq(LEARNING_CYCLES - 1)
            with m.Case(LEARNING_CYCLES - 1):
                m.d.sync += [phase.eq(0), column.eq(0), pending.eq(0), before.eq(context),
                             context.eq(came)]
        with m.If(learning.begins):
            m.d.sync += [before.eq(0), context.eq(0), pending.eq(0)]
        return learns & (phase == 2), learns & (phase == 4)

    def _add_table(self, m: Module, number: int, place: Value, gain: Value, lose: Value) -> Value:
        """Add the biases of an order; return the one that was read."""
        access: wiring.PureInterface = getattr(self, f"access_{number}")
        memory = Memory(shape=signed(NUMBERS.adapt_bits),
                        depth=self._device.adapt_depths[number], init=[])
        m.submodules[f"biases_{number}"] = memory
        read, write = memory.read_port(), memory.write_port()
        # The lowest bias, as two's complement; the highest is its complement.
        end = Const(1 << NUMBERS.adapt_bits - 1, NUMBERS.adapt_bits)
        at_end = read.data.as_unsigned() == Mux(gain, ~end, end)
        m.d.comb += [
            read.addr.eq(Mux(access.read, access.addr, place)),
            write.addr.eq(Mux(access.write, access.addr, place)),
            write.en.eq(((gain | lose) & ~at_end) | access.write),
            write.data.eq(Mux(access.write, access.write_data, read.data + Mux(gain, 1, -1))),
            access.read_data.eq(read.data),
        ]
        return read.data

    def _add_way_of_logits(self, m: Module, read: list[Value]) -> None:
        """Add the biases, as late as their logits are, and the sum, saturated."""
        logits, biased = self.logits, self.biased
        bits = NUMBERS.adapt_bits + len(read) - 1
        bias: Value = sum(read[1:], read[0])
        for stage in range(LOGIT_LATENCY - 1):
            delayed = Signal(signed(bits), name=f"bias_{stage}", reset_less=True)
            m.d.sync += delayed.eq(bias)
            bias = delayed
        value = logits.logits.payload.value
        total = Signal(signed(NUMBERS.logit_bits + 1))
        m.d.comb += total.eq(value + Mux(self.learning.enabled, bias << NUMBERS.adapt_shift, 0))
        m.d.sync += [
            biased.draw.eq(logits.draw),
            biased.sequence.eq(logits.sequence),
            biased.logits.valid.eq(logits.logits.valid),
            biased.logits.payload.value.eq(saturate(total, NUMBERS.logit_bits)),
            biased.logits.payload.last.eq(logits.logits.payload.last),
        ]
