"""Weight memory in single-port RAMs (SPRAM) of an UltraPlus, side by side.

They are hard blocks that a bitstream cannot initialise, so they are instances in simulation too,
where ``trilight.sim`` supplies the cell's model.
"""

from amaranth.hdl import Array, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring

from trilight.hw.contract.device import SPRAM_WORDS, Device
from trilight.hw.interfaces import BUS_BITS, MemorySignature

__all__ = ["SpramMemory"]

ADDRESS_BITS = (SPRAM_WORDS - 1).bit_length()


class SpramMemory(wiring.Component):
    """Words of as many SPRAMs as their width needs, each 16,384 deep.

    Addresses and enables are registered before the memory, whose own set-up time is long. A read's
    data follow two cycles after its address and hold until those of the next read.

    The members are those of ``MemorySignature``.
    """

    addr: Signal
    read: Signal
    data: Signal
    write: Signal
    unit: Signal
    unit_data: Signal

    def __init__(self, *, device: Device) -> None:
        super().__init__(MemorySignature(device))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        units = -(-len(self.data) // BUS_BITS)
        selected = Array(Signal(name=f"selected_{k}") for k in range(1 << len(self.unit)))
        m.d.comb += selected[self.unit].eq(1)
        addr = Signal(ADDRESS_BITS, reset_less=True)
        unit_data = Signal.like(self.unit_data, reset_less=True)
        m.d.sync += [addr.eq(self.addr), unit_data.eq(self.unit_data)]
        for k in range(units):
            write = Signal(name=f"write_{k}")
            access = Signal(name=f"access_{k}")
            m.d.sync += [
                write.eq(self.write & selected[k]),
                access.eq(self.read | (self.write & selected[k])),
            ]
            m.submodules[f"spram_{k}"] = Instance(
                "SB_SPRAM256KA",
                i_CLOCK=ClockSignal(),
                i_ADDRESS=addr,
                i_DATAIN=unit_data,
                o_DATAOUT=self.data.word_select(k, BUS_BITS),
                i_WREN=write,
                i_MASKWREN=Const(0b1111, 4),
                i_CHIPSELECT=access,
                i_STANDBY=Const(0),
                i_SLEEP=Const(0),
                i_POWEROFF=Const(1),  # active low
            )
        return m
