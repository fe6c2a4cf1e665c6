"""A plain terminal: characters typed and read, with no host that knows of frames."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import (
    TERMINAL_NO_TOKEN,
    TERMINAL_WORDS,
    RunFlag,
    Slip,
    TerminalWord,
)
from trilight.hw.interfaces import TableWriteSignature, run_layout, token_event_layout
from trilight.hw.lib.fsm import OneHotFSM
from trilight.hw.lib.ram import early_attributes

__all__ = ["Terminal"]

BELL, BACKSPACE, LINE_FEED, RETURN, SPACE, DELETE = 0x07, 0x08, 0x0A, 0x0D, 0x20, 0x7F
PROMPT = ord(">")
SAID = 4
"""Characters that wait to be sent, at most."""
CHARACTER_BITS = 8


class Terminal(wiring.Component):
    """Collects a line, runs the model on it, and sends what is generated as characters.

    A line becomes the tape of sequence 0, and Return starts it anew; an empty line goes on with the
    last text. Tokens are generated in runs of one, each when the last character has left, so that
    none is lost on a slow line, and any character typed ends the text. Backspace takes the last
    character back. A bell answers a character that the model does not know, and a line as long as
    the tape.

    It is in charge of the line from power-up until a delimiter of a frame comes, and again after a
    break.

    Parameters
    ----------
    device : Device

    Members
    -------
    i : In(stream of 8, always ready)
        Bytes of the line.
    breaks : In(1)
        Pulse: a break has come.
    waits : In(1)
        A boot goes on: the line is nobody's.
    active : Out(1)
        The line, the tape and the runs are the terminal's.
    o : Out(stream of 8)
    write : Out(1)
    address, token : Out
        Pulse: write a token to this place of the tape.
    request : Out(stream of run_layout)
    running : In(1)
    event : In(stream of token_event_layout)
        Of sequence 0.
    table : In(TableWriteSignature)
        Token of each character below 128, settings, then a character of each token; see
        ``docs/protocol.md``.
    """

    i: stream.Interface
    breaks: Signal
    waits: Signal
    active: Signal
    o: stream.Interface
    write: Signal
    address: Signal
    token: Signal
    request: stream.Interface
    running: Signal
    event: stream.Interface
    table: "wiring.PureInterface"

    def __init__(self, *, device: Device) -> None:
        if device.token_bits > CHARACTER_BITS:
            raise ValueError(f"a terminal has a byte for a token, so max_vocab must be at most "
                             f"{1 << CHARACTER_BITS}, not {device.max_vocab:,}")
        self._device = device
        super().__init__({
            "i": In(stream.Signature(CHARACTER_BITS, always_ready=True)),
            "breaks": In(1),
            "waits": In(1),
            "active": Out(1),
            "o": Out(stream.Signature(CHARACTER_BITS)),
            "write": Out(1),
            "address": Out(device.tape_bits),
            "token": Out(device.token_bits),
            "request": Out(stream.Signature(run_layout(device))),
            "running": In(1),
            "event": In(stream.Signature(token_event_layout(device))),
            "table": In(TableWriteSignature(TERMINAL_WORDS)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._framed = Signal()
        self._left = Signal(16)
        self._count = Signal(range(self._device.tape_tokens))
        self._fresh, self._spoken = Signal(), Signal()
        self._own = Signal()
        self._add_line(m)
        self._add_table(m)
        self._add_request(m)
        fsm = OneHotFSM(m, "IDLE", "SEEK", "LOOK-UP", "TAKE", "SETTINGS", "START", "AWAIT",
                        "SEEK-CHARACTER", "SHOW", "SHOWN", "END", "SAY")
        self._add_typing_states(m, fsm)
        self._add_run_states(m, fsm)
        with fsm.State("SAY"):
            with m.If(~self._saying):
                fsm.next = "IDLE"
        return m

    def _add_line(self, m: Module) -> None:
        """Add who has the line, the character that was typed, and the characters to be sent."""
        self._typed, self._character = Signal(), Signal(CHARACTER_BITS, reset_less=True)
        is_delimiter = self.i.payload == Slip.END
        m.d.comb += self.active.eq(~self._framed & ~self.waits)
        after_return = Signal()
        with m.If(self.i.valid):
            m.d.sync += after_return.eq(self.i.payload == RETURN)
        with m.If(self.i.valid & ~self.waits):
            with m.If(is_delimiter):
                m.d.sync += self._framed.eq(1)
            # A line feed after a return is the second half of a line's end.
            with m.Elif(self.active & ~(after_return & (self.i.payload == LINE_FEED))):
                m.d.sync += [self._typed.eq(1), self._character.eq(self.i.payload)]
        with m.If(self.breaks):
            m.d.sync += self._framed.eq(0)
        said, number = Signal(8 * SAID, reset_less=True), Signal(range(SAID + 1))
        self._said, self._number = said, number
        self._saying = number.any()
        m.d.comb += [self.o.valid.eq(self._saying), self.o.payload.eq(said)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [said.eq(said[8:]), number.eq(number - 1)]

    def _say(self, *characters: "Value | int") -> list[Any]:
        """Return assignments that send up to ``SAID`` characters."""
        bits = [Value.cast(character)[:8] if isinstance(character, Value) else Const(character, 8)
                for character in characters]
        return [self._said.eq(Cat(*bits)), self._number.eq(len(bits))]

    def _add_table(self, m: Module) -> None:
        m.submodules.table = memory = Memory(
            shape=CHARACTER_BITS, depth=TERMINAL_WORDS, init=[],
            attrs=early_attributes(self._device))
        read, write = memory.read_port(), memory.write_port()
        self._place, self._found = Signal.like(read.addr, name="place"), read.data
        m.d.comb += [
            read.addr.eq(self._place),
            write.addr.eq(self.table.addr),
            write.data.eq(self.table.data),
            write.en.eq(self.table.en),
        ]

    def _add_request(self, m: Module) -> None:
        """Add the request, whose seed is the number of lines since power-up."""
        self._temperature, self._seed = Signal(16, reset_less=True), Signal(CHARACTER_BITS)
        fresh = self._fresh
        m.d.comb += [
            self.request.payload.flags.eq(
                Mux(fresh, (RunFlag.RESET | RunFlag.SEED | RunFlag.CLEAR).value, 0)),
            self.request.payload.n_feed.eq(Mux(fresh, self._count, 1)),
            self.request.payload.n_generate.eq(1),
            self.request.payload.temperature.eq(self._temperature),
            self.request.payload.seed.eq(self._seed),
            self.address.eq(self._count),
            self.token.eq(self._found),
        ]

    def _add_typing_states(self, m: Module, fsm: OneHotFSM) -> None:
        character, count = self._character, self._count
        with fsm.State("IDLE"):
            m.d.sync += self._place.eq(character[:7])
            m.d.sync += self._own.eq(0)
            with m.If(self.event.valid):
                # Of a run that a boot has started.
                fsm.next = "AWAIT"
            with m.Elif(self._typed & self.active & ~self.running):
                m.d.sync += self._typed.eq(0)
                fsm.next = "SEEK"
                with m.If((character == RETURN) | (character == LINE_FEED)):
                    m.d.sync += [*self._say(RETURN, LINE_FEED), self._fresh.eq(count.any()),
                                 self._place.eq(TerminalWord.TEMPERATURE)]
                    fsm.next = "SETTINGS"
                    with m.If(~count.any() & ~self._spoken):
                        fsm.next = "END"
                with m.Elif((character == BACKSPACE) | (character == DELETE)):
                    fsm.next = "IDLE"
                    with m.If(count.any()):
                        m.d.sync += [count.eq(count - 1), *self._say(BACKSPACE, SPACE, BACKSPACE)]
                        fsm.next = "SAY"

        with fsm.State("SEEK"):
            fsm.next = "LOOK-UP"

        with fsm.State("LOOK-UP"):
            fsm.next = "TAKE"

        with fsm.State("TAKE"):
            fsm.next = "SAY"
            m.d.sync += self._say(BELL)
            with m.If((self._found != TERMINAL_NO_TOKEN) & ~character[-1] & ~count.all()):
                m.d.comb += self.write.eq(1)
                m.d.sync += [count.eq(count + 1), *self._say(character)]

    def _add_run_states(self, m: Module, fsm: OneHotFSM) -> None:
        left, place = self._left, self._place
        # The memory answers a cycle after the place, which counts up.
        with fsm.State("SETTINGS"):
            m.d.sync += place.eq(place + 1)
            for word, target in ((TerminalWord.TEMPERATURE, self._temperature[:8]),
                                 (TerminalWord.TEMPERATURE + 1, self._temperature[8:]),
                                 (TerminalWord.TOKENS, left[:8]),
                                 (TerminalWord.TOKENS + 1, left[8:])):
                with m.If(place == word + 1):
                    m.d.sync += target.eq(self._found)
            with m.If(place == TerminalWord.TOKENS + 2):
                fsm.next = "START"

        with fsm.State("START"):
            m.d.comb += self.request.valid.eq(~self.running)
            m.d.sync += self._own.eq(1)
            with m.If(~self.active):
                fsm.next = "END"
            with m.If(self.request.valid & self.request.ready):
                m.d.sync += [self._count.eq(0), self._fresh.eq(0), self._spoken.eq(1)]
                with m.If(self._fresh):
                    m.d.sync += self._seed.eq(self._seed + 1)
                fsm.next = "AWAIT"

        with fsm.State("AWAIT"):
            m.d.sync += place.eq(Cat(self.event.payload.token, Const(0, 9))
                                 | TerminalWord.CHARACTERS)
            with m.If(self.event.valid):
                fsm.next = "SEEK-CHARACTER"
            with m.Elif(~self.running):
                # No program was loaded since power-on.
                fsm.next = "END"

        with fsm.State("SEEK-CHARACTER"):
            fsm.next = "SHOW"

        with fsm.State("SHOW"):
            with m.If(~self._saying):
                m.d.comb += self.event.ready.eq(1)
                m.d.sync += [left.eq(left - 1), *self._say(self._found)]
                with m.If(self._found == LINE_FEED):
                    m.d.sync += self._say(RETURN, LINE_FEED)
                fsm.next = "SHOWN"

        with fsm.State("SHOWN"):
            with m.If(~self._saying):
                fsm.next = "START"
                with m.If(~self._own):
                    fsm.next = "IDLE"
                with m.Elif(~left.any() | self._typed | ~self.active):
                    m.d.sync += self._typed.eq(0)
                    fsm.next = "END"

        with fsm.State("END"):
            with m.If(~self._saying & ~self.running):
                m.d.sync += self._say(RETURN, LINE_FEED, PROMPT, SPACE)
                fsm.next = "SAY"
