"""Sequencer: reads the program and walks a run's tokens through engine and vector unit."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import NUMBERS, DeviceConfig
from .protocol import PROGRAM_HEADER_WORDS, PROGRAM_OP_WORDS, Op, ProgramHeader, RunFlag

__all__ = ["NOTICE_LAYOUT", "RUN_LAYOUT", "Sequencer"]

RUN_LAYOUT = data.StructLayout({
    "flags": len(RunFlag),
    "n_feed": 16,
    "n_generate": 16,
    "temperature": NUMBERS.temperature_bits,
    "seed": NUMBERS.rng_bits,
})
"""An accepted RUN; see ``trilight.hw.protocol.RUN``."""

NOTICE_LAYOUT = data.StructLayout({"position": 16, "token": 8})
"""A generated token, to be announced."""

SCALES = 3


class Sequencer(wiring.Component):
    """Feeds tokens from the tape, generates tokens onto it, and counts.

    An operation is handed to the engine while the one before still streams, and its kind and
    scales to the vector unit when that one is done, which is before its own first row can come.

    Members
    -------
    run : In(stream of RUN_LAYOUT)
        Ready while idle.
    stop : In(1)
        Pulse: end after the token in progress.
    running : Out(1)
    position : Out(16)
        Tokens fed since the reset.
    cycles, words, tokens : Out(32)
        Since the last clear: cycles running, weight words used, tokens fed.
    notice : Out(stream of NOTICE_LAYOUT)
    tape_addr, tape_read_ready, tape_data, tape_write, tape_token : Out, In, In, Out, Out
        The tape; a read is taken when ready and its data follow one cycle later.
    program_addr, program_data : Out, In
        Program memory; data one cycle after the address.
    channel_count, embed_scale, norm_scale, embed_base, embed_stride : Out
        Header values.
    restart, embed_start, embed_token : Out
        Begin a token.
    fresh : Out(1)
        First token after a reset.
    ops : Out(stream of {blocks, rows})
    word_used : In(1)
    kind, scales, load_scales : Out
        For the vector unit.
    done : In(1)
        Pulse: an operation's (or the embedding's) last result has been written.
    temperature, seed, load_seed : Out
    sampled : In(stream of token, always ready)
    """

    run: stream.Interface
    stop: Signal
    running: Signal
    position: Signal
    cycles: Signal
    words: Signal
    tokens: Signal
    notice: stream.Interface
    tape_addr: Signal
    tape_read_ready: Signal
    tape_data: Signal
    tape_write: Signal
    tape_token: Signal
    program_addr: Signal
    program_data: Signal
    channel_count: Signal
    embed_scale: Signal
    norm_scale: Signal
    embed_base: Signal
    embed_stride: Signal
    restart: Signal
    embed_start: Signal
    embed_token: Signal
    fresh: Signal
    ops: stream.Interface
    word_used: Signal
    kind: Signal
    scales: data.View
    load_scales: Signal
    done: Signal
    temperature: Signal
    seed: Signal
    load_seed: Signal
    sampled: stream.Interface

    def __init__(self, *, device: DeviceConfig, op_layout: data.StructLayout) -> None:
        token_bits = (device.max_vocab - 1).bit_length()
        self._program_bits = (device.program_words - 1).bit_length()
        super().__init__({
            "run": In(stream.Signature(RUN_LAYOUT)),
            "stop": In(1),
            "running": Out(1),
            "position": Out(16),
            "cycles": Out(32),
            "words": Out(32),
            "tokens": Out(32),
            "notice": Out(stream.Signature(NOTICE_LAYOUT)),
            "tape_addr": Out((device.tape_tokens - 1).bit_length()),
            "tape_read_ready": In(1),
            "tape_data": In(token_bits),
            "tape_write": Out(1),
            "tape_token": Out(token_bits),
            "program_addr": Out(self._program_bits),
            "program_data": In(16),
            "channel_count": Out((device.max_columns - 1).bit_length()),
            "embed_scale": Out(NUMBERS.residual_bits - 1),
            "norm_scale": Out(NUMBERS.norm_scale_bits),
            "embed_base": Out((device.weight_words - 1).bit_length()),
            "embed_stride": Out(device.max_rows.bit_length()),
            "restart": Out(1),
            "embed_start": Out(1),
            "embed_token": Out(token_bits),
            "fresh": Out(1, init=1),
            "ops": Out(stream.Signature(op_layout)),
            "word_used": In(1),
            "kind": Out(Op),
            "scales": Out(data.ArrayLayout(unsigned(NUMBERS.scale_bits), SCALES)),
            "load_scales": Out(1),
            "done": In(1),
            "temperature": Out(NUMBERS.temperature_bits),
            "seed": Out(NUMBERS.rng_bits),
            "load_seed": Out(1),
            "sampled": In(stream.Signature(unsigned(token_bits), always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n_feed = Signal(16)
        n_generate = Signal(16)
        op_count = Signal(8, reset_less=True)
        op = Signal(8, reset_less=True)
        head = Signal(reset_less=True)
        next_kind = Signal(Op, reset_less=True)
        word = Signal(range(max(PROGRAM_HEADER_WORDS, PROGRAM_OP_WORDS) + 1), reset_less=True)
        address = Signal(self._program_bits, reset_less=True)
        done = Signal()
        position = Signal.like(self.position)
        m.d.comb += [
            self.position.eq(position),
            self.program_addr.eq(address),
            self.tape_addr.eq(position),
            self.tape_token.eq(self.sampled.payload),
            self.embed_token.eq(self.tape_data),
            self.seed.eq(self.run.payload.seed),
        ]

        with m.If(self.running):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        with m.If(self.word_used):
            m.d.sync += self.words.eq(self.words + 1)
        with m.If(self.stop):
            m.d.sync += [n_generate.eq(0), n_feed.eq(1)]
        with m.If(self.notice.ready):
            m.d.sync += self.notice.valid.eq(0)
        with m.If(self.done):
            m.d.sync += done.eq(1)

        def flag(which: RunFlag) -> Value:
            return (self.run.payload.flags & which.value).any()

        def fetch() -> None:
            # The data of word k are there when `word` is k + 1.
            m.d.sync += [word.eq(word + 1), address.eq(address + 1)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.run.ready.eq(1)
                m.d.sync += [address.eq(0), word.eq(0)]
                with m.If(self.run.valid):
                    m.d.sync += [
                        self.running.eq(1),
                        n_feed.eq(self.run.payload.n_feed),
                        n_generate.eq(self.run.payload.n_generate),
                        self.temperature.eq(self.run.payload.temperature),
                    ]
                    m.d.comb += self.load_seed.eq(flag(RunFlag.SEED))
                    with m.If(flag(RunFlag.RESET)):
                        m.d.sync += [position.eq(0), self.fresh.eq(1)]
                    with m.If(flag(RunFlag.CLEAR)):
                        m.d.sync += [self.cycles.eq(0), self.words.eq(0), self.tokens.eq(0)]
                    m.next = "HEADER"

            with m.State("HEADER"):
                fetch()
                for field, target in (
                    (ProgramHeader.CHANNELS, self.channel_count),
                    (ProgramHeader.EMBED_SCALE, self.embed_scale),
                    (ProgramHeader.NORM_SCALE, self.norm_scale),
                    (ProgramHeader.EMBED_BASE, self.embed_base),
                    (ProgramHeader.EMBED_STRIDE, self.embed_stride),
                    (ProgramHeader.OPS, op_count),
                ):
                    with m.If(word == field.value + 1):
                        m.d.sync += target.eq(self.program_data)
                with m.If(word == PROGRAM_HEADER_WORDS):
                    m.next = "TOKEN"

            with m.State("TOKEN"):
                m.d.sync += [
                    head.eq((n_feed == 1) & n_generate.any()),
                    op.eq(op_count),
                    address.eq(PROGRAM_HEADER_WORDS),
                    word.eq(0),
                    done.eq(0),
                ]
                with m.If(n_feed == 0):
                    m.d.sync += self.running.eq(0)
                    m.next = "IDLE"
                with m.Elif(self.tape_read_ready):
                    m.d.comb += self.restart.eq(1)
                    m.next = "EMBED"

            with m.State("EMBED"):
                m.d.comb += self.embed_start.eq(1)
                m.next = "OP"

            with m.State("OP"):
                # An operation's first two words; its scales wait for the one before.
                with m.If(word != 2):
                    fetch()
                with m.If(word == 1):
                    m.d.sync += [
                        next_kind.eq(self.program_data[:4]),
                        self.ops.payload.blocks.eq(self.program_data[4:]),
                    ]
                with m.If(word == 2):
                    m.d.sync += [self.ops.payload.rows.eq(self.program_data), self.ops.valid.eq(1)]
                    m.next = "HAND"

            with m.State("HAND"):
                with m.If(self.ops.ready):
                    m.d.sync += self.ops.valid.eq(0)
                    m.next = "WAIT"

            with m.State("WAIT"):
                with m.If(done):
                    m.d.sync += [done.eq(0), self.kind.eq(next_kind), word.eq(2)]
                    m.next = "SCALES"

            with m.State("SCALES"):
                m.d.sync += word.eq(word + 1)
                with m.If(word < PROGRAM_OP_WORDS):
                    m.d.sync += address.eq(address + 1)
                for k in range(SCALES):
                    with m.If(word == 3 + k):
                        m.d.sync += self.scales[k].eq(self.program_data)
                with m.If(word == PROGRAM_OP_WORDS + 1):
                    m.d.comb += self.load_scales.eq(1)
                    m.d.sync += [word.eq(0), op.eq(op - 1)]
                    m.next = "OP"
                    with m.If((op == 0) | ((op == 1) & ~head)):
                        m.next = "FINISH"

            with m.State("FINISH"):
                m.d.comb += [
                    self.tape_write.eq(self.sampled.valid & head),
                    self.tape_addr.eq(position + 1),
                ]
                # A notice in transmission stays as it is: a token that goes unannounced is still on
                # the tape, but half of one notice and half of the next would pass for a token.
                with m.If(self.tape_write & ~self.notice.valid):
                    m.d.sync += [
                        self.notice.valid.eq(1),
                        self.notice.payload.position.eq(position + 1),
                        self.notice.payload.token.eq(self.sampled.payload),
                    ]
                with m.If(done):
                    m.d.sync += [
                        position.eq(position + 1),
                        self.tokens.eq(self.tokens + 1),
                        self.fresh.eq(0),
                        n_feed.eq(n_feed - 1),
                    ]
                    with m.If(head):
                        m.d.sync += [
                            n_generate.eq(Mux(n_generate.any(), n_generate - 1, 0)),
                            n_feed.eq(n_generate > 1),
                        ]
                    with m.If(self.stop):
                        m.d.sync += [n_generate.eq(0), n_feed.eq(0)]
                    m.next = "TOKEN"
        return m
