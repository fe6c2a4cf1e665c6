"""Weight memory of a chip: words for the engine, units for the host, and their check."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.errors import CapacityError
from trilight.hw.interfaces import BUS_BITS, FetchSignature, WeightStreamSignature
from trilight.hw.lib.crc import CRC_BITS

from .bram import BlockRamMemory
from .reader import WordReader
from .scrub import WeightCheck
from .spram import SpramMemory

__all__ = ["UNIT_LATENCY", "WeightStore"]

UNIT_LATENCY = 3
"""Cycles from the reading of a unit to ``unit``."""

_MEMORIES = {WeightMemory.SPRAM: SpramMemory, WeightMemory.BLOCK_RAM: BlockRamMemory}


class WeightStore(wiring.Component):
    """Store of all weight words: the engine's while a run is in progress, else the host's.

    The host writes and reads units of 16 bits; while it does neither, the words are read for their
    check, which a run or the host starts again.

    Raises
    ------
    CapacityError
        The device's weights are in no memory of the chip.

    Members
    -------
    words : Out(WeightStreamSignature), fetch : Out(FetchSignature)
        For the engine, while ``running``.
    running : In(1)
    addr : In
        Unit of the weight memory: unit ``addr % Packing.word_units`` of a word.
    read, write : In(1)
        Pulses, ignored while ``running``: a write at most every ``Device.write_cycles``, a read
        at most every third cycle, whose address has to stay for two cycles more.
    unit_data : In(16)
        Unit to write, or number of the last word to check.
    write_check : In(1)
        Pulse: the check ends with word ``unit_data``.
    unit : Out(16)
        The unit read, ``UNIT_LATENCY`` cycles after ``read``.
    complete, crc : Out(1), Out(32)
        See ``WeightCheck``.
    checking : Out(1)
        The words are being checked.
    """

    words: wiring.PureInterface
    fetch: wiring.PureInterface
    running: Signal
    addr: Signal
    read: Signal
    write: Signal
    unit_data: Signal
    write_check: Signal
    unit: Signal
    complete: Signal
    crc: Signal
    checking: Signal

    def __init__(self, *, device: Device) -> None:
        if device.weight_memory not in _MEMORIES:
            raise CapacityError(f"a chip that holds its weights needs SPRAM or block RAM, not the "
                                f"{device.weight_memory.value} memory of {device.name}")
        self._device = device
        self._unit_bits = (device.packing.word_units - 1).bit_length()
        super().__init__({
            "words": Out(WeightStreamSignature(device)),
            "fetch": Out(FetchSignature(device)),
            "running": In(1),
            "addr": In(device.address_bits + self._unit_bits),
            "read": In(1),
            "write": In(1),
            "unit_data": In(BUS_BITS),
            "write_check": In(1),
            "unit": Out(BUS_BITS),
            "complete": Out(1),
            "crc": Out(CRC_BITS),
            "checking": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = _MEMORIES[self._device.weight_memory](device=self._device)
        m.submodules.check = check = WeightCheck(device=self._device)
        m.submodules.reader = reader = WordReader(device=self._device)
        connect(m, reader.words, flipped(self.words))
        connect(m, reader.fetch, flipped(self.fetch))
        m.d.comb += reader.data.eq(memory.data)

        # ---- The engine's while running, else the host's, who seldom needs it
        host = Signal()
        unit = self.addr[:self._unit_bits]
        host_word = Mux(self.read | self.write, self.addr[self._unit_bits:], check.addr)
        m.d.comb += [
            host.eq(~self.running),
            memory.addr.eq(Mux(host, host_word, reader.addr)),
            memory.read.eq(Mux(host, self.read | (check.read & ~self.write), reader.read)),
            memory.write.eq(host & self.write),
            memory.unit.eq(unit),
            memory.unit_data.eq(self.unit_data),
            check.last_word.eq(self.unit_data),
            check.write_last_word.eq(self.write_check),
            self.complete.eq(check.complete),
            self.crc.eq(check.crc),
            self.checking.eq(host & ~check.complete),
        ]
        m.d.sync += check.restart.eq(~host | self.read | self.write | self.write_check)
        selected = Signal.like(check.selected, reset_less=True)
        unit_read = Signal(BUS_BITS, reset_less=True)
        m.d.sync += selected.eq(Mux(check.selects, check.selected, unit))
        # During a run what is behind it rests.
        with m.If(host):
            m.d.sync += unit_read.eq(memory.data.word_select(selected, BUS_BITS))
        m.d.comb += [check.unit.eq(unit_read), self.unit.eq(unit_read)]
        return m
