"""Vector unit against the formulas of the number formats, with sums, scales and tables at all ends.

Rows come with and without pauses. Every value that the unit writes is compared, as well as what it
gives to engine and sampler.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from numpy.typing import NDArray

from trilight.hw.config import NUMBERS, UP5K
from trilight.hw.engine import ACT, CHANNEL, ROW
from trilight.hw.protocol import Op
from trilight.hw.vector import LOGIT, LOGIT_LATENCY, TABLE_WRITE
from trilight.sw.reference.model import norm, rshift, saturate
from trilight.sw.reference.tables import SIGMOID, SILU

from .checker import InOrderChecker
from .streams import NEVER, Dut, Source, Watch, cycle, generator, pack, pauses, start, unpack
from .traces import TraceChecker

Integers = NDArray[np.int32]

SETTLE = 4
"""Cycles between the end of an operation and the next one's kind."""


def signed_range(bits: int) -> tuple[int, int]:
    """Least and greatest integer of ``bits``."""
    return -(1 << bits - 1), (1 << bits - 1) - 1


SUMS = signed_range(NUMBERS.acc_bits)
RESIDUAL = signed_range(NUMBERS.residual_bits)
TAPS = signed_range(NUMBERS.tap_bits)
INDEX = signed_range(NUMBERS.index_bits)
GATE = signed_range(NUMBERS.gate_bits)
LOGITS = signed_range(NUMBERS.logit_bits)
MOST_SCALE = (1 << NUMBERS.scale_bits) - 1
MOST_FORGET = (1 << NUMBERS.forget_bits) - 1


def any_of(rng: np.random.Generator, limits: tuple[int, int], size: int) -> Integers:
    """Integers between two limits: spread, at the limits only, small, or all the same."""
    match rng.integers(5):
        case 0:
            values = rng.choice(limits, size)
        case 1:
            values = rng.integers(-4, 5, size)
        case 2:
            values = np.full(size, rng.choice([*limits, 0]))
        case _:
            values = rng.integers(*limits, size, endpoint=True)
    clipped: Integers = np.clip(values, *limits).astype(np.int32)
    return clipped


class VectorModel:
    """``docs/number-formats.md`` from a matrix's sums to the next matrix's activations.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the parameters: real tables, or any.
    channels, layers : int
        Channels of the residual stream; layers that have a state.
    """

    def __init__(self, rng: np.random.Generator, channels: int, layers: int) -> None:
        self.channels = channels
        self.layers = layers
        size = channels * layers
        real = rng.random() < 0.5
        entries = 1 << NUMBERS.index_bits
        self.sigmoid = SIGMOID if real else any_of(rng, (0, MOST_FORGET), entries)
        self.silu = SILU if real else any_of(rng, GATE, entries)
        self.tap_now = any_of(rng, TAPS, size).reshape(layers, channels)
        self.tap_prev = any_of(rng, TAPS, size).reshape(layers, channels)
        self.forget_bias = any_of(rng, INDEX, size).reshape(layers, channels)
        self.head_bias = any_of(rng, LOGITS, UP5K.max_vocab)
        self.h = np.zeros((layers, channels), np.int32)
        self.x_prev = np.zeros((layers, channels), np.int32)
        self.x = np.zeros(channels, np.int32)

    def reset(self) -> None:
        self.h[:] = 0
        self.x_prev[:] = 0

    @staticmethod
    def _requant(sums: Integers, scale: int) -> Integers:
        return rshift(sums * scale, NUMBERS.scale_frac)

    def _look_up(self, table: Integers, index: Integers) -> Integers:
        return table[saturate(index, NUMBERS.index_bits) + (1 << NUMBERS.index_bits - 1)]

    def shift(self, layer: int) -> Integers:
        """``y`` of the present ``x`` and the one of the token before."""
        y = rshift(self.x * self.tap_now[layer] + self.x_prev[layer] * self.tap_prev[layer],
                   NUMBERS.tap_frac)
        self.x_prev[layer] = self.x
        return saturate(y, NUMBERS.residual_bits)

    def mix(self, layer: int, sums: Integers, scales: list[int]) -> tuple[Integers, Integers]:
        """``h`` and ``u``; rows of the three matrices take turns."""
        forget, candidate, gate = (
            self._requant(sums[k::3], scale) for k, scale in enumerate(scales))
        f = self._look_up(self.sigmoid, forget + self.forget_bias[layer])
        c = self._look_up(self.silu, candidate)
        self.h[layer] = c + rshift(f * (self.h[layer] - c), NUMBERS.forget_bits)
        g = self._look_up(self.silu, gate)
        product = rshift(g * self.h[layer], NUMBERS.mix_shift)
        return self.h[layer], np.clip(product, -NUMBERS.act_max, NUMBERS.act_max)

    def glu(self, sums: Integers, scales: list[int]) -> Integers:
        a = self._look_up(self.silu, self._requant(sums[0::2], scales[0]))
        b = saturate(self._requant(sums[1::2], scales[1]), NUMBERS.gate_bits)
        product = rshift(a * b, NUMBERS.glu_shift)
        return np.clip(product, -NUMBERS.act_max, NUMBERS.act_max)

    def residual(self, sums: Integers, scale: int) -> Integers:
        self.x = saturate(self.x + self._requant(sums, scale), NUMBERS.residual_bits)
        return self.x

    def head(self, sums: Integers, scale: int) -> Integers:
        bias = self.head_bias[:len(sums)]
        return saturate(self._requant(sums, scale) + bias, NUMBERS.logit_bits)


