"""The regression that a mutant must survive: what is cheap and kills many comes first.

All of it goes through the pins, as in ``sim/bench_chip.py``; models are those of
``sim/bench_core.py`` and larger ones, at the ends of every range.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from trilight.hw.config import NUMBERS, UP5K, ModelConfig
from trilight.hw.flow.build import Hdl
from trilight.hw.protocol import (
    IDENTITY,
    MAX_FRAME_BYTES,
    MAX_UNITS,
    PROTOCOL_MAGIC,
    RUN,
    STATUS,
    Command,
    Result,
    RunFlag,
    Slip,
    Space,
)
from trilight.sim.bench_core import SHAPES, harsh
from trilight.sim.native import NativeBench
from trilight.sw.errors import SimulationError
from trilight.sw.frames import Frame, encode_frame
from trilight.sw.model import Model

from .dialogue import Exchange, Recorder

__all__ = ["Part", "record"]

SPACE_UNITS = 512
WEIGHT_UNITS = UP5K.weight_words * NUMBERS.bytes_per_word // 2
LAST_TAPE = Space.TAPE + SPACE_UNITS - 1
LAST = Space.CHECK + SPACE_UNITS - 1
MOST_TEMPERATURE = (1 << NUMBERS.temperature_bits) - 1
BEGIN = RunFlag.RESET | RunFlag.SEED

LARGEST = ModelConfig(vocab_size=169, d_model=128, n_layers=4, d_hidden=130)
"""As many channels as there may be, and nearly as many words of weights and of the program."""

WIDEST = ModelConfig(vocab_size=225, d_model=170, n_layers=1, d_hidden=256)
"""As many rows, columns and tokens as there may be."""


def _address(first: int) -> bytes:
    return first.to_bytes(3, "little")


@dataclass(frozen=True)
class Part:
    """A part of the regression.

    Parameters
    ----------
    name : str
    exchanges : list of Exchange
    chain : str
        Digest of all that a mutant is asked up to the part's end.
    """

    name: str
    exchanges: list[Exchange]
    chain: str


def record(bench: NativeBench, seed: int, *, link_first: bool, thorough: bool = True) -> list[Part]:
    """Run the regression on a design without a fault; return what a mutant is asked.

    Parameters
    ----------
    bench : NativeBench
        A design without a fault, or with none active, just started.
    seed : int
        What models, prompts and data follow from.
    link_first : bool
        Whether what the link does comes before the models: it finds faults of the link in less
        time, and others later.
    thorough : bool
        With the large models; without, what a check in a minute has time for.

    Raises
    ------
    SimulationError
        The design is not what the reference is.
    """
    rng = np.random.default_rng(seed)
    recorder = Recorder(bench)
    steps: list[tuple[str, Callable[[], None]]] = [
        (name, partial(_texts, recorder, rng, name, model))
        for name, model in _models(rng, thorough)]
    steps.insert(0 if link_first else 1, ("link", partial(_link, recorder, rng, bench.hdl)))
    parts = []
    total = hashlib.sha256()
    for name, step in steps:
        begin = len(recorder.exchanges)
        step()
        exchanges = recorder.exchanges[begin:]
        for exchange in exchanges:
            total.update(repr((exchange.data, exchange.settles, exchange.frames)).encode())
        parts.append(Part(name, exchanges, total.hexdigest()[:16]))
    return parts


def _models(rng: np.random.Generator, thorough: bool) -> Iterator[tuple[str, Model]]:
    def random(config: ModelConfig) -> Model:
        return Model.random(config, int(rng.integers(1 << 32)))

    yield "least", harsh(random(SHAPES["least"]), rng)
    yield "deep", random(SHAPES["deep"])
    yield "blocks", harsh(random(SHAPES["blocks"]), rng)
    # Logits so close together that the noise decides.
    yield "noise", replace(random(SHAPES["least"]), head_scale=40)
    if thorough:
        yield "round", random(SHAPES["least"])
        yield "wide", random(SHAPES["wide"])
        yield "largest", random(LARGEST)
        yield "widest", harsh(random(WIDEST), rng)


def _units(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random units, many with bytes that must be escaped."""
    special = [Slip.END << 8 | Slip.ESC, Slip.ESC << 8 | Slip.END, 0xFFFF, 0]
    return np.where(rng.random(count) < 0.2, rng.choice(special, count),
                    rng.integers(1 << 16, size=count)).astype(np.uint16)


