"""Quantiser: a vector to the codes of a matrix, and the multiplier of that matrix' rows."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from trilight.hw.contract.imported import FORMATS, ImportedDevice, Kind
from trilight.hw.interfaces import ActivationSignature

from .code import Code
from .layouts import header_layout, operation_layout, parameter_layout, result_layout, shape_layout
from .norm import Norm, square_sum_bits
from .timing import ACT, PEAK, PRODUCT, SQUARES

__all__ = ["Quantiser"]


class Quantiser(wiring.Component):
    """Quantiser that takes a vector twice: for its largest magnitude, then for codes and squares.

    The first pass follows the rows that make the vector, one column a cycle as they are written, so
    that it costs nothing; between the passes lies a division. The second gives a code a cycle,
    ``timing.ACT`` cycles after its column is asked for, as soon as the engine takes another vector.
    The multiplier is found while the engine streams the rows' first blocks.

    Parameters of a matrix come as a header, then a word for each column; of ``Kind.FORGET`` the
    lower bounds follow, a word for each row.

    ::

        pass 1   column asked for | value, gain | y = value * gain | |y| | largest
        pass 2   column asked for | value, gain | y | code
                                  | small = value >> n | small * norm | squares | sums

    Members
    -------
    shape : In(shape_layout)
    clear : In(1)
        Pulse before a token.
    ops : In(stream of operation_layout)
    parameters : In(stream of parameter_layout)
    written : In(1)
        Pulse: a value of a vector to come is written; all of one are, in order.
    column : Out, residual : In, value : In
        Column asked for, and a cycle later that of the residual stream and of other vectors.
    may_write : In(1)
        The engine takes a vector.
    begins : Out(1)
        Pulse: its codes begin.
    acts : Out(ActivationSignature)
    gate_squares : In
        Sum of the squares of the rows of ``g``.
    result : Out(stream of result_layout)
    bound_row, bound, write_bound : Out
        Write port of the lower bounds.
    """

    def __init__(self, *, device: ImportedDevice) -> None:
        self._device = device
        engine = device.engine
        super().__init__({
            "shape": In(shape_layout(device)), "clear": In(1),
            "ops": In(stream.Signature(operation_layout())),
            "parameters": In(stream.Signature(parameter_layout())),
            "written": In(1),
            "column": Out(engine.column_bits),
            "residual": In(signed(FORMATS.residual_bits)), "value": In(signed(FORMATS.value_bits)),
            "may_write": In(1), "begins": Out(1),
            "acts": Out(ActivationSignature(engine)),
            "gate_squares": In(2 * engine.acc_bits + engine.column_bits),
            "result": Out(stream.Signature(result_layout())),
            "bound_row": Out(engine.column_bits), "bound": Out(FORMATS.sigmoid_bits + 1),
            "write_bound": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.norm = self._norm = Norm(device=self._device)
        self._kind = Signal(Kind, reset_less=True)
        self._header = Signal(header_layout(), reset_less=True)
        self._issue, self._last = Signal(), Signal()
        self._codes = Signal()
        self._begin = Signal()
        connect(m, self._norm.result, flipped(self.result))
        columns = Mux(self._kind == Kind.DOWN, self.shape.inner, self.shape.hidden)
        m.d.comb += [
            self._norm.kind.eq(self._kind), self._norm.header.eq(self._header),
            self._norm.columns.eq(columns), self._norm.gate_squares.eq(self.gate_squares),
            self._last.eq(self.column == columns),
        ]
        self._add_passes(m, self._add_credit(m))
        issued = self._delayed(m, self._issue, "issued", SQUARES)
        last = self._delayed(m, self._issue & self._last, "last", SQUARES)
        value, parameter = self._add_reads(m)
        self._add_codes(m, value, parameter.gain, issued, last)
        self._add_squares(m, value, parameter.norm, issued, last)
        return m

    @staticmethod
    def _delayed(m: Module, value: Value, name: str, stages: int) -> list[Value]:
        """A value of one bit as of 0, 1, ... cycles ago."""
        after = [value]
        for k in range(1, stages + 1):
            later = Signal(name=f"{name}_{k}")
            m.d.sync += later.eq(after[-1])
            after.append(later)
        return after

    def _add_credit(self, m: Module) -> Value:
        """Whether the next column may be asked for: it is written, or the vector is an old one.

        What has been written and not been read by a first pass is a count.
        """
        credit = Signal(self._device.engine.column_bits + 1)
        old = self._kind.matches(Kind.FORGET, Kind.OUTPUT_GATE)
        used = Signal()
        m.d.comb += used.eq(self._issue & ~self._codes & ~old)
        with m.If(self.clear):
            m.d.sync += credit.eq(0)
        with m.Elif(self.written & ~used):
            m.d.sync += credit.eq(credit + 1)
        with m.Elif(used & ~self.written):
            m.d.sync += credit.eq(credit - 1)
        return old | credit.any()

    def _add_passes(self, m: Module, may_ask: Value) -> None:
        """Ask for columns, twice, and for the parameters that they need."""
        parameters = self.parameters
        # The division of FORGET may end while the bounds come.
        divided = Signal()
        with m.If(self._norm.peak_done):
            m.d.sync += divided.eq(1)
        with m.If(self._begin):
            m.d.sync += divided.eq(0)
        m.d.comb += [self.bound_row.eq(self.column), self.bound.eq(parameters.payload),
                     self.ops.ready.eq(self._begin)]
        with m.If(self._issue | self.write_bound):
            m.d.sync += self.column.eq(Mux(self._last, 0, self.column + 1))
        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += [
                    parameters.ready.eq(self.ops.valid & self._norm.idle),
                    self._begin.eq(parameters.ready & parameters.valid),
                ]
                with m.If(self._begin):
                    m.d.sync += [self._kind.eq(self.ops.payload.kind), self._codes.eq(0),
                                 self._header.eq(parameters.payload.as_value())]
                    m.next = "PEAK"

            with m.State("PEAK"):
                m.d.comb += [parameters.ready.eq(may_ask),
                             self._issue.eq(may_ask & parameters.valid)]
                with m.If(self._issue & self._last):
                    m.next = "PEAK-DONE"
                    with m.If(self._kind == Kind.FORGET):
                        m.next = "BOUNDS"

            with m.State("BOUNDS"):
                m.d.comb += [parameters.ready.eq(1), self.write_bound.eq(parameters.valid)]
                with m.If(parameters.valid & self._last):
                    m.next = "PEAK-DONE"

            with m.State("PEAK-DONE"):
                with m.If(divided & self.may_write):
                    m.d.comb += self.begins.eq(1)
                    m.d.sync += self._codes.eq(1)
                    m.next = "CODES"

            with m.State("CODES"):
                m.d.comb += self._issue.eq(1)
                with m.If(self._last):
                    m.next = "CODES-DONE"

            with m.State("CODES-DONE"), m.If(self._norm.squares):
                m.next = "HEADER"

    def _add_reads(self, m: Module) -> tuple[Signal, Signal]:
        """The column's value and parameters, at stage 2; these are kept for the second pass."""
        device = self._device
        layout = parameter_layout()
        m.submodules.kept = kept = Memory(
            shape=layout, depth=device.engine.max_columns, init=[])
        read, write = kept.read_port(), kept.write_port()
        arrived = Signal(layout, reset_less=True)
        m.d.sync += arrived.eq(self.parameters.payload)
        m.d.comb += [
            read.addr.eq(self.column), write.addr.eq(self.column),
            write.data.eq(self.parameters.payload), write.en.eq(self._issue & ~self._codes),
        ]
        value = Signal(signed(FORMATS.value_bits), reset_less=True)
        parameter = Signal(layout, reset_less=True)
        other = self._kind.matches(Kind.OUTPUT, Kind.DOWN)
        m.d.sync += [
            value.eq(Mux(other, self.value, self.residual)),
            parameter.eq(Mux(self._codes, read.data.as_value(), arrived.as_value())),
        ]
        return value, parameter

    def _add_codes(self, m: Module, value: Signal, gain: Value, issued: list[Value],
                   last: list[Value]) -> None:
        """Values times gains: their largest magnitude, and their codes."""
        formats, norm = FORMATS, self._norm
        bits = formats.y_total_bits + 1
        product, y = (Signal(signed(bits), name=name, reset_less=True)
                      for name in ("product", "y"))
        magnitude = Signal(formats.y_total_bits, reset_less=True)
        m.d.sync += [product.eq(value * gain), y.eq(product), magnitude.eq(Mux(y[-1], -y, y))]
        peak = Signal.like(magnitude, name="peak")
        largest, size = Signal(formats.value_bits), Signal(formats.value_bits, reset_less=True)
        m.d.sync += size.eq(Mux(value[-1], -value, value))
        with m.If(self._begin):
            m.d.sync += [peak.eq(0), largest.eq(0)]
        with m.If(issued[PRODUCT + 1] & ~self._codes & (magnitude > peak)):
            m.d.sync += peak.eq(magnitude)
        with m.If(issued[3] & ~self._codes):
            m.d.sync += largest.eq(largest | size)
        m.d.comb += [norm.peak.eq(peak), norm.largest.eq(largest),
                     norm.start_peak.eq(last[PEAK] & ~self._codes)]

        m.submodules.code = code = Code(bits=bits)
        acts = self.acts
        m.d.comb += [
            code.y.eq(y), code.down.eq(norm.down), code.reciprocal.eq(norm.reciprocal),
            acts.acts.payload.value.eq(code.code),
            acts.acts.payload.last.eq(last[ACT]),
            acts.acts.valid.eq(issued[ACT] & self._codes),
            acts.short.eq(0), acts.sequence.eq(0),
        ]

    def _add_squares(self, m: Module, value: Signal, norm_gain: Value, issued: list[Value],
                     last: list[Value]) -> None:
        """Sums of the squares of values brought to their width, with gains and without."""
        formats, norm = FORMATS, self._norm
        width = formats.square_bits + 1
        # A bit more than the width is left of the point, so that all shifts are to the right.
        wide = Signal(signed(formats.value_bits + formats.square_bits))
        right = Signal(range(formats.value_bits + 1))
        m.d.comb += [wide.eq(value << formats.square_bits),
                     right.eq(norm.square_down + formats.square_bits)]
        coarse = Signal.like(wide, name="coarse", reset_less=True)
        gains = [Signal.like(norm_gain, name=f"norm_gain_{k}", reset_less=True) for k in (3, 4)]
        m.d.sync += [coarse.eq(wide >> (right & Const(0x38, 6))), gains[0].eq(norm_gain),
                     gains[1].eq(gains[0])]
        small, small_5, small_6 = (Signal(signed(width), name=f"small_{k}", reset_less=True)
                                   for k in (4, 5, 6))
        scaled = Signal(signed(width + formats.norm_bits), reset_less=True)
        gained = Signal(signed(width + 1), reset_less=True)
        shift = formats.norm_bits - 1
        m.d.sync += [
            small.eq(coarse >> right[:3]),
            scaled.eq(small * gains[1]), small_5.eq(small),
            small_6.eq(small_5),
            gained.eq(Mux(self._kind == Kind.DOWN, small_5, (scaled + (1 << shift - 1)) >> shift)),
        ]
        square, plain_square = (Signal(2 * formats.square_bits + 1, name=name, reset_less=True)
                                for name in ("square", "plain_square"))
        total, plain = (Signal(square_sum_bits(self._device), name=name)
                        for name in ("total", "plain"))
        m.d.sync += [square.eq(gained * gained), plain_square.eq(small_6 * small_6)]
        with m.If(issued[SQUARES - 1] & self._codes):
            m.d.sync += [total.eq(total + square), plain.eq(plain + plain_square)]
        with m.If(self._begin):
            m.d.sync += [total.eq(0), plain.eq(0), norm.squares.eq(0)]
        with m.If(last[SQUARES - 1] & self._codes):
            m.d.sync += norm.squares.eq(1)
        m.d.comb += [norm.total.eq(total), norm.plain.eq(plain)]
