"""A weight memory of block RAM, for parts without SPRAM: any toolchain infers it."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .spram import WeightMemory

__all__ = ["BlockRamWeights"]


class BlockRamWeights(wiring.Component):
    """Words of 64 bits in block RAM, with the face of ``WeightMemory``.

    A block RAM of an ECP5 gives its data late in the cycle, so they are registered behind the
    memory, where the SPRAM registers the address: a read takes ``LATENCY`` cycles in both.

    Parameters
    ----------
    words : int
        Depth, at most that of the SPRAM. Addresses beyond it read and write what is not used.
    """

    LATENCY = WeightMemory.LATENCY
    UNITS = WeightMemory.UNITS
    UNIT_BITS = WeightMemory.UNIT_BITS
    ADDR_BITS = WeightMemory.ADDR_BITS

    addr: Signal
    read: Signal
    data: Signal
    write: Signal
    unit: Signal
    unit_data: Signal

    def __init__(self, words: int) -> None:
        self._words = words
        super().__init__({
            "addr": In(self.ADDR_BITS),
            "read": In(1),
            "data": Out(self.UNITS * self.UNIT_BITS),
            "write": In(1),
            "unit": In(range(self.UNITS)),
            "unit_data": In(self.UNIT_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        reading = Signal()
        m.d.sync += reading.eq(self.read)
        for k in range(self.UNITS):
            memory = Memory(shape=unsigned(self.UNIT_BITS), depth=self._words, init=[])
            m.submodules[f"unit_{k}"] = memory
            read, write = memory.read_port(), memory.write_port()
            data = Signal(self.UNIT_BITS, name=f"data_{k}", reset_less=True)
            m.d.comb += [
                read.addr.eq(self.addr),
                read.en.eq(self.read),
                write.addr.eq(self.addr),
                write.data.eq(self.unit_data),
                write.en.eq(self.write & (self.unit == k)),
                self.data.word_select(k, self.UNIT_BITS).eq(data),
            ]
            with m.If(reading):
                m.d.sync += data.eq(read.data)
        return m
