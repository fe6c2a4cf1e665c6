"""Chip for imported models: the link, the core, and memories for all that the core streams."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect

from trilight.hw.contract.imported import (
    FORMATS,
    IMPORTED_MAGIC,
    PARAMETER_FIELDS,
    PARAMETER_WORDS,
    SHAPE_WORDS,
    ImportedDevice,
)
from trilight.hw.contract.protocol import Region, RunFlag
from trilight.hw.core import RegisteredBus
from trilight.hw.interfaces import BUS_BITS
from trilight.hw.link.link import Link
from trilight.hw.memory.weights import WeightStore

from .core import ImportedCore

__all__ = ["ImportedChip"]


class ImportedChip(wiring.Component):
    """An imported model on one chip: frames in and out of ``rx`` and ``tx``.

    The host writes a token's residual stream, for the embedding is its own, and runs the token;
    logits can be read, and the likeliest token is announced. Regions of ``docs/protocol.md`` hold:

    ===========  ================================================
    PROGRAM      shape, ``SHAPE_WORDS`` words
    TAPS         parameters, ``PARAMETER_WORDS`` words each
    TAPE         written: residual stream, ``CHANNEL_WORDS`` words a channel; read: logits,
                 ``LOGIT_WORDS`` words each
    WEIGHT_CRC   as in any chip; word 3: how many values were clipped, modulo 65536
    ===========  ================================================

    A RUN feeds one token, and announces the likeliest next one if it generates. A token takes as
    many cycles as ``trilight.sw.plan.cycles`` computes.

    Parameters
    ----------
    device : ImportedDevice
    clock_hz, clocks_per_bit, build_id : int
        See ``Link``.

    Members
    -------
    rx, tx : In(1), Out(1)
    """

    rx: Signal
    tx: Signal

    def __init__(self, *, device: ImportedDevice, clock_hz: int = 48_000_000,
                 clocks_per_bit: int = 4, build_id: int = 0) -> None:
        self._device = device
        self._link = Link(device=device.engine, clock_hz=clock_hz, clocks_per_bit=clocks_per_bit,
                          build_id=build_id, magic=IMPORTED_MAGIC)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = self._link
        m.submodules.core = core = ImportedCore(device=self._device)
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]
        bus = RegisteredBus(m, link.bus)
        self._checking = Signal()
        begins = self._add_run(m, link, core)
        self._add_shape(m, bus, core)
        bits = sum(width for _, width in PARAMETER_FIELDS)
        depth = self._device.engine.program_words // PARAMETER_WORDS
        self._add_stream(m, "parameters", bus.writes(m, Region.TAPS), bus, bits, depth, begins,
                         core.parameters)
        self._add_stream(m, "embedding", bus.writes(m, Region.TAPE), bus, FORMATS.residual_bits,
                         self._device.max_hidden, begins, core.embedding)
        self._add_weights(m, bus, link, core, self._add_logits(m, bus, core, begins))
        return m

    def _add_run(self, m: Module, link: Link, core: ImportedCore) -> Signal:
        """Begin a token with each RUN; count, and announce."""
        request, status = link.run.request, link.status
        begins, generates = Signal(), Signal()
        position = Signal(16)
        reset = (request.payload.flags & RunFlag.RESET).any()
        clear = (request.payload.flags & RunFlag.CLEAR).any()
        m.d.comb += [
            status.running.eq(core.busy | core.done), status.positions[0].eq(position),
            core.tokens.valid.eq(request.valid & ~core.done),
            core.tokens.payload.eq(reset),
            request.ready.eq(core.tokens.ready & ~core.done),
            begins.eq(request.valid & request.ready),
        ]
        with m.If(begins):
            m.d.sync += generates.eq(request.payload.n_generate.any())
            with m.If(reset):
                m.d.sync += position.eq(0)
            with m.If(clear):
                m.d.sync += [status.cycles.eq(0), status.words.eq(0), status.tokens.eq(0)]
        trace_running = Signal(attrs={"keep": 1})
        trace_checking = Signal(attrs={"keep": 1})
        m.d.comb += [trace_running.eq(status.running), trace_checking.eq(self._checking)]
        event = link.events[0]
        with m.If(event.ready):
            m.d.sync += event.valid.eq(0)
        with m.If(core.done):
            m.d.sync += [
                position.eq(position + 1), status.tokens.eq(status.tokens + 1),
                status.cycles.eq(status.cycles + core.cycles),
                status.words.eq(status.words + core.used),
                event.valid.eq(generates), event.payload.position.eq(position + 1),
                event.payload.token.eq(core.best),
            ]
        return begins

    def _add_shape(self, m: Module, bus: RegisteredBus, core: ImportedCore) -> None:
        shape = Signal(len(Value.cast(core.shape)), reset_less=True)
        m.d.comb += core.shape.eq(shape)
        with m.If(bus.writes(m, Region.PROGRAM)):
            for k in range(min(SHAPE_WORDS, -(-len(shape) // BUS_BITS))):
                with m.If(bus.address[:(SHAPE_WORDS - 1).bit_length()] == k):
                    m.d.sync += shape[BUS_BITS * k:BUS_BITS * (k + 1)].eq(bus.data)

    @staticmethod
    def _add_stream(m: Module, name: str, writes: Signal, bus: RegisteredBus, bits: int,
                    depth: int, begins: Signal, stream: "wiring.PureInterface") -> None:
        """Entries of four words, streamed from the first one on once a token begins.

        The memory is asked a cycle ahead for what the next transfer leaves.
        """
        number = Signal(range(depth + 1), name=f"{name}_number")
        following = Signal.like(number, name=f"{name}_following")
        m.d.comb += following.eq(Mux(begins, 0, number + (stream.valid & stream.ready)))
        m.d.sync += [number.eq(following), stream.valid.eq(1)]
        words = []
        for k in range(-(-bits // BUS_BITS)):
            memory = Memory(shape=min(BUS_BITS, bits - BUS_BITS * k), depth=depth, init=[])
            m.submodules[f"{name}_{k}"] = memory
            read, write = memory.read_port(), memory.write_port()
            m.d.comb += [
                read.addr.eq(following), write.addr.eq(bus.address[2:]), write.data.eq(bus.data),
                write.en.eq(writes & (bus.address[:2] == k)),
            ]
            words.append(read.data)
        m.d.comb += Value.cast(stream.payload).eq(Cat(words))

    def _add_logits(self, m: Module, bus: RegisteredBus, core: ImportedCore,
                    begins: Signal) -> Value:
        """Keep a token's logits; return what the host reads."""
        rows = self._device.engine.max_rows
        m.submodules.logits = memory = Memory(shape=FORMATS.logit_bits, depth=rows, init=[])
        read, write = memory.read_port(), memory.write_port()
        row = Signal(range(rows), reset_less=True)
        with m.If(core.logits.valid):
            m.d.sync += row.eq(row + 1)
        with m.If(begins):
            m.d.sync += row.eq(0)
        upper = Signal(reset_less=True)
        m.d.sync += upper.eq(bus.address[0])
        m.d.comb += [
            write.addr.eq(row), write.data.eq(core.logits.payload.value),
            write.en.eq(core.logits.valid), read.addr.eq(bus.address[1:]),
        ]
        return read.data.word_select(upper, BUS_BITS)

    def _add_weights(self, m: Module, bus: RegisteredBus, link: Link, core: ImportedCore,
                     logits: Value) -> None:
        """The weight memory with its check, and the host's reads."""
        m.submodules.weights = weights = WeightStore(device=self._device.engine)
        connect(m, weights.words, core.words)
        connect(m, weights.fetch, core.fetch)
        # Beside the check, how many values were clipped.
        check = Mux(bus.address[1], Mux(bus.address[0], core.saturations, weights.crc[BUS_BITS:]),
                    Mux(bus.address[0], weights.crc[:BUS_BITS], weights.complete))
        m.d.comb += [
            self._checking.eq(weights.checking),
            weights.running.eq(core.busy), weights.addr.eq(bus.address),
            weights.read.eq(bus.read & bus.to_weights),
            weights.write.eq(bus.write & bus.to_weights), weights.unit_data.eq(bus.data),
            weights.write_check.eq(bus.writes(m, Region.WEIGHT_CRC) & ~bus.address[0]),
        ]
        from_logits = Signal(BUS_BITS, reset_less=True)
        other = Signal(BUS_BITS, reset_less=True)
        reading, read = Signal(), Signal()
        m.d.sync += [
            from_logits.eq(logits),
            other.eq(Mux(bus.region == Region.WEIGHT_CRC.number, check, from_logits)),
            reading.eq(bus.read), read.eq(reading), link.bus.read_valid.eq(read),
        ]
        m.d.comb += link.bus.read_data.eq(Mux(bus.to_weights, weights.unit, other))
