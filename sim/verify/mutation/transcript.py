"""Golden transcript of a host and a chip: recorded once, then replayed to every mutant.

The recording is made with the design without a fault, while every response, event, tape, counter
and traced value is compared with the integer reference. A mutant that does anything else than was
recorded would have failed that comparison.
"""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import (
    ACCESS,
    ADDRESS,
    EVENT,
    MAX_WORDS,
    RESPONSE,
    RUN,
    TOKEN_EVENT,
    WEIGHT_CRC,
    WORD_BYTES,
    Command,
    Region,
    Result,
    RunFlag,
    status_struct,
)
from trilight.hw.flow.build import Hdl
from trilight.sim.bench.traces import TRACES, ReferenceDevice
from trilight.sim.native.compile import NativeBench
from trilight.sim.verify.events import TokenEvent, event_cycles, in_order, lost_events
from trilight.sw.errors import SimulationError
from trilight.sw.host.boot import Speech, flash_image
from trilight.sw.host.frames import Frame, FrameReader, encode_frame
from trilight.sw.model.image import Image, compile_image
from trilight.sw.model.model import Model

__all__ = ["Exchange", "Recorder", "Replay"]

PINS = "pins"
"""Trace of the lamps of a design with mutants."""

QUIET = 12
"""Bits without a byte after which a response is over."""

IDLE = 600
"""Cycles without anything to do after which nothing more comes: a response takes fewer."""

CHUNK = 4000
"""Cycles between two looks at what a mutant does until it has nothing more to do."""

TIMEOUT_FACTOR = 1.25
"""Factor by which a response may take longer than recorded; ``cycles`` of STATUS tells of less."""

NEAR = 8
"""Tokens of a tape that are read after each run, around its end."""

SLACK = 1000
"""Cycles that it may take besides."""



@dataclass(frozen=True)
class Exchange:
    """Something that the host sends, and all that follows from it."""

    what: str
    """Title, for people."""
    data: bytes
    """Bytes that are sent at once."""
    settles: bool
    """True to wait until the chip has nothing more to do, else for a response only."""
    frames: tuple[Frame, ...]
    """Responses and events that must come."""
    traces: dict[str, NDArray[np.int64]]
    """Values that must be seen, by trace."""
    cycles: int
    bit: float = 1.0
    """Length of the host's bits, as a share of the chip's."""
    reset: int = 0
    """Cycles after which the chip is reset, which ends the exchange; 0 for not at all."""


class _Chip:
    """A design with its traces watched; ``logit_cycles`` are of the logits that came last."""

    def __init__(self, bench: NativeBench) -> None:
        self.bench = bench
        self.reader = FrameReader()
        names = [*TRACES, *({PINS} & {trace.short for trace in bench.traces})]
        self.recorders = {name: bench.record(name) for name in names}
        self.widths = {name: next(trace.width for trace in bench.traces
                                  if trace.name.rpartition("trace_")[2] == name)
                       for name in names}
        self.quiet = QUIET * bench.hdl.board.clocks_per_bit
        self.logit_cycles = np.zeros(0, np.uint64)

    def write(self, data: bytes, bit: float) -> None:
        self.bench.set_bit_length(bit * self.bench.hdl.board.clocks_per_bit)
        self.bench.write(data)

    def run(self, maximum: int, settles: bool) -> tuple[list[Frame], bool]:
        """Run on; return frames that came, and whether what was waited for is over."""
        ran = self.bench.run(maximum, quiet=None if settles else self.quiet, idle=IDLE)
        frames = self.reader.feed(self.bench.read())
        if settles:
            return frames, ran < maximum
        answered = any(frame.command & RESPONSE for frame in frames)
        return frames, answered or (ran < maximum and self.bench.idle)

    def reset(self, after: int) -> None:
        """Reset the chip; what it has said and shown until then is forgotten."""
        self.bench.run(after)
        self.bench.lose_lock()
        self.bench.read()
        self.reader = FrameReader()
        self.traces()

    def traces(self) -> dict[str, NDArray[np.int64]]:
        taken = {}
        for name, recorder in self.recorders.items():
            cycles, values = self.bench.take(recorder)
            if name == "logit":
                self.logit_cycles = cycles
            # All of them are signed, whatever the design declares.
            width = self.widths[name]
            taken[name] = values - ((values >> width - 1 & 1) << width) * (values >= 0)
        return taken


def _in_order(frames: Iterable[Frame]) -> dict[int, list[Frame]]:
    """Responses in their order, and each sequence's events in theirs: either may come first."""
    streams: dict[int, list[Frame]] = {}
    for frame in frames:
        streams.setdefault(0 if frame.command & RESPONSE else frame.command, []).append(frame)
    return streams


