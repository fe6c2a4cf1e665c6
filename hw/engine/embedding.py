"""Embedding look-up: one row of the ternary embedding, out of the weight memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import NUMBERS, DeviceConfig
from .tables import INDEX_BITS, STEP

__all__ = ["CHANNEL", "EmbeddingLookup"]

CHANNEL = data.StructLayout({"value": signed(NUMBERS.residual_bits), "last": 1})
"""One channel of the residual stream, channels in order."""


class EmbeddingLookup(wiring.Component):
    """``x = embedding[token] * scale``, channel by channel.

    The token's trits are one row of the head's matrix, in the same code as all weights; the
    ``TritRom`` decodes a byte. A channel leaves every cycle; a byte costs one cycle more and a word
    three.

    Members
    -------
    start : In(1)
        Pulse: look up. The inputs below hold until ``channels`` has been last.
    base, stride, token, channel_count, scale : In
        Word ``base + block * stride + token`` holds block ``block``; ``channel_count`` is the
        number of channels - 1; ``scale`` is Q5.6.
    weight_addr, weight_read, weight_data : Out, Out, In
        Weight memory; data one cycle after the address, held until the next read.
    rom_index, rom_step : Out, In
        The shared ``TritRom``.
    channels : Out(stream of CHANNEL, always ready)
    busy : Out(1)
    """

    start: Signal
    base: Signal
    stride: Signal
    token: Signal
    channel_count: Signal
    scale: Signal
    weight_addr: Signal
    weight_read: Signal
    weight_data: Signal
    rom_index: Signal
    rom_step: data.View
    channels: stream.Interface
    busy: Signal

    def __init__(self, *, device: DeviceConfig) -> None:
        self._addr_bits = (device.weight_words - 1).bit_length()
        super().__init__({
            "start": In(1),
            "base": In(self._addr_bits),
            "stride": In(device.max_rows.bit_length()),
            "token": In((device.max_vocab - 1).bit_length()),
            "channel_count": In((device.max_columns - 1).bit_length()),
            "scale": In(NUMBERS.residual_bits - 1),
            "weight_addr": Out(self._addr_bits),
            "weight_read": Out(1),
            "weight_data": In(8 * NUMBERS.bytes_per_word),
            "rom_index": Out(INDEX_BITS),
            "rom_step": In(STEP),
            "channels": Out(stream.Signature(CHANNEL, always_ready=True)),
            "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        digits = NUMBERS.trits_per_byte
        addr = Signal(self._addr_bits, reset_less=True)
        lane = Signal(range(NUMBERS.bytes_per_word), reset_less=True)
        digit = Signal(range(digits), reset_less=True)
        left = Signal.like(self.channel_count, reset_less=True)
        code = Signal(8)
        negative = Signal(reset_less=True)
        trits = Signal(data.StructLayout({"nonzero": digits, "minus": digits}), reset_less=True)

        m.d.comb += [
            self.weight_addr.eq(addr),
            code.eq(self.weight_data.word_select(lane, 8)),
            self.rom_index.eq(code[:INDEX_BITS]),
        ]
        m.d.sync += negative.eq(code[INDEX_BITS])

        emit = Signal()
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += [addr.eq(self.base + self.token), left.eq(self.channel_count)]
                with m.If(self.start):
                    m.next = "WORD"
            with m.State("WORD"):
                m.d.comb += self.weight_read.eq(1)
                m.d.sync += [lane.eq(0), addr.eq(addr + self.stride)]
                m.next = "BYTE"
            with m.State("BYTE"):  # the rom looks up the code
                m.next = "TRITS"
            with m.State("TRITS"):
                flip = negative.replicate(digits)
                m.d.sync += [
                    trits.nonzero.eq(self.rom_step.nonzero),
                    trits.minus.eq(self.rom_step.minus ^ flip),
                    digit.eq(0),
                    lane.eq(lane + 1),
                ]
                m.next = "CHANNEL"
            with m.State("CHANNEL"):
                m.d.comb += emit.eq(1)
                m.d.sync += [
                    digit.eq(digit + 1),
                    left.eq(left - 1),
                    trits.nonzero.eq(trits.nonzero >> 1),
                    trits.minus.eq(trits.minus >> 1),
                ]
                with m.If(left == 0):
                    m.next = "IDLE"
                with m.Elif(digit == digits - 1):
                    m.next = "TRITS"
                    with m.If(lane == 0):
                        m.next = "WORD"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))

        plus = Cat(self.scale, Const(0, 1)).as_signed()
        minus = Signal(signed(NUMBERS.residual_bits), reset_less=True)
        m.d.sync += minus.eq(-plus)
        value = Mux(trits.minus[0], minus, plus)
        m.d.comb += [
            self.channels.valid.eq(emit),
            self.channels.payload.value.eq(Mux(trits.nonzero[0], value, 0)),
            self.channels.payload.last.eq(left == 0),
        ]
        return m
