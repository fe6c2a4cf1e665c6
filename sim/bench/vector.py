"""Vector unit against the formulas of the number formats, with sums, scales and tables at all ends.

Two sequences take turns, operation by operation. Rows come with and without pauses. Every value
that the unit writes is compared, as well as what it gives to engine, sequencer and sampler.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.program import SCALES, Op
from trilight.hw.interfaces import (
    ACTIVATION,
    CHANNEL,
    LOGIT,
    LOGIT_LATENCY,
    context_layout,
    row_layout,
)
from trilight.hw.vector.timing import GLU_ACT, MIX_ACT, RESIDUAL_ACT
from trilight.sw.reference.tables import SIGMOID, SILU

from .checker import InOrderChecker
from .coverage import cover, ends
from .device import DEVICE
from .streams import NEVER, Dut, Source, Watch, cycle, generator, pack, pauses, start, unpack
from .traces import TraceChecker
from .vector_model import (
    GATE,
    HALF,
    MAX_FORGET,
    TAPS,
    Integers,
    Parameters,
    SequenceModel,
    any_of,
    signed_range,
)

CONTEXT = context_layout(DEVICE)

SEQUENCES = range(DEVICE.sequences)

TABLES = ("write_taps", "write_forget_bias", "write_activation")

SETTLE = 2
"""Cycles from the end of an operation to the next one's context, at least."""

MAX_ATTEMPTS = 10
"""Models, and 30 tokens of each sequence, in which chance has to give what a bench looks for."""


SUMS = signed_range(DEVICE.acc_bits)
RESIDUAL = signed_range(NUMBERS.residual_bits)
MAX_SCALE = (1 << NUMBERS.scale_bits) - 1


@dataclass(frozen=True)
class TokenCourse:
    """Course of a token."""

    fresh: bool
    """True for the first token after a reset."""
    head: bool
    """True if its logits are wanted."""


