"""Row unit of imported models against the contract: scale, sigmoid, state, gated values, residual.

The bench is the engine, the quantiser and the memories around it. Operations of one vector follow
each other without a pause.
"""

from collections.abc import Iterator

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from trilight.hw.contract.imported import FORMATS, Kind
from trilight.hw.imported.layouts import operation_layout, result_layout, shape_layout
from trilight.hw.imported.timing import RESIDUAL, RESULT
from trilight.hw.interfaces import row_layout
from trilight.sw.checkpoint.reference import (
    Integers,
    Quantised,
    rshift,
    scale_rows,
    sigmoid,
    silu,
)

from .checker import InOrderChecker
from .coverage import cover, ends
from .device import IMPORTED_DEVICE
from .streams import NEVER, Dut, Source, Watch, cycle, generator, pack, pauses, start
from .streams import signed as to_signed

MAX_SUM = IMPORTED_DEVICE.engine.max_columns * FORMATS.act_max
ONE = 1 << FORMATS.sigmoid_bits

PORTS = {"residual": FORMATS.residual_bits, "value": FORMATS.value_bits,
         "bound": FORMATS.sigmoid_bits + 1}
"""Memories and the widths of their words."""


class Model:
    """Vectors of a model, and what each operation makes of rows."""

    def __init__(self, rng: np.random.Generator, layers: int, hidden: int, inner: int) -> None:
        self.rng = rng
        self.hidden, self.inner = hidden, inner
        self.frac = int(rng.integers(-8, 25))
        self.state = np.zeros((layers, hidden), np.int64)
        self.x: Integers = np.zeros(hidden, np.int64)
        self.bounds = np.zeros(hidden, np.int64)
        self.candidate = self.state[0]
        self.saturations = 0

    def clip(self, what: str, values: Integers, bits: int) -> Integers:
        maximum = (1 << bits - 1) - 1
        clipped = np.clip(values, -maximum - 1, maximum)
        self.saturations += int(np.count_nonzero(clipped != values))
        cover(f"imported_rows.saturated {what}", *(["low"] * bool((values < -maximum - 1).any())
                                                   + ["high"] * bool((values > maximum).any())))
        return clipped

    def operation(self, kind: Kind, layer: int, sums: Integers, mantissa: int,
                  fraction: int) -> tuple[str, Integers, int]:
        """Return where results go, these, and of how many rows another half follows.

        A state goes into a memory inside; the gated values that it leads to show it.
        """
        frac = {Kind.OUTPUT: self.frac, Kind.DOWN: self.frac,
                Kind.HEAD: FORMATS.logit_frac}.get(kind, FORMATS.z_frac)
        scaled = scale_rows(sums, Quantised(sums, mantissa, fraction), frac)
        if kind in (Kind.OUTPUT, Kind.DOWN):
            self.x = self.clip("residual", self.x + scaled, FORMATS.residual_bits)
            return "residual", self.x, 0
        if kind == Kind.HEAD:
            return "logit", self.clip("logit", scaled, FORMATS.logit_bits), 0
        if kind == Kind.OUTPUT_GATE:
            return "value", rshift(sums * silu(self.state[layer]), FORMATS.product_shift), 0
        z = self.clip("argument", scaled[:self.inner if kind == Kind.GLU else None],
                      FORMATS.z_bits)
        if kind == Kind.CANDIDATE:
            self.candidate = silu(z)
            return "value", self.candidate, 0
        if kind == Kind.GLU:
            gate = silu(z)
            up = rshift(gate * sums[self.inner:], FORMATS.product_shift)
            return "value", np.concatenate([gate, up]), self.inner
        forget = self.bounds + rshift((ONE - self.bounds) * sigmoid(z), FORMATS.sigmoid_bits)
        state = self.candidate + rshift(forget * (self.state[layer] - self.candidate),
                                        FORMATS.sigmoid_bits)
        self.state[layer] = state
        return "", state, 0


