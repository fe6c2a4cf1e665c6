"""Course of a run: when each operation's words are read, and what each gap waits for.

The chip's timing depends on the sizes of a model only, so it can be computed. ``Schedule`` follows
the gateware's events (a word read, an activation written, a table full, a result complete) from
operation to operation, and is exact to the cycle: ``tests/sim/test_performance.py`` holds it
against the chip's own counters. A cycle either uses a word of weights or is part of a gap, and a
gap is explained by the chain of events that the next word waited for.

All that is assumed of the gateware's latencies is what its blocks are built from: ``timing.py`` of
the engine, the vector unit and the control. Pure Python; no simulator is needed.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from trilight.hw.contract.device import Device
from trilight.hw.contract.program import SCALES, Op, operation_kinds
from trilight.hw.contract.protocol import WORD_BYTES
from trilight.hw.contract.shapes import ModelConfig, OperationShape
from trilight.hw.contract.trits import Packing
from trilight.hw.control import timing as control
from trilight.hw.engine.timing import EngineTiming
from trilight.hw.vector import timing as vector

from .sources import SdramPhase
from .supply import LaterError, Supply

__all__ = ["Schedule", "SequenceRequest", "Stage", "program"]

NAMES = ("mix", "residual", "GLU", "residual")
"""Stages of a layer, one for each of its operations."""


@dataclass(frozen=True)
class Event:
    """A moment, and what the cycles since ``cause`` were spent on."""

    time: int
    what: str = ""
    cause: "Event | None" = None

    def after(self, what: str, cycles: int) -> "Event":
        """The event some cycles later."""
        return Event(self.time + cycles, what, self)

    def reasons(self, since: int) -> Counter[str]:
        """Return what the cycles from ``since`` up to this event were spent on."""
        spent: Counter[str] = Counter()
        at: Event | None = self
        while at is not None and at.time > since:
            begin = since if at.cause is None else max(at.cause.time, since)
            spent[at.what] += at.time - begin
            at = at.cause
        return +spent


def last(*events: Event) -> Event:
    """The event that all others have come before."""
    return max(events, key=lambda event: event.time)


@dataclass(frozen=True)
class Lookup:
    """The embedding of a token: when it reads the memories that it shares with the engine."""

    start: int
    period: int
    end: int

    def reads(self, latency: int) -> range:
        """Cycles of the reads that begin so many cycles after the start."""
        return range(self.start + latency, self.end + 1, self.period)


@dataclass(frozen=True)
class TokenOperation:
    """One pass of the engine, for one sequence."""

    kind: Op
    shape: OperationShape
    name: str


def program(model: ModelConfig, packing: Packing) -> list[TokenOperation]:
    """The operations of a generated token, in order."""
    layers = range(model.n_layers)
    names = [*(f"{name}, layer {layer + 1}" for layer in layers for name in NAMES), "head"]
    shapes = [*(shape for _ in layers for shape in model.layer_operations(packing)),
              model.head(packing)]
    return [TokenOperation(*operation) for operation in zip(
        operation_kinds(model.n_layers), shapes, names, strict=True)]


@dataclass(frozen=True)
class Stage:
    """An operation of a token, from the last word of the one before to its own last word."""

    name: str
    sequence: int
    words: int
    """Weight words, a cycle each."""
    weights: int
    """Ternary weights in them; the rest is padding."""
    gaps: dict[str, int]
    """Cycles in which no word is read for a row, by reason."""
    rows: int = 0
    """Rows, a cycle of the vector unit each."""
    outside: int = 0
    """Weight words that come from outside the chip for it."""

    @property
    def cycles(self) -> int:
        return self.words + sum(self.gaps.values())


@dataclass(frozen=True)
class SequenceRequest:
    """Tokens to feed to a sequence, and tokens to generate after the last of them."""

    feed: int = 1
    generate: int = 0
    tokens: Sequence[int] = ()
    """The tokens themselves, as far as they are known, else 0. An SDRAM is asked for their rows of
    the embedding, and what that takes depends a little on where they lie."""


@dataclass(frozen=True)
class _Tile:
    """Rows of an operation that are worked on together, in their last block."""

    first: int
    """Row of the operation that is their first."""
    begins: Event
    """Its word may be transferred."""
    words: Sequence[int] = ()
    """Cycles in which their words are, if they come from outside; else one after the other."""

    def late(self, row: int) -> int:
        """Cycles by which memory outside delays a row, counted from ``first``."""
        return self.words[row] - self.begins.time - row if self.words else 0


@dataclass(frozen=True)
class _Activations:
    """A vector of activations on its way from the vector unit.

    Each results from some rows, which come one a cycle in each of the tiles.
    """

    tiles: "list[_Tile]"
    every: int = 1
    """Rows that make an activation."""
    count: int = 1
    latencies: Mapping[str, int] = field(default_factory=dict)
    """Cycles from a row to its activation."""

    def written(self, column: int) -> Event:
        """Activation ``column``, or the last one."""
        row = self.every * min(column, self.count - 1) + self.every - 1
        tile = max((tile for tile in self.tiles if tile.first <= row),
                   key=lambda tile: tile.first)
        # The first activation of a tile takes some rows, each further one as many more.
        row -= tile.first
        alone = min(self.every - 1, row)
        event = tile.begins.after("weights", alone)
        for what, cycles in self.latencies.items():
            event = event.after(what, cycles)
        return event.after("activations", row - alone).after("memory outside", tile.late(row))


@dataclass
class _Sequence:
    """Progress of a sequence."""

    feed: int
    generate: int
    active: bool
    goes_on: bool
    tokens: Sequence[int] = ()
    """Tokens that have not been embedded."""
    head: bool = False
    next_head: bool = False
    acts: "_Activations" = field(default_factory=lambda: _Activations([_Tile(0, Event(0))]))
    """The activations being written or waiting."""


class Schedule:
    """Every operation of a run, when its words are read and what it waited for.

    Parameters
    ----------
    model : ModelConfig
    requests : sequence of SequenceRequest or None
        By sequence; None of one that does not take part.
    device : Device
    phase : SdramPhase
        State of an SDRAM outside when the run begins.

    Attributes
    ----------
    stages : list of Stage
    ends : list of int
        Of each stage: the cycle after its last word.
    tokens : list of (int, int)
        Sequence and end of each token, in order.
    cycles : int
        Of the run, as the chip counts them.
    """

    def __init__(self, model: ModelConfig, requests: Sequence[SequenceRequest | None],
                 device: Device, phase: SdramPhase | None = None) -> None:
        self.model = model
        self.device = device
        self._engine = EngineTiming(device)
        self.stages: list[Stage] = []
        self.ends: list[int] = []
        self.tokens: list[tuple[int, int]] = []
        self._program = program(model, device.packing)
        self._lookups: list[Lookup] = []
        self._head = model.head(device.packing)
        words = model.weight_words(device.packing)
        self._head_word = words - self._head.words
        self._supply = Supply(device, self._head_word, words - 1, phase or SdramPhase(),
                              ) if device.streamed else None
        self._sequences = [_Sequence(r.feed, r.generate, True, True, r.tokens) if r else
                           _Sequence(0, 0, False, False) for r in requests]
        self._fetched = 0
        """Words read from outside for the operations before."""
        # The engine: when it takes the next operation, fills a table, reads a word.
        self._idle = Event(0)
        self._end = 0
        self._half = 0
        self._filled = self._idle
        self._taken = self._idle
        self._streamed = self._idle
        self._released = [self._idle, self._idle]
        self.cycles = self._run()

    # ---- hw/control/, a state a line

    def _run(self) -> int:
        both = self._sequences
        header = control.HEADER + (self.device.address_bits > 8 * WORD_BYTES)
        now = Event(0).after("sequencer", header + 1)  # READ-HEADER, START
        done = self._idle
        for number, sequence in enumerate(both):
            if sequence.active:
                now = last(now, done.after("sequencer", control.SEEN + 1)) if done.cause else now
                now = now.after("sequencer", 2)  # ADDRESS-TOKEN, READ-TOKEN
                done = self._embed(number, now)
                now = now.after("sequencer", 1)
        now = now.after("sequencer", 1)  # NEXT-SEQUENCE
        context = done
        finished: int | None = None
        for number, operation, first in self._order():
            sequence = both[number]
            offered = now.after("sequencer", control.FETCH)  # FETCH-OP
            handed = last(offered, self._filled, self._taken)  # ISSUE-OP
            now = handed.after("sequencer", 1)
            if finished is not None:
                now = last(now, context.after("sequencer", control.SEEN))
                now = now.after("sequencer", 1)  # AWAIT-TOKEN
                over = both[finished]
                self._advance(finished, now.time)
                now = now.after("sequencer", 1)
                if over.goes_on:
                    now = now.after("sequencer", 2)  # WRITE-TOKEN, READ-TOKEN
                    if number != finished:
                        self._stream_before(now.time + 1, number, operation, handed)
                    context = self._embed(finished, now)
                    now = now.after("sequencer", 1)
                    now = last(now, context.after("sequencer", control.SEEN))
                finished = None
            else:
                now = last(now, context.after("sequencer", control.SEEN))
            now = now.after("sequencer", 2)  # LOAD-CONTEXT, FETCH-SCALE
            if first:
                sequence.head = sequence.next_head
            for scale in range(SCALES):  # START-DIVISION, AWAIT-DIVISION
                divided = scale < operation.kind.divided
                now = now.after("division" if divided else "sequencer",
                                1 + (control.DIVISION if divided else control.NO_DIVISION))
            expected = now.after("sequencer", 1)  # ENABLE-ROWS
            if self._supply is not None and first and number == self._last_active:
                self._supply.decide(expected.time + 1,  # SELECT-OP
                                    any(s.head for s in both if s.active))
            context = self._stream(number, operation, handed, expected)
            if operation.kind is Op.HEAD or (
                    operation is self._program[-2] and not sequence.head):
                finished = number
                sequence.goes_on = (sequence.generate > 1 if sequence.head else sequence.feed > 1)
            now = expected.after("sequencer", 2)  # SETTLE, SELECT-OP
        assert finished is not None
        now = last(now, context.after("sequencer", control.SEEN))
        now = now.after("sequencer", 1)  # AWAIT-TOKEN
        self._advance(finished, now.time)
        return now.time + 1

    def _order(self) -> Iterator[tuple[int, TokenOperation, bool]]:
        """Sequence, operation and whether it is a token's first one, in the order of hand-over."""
        both = self._sequences
        while any(sequence.goes_on for sequence in both):
            for sequence in both:
                sequence.active = sequence.goes_on
            for operation in self._program:
                for number, sequence in enumerate(both):
                    if sequence.active and (operation.kind is not Op.HEAD or sequence.head):
                        yield number, operation, operation is self._program[0]

    @property
    def _last_active(self) -> int:
        return max(k for k, sequence in enumerate(self._sequences) if sequence.active)

    def _advance(self, number: int, time: int) -> None:
        """A token is over: state END-TOKEN."""
        sequence = self._sequences[number]
        self.tokens.append((number, time + 1))
        if sequence.head:
            sequence.generate -= 1
        else:
            sequence.feed -= 1

    def _embed(self, number: int, start: Event) -> Event:
        """Embed a sequence's token, from state EMBED-TOKEN; the last activation."""
        sequence = self._sequences[number]
        sequence.next_head = sequence.feed == 1 and sequence.generate > 0
        if self._supply is not None:
            token, *sequence.tokens = sequence.tokens or (0,)
            row = range(self._head_word + token, self._head_word + self._head.words,
                        self._head.rows)
            start = start.after("embedding row",
                                self._supply.row(row, start.time) - start.time)
        first = start.after("embedding", self._engine.lookup)
        channels = self.model.d_model
        period = self._head.trits
        self._lookups.append(Lookup(start.time, period, first.time + channels - 1))
        sequence.acts = _Activations([_Tile(0, first)], 1, channels,
                                     {"vector pipeline": vector.CHANNEL_ACT})
        return sequence.acts.written(channels)

    # ---- hw/memory/

    def _stream_before(self, limit: int, number: int, operation: TokenOperation,
                       handed: Event) -> None:
        """Have an operation take what words it can from outside before another event.

        Its last block waits for what follows from that event.
        """
        if self._supply is None:
            return
        engine = ("_idle", "_end", "_half", "_filled", "_taken", "_streamed")
        before = {name: getattr(self, name) for name in engine}
        released = list(self._released)
        self._supply.until(limit)
        with suppress(LaterError):
            self._stream(number, operation, handed, Event(limit + 1))
        self._supply.until(None)
        vars(self).update(before)
        self._released = released

    def _jump(self, number: int, operation: TokenOperation, took: int) -> None:
        """Have the words of an operation begin where they do, when the engine takes it."""
        assert self._supply is not None
        if any(s.active and (operation.kind is not Op.HEAD or s.head)
               for s in self._sequences[:number]):
            self._supply.again(took)
        elif operation is self._program[0] and self.stages:
            self._supply.rewind(took)

    def _keeps(self, number: int, operation: TokenOperation) -> bool:
        """True if an operation is asked for once more, for another sequence."""
        return any(s.active and (operation.kind is not Op.HEAD or s.head)
                   for s in self._sequences[number + 1:])

    # ---- hw/engine/

    def _free(self, begin: int, count: int, latency: int) -> int:
        """The cycle in which the last of ``count`` steps is taken that begin at ``begin``.

        Steps wait while a look-up reads, which it does at its own times.
        """
        end = begin + count - 1
        for lookup in self._lookups[-len(self._sequences):]:
            reads = lookup.reads(latency)
            for read in reads[bisect_left(reads, begin):]:
                if read > end:
                    break
                end += 1
        return end

    def _stream(self, number: int, operation: TokenOperation, handed: Event,
                expected: Event) -> Event:
        """Stream an operation's rows, tile after tile; its last result."""
        shape, sequence = operation.shape, self._sequences[number]
        begin = end = self.ends[-1] if self.ends else 0
        gaps: Counter[str] = Counter()
        tiles: list[_Tile] = []
        first = 0
        for rows in self.device.tiles(shape.rows):
            if tiles:
                # hw/engine/tiles.py offers the next pass at once.
                handed = last(handed.after("sequencer", 1), self._filled, self._taken)
            issued, words = self._pass(number, operation, rows, handed, expected, gaps,
                                       kept=bool(tiles))
            end = self._end
            tiles.append(_Tile(first, issued, words))
            first += rows
        fetched = self._supply.fetched if self._supply else 0
        self.stages.append(Stage(operation.name, number, shape.words, shape.rows * shape.columns,
                                 dict(+gaps), shape.rows, fetched - self._fetched))
        self._fetched = fetched
        assert end - begin == self.stages[-1].cycles
        self.ends.append(end)
        return self._results(sequence, operation, tiles)

    def _pass(self, number: int, operation: TokenOperation, rows: int, handed: Event,
              expected: Event, gaps: Counter[str], *, kept: bool,
              ) -> tuple[Event, Sequence[int]]:
        """Stream rows of an operation: when its last block's first word may be transferred, and of
        words from outside when each is.

        ``gaps`` counts the cycles without a word; ``kept`` says that tables fill with activations
        that another pass has used.
        """
        t = self._engine
        sequence, shape = self._sequences[number], operation.shape
        columns = shape.trits * self.device.lanes
        end = self._end
        words: Sequence[int] = ()
        took = handed.after("sequencer", t.TAKE)
        filling = took
        took = last(took, self._streamed)
        if self._supply is not None and not kept:
            self._jump(number, operation, took.time)
        ready = took.after("sequencer", 1)
        self._taken = took.after("sequencer", t.TAKEN)
        for block in range(shape.blocks):
            start = last(filling, self._released[self._half])
            if not kept:
                written = sequence.acts.written((block + 1) * columns - 1)
                start = last(filling, written.after("table fill", t.FILL_START),
                             self._released[self._half])
            step = Event(self._free(start.time + 1, shape.entries, t.lookup_rom),
                         "table fill", start)
            full = step.after("table fill", t.full)
            filling = step.after("table fill", t.FILL_END)
            wanted = [ready, full]
            if block == shape.blocks - 1:
                wanted.append(expected.after("sequencer", t.EXPECT))
            issued = last(*wanted)
            gaps += issued.reasons(end)
            if self._supply is None:
                final = self._free(issued.time, rows, t.LOOKUP_READ)
                gaps["embedding"] += final - issued.time - rows + 1
            else:
                words = self._supply.stream(
                    issued.time, rows, opens=not (kept or block),
                    keeps=self._keeps(number, operation))
                final = words[-1]
                gaps["memory outside"] += final - issued.time - rows + 1
            end = final + 1
            self._streamed = issued.after("weights", final - issued.time)
            ready = self._streamed.after("weights", 1)
            self._released[self._half] = self._streamed.after("weights", t.RELEASE)
            self._half ^= 1
        self._filled = filling
        self._end = end
        return issued, words

    def _results(self, sequence: _Sequence, operation: TokenOperation,
                 tiles: list[_Tile]) -> Event:
        """The last result of rows that were issued in tiles, each given by its first row."""
        rows, row = operation.shape.rows, self._engine.row
        if operation.kind is Op.HEAD:
            tile, final = tiles[-1], rows - tiles[-1].first - 1
            return tile.begins.after("weights", final).after(
                "memory outside", tile.late(final)).after("row pipeline", row).after(
                "sampler", vector.DRAW + vector.LOGIT + vector.TOKEN)
        latency, every = {Op.MIX: (vector.MIX_ACT, 3), Op.GLU: (vector.GLU_ACT, 2)}.get(
            operation.kind, (vector.RESIDUAL_ACT, 1))
        sequence.acts = _Activations(tiles, every, rows // every,
                                     {"row pipeline": row, "vector pipeline": latency})
        return sequence.acts.written(rows)
