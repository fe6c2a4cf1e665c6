"""Cycles of a token, without running it: which stage takes how many, and why the memory waits.

The chip's timing depends on the sizes of a model only, so that it can be computed: ``predict``
follows the gateware's events (a row issued, an activation written, a table full) through a token,
and is exact to the cycle (``tests/sim/test_performance.py`` holds it against the chip's own
counters). Every cycle either uses a word of weights or is part of a gap, and a gap is explained
by the chain of events that the next word waited for. Standard library only.

``Timing`` holds all that is assumed of the gateware; the docstrings of the modules named there
state the same latencies.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from trilight.hw.config import NUMBERS, UP5K, DeviceConfig, ModelConfig

__all__ = ["UP5K_TIMING", "Performance", "Stage", "Timing", "predict"]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Latencies of the gateware in cycles, and the width of its engine."""

    bytes_per_word: int = NUMBERS.bytes_per_word
    """Weight bytes that the memory gives in a cycle, and tables that they address."""
    trits_per_byte: int = NUMBERS.trits_per_byte
    fill_pipeline: int = 5
    """``hw/engine/tables.py``: from the last entry's step to the table's use."""
    release: int = 3
    """``hw/engine/rows.py``: from the last row of a block to the filling of its table anew."""
    row: int = 8
    """``hw/engine/rows.py``, ROW_LATENCY: from the address of a word to the row's sum."""
    mix_act: int = 12
    """``hw/vector/__init__.py``: from a gate row to ``u``."""
    glu_act: int = 9
    """From a linear row to ``v``."""
    y: int = 8
    """From a residual row to ``y``."""
    channel_y: int = 5
    """From an embedding channel to ``y``."""
    reciprocal: int = NUMBERS.norm_scale_bits + NUMBERS.norm_frac + 4
    """From the last ``y`` to the first address of the norm's second pass."""
    norm_act: int = 5
    """From that address to ``q``."""
    embed_word: int = 2
    """``hw/engine/embedding.py``: to read a word and look up its first byte."""
    embed_byte: int = 1
    """To take a byte's trits, besides a cycle for each."""
    logit: int = 4
    """``hw/sampler.py``: from a head row to its logit."""
    token: int = 2
    """From the last logit to the token."""
    header: int = 7
    """``hw/sequencer.py``: to read the program's header, once a run."""
    token_start: int = 1
    """From the begin of a token to that of the embedding."""
    first_op: int = 5
    """From the begin of a token to its first operation's offer."""
    scales: int = 8
    """From the end of an operation's wait to the next one's offer."""
    noticed: int = 1
    """From a last result to the sequencer's seeing it."""

    @property
    def columns(self) -> int:
        """Columns of a matrix that a weight word covers: ternary weights used in a cycle."""
        return self.bytes_per_word * self.trits_per_byte

    @property
    def entries(self) -> int:
        """Sums in a table; the other half are their negatives."""
        return (3 ** self.trits_per_byte + 1) // 2

    def blocks(self, columns: int) -> int:
        """Words that a row of so many columns takes."""
        return -(-columns // self.columns)


UP5K_TIMING = Timing()


@dataclass(frozen=True)
class Event:
    """A moment, and what it was waiting for since ``cause``."""

    time: int
    what: str = ""
    cause: "Event | None" = None

    def after(self, what: str, cycles: int) -> "Event":
        """The event that follows this one in some cycles; ``what`` names them."""
        return Event(self.time + cycles, what, self)

    def reasons(self, since: int) -> Counter[str]:
        """What the cycles from ``since`` up to this event were spent on."""
        spent: Counter[str] = Counter()
        at = self
        while at.time > since and at.cause is not None:
            spent[at.what] += at.time - max(at.cause.time, since)
            at = at.cause
        return spent


def last(*events: Event) -> Event:
    """The event that the others have come before."""
    return max(events, key=lambda event: event.time)


@dataclass(frozen=True, kw_only=True)
class Op:
    """An operation of the program."""

    kind: str
    layer: int | None
    rows: int
    columns: int

    @property
    def name(self) -> str:
        return self.kind if self.layer is None else f"{self.kind} {self.layer}"


def operations(model: ModelConfig) -> Iterator[Op]:
    """The program of a generated token, in order."""
    d, hidden = model.d_model, model.d_hidden
    for layer in range(model.n_layers):
        yield Op(kind="mix", layer=layer, rows=3 * d, columns=d)
        yield Op(kind="mix out", layer=layer, rows=d, columns=d)
        yield Op(kind="glu", layer=layer, rows=2 * hidden, columns=d)
        yield Op(kind="glu out", layer=layer, rows=d, columns=hidden)
    yield Op(kind="head", layer=None, rows=model.vocab_size, columns=d)


@dataclass(frozen=True)
class Stage:
    """A part of a token, from the end of the part before to its last weight word."""

    name: str
    words: int
    """Weight words, a cycle each."""
    weights: int
    """Ternary weights in them; the rest is padding."""
    gaps: dict[str, int]
    """Cycles in which the weight memory waits, by reason."""

    @property
    def cycles(self) -> int:
        return self.words + sum(self.gaps.values())


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What a model takes on an engine."""

    model: ModelConfig
    timing: Timing
    stages: tuple[Stage, ...]
    """Of a generated token; the last one is from the last word to the next token's begin."""
    prompt_cycles_per_token: int
    """Of a token that is fed without a head."""
    run_cycles: int
    """Of a run, besides its tokens."""
    misfits: list[str] = field(default_factory=list)
    """Limits of the device that the model breaks."""

    @property
    def cycles_per_token(self) -> int:
        return sum(stage.cycles for stage in self.stages)

    @property
    def words_per_token(self) -> int:
        return sum(stage.words for stage in self.stages)

    @property
    def weights_per_token(self) -> int:
        return sum(stage.weights for stage in self.stages)

    @property
    def utilisation(self) -> float:
        """Ternary weights used per lane and cycle; padding counts as waste."""
        return self.weights_per_token / (self.timing.columns * self.cycles_per_token)

    @property
    def roofline_cycles(self) -> float:
        """Cycles of a token if the memory never waited and no word had padding."""
        return self.weights_per_token / self.timing.columns

    @property
    def gaps(self) -> dict[str, int]:
        """Cycles of a token in which the weight memory waits, by reason, longest first."""
        total: Counter[str] = Counter()
        for stage in self.stages:
            total.update(stage.gaps)
        return dict(total.most_common())

    def cycles(self, *, prompt: int = 0, generated: int = 0) -> int:
        """Cycles of a run that feeds so many tokens without a head and generates so many."""
        return (self.run_cycles + prompt * self.prompt_cycles_per_token
                + generated * self.cycles_per_token)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "model": self.model.to_dict(),
            "cycles_per_token": self.cycles_per_token,
            "prompt_cycles_per_token": self.prompt_cycles_per_token,
            "run_cycles": self.run_cycles,
            "words_per_token": self.words_per_token,
            "weights_per_token": self.weights_per_token,
            "utilisation": self.utilisation,
            "roofline_cycles": self.roofline_cycles,
            "gaps": self.gaps,
            "stages": [{"name": stage.name, "cycles": stage.cycles, "words": stage.words,
                        "weights": stage.weights, "gaps": stage.gaps} for stage in self.stages],
            "memory": {
                "weight_words": self.words_per_token,
                "program_words": self.model.program_words,
                "channels": self.model.d_model * self.model.n_layers,
            },
            "misfits": self.misfits,
        }


