"""Weight memory that any toolchain infers block RAM from."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from trilight.hw.contract.device import Device
from trilight.hw.interfaces import BUS_BITS, MemorySignature

__all__ = ["BlockRamMemory"]


class BlockRamMemory(wiring.Component):
    """Words in block RAM, whose data are registered behind it.

    The address goes straight into the memory: an output without a register takes most of a cycle
    on an ECP5. A read's data follow two cycles after its address and hold until those of the next
    read.

    The members are those of ``MemorySignature``.
    """

    addr: Signal
    read: Signal
    data: Signal
    write: Signal
    unit: Signal
    unit_data: Signal

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__(MemorySignature(device))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        units = -(-len(self.data) // BUS_BITS)
        arrived = Signal()
        m.d.sync += arrived.eq(self.read)
        # A memory for each unit, as each is written by itself.
        for k in range(units):
            m.submodules[f"unit_{k}"] = memory = Memory(
                shape=BUS_BITS, depth=self._device.weight_words, init=[])
            read, write = memory.read_port(), memory.write_port()
            out = Signal(BUS_BITS, name=f"out_{k}", reset_less=True)
            with m.If(arrived):
                m.d.sync += out.eq(read.data)
            m.d.comb += [
                read.addr.eq(self.addr),
                read.en.eq(self.read),
                write.addr.eq(self.addr),
                write.data.eq(self.unit_data),
                write.en.eq(self.write & (self.unit == k)),
                self.data.word_select(k, BUS_BITS).eq(out),
            ]
        return m
