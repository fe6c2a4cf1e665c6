"""The weight memory: four single-port RAMs (SPRAM) of an UltraPlus, side by side.

They are hard blocks that a bitstream cannot initialise, so they are instances in simulation too,
where ``trilight.sim`` supplies the cell's model.
"""

from amaranth.hdl import Array, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["WeightMemory"]


class WeightMemory(wiring.Component):
    """16,384 words of 64 bits: read as words, written as units of 16 bits.

    Addresses and enables are registered before the memory, whose own set-up time is long. A read's
    data follow ``LATENCY`` cycles after its address and hold until those of the next read.

    Members
    -------
    addr : In(14)
        Word.
    read : In(1)
        Read enable; without it the memory rests.
    data : Out(64)
        The word last read.
    write : In(1)
        Write ``unit_data`` to unit ``unit`` of the word; excludes ``read``.
    unit : In(2)
    unit_data : In(16)
    """

    LATENCY = 2
    UNITS = 4
    UNIT_BITS = 16
    ADDR_BITS = 14

    addr: Signal
    read: Signal
    data: Signal
    write: Signal
    unit: Signal
    unit_data: Signal

    def __init__(self) -> None:
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
        selected = Array(Signal(name=f"selected_{k}") for k in range(self.UNITS))
        m.d.comb += selected[self.unit].eq(1)
        addr = Signal.like(self.addr, reset_less=True)
        unit_data = Signal.like(self.unit_data, reset_less=True)
        m.d.sync += [addr.eq(self.addr), unit_data.eq(self.unit_data)]
        for k in range(self.UNITS):
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
                o_DATAOUT=self.data.word_select(k, self.UNIT_BITS),
                i_WREN=write,
                i_MASKWREN=Const(0b1111, 4),
                i_CHIPSELECT=access,
                i_STANDBY=Const(0),
                i_SLEEP=Const(0),
                i_POWEROFF=Const(1),  # active low
            )
        return m
