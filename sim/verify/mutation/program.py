"""The regression that a mutant must survive, in parts that each begin with the power-on.

All of it goes through the pins, as in ``sim/bench/chip.py``; models are those of
``sim/bench/core.py`` and larger ones, at the ends of every range.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import sliplib

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.protocol import (
    ACCESS,
    ADDRESS,
    CRC_BYTES,
    IDENTITY,
    MAX_FRAME_BYTES,
    MAX_WORDS,
    MIN_FRAME_BYTES,
    PROTOCOL_MAGIC,
    REGION_WORDS,
    RESPONSE,
    RUN,
    Command,
    Region,
    Result,
    RunFlag,
    Slip,
)
from trilight.hw.contract.shapes import ModelConfig
from trilight.sim.bench.core import SHAPES, corner_case
from trilight.sim.native.compile import NativeBench
from trilight.sw.errors import SimulationError
from trilight.sw.host.boot import Speech
from trilight.sw.host.frames import Frame, encode_frame
from trilight.sw.model.model import Matrix, Model

from .transcript import Exchange, Recorder

__all__ = ["LINK", "ProgramPart", "record"]

LAST = Region.WEIGHT_CRC + REGION_WORDS - 1
MAX_TEMPERATURE = (1 << NUMBERS.temperature_bits) - 1
BEGIN = RunFlag.RESET | RunFlag.SEED

MAX_SKEW = 0.02
"""Skew of the host's clock that the chip bears."""

LONG, SHORT = 1.3, 0.25
"""Lengths of bits, as shares of the chip's: nine of one are more than ten; one of the other is less
than half."""

TALL = ModelConfig(vocab_size=20, d_model=40, n_layers=11, d_hidden=16)
"""Shape with as many operations as there may be, and nearly as many channels of all layers."""

BROAD = ModelConfig(vocab_size=16, d_model=100, n_layers=1, d_hidden=16)
"""Shape with large norms, of which not all have the same upper bits as those of ``LARGE``."""

LARGE = ModelConfig(vocab_size=224, d_model=170, n_layers=1, d_hidden=256)
"""Shape with as many rows, columns, tokens and words of the program as there may be, and more than
half of all words of weights."""

HIGH = ModelConfig(vocab_size=16, d_model=136, n_layers=1, d_hidden=184)
"""More than 4,096 words of weights, and a block more of channels than ``BROAD``, in as few as may
be: most of its time is that of loading."""

EMBEDDINGS = tuple(ModelConfig(vocab_size=size, d_model=48, n_layers=1, d_hidden=16)
                   for size in (24, 200))
"""Sizes of the embedding with bits that others lack, for several blocks."""

WIDTHS = tuple(ModelConfig(vocab_size=16, d_model=width, n_layers=1, d_hidden=16)
               for width in range(17, 26))
"""A width of each remainder by four and by five."""


@dataclass(frozen=True)
class ProgramPart:
    """A part of the regression, which begins with the chip's power-on."""

    name: str
    exchanges: list[Exchange]
    sha256: str
    """Digest of what a mutant is asked and must answer."""
    flash: bytes
    """Content of the flash memory that the chip boots from."""


def record(bench: NativeBench, seed: int, *, thorough: bool = True) -> list[ProgramPart]:
    """Run the regression on a design without a fault; return what a mutant is asked.

    Parameters
    ----------
    bench
        A design without a fault, or with none active; with a flash memory if its board has one.
    seed
        Seed of models, prompts and data.
    thorough
        True to use the large models too; False for a check that takes a minute.

    Raises
    ------
    SimulationError
        The design is not what the reference is.
    """
    parts = []
    for name, step in (PARTS | LARGE_PARTS if thorough else PARTS).items():
        bench.restart(flash=b"")
        recorder = Recorder(bench)
        # Its own data, so that a part stays what it is when there are others.
        step(recorder, np.random.default_rng([seed, *name.encode()]))
        sha256 = hashlib.sha256(recorder.flash)
        for exchange in recorder.exchanges:
            sha256.update(repr((exchange.data, exchange.settles, exchange.bit, exchange.frames,
                                exchange.reset)).encode())
        parts.append(ProgramPart(name, recorder.exchanges, sha256.hexdigest(), recorder.flash))
    return parts


