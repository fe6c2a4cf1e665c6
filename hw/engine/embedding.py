"""Embedding look-up: one row of the ternary embedding, out of the weight memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.interfaces import CHANNEL, FetchSignature

from .tables import step_layout

__all__ = ["EmbeddingLookup"]


class EmbeddingLookup(wiring.Component):
    """``x = embedding[token] * scale``, channel by channel.

    The token's trits are one row of the head's matrix, in the same code as all weights; the
    ``TritRom`` decodes a code. Each code's word is read again, so that no word has to be kept while
    other reads go on. The first channel comes ``EngineTiming.lookup`` cycles after ``start``, and
    then one every cycle.

    Members
    -------
    start : In(1)
        Pulse: look up. The inputs below hold until ``channels`` has been last.
    base, stride, token, channel_count, scale : In
        Word ``base + block * stride + token`` holds block ``block``; ``channel_count`` is the
        number of channels - 1; ``scale`` is Q5.6.
    short : In(1)
        The words are short.
    fetch : In(FetchSignature)
    rom_index, rom_read, rom_step : Out, Out, In
        The shared ``TritRom``; must be served at once.
    channels : Out(stream of CHANNEL, always ready)
    """

    start: Signal
    base: Signal
    stride: Signal
    token: Signal
    channel_count: Signal
    scale: Signal
    short: Signal
    fetch: wiring.PureInterface
    rom_index: Signal
    rom_read: Signal
    rom_step: data.View
    channels: stream.Interface

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__({
            "start": In(1),
            "base": In(device.address_bits),
            "stride": In(device.max_rows.bit_length()),
            "token": In(device.token_bits),
            "channel_count": In(device.column_bits),
            "scale": In(NUMBERS.residual_bits - 1),
            "short": In(1),
            "fetch": In(FetchSignature(device)),
            "rom_index": Out(device.packing.code.index_bits),
            "rom_read": Out(1),
            "rom_step": In(step_layout(device)),
            "channels": Out(stream.Signature(CHANNEL, always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        device = self._device
        coding = device.packing.code
        digits = device.trits
        addr = Signal(device.address_bits, reset_less=True)
        lane = Signal(range(device.lanes), reset_less=True)
        digit = Signal(range(digits), reset_less=True)
        left = Signal.like(self.channel_count, reset_less=True)
        looking = Signal()
        asking = Signal()
        emitting = Signal()
        end_of_code = digit == Mux(self.short, device.packing.short_trits - 1, digits - 1)

        # A code's word is read at its digit 0 and is there before its last; it goes to the rom,
        # and a cycle later, maybe in the next code's time, the trits are loaded.
        assert device.packing.short_trits > device.read_latency
        code = self.fetch.data.word_select(lane, coding.bits)
        m.d.comb += [
            self.fetch.addr.eq(addr),
            self.fetch.read.eq(asking),
            self.rom_index.eq(code[:coding.index_bits]),
            self.rom_read.eq(looking & (digit == device.read_latency)),
        ]
        negative = Signal(reset_less=True)
        load = Signal()
        m.d.sync += [negative.eq(code[coding.index_bits]), load.eq(self.rom_read)]
        with m.If(looking):
            m.d.sync += digit.eq(Mux(end_of_code, 0, digit + 1))
            with m.If(end_of_code):
                m.d.sync += lane.eq(lane + 1)
                with m.If(lane == device.lanes - 1):
                    m.d.sync += [lane.eq(0), addr.eq(addr + self.stride)]
        m.d.sync += asking.eq(self.start | (looking & end_of_code))
        with m.If(self.start):
            m.d.sync += [
                looking.eq(1), digit.eq(0), lane.eq(0), addr.eq(self.base + self.token),
                left.eq(self.channel_count)]

        trits = Signal(data.StructLayout({"nonzero": digits, "minus": digits}), reset_less=True)
        m.d.sync += [trits.nonzero.eq(trits.nonzero >> 1), trits.minus.eq(trits.minus >> 1)]
        with m.If(load):
            m.d.sync += [
                trits.nonzero.eq(self.rom_step.nonzero),
                trits.minus.eq(self.rom_step.minus ^ negative.replicate(digits)),
                emitting.eq(1),
            ]
        with m.If(emitting):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 0):
                m.d.sync += [emitting.eq(0), looking.eq(0), asking.eq(0), load.eq(0)]

        plus = Cat(self.scale, Const(0, 1)).as_signed()
        minus = Signal(signed(NUMBERS.residual_bits), reset_less=True)
        m.d.sync += minus.eq(-plus)
        value = Mux(trits.minus[0], minus, plus)
        m.d.comb += [
            self.channels.valid.eq(emitting),
            self.channels.payload.value.eq(Mux(trits.nonzero[0], value, 0)),
            self.channels.payload.last.eq(left == 0),
        ]
        return m
