"""Memory of a buffer of weight words: a word in and a word out, in SPRAM or in block RAM."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import SPRAM_WORDS, Device, WeightMemory
from trilight.hw.interfaces import BUS_BITS

__all__ = ["RingMemory"]

SPRAM_ADDRESS_BITS = (SPRAM_WORDS - 1).bit_length()


class RingMemory(wiring.Component):
    """``Device.buffer_words`` weight words.

    Data follow ``Device.read_latency`` = 2 cycles after their address. A word can be read in the
    cycle after that in which it was written. SPRAM has one port, so there a word can not be read in
    a cycle in which one is written.

    Members
    -------
    read, read_addr : In(1), In
    data : Out
    write, write_addr, write_data : In(1), In, In
    """

    read: Signal
    read_addr: Signal
    data: Signal
    write: Signal
    write_addr: Signal
    write_data: Signal

    def __init__(self, *, device: Device) -> None:
        assert device.read_latency == 2
        self._device = device
        bits = device.packing.word_bits
        super().__init__({
            "read": In(1), "read_addr": In(device.buffer_bits), "data": Out(bits),
            "write": In(1), "write_addr": In(device.buffer_bits), "write_data": In(bits),
        })

    @staticmethod
    def has_one_port(device: Device) -> bool:
        """True if a cycle is for reading or for writing."""
        return device.weight_memory is WeightMemory.SPRAM

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.has_one_port(self._device):
            self._add_spram(m)
        else:
            self._add_block_ram(m)
        return m

    def _add_block_ram(self, m: Module) -> None:
        m.submodules.words = memory = Memory(
            shape=len(self.data), depth=self._device.buffer_words, init=[])
        read, write = memory.read_port(), memory.write_port()
        arrived = Signal()
        m.d.sync += arrived.eq(self.read)
        with m.If(arrived):
            m.d.sync += self.data.eq(read.data)
        m.d.comb += [
            read.addr.eq(self.read_addr), read.en.eq(self.read),
            write.addr.eq(self.write_addr), write.data.eq(self.write_data),
            write.en.eq(self.write),
        ]

    def _add_spram(self, m: Module) -> None:
        addr = Signal(SPRAM_ADDRESS_BITS, reset_less=True)
        write, access = Signal(), Signal()
        word = Signal.like(self.write_data, reset_less=True)
        m.d.sync += [
            addr.eq(Mux(self.write, self.write_addr, self.read_addr)),
            write.eq(self.write),
            access.eq(self.read | self.write),
            word.eq(self.write_data),
        ]
        for k in range(-(-len(word) // BUS_BITS)):
            m.submodules[f"spram_{k}"] = Instance(
                "SB_SPRAM256KA",
                i_CLOCK=ClockSignal(),
                i_ADDRESS=addr,
                i_DATAIN=word.word_select(k, BUS_BITS),
                o_DATAOUT=self.data.word_select(k, BUS_BITS),
                i_WREN=write,
                i_MASKWREN=Const(0b1111, 4),
                i_CHIPSELECT=access,
                i_STANDBY=Const(0),
                i_SLEEP=Const(0),
                i_POWEROFF=Const(1),  # active low
            )