def _last_tape(device: Device) -> int:
    """Address of the last token of the last sequence's tape."""
    return Region.TAPE + device.sequences * device.tape_tokens - 1


def _weight_units(device: Device) -> int:
    """16-bit words of the weight memory."""
    return device.weight_words * device.packing.word_units


def _random(config: ModelConfig, rng: np.random.Generator) -> Model:
    return Model.random(config, int(rng.integers(1 << 32)))


def _units(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random units, many with bytes that must be escaped."""
    special = [Slip.END << 8 | Slip.ESC, Slip.ESC << 8 | Slip.END, 0xFFFF, 0]
    return np.where(rng.random(count) < 0.2, rng.choice(special, count),
                    rng.integers(1 << 16, size=count)).astype(np.uint16)


def _link(recorder: Recorder, rng: np.random.Generator) -> None:
    """Every command and refusal, damage and noise, before there is a model."""
    identity = IDENTITY.unpack(recorder.request(Command.IDENTIFY, sequence=0, what="identify"))
    hdl = recorder.hdl
    board = hdl.board
    if identity[0] != PROTOCOL_MAGIC or identity[4:7] != (
            board.clock_hz, board.clocks_per_bit, hdl.build_id):
        raise SimulationError(f"the design says that it is {identity}")
    status = recorder.status.unpack(recorder.request(Command.STATUS, what="status"))
    if any(status):
        raise SimulationError(f"status after a reset is {status}")
    recorder.write(0, _units(rng, 12))
    recorder.check(1)
    recorder.check(3)
    weights, last_tape = _weight_units(recorder.sizes), _last_tape(recorder.sizes)
    for address, count in ((0, MAX_WORDS), (weights - MAX_WORDS, MAX_WORDS),
                           (weights // 2 - 3, 7)):
        recorder.write(address, _units(rng, count))
        recorder.read(address, count)
        recorder.read(address + count - 1, 1)
    # A tape's unit is a byte.
    recorder.write(Region.TAPE, np.arange(1, MAX_WORDS + 1) % 256)
    recorder.write(last_tape, np.array([0xC0]))
    recorder.read(Region.TAPE, MAX_WORDS)
    recorder.read(last_tape, 1)
    # One word at each power of two, so that no two addresses are one.
    for bit in range(2, 16):
        recorder.write(1 << bit, np.array([bit * 0x1111 & 0xFFFF]))
    for bit in range(2, 16):
        recorder.read(1 << bit, 1)
    _refusals(recorder)
    _damage(recorder, rng)


def _refusals(recorder: Recorder) -> None:
    one = b"\1\0"
    run = RUN.pack(RunFlag.RESET, 0, 1, 0, 0, 0)
    last_weight = _weight_units(recorder.sizes) - 1
    for result, command, payload in (
            *((Result.BAD_COMMAND, command, b"") for command in (0, 0x41, 0xFF)),
            *((Result.BAD_COMMAND, command | bit, b"") for command in Command
              for bit in (0x08, 0x10, 0x20, 0x40, 0x80)),
            (Result.BAD_LENGTH, Command.IDENTIFY, b"\0"),
            (Result.BAD_LENGTH, Command.STATUS, b"\0"),
            (Result.BAD_LENGTH, Command.STOP, b"\0"),
            (Result.BAD_LENGTH, Command.RUN, run[:-1]),
            (Result.BAD_LENGTH, Command.RUN, run + b"\0"),
            (Result.BAD_LENGTH, Command.RUN, RUN.pack(0, 0, 0, 1, 0, 0)),
            *((Result.BAD_LENGTH, Command.RUN, RUN.pack(0, 1 << bit, 1, 1, 0, 0))
              for bit in range(1, 8)),
            (Result.BAD_LENGTH, Command.WRITE, ADDRESS.pack(0)),
            (Result.BAD_LENGTH, Command.WRITE, ADDRESS.pack(0) + b"\0"),
            (Result.BAD_LENGTH, Command.WRITE, ADDRESS.pack(0)[:1]),
            (Result.BAD_LENGTH, Command.READ, ADDRESS.pack(0)),
            (Result.BAD_LENGTH, Command.READ, ACCESS.pack(0, 0)),
            (Result.BAD_LENGTH, Command.READ, ACCESS.pack(0, 1) + b"\1"),
            (Result.BAD_LENGTH, Command.READ, ACCESS.pack(0, MAX_WORDS + 1)),
            (Result.BAD_LENGTH, Command.READ, ACCESS.pack(0, 0xFF)),
            (Result.BAD_ADDRESS, Command.WRITE, ADDRESS.pack(LAST + 1) + one),
            (Result.BAD_ADDRESS, Command.WRITE, ADDRESS.pack(last_weight) + 2 * one),
            *((Result.BAD_ADDRESS, Command.WRITE, ADDRESS.pack(1 << bit) + one)
              for bit in range(16, 31)),
            *((Result.BAD_ADDRESS, Command.WRITE, ADDRESS.pack(Region.PROGRAM | 1 << bit) + one)
              for bit in range(23, 31)),
            *((Result.BAD_ADDRESS, Command.READ, ACCESS.pack(region, 1))
              for region in Region
              if region not in (Region.WEIGHTS, Region.TAPE, Region.WEIGHT_CRC)),
            *((Result.BAD_ADDRESS, Command.READ, ACCESS.pack(Region.TAPE + REGION_WORDS * k, 1))
              for k in (2, 8, 16, 64)),
            (Result.BAD_ADDRESS, Command.READ, ACCESS.pack(last_weight, 2))):
        response = recorder.request(command, payload, result=result,
                                  what=f"refusal of command {command}")
        if response:
            raise SimulationError(f"a refusal of command {command} has a payload")
    recorder.read(Region.TAPE, 2)
    recorder.compare_check("check")


def _damage(recorder: Recorder, rng: np.random.Generator) -> None:
    """Noise and damaged frames have no effect, and the next one is heard."""
    frame = encode_frame(Frame(9, Command.WRITE, ADDRESS.pack(Region.TAPE) + bytes([1, 2, 3, 4])))
    end = bytes([Slip.END])
    for bit in range(8):
        damaged = bytearray(frame)
        damaged[3 + bit % 4] ^= 1 << bit
        recorder.silence("a flipped bit", bytes(damaged))
    recorder.silence("a lost byte", frame[:4] + frame[5:])
    recorder.silence("noise", bytes(rng.integers(0, 0xC0, 40, np.uint8)) + end)
    # What would be a good frame with a good escape, or without what is wrong.
    escaped = encode_frame(Frame(Slip.ESC, Command.STATUS, b""))
    recorder.silence("a bad escape", escaped.replace(bytes([Slip.ESC, Slip.ESC_ESC]),
                                                     bytes([Slip.ESC, 1])))
    status = encode_frame(Frame(1, Command.STATUS))
    recorder.silence("an escape at the end", status[:-1] + bytes([Slip.ESC]) + end)
    recorder.silence("half a frame", status[:4])
    recorder.silence("a byte without a stop bit", b"\0", bit=LONG)
    recorder.silence("the other half", status[4:])
    recorder.silence("half a frame", status[:4])
    recorder.silence("a pulse that is no start bit", b"\xff", bit=SHORT)
    responses = recorder.send("the other half", status[4:])
    responses += recorder.send("two frames at once", 2 * status, settles=True)
    commands = {response.command for response in responses}
    if len(responses) < 2 or commands != {Command.STATUS | RESPONSE}:
        raise SimulationError(f"{responses} instead of responses to STATUS")
    for skew in (-MAX_SKEW, MAX_SKEW):
        for _ in range(4):
            units = _units(rng, 8)
            recorder.write(Region.TAPE, units & 0xFF, bit=1 + skew)
            recorder.read(Region.TAPE, 8, bit=1 + skew)
    recorder.silence("short frames", 3 * end + bytes([1]) + end + bytes([1, 2, 3]) + end)
    for surplus in (0, 1, 40):
        recorder.silence("a long frame", end + bytes([1, Command.WRITE]) + ADDRESS.pack(Region.TAPE)
                         + bytes(MAX_FRAME_BYTES - 2 - ADDRESS.size + surplus) + end)
    recorder.read(Region.TAPE, MAX_WORDS)


class _Sequences:
    """A loaded model, and random prompts and seeds for it."""

    def __init__(self, recorder: Recorder, rng: np.random.Generator, model: Model,
                 name: str) -> None:
        self._recorder = recorder
        self._rng = rng
        self._vocabulary = model.config.vocab_size
        recorder.load(model, name)

    def write(self, sequence: int, count: int) -> None:
        """Write a prompt at the beginning of a tape."""
        tokens = self._rng.integers(0, self._vocabulary, count)
        self._recorder.write_tape(sequence, 0, tokens.tolist())

    def seed(self) -> int:
        return int(self._rng.choice([0, 1, int(self._rng.integers(1 << 32))]))

    def one_and_two(self) -> None:
        """A text, then two at once."""
        run = self._recorder.run
        self.write(0, 2)
        run(BEGIN | RunFlag.CLEAR, 2, 2, 205, int(self._rng.integers(1 << 32)))
        self.write(1, 1)
        run(BEGIN | RunFlag.HOLD, 1, 1, 0, self.seed())
        run(BEGIN, 1, 2, MAX_TEMPERATURE, self.seed(), 1)

    def every_flag(self) -> None:
        """Continuations, sequences that are prepared again or forgotten, what a run refuses, stops.
        """
        recorder, run = self._recorder, self._recorder.run
        run(RunFlag(0), 1, 1, 0, 1)
        run(RunFlag.HOLD, 1, 2, 256, 3)
        run(RunFlag.SEED, 1, 1, 1, self.seed(), 1)
        run(RunFlag.HOLD, 1, 1, 0, 0, 1)
        run(RunFlag.CLEAR, 1, 1, 700, 0)
        run(RunFlag(0), 1, 1, 700, 0, 1)
        run(RunFlag.RESET, 1, 0, 0, 0, 1)
        self.write(0, 3)
        # Each command waits for a gap between events, which at the fastest is 9 tokens later.
        recorder.stopped_run(BEGIN | RunFlag.CLEAR, 3, 200, 205, self.seed(),
                             lambda frame: _while_running(recorder, frame))
        frame = run(RunFlag(0), 1, 1, 0, 0, sequence=77)
        recorder.repeat(frame, "a RUN that has come already")
        recorder.compare()
        recorder.request(Command.STATUS, sequence=0)
        run(RunFlag(0), 1, 1, 0, 0, sequence=77)


def _generate(name: str, config: ModelConfig, recorder: Recorder, rng: np.random.Generator, *,
              corner: bool = False, every_flag: bool = False) -> None:
    """One sequence, then two at once, with a random model or one at the ends of the ranges."""
    model = _random(config, rng)
    sequences = _Sequences(recorder, rng, corner_case(model, rng) if corner else model, name)
    sequences.one_and_two()
    if every_flag:
        sequences.every_flag()


def _long(recorder: Recorder, rng: np.random.Generator) -> None:
    """Runs of as many tokens as there may be, stopped soon."""
    sequences = _Sequences(recorder, rng, _random(SHAPES["least"], rng), "long")
    sequences.write(0, 8)
    for bit in range(8, 16):
        for n_feed, n_generate in (((1 << bit) + 1, 0), (1, (1 << bit) + 1)):
            recorder.stopped_run(BEGIN | RunFlag.CLEAR, n_feed, n_generate, 205, bit,
                                 lambda frame: recorder.repeat(frame, "long: repeated run"))


def _framed(body: bytes) -> bytes:
    """A frame with a good CRC, of any length."""
    end = bytes([Slip.END])
    content: bytes = sliplib.encode(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little"))
    return end + content + end


def _one_delimiter(recorder: Recorder, frames: Iterable[bytes]) -> None:
    for frame in frames:
        if len(recorder.send("one delimiter", frame)) != 1:
            raise SimulationError("a frame after another's delimiter is not answered")


def _lengths(recorder: Recorder, rng: np.random.Generator) -> None:
    """Every command with payloads whose length is wrong in one bit; frames with one delimiter."""
    frame = encode_frame(Frame(36, Command.STATUS))
    _one_delimiter(recorder, (frame, frame[1:], frame[1:]))
    for size in (MAX_FRAME_BYTES + 1, MAX_FRAME_BYTES + 40):
        recorder.silence("a long frame with a good CRC",
                         _framed(bytes([1, Command.STATUS]) + bytes(size - MIN_FRAME_BYTES)))
    lengths = {Command.IDENTIFY: 0, Command.STATUS: 0, Command.STOP: 0, Command.READ: ACCESS.size,
               Command.RUN: RUN.size}
    for command, length in lengths.items():
        for bit in range(8):
            payload = ACCESS.pack(Region.TAPE, 1) + bytes(length ^ (1 << bit))
            recorder.request(command, payload[:length ^ (1 << bit)], result=Result.BAD_LENGTH,
                             what=f"length of command {command}")


def _edges(recorder: Recorder, rng: np.random.Generator) -> None:
    """The shortest and longest frames, escapes wrong in one bit, a run without a model."""
    recorder.silence("a short frame with a good CRC", _framed(b"\1"))
    recorder.request(Command.STATUS, bytes(MAX_FRAME_BYTES - MIN_FRAME_BYTES),
                     result=Result.BAD_LENGTH, what="the longest frame")
    for byte, code in ((Slip.END, Slip.ESC_END), (Slip.ESC, Slip.ESC_ESC)):
        frame = encode_frame(Frame(byte, Command.STATUS))
        for bit in range(8):
            recorder.silence("an escape wrong in one bit", frame.replace(
                bytes([Slip.ESC, code]), bytes([Slip.ESC, code ^ (1 << bit)])))
    status = encode_frame(Frame(37, Command.STATUS))
    for pause in range(0, 24, 3):
        if len(recorder.send("a frame during a response",
                             status + bytes([Slip.END]) * pause + status, settles=True)) > 2:
            raise SimulationError("two frames have three responses")
        _one_delimiter(recorder, [status[1:]])
    for number in range(recorder.sizes.sequences):
        recorder.request(Command.RUN, RUN.pack(RunFlag.RESET, number, 1, 1, 0, 0), settles=True,
                         what="a run without a model")
        if recorder.status.unpack(recorder.request(Command.STATUS, what="status"))[0]:
            raise SimulationError("a run without a model does not end")


def _further(recorder: Recorder, rng: np.random.Generator) -> None:
    """Upper bits together with low ones that matter: of multipliers, temperatures, positions."""
    model = _random(ModelConfig(vocab_size=16, d_model=16, n_layers=2, d_hidden=16), rng)

    def finer(matrix: Matrix, bit: int) -> Matrix:
        return Matrix(matrix.trits, 1 << bit | 1)

    layers = tuple(replace(layer, mix_out=finer(layer.mix_out, bit),
                           glu_down=finer(layer.glu_down, bit))
                   for bit, layer in enumerate(model.layers, 10))
    sequences = _Sequences(recorder, rng, replace(model, layers=layers, head_scale=40), "further")
    for temperature in (1040, 1500, MAX_TEMPERATURE):
        sequences.write(0, 1)
        recorder.run(BEGIN, 1, 1100, temperature, sequences.seed())
    recorder.run(RunFlag(0), 1, 3, 300, 0)


def _apart(recorder: Recorder, rng: np.random.Generator) -> None:
    """A text starts again beside one that is far on."""
    sequences = _Sequences(recorder, rng, _random(SHAPES["least"], rng), "apart")
    for sequence in range(recorder.sizes.sequences):
        sequences.write(sequence, 1)
    recorder.run(BEGIN, 1, 1 << 10, 205, sequences.seed())
    recorder.run(BEGIN, 1, 2, 205, sequences.seed(), 1)


def _unfinished(recorder: Recorder, rng: np.random.Generator) -> None:
    """A run during the check of the weights; a long text beside one that is still fed."""
    config = SHAPES["blocks"]
    sequences = _Sequences(recorder, rng, _random(config, rng), "unfinished")
    words = config.weight_words(recorder.sizes.packing)
    recorder.write(Region.WEIGHT_CRC, np.array([words - 1, 0]))
    recorder.run(BEGIN, 1, 2, 205, sequences.seed())
    for sequence in range(recorder.sizes.sequences):
        sequences.write(sequence, 5)
    recorder.run(BEGIN | RunFlag.HOLD, 5, 2, 205, sequences.seed())
    recorder.run(BEGIN, 5, 40, 205, sequences.seed(), 1)


def _close(recorder: Recorder, rng: np.random.Generator) -> None:
    """Draws among a few tokens whose logits and noise differ by little."""
    model = _random(SHAPES["least"], rng)
    bias = np.full(model.config.vocab_size, -30_000)
    bias[[2, 3, 9, 14]] = 0
    recorder.load(replace(model, head_scale=20, head_bias=bias), "close")
    for temperature in (0, 1, 2, 5, 11, 23, 47, 95, 190, 777, 2047):
        tokens = rng.integers(0, model.config.vocab_size, 2).tolist()
        recorder.write_tape(0, 0, tokens)
        recorder.run(BEGIN, 2, 40, temperature, int(rng.integers(1 << 32)))


def _far(recorder: Recorder, rng: np.random.Generator) -> None:
    """Two sequences many times round their tapes."""
    sequences = _Sequences(recorder, rng, _random(SHAPES["least"], rng), "far")
    for sequence in range(recorder.sizes.sequences):
        sequences.write(sequence, recorder.sizes.tape_tokens)
    # Between them, the positions at the ends have every bit below 11 at 0 and at 1.
    for flags, count in ((BEGIN, 0x2AA - 4), (RunFlag(0), 0x555 - 0x2AA - 4)):
        recorder.run(flags | RunFlag.HOLD, count, 5, 205, 7)
        recorder.run(flags, count, 5, 205, 8, 1)


def _resets(shape: str, places: Iterable[int], recorder: Recorder,
            rng: np.random.Generator) -> None:
    """Reset while it runs, receives and answers, and then as after power-on."""
    sequences = _Sequences(recorder, rng, _random(SHAPES[shape], rng), "reset")
    sequences.write(0, 8)
    sequences.write(1, 8)
    frame = encode_frame(Frame(33, Command.RUN, RUN.pack(
        BEGIN, 1, 8, 60, 205, 9)))
    for after in places:
        recorder.run(BEGIN | RunFlag.HOLD, 8, 60, 205, 9)
        status = encode_frame(Frame(34, Command.STATUS))
        recorder.reset("reset: a run", frame + 12 * status, after)
        if any(recorder.request(Command.STATUS, what="reset: status")):
            raise SimulationError("status after a reset is not all zero")
        recorder.check(SHAPES[shape].weight_words(recorder.sizes.packing))
        recorder.run(RunFlag(0), 1, 3, 300, 0)
        recorder.run(RunFlag(0), 1, 2, 205, 0, 1)


def _seeds(recorder: Recorder, rng: np.random.Generator) -> None:
    """A seed of each bit alone."""
    model = replace(_random(SHAPES["least"], rng), head_scale=40)
    sequences = _Sequences(recorder, rng, model, "seeds")
    sequences.write(0, 1)
    for bit in range(NUMBERS.rng_bits):
        recorder.run(BEGIN, 1, 6, MAX_TEMPERATURE, 1 << bit)


def _crowd(recorder: Recorder, rng: np.random.Generator) -> None:
    """Events of two sequences that wait for long responses and for each other."""
    sequences = _Sequences(recorder, rng, _random(SHAPES["least"], rng), "crowd")
    read = encode_frame(Frame(35, Command.READ, ACCESS.pack(Region.TAPE, 9)))
    for pause in range(20, 76, 8):
        sequences.write(0, 1)
        sequences.write(1, 1)
        recorder.run(BEGIN | RunFlag.HOLD, 1, 40, 205, sequences.seed())
        recorder.run(BEGIN, 1, 40, 205, sequences.seed(), 1,
                     meanwhile=8 * (read + pause * bytes([Slip.END])))


def _round(recorder: Recorder, rng: np.random.Generator) -> None:
    """Round the tape's end: tokens are written where the first ones were."""
    sequences = _Sequences(recorder, rng, _random(SHAPES["least"], rng), "round")
    sequences.write(0, recorder.sizes.tape_tokens)
    recorder.run(BEGIN, recorder.sizes.tape_tokens - 2, 6, 205, 7)
    for start in range(0, recorder.sizes.tape_tokens, MAX_WORDS):
        recorder.read(Region.TAPE + start, min(MAX_WORDS, recorder.sizes.tape_tokens - start))


def _large(recorder: Recorder, rng: np.random.Generator) -> None:
    model = corner_case(_random(LARGE, rng), rng)
    bias = model.head_bias.copy()
    bias[:-8] = np.iinfo(np.int16).min
    _Sequences(recorder, rng, replace(model, head_bias=bias), "large").one_and_two()


def _noise(recorder: Recorder, rng: np.random.Generator) -> None:
    """Every row of the embedding, and many draws at temperatures of every size.

    Logits are so close together that the noise decides.
    """
    model = replace(_random(SHAPES["least"], rng), head_scale=40)
    vocabulary = model.config.vocab_size
    recorder.load(model, "noise")
    recorder.write_tape(0, 0, list(range(vocabulary)))
    recorder.run(BEGIN, vocabulary, 1, 1, 1)
    # Ties, of which the lowest wins.
    recorder.run(BEGIN, 2, 4, 0, 1)
    for bit in range(NUMBERS.temperature_bits):
        recorder.write_tape(0, 0, [bit])
        recorder.run(BEGIN, 1, 4, MAX_TEMPERATURE ^ (1 << bit), int(rng.integers(1 << 32)))


def _while_running(recorder: Recorder, frame: bytes) -> None:
    """Commands that a run refuses, and those that it allows."""
    one = b"\1\0"
    name = recorder.name
    for command, payload, result in (
            (Command.STATUS, b"", Result.OK),
            (Command.WRITE, ADDRESS.pack(0) + one, Result.BUSY),
            (Command.WRITE, ADDRESS.pack(Region.TAPE) + one, Result.BUSY),
            (Command.WRITE, ADDRESS.pack(Region.TAPS) + one, Result.BUSY),
            (Command.READ, ACCESS.pack(0, 1), Result.BUSY),
            (Command.READ, ACCESS.pack(_last_tape(recorder.sizes) - 9, 9), Result.OK),
            (Command.RUN, RUN.pack(RunFlag.RESET, 0, 1, 0, 0, 0), Result.BUSY)):
        recorder.request(command, payload, result=result, what=f"{name}: command while running")
    recorder.repeat(frame, f"{name}: repeated run")


def _boot(recorder: Recorder, rng: np.random.Generator) -> None:
    """A model and a run that lie in flash memory; then the model is the host's."""
    if recorder.hdl.board.flash_pins:
        model = _random(SHAPES["least"], rng)
        recorder.boot(model, Speech(prompt=[3, 2, 1], tokens=4, temperature=205, seed=7))
        recorder.run(RunFlag.CLEAR, 1, 3)


Step = Callable[[Recorder, np.random.Generator], None]

LINK = "link"
"""The part without a model."""


def _shapes(configs: Iterable[ModelConfig]) -> dict[str, Step]:
    return {f"shape {config.vocab_size} {config.d_model}":
            partial(_generate, "shape", config, corner=True) for config in configs}


PARTS: dict[str, Step] = {
    "least": partial(_generate, "least", SHAPES["least"], corner=True, every_flag=True),
    LINK: _link, "boot": _boot, "noise": _noise, "round": _round, "long": _long,
    "deep": partial(_generate, "deep", SHAPES["deep"], every_flag=True),
    "blocks": partial(_generate, "blocks", SHAPES["blocks"], corner=True),
    **_shapes(EMBEDDINGS), "unfinished": _unfinished, "high": partial(_generate, "high", HIGH),
    "tall": partial(_generate, "tall", TALL), "edges": _edges, "close": _close,
    "further": _further}
LARGE_PARTS: dict[str, Step] = {
    "lengths": _lengths, "seeds": _seeds, "crowd": _crowd,
    "reset": partial(_resets, "deep", (3000, 3400, 5000, 5777)),
    "broad": partial(_generate, "broad", BROAD, corner=True), "far": _far,
    "large": _large,
    # At many places of a short token.
    "resets": partial(_resets, "least", range(3400, 6000, 53)),
    "apart": _apart, **_shapes(WIDTHS)}
"""Parts by name: those that kill most for the least time come first."""