def _link(recorder: Recorder, rng: np.random.Generator, hdl: Hdl) -> None:
    """Every command and refusal, damage and noise, before there is a model."""
    identity = IDENTITY.unpack(recorder.request(Command.IDENTIFY, sequence=0, what="identify"))
    board = hdl.board
    if identity[0] != PROTOCOL_MAGIC or identity[3:6] != (
            board.clock_hz, board.clocks_per_bit, hdl.build_id):
        raise SimulationError(f"the design says that it is {identity}")
    status = STATUS.unpack(recorder.request(Command.STATUS, what="status"))
    if recorder.device is None and any(status):
        raise SimulationError(f"status after a reset is {status}")
    recorder.write(0, _units(rng, 4))
    recorder.check(1)
    for address, count in ((0, MAX_UNITS), (WEIGHT_UNITS - MAX_UNITS, MAX_UNITS),
                           (WEIGHT_UNITS // 2 - 3, 7)):
        recorder.write(address, _units(rng, count))
        recorder.read(address, count)
        recorder.read(address + count - 1, 1)
    # A tape's unit is a byte.
    recorder.write(Space.TAPE, np.arange(1, MAX_UNITS + 1) % 256)
    recorder.write(LAST_TAPE, np.array([0xC0]))
    recorder.read(Space.TAPE, MAX_UNITS)
    recorder.read(LAST_TAPE, 1)
    # One word at each power of two, so that no two addresses are one.
    for bit in range(2, 16):
        recorder.write(1 << bit, np.array([bit * 0x1111 & 0xFFFF]))
    for bit in range(2, 16):
        recorder.read(1 << bit, 1)
    _refusals(recorder)
    _damage(recorder, rng)


def _refusals(recorder: Recorder) -> None:
    one = b"\1\0"
    run = RUN.pack(RunFlag.RESET, 1, 0, 0, 0)
    for result, command, payload in (
            *((Result.BAD_COMMAND, command, b"") for command in (0, 0x41, 0xFF)),
            *((Result.BAD_COMMAND, command | bit, b"") for command in Command
              for bit in (0x08, 0x10, 0x20, 0x40, 0x80)),
            (Result.BAD_LENGTH, Command.IDENTIFY, b"\0"),
            (Result.BAD_LENGTH, Command.STATUS, b"\0"),
            (Result.BAD_LENGTH, Command.STOP, b"\0"),
            (Result.BAD_LENGTH, Command.RUN, run[:-1]),
            (Result.BAD_LENGTH, Command.RUN, run + b"\0"),
            (Result.BAD_LENGTH, Command.RUN, RUN.pack(0, 0, 1, 0, 0)),
            (Result.BAD_LENGTH, Command.WRITE, _address(0)),
            (Result.BAD_LENGTH, Command.WRITE, _address(0) + b"\0"),
            (Result.BAD_LENGTH, Command.WRITE, _address(0)[:1]),
            (Result.BAD_LENGTH, Command.READ, _address(0)),
            (Result.BAD_LENGTH, Command.READ, _address(0) + b"\0"),
            (Result.BAD_LENGTH, Command.READ, _address(0) + b"\1\1"),
            (Result.BAD_LENGTH, Command.READ, _address(0) + bytes([MAX_UNITS + 1])),
            (Result.BAD_LENGTH, Command.READ, _address(0) + b"\xff"),
            (Result.BAD_ADDRESS, Command.WRITE, _address(LAST + 1) + one),
            (Result.BAD_ADDRESS, Command.WRITE, _address(LAST) + 2 * one),
            *((Result.BAD_ADDRESS, Command.WRITE, _address(1 << bit) + one)
              for bit in range(17, 24)),
            *((Result.BAD_ADDRESS, Command.READ, _address(space) + b"\1")
              for space in Space if space not in (Space.WEIGHTS, Space.TAPE, Space.CHECK)),
            *((Result.BAD_ADDRESS, Command.READ, _address(Space.TAPE + SPACE_UNITS * k) + b"\1")
              for k in (2, 8, 16, 64)),
            (Result.BAD_ADDRESS, Command.READ, _address(LAST) + b"\2"),
            (Result.BAD_ADDRESS, Command.READ, _address(WEIGHT_UNITS - 1) + b"\2")):
        answer = recorder.request(command, payload, result=result,
                                  what=f"refusal of command {command}")
        if answer:
            raise SimulationError(f"a refusal of command {command} has a payload")
    recorder.read(Space.TAPE, 2)
    recorder.compare_check("check")


def _damage(recorder: Recorder, rng: np.random.Generator) -> None:
    """Noise and damaged frames have no effect, and the next one is heard."""
    frame = encode_frame(Frame(9, Command.WRITE, _address(Space.TAPE) + bytes([1, 2, 3, 4])))
    end = bytes([Slip.END])
    for bit in range(8):
        damaged = bytearray(frame)
        damaged[3 + bit % 4] ^= 1 << bit
        recorder.silence("a flipped bit", bytes(damaged))
    recorder.silence("a lost byte", frame[:4] + frame[5:])
    recorder.silence("noise", bytes(rng.integers(0, 0xC0, 40, np.uint8)) + end)
    recorder.silence("a bad escape", bytes([Slip.END, 1, Command.STOP, Slip.ESC, 1, Slip.END]))
    recorder.silence("short frames", 3 * end + bytes([1]) + end + bytes([1, 2, 3]) + end)
    for surplus in (0, 1, 40):
        recorder.silence("a long frame", end + bytes([1, Command.WRITE]) + _address(Space.TAPE)
                         + bytes(MAX_FRAME_BYTES - 5 + surplus) + end)
    recorder.read(Space.TAPE, MAX_UNITS)


def _texts(recorder: Recorder, rng: np.random.Generator, name: str, model: Model) -> None:
    """One text, then two, every flag, continuations; what a run refuses; stops."""
    first = recorder.device is None
    recorder.load(model, name, spaces=tuple(Space) if first else (
        Space.WEIGHTS, Space.PROGRAM, Space.TAPS, Space.FORGET_BIAS))
    most = model.config.vocab_size

    def tokens(count: int) -> list[int]:
        return [int(token) for token in rng.integers(0, most, count)]

    def seed() -> int:
        return int(rng.choice([0, 1, int(rng.integers(1 << 32))]))

    if name == "noise":
        _noise(recorder, rng, most)
        return
    large = model.config.weight_words > 500
    recorder.write_tape(0, 0, tokens(2))
    recorder.run(BEGIN | RunFlag.CLEAR, 2, 2, 205, int(rng.integers(1 << 32)))
    recorder.write_tape(1, 0, tokens(1))
    recorder.run(BEGIN | RunFlag.HOLD, 1, 1, 0, seed())
    recorder.run(BEGIN | RunFlag.SECOND, 1, 2, MOST_TEMPERATURE, seed())
    if large:
        return
    recorder.run(RunFlag(0), 1, 1, 0, 1)
    recorder.run(RunFlag.HOLD, 1, 2, 256, 3)
    recorder.run(RunFlag.SECOND | RunFlag.SEED, 1, 1, 1, seed())
    # A prepared sequence that is prepared anew, or forgotten.
    recorder.run(RunFlag.SECOND | RunFlag.HOLD, 1, 1, 0, 0)
    recorder.run(RunFlag.CLEAR, 1, 1, 700, 0)
    recorder.run(RunFlag.SECOND, 1, 1, 700, 0)
    recorder.run(RunFlag.RESET | RunFlag.SECOND, 1, 0, 0, 0)
    recorder.write_tape(0, 0, tokens(3))
    recorder.stopped_run(BEGIN | RunFlag.CLEAR, 3, 60, 205, seed(),
                         lambda frame: _while_running(recorder, frame))
    recorder.run(RunFlag(0), 1, 1, 0, 0)
    if name == "round":
        # Round the tape's end: tokens are written where the first ones were.
        recorder.write_tape(0, 0, tokens(UP5K.tape_tokens))
        recorder.run(BEGIN, UP5K.tape_tokens - 2, 6, 205, 7)


def _noise(recorder: Recorder, rng: np.random.Generator, vocabulary: int) -> None:
    """Every row of the embedding, and many draws at temperatures of every size."""
    recorder.write_tape(0, 0, list(range(vocabulary)))
    recorder.run(BEGIN, vocabulary, 1, 1, 1)
    for bit in range(NUMBERS.temperature_bits):
        recorder.write_tape(0, 0, [bit])
        recorder.run(BEGIN, 1, 4, MOST_TEMPERATURE ^ (1 << bit), int(rng.integers(1 << 32)))


def _while_running(recorder: Recorder, frame: bytes) -> None:
    """What a run refuses and what it allows."""
    one = b"\1\0"
    name = recorder.name
    for command, payload, result in (
            (Command.STATUS, b"", Result.OK),
            (Command.WRITE, _address(0) + one, Result.BUSY),
            (Command.WRITE, _address(Space.TAPE) + one, Result.BUSY),
            (Command.WRITE, _address(Space.TAPS) + one, Result.BUSY),
            (Command.READ, _address(0) + b"\1", Result.BUSY),
            (Command.READ, _address(LAST_TAPE - 9) + b"\11", Result.OK),
            (Command.RUN, RUN.pack(RunFlag.RESET, 1, 0, 0, 0), Result.BUSY)):
        recorder.request(command, payload, result=result, what=f"{name}: command while running")
    recorder.repeat(frame, f"{name}: repeated run")