class _Token:
    """The events of one token."""

    def __init__(self, timing: Timing, *, first_half: int = 0) -> None:
        self.timing = timing
        self.begin = Event(0)
        self.stages: list[Stage] = []
        self.end = 0  # of the last word's cycle
        # When each half of the tables may be filled; the engine is free at first.
        self.released = [self.begin, self.begin]
        self.half = first_half
        self.filled = self.begin  # the last block's table
        self.streamed = self.begin  # one cycle after the last word
        self.handed = self.begin  # the row stream has taken the operation before

    def embed(self, channels: int) -> list[Event]:
        """The norm's activations of an embedding."""
        t = self.timing
        start = self.begin.after("sequencer", t.token_start)
        word = t.embed_word + t.bytes_per_word * (t.embed_byte + t.trits_per_byte)
        k = channels - 1
        wait = (1 + k // t.columns * word + t.embed_word
                + k % t.columns // t.trits_per_byte * (t.embed_byte + t.trits_per_byte)
                + t.embed_byte + k % t.trits_per_byte)
        embedded = start.after("embedding", wait)
        self.stages.append(Stage("embedding", 0, 0, dict(embedded.reasons(0))))
        self.end = embedded.time
        return self.norm(embedded.after("vector pipeline", t.channel_y), channels)

    def norm(self, y: Event, channels: int) -> list[Event]:
        """Activations of a vector whose last ``y`` is there."""
        first = y.after("division", self.timing.reciprocal)
        return [first.after("norm, second pass", self.timing.norm_act + k)
                for k in range(channels)]

    def run(self, op: Op, offered: Event, acts: list[Event]) -> list[Event]:
        """Stream an operation; its rows' sums."""
        t = self.timing
        blocks = t.blocks(op.columns)
        # The tables take it when they have filled those of the one before, and only one waits.
        taken = last(offered, self.filled, self.handed)
        self.taken = taken
        pending = taken.after("sequencer", 1)
        busy = pending
        self.handed = last(pending, Event(self.streamed.time - 1, self.streamed.what,
                                          self.streamed.cause)).after("sequencer", 1)
        ready = self.handed
        gaps: Counter[str] = Counter()
        for block in range(blocks):
            final = acts[min((block + 1) * t.columns, len(acts)) - 1]
            written = final.after("activations", 1)
            start = last(busy, written, self.released[self.half])
            full = start.after("table fill", t.entries + t.fill_pipeline)
            busy = full
            issued = last(ready, full)
            gaps += issued.reasons(self.end)
            self.end = issued.time + op.rows
            ready = issued.after("weights", op.rows)
            self.released[self.half] = issued.after("weights", op.rows - 1 + t.release)
            self.half ^= 1
        self.filled = busy
        self.streamed = ready
        self.stages.append(Stage(op.name, blocks * op.rows, op.rows * op.columns, dict(gaps)))
        return [issued.after("row pipeline", t.row + k) for k in range(op.rows)]


