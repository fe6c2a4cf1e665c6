"""Row unit: what a row's sum becomes, until it is part of the next vector."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.imported import FORMATS, ImportedDevice, Kind
from trilight.hw.interfaces import row_layout
from trilight.hw.lib.arith import saturate

from .layouts import FRACTION, operation_layout, result_layout, shape_layout
from .probe import add_probes
from .scale import RowScale
from .sigmoid import Sigmoid
from .timing import ARGUMENT, GATED, RESIDUAL, RESULT, SCALED, SILU

__all__ = ["RowUnit"]

Tags = list[Any]
"""Views of a tag at each stage; the stubs have them as signals."""

MOST_RIGHT = 62
"""Right shift beyond which every row is 0."""

ONE = 1 << FORMATS.sigmoid_bits
SATURATION_BITS = 32


class RowUnit(wiring.Component):
    """Scales rows, and makes candidates, gates, states, gated values, residuals and logits of them.

    It takes a row a cycle, and no stage ever waits: rows are enabled when the multiplier of their
    matrix is there. A row is at stage k after k cycles.

    ::

        stage      0   4        5          10       13             16
                   sum scaled   argument   sigmoid  SiLU, forget   state, gated value
                                residual, logit

    Members
    -------
    shape : In(shape_layout)
    start : In(1), zero_state : In(1)
        Pulse before a token; the state counts as zero during it.
    ops : In(stream of operation_layout)
    multipliers : In(stream of result_layout)
    rows : In(stream of row_layout, always ready)
    rows_enabled : Out(1), ends : In(1)
        See ``OperationSignature``.
    row_begins : Out(1)
        Pulse: an operation's first row.
    residual_row, residual, new_residual, write_residual : Out, In, Out, Out
        Ports of the residual stream: the read port's data follow a cycle after its row, and
        ``written_row`` is written.
    value_row, value, new_value, write_value : Out, In, Out, Out
        Of other vectors, the same; ``written_value_row`` is written.
    bound_row, bound : Out, In
        Lower bounds of forget gates, a cycle after their row.
    written : Out(1)
        Pulse: a value of a vector to come is written.
    gate_squares : Out
        Sum of the squares of the rows of ``g``.
    logits : Out(stream of signed(logit_bits) and last, always ready)
    saturations : Out(32)
        Values that were clipped since the last ``start`` with ``zero_state``.
    done : Out(1)
        Pulse: the token's last result is written.
    """

    def __init__(self, *, device: ImportedDevice) -> None:
        self._device = device
        engine, formats = device.engine, FORMATS
        columns = engine.column_bits
        logit = data.StructLayout({"value": signed(formats.logit_bits), "last": 1})
        super().__init__({
            "shape": In(shape_layout(device)), "start": In(1), "zero_state": In(1),
            "ops": In(stream.Signature(operation_layout())),
            "multipliers": In(stream.Signature(result_layout())),
            "rows": In(stream.Signature(row_layout(engine), always_ready=True)),
            "rows_enabled": Out(1), "ends": In(1), "row_begins": Out(1),
            "residual_row": Out(columns), "residual": In(signed(formats.residual_bits)),
            "written_row": Out(columns), "new_residual": Out(signed(formats.residual_bits)),
            "write_residual": Out(1),
            "value_row": Out(columns), "value": In(signed(formats.value_bits)),
            "written_value_row": Out(columns), "new_value": Out(signed(formats.value_bits)),
            "write_value": Out(1),
            "bound_row": Out(columns), "bound": In(formats.sigmoid_bits + 1),
            "written": Out(1), "gate_squares": Out(2 * engine.acc_bits + columns),
            "logits": Out(stream.Signature(logit, always_ready=True)),
            "saturations": Out(SATURATION_BITS), "done": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mantissa, shift = self._add_context(m)
        tags = self._add_tags(m)
        total = self.rows.payload.sum
        m.submodules.scale = scale = RowScale(bits=FORMATS.residual_bits + 2)
        m.d.comb += [scale.sum.eq(total), scale.mantissa.eq(mantissa), scale.shift.eq(shift)]
        state = self._add_state_memory(m, tags)
        argument = self._add_scaled(m, tags, scale.result, state)
        gate = self._add_sigmoid(m, tags, argument)
        sums = _delay(m, total, SILU, "sum")
        states = _delay(m, state, SILU - SCALED, "state")
        self._add_products(m, tags, sums, states, gate)
        self._add_gate_squares(m, tags, total)
        self._add_ends(m, tags)
        return m

    # ---- Of an operation

    def _add_context(self, m: Module) -> tuple[Signal, Signal]:
        """Take an operation and its multiplier, and enable its rows until its last word is taken.

        The context holds until the last row has come.
        """
        formats = FORMATS
        self._kind = Signal(Kind, reset_less=True)
        self._last_op = Signal(reset_less=True)
        mantissa = Signal(formats.scale_bits, reset_less=True)
        shift = Signal(signed(8), reset_less=True)
        taken = Signal()
        take = Signal()
        op, multiplier = self.ops.payload, self.multipliers.payload
        frac = Signal(signed(8))
        with m.Switch(op.kind):
            with m.Case(Kind.OUTPUT, Kind.DOWN):
                m.d.comb += frac.eq(self.shape.residual_frac)
            with m.Case(Kind.HEAD):
                m.d.comb += frac.eq(formats.logit_frac)
            with m.Default():
                m.d.comb += frac.eq(formats.z_frac)
        by = Signal(FRACTION)
        least = -formats.max_left_shift
        m.d.comb += [
            by.eq(multiplier.fraction - frac),
            take.eq(self.ops.valid & self.multipliers.valid & ~taken),
            self.ops.ready.eq(take), self.multipliers.ready.eq(take),
        ]
        with m.If(take):
            m.d.sync += [
                taken.eq(1), self.rows_enabled.eq(1), self._kind.eq(op.kind),
                self._last_op.eq(op.last), mantissa.eq(multiplier.mantissa),
                shift.eq(Mux(by < least, least, Mux(by > MOST_RIGHT, MOST_RIGHT, by))),
            ]
        with m.If(self.ends):
            m.d.sync += self.rows_enabled.eq(0)
        with m.If(self.rows.valid & self.rows.payload.last):
            m.d.sync += taken.eq(0)
        return mantissa, shift

    def _add_tags(self, m: Module) -> Tags:
        """Tags of a row, one at each stage."""
        tag = data.StructLayout({
            "valid": 1, "kind": Kind, "upper": 1, "last": 1, "ends": 1,
            "row": self._device.engine.row_bits})
        tags = [Signal(tag, name=f"tag_{k}") for k in range(RESULT + 1)]
        upper = Signal()
        row = Signal.like(tags[0].row)
        first, second = tags[0], self._kind == Kind.GLU
        turn = second & ~upper & (row == self.shape.inner)
        m.d.comb += [
            first.valid.eq(self.rows.valid), first.kind.eq(self._kind), first.upper.eq(upper),
            first.last.eq(self.rows.payload.last), first.row.eq(row),
            first.ends.eq(self.rows.payload.last & self._last_op),
        ]
        begins = Signal(init=1)
        m.d.comb += self.row_begins.eq(self.rows.valid & begins)
        with m.If(self.rows.valid):
            m.d.sync += [
                begins.eq(self.rows.payload.last),
                row.eq(Mux(turn | self.rows.payload.last, 0, row + 1)),
                upper.eq((upper | turn) & ~self.rows.payload.last),
            ]
        for k in range(RESULT):
            m.d.sync += tags[k + 1].eq(tags[k])
        return tags

    def _add_state_memory(self, m: Module, tags: Tags) -> Value:
        """The recurrent state of all layers; that of a row at stage ``SCALED``."""
        words = self._device.state_words
        m.submodules.states = memory = Memory(
            shape=signed(FORMATS.z_bits), depth=words, init=[])
        read, self._write_state = memory.read_port(), memory.write_port()
        base = Signal(range(words), reset_less=True)
        asked, written = tags[SCALED - 1], tags[RESULT]
        m.d.comb += [read.addr.eq(base + asked.row),
                     self._write_state.addr.eq(base + written.row)]
        # The layer before has long been written and read.
        op = self.ops.payload
        with m.If(self.ops.valid & self.ops.ready & (op.kind == Kind.CANDIDATE)):
            m.d.sync += base.eq(Mux(op.first, 0, base + self.shape.hidden + 1))
        fresh = self.zero_state & (tags[SCALED].kind == Kind.FORGET)
        return Mux(fresh, 0, read.data)

    # ---- Of a row

    def _add_scaled(self, m: Module, tags: Tags, scaled: Value,
                    state: Value) -> Signal:
        """Residual channels, logits, and the argument of the sigmoid; count what is clipped."""
        formats = FORMATS
        before = tags[SCALED]
        added = Signal(signed(formats.residual_bits + 3))
        m.d.comb += [self.residual_row.eq(tags[SCALED - 1].row),
                     added.eq(self.residual + scaled)]
        argument = Signal(signed(formats.z_bits), reset_less=True)
        to_residual = before.kind.matches(Kind.OUTPUT, Kind.DOWN)
        limited: Value = Mux(to_residual, _outside(added, formats.residual_bits), Mux(
            before.kind == Kind.HEAD, _outside(scaled, formats.logit_bits),
            Mux((before.kind == Kind.OUTPUT_GATE) | before.upper, 0,
                _outside(scaled, formats.z_bits))))
        m.d.sync += [
            argument.eq(Mux(before.kind == Kind.OUTPUT_GATE, state,
                            saturate(scaled, formats.z_bits))),
            self.new_residual.eq(saturate(added, formats.residual_bits)),
            self.write_residual.eq(before.valid & to_residual),
            self.logits.payload.value.eq(saturate(scaled, formats.logit_bits)),
            self.logits.payload.last.eq(before.last),
            self.logits.valid.eq(before.valid & (before.kind == Kind.HEAD)),
        ]
        m.d.comb += self.written_row.eq(tags[RESIDUAL].row)
        with m.If(self.start & self.zero_state):
            m.d.sync += self.saturations.eq(0)
        with m.Elif(before.valid & limited):
            m.d.sync += self.saturations.eq(self.saturations + 1)
        add_probes(m, argument=(_has_gate(tags[ARGUMENT]), argument),
                   residual=(self.write_residual, self.new_residual))
        return argument

    def _add_sigmoid(self, m: Module, tags: Tags,
                     argument: Signal) -> Signal:
        """SiLU, or the forget gate with its lower bound."""
        formats = FORMATS
        m.submodules.sigmoid = sigmoid = Sigmoid()
        m.d.comb += [sigmoid.z.eq(argument), self.bound_row.eq(tags[GATED - 1].row)]
        later = _delay(m, argument, GATED - ARGUMENT, "argument")
        forgets = tags[GATED].kind == Kind.FORGET
        factor = Signal(signed(formats.z_bits), reset_less=True)
        weight = Signal(formats.sigmoid_bits + 1, reset_less=True)
        product = Signal(signed(formats.z_bits + formats.sigmoid_bits + 1), reset_less=True)
        bounds = [Signal(formats.sigmoid_bits + 1, name=f"bound_{k}", reset_less=True)
                  for k in range(2)]
        m.d.sync += [
            factor.eq(Mux(forgets, ONE - self.bound, later)), weight.eq(sigmoid.sigmoid),
            product.eq(factor * weight),
            bounds[0].eq(Mux(forgets, self.bound, 0)), bounds[1].eq(bounds[0]),
        ]
        gate = Signal(signed(formats.z_bits), reset_less=True)
        m.d.sync += gate.eq(_rounded(product, formats.sigmoid_bits) + bounds[1])
        add_probes(m, gate=(_has_gate(tags[SILU]), gate))
        return gate

    def _add_products(self, m: Module, tags: Tags, sums: Value,
                      states: Value, gate: Signal) -> None:
        """New states, and rows times SiLU."""
        formats = FORMATS
        tag = tags[SILU]
        m.d.comb += self.value_row.eq(tags[SILU - 1].row)
        kept = self.value[:formats.z_bits].as_signed()  # a candidate, or the SiLU of a gate
        forgets = tag.kind == Kind.FORGET
        left = Signal(signed(max(formats.acc_bits, formats.sigmoid_bits + 2)), reset_less=True)
        right = Signal(signed(formats.z_bits + 1), reset_less=True)
        product = Signal(signed(len(left) + len(right)), reset_less=True)
        m.d.sync += [
            left.eq(Mux(forgets, gate, sums)),
            right.eq(Mux(forgets, states - kept, Mux(tag.upper, kept, gate))),
            product.eq(left * right),
        ]
        candidates = _delay(m, kept, 2, "candidate")
        gates = _delay(m, gate, 2, "gate")
        before, result = tags[RESULT - 1], Signal(signed(formats.value_bits), reset_less=True)
        with m.If(before.kind == Kind.FORGET):
            m.d.sync += result.eq(_rounded(product, formats.sigmoid_bits) + candidates)
        with m.Elif((before.kind == Kind.OUTPUT_GATE) | before.upper):
            m.d.sync += result.eq(_rounded(product, formats.product_shift))
        with m.Else():
            m.d.sync += result.eq(gates)
        done = tags[RESULT]
        state = done.valid & (done.kind == Kind.FORGET)
        m.d.comb += [
            self.new_value.eq(result), self.written_value_row.eq(done.row),
            self.write_value.eq(done.valid & done.kind.matches(
                Kind.CANDIDATE, Kind.OUTPUT_GATE, Kind.GLU)),
            self._write_state.data.eq(result), self._write_state.en.eq(state),
        ]
        add_probes(m, result=(self.write_value | state, result))

    def _add_gate_squares(self, m: Module, tags: Tags,
                          total: Value) -> None:
        square = Signal(2 * len(total), reset_less=True)
        m.d.sync += square.eq(total * total)
        with m.If(self._kind == Kind.FORGET):
            m.d.sync += self.gate_squares.eq(0)
        with m.Elif(tags[1].valid & (tags[1].kind == Kind.OUTPUT_GATE)):
            m.d.sync += self.gate_squares.eq(self.gate_squares + square)

    def _add_ends(self, m: Module, tags: Tags) -> None:
        done = tags[RESULT]
        m.d.comb += [
            self.written.eq(self.write_residual | (self.write_value & (
                (done.kind == Kind.OUTPUT_GATE) | done.upper))),
            self.done.eq(tags[RESIDUAL].valid & tags[RESIDUAL].ends),
        ]


def _has_gate(tag: Any) -> Value:
    """Whether a row has a sigmoid of its own."""
    return tag.valid & ~tag.upper & tag.kind.matches(
        Kind.CANDIDATE, Kind.FORGET, Kind.OUTPUT_GATE, Kind.GLU)


def _rounded(product: Value, bits: int) -> Value:
    """``rshift(product, bits)``, halves up."""
    return (product + (1 << bits - 1)) >> bits


def _outside(value: Value, bits: int) -> Value:
    """Whether a signed value leaves a width."""
    top = value[bits - 1:]
    return top.any() & ~top.all()


def _delay(m: Module, value: Value, cycles: int, name: str) -> Value:
    """A signed value as of some cycles ago."""
    for k in range(cycles):
        later = Signal(signed(len(value)), name=f"{name}_{k}", reset_less=True)
        m.d.sync += later.eq(value)
        value = later
    return value
