"""Core for imported models: engine and vector unit, from a residual stream to a token."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from trilight.hw.contract.imported import FORMATS, ImportedDevice, Kind
from trilight.hw.engine.engine import Engine
from trilight.hw.interfaces import FetchSignature, WeightStreamSignature

from .layouts import parameter_layout, shape_layout
from .probe import add_probes
from .quantiser import Quantiser
from .rows import SATURATION_BITS, RowUnit
from .walk import Walk

__all__ = ["ImportedCore"]


class ImportedCore(wiring.Component):
    """All of a token but its embedding, which comes as a residual stream.

    ::

        embedding -> residual stream <-----------+
                           |                     |
        parameters -> quantiser --codes--> engine --rows--> row unit -> logits, residuals
                           `---multiplier---------------------^

    Weights and parameters are streams in the order of use: with ``first`` both begin again. A token
    takes as many cycles as ``trilight.sw.plan.cycles`` computes from sizes alone, where neither
    stream waits.

    Members
    -------
    shape : In(shape_layout)
        Holds during a token.
    tokens : In(stream of 1)
        Begin a token; the payload: the recurrent state counts as zero.
    embedding : In(stream of signed(residual_bits))
        The residual stream before the first layer, a channel a transfer.
    parameters : In(stream of parameter_layout)
        As ``Quantiser`` takes them.
    words : In(WeightStreamSignature), fetch : In(FetchSignature)
        Weight words; ``fetch`` rests.
    logits : Out(stream of value and last, always ready)
    residuals : Out(stream of signed(residual_bits), always ready)
        What each layer writes to the residual stream; of a device without the head, the last
        ``hidden`` of a token are its result.
    busy : Out(1)
    done : Out(1)
        Pulse: the token's last logit or channel is out.
    best : Out
        Row of the largest logit, the first of equal ones, with ``done`` and until the next token.
    saturations : Out(32)
    cycles, used : Out(32)
        Cycles of the present or last token, and of them those with a weight word.
    """

    def __init__(self, *, device: ImportedDevice) -> None:
        self._device = device
        engine = device.engine
        logit = data.StructLayout({"value": signed(FORMATS.logit_bits), "last": 1})
        residual = signed(FORMATS.residual_bits)
        super().__init__({
            "shape": In(shape_layout(device)),
            "tokens": In(stream.Signature(1)),
            "embedding": In(stream.Signature(residual)),
            "parameters": In(stream.Signature(parameter_layout())),
            "words": In(WeightStreamSignature(engine)), "fetch": In(FetchSignature(engine)),
            "logits": Out(stream.Signature(logit, always_ready=True)),
            "residuals": Out(stream.Signature(residual, always_ready=True)),
            "busy": Out(1), "done": Out(1), "best": Out(engine.row_bits),
            "saturations": Out(SATURATION_BITS), "cycles": Out(32), "used": Out(32),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        device = self._device
        self._takes = Signal()  # a channel of the embedding is taken
        m.submodules.engine = engine = Engine(device=device.engine)
        m.submodules.quantiser = quantiser = Quantiser(device=device)
        m.submodules.row_unit = rows = RowUnit(device=device)
        begin = Signal()
        m.d.comb += [self.tokens.ready.eq(~self.busy),
                     begin.eq(self.tokens.valid & self.tokens.ready),
                     quantiser.clear.eq(begin), rows.start.eq(begin)]
        zero_state = Signal()
        with m.If(begin):
            m.d.sync += [self.busy.eq(1), zero_state.eq(self.tokens.payload)]
        with m.Elif(rows.done):
            m.d.sync += self.busy.eq(0)
        m.d.comb += rows.zero_state.eq(Mux(begin, self.tokens.payload, zero_state))

        connect(m, flipped(self.parameters), quantiser.parameters)
        connect(m, flipped(self.words), engine.words)
        connect(m, flipped(self.fetch), engine.fetch)
        connect(m, quantiser.acts, engine.acts)
        connect(m, quantiser.result, rows.multipliers)
        connect(m, engine.rows, rows.rows)
        connect(m, rows.logits, flipped(self.logits))
        m.d.comb += [
            quantiser.shape.eq(self.shape), rows.shape.eq(self.shape),
            quantiser.gate_squares.eq(rows.gate_squares),
            engine.operations.rows_enabled.eq(rows.rows_enabled),
            rows.ends.eq(engine.operations.ends),
            self.residuals.valid.eq(rows.write_residual),
            self.residuals.payload.eq(rows.new_residual),
            self.saturations.eq(rows.saturations),
        ]
        self._add_operations(m, begin, engine, quantiser, rows)
        embedded = self._add_embedding(m, begin)
        self._add_memories(m, embedded, quantiser, rows)
        self._add_best(m, begin, rows)
        self._add_counters(m, begin, engine)
        add_probes(
            m, code=(quantiser.acts.acts.valid, quantiser.acts.acts.payload.value),
            sum=(engine.rows.valid, engine.rows.payload.sum),
            multiplier=(rows.multipliers.valid & rows.multipliers.ready,
                        rows.multipliers.payload.as_value()),
            logit=(rows.logits.valid, rows.logits.payload.value))
        return m

    def _add_operations(self, m: Module, begin: Signal, engine: Engine, quantiser: Quantiser,
                        rows: RowUnit) -> None:
        """Walk engine, quantiser and row unit through the operations of a token."""
        shape = self.shape
        walks = [Walk(device=self._device) for _ in range(3)]
        m.submodules.engine_walk, m.submodules.quantiser_walk, m.submodules.row_walk = walks
        for walk in walks:
            m.d.comb += [walk.shape.eq(shape), walk.start.eq(begin)]
        connect(m, walks[1].ops, quantiser.ops)
        connect(m, walks[2].ops, rows.ops)
        op, ops = walks[0].ops, engine.operations.ops
        row_count = Signal(self._device.engine.row_bits)
        with m.Switch(op.payload.kind):
            with m.Case(Kind.GLU):
                m.d.comb += row_count.eq((shape.inner << 1) + 1)
            with m.Case(Kind.HEAD):
                m.d.comb += row_count.eq(shape.vocabulary)
            with m.Default():
                m.d.comb += row_count.eq(shape.hidden)
        m.d.comb += [
            ops.valid.eq(op.valid), op.ready.eq(ops.ready),
            ops.payload.rows.eq(row_count),
            ops.payload.vector.blocks.eq(Mux(op.payload.kind == Kind.DOWN, shape.inner_blocks,
                                             shape.hidden_blocks)),
            ops.payload.rewind.eq(op.payload.first),
        ]
        # The engine takes a vector once the one before fills no table for the first time: rows of
        # that one's operation have come.
        may_write = Signal(init=1)
        with m.If(quantiser.begins):
            m.d.sync += may_write.eq(0)
        with m.Elif(rows.row_begins):
            m.d.sync += may_write.eq(1)
        m.d.comb += quantiser.may_write.eq(may_write)

    def _add_embedding(self, m: Module, begin: Signal) -> Signal:
        """Take the residual stream of a token; its next channel."""
        channel = Signal(self._device.engine.column_bits, reset_less=True)
        m.d.comb += self._takes.eq(self.embedding.ready & self.embedding.valid)
        with m.If(self._takes):
            m.d.sync += channel.eq(channel + 1)
            with m.If(channel == self.shape.hidden):
                m.d.sync += self.embedding.ready.eq(0)
        with m.If(begin):
            m.d.sync += [self.embedding.ready.eq(1), channel.eq(0)]
        return channel

    def _add_memories(self, m: Module, channel: Signal, quantiser: Quantiser,
                      rows: RowUnit) -> None:
        """Residual stream, other vectors, lower bounds: each row's, and the quantiser's."""
        depth, columns, formats = self._device.max_hidden, self._device.engine.max_columns, FORMATS
        m.submodules.residual = residual = Memory(
            shape=signed(formats.residual_bits), depth=depth, init=[])
        m.submodules.values = values = Memory(
            shape=signed(formats.value_bits), depth=columns, init=[])
        m.submodules.bounds = bounds = Memory(
            shape=formats.sigmoid_bits + 1, depth=depth, init=[])
        write, of_row, of_column = (residual.write_port(), residual.read_port(),
                                    residual.read_port())
        m.d.comb += [
            of_row.addr.eq(rows.residual_row), rows.residual.eq(of_row.data),
            of_column.addr.eq(quantiser.column), quantiser.residual.eq(of_column.data),
            write.en.eq(rows.write_residual | self._takes),
            write.addr.eq(Mux(self._takes, channel, rows.written_row)),
            write.data.eq(Mux(self._takes, self.embedding.payload, rows.new_residual)),
            quantiser.written.eq(rows.written | self._takes),
        ]
        write, of_row, of_column = values.write_port(), values.read_port(), values.read_port()
        m.d.comb += [
            of_row.addr.eq(rows.value_row), rows.value.eq(of_row.data),
            of_column.addr.eq(quantiser.column), quantiser.value.eq(of_column.data),
            write.en.eq(rows.write_value), write.addr.eq(rows.written_value_row),
            write.data.eq(rows.new_value),
        ]
        write, of_row = bounds.write_port(), bounds.read_port()
        m.d.comb += [
            write.addr.eq(quantiser.bound_row), write.data.eq(quantiser.bound),
            write.en.eq(quantiser.write_bound),
            of_row.addr.eq(rows.bound_row), rows.bound.eq(of_row.data),
        ]

    def _add_best(self, m: Module, begin: Signal, rows: RowUnit) -> None:
        """The first row with the largest logit."""
        logit = rows.logits.payload
        best = Signal(signed(FORMATS.logit_bits), reset_less=True)
        row = Signal.like(self.best, reset_less=True)
        none = Signal(init=1)
        with m.If(rows.logits.valid):
            m.d.sync += [none.eq(logit.last), row.eq(Mux(logit.last, 0, row + 1))]
            with m.If(none | (logit.value > best)):
                m.d.sync += [best.eq(logit.value), self.best.eq(row)]
        m.d.sync += self.done.eq(rows.done)
        with m.If(begin):
            m.d.sync += row.eq(0)

    def _add_counters(self, m: Module, begin: Signal, engine: Engine) -> None:
        with m.If(begin):
            m.d.sync += [self.cycles.eq(1), self.used.eq(0)]
        with m.Elif(self.busy):
            m.d.sync += [self.cycles.eq(self.cycles + 1),
                         self.used.eq(self.used + engine.operations.word_used)]