class Replay:
    """Replay of what was recorded to a mutant, which has just been started."""

    def __init__(self, bench: NativeBench) -> None:
        self._chip = _Chip(bench)

    def differs(self, exchanges: Iterable[Exchange]) -> tuple[str, str] | None:
        """Return where and how the mutant first does something else; ``None`` if it does not."""
        for exchange in exchanges:
            if how := self._differs(exchange):
                return exchange.what, how
        return None

    def _differs(self, exchange: Exchange) -> str:
        chip, bench = self._chip, self._chip.bench
        chip.write(exchange.data, exchange.bit)
        if exchange.reset:
            chip.reset(exchange.reset)
            return ""
        end = bench.cycles + round(TIMEOUT_FACTOR * exchange.cycles) + SLACK
        frames: list[Frame] = []
        seen = dict.fromkeys(chip.recorders, 0)
        over = False
        while not over:
            if bench.cycles >= end:
                return "does not end"
            # What waits for silence on the line is not interrupted, and so ends as it was recorded.
            maximum = CHUNK if exchange.settles else end - bench.cycles
            got, over = chip.run(maximum, exchange.settles)
            frames += got
            for name, values in chip.traces().items():
                expected = exchange.traces[name][seen[name]:seen[name] + len(values)]
                seen[name] += len(values)
                if not np.array_equal(values, expected):
                    return f"{name} differs"
        if _in_order(frames) != _in_order(exchange.frames):
            return "response differs" if frames else "no answer"
        for name, count in seen.items():
            if count != len(exchange.traces[name]):
                return f"{name} missing"
        return "damaged frame" if chip.reader.damaged else ""


class _Expected(dict[str, list[int]]):
    """Takes what the reference expects of the traces."""

    def expect(self, name: str, values: Iterable[Any]) -> None:
        self.setdefault(name, []).extend(int(value) for value in values)


