"""The serial part of a norm: what a vector's codes and its matrix' rows are multiplied by."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.imported import FORMATS, ImportedDevice, Kind

from .layouts import FRACTION, header_layout, result_layout
from .serial import Divider, SerialMultiplier, SerialShifter, SquareRoot
from .timing import QUOTIENT_BITS, SHIFTER_BITS

__all__ = ["Norm", "square_sum_bits"]

INVERSE_UNIT = FORMATS.scale_bits + FORMATS.inverse_bits - 2
"""A mantissa's inverse is two to the power of it, divided."""


def square_sum_bits(device: ImportedDevice) -> int:
    """Width of a sum of squares over a vector."""
    return 2 * FORMATS.square_bits + 1 + device.engine.column_bits


class Norm(wiring.Component):
    """Reciprocal of the largest magnitude, then the multiplier of the rows, in integers.

    One shifter, divider, multiplier and root, each taking a step a cycle, serve one after the
    other; ``timing`` has the cycles of each way.

    ::

        ALIGN-PEAK -> DIVIDE -> SCALE ---------------------------------> WAIT
                                  `--> INVERSE -> SQUARE -> COLUMNS --->-|
        RESULT <- QUOTIENT <- ROOT <- ALIGN-SQUARES <- ADD <- SHARE <- EPSILON

    Members
    -------
    idle : Out(1)
    kind : In(Kind), columns : In
        Of the vector, number of columns - 1; hold until ``result``, as does ``header``.
    header : In(header_layout)
    start_peak : In(1), peak : In, largest : In
        Largest magnitude of a value times its gain; a number with as many bits as the largest
        magnitude of a value.
    peak_done : Out(1)
    reciprocal, down, square_down : Out
        What quantises, and the shifts of ``docs/imported-formats.md``, from ``peak_done`` on.
    squares : In(1), total, plain, gate_squares : In
        While ``squares``: sums of squares with gains, without, and of the rows of ``g``.
    result : Out(stream of result_layout)
    """

    def __init__(self, *, device: ImportedDevice) -> None:
        self._device = device
        formats = FORMATS
        sums = square_sum_bits(device)
        super().__init__({
            "idle": Out(1), "kind": In(Kind), "columns": In(device.engine.column_bits),
            "header": In(header_layout()),
            "start_peak": In(1), "peak": In(formats.y_total_bits),
            "largest": In(formats.value_bits), "peak_done": Out(1),
            "reciprocal": Out(formats.reciprocal_bits + 1), "down": Out(signed(7)),
            "square_down": Out(signed(7)),
            "squares": In(1), "total": In(sums), "plain": In(sums),
            "gate_squares": In(2 * device.engine.acc_bits + device.engine.column_bits),
            "result": Out(stream.Signature(result_layout())),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = SHIFTER_BITS
        m.submodules.shifter = self._shifter = SerialShifter(bits=bits)
        m.submodules.divider = self._divider = Divider(
            dividend_bits=QUOTIENT_BITS, divisor_bits=FORMATS.y_bits)
        factor_bits = max(
            len(self.gate_squares), len(self.plain) - FORMATS.epsilon_drop,
            2 * FORMATS.inverse_bits + self._device.engine.column_bits)
        m.submodules.multiplier = self._multiplier = SerialMultiplier(
            a_bits=factor_bits, b_bits=FORMATS.scale_bits)
        m.submodules.root = self._root = SquareRoot(bits=FORMATS.root_bits)
        self._divisor = Signal(FORMATS.y_bits, reset_less=True)
        self._factor = Signal(factor_bits, reset_less=True)
        self._scaled = Signal(FORMATS.y_bits + FORMATS.scale_bits, reset_less=True)
        self._zero = Signal(reset_less=True)
        self._unit = Signal(FRACTION)
        self._sum = Signal(bits, reset_less=True)
        m.d.comb += [
            self._divider.divisor.eq(self._divisor),
            self._multiplier.a.eq(self._factor),
            self._unit.eq(self.square_down + Mux(
                self.kind == Kind.DOWN, 0, FORMATS.norm_bits - 1 - self.header.norm_frac)),
        ]
        with m.FSM():
            self._add_peak_states(m)
            self._add_inverse_states(m)
            self._add_share_states(m)
            self._add_root_states(m)
        return m

    def _divide(self, m: Module, dividend: Value, divisor: Value) -> None:
        """Start the division of a number that may be longer than the quotient."""
        m.d.sync += self._divisor.eq(divisor)
        m.d.comb += [self._divider.start.eq(1),
                     Cat(self._divider.dividend, self._divider.high).eq(dividend)]

    def _add_peak_states(self, m: Module) -> None:
        """Align the largest magnitude, and divide by it."""
        shifter, divider, formats = self._shifter, self._divider, FORMATS
        width = len(shifter.value)
        with m.State("IDLE"):
            m.d.comb += self.idle.eq(1)
            with m.If(self.start_peak):
                m.d.comb += [shifter.start.eq(1), shifter.align.eq(1),
                             shifter.value.eq(self.peak)]
                m.next = "ALIGN-PEAK"

        with m.State("ALIGN-PEAK"), m.If(shifter.done):
            m.d.sync += [
                self.down.eq(width - formats.y_bits - shifter.count),
                self._zero.eq(~shifter.result[-1]),
                self._factor.eq(shifter.result[-formats.y_bits:]),
            ]
            self._divide(m, Const(formats.act_max << formats.reciprocal_shift),
                         shifter.result[-formats.y_bits:])
            m.d.comb += [shifter.start.eq(1), shifter.align.eq(1),
                         shifter.value.eq(self.largest)]
            m.next = "DIVIDE"

        with m.State("DIVIDE"):
            with m.If(shifter.done):
                m.d.sync += self.square_down.eq(width - formats.square_bits - shifter.count)
            with m.If(divider.done):
                m.d.sync += [self.reciprocal.eq(divider.quotient + divider.inexact),
                             self.peak_done.eq(1)]
                m.d.comb += [self._multiplier.start.eq(1),
                             self._multiplier.b.eq(self.header.scale)]
                m.next = "SCALE"

    def _add_inverse_states(self, m: Module) -> None:
        """Multiply by the scale; for ``down``, find the epsilon in the unit of its input."""
        divider, multiplier = self._divider, self._multiplier
        bits = FORMATS.scale_bits
        last = self.result.payload.mantissa
        with m.State("SCALE"):
            m.d.sync += self.peak_done.eq(0)
            with m.If(multiplier.done):
                m.d.sync += self._scaled.eq(multiplier.product)
                m.next = "WAIT"
                with m.If(self.kind == Kind.DOWN):
                    self._divide(m, Const(1 << INVERSE_UNIT), Mux(last[-1], last, 1 << bits - 1))
                    m.next = "INVERSE"

        with m.State("INVERSE"), m.If(divider.done):
            m.d.sync += self._factor.eq(divider.quotient)
            m.d.comb += [multiplier.start.eq(1), multiplier.b.eq(divider.quotient)]
            m.next = "SQUARE"

        with m.State("SQUARE"), m.If(multiplier.done):
            m.d.sync += self._factor.eq(multiplier.product)
            m.d.comb += [multiplier.start.eq(1), multiplier.b.eq(self.columns + 1)]
            m.next = "COLUMNS"

        with m.State("COLUMNS"), m.If(multiplier.done):
            m.next = "WAIT"

    def _add_share_states(self, m: Module) -> None:
        """Add the epsilon's share to the sum of squares, and align it."""
        shifter, formats = self._shifter, FORMATS
        multiplier = self._multiplier
        product_frac = 2 * (formats.z_frac - formats.product_shift) - formats.epsilon_shift
        own = -formats.epsilon_shift + formats.epsilon_drop - 2 * (formats.norm_bits - 1)
        with m.State("WAIT"), m.If(self.squares):
            m.d.comb += [multiplier.start.eq(1), multiplier.b.eq(formats.epsilon)]
            with m.Switch(self.kind):
                with m.Case(Kind.OUTPUT):
                    m.d.sync += self._factor.eq(self.gate_squares)
                with m.Case(Kind.DOWN):
                    m.d.sync += self._factor.eq(multiplier.product)
                with m.Default():
                    m.d.sync += self._factor.eq(self.plain >> formats.epsilon_drop)
            m.next = "EPSILON"

        with m.State("EPSILON"), m.If(multiplier.done):
            m.d.comb += [shifter.start.eq(1), shifter.value.eq(multiplier.product)]
            with m.Switch(self.kind):
                with m.Case(Kind.OUTPUT):
                    m.d.comb += shifter.amount.eq(product_frac - 2 * self._unit)
                with m.Case(Kind.DOWN):
                    m.d.comb += shifter.amount.eq(
                        2 * (self.result.payload.fraction - self._unit)
                        + product_frac - 2 * INVERSE_UNIT)
                with m.Default():
                    m.d.comb += shifter.amount.eq(2 * self.header.norm_frac + own)
            m.next = "SHARE"

        share = Mux(shifter.lost | (shifter.result > formats.max_epsilon), formats.max_epsilon,
                    shifter.result)
        with m.State("SHARE"), m.If(shifter.done):
            m.d.sync += self._sum.eq(self.total + share)
            m.next = "ADD"

        with m.State("ADD"):
            m.d.comb += [shifter.start.eq(1), shifter.align.eq(1),
                         shifter.value.eq(Mux(self._sum.any(), self._sum, 1))]
            m.next = "ALIGN-SQUARES"

    def _add_root_states(self, m: Module) -> None:
        """Take the root, divide by it, and hand the multiplier over."""
        shifter, root, divider, formats = self._shifter, self._root, self._divider, FORMATS
        result = self.result.payload
        width = len(shifter.value)
        even = Signal(FRACTION, reset_less=True)
        # An even shift leaves the argument with all bits of twice the root, or with one less.
        square = shifter.result[-2 * formats.root_bits:]
        odd = shifter.count[0] ^ (width & 1)
        with m.State("ALIGN-SQUARES"), m.If(shifter.done):
            m.d.comb += [root.start.eq(1), root.square.eq(Mux(odd, square >> 1, square))]
            m.d.sync += even.eq((shifter.count + (2 * formats.root_bits - width)) >> 1)
            m.next = "ROOT"

        with m.State("ROOT"), m.If(root.done):
            self._divide(m, self._scaled, root.root)
            m.next = "QUOTIENT"

        drop = len(divider.quotient) - formats.scale_bits
        with m.State("QUOTIENT"), m.If(divider.done):
            with m.If(self._zero):
                m.d.sync += [result.mantissa.eq(0), result.fraction.eq(0)]
            with m.Else():
                for less in (2, 1, 0):
                    with m.If(divider.quotient[-1 - less]):
                        m.d.sync += [
                            result.mantissa.eq(divider.quotient >> drop - less),
                            result.fraction.eq(self.header.frac - (drop - less) - self.down
                                               + self._unit - even)]
            m.next = "RESULT"

        with m.State("RESULT"):
            m.d.comb += self.result.valid.eq(1)
            with m.If(self.result.ready):
                m.next = "IDLE"
