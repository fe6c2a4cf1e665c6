"""Weight memory that any toolchain infers block RAM from."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from trilight.hw.contract.device import Device
from trilight.hw.interfaces import BUS_BITS, MemorySignature

__all__ = ["BlockRamMemory"]

BYTE_BITS = 9
"""Bits of a byte of block RAM, its parity included, wherever a block has 18 kbit."""


class BlockRamMemory(wiring.Component):
    """Words in block RAM, whose data are registered behind it.

    The address goes straight into the memory: an output without a register takes most of a cycle
    on an ECP5. A read's data follow two cycles after its address and hold until those of the next
    read or write. A unit is written within ``Device.write_cycles``, in which no other may be.

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
        if self._device.write_cycles == 1:
            self._add_units(m)
        else:
            self._add_whole_words(m)
        return m

    def _reads(self, wanted: Value) -> Value | int:
        """Return the enable of block RAMs: in every cycle where they answer late, as there are many
        for it to reach; what was not wanted is not registered."""
        return 1 if self._device.late_block_ram else wanted

    def _add_units(self, m: Module) -> None:
        """Add a memory for each unit, as each is written by itself."""
        arrived = Signal()
        m.d.sync += arrived.eq(self.read)
        for k in range(len(self.data) // BUS_BITS):
            m.submodules[f"unit_{k}"] = memory = Memory(
                shape=BUS_BITS, depth=self._device.weight_words, init=[])
            read, write = memory.read_port(), memory.write_port()
            out = Signal(BUS_BITS, name=f"out_{k}", reset_less=True)
            with m.If(arrived):
                m.d.sync += out.eq(read.data)
            m.d.comb += [
                read.addr.eq(self.addr),
                read.en.eq(self._reads(self.read)),
                write.addr.eq(self.addr),
                write.data.eq(self.unit_data),
                write.en.eq(self.write & (self.unit == k)),
                self.data.word_select(k, BUS_BITS).eq(out),
            ]

    def _add_whole_words(self, m: Module) -> None:
        """Add memories that are written together; a write reads the word first, and puts its unit
        in.

        Codes that do not fill units fill bytes of block RAM all the same, of which a memory for
        each unit would leave a ninth idle. In memories of a byte a block RAM is as deep as it can
        be without that, so that few have to be chosen from behind it.
        """
        bits = self._device.packing.word_bits
        arrived = Signal()
        arrives = Signal()
        writes = Signal()
        addr = Signal.like(self.addr, reset_less=True)
        unit = Signal.like(self.unit, reset_less=True)
        unit_data = Signal.like(self.unit_data, reset_less=True)
        out = Signal(bits, reset_less=True)
        merged = Signal(bits)
        m.d.sync += [
            arrived.eq(self.read | self.write), arrives.eq(self.write), writes.eq(arrives)]
        with m.If(self.write):
            m.d.sync += [addr.eq(self.addr), unit.eq(self.unit), unit_data.eq(self.unit_data)]
        for k in range(len(self.data) // BUS_BITS):
            old = out.word_select(k, BUS_BITS)
            m.d.comb += merged.word_select(k, BUS_BITS).eq(Mux(unit == k, unit_data, old))
        for first in range(0, bits, BYTE_BITS):
            column = slice(first, min(first + BYTE_BITS, bits))
            m.submodules[f"byte_{first // BYTE_BITS}"] = memory = Memory(
                shape=column.stop - column.start, depth=self._device.weight_words, init=[])
            read, write = memory.read_port(), memory.write_port()
            with m.If(arrived):
                m.d.sync += out[column].eq(read.data)
            m.d.comb += [
                read.addr.eq(self.addr),
                read.en.eq(self._reads(self.read | self.write)),
                write.addr.eq(addr),
                write.data.eq(merged[column]),
                write.en.eq(writes),
            ]
        m.d.comb += self.data.eq(out)