class Bench:
    """Feeds tokens, row by row, and checks everything that the unit writes and gives."""

    def __init__(self, dut: Dut, rng: np.random.Generator,
                 rests: Iterator[int]) -> None:
        self.dut = dut
        self.rng = rng
        self.rests = rests
        self.rows = Source(dut, "rows", row_layout(DEVICE), rests)
        self.embedding = Source(dut, "channels", CHANNEL, rests)
        self.acts = InOrderChecker("activation")
        self.act_times = InOrderChecker("cycle of activation")
        self.done_times = InOrderChecker("cycle of done")
        self.logits = InOrderChecker("logit with its mark")
        self.logit_times = InOrderChecker("cycle of logit")
        self.done = 0
        self.head_bias: Integers = np.zeros(DEVICE.max_vocab, np.int64)
        self._latency = 0
        """Cycles from a row to its activation; 0 for those that have none, or none of a row."""
        self._phases = 1
        self._row = 0
        self._discards = False

    async def start(self) -> None:
        dut = self.dut
        await start(dut, context__context=0, context__load=0, context__scale=0,
                    context__push_scale=0, head_bias__data=0,
                    **{f"{table}__{port}": 0 for table in TABLES
                       for port in ("addr", "data", "en")})
        self.traces = TraceChecker(dut, dut.clk)
        Watch.stream(dut, "rows", self._row_comes)
        Watch.stream(dut, "acts__acts", self._act)
        Watch(dut.clk, dut.done, dut.acts__acts__valid, self._done)
        Watch.stream(dut, "logits__logits", self._logit)
        Watch(dut.clk, dut.logits__draw, dut.logits__draw, self._draw)
        cocotb.start_soon(self._serve_bias())

    def _row_comes(self, bits: int) -> None:
        """Expect the activation or the end that the row leads to."""
        last = unpack(row_layout(DEVICE), bits)["last"]
        self._row += 1
        if not self._latency or self._row % self._phases:
            return
        if not self._discards:
            self.act_times.expect([cycle() + self._latency])
        if last:
            self.done_times.expect([cycle() + self._latency])

    def _act(self, bits: int) -> None:
        act = unpack(ACTIVATION, bits)
        self.acts((act["value"], act["last"]))
        assert int(self.dut.done.value) == act["last"], "the last activation is not the end"
        if self._latency:
            self.act_times(cycle())

    def _done(self, act_valid: int) -> None:
        assert act_valid != self._discards, "an end without its activation, or a discarded one"
        self.done += 1
        if self._latency:
            self.done_times(cycle())

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
            if not int(dut.head_bias__read.value):
                await RisingEdge(dut.head_bias__read)
                continue
            token = (1 << DEVICE.program_bits) - 1 - int(dut.head_bias__addr.value)
            await RisingEdge(dut.clk)
            dut.head_bias__data.value = int(self.head_bias[token]) & mask

    async def load(self, parameters: Parameters) -> None:
        """Write tables, of the activations only the halves."""
        taps = (parameters.tap_now & 0xFF | (parameters.tap_prev & 0xFF) << 8).ravel()
        await self._write("write_taps", taps)
        await self._write("write_forget_bias", parameters.forget_bias.ravel())
        await self._write("write_activation", np.concatenate(
            [parameters.sigmoid[HALF:], parameters.silu[HALF:]]))
        self.head_bias = parameters.head_bias

    async def _write(self, table: str, values: Integers) -> None:
        self.dut[f"{table}__en"].value = 1
        for addr, value in enumerate(values.tolist()):
            self.dut[f"{table}__addr"].value = addr
            self.dut[f"{table}__data"].value = value & 0xFFFF
            await RisingEdge(self.dut.clk)
        self.dut[f"{table}__en"].value = 0

    async def run(self, models: list[SequenceModel], rounds: list[dict[int, TokenCourse]], *,
                  vocabulary: int, hidden: int) -> None:
        """Tokens of sequences that take turns, through all layers and a head.

        Parameters
        ----------
        models : list of SequenceModel
        rounds : list of dict
            Of each sequence that goes on, its next token.
        """
        for sequence, token in rounds[0].items():
            await self._embed(models[sequence], sequence, token)
        for number, tokens in enumerate(rounds):
            after = rounds[number + 1] if number + 1 < len(rounds) else {}
            for layer in range(models[0].parameters.layers):
                await self._layer(models, tokens, after, layer, hidden)
            heads = [sequence for sequence, token in tokens.items() if token.head]
            for sequence in heads:
                await self._head(models[sequence], sequence, vocabulary, sequence != heads[0],
                                 tokens[sequence].fresh)
                if sequence in after:
                    await self._embed(models[sequence], sequence, after[sequence])

    async def _layer(self, models: list[SequenceModel], tokens: dict[int, TokenCourse],
                     after: dict[int, TokenCourse], layer: int, hidden: int) -> None:
        channels = models[0].parameters.channels
        is_last = layer == models[0].parameters.layers - 1

        def turns(kind: Op) -> Iterator[tuple[int, SequenceModel, dict[str, int]]]:
            for turn, (sequence, token) in enumerate(tokens.items()):
                yield sequence, models[sequence], {
                    "kind": kind, "sequence": sequence, "replay": turn > 0,
                    "zero_state": token.fresh, "first": layer == 0 and kind == Op.MIX}

        for _, model, context in turns(Op.MIX):
            sums, scales = self.draw_sums(Op.MIX, 3 * channels)
            h, u = await self._enter(model, context, scales, model.mix, layer, sums, scales)
            self.traces.expect("h", h)
            self._expect_acts(u)
            await self._rows(sums)

        for _, model, context in turns(Op.RESIDUAL):
            await self._residual(model, context, None)

        for _, model, context in turns(Op.GLU):
            sums, scales = self.draw_sums(Op.GLU, 2 * hidden)
            v = await self._enter(model, context, scales, model.glu, sums, scales)
            self._expect_acts(v)
            await self._rows(sums)

        for sequence, model, context in turns(Op.RESIDUAL if is_last else Op.RESIDUAL_SHIFT):
            discard = is_last and not tokens[sequence].head
            await self._residual(
                model, context | {"discard": discard}, None if is_last else layer + 1)
            if discard and sequence in after:
                await self._embed(model, sequence, after[sequence])

    async def _residual(self, model: SequenceModel, context: dict[str, int],
                        layer: int | None) -> None:
        """``layer`` is the one that the next token shift is of, if there is one."""
        sums, scales = self.draw_sums(Op.RESIDUAL, model.parameters.channels)
        x = await self._enter(model, context, scales, model.residual, sums, scales[0])
        q = model.tapped(scales[1]) if layer is None else model.shift(layer)
        self.traces.expect("x", x)
        if not self._discards:
            self._expect_acts(q)
        await self._rows(sums)

    async def _head(self, model: SequenceModel, sequence: int, rows: int, replay: bool,
                    fresh: bool) -> None:
        sums, scales = self.draw_sums(Op.HEAD, rows)
        logits = await self._enter(
            model, {"kind": Op.HEAD, "sequence": sequence, "replay": replay, "zero_state": fresh},
            scales, model.head, sums, scales[0])
        self.traces.expect("logit", logits)
        self.logits.expect((int(value), int(k == rows - 1)) for k, value in enumerate(logits))
        await self._rows(sums)

    async def _embed(self, model: SequenceModel, sequence: int, token: TokenCourse) -> None:
        if token.fresh:
            model.reset()
        # What is not said of an embedding may be left over from the context before.
        replay, first = self.rng.integers(2, size=2).tolist()
        await self._load_context({
            "kind": Op.RESIDUAL_SHIFT, "embedding": 1, "sequence": sequence, "replay": replay,
            "first": first, "zero_state": token.fresh})
        channels = model.parameters.channels
        model.x = self.draw_embedding(channels)
        self.traces.expect("x", model.x)
        self._expect_acts(model.shift(0))
        await RisingEdge(self.dut.clk)
        await self.embedding.send(
            {"value": x, "last": k == channels - 1} for k, x in enumerate(model.x.tolist()))
        await self._settle()

    def _expect_acts(self, values: Iterable[Any]) -> None:
        values = [int(value) for value in values]
        last = len(values) - 1
        self.traces.expect("act", values)
        self.acts.expect((value, int(k == last)) for k, value in enumerate(values))

    def draw_embedding(self, channels: int) -> Integers:
        return any_of(self.rng, RESIDUAL, channels)

    def draw_sums(self, kind: Op, rows: int) -> tuple[Integers, list[int]]:
        """Sums of an operation and its three scales, the second of a RESIDUAL being a tap."""
        scales = np.clip(2 ** self.rng.uniform(-3, 18, SCALES), 0, MAX_SCALE).astype(int)
        if kind == Op.RESIDUAL:
            scales[1] = self.rng.integers(1, TAPS[1], endpoint=True)
        return any_of(self.rng, SUMS, rows), scales.tolist()

    async def _load_context(self, context: dict[str, int]) -> None:
        dut = self.dut
        kind = Op(context["kind"])
        cover("vector.operation", kind.name)
        cover("vector.sequence", context["sequence"])
        cover("vector.context", *(
            name for name in ("zero_state", "replay", "discard", "first", "embedding")
            if context.get(name)))
        by_row = not context.get("embedding")
        self._latency = by_row * {Op.MIX: MIX_ACT, Op.GLU: GLU_ACT, Op.HEAD: 0}.get(
            kind, RESIDUAL_ACT)
        self._phases = {Op.MIX: 3, Op.GLU: 2}.get(kind, 1)
        self._row = 0
        self._discards = bool(context.get("discard"))
        self._ends = self.done + (kind != Op.HEAD)
        dut.context__context.value = pack(CONTEXT, **context)
        dut.context__load.value = 1
        await RisingEdge(dut.clk)
        dut.context__load.value = 0

    async def _enter(self, model: SequenceModel, context: dict[str, int], scales: list[int],
                     compute: Any, *arguments: Any) -> Any:
        """Announce an operation and push its scales; return what it must compute."""
        dut = self.dut
        await self._load_context(context)
        ends("vector.scale", scales, 1, MAX_SCALE)
        for scale in scales:
            await ClockCycles(dut.clk, 1 + next(self.rests))
            dut.context__scale.value = scale
            dut.context__push_scale.value = 1
            if context["kind"] in (Op.MIX, Op.GLU, Op.HEAD):
                await FallingEdge(dut.clk)
                not_total = int(dut.context__not_total.value)
                assert not_total == model.not_total, \
                    f"~sum|q| is {not_total}, not {model.not_total}"
            await RisingEdge(dut.clk)
            dut.context__push_scale.value = 0
        return compute(*arguments)

    async def _rows(self, sums: Integers) -> None:
        last = len(sums) - 1
        ends("vector.sum", sums, *SUMS)
        await self.rows.send({"sum": total, "last": k == last}
                             for k, total in enumerate(sums.tolist()))
        await self._settle()

    async def _settle(self) -> None:
        while self.done < self._ends or self.logits.pending:
            await FallingEdge(self.dut.clk)
        assert not self.acts.pending, "activations are missing"
        await ClockCycles(self.dut.clk, SETTLE + next(self.rests))

    async def finish(self) -> None:
        await ClockCycles(self.dut.clk, 64)
        for checker in (self.traces, self.acts, self.act_times, self.done_times, self.logits,
                        self.logit_times):
            checker.finish()