class Recorder:
    """A host whose words and responses are kept, and compared with the reference.

    Every method raises ``SimulationError`` if the design is not what the reference is.
    """

    LONGEST = 50_000_000
    """Cycles of an exchange."""

    def __init__(self, bench: NativeBench) -> None:
        self._chip = _Chip(bench)
        self.sizes: Device = bench.hdl.board.device_config
        self.status = status_struct(self.sizes.sequences)
        """Layout of a response to STATUS."""
        self.exchanges: list[Exchange] = []
        self.flash = b""
        """Content of the flash memory that the chip has booted from."""
        self._sequence = 0
        self._expected = _Expected()
        self._checking = True
        self._words = 0
        self._memory: dict[int, int] = {}
        self.device: ReferenceDevice | None = None

    @property
    def hdl(self) -> Hdl:
        """Design that is recorded."""
        return self._chip.bench.hdl

    def send(self, what: str, data: bytes, settles: bool = False,
             bit: float = 1.0) -> tuple[Frame, ...]:
        """Send bytes and return the frames that follow."""
        bench = self._chip.bench
        before = bench.cycles
        self._chip.write(data, bit)
        frames: list[Frame] = []
        over = False
        while not over and bench.cycles - before < self.LONGEST:
            got, over = self._chip.run(self.LONGEST, settles)
            frames += got
        traces = self._chip.traces()
        exchange = Exchange(what, data, settles, tuple(frames), traces, bench.cycles - before,
                            bit)
        self.exchanges.append(exchange)
        if self._checking:
            self._compare_traces(what, [exchange])
        if self._chip.reader.damaged:
            raise SimulationError(f"{what}: the design sent a damaged frame")
        return exchange.frames

    def _compare_traces(self, what: str, exchanges: Iterable[Exchange]) -> None:
        seen = [exchange.traces for exchange in exchanges]
        for name in TRACES:
            if np.concatenate([traces[name] for traces in seen]).tolist() != (
                    self._expected.pop(name, [])):
                raise SimulationError(f"{what}: trace {name} is not that of the reference")

    def _next(self) -> int:
        """Sequence number of the next frame."""
        self._sequence = self._sequence % 255 + 1
        return self._sequence

    def request(self, command: int, payload: bytes = b"", *, what: str = "",
                sequence: int | None = None, settles: bool = False,
                result: int = Result.OK, bit: float = 1.0) -> bytes:
        """Make a request with this result; return the response's payload."""
        sequence = self._next() if sequence is None else sequence
        what = what or f"command {command}"
        frames = self.send(what, encode_frame(Frame(sequence, command, payload)), settles, bit)
        responses = [frame for frame in frames if frame.command & RESPONSE]
        if len(responses) != 1 or responses[0].payload[0] != result:
            raise SimulationError(f"{what}: {frames} instead of result {result}")
        return responses[0].payload[1:]

    def silence(self, what: str, data: bytes, bit: float = 1.0) -> None:
        """Send bytes that must be ignored, or not yet answered."""
        if frames := self.send(what, data, settles=True, bit=bit):
            raise SimulationError(f"{what}: {frames} instead of nothing")

    def reset(self, what: str, data: bytes, after: int) -> None:
        """Send bytes, and reset the chip some cycles after the first; memories stay."""
        self._chip.write(data, 1.0)
        self._chip.reset(after)
        self.exchanges.append(Exchange(what, data, False, (), {}, 0, reset=after))
        assert self.device is not None
        self.device.reset()

    def write(self, address: int, units: NDArray[Any], what: str = "write",
              bit: float = 1.0) -> None:
        for start in range(0, len(units), MAX_WORDS):
            part = units[start:start + MAX_WORDS].astype("<u2")
            self.request(Command.WRITE, ADDRESS.pack(address + start) + part.tobytes(),
                         what=what, bit=bit)
            self._memory.update(enumerate(part.tolist(), address + start))

    def read(self, address: int, count: int = MAX_WORDS, what: str = "read",
             bit: float = 1.0) -> None:
        """Read units that have been written."""
        part = self.request(Command.READ, ACCESS.pack(address, count), what=what, bit=bit)
        units = [self._memory[address + offset] for offset in range(count)]
        if part != np.array(units, "<u2").tobytes():
            raise SimulationError(f"{what}: {address:#x} is not what was written")

    def check(self, words: int, what: str = "check") -> None:
        """Have the first words of the weights checked, whose units have all been written."""
        self.write(Region.WEIGHT_CRC, np.array([words - 1, 0]), what)
        self._words = words
        self.send(what, b"", settles=True)
        self.compare_check(what)

    def compare_check(self, what: str) -> None:
        """Compare the CRC of a check that has come to its end."""
        units = [self._memory[unit] for unit in range(self._words * self.sizes.packing.word_units)]
        response = self.request(Command.READ, ACCESS.pack(
            Region.WEIGHT_CRC, WEIGHT_CRC.size // WORD_BYTES), what=what)
        expected = WEIGHT_CRC.pack(1, zlib.crc32(np.array(units, "<u2").tobytes()))
        if response != expected:
            raise SimulationError(f"{what}: {response.hex()} instead of {expected.hex()}")

    def load(self, model: Model, name: str) -> None:
        """Write a model's image."""
        image = compile_image(model, self.sizes)
        for address, units in image.segments:
            self.write(address, units, f"{name}: load")
        self._begin(model, name, image)
        self.check(self._words, f"{name}: check")

    def _begin(self, model: Model, name: str, image: Image) -> None:
        """Compare with a model whose image the device holds."""
        self._words = sum(len(units) for address, units in image.segments
                          if address == Region.WEIGHTS) // self.sizes.packing.word_units
        self.device = ReferenceDevice(model, self.sizes)
        self.device.traces = self._expected
        self.name = name
        self._vocabulary = model.config.vocab_size

    def boot(self, model: Model, speech: Speech) -> None:
        """Start the chip again, with a flash memory that holds a model and a run of it."""
        bench = self._chip.bench
        image = compile_image(model, self.sizes)
        self.flash = flash_image(image, self.sizes, speech)
        bench.restart(flash=self.flash)
        self._chip = _Chip(bench)
        for address, units in image.segments:
            self._memory.update(enumerate(units.tolist(), address))
        self._begin(model, "boot", image)
        assert self.device is not None
        self.device.write_tape(0, list(speech.prompt), 0)
        events = self.device.run(RunFlag.RESET | RunFlag.SEED | RunFlag.CLEAR, len(speech.prompt),
                                 speech.tokens, speech.temperature, speech.seed, 0)
        # Its values are those of cycles before.
        self._expected.clear()
        self._checking = False
        frames = self.send("boot", b"", settles=True)
        self._checking = True
        if self._events(frames) != events:
            raise SimulationError(f"boot: events {self._events(frames)} instead of {events}")
        self.compare()

    def write_tape(self, sequence: int, position: int, tokens: list[int]) -> None:
        """Write tokens where the reference's sequence finds them."""
        assert self.device is not None
        self.device.write_tape(position, tokens, sequence)
        tape = self.sizes.tape_tokens
        start = Region.TAPE + sequence * tape
        before_end = tape - position % tape
        for first, part in ((position, tokens[:before_end]), (0, tokens[before_end:])):
            if part:
                self.write(start + first % tape, np.array(part), f"{self.name}: tape")

    def run(self, flags: RunFlag, n_feed: int, n_generate: int, temperature: int = 0,
            seed: int = 0, number: int = 0, sequence: int | None = None,
            meanwhile: bytes = b"") -> bytes:
        """Run to the end; compare stages, events, counters, positions and tapes.

        ``number`` is of the device's sequence, ``sequence`` that of the frame. Bytes to be sent
        ``meanwhile`` may keep any event so long by responses that the next of its sequence is not
        sent. Returns the frame that began the run.
        """
        assert self.device is not None
        events = self.device.run(flags, n_feed, n_generate, temperature, seed, number)
        sequence = self._next() if sequence is None else sequence
        frame = encode_frame(Frame(sequence, Command.RUN, RUN.pack(
            flags, number, n_feed, n_generate, temperature, seed)))
        frames = self.send(f"{self.name}: run", frame + meanwhile, settles=True)
        got = self._events(frames)
        if not in_order(events, got) or (not meanwhile and self._lost(events, got)):
            raise SimulationError(f"{self.name}: events {got} instead of {events}")
        self.compare()
        return frame

    def _lost(self, expected: list[TokenEvent], came: list[TokenEvent]) -> list[TokenEvent]:
        """Events of the run that was sent last which nothing on the line has kept from coming."""
        # An event waits for at most one of each other sequence.
        wait = len({number for number, *_ in expected}) * event_cycles(
            came, self.hdl.board.clocks_per_bit)
        ends = self._chip.logit_cycles[self._vocabulary - 1::self._vocabulary]
        return lost_events(expected, came, ends.tolist(), wait)

    def repeat(self, frame: bytes, what: str) -> None:
        """Send a RUN again, which is acknowledged and not executed."""
        responses = [response for response in self.send(what, frame)
                     if response.command & RESPONSE]
        if [response.payload for response in responses] != [bytes([Result.OK])]:
            raise SimulationError(f"{what}: {responses} instead of an acknowledgement")

    def stopped_run(self, flags: RunFlag, n_feed: int, n_generate: int, temperature: int,
                    seed: int, meanwhile: Callable[[bytes], None]) -> None:
        """Begin a run of sequence 0, do something, stop it; compare what it did until then.

        ``meanwhile`` makes requests; it is called with the frame that began the run.
        """
        assert self.device is not None
        begun = len(self.exchanges)
        self._checking = False
        frame = encode_frame(Frame(self._next(), Command.RUN, RUN.pack(
            flags, 0, n_feed, n_generate, temperature, seed)))
        self.send(f"{self.name}: run", frame)
        meanwhile(frame)
        self.request(Command.STOP, settles=True, what=f"{self.name}: stop")
        status = self.status.unpack(self.request(Command.STATUS, what=f"{self.name}: status"))
        self._checking = True
        start = 0 if RunFlag.RESET in flags else self.device.positions[0]
        fed = status[4] - start
        events = self.device.run(flags, min(fed, n_feed), max(fed - n_feed + 1, 0), temperature,
                                  seed)
        exchanges = self.exchanges[begun:]
        self._compare_traces(f"{self.name}: stopped", exchanges)
        # While one waits for a long response, those of the next tokens are not sent.
        got = self._events(frame for exchange in exchanges for frame in exchange.frames)
        if not set(got) <= set(events):
            raise SimulationError(f"{self.name}: events {got}, not all of them of {events}")
        self.compare()

    @staticmethod
    def _events(frames: Iterable[Frame]) -> list[TokenEvent]:
        """Sequence, position and token of each event."""
        return [(frame.command - EVENT, *TOKEN_EVENT.unpack(frame.payload))
                for frame in frames if not frame.command & RESPONSE]

    def compare(self) -> None:
        """Compare counters, positions and tapes with the reference's."""
        device = self.device
        assert device is not None
        status = self.status.unpack(self.request(Command.STATUS, what=f"{self.name}: status"))
        self.compare_check(f"{self.name}: check")
        running, _, words, tokens, *positions = status
        if (running, positions, words, tokens) != (0, device.positions, device.words,
                                                   device.tokens):
            raise SimulationError(f"{self.name}: status {status} is not that of the reference")
        for number, sequence in enumerate(device.sequences):
            start = Region.TAPE + number * self.sizes.tape_tokens
            self._memory.update(enumerate(sequence.tape, start))
            tape = self.sizes.tape_tokens
            near = max(sequence.position % tape - NEAR // 2, 0)
            self.read(start + min(near, tape - NEAR), NEAR, f"{self.name}: read tape")
