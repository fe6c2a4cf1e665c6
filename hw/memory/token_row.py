"""Row of the embedding from outside: a token's words, fetched before its look-up begins."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.interfaces import EmbeddingSignature, FetchSignature

from .buffer import ReadSignature

__all__ = ["TokenRow"]


class TokenRow(wiring.Component):
    """Hold back the look-up of a token until its words are on the chip.

    The words of a row are ``stride`` apart, so each is a request of its own. The look-up then reads
    word b of the row as number b.

    Members
    -------
    embedding : In(EmbeddingSignature)
        From the sequencer.
    lookup : Out(EmbeddingSignature)
        To the engine.
    fetch : Out(FetchSignature)
    read : Out(ReadSignature)
    """

    embedding: wiring.PureInterface
    lookup: wiring.PureInterface
    fetch: wiring.PureInterface
    read: wiring.PureInterface

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__({
            "embedding": In(EmbeddingSignature(device)),
            "lookup": Out(EmbeddingSignature(device)),
            "fetch": Out(FetchSignature(device)),
            "read": Out(ReadSignature(device)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        device, asked, read, lookup = self._device, self.embedding, self.read, self.lookup
        packing = device.packing
        most = -(-device.max_columns // (packing.short_trits * packing.lanes))
        m.submodules.row = row = Memory(shape=packing.word_bits, depth=max(most, 2), init=[])
        write, port = row.write_port(), row.read_port()

        number = Signal(range(max(most, 2)))
        word = Signal.like(read.word, reset_less=True)
        covered = Signal(range(device.max_columns + packing.block + 1))
        arrived, last = Signal(), Signal()
        m.d.comb += [
            read.word.eq(word),
            read.ready.eq(read.wants),
            arrived.eq(read.wants & read.valid),
            last.eq(covered > asked.channels),
            write.addr.eq(number), write.data.eq(read.payload), write.en.eq(arrived),
        ]
        columns = Mux(asked.short, packing.short_trits * packing.lanes, packing.block)
        m.d.sync += lookup.start.eq(arrived & last)
        with m.If(asked.start):
            m.d.sync += [read.wants.eq(1), word.eq(asked.base + asked.token), number.eq(0),
                         covered.eq(columns)]
        with m.If(arrived):
            m.d.sync += [read.wants.eq(~last), word.eq(word + asked.stride),
                         number.eq(number + 1), covered.eq(covered + columns)]

        # As late as the memory that look-ups were made for.
        fetched = Signal()
        m.d.sync += fetched.eq(self.fetch.read)
        with m.If(fetched):
            m.d.sync += self.fetch.data.eq(port.data)
        m.d.comb += [
            port.addr.eq(self.fetch.addr), port.en.eq(self.fetch.read),
            lookup.base.eq(0), lookup.stride.eq(1), lookup.token.eq(0),
            lookup.channels.eq(asked.channels), lookup.scale.eq(asked.scale),
            lookup.short.eq(asked.short),
        ]
        return m