class EdgeBench(Bench):
    """Values of which many activations are -128 before they are clipped, and vectors near zero."""

    def parameters(self) -> Parameters:
        """One layer, whose token shift passes ``-x`` or what is left of the one before on."""
        rng = self.rng
        parameters = Parameters(rng, DEVICE.min_rows, 1)
        parameters.tap_now[:] = rng.choice([TAPS[0], 0], parameters.channels)
        parameters.tap_prev[:] = 1 << NUMBERS.tap_frac - NUMBERS.prev_shift
        parameters.set_tables(rng.choice([0, MAX_FORGET], HALF),
                              rng.choice([*GATE, -128, 127, 128], HALF))
        return parameters

    def draw_embedding(self, channels: int) -> Integers:
        if self.rng.random() < 0.3:
            share = self.rng.choice([0, 0.2, 0.6])
            ones = (self.rng.random(channels) < share) * self.rng.choice([-1, 1], channels)
            return np.asarray(ones, np.int64)
        maximum = NUMBERS.act_max << NUMBERS.prev_shift
        values = self.rng.choice(
            [127, 128, 129, maximum, maximum + 4, maximum + 8, -RESIDUAL[0]], channels)
        signs = self.rng.choice([-1, 1], channels)
        return np.asarray(np.clip(values * signs, *RESIDUAL), np.int64)

    def draw_sums(self, kind: Op, rows: int) -> tuple[Integers, list[int]]:
        sums, scales = super().draw_sums(kind, rows)
        if kind == Op.RESIDUAL:  # a tap of a half, and half an act's limit
            sums = self.rng.choice([-256, 0, 256], rows).astype(np.int64)
            scales = [MAX_SCALE, 1 << NUMBERS.tap_frac - 1, 0]
        if kind == Op.GLU:  # the greatest scale passes a sum on
            sums[1::2] = self.rng.choice([-257, -256, -255, 255, 256, 257], rows // 2)
            scales = [MAX_SCALE] * SCALES
        return sums, scales


class SweepBench(Bench):
    """Sums that lead to each entry of the tables, in every gate of the mix."""

    def draw_sums(self, kind: Op, rows: int) -> tuple[Integers, list[int]]:
        sums, scales = super().draw_sums(kind, rows)
        if kind == Op.MIX:
            index = np.arange(-HALF, HALF, dtype=np.int64)
            # The greatest scale is a little less than 1, and what it leaves is rounded down.
            wanted = index + (index > 0)
            for row in range(3):
                sums[row::3] = self.rng.permutation(wanted)
            scales = [MAX_SCALE] * SCALES
        return sums, scales


def random_rounds(rng: np.random.Generator, sequences: Iterable[int],
                  count: int) -> list[dict[int, TokenCourse]]:
    """Tokens of sequences of which one may end before the other; the first ones are fresh."""
    active = list(sequences)
    rounds = []
    for number in range(count):
        rounds.append({sequence: TokenCourse(fresh=number == 0 or rng.random() < 0.2,
                                       head=bool(rng.integers(2))) for sequence in active})
        if len(active) > 1 and number >= count // 2 and rng.random() < 0.5:
            active.remove(rng.choice(active))
    return rounds


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(stalled=[False, True])
async def follows_formulas(dut: Dut, stalled: bool) -> None:
    """Random models of several shapes; some tokens follow a reset, some the token before."""
    rng = generator()
    bench = Bench(dut, rng, pauses(rng) if stalled else NEVER)
    await bench.start()
    few, maximum = DEVICE.min_rows, min(DEVICE.max_columns, DEVICE.max_channels // 2)
    for channels, layers, hidden, vocabulary, count, sequences in (
            (few, 5, few, few, 4, SEQUENCES),
            (40, 2, 64, 39, 4, SEQUENCES),
            (few, 2, few + 4, few + 1, 3, SEQUENCES[-1:]),
            (maximum // 2, 1, 90, DEVICE.max_vocab, 2, SEQUENCES),
            (maximum, 2, 30, few + 4, 2, SEQUENCES[:1])):
        parameters = Parameters(rng, channels, layers)
        await bench.load(parameters)
        models = [SequenceModel(parameters) for _ in SEQUENCES]
        await bench.run(models, random_rounds(rng, sequences, count), vocabulary=vocabulary,
                        hidden=hidden)
    await bench.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def every_entry(dut: Dut) -> None:
    """Every entry of both tables, also of the halves that are derived, is read in every gate."""
    rng = generator()
    bench = SweepBench(dut, rng, NEVER)
    await bench.start()
    parameters = Parameters(rng, 2 * HALF, 1)
    parameters.set_tables(SIGMOID[HALF:], SILU[HALF:])
    parameters.forget_bias[:] = 0
    await bench.load(parameters)
    models = [SequenceModel(parameters) for _ in SEQUENCES]
    rounds = [{0: TokenCourse(fresh=fresh, head=True)} for fresh in (True, False)]
    await bench.run(models, rounds, vocabulary=DEVICE.min_rows, hidden=DEVICE.min_rows)
    await bench.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def edges_of_activations(dut: Dut) -> None:
    """Activations and ``x_prev`` end at -127, not at -128; vectors of zeros add up to nothing."""
    rng = generator()
    bench = EdgeBench(dut, rng, NEVER)
    await bench.start()
    missing = ["q", "x_prev", "u", "v"]
    for _ in range(MAX_ATTEMPTS):
        parameters = bench.parameters()
        await bench.load(parameters)
        models = [SequenceModel(parameters) for _ in SEQUENCES]
        await bench.run(models, random_rounds(rng, SEQUENCES, 30), vocabulary=DEVICE.min_rows,
                        hidden=DEVICE.min_rows + 8)
        missing = [name for name in missing if not any(model.clipped[name] for model in models)]
        if not missing:
            break
    assert not missing, f"never clipped: {', '.join(missing)}"
    await bench.finish()