class Bench:
    """Tokens of a model; every result is checked, and the stage at which it comes."""

    def __init__(self, dut: Dut, rng: np.random.Generator, rests: Iterator[int]) -> None:
        self.dut = dut
        self.rng = rng
        self.rests = rests
        self.memories = {name: np.zeros(IMPORTED_DEVICE.engine.max_columns, np.int64)
                         for name in PORTS}
        self.writes = {name: InOrderChecker(f"{name} that is written")
                       for name in ("residual", "value")}
        self.logits = InOrderChecker("logit")
        self.times = {name: InOrderChecker(f"cycle of a {name}")
                      for name in ("residual", "value", "logit")}
        self.done = InOrderChecker("cycle of done")
        self.written = 0

    async def start(self) -> None:
        dut = self.dut
        await start(dut, shape=0, start=0, zero_state=0, ops__valid=0, multipliers__valid=0,
                    rows__valid=0, ends=0, residual=0, value=0, bound=0)
        self.operations = Source(dut, "ops", operation_layout())
        self.multipliers = Source(dut, "multipliers", result_layout(), self.rests)
        self.rows = Source(dut, "rows", row_layout(IMPORTED_DEVICE.engine), self.rests)
        Watch.stream(dut, "logits", self._take_logit)
        Watch(dut.clk, dut.done, dut.done, lambda _: self.done(cycle()))
        cocotb.start_soon(self._remember())

    def _take_logit(self, bits: int) -> None:
        self.logits((to_signed(bits & (1 << FORMATS.logit_bits) - 1, FORMATS.logit_bits),
                     bits >> FORMATS.logit_bits))
        self.times["logit"](cycle())

    async def _remember(self) -> None:
        """The three memories; a row that is read while it is written is the old one."""
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            read = {name: int(self.memories[name][int(dut[f"{name}_row"].value)])
                    for name in PORTS}
            self.written += int(dut.written.value)
            for name, row in (("residual", "written_row"), ("value", "written_value_row")):
                if int(dut[f"write_{name}"].value):
                    at = int(dut[row].value)
                    value = to_signed(int(dut[f"new_{name}"].value), PORTS[name])
                    self.memories[name][at] = value
                    self.writes[name]((at, value))
                    self.times[name](cycle())
            await RisingEdge(dut.clk)
            for name, bits in PORTS.items():
                dut[name].value = read[name] & (1 << bits) - 1

    async def token(self, model: Model, *, fresh: bool, loud: bool) -> None:
        """Run a token with the head; ``loud`` ones leave the ranges of the formats."""
        dut, rng = self.dut, self.rng
        maximum = 1 << FORMATS.residual_bits - 1
        model.x = rng.integers(-maximum, maximum, model.hidden) >> int(rng.choice([0, 8]))
        self.memories["residual"][:model.hidden] = model.x
        layers = len(model.state)
        dut.shape.value = pack(shape_layout(IMPORTED_DEVICE), hidden=model.hidden - 1,
                               inner=model.inner - 1, layers=layers - 1, residual_frac=model.frac)
        if fresh:
            model.state[:] = 0
            model.saturations = 0
        dut.start.value, dut.zero_state.value = 1, fresh
        await RisingEdge(dut.clk)
        dut.start.value = 0
        kinds = [(layer, kind) for layer in range(layers) for kind in Kind if kind != Kind.HEAD]
        for layer, kind in [*kinds, (layers, Kind.HEAD)]:
            await self._operation(model, layer, kind, loud)
        await ClockCycles(dut.clk, RESULT + 1)
        assert not int(dut.rows_enabled.value), "rows are enabled, and none are to come"
        assert int(dut.saturations.value) == model.saturations
        assert self.written == layers * (3 * model.hidden + model.inner)
        self.written = 0

    def _draw(self, kind: Kind, count: int, frac: int, loud: bool) -> tuple[Integers, int, int]:
        """Rows, and a multiplier after which some leave their range, or hardly any."""
        rng = self.rng
        sums = rng.integers(-MAX_SUM, MAX_SUM, count, endpoint=True) >> int(rng.integers(12))
        sums[rng.integers(count, size=2)] = (-MAX_SUM, MAX_SUM)
        ends("imported_rows.sum", sums, -MAX_SUM, MAX_SUM)
        low = 1 << FORMATS.scale_bits - 1
        shift = int(rng.integers(-30, 14) if loud else rng.integers(14, 24))
        if rng.random() < 0.1:
            shift = int(rng.integers(40, 100))
        if rng.random() < 0.1:
            return sums, 0, 0
        return sums, int(rng.integers(low, 2 * low)), frac + shift

    async def _operation(self, model: Model, layer: int, kind: Kind, loud: bool) -> None:
        dut, rng = self.dut, self.rng
        count = {Kind.GLU: 2 * model.inner, Kind.HEAD: 40}.get(kind, model.hidden)
        frac = {Kind.OUTPUT: model.frac, Kind.DOWN: model.frac,
                Kind.HEAD: FORMATS.logit_frac}.get(kind, FORMATS.z_frac)
        sums, mantissa, fraction = self._draw(kind, count, frac, loud)
        if kind == Kind.FORGET:
            model.bounds = rng.choice([0, ONE, *rng.integers(0, ONE, 3)], model.hidden)
            self.memories["bound"][:model.hidden] = model.bounds
            ends("imported_rows.bound", model.bounds, 0, ONE)
        cover("imported_rows.kind", kind.name)
        if kind not in (Kind.FORGET, Kind.OUTPUT_GATE):
            # Its vector is what the operation before has written.
            await ClockCycles(dut.clk, RESULT + 1)
        last = kind == Kind.HEAD
        sending = cocotb.start_soon(self.operations.send(
            [{"kind": kind, "first": layer == 0 and kind == Kind.CANDIDATE, "last": last}]))
        await self.multipliers.send([{"mantissa": mantissa, "fraction": fraction}])
        await sending
        await FallingEdge(dut.clk)
        assert int(dut.rows_enabled.value), "rows are not enabled"
        await RisingEdge(dut.clk)
        where, results, half = model.operation(kind, layer, sums, mantissa, fraction)
        for number, total in enumerate(sums.tolist()):
            is_last = number == count - 1
            dut.ends.value = int(is_last)
            await self.rows.send([{"sum": total, "last": is_last}])
            if where:
                self._expect(where, number, half, int(results[number]), is_last, cycle() - 1)
            if is_last and last:
                self.done.expect([cycle() - 1 + RESIDUAL])
        dut.ends.value = 0
        if kind == Kind.OUTPUT_GATE:
            await ClockCycles(dut.clk, 3)
            assert int(dut.gate_squares.value) == int((sums * sums).sum())

    def _expect(self, where: str, number: int, half: int, value: int, is_last: bool,
                time: int) -> None:
        """Expect the result of a row that came at a time."""
        self.times[where].expect([time + (RESULT if where == "value" else RESIDUAL)])
        if where == "logit":
            self.logits.expect([(value, int(is_last))])
        else:
            self.writes[where].expect([(number % (half or number + 1), value)])

    async def finish(self) -> None:
        await ClockCycles(self.dut.clk, 64)
        for checker in (*self.writes.values(), *self.times.values(), self.logits, self.done):
            checker.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(stalled=[False, True])
async def follows_the_contract(dut: Dut, stalled: bool) -> None:
    """Models of several sizes; some tokens follow a reset, some the token before."""
    rng = generator()
    bench = Bench(dut, rng, pauses(rng) if stalled else NEVER)
    await bench.start()
    for layers, hidden, inner in ((1, 24, 20), (4, 64, 33), (2, 33, 80)):
        model = Model(rng, layers, hidden, inner)
        for number in range(4):
            await bench.token(model, fresh=number in (0, 3), loud=bool(number % 2))
    await bench.finish()
