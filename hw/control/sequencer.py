"""Sequencer: reads the program and walks the tokens of a run through engine and vector unit."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.protocol import (
    OP_AFTER_SHORT,
    OP_BLOCKS,
    OP_DIVIDED,
    OP_SCALES,
    OP_SHORT,
    PROGRAM_HEADER_WORDS,
    PROGRAM_OP_WORDS,
    Op,
    ProgramHeader,
    RunFlag,
)
from trilight.hw.engine.rows import op_layout
from trilight.hw.lib.fsm import OneHotFSM
from trilight.hw.vector.norm import EffectiveScale
from trilight.hw.vector.unit import context_layout

__all__ = ["NOTICE_LAYOUT", "RUN_LAYOUT", "Sequencer"]

RUN_LAYOUT = data.StructLayout({
    "flags": len(RunFlag),
    "n_feed": 16,
    "n_generate": 16,
    "temperature": NUMBERS.temperature_bits,
    "seed": NUMBERS.rng_bits,
})
"""An accepted RUN; see ``trilight.hw.contract.protocol.RUN``."""

NOTICE_LAYOUT = data.StructLayout({"position": 16, "token": 8})
"""A generated token, to be announced."""


class Sequencer(wiring.Component):
    """Feeds tokens from the tapes, generates tokens onto them, and counts.

    Sequences that run at once take turns operation by operation, so that one fills the gaps of the
    other. An operation is handed to the engine while the one before still streams; its context goes
    to the vector unit when that one's last result is out, and only then may its rows come. After a
    sequence's last operation for a token, its next token is embedded.

    Members
    -------
    run : In(stream of RUN_LAYOUT)
        Taken while idle.
    stop : In(1)
        Pulse: end after the token in progress.
    running : Out(1)
    position_0, position_1 : Out(16)
        Tokens of each sequence fed since its reset.
    cycles, words, tokens : Out(32)
        Since the last clear: cycles running, weight words used, tokens fed.
    notice_0, notice_1 : Out(stream of NOTICE_LAYOUT)
    tape_addr, tape_read_ready, tape_data, tape_write, tape_token : Out, In, In, Out, Out
        The tapes; a read is taken when ready and its data follow one cycle later.
    program_addr, program_data : Out, In
        Program memory; data one cycle after the address.
    channel_count, embed_scale, embed_base, embed_stride, embed_short : Out
        Header values.
    embed_start, embed_token : Out
        Look a token up.
    ops : Out(stream of op_layout)
    expected : Out(1)
        Rows of the present operation may be emitted.
    op_ends : In(1)
        Pulse: its last word is issued.
    word_used : In(1)
    context, load : Out
        For the vector unit; ``load`` is a pulse with each new context.
    not_total : In(15)
        ``~sum|q|`` of the context's sequence.
    scale, push_scale : Out
        Three for each operation, after its context.
    done : In(1)
        Pulse: an operation's (or the embedding's) last result is out.
    temperature, seed, seed_sequence, load_seed : Out
    sampled : In(8)
        The token that a head has sampled when it is done, until the next head.
    """

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
    tape_addr: Signal
    tape_read_ready: Signal
    tape_data: Signal
    tape_write: Signal
    tape_token: Signal
    program_addr: Signal
    program_data: Signal
    channel_count: Signal
    embed_scale: Signal
    embed_base: Signal
    embed_stride: Signal
    embed_short: Signal
    embed_start: Signal
    embed_token: Signal
    ops: stream.Interface
    expected: Signal
    op_ends: Signal
    word_used: Signal
    context: data.View
    load: Signal
    not_total: Signal
    scale: Signal
    push_scale: Signal
    done: Signal
    temperature: Signal
    seed: Signal
    seed_sequence: Signal
    load_seed: Signal
    sampled: Signal

    def __init__(self, *, device: Device) -> None:
        token_bits = (device.max_vocab - 1).bit_length()
        self._device = device
        self._sequence_bits = (device.sequences - 1).bit_length()
        self._program_bits = (device.program_words - 1).bit_length()
        self._tape_bits = (device.tape_tokens - 1).bit_length()
        super().__init__({
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
            "tape_addr": Out(self._tape_bits + self._sequence_bits),
            "tape_read_ready": In(1),
            "tape_data": In(token_bits),
            "tape_write": Out(1),
            "tape_token": Out(token_bits),
            "program_addr": Out(self._program_bits),
            "program_data": In(16),
            "channel_count": Out((device.max_columns - 1).bit_length()),
            "embed_scale": Out(NUMBERS.residual_bits - 1),
            "embed_base": Out((device.weight_words - 1).bit_length()),
            "embed_stride": Out(device.max_rows.bit_length()),
            "embed_short": Out(1),
            "embed_start": Out(1),
            "embed_token": Out(token_bits),
            "ops": Out(stream.Signature(op_layout(device))),
            "expected": Out(1),
            "op_ends": In(1),
            "word_used": In(1),
            "context": Out(context_layout(device)),
            "load": Out(1),
            "not_total": In(NUMBERS.norm_bits),
            "scale": Out(NUMBERS.scale_bits),
            "push_scale": Out(1),
            "done": In(1),
            "temperature": Out(NUMBERS.temperature_bits),
            "seed": Out(NUMBERS.rng_bits),
            "seed_sequence": Out(self._sequence_bits),
            "load_seed": Out(1),
            "sampled": In(token_bits),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sequences = self._device.sequences

        def each(width: int, name: str, init: int = 0, reset_less: bool = False) -> Array:
            """A register for each sequence."""
            return Array(Signal(width, name=f"{name}_{k}", init=init, reset_less=reset_less)
                         for k in range(sequences))

        # Of a run, by sequence: what is left of it, and how its present token is dealt with.
        requested = each(1, "requested")
        n_feed = each(16, "n_feed", reset_less=True)
        n_generate = each(16, "n_generate", reset_less=True)
        position = each(16, "position")
        fresh = each(1, "fresh", init=1)
        active = each(1, "active")
        goes_on = each(1, "goes_on")
        head = each(1, "head", reset_less=True)
        next_head = each(1, "next_head", reset_less=True)
        stopping = Signal()

        # The next operation to hand over: its sequence, how many come after it, its first word.
        sequence = Signal(self._sequence_bits)
        ops_after = Signal(8, reset_less=True)
        op_count = Signal(8, reset_less=True)
        op_start = Signal(self._program_bits, reset_less=True)
        first_op = Signal(reset_less=True)
        coming = Signal(context_layout(self._device), reset_less=True)

        # The sequence whose next token is to be embedded before that operation gets its context.
        embedded = Signal(self._sequence_bits)
        embed_due = Signal()
        starting = Signal()
        word = Signal(range(max(PROGRAM_HEADER_WORDS, PROGRAM_OP_WORDS) + 1), reset_less=True)
        address = Signal(self._program_bits, reset_less=True)
        after_first_short = Signal(reset_less=True)
        done = Signal()

        position_now = position[embedded]
        place = Signal.like(self.tape_addr, reset_less=True)
        next_position = Signal(16)
        m.d.comb += [
            self.position_0.eq(position[0]),
            self.position_1.eq(position[-1] if sequences > 1 else 0),
            next_position.eq(position_now + 1),
            self.program_addr.eq(address),
            self.tape_addr.eq(place),
            self.tape_token.eq(self.sampled),
            self.embed_token.eq(self.tape_data),
            self.seed.eq(self.run.payload.seed),
        ]

        with m.If(self.running):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        with m.If(self.word_used):
            m.d.sync += self.words.eq(self.words + 1)
        with m.If(self.stop):
            m.d.sync += stopping.eq(1)
        with m.If(self.done):
            m.d.sync += done.eq(1)
        notices = (self.notice_0, self.notice_1)[:sequences]
        for notice in notices:
            with m.If(notice.ready):
                m.d.sync += notice.valid.eq(0)

        m.submodules.divider = divider = EffectiveScale()
        m.d.comb += [
            divider.scale.eq(self.program_data),
            divider.not_total.eq(self.not_total),
            self.scale.eq(divider.result),
            self.push_scale.eq(divider.done),
        ]

        def flag(which: RunFlag) -> Value:
            return (self.run.payload.flags & which.value).any()

        def fetch() -> None:
            # The data of word k are there when `word` is k + 1.
            m.d.sync += [word.eq(word + 1), address.eq(address + 1)]

        # What choices need is worked out in the cycle before.
        feeds_more = each(1, "feeds_more")
        generates = each(1, "generates")
        generates_more = each(1, "generates_more")
        several = Signal()
        both = Signal()
        some_head = Signal()
        some_go_on = Signal()
        at_head = Signal()
        before_head = Signal()
        generated = Signal()
        m.d.sync += [
            several.eq(Mux(head[sequence], generates_more[sequence], feeds_more[sequence])),
            *(feeds_more[k].eq(n_feed[k][1:].any()) for k in range(sequences)),
            *(generates[k].eq(n_generate[k].any()) for k in range(sequences)),
            *(generates_more[k].eq(n_generate[k][1:].any()) for k in range(sequences)),
            some_head.eq(Cat(head[k] & active[k] for k in range(sequences)).any()),
            some_go_on.eq(Cat(*goes_on).any()),
            at_head.eq(ops_after == 0),
            before_head.eq(ops_after == 1),
            generated.eq(head[embedded]),
        ]
        if sequences > 1:
            m.d.sync += both.eq(active[1] & (head[1] | (ops_after != 0)) & ~sequence)

        m.d.sync += [self.load.eq(0), self.tape_write.eq(0)]
        fsm = OneHotFSM(
            m, "IDLE", "RUN", "HEADER", "START", "PLACE", "FETCH", "HAND", "FINISH", "ADVANCE",
            "WRITTEN", "TAPE", "EMBED", "BEGIN", "WAIT", "SCALE", "DIVIDE", "DIVIDED", "EXPECT",
            "LOOK", "CHOOSE")
        m.d.sync += self.expected.eq(fsm.ongoing("EXPECT") | (self.expected & ~self.op_ends))
        # A generated token is written where the next one is read, after the present one.
        with m.If(~fsm.ongoing("WRITTEN") & ~fsm.ongoing("TAPE")):
            m.d.sync += place.eq(Cat(
                Mux(starting, position_now, next_position)[:self._tape_bits], embedded))

        with fsm.State("IDLE"):
            m.d.sync += [address.eq(0), word.eq(0), stopping.eq(0)]
            with m.If(self.run.valid):
                fsm.next = "RUN"

        with fsm.State("RUN"):
            which = flag(RunFlag.SECOND) if sequences > 1 else 0
            m.d.comb += [
                self.run.ready.eq(1),
                self.load_seed.eq(flag(RunFlag.SEED)),
                self.seed_sequence.eq(which),
            ]
            with m.If(which == 0):
                m.d.sync += [one.eq(0) for one in requested]
            m.d.sync += [
                requested[which].eq(1),
                n_feed[which].eq(self.run.payload.n_feed),
                n_generate[which].eq(self.run.payload.n_generate),
                self.temperature.eq(self.run.payload.temperature),
            ]
            with m.If(flag(RunFlag.RESET)):
                m.d.sync += [position[which].eq(0), fresh[which].eq(1)]
            with m.If(flag(RunFlag.CLEAR)):
                m.d.sync += [self.cycles.eq(0), self.words.eq(0), self.tokens.eq(0)]
            fsm.next = "IDLE"
            with m.If(~flag(RunFlag.HOLD)):
                m.d.sync += self.running.eq(1)
                fsm.next = "HEADER"

        with fsm.State("HEADER"):
            fetch()
            flags = self.program_data
            for field, copies in (
                (ProgramHeader.CHANNELS, [self.channel_count.eq(self.program_data)]),
                (ProgramHeader.EMBED_SCALE, [self.embed_scale.eq(self.program_data)]),
                (ProgramHeader.EMBED_BASE, [self.embed_base.eq(self.program_data)]),
                (ProgramHeader.EMBED_STRIDE, [self.embed_stride.eq(self.program_data)]),
                (ProgramHeader.EMBED_FLAGS, [
                    self.embed_short.eq((flags & OP_SHORT).any()),
                    after_first_short.eq((flags & OP_AFTER_SHORT).any())]),
                (ProgramHeader.OPS, [op_count.eq(self.program_data)]),
            ):
                with m.If(word == field.value + 1):
                    m.d.sync += copies
            with m.If(word == PROGRAM_HEADER_WORDS):
                fsm.next = "START"

        with fsm.State("START"):
            m.d.sync += [
                starting.eq(1),
                embedded.eq(~requested[0]),
                sequence.eq(~requested[0]),
                first_op.eq(1),
                ops_after.eq(op_count),
                op_start.eq(PROGRAM_HEADER_WORDS),
                done.eq(0),
                *(active[k].eq(requested[k]) for k in range(sequences)),
                *(goes_on[k].eq(requested[k]) for k in range(sequences)),
                *(requested[k].eq(0) for k in range(sequences)),
            ]
            fsm.next = "PLACE"
            # A program has several operations: with one, none was loaded since power-on.
            with m.If(op_count == 0):
                m.d.sync += self.running.eq(0)
                fsm.next = "IDLE"

        with fsm.State("PLACE"):
            fsm.next = "TAPE"

        # ---- Hand the next operation to the engine
        with fsm.State("FETCH"):
            with m.If(word != 2):
                fetch()
            op = self.ops.payload
            with m.If(word == 1):
                m.d.sync += [
                    coming.kind.eq(self.program_data[:OP_BLOCKS]),
                    coming.act_short.eq((self.program_data & OP_AFTER_SHORT).any()),
                    op.vector.blocks.eq(self.program_data[OP_BLOCKS:]),
                    op.vector.short.eq((self.program_data & OP_SHORT).any()),
                ]
            with m.If(word == 2):
                m.d.sync += [op.rows.eq(self.program_data), self.ops.valid.eq(1)]
                fsm.next = "HAND"
            again = active[0] & (head[0] | (ops_after != 0)) & sequence.any()
            m.d.sync += [
                op.vector.sequence.eq(sequence),
                op.again.eq(again),
                op.first.eq(first_op & ~again),
                coming.embedding.eq(0),
                coming.sequence.eq(sequence),
                coming.again.eq(again),
                coming.first.eq(first_op),
                coming.mute.eq((ops_after == 1) & ~head[sequence]),
            ]

        with fsm.State("HAND"):
            with m.If(self.ops.ready):
                m.d.sync += self.ops.valid.eq(0)
                fsm.next = "WAIT"
                with m.If(embed_due):
                    fsm.next = "FINISH"

        # ---- Finish a token, embed the next
        with fsm.State("FINISH"):
            with m.If(done):
                m.d.sync += done.eq(0)
                fsm.next = "ADVANCE"

        with fsm.State("ADVANCE"):
            m.d.sync += self.tape_write.eq(generated)
            m.d.sync += [
                embed_due.eq(0),
                position_now.eq(next_position),
                self.tokens.eq(self.tokens + 1),
                fresh[embedded].eq(0),
            ]
            # A notice in transmission stays as it is: a token that goes unannounced is still on
            # the tape, but half of one notice and half of the next would pass for a token.
            for k, notice in enumerate(notices):
                with m.If(generated & (embedded == k) & ~notice.valid):
                    m.d.sync += [
                        notice.valid.eq(1),
                        notice.payload.position.eq(next_position),
                        notice.payload.token.eq(self.sampled),
                    ]
            with m.If(generated):
                m.d.sync += n_generate[embedded].eq(n_generate[embedded] - 1)
            with m.Else():
                m.d.sync += n_feed[embedded].eq(n_feed[embedded] - 1)
            with m.If(goes_on[embedded]):
                fsm.next = "WRITTEN"
            with m.Elif(some_go_on):
                m.d.sync += done.eq(1)  # nothing is under way
                fsm.next = "WAIT"
            with m.Else():
                m.d.sync += self.running.eq(0)
                fsm.next = "IDLE"

        with fsm.State("WRITTEN"):
            fsm.next = "TAPE"

        with fsm.State("TAPE"):
            with m.If(self.tape_read_ready):
                fsm.next = "EMBED"

        with fsm.State("EMBED"):
            m.d.sync += [
                next_head[embedded].eq(~feeds_more[embedded] & generates[embedded]),
                self.load.eq(1),
                self.context.embedding.eq(1),
                self.context.kind.eq(Op.RESIDUAL_SHIFT),
                self.context.act_short.eq(after_first_short),
                self.context.sequence.eq(embedded),
                self.context.fresh.eq(fresh[embedded]),
                self.context.mute.eq(0),
            ]
            m.d.comb += self.embed_start.eq(1)
            fsm.next = "WAIT"
            with m.If(starting):
                fsm.next = "BEGIN"

        with fsm.State("BEGIN"):
            m.d.sync += [word.eq(0), address.eq(op_start)]
            if sequences == 1:
                m.d.sync += starting.eq(0)
                fsm.next = "FETCH"
            else:
                with m.If(embedded.any() | ~active[1]):
                    m.d.sync += starting.eq(0)
                    fsm.next = "FETCH"
                with m.Elif(done):
                    m.d.sync += [done.eq(0), embedded.eq(1)]
                    fsm.next = "PLACE"

        # ---- Give the operation that was handed over its context
        with fsm.State("WAIT"):
            m.d.sync += [word.eq(0), address.eq(op_start + 2)]
            with m.If(done):
                m.d.sync += [done.eq(0), self.context.eq(coming), self.load.eq(1),
                             self.context.fresh.eq(fresh[sequence])]
                with m.If(first_op):
                    m.d.sync += head[sequence].eq(next_head[sequence])
                fsm.next = "SCALE"

        with fsm.State("SCALE"):
            fsm.next = "DIVIDE"

        with fsm.State("DIVIDE"):
            m.d.comb += divider.start.eq(1)
            with m.Switch(coming.kind):
                for kind, count in OP_DIVIDED.items():
                    with m.Case(kind):
                        m.d.comb += divider.divide.eq(word < count)
            fetch()
            fsm.next = "DIVIDED"

        with fsm.State("DIVIDED"):
            with m.If(divider.done):
                fsm.next = "DIVIDE"
                with m.If(word == OP_SCALES):
                    fsm.next = "EXPECT"

        with fsm.State("EXPECT"):
            # The last operation of a sequence's token?
            with m.If(at_head | (before_head & ~head[sequence])):
                m.d.sync += [
                    embed_due.eq(1),
                    embedded.eq(sequence),
                    goes_on[sequence].eq(~stopping & several),
                ]
            fsm.next = "LOOK"

        with fsm.State("LOOK"):
            fsm.next = "CHOOSE"

        # ---- Choose the operation that comes next
        with fsm.State("CHOOSE"):
            m.d.sync += [word.eq(0), address.eq(op_start)]
            fsm.next = "FETCH"
            with m.If(both):
                m.d.sync += sequence.eq(1)
            with m.Elif(before_head & some_head):
                m.d.sync += [
                    ops_after.eq(0),
                    sequence.eq(~(head[0] & active[0])),
                    op_start.eq(op_start + PROGRAM_OP_WORDS),
                    address.eq(op_start + PROGRAM_OP_WORDS),
                ]
            with m.Elif(~at_head & ~before_head):
                m.d.sync += [
                    first_op.eq(0),
                    ops_after.eq(ops_after - 1),
                    sequence.eq(~active[0]),
                    op_start.eq(op_start + PROGRAM_OP_WORDS),
                    address.eq(op_start + PROGRAM_OP_WORDS),
                ]
            with m.Else():
                m.d.sync += [
                    first_op.eq(1),
                    ops_after.eq(op_count),
                    sequence.eq(~goes_on[0]),
                    op_start.eq(PROGRAM_HEADER_WORDS),
                    address.eq(PROGRAM_HEADER_WORDS),
                    *(active[k].eq(goes_on[k]) for k in range(sequences)),
                ]
                with m.If(~some_go_on):
                    fsm.next = "FINISH"
        return m
