"""The core: sequencer, engine, vector unit, sampler and their memories, on a bus."""

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from .adaptation import LearntBias
from .contract.device import Device
from .contract.protocol import BIASES, Region, RunFlag
from .control.sequencer import Sequencer
from .engine.engine import Engine
from .interfaces import (
    BUS_BITS,
    BusSignature,
    RunSignature,
    StatusSignature,
    region_number,
    token_events,
)
from .lib.ram import early_attributes
from .memory.streamed import StreamedWeights, outside_pins
from .memory.weights import UNIT_LATENCY, WeightStore
from .sampler import Sampler
from .vector.unit import VectorUnit

__all__ = ["READ_LATENCY", "RESTART_LATENCY", "Core", "RegisteredBus"]

READ_LATENCY = UNIT_LATENCY + 1
"""Cycles from a read on the bus to its answer."""

RESTART_LATENCY = 2
"""Cycles from an access of the weight memory on the bus to the restart of its check."""


class Core(wiring.Component):
    """A language model between a bus and a stream of runs.

    ::

        bus -> program -> sequencer -> engine -> vector unit -> sampler -> sequencer
               tape    <->             ^              |
               weights ----------------+ <-activations+

    Members
    -------
    bus : In(BusSignature)
        Write while idle; read weights while idle, tape and check at any time. The answer comes
        ``READ_LATENCY`` cycles after the pulse ``read``.
    run : In(RunSignature)
    status : Out(StatusSignature)
    events : Out(token_events)
    checking : Out(1)
        The weight memory is being checked.
    outside : Out(outside_pins)
        Pins of the memory outside, of a device whose weights stream from there.
    """

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__({
            "bus": In(BusSignature(device)),
            "run": In(RunSignature(device)),
            "status": Out(StatusSignature(device)),
            "events": token_events(device),
            "checking": Out(1),
            **({"outside": Out(outside_pins(device))} if device.streamed else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        device = self._device
        m.submodules.engine = engine = Engine(device=device)
        m.submodules.vector = vector = VectorUnit(device=device)
        m.submodules.sampler = sampler = Sampler(device=device)
        m.submodules.sequencer = sequencer = Sequencer(device=device)

        connect(m, flipped(self.run), sequencer.run)
        connect(m, sequencer.status, flipped(self.status))
        for event, announced in zip(sequencer.events, self.events, strict=True):
            connect(m, event, flipped(announced))
        connect(m, sequencer.operations, engine.operations)
        if not device.streamed:
            connect(m, sequencer.embedding, engine.embedding)
        connect(m, sequencer.context, vector.context)
        connect(m, sequencer.sampling, sampler.sampling)
        connect(m, engine.rows, vector.rows)
        connect(m, engine.channels, vector.channels)
        connect(m, vector.acts, engine.acts)
        if not device.adapt_orders:
            connect(m, vector.logits, sampler.logits)
        m.d.comb += sequencer.done.eq(vector.done | sampler.done)

        bus = RegisteredBus(m, self.bus)
        for port, region in (
            (vector.write_taps, Region.TAPS),
            (vector.write_forget_bias, Region.FORGET_BIAS),
            (vector.write_activation, Region.ACTIVATION),
            (sampler.write_gumbel, Region.GUMBEL),
        ):
            m.d.comb += [
                port.addr.eq(bus.address),
                port.data.eq(bus.data),
                port.en.eq(bus.writes(m, region)),
            ]
        self._add_program(m, bus, sequencer, vector)
        read_data = self._add_tape(m, bus, sequencer)
        if device.adapt_orders:
            read_data = self._add_biases(m, bus, sequencer, vector, sampler, read_data)
        if device.streamed:
            self._add_streamed_weights(m, bus, engine, sequencer, read_data)
        else:
            self._add_weights(m, bus, engine, sequencer.status.running, read_data)
        return m

    def _add_program(self, m: Module, bus: "RegisteredBus", sequencer: Sequencer,
                     vector: VectorUnit) -> None:
        """Add the program memory.

        The output bias of token t lies at ~t, above the program, and is read only by head rows,
        when the sequencer has no operation left to fetch.
        """
        m.submodules.program = program = Memory(
            shape=unsigned(BUS_BITS), depth=self._device.program_words, init=[])
        read, write = program.read_port(), program.write_port()
        m.d.comb += [
            read.addr.eq(
                Mux(vector.head_bias.read, vector.head_bias.addr, sequencer.program.addr)),
            sequencer.program.data.eq(read.data),
            vector.head_bias.data.eq(read.data),
            write.addr.eq(bus.address),
            write.data.eq(bus.data),
            write.en.eq(bus.writes(m, Region.PROGRAM) | bus.writes(m, Region.HEAD_BIAS)),
        ]

    def _add_tape(self, m: Module, bus: "RegisteredBus", sequencer: Sequencer) -> Value:
        """Add the tapes; return what the host reads.

        The sequencer waits while the host reads or writes.
        """
        device = self._device
        m.submodules.tape = tape = Memory(
            shape=unsigned(device.token_bits), depth=device.sequences * device.tape_tokens,
            init=[], attrs=early_attributes(device))
        read, write = tape.read_port(), tape.write_port()
        port = sequencer.tape
        host_writes = bus.writes(m, Region.TAPE)
        m.d.comb += [
            read.addr.eq(Mux(bus.read, bus.address, port.addr)),
            port.read_ready.eq(~bus.read),
            port.read_data.eq(read.data),
            write.addr.eq(Mux(host_writes, bus.address, port.addr)),
            write.data.eq(Mux(host_writes, bus.data, port.write_data)),
            write.en.eq(host_writes | port.write),
        ]
        return read.data

    def _add_biases(self, m: Module, bus: "RegisteredBus", sequencer: Sequencer,
                    vector: VectorUnit, sampler: Sampler, tape_data: Value) -> Value:
        """Add the biases that are learnt while reading, in the way of the logits.

        Returns what the host reads: of these, or else of the tape.
        """
        m.submodules.biases = biases = LearntBias(device=self._device)
        connect(m, vector.logits, biases.logits)
        connect(m, biases.biased, sampler.logits)
        connect(m, sequencer.learning, biases.learning)
        m.d.comb += [biases.drawn.eq(sampler.done), biases.token.eq(sampler.sampling.token)]
        read_data = tape_data
        for number, _ in enumerate(self._device.adapt_depths):
            region = region_number(BIASES[number])
            access: wiring.PureInterface = getattr(biases, f"access_{number}")
            m.d.comb += [
                access.addr.eq(bus.address),
                access.read.eq(bus.read & ~bus.to_weights & (bus.region == region)),
                access.write.eq(bus.writes_number(m, region, f"biases_{number}")),
                access.write_data.eq(bus.data),
            ]
            read_data = Mux(bus.region == region, access.read_data.as_unsigned(), read_data)
        return read_data

    def _add_weights(self, m: Module, bus: "RegisteredBus", engine: Engine, running: Value,
                     other_data: Value) -> None:
        """Add the weight memory with its check, and the host's reads.

        The memory is the engine's during a run, and else the host's. What the host does not need
        of it, the check has.
        """
        m.submodules.weights = weights = WeightStore(device=self._device)
        connect(m, weights.words, engine.words)
        connect(m, weights.fetch, engine.fetch)
        m.d.comb += [
            weights.running.eq(running),
            weights.addr.eq(bus.address),
            weights.read.eq(bus.read & bus.to_weights),
            weights.write.eq(bus.write & bus.to_weights),
            weights.unit_data.eq(bus.data),
            weights.write_check.eq(bus.writes(m, Region.WEIGHT_CRC) & ~bus.address[0]),
            self.checking.eq(weights.checking),
        ]

        read = self._add_reads(m, bus, other_data, Mux(
            bus.address[1], weights.crc[16:],
            Mux(bus.address[0], weights.crc[:16], weights.complete)))
        m.d.comb += self.bus.read_data.eq(Mux(bus.to_weights, weights.unit, read))

    def _add_reads(self, m: Module, bus: "RegisteredBus", other_data: Value,
                   check_data: Value) -> Signal:
        """Add the host's reads of what is not a weight; return what was read.

        The tape, learnt biases and the region of the check can be read.
        """
        in_check = (bus.region == Region.WEIGHT_CRC.number if self._device.adapt_orders
                    else bus.region[0])
        assert Region.TAPE.number % 2 == 0 != Region.WEIGHT_CRC.number % 2
        from_tape = Signal(len(other_data), reset_less=True)
        other = Signal(BUS_BITS, reset_less=True)
        reading = Signal()
        read = Signal()
        m.d.sync += [
            from_tape.eq(other_data),
            other.eq(Mux(in_check, check_data, from_tape)),
            reading.eq(bus.read),
            read.eq(reading),
        ]
        if self._device.streamed:
            self._other_read = read
        else:
            m.d.sync += self.bus.read_valid.eq(read)
        return other

    def _add_streamed_weights(self, m: Module, bus: "RegisteredBus", engine: Engine,
                              sequencer: Sequencer, other_data: Value) -> None:
        """Add the weights from outside with their check, and the host's reads."""
        m.submodules.weights = weights = StreamedWeights(device=self._device)
        connect(m, weights.words, engine.words)
        connect(m, weights.fetch, engine.fetch)
        connect(m, weights.lookup, engine.embedding)
        connect(m, sequencer.embedding, weights.embedding)
        connect(m, sequencer.rounds, weights.rounds)
        connect(m, weights.pins, flipped(self.outside))
        request = self.run.request
        writes_last = bus.writes(m, Region.WEIGHT_CRC)
        m.d.comb += [
            weights.running.eq(sequencer.status.running),
            weights.unit.eq(bus.address),
            weights.read.eq(bus.read & bus.to_weights),
            weights.write.eq(bus.write & bus.to_weights),
            weights.unit_data.eq(bus.data),
            weights.write_last.eq(Mux(writes_last, Mux(bus.address[0], 0b10, 0b01), 0)),
            weights.clear.eq(request.valid & request.ready
                             & (request.payload.flags & RunFlag.CLEAR.value).any()),
            self.checking.eq(weights.checking),
        ]
        words = Array([weights.complete, weights.crc[:16], weights.crc[16:], Const(0, BUS_BITS),
                       weights.stalls[:16], weights.stalls[16:]])
        read = self._add_reads(m, bus, other_data, words[bus.address[:3]])
        # The answer of the memory outside takes as long as it does.
        valid = Signal()
        m.d.sync += valid.eq(self._other_read)
        m.d.comb += [
            self.bus.read_valid.eq(Mux(bus.to_weights, weights.answered, valid)),
            self.bus.read_data.eq(Mux(bus.to_weights, weights.answer, read)),
        ]


class RegisteredBus:
    """The bus a cycle later, and the writes to each region, decoded into registers."""

    def __init__(self, m: Module, bus: "wiring.PureInterface") -> None:
        self._bus = bus
        self.address = Signal.like(bus.address, name="bus_address", reset_less=True)
        self.data = Signal.like(bus.data, name="bus_data", reset_less=True)
        self.to_weights = Signal(name="bus_to_weights", reset_less=True)
        self.region = Signal.like(bus.region, name="bus_region", reset_less=True)
        self.write = Signal(name="bus_write")
        self.read = Signal(name="bus_read")
        # Output biases lie in their memory from its end downwards.
        to_bias = ~bus.to_weights & (bus.region == Region.HEAD_BIAS.number)
        m.d.sync += [
            self.address.eq(bus.address ^ to_bias.replicate(len(bus.address))),
            self.data.eq(bus.data),
            self.to_weights.eq(bus.to_weights),
            self.region.eq(bus.region),
            self.write.eq(bus.write),
            self.read.eq(bus.read),
        ]

    def writes(self, m: Module, region: Region) -> Signal:
        """Return the pulse of a write to a region."""
        return self.writes_number(m, region.number, region.name.lower())

    def writes_number(self, m: Module, number: int, name: str) -> Signal:
        """Return the pulse of a write to the region of a number."""
        writes = Signal(name=f"writes_{name}")
        m.d.sync += writes.eq(self._bus.write & ~self._bus.to_weights
                              & (self._bus.region == number))
        return writes
