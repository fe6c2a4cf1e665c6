"""Weights from a memory outside the chip: for the engine, for the host, and their check."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from trilight.hw.contract.device import Device
from trilight.hw.contract.outside import QuadFlash, Sdram
from trilight.hw.contract.protocol import MAX_WORDS
from trilight.hw.interfaces import (
    BUS_BITS,
    EmbeddingSignature,
    FetchSignature,
    OutsideSignature,
    RoundSignature,
    WeightStreamSignature,
)
from trilight.hw.lib.crc import CRC_BITS, CRC_INIT, crc32_step
from trilight.hw.lib.fsm import OneHotFSM

from .buffer import ReadSignature, WeightBuffer
from .flash import FlashPins, FlashReader
from .sdram import SdramController, SdramPins
from .token_row import TokenRow

__all__ = ["StreamedWeights", "outside_pins"]


def outside_pins(device: Device) -> wiring.Signature:
    """Pins of a device's memory outside the chip; of a ``WordPort``, the port itself."""
    if isinstance(device.outside, QuadFlash):
        return FlashPins()
    if isinstance(device.outside, Sdram):
        return SdramPins(device.outside)
    return OutsideSignature(device)


class StreamedWeights(wiring.Component):
    """Weight words of a memory outside: the engine's in a run, else the host's and their check's.

    Everybody reads through one port. A row of the embedding goes before the stream, which goes on
    afterwards; the check is begun again after each run and each access of the host.

    Members
    -------
    words : Out(WeightStreamSignature), fetch : Out(FetchSignature)
        For the engine, while ``running``.
    embedding : In(EmbeddingSignature), lookup : Out(EmbeddingSignature)
        From the sequencer, and to the engine once the row is here.
    rounds : In(RoundSignature)
    running : In(1)
    unit : In
        Unit of the memory: unit ``unit % Packing.word_units`` of a word.
    read, write : In(1)
        Pulses, ignored while ``running``; ``unit`` stays until the answer to a read.
    unit_data : In(16)
        Unit to write.
    write_last : In(2)
        Pulses: the last word is ``unit_data``, low half, high half.
    answered, answer : Out(1), Out(16)
        Pulse with the unit that was read.
    complete, crc : Out(1), Out(32)
        CRC-32 of all words' bytes up to the last one's.
    checking : Out(1)
    stalls : Out(32)
        Cycles of runs in which the engine waited for a word, since ``clear``.
    clear : In(1)
    pins : Out(outside_pins)
    """

    def __init__(self, *, device: Device) -> None:
        self._device = device
        self._unit_bits = (device.packing.word_units - 1).bit_length()
        super().__init__({
            "words": Out(WeightStreamSignature(device)),
            "fetch": Out(FetchSignature(device)),
            "embedding": In(EmbeddingSignature(device)),
            "lookup": Out(EmbeddingSignature(device)),
            "rounds": In(RoundSignature(device)),
            "running": In(1),
            "unit": In(device.address_bits + self._unit_bits),
            "read": In(1),
            "write": In(1),
            "unit_data": In(BUS_BITS),
            "write_last": In(2),
            "answered": Out(1),
            "answer": Out(BUS_BITS),
            "complete": Out(1),
            "crc": Out(CRC_BITS),
            "checking": Out(1),
            "stalls": Out(32),
            "clear": In(1),
            "pins": Out(outside_pins(device)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        device = self._device
        m.submodules.buffer = buffer = WeightBuffer(device=device)
        m.submodules.row = row = TokenRow(device=device)
        connect(m, buffer.words, flipped(self.words))
        connect(m, row.fetch, flipped(self.fetch))
        connect(m, row.lookup, flipped(self.lookup))
        connect(m, flipped(self.embedding), row.embedding)
        connect(m, flipped(self.rounds), buffer.rounds)
        port = self._add_port(m)

        last_word = Signal(2 * BUS_BITS, init=-1)
        for half in range(2):
            with m.If(self.write_last[half]):
                m.d.sync += last_word.word_select(half, BUS_BITS).eq(self.unit_data)
        # The program is known when the first token is looked up.
        started = Signal()
        m.d.sync += started.eq(self.running & (started | self.embedding.start))
        m.d.comb += [buffer.running.eq(started), buffer.last_word.eq(last_word)]
        with m.If(self.clear):
            m.d.sync += self.stalls.eq(0)
        with m.Elif(self.running & buffer.stalled):
            m.d.sync += self.stalls.eq(self.stalls + 1)

        host, host_reads = self._add_host(m)
        check = self._add_check(m, last_word, ~self.running & ~host_reads)
        writes = self._add_writes(m)
        self._add_access(m, port, [row.read, host, buffer.read, check], writes)
        return m

    def _add_port(self, m: Module) -> "wiring.PureInterface":
        """Add the memory's controller; return its port."""
        outside = self._device.outside
        controller: FlashReader | SdramController
        if isinstance(outside, QuadFlash):
            m.submodules.flash = controller = FlashReader(device=self._device)
        elif isinstance(outside, Sdram):
            m.submodules.sdram = controller = SdramController(device=self._device)
        else:
            return flipped(self.pins)
        connect(m, controller.pins, flipped(self.pins))
        return controller.port

    def _add_host(self, m: Module) -> tuple["wiring.PureInterface", Signal]:
        """Add the host's reads, a unit at a time."""
        read = ReadSignature(self._device).create(path=("host",))
        reading = Signal()
        got = Signal()
        m.d.comb += [
            read.wants.eq(reading & ~self.running), read.ready.eq(read.wants),
            read.word.eq(self.unit[self._unit_bits:]), got.eq(read.valid & read.ready),
        ]
        m.d.sync += self.answered.eq(got)
        with m.If(got):
            m.d.sync += [reading.eq(0), self.answer.eq(
                read.payload.word_select(self.unit[:self._unit_bits], BUS_BITS))]
        with m.If(self.read & ~self.running):
            m.d.sync += reading.eq(1)
        return read, reading

    def _add_writes(self, m: Module) -> "wiring.PureInterface":
        """Add the queue of units that the host writes; a frame of them comes at once."""
        writes = wiring.Signature({
            "valid": Out(1), "taken": In(1), "unit": Out(len(self.unit)), "data": Out(BUS_BITS),
        }).create(path=("writes",))
        depth = 1 << MAX_WORDS.bit_length()
        m.submodules.queue = queue = SyncFIFOBuffered(
            width=len(self.unit) + BUS_BITS, depth=depth)
        m.d.comb += [
            queue.w_data.eq(Cat(self.unit_data, self.unit)),
            queue.w_en.eq(self.write & ~self.running),
            writes.valid.eq(queue.r_rdy),
            queue.r_en.eq(writes.taken),
            Cat(writes.data, writes.unit).eq(queue.r_data),
        ]
        return writes

    def _add_check(self, m: Module, last_word: Signal, may: Signal) -> "wiring.PureInterface":
        """Add the check: all words once, a byte of them per cycle."""
        read = ReadSignature(self._device).create(path=("check",))
        steps = 2 * self._device.packing.word_units
        restart, busy, last = Signal(), Signal(), Signal()
        step = Signal(range(steps))
        word = Signal(8 * steps, reset_less=True)
        number = Signal.like(read.word)
        raw = Signal(CRC_BITS, init=CRC_INIT)
        done = Signal()
        m.d.sync += restart.eq(
            self.running | self.read | self.write | self.write_last.any() | self._queued(m))
        m.d.comb += [
            read.wants.eq(may & ~done & ~restart), read.word.eq(number),
            read.moves.eq(restart),
            read.ready.eq(read.wants & ~busy),
            self.crc.eq(~raw), self.complete.eq(done),
            self.checking.eq(~self.running & ~done),
        ]
        with m.If(read.valid & read.ready):
            m.d.sync += [word.eq(read.payload), number.eq(number + 1), busy.eq(1),
                         last.eq(number == last_word)]
        with m.If(busy):
            m.d.sync += [raw.eq(crc32_step(raw, word[:8])), word.eq(word >> 8),
                         step.eq(step + 1)]
            with m.If(step == steps - 1):
                m.d.sync += [busy.eq(0), done.eq(last)]
        with m.If(restart):
            m.d.sync += [busy.eq(0), step.eq(0), number.eq(0), done.eq(0), raw.eq(CRC_INIT)]
        return read

    def _queued(self, m: Module) -> Signal:
        """1 while units wait to be written."""
        self._some_queued = Signal()
        return self._some_queued

    def _add_access(self, m: Module, port: "wiring.PureInterface",
                    readers: list["wiring.PureInterface"], writes: "wiring.PureInterface") -> None:
        """Add the port's turns: the first reader that wants goes first, writes before all.

        The first two readers get a word per request, the others all that they take.
        """
        requests, words = port.requests, port.words
        tag = Signal.like(requests.payload.tag)
        owner = Signal(range(len(readers)))
        wanted = Cat(reader.wants for reader in readers)
        first = Signal.like(owner)
        for k in reversed(range(len(readers))):
            with m.If(wanted[k]):
                m.d.comb += first.eq(k)
        single = owner < 2
        fsm = OneHotFSM(m, "CHOOSE", "REQUEST", "SERVE")
        matches = Signal()
        gone = Signal()
        ready = Signal()
        m.d.comb += [
            self._some_queued.eq(writes.valid),
            matches.eq(fsm.ongoing("SERVE") & words.valid & (words.payload.tag == tag)),
            words.ready.eq(~matches | ready),
            requests.payload.tag.eq(tag),
            requests.payload.write.eq(writes.valid),
            requests.payload.data.eq(writes.data),
        ]
        for k, reader in enumerate(readers):
            m.d.comb += [reader.valid.eq(matches & (owner == k)),
                         reader.payload.eq(words.payload.word)]
            with m.If(owner == k):
                m.d.comb += [gone.eq(~reader.wants | reader.moves), ready.eq(reader.ready)]
                m.d.comb += requests.payload.unit.eq(reader.word << self._unit_bits)
        with m.If(writes.valid):
            m.d.comb += requests.payload.unit.eq(writes.unit)

        with fsm.State("CHOOSE"):
            m.d.sync += owner.eq(first)
            with m.If(writes.valid):
                m.d.comb += [requests.valid.eq(1), writes.taken.eq(requests.ready)]
            with m.Elif(wanted.any()):
                m.d.sync += tag.eq(tag + 1)
                fsm.next = "REQUEST"

        with fsm.State("REQUEST"):
            m.d.comb += requests.valid.eq(~writes.valid & ~gone)
            with m.If(writes.valid | gone):
                fsm.next = "CHOOSE"
            with m.Elif(requests.ready):
                fsm.next = "SERVE"

        with fsm.State("SERVE"):
            with m.If(gone | writes.valid | (wanted.any() & (first < owner))
                      | (single & matches)):
                fsm.next = "CHOOSE"
