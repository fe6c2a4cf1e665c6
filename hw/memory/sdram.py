"""Controller of a synchronous DRAM for a reader that wants its words one after the other."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.outside import Sdram
from trilight.hw.interfaces import BUS_BITS, OutsideSignature, outside_word_layout
from trilight.hw.lib.fsm import OneHotFSM

__all__ = ["SdramController", "SdramPins"]

NOP, ACTIVE, READ, WRITE, PRECHARGE, REFRESH, MODE = 0b111, 0b011, 0b101, 0b100, 0b010, 0b001, 0
"""Commands: RAS, CAS and WE, each active low, from the highest bit on."""

ALL_BANKS = 1 << 10
FIRST_REFRESHES = 8
SLOTS = 16
"""Words that are asked for and not taken, at most: more than a latency's worth."""


class SdramPins(wiring.Signature):
    """Pins of an SDRAM, as its controller sees them; its clock is the controller's.

    Members
    -------
    command : Out(3)
    bank, address : Out
    o, oe, i : Out, Out(1), In
        Data; those of a READ are at ``i`` ``Sdram.cas + Sdram.delay`` cycles after its command.
    mask : Out
        Bytes that a WRITE leaves as they are.
    """

    def __init__(self, memory: Sdram) -> None:
        super().__init__({
            "command": Out(3, init=NOP),
            "bank": Out(memory.bank_bits),
            "address": Out(max(memory.row_bits, 11)),
            "o": Out(memory.data_bits),
            "oe": Out(1),
            "i": In(memory.data_bits),
            "mask": Out(memory.data_bits // 8),
        })


class SdramController(wiring.Component):
    """Read a beat per cycle from one row after the other, and writes single units.

    A row stays open until its end, a refresh or a request, so a row costs its columns and
    ``1 + precharge + activate`` cycles; a refresh, ``refresh`` and those once more. Nothing is
    reordered and no bank is opened ahead: with 512 columns that is 0.98 of all cycles.

    Requests are taken in order, a unit is written in ``activate + write_recovery + precharge + 4``
    cycles or so.

    Members
    -------
    port : In(OutsideSignature)
    pins : Out(SdramPins)
    """

    port: wiring.PureInterface
    pins: wiring.PureInterface

    def __init__(self, *, device: Device) -> None:
        assert isinstance(device.outside, Sdram)
        self._device = device
        self._sdram = device.outside
        super().__init__({
            "port": In(OutsideSignature(device)), "pins": Out(SdramPins(device.outside))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        s, pins = self._sdram, self.pins
        self._wait = Signal(range(max(s.power_up, s.refresh) + 1), init=s.power_up)
        self._still_active = Signal(range(s.active + 1))
        self._due = self._add_refresh_timer(m)
        self._reading = Signal()
        self._writing = Signal()
        beat_bits = s.column_bits + s.bank_bits + s.row_bits
        self._beat = beat = Signal(beat_bits, reset_less=True)
        self._lane = Signal(range(max(s.data_bits // BUS_BITS, 2)), reset_less=True)
        self._data = Signal(BUS_BITS, reset_less=True)
        self._column, self._bank = beat[:s.column_bits], beat[s.column_bits:][:s.bank_bits]
        self._row = beat[s.column_bits + s.bank_bits:]
        self._ask = Signal()
        self._between = Signal()  # no word is asked for in part
        self._may_ask = self._add_words(m)

        m.d.sync += [pins.command.eq(NOP), pins.oe.eq(0), pins.mask.eq(0)]
        with m.If(self._wait.any()):
            m.d.sync += self._wait.eq(self._wait - 1)
        with m.If(self._still_active.any()):
            m.d.sync += self._still_active.eq(self._still_active - 1)
        fsm = OneHotFSM(m, "POWER-UP", "FIRST-REFRESHES", "MODE", "CLOSED", "OPEN", "CLOSE")
        self._add_first_states(m, fsm)
        self._add_row_states(m, fsm)
        return m

    def _add_refresh_timer(self, m: Module) -> Signal:
        due, timer = Signal(), Signal(range(self._sdram.interval))
        with m.If(timer == self._sdram.interval - 1):
            m.d.sync += [timer.eq(0), due.eq(1)]
        with m.Else():
            m.d.sync += timer.eq(timer + 1)
        return due

    def _add_first_states(self, m: Module, fsm: OneHotFSM) -> None:
        """Add the states that follow power-on: close all banks, refresh, set the mode."""
        s, pins, wait = self._sdram, self.pins, self._wait
        left = Signal(range(FIRST_REFRESHES + 1), init=FIRST_REFRESHES)
        with fsm.State("POWER-UP"), m.If(~wait.any()):
            m.d.sync += [pins.command.eq(PRECHARGE), pins.address.eq(ALL_BANKS),
                         wait.eq(s.precharge)]
            fsm.next = "FIRST-REFRESHES"
        with fsm.State("FIRST-REFRESHES"), m.If(~wait.any()):
            m.d.sync += [pins.command.eq(REFRESH), left.eq(left - 1), wait.eq(s.refresh)]
            with m.If(left == 1):
                fsm.next = "MODE"
        with fsm.State("MODE"), m.If(~wait.any()):
            # Bursts of one, in order.
            m.d.sync += [pins.command.eq(MODE), pins.bank.eq(0), pins.address.eq(s.cas << 4),
                         wait.eq(s.precharge)]
            fsm.next = "CLOSED"

    def _add_row_states(self, m: Module, fsm: OneHotFSM) -> None:
        """Add the states that open a row, read or write it, and close it."""
        s, pins, wait, requests = self._sdram, self.pins, self._wait, self.port.requests
        bits = len(self._lane) if s.data_bits > BUS_BITS else 0
        with fsm.State("CLOSED"), m.If(~wait.any()):
            with m.If(self._due):
                m.d.sync += [pins.command.eq(REFRESH), wait.eq(s.refresh - 1), self._due.eq(0)]
            with m.Elif(requests.valid & self._between & ~self._writing):
                m.d.comb += requests.ready.eq(1)
                m.d.sync += [
                    self._beat.eq(requests.payload.unit[bits:]),
                    self._lane.eq(requests.payload.unit[:bits]),
                    self._data.eq(requests.payload.data),
                    self._writing.eq(requests.payload.write),
                    self._reading.eq(~requests.payload.write),
                ]
                with m.If(~requests.payload.write):
                    m.d.sync += self._tag.eq(requests.payload.tag)
            with m.Elif(self._writing | (self._reading & self._may_ask)):
                m.d.sync += [
                    pins.command.eq(ACTIVE), pins.bank.eq(self._bank), pins.address.eq(self._row),
                    wait.eq(s.activate - 1), self._still_active.eq(s.active - 1)]
                fsm.next = "OPEN"

        with fsm.State("OPEN"), m.If(~wait.any()):
            end_of_row = self._column.all()
            m.d.sync += [pins.bank.eq(self._bank), pins.address.eq(self._column),
                         pins.o.eq(self._data.replicate(s.data_bits // BUS_BITS))]
            with m.If(self._writing):
                m.d.sync += [
                    pins.command.eq(WRITE), pins.oe.eq(1), self._writing.eq(0),
                    wait.eq(s.write_recovery)]
                if bits:
                    m.d.sync += pins.mask.eq(Mux(self._lane[0], 0b0011, 0b1100))
                fsm.next = "CLOSE"
            with m.Elif(self._due | (requests.valid & self._between)):
                fsm.next = "CLOSE"
            with m.Elif(self._may_ask):
                m.d.comb += self._ask.eq(1)
                m.d.sync += [pins.command.eq(READ), self._beat.eq(self._beat + 1)]
                with m.If(end_of_row):
                    fsm.next = "CLOSE"

        with fsm.State("CLOSE"), m.If(~wait.any() & ~self._still_active.any()):
            m.d.sync += [pins.command.eq(PRECHARGE), pins.address.eq(ALL_BANKS),
                         wait.eq(s.precharge - 1)]
            fsm.next = "CLOSED"

    def _add_words(self, m: Module) -> Signal:
        """Gather beats into words; return whether a further beat may be asked for.

        Words are asked for only if there is room for them.
        """
        s, port = self._sdram, self.port
        bits = BUS_BITS * self._device.packing.word_units
        beats = max(bits // s.data_bits, 1)
        layout = outside_word_layout(self._device)
        m.submodules.fifo = fifo = SyncFIFO(width=layout.size, depth=SLOTS)
        taken = port.words.valid & port.words.ready
        m.d.comb += [
            port.words.valid.eq(fifo.r_rdy),
            port.words.payload.eq(data.View(layout, fifo.r_data)),
            fifo.r_en.eq(port.words.ready),
        ]
        self._tag = tag = Signal.like(port.requests.payload.tag)
        asked, arrived = Signal(range(max(beats, 2))), Signal(range(max(beats, 2)))
        free = Signal(range(SLOTS + 1), init=SLOTS)
        may_ask = Signal()
        # A word's further beats have room if its first one had.
        m.d.comb += [self._between.eq(asked == 0), may_ask.eq(free.any() | asked.any())]
        begins = self._ask & (asked == 0)
        m.d.sync += free.eq(free + taken - begins)
        with m.If(self._ask):
            m.d.sync += asked.eq(Mux(asked == beats - 1, 0, asked + 1))

        stage = data.StructLayout({"valid": 1, "tag": len(tag)})
        coming = [Signal(stage, name=f"coming_{k}") for k in range(s.cas + s.delay + 2)]
        m.d.comb += [coming[0].valid.eq(self._ask), coming[0].tag.eq(tag)]
        for before, after in pairwise(coming):
            m.d.sync += after.eq(before)
        gathered = Signal(bits, reset_less=True)
        following = Cat(gathered, self.pins.i)[s.data_bits:]
        with m.If(coming[-1].valid):
            m.d.sync += [gathered.eq(following), arrived.eq(arrived + 1)]
            with m.If(arrived == beats - 1):
                m.d.sync += arrived.eq(0)
                m.d.comb += fifo.w_en.eq(1)
        word = data.View(layout, fifo.w_data)
        m.d.comb += [word.word.eq(following), word.tag.eq(coming[-1].tag)]
        return may_ask
