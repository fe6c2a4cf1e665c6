"""The core: sequencer, engine, vector unit, sampler and their memories, on a bus of units."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import SPACE_BITS, Space
from trilight.hw.control.sequencer import NOTICE_LAYOUT, RUN_LAYOUT, Sequencer
from trilight.hw.engine.engine import Engine
from trilight.hw.memory.scrub import WeightCheck
from trilight.hw.memory.spram import WeightMemory
from trilight.hw.vector.unit import VectorUnit

from .sampler import Sampler

__all__ = ["READ_LATENCY", "RESTART_LATENCY", "Core"]

READ_LATENCY = WeightMemory.LATENCY + 2
"""Cycles from a read on the bus to its answer."""

RESTART_LATENCY = 2
"""Cycles from an access of the weight memory on the bus to the restart of its check."""


class Core(wiring.Component):
    """A language model between a bus of 16-bit units and a stream of runs.

    Members
    -------
    bus_addr : In(17), bus_data : In(16), bus_write : In(1)
        Write one unit of the device address space (``protocol.Space``), while idle.
    bus_read : In(1), bus_read_data : Out(16), bus_read_valid : Out(1)
        Read one unit of weights (while idle), tape or check; the answer comes ``READ_LATENCY``
        cycles later, until when the address has to stay.
    run : In(stream of RUN_LAYOUT)
    stop : In(1)
    running, position_0, position_1, cycles, words, tokens : Out
    notice_0, notice_1 : Out(stream of NOTICE_LAYOUT)
        See ``Sequencer``.
    checking : Out(1)
        The weight memory is being checked.
    """

    bus_addr: Signal
    bus_data: Signal
    bus_write: Signal
    bus_read: Signal
    bus_read_data: Signal
    bus_read_valid: Signal
    run: stream.Interface
    stop: Signal
    running: Signal
    position_0: Signal
    position_1: Signal
    cycles: Signal
    words: Signal
    tokens: Signal
    notice_0: stream.Interface
    notice_1: stream.Interface
    checking: Signal

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__({
            "bus_addr": In(17),
            "bus_data": In(16),
            "bus_write": In(1),
            "bus_read": In(1),
            "bus_read_data": Out(16),
            "bus_read_valid": Out(1),
            "run": In(stream.Signature(RUN_LAYOUT)),
            "stop": In(1),
            "running": Out(1),
            "position_0": Out(16),
            "position_1": Out(16),
            "cycles": Out(32),
            "words": Out(32),
            "tokens": Out(32),
            "notice_0": Out(stream.Signature(NOTICE_LAYOUT)),
            "notice_1": Out(stream.Signature(NOTICE_LAYOUT)),
            "checking": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        device = self._device
        m.submodules.engine = engine = Engine(device=device)
        m.submodules.vector = vector = VectorUnit(device=device)
        m.submodules.sampler = sampler = Sampler(device=device)
        m.submodules.sequencer = sequencer = Sequencer(device=device)
        m.submodules.weights = weights = WeightMemory()

        connect(m, flipped(self.run), sequencer.run)
        connect(m, sequencer.notice_0, flipped(self.notice_0))
        connect(m, sequencer.notice_1, flipped(self.notice_1))
        m.d.comb += [
            sequencer.stop.eq(self.stop),
            self.running.eq(sequencer.running),
            self.position_0.eq(sequencer.position_0),
            self.position_1.eq(sequencer.position_1),
            self.cycles.eq(sequencer.cycles),
            self.words.eq(sequencer.words),
            self.tokens.eq(sequencer.tokens),
        ]

        # ---- Bus: registered, then a write goes to the memory that its space names
        bus_addr = Signal.like(self.bus_addr, reset_less=True)
        bus_data = Signal.like(self.bus_data, reset_less=True)
        bus_write = Signal()
        bus_read = Signal()
        m.d.sync += [
            bus_addr.eq(self.bus_addr),
            bus_data.eq(self.bus_data),
            bus_write.eq(self.bus_write),
            bus_read.eq(self.bus_read),
        ]
        unit = bus_addr[:SPACE_BITS]
        to_weights = ~bus_addr[-1]
        # Of the other spaces, these two can be read.
        in_check = ~bus_addr[SPACE_BITS]
        assert (Space.TAPE >> SPACE_BITS) % 2 != (Space.CHECK >> SPACE_BITS) % 2 == 0

        def write_to(which: Space) -> Value:
            writes = Signal(name=f"writes_{which.name.lower()}")
            m.d.sync += writes.eq(
                self.bus_write & (self.bus_addr[SPACE_BITS:] == which.value >> SPACE_BITS))
            return writes

        m.submodules.program = program = Memory(
            shape=unsigned(16), depth=device.program_words, init=[])
        program_read = program.read_port()
        program_write = program.write_port()
        # The output bias of token t lies at ~t and is read only by head rows, when the sequencer
        # has no operation left to fetch.
        m.d.comb += [
            program_read.addr.eq(
                Mux(vector.head_bias_read, vector.head_bias_addr, sequencer.program_addr)),
            sequencer.program_data.eq(program_read.data),
            vector.head_bias.eq(program_read.data),
            program_write.addr.eq(unit),
            program_write.data.eq(bus_data),
            program_write.en.eq(write_to(Space.PROGRAM)),
        ]
        for table in (vector.table, sampler.table):
            m.d.comb += [table.addr.eq(unit), table.data.eq(bus_data)]
        m.d.comb += [
            vector.write_taps.eq(write_to(Space.TAPS)),
            vector.write_forget_bias.eq(write_to(Space.FORGET_BIAS)),
            vector.write_activation.eq(write_to(Space.ACTIVATION)),
            sampler.write_gumbel.eq(write_to(Space.GUMBEL)),
        ]

        # ---- Tape: the sequencer waits while the host reads or writes
        m.submodules.tape = tape = Memory(
            shape=unsigned(8), depth=device.sequences * device.tape_tokens, init=[])
        tape_read = tape.read_port()
        tape_write = tape.write_port()
        host_writes_tape = write_to(Space.TAPE)
        m.d.comb += [
            tape_read.addr.eq(Mux(bus_read, unit, sequencer.tape_addr)),
            sequencer.tape_read_ready.eq(~bus_read),
            sequencer.tape_data.eq(tape_read.data),
            tape_write.addr.eq(Mux(host_writes_tape, unit, sequencer.tape_addr)),
            tape_write.data.eq(Mux(host_writes_tape, bus_data, sequencer.tape_token)),
            tape_write.en.eq(host_writes_tape | sequencer.tape_write),
        ]

        # ---- Weight memory: the engine's while running, else the host's, who seldom needs it
        m.submodules.check = check = WeightCheck()
        host = Signal()
        reads_weights = bus_read & to_weights
        writes_weights = bus_write & to_weights
        writes_check = write_to(Space.CHECK)
        host_addr = Mux(reads_weights | writes_weights, bus_addr[2:16], check.addr)
        m.d.comb += [
            host.eq(~sequencer.running),
            weights.addr.eq(Mux(host, host_addr, engine.weight_addr)),
            weights.read.eq(Mux(host, reads_weights | (check.read & ~writes_weights),
                                engine.weight_read)),
            weights.write.eq(host & writes_weights),
            weights.unit.eq(bus_addr[:2]),
            weights.unit_data.eq(bus_data),
            engine.weight_data.eq(weights.data),
            check.last_word.eq(bus_data),
            check.write_last_word.eq(writes_check),
            self.checking.eq(host & ~check.complete),
        ]
        m.d.sync += check.restart.eq(~host | reads_weights | writes_weights | writes_check)
        selected = Signal.like(check.selected, reset_less=True)
        weight_unit = Signal.like(self.bus_read_data, reset_less=True)
        reading = Signal()
        read = Signal()
        from_tape = Signal.like(tape_read.data, reset_less=True)
        other = Signal.like(self.bus_read_data, reset_less=True)
        assert WeightMemory.LATENCY == 2
        m.d.sync += [
            from_tape.eq(tape_read.data),
            other.eq(Mux(in_check, Mux(bus_addr[1], check.crc[16:],
                                       Mux(bus_addr[0], check.crc[:16], check.complete)),
                         from_tape)),
            selected.eq(Mux(check.selects, check.selected, bus_addr[:2])),
            reading.eq(bus_read),
            read.eq(reading),
            self.bus_read_valid.eq(read),
        ]
        # During a run what is behind it rests.
        with m.If(host):
            m.d.sync += weight_unit.eq(weights.data.word_select(selected, 16))
        m.d.comb += [
            check.unit.eq(weight_unit),
            self.bus_read_data.eq(Mux(to_weights, weight_unit, other)),
        ]

        # ---- Sequencer to engine, vector unit and sampler
        connect(m, sequencer.ops, engine.ops)
        connect(m, vector.acts, engine.acts)
        connect(m, engine.rows, vector.rows)
        connect(m, engine.channels, vector.channels)
        connect(m, vector.logits, sampler.logits)
        m.d.comb += [
            engine.expected.eq(sequencer.expected),
            sequencer.op_ends.eq(engine.op_ends),
            engine.act_short.eq(sequencer.context.act_short),
            engine.act_sequence.eq(sequencer.context.sequence),
            engine.embed_start.eq(sequencer.embed_start),
            engine.embed_base.eq(sequencer.embed_base),
            engine.embed_stride.eq(sequencer.embed_stride),
            engine.embed_token.eq(sequencer.embed_token),
            engine.embed_count.eq(sequencer.channel_count),
            engine.embed_scale.eq(sequencer.embed_scale),
            engine.embed_short.eq(sequencer.embed_short),
            sequencer.word_used.eq(engine.word_used),
            vector.context.eq(sequencer.context),
            vector.load.eq(sequencer.load),
            vector.scale.eq(sequencer.scale),
            vector.push_scale.eq(sequencer.push_scale),
            sequencer.not_total.eq(vector.not_total),
            sampler.draw.eq(vector.draw),
            sampler.sequence.eq(sequencer.context.sequence),
            sampler.temperature.eq(sequencer.temperature),
            sampler.seed.eq(sequencer.seed),
            sampler.seed_sequence.eq(sequencer.seed_sequence),
            sampler.load_seed.eq(sequencer.load_seed),
            sequencer.sampled.eq(sampler.token.payload),
            sequencer.done.eq(vector.done | sampler.token.valid),
        ]
        return m