def _token(model: ModelConfig, timing: Timing, *, head: bool) -> list[Stage]:
    """Stages of a token, with or without its head."""
    t = timing
    token = _Token(t)
    acts = token.embed(model.d_model)
    offered = token.begin.after("sequencer", t.first_op)
    for op in operations(model):
        if op.kind == "head" and not head:
            break
        done = acts[-1].after("sequencer", t.noticed)
        rows = token.run(op, offered, acts)
        # The scales of an operation are read when the results of the one before are complete.
        waiting = last(done, token.taken.after("sequencer", 1))
        offered = waiting.after("sequencer", t.scales + 1)
        if op.kind == "mix":
            acts = [row.after("vector pipeline", t.mix_act) for row in rows[2::3]]
        elif op.kind == "glu":
            acts = [row.after("vector pipeline", t.glu_act) for row in rows[1::2]]
        elif op.kind != "head":
            acts = token.norm(rows[-1].after("vector pipeline", t.y), model.d_model)
        else:
            acts = [rows[-1].after("sampler", t.logit + t.token)]
    end = acts[-1].after("sequencer", t.noticed + 1)
    return [*token.stages, Stage("end of token", 0, 0, dict(end.reasons(token.end)))]


def predict(model: ModelConfig, *, device: DeviceConfig = UP5K,
            timing: Timing = UP5K_TIMING) -> Performance:
    """Compute the cycles of a model, whether or not it fits.

    Parameters
    ----------
    model : ModelConfig
    device : DeviceConfig
        Whose limits the model is held against.
    timing : Timing
        The engine.
    """
    return Performance(
        model=model, timing=timing, stages=tuple(_token(model, timing, head=True)),
        prompt_cycles_per_token=sum(stage.cycles for stage in _token(model, timing, head=False)),
        run_cycles=timing.header + 1, misfits=model.misfits(device))