class Bench:
    """Feeds tokens, row by row, and checks everything that the unit writes and gives."""

    def __init__(self, dut: Dut, rng: np.random.Generator,
                 rests: Iterator[int]) -> None:
        self.dut = dut
        self.rng = rng
        self.rows = Source(dut, "rows", ROW, rests)
        self.embedding = Source(dut, "channels", CHANNEL, rests)
        self.acts = InOrderChecker("activation")
        self.logits = InOrderChecker("logit with its mark")
        self.logit_times = InOrderChecker("cycle of logit")
        self.head_bias: Integers = np.zeros(UP5K.max_vocab, np.int32)

    async def start(self) -> None:
        dut = self.dut
        await start(dut, kind=0, scales=0, load_scales=0, restart=0, fresh=0, norm_scale=0,
                    head_bias=0, write_taps=0, write_forget_bias=0, write_activation=0, table=0)
        self.traces = TraceChecker(dut, dut.clk)
        Watch.stream(dut, "acts", self._act)
        Watch.stream(dut, "logits", self._logit)
        Watch(dut.clk, dut.draw, dut.draw, self._draw)
        cocotb.start_soon(self._serve_bias())

    def _act(self, bits: int) -> None:
        act = unpack(ACT, bits)
        self.acts((act["value"], act["last"]))

    def _logit(self, bits: int) -> None:
        logit = unpack(LOGIT, bits)
        self.logits((logit["value"], logit["last"]))
        self.logit_times(cycle())

    def _draw(self, _bits: int) -> None:
        self.logit_times.expect([cycle() + LOGIT_LATENCY])

    async def _serve_bias(self) -> None:
        """Answer a read of the output bias one cycle later; token t is at address ~t."""
        dut = self.dut
        mask = (1 << NUMBERS.logit_bits) - 1
        while True:
            await FallingEdge(dut.clk)
            if not int(dut.head_bias_read.value):
                await RisingEdge(dut.head_bias_read)
                continue
            token = len(self.head_bias) - 1 - int(dut.head_bias_addr.value)
            await RisingEdge(dut.clk)
            dut.head_bias.value = int(self.head_bias[token]) & mask

    async def load(self, model: VectorModel) -> None:
        """Write a model's tables."""
        taps = (model.tap_now & 0xFF | (model.tap_prev & 0xFF) << 8).ravel()
        await self._write("write_taps", taps)
        await self._write("write_forget_bias", model.forget_bias.ravel())
        await self._write("write_activation", np.concatenate([model.sigmoid, model.silu]))
        self.head_bias = model.head_bias

    async def _write(self, enable: str, values: Integers) -> None:
        self.dut[enable].value = 1
        for addr, value in enumerate(values.tolist()):
            self.dut.table.value = pack(TABLE_WRITE, addr=addr, data=value & 0xFFFF)
            await RisingEdge(self.dut.clk)
        self.dut[enable].value = 0

    async def token(self, model: VectorModel, *, fresh: bool, tokens: int, hidden: int) -> None:
        """One token through all layers of ``model``, with a head of ``tokens`` rows."""
        dut = self.dut
        channels = model.channels
        if fresh:
            model.reset()
        dut.fresh.value = int(fresh)
        dut.norm_scale.value = NUMBERS.norm_gain * channels
        dut.restart.value = 1
        await RisingEdge(dut.clk)
        dut.restart.value = 0

        model.x = self.draw_embedding(channels)
        self.traces.expect("x", model.x)
        self._expect_norm(model.shift(0))
        await self.embedding.send(
            {"value": x, "last": k == channels - 1} for k, x in enumerate(model.x.tolist()))
        await self._settle()

        for layer in range(model.layers):
            sums, scales = await self._load(Op.MIX, 3 * channels)
            h, u = model.mix(layer, sums, scales)
            self.traces.expect("h", h)
            self._expect_acts(u)
            await self._rows(sums)

            sums, scales = await self._load(Op.RESIDUAL, channels)
            self.traces.expect("x", model.residual(sums, scales[0]))
            self._expect_norm(model.x)
            await self._rows(sums)

            sums, scales = await self._load(Op.GLU, 2 * hidden)
            self._expect_acts(model.glu(sums, scales))
            await self._rows(sums)

            last = layer == model.layers - 1
            sums, scales = await self._load(Op.RESIDUAL if last else Op.RESIDUAL_SHIFT, channels)
            self.traces.expect("x", model.residual(sums, scales[0]))
            self._expect_norm(model.x if last else model.shift(layer + 1))
            await self._rows(sums)

        sums, scales = await self._load(Op.HEAD, tokens)
        logits = model.head(sums, scales[0])
        self.traces.expect("logit", logits)
        self.logits.expect((int(value), int(k == tokens - 1)) for k, value in enumerate(logits))
        await self._rows(sums)

    def _expect_norm(self, y: Integers) -> None:
        self.traces.expect("y", y)
        self._expect_acts(norm(y[np.newaxis])[0])

    def _expect_acts(self, values: Iterable[Any]) -> None:
        values = [int(value) for value in values]
        last = len(values) - 1
        self.traces.expect("act", values)
        self.acts.expect((value, int(k == last)) for k, value in enumerate(values))

    def draw_embedding(self, channels: int) -> Integers:
        return any_of(self.rng, RESIDUAL, channels)

    def draw_sums(self, kind: Op, rows: int) -> tuple[Integers, list[int]]:
        """Sums of an operation and the scales of its matrices."""
        scales = np.clip(2 ** self.rng.uniform(-3, 18, 3), 1, MOST_SCALE).astype(int)
        return any_of(self.rng, SUMS, rows), scales.tolist()

    async def _load(self, kind: Op, rows: int) -> tuple[Integers, list[int]]:
        """Announce an operation, and draw its sums and scales."""
        dut = self.dut
        sums, scales = self.draw_sums(kind, rows)
        dut.kind.value = kind
        dut.scales.value = sum(scale << NUMBERS.scale_bits * k for k, scale in enumerate(scales))
        dut.load_scales.value = 1
        await RisingEdge(dut.clk)
        dut.load_scales.value = 0
        return sums, scales

    async def _rows(self, sums: Integers) -> None:
        last = len(sums) - 1
        await self.rows.send({"sum": total, "last": k == last}
                             for k, total in enumerate(sums.tolist()))
        await self._settle()

    async def _settle(self) -> None:
        while self.acts.pending or self.logits.pending:
            await RisingEdge(self.dut.clk)
        await ClockCycles(self.dut.clk, SETTLE)

    async def finish(self) -> None:
        await ClockCycles(self.dut.clk, 64)
        for checker in (self.traces, self.acts, self.logits, self.logit_times):
            checker.finish()


