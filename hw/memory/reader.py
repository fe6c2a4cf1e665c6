"""Reader: a stream of weight words out of a memory that is read by address."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.interfaces import FetchSignature, WeightStreamSignature

__all__ = ["WordReader"]


class WordReader(wiring.Component):
    """Reader of words in the program's order, and of single ones in between.

    A word is transferred by its address alone, in the cycle in which the memory is asked for it;
    the latency of the stream is the memory's. So no word has to wait in a register, and no cycle is
    lost at the end of an operation.

    Members
    -------
    words : Out(WeightStreamSignature), fetch : Out(FetchSignature)
    addr : Out, read : Out(1), data : In
        Memory, with data ``Device.read_latency`` cycles after the address.
    """

    words: wiring.PureInterface
    fetch: wiring.PureInterface
    addr: Signal
    read: Signal
    data: Signal

    def __init__(self, *, device: Device) -> None:
        super().__init__({
            "words": Out(WeightStreamSignature(device)),
            "fetch": Out(FetchSignature(device)),
            "addr": Out(device.address_bits),
            "read": Out(1),
            "data": In(device.packing.word_bits),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words, fetch = self.words, self.fetch
        transfer = Signal()
        word = Signal.like(self.addr, reset_less=True)
        first_word = Signal.like(word, reset_less=True)
        m.d.comb += [
            words.valid.eq(~fetch.read),
            transfer.eq(words.valid & words.ready),
            self.addr.eq(Mux(fetch.read, fetch.addr, word)),
            self.read.eq(fetch.read | transfer),
            words.payload.eq(self.data),
            fetch.data.eq(self.data),
        ]
        with m.If(transfer & words.opens):
            m.d.sync += first_word.eq(word)
        with m.If(transfer | (words.rests & words.jumps)):
            m.d.sync += word.eq(Mux(words.jumps, Mux(words.rewinds, 0, first_word), word + 1))
        return m