class EdgeBench(Bench):
    """Values of which many activations are -128 before they are clipped, and vectors near zero."""

    def model(self) -> VectorModel:
        """A model of one layer, whose token shift passes ``x`` on."""
        rng = self.rng
        model = VectorModel(rng, UP5K.min_rows, 1)
        model.tap_now[:] = 1 << NUMBERS.tap_frac
        model.tap_prev[:] = 0
        model.sigmoid = rng.choice([0, MOST_FORGET], model.sigmoid.size)
        model.silu = rng.choice([*GATE, -128, 127, 128], model.silu.size)
        return model

    def draw_embedding(self, channels: int) -> Integers:
        if self.rng.random() < 0.5:  # zeros, or so few ones that the reciprocal is at its limit
            share = self.rng.choice([0, 0.2, 0.6])
            ones = (self.rng.random(channels) < share) * self.rng.choice([-1, 1], channels)
            return np.asarray(ones, np.int32)
        # A norm is 24 * 16 times the share in the sum of magnitudes: for the first a third.
        x = self.rng.integers(195, 205, channels) * self.rng.choice([-1, 1], channels)
        x[0] = -1500
        return np.asarray(x, np.int32)

    def draw_sums(self, kind: Op, rows: int) -> tuple[Integers, list[int]]:
        sums, scales = super().draw_sums(kind, rows)
        if kind == Op.GLU:  # with the greatest scale, half a sum is the linear branch
            sums[1::2] = 2 * self.rng.choice([-257, -256, -255, 255, 256, 257], rows // 2)
            scales = [MOST_SCALE] * 3
        return sums, scales


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(stalled=[False, True])
async def follows_formulas(dut: Dut, stalled: bool) -> None:
    """Random models of several shapes; some tokens follow a reset, some the token before."""
    rng = generator()
    bench = Bench(dut, rng, pauses(rng) if stalled else NEVER)
    await bench.start()
    for channels, layers, hidden, tokens, count in (
            (UP5K.min_rows, 5, UP5K.min_rows, UP5K.min_rows, 4),
            (40, 2, 64, 39, 3),
            (UP5K.max_columns // 2, 1, 90, UP5K.max_vocab, 2)):
        model = VectorModel(rng, channels, layers)
        await bench.load(model)
        for number in range(count):
            fresh = number == 0 or bool(rng.random() < 0.2)
            await bench.token(model, fresh=fresh, tokens=tokens, hidden=hidden)
    await bench.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def edges_of_activations(dut: Dut) -> None:
    """Activations end at -127, not at -128; the norm of almost nothing is bounded."""
    rng = generator()
    bench = EdgeBench(dut, rng, NEVER)
    await bench.start()
    model = bench.model()
    await bench.load(model)
    for number in range(16):
        fresh = number == 0 or bool(rng.random() < 0.5)
        await bench.token(model, fresh=fresh, tokens=UP5K.min_rows, hidden=24)
    await bench.finish()
