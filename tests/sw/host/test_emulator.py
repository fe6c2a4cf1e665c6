"""The emulated device, spoken to frame by frame."""

import struct
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from trilight.hw.contract.program import HEADER_WORDS, OPERATION_WORDS, Header
from trilight.hw.contract.protocol import (
    ACCESS,
    ADDRESS,
    EVENT,
    IDENTITY,
    MAX_WORDS,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    REGION_WORDS,
    RESPONSE,
    RUN,
    TOKEN_EVENT,
    Command,
    Region,
    Result,
    RunFlag,
    status_struct,
)
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device, board_names
from trilight.sw.errors import DeviceError
from trilight.sw.host.driver import Board
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.host.frames import Frame, FrameReader, encode_frame
from trilight.sw.host.responses import SIZES
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model
from trilight.sw.reference.continuation import continue_tokens

DEVICE = board_device()

CONFIG = ModelConfig(vocab_size=24, d_model=44, n_layers=2, d_hidden=90)
"""Words of mix_out, glu_down and head are short."""
MODEL = Model.random(CONFIG, 5)
TEMPERATURE, SEED = 5 * 256, 77


class Host:
    """Sends frames and collects what comes back."""

    def __init__(self) -> None:
        self.device = ReferenceTransport()
        self.events: list[tuple[int, int]] = []
        self.second: list[tuple[int, int]] = []
        """Events of sequence 1."""
        self._reader = FrameReader()
        self._sequences = count(1)

    def ask(self, command: int, payload: bytes = b"", sequence: int | None = None
            ) -> tuple[int, bytes]:
        number = next(self._sequences) % 256 if sequence is None else sequence
        self.device.write(encode_frame(Frame(number, command, payload)))
        [response] = self._read()
        assert (response.sequence, response.command) == (number, command | RESPONSE)
        return response.payload[0], response.payload[1:]

    def write(self, address: int, units: list[int]) -> int:
        return self.ask(Command.WRITE, ADDRESS.pack(address)
                        + struct.pack(f"<{len(units)}H", *units))[0]

    def read(self, address: int, units: int) -> tuple[int, list[int]]:
        result, data = self.ask(Command.READ, ACCESS.pack(address, units))
        return result, list(struct.unpack(f"<{len(data) // 2}H", data))

    def run(self, flags: int, n_feed: int, n_generate: int, number: int | None = None,
            seed: int = SEED, sequence: int = 0) -> int:
        """Send a RUN about a sequence, under a frame's sequence number."""
        return self.ask(Command.RUN, RUN.pack(flags, sequence, n_feed, n_generate, TEMPERATURE,
                                              seed), number)[0]

    def status(self) -> tuple[int, ...]:
        result, data = self.ask(Command.STATUS)
        assert result == Result.OK
        layout = status_struct((len(data) - status_struct(0).size) // 2)
        running, cycles, words, tokens, *positions = layout.unpack(data)
        return (running, *positions, cycles, words, tokens)

    def listen(self, tokens: int) -> None:
        """Let the device feed some tokens."""
        for _ in range(tokens):
            assert self._read() == []

    def load(self, model: Model) -> None:
        for address, units in compile_image(model, DEVICE).segments:
            for start in range(0, len(units), MAX_WORDS):
                piece = units[start:start + MAX_WORDS].tolist()
                assert self.write(address + start, piece) == Result.OK

    def _read(self) -> list[Frame]:
        frames = self._reader.feed(self.device.read(0))
        for command, events in ((EVENT, self.events), (EVENT + 1, self.second)):
            events += [TOKEN_EVENT.unpack(frame.payload)
                        for frame in frames if frame.command == command]
        return [frame for frame in frames if frame.command not in (EVENT, EVENT + 1)]


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def loaded(host: Host) -> Host:
    host.load(MODEL)
    return host


def expected_tokens(prompt: list[int], n: int, seed: int = SEED) -> list[int]:
    return continue_tokens(MODEL, prompt, n, seed=seed, temperature=TEMPERATURE / 256)


def test_a_run_without_a_program_ends_at_once() -> None:
    host = Host()
    assert host.run(RunFlag.RESET | RunFlag.SEED | RunFlag.HOLD, 3, 2) == Result.OK
    assert host.run(RunFlag.RESET | RunFlag.SEED, 2, 2, sequence=1) == Result.OK
    host.listen(2)
    assert host.status() == (0, 0, 0, 0, 0, 0)


def test_identity(host: Host) -> None:
    result, data = host.ask(Command.IDENTIFY, sequence=0)
    assert result == Result.OK
    magic, version, trits, lanes, clock, *_ = IDENTITY.unpack(data)
    assert (magic, version, trits, lanes, clock) == (PROTOCOL_MAGIC, PROTOCOL_VERSION, 5, 8, 0)
    assert IDENTITY.unpack(data)[7:] == (
        DEVICE.weight_words, DEVICE.max_rows, DEVICE.max_columns, DEVICE.max_channels,
        DEVICE.program_words, DEVICE.tape_tokens, DEVICE.max_vocab, DEVICE.sequences,
        DEVICE.adapt_code)


@pytest.mark.parametrize(("address", "mask"), [(0, 0xFFFF), (0xFFFF, 0xFFFF), (Region.TAPE, 0xFF)])
def test_what_is_written_is_read(host: Host, address: int, mask: int) -> None:
    units = [0xA5C3] if address == 0xFFFF else [0xA5C3, 0x1234, 0xFFFF]
    assert host.write(address, units) == Result.OK
    assert host.read(address, len(units)) == (Result.OK, [unit & mask for unit in units])


def test_a_memory_repeats_in_its_region(host: Host) -> None:
    host.device = ReferenceTransport(replace(DEVICE, sequences=1))
    assert host.write(Region.TAPE + 255, [1, 2]) == Result.OK
    assert host.read(Region.TAPE, 1) == (Result.OK, [2])
    assert host.read(Region.TAPE + 511, 1) == (Result.OK, [1])
    assert host.read(Region.TAPE + REGION_WORDS - 1, 2) == (Result.OK, [1, 2])


@pytest.mark.parametrize(("command", "payload", "expected"), [
    (0x00, b"", Result.BAD_COMMAND),
    (0x07, b"", Result.BAD_COMMAND),
    (Command.IDENTIFY, b"?", Result.BAD_LENGTH),
    (Command.STOP, b"?", Result.BAD_LENGTH),
    (Command.STATUS, b"?", Result.BAD_LENGTH),
    (Command.WRITE, b"", Result.BAD_LENGTH),
    (Command.WRITE, bytes(4), Result.BAD_LENGTH),
    (Command.WRITE, bytes(5), Result.BAD_LENGTH),
    (Command.READ, bytes(4), Result.BAD_LENGTH),
    (Command.READ, bytes(5), Result.BAD_LENGTH),
    (Command.READ, ACCESS.pack(0, MAX_WORDS + 1), Result.BAD_LENGTH),
    (Command.RUN, bytes(RUN.size - 1), Result.BAD_LENGTH),
    (Command.RUN, RUN.pack(RunFlag.RESET, 0, 0, 5, 0, 0), Result.BAD_LENGTH),
    (Command.RUN, RUN.pack(RunFlag.RESET, 2, 1, 5, 0, 0), Result.BAD_LENGTH),
    (Command.WRITE, ADDRESS.pack(Region.WEIGHT_CRC + REGION_WORDS) + bytes(4), Result.BAD_ADDRESS),
    (Command.WRITE, ADDRESS.pack(0x20000) + bytes(2), Result.BAD_ADDRESS),
    (Command.READ, ACCESS.pack(Region.PROGRAM, 1), Result.BAD_ADDRESS),
    (Command.READ, ACCESS.pack(0xFFFF, 2), Result.BAD_ADDRESS),
    (Command.READ, ACCESS.pack(0x10000, 1), Result.BAD_ADDRESS),
    (Command.READ, ACCESS.pack(0xFFFFFFFF, 1), Result.BAD_ADDRESS),
])
def test_refusals(host: Host, command: int, payload: bytes, expected: Result) -> None:
    assert host.ask(command, payload) == (expected, b"")


def test_small_weight_memory_ends_where_it_ends() -> None:
    host = Host()
    host.device = ReferenceTransport(replace(DEVICE, weight_words=1024))
    assert host.write(4095, [1]) == Result.OK
    assert host.write(4095, [1, 1]) == Result.BAD_ADDRESS


def test_run_feeds_and_generates(loaded: Host) -> None:
    prompt = [3, 1, 4, 1, 5]
    assert loaded.write(Region.TAPE, prompt) == Result.OK
    assert loaded.run(RunFlag.RESET | RunFlag.SEED | RunFlag.CLEAR, 5, 20) == Result.OK
    assert loaded.status()[0] == 1
    loaded.listen(30)
    tokens = expected_tokens(prompt, 20)
    assert len(set(tokens)) > 5
    assert loaded.events == list(enumerate(tokens, len(prompt)))
    assert loaded.read(Region.TAPE, 25) == (Result.OK, prompt + tokens)
    head = CONFIG.head(DEVICE.packing).words
    body = CONFIG.weight_words(DEVICE.packing) - head
    # Looked at once for each token, and once by STATUS.
    assert loaded.status() == (0, 24, 0, 24 + 1, 24 * body + 20 * head, 24)


def test_a_device_that_hangs_answers_and_counts(loaded: Host) -> None:
    assert loaded.write(Region.TAPE, [3, 1, 4]) == Result.OK
    assert loaded.run(RunFlag.RESET | RunFlag.SEED | RunFlag.CLEAR, 3, 20) == Result.OK
    loaded.listen(4)
    running, *before = loaded.status()
    loaded.device.hang()
    loaded.listen(5)
    events = len(loaded.events)
    still, *after = loaded.status()
    assert (running, still, len(loaded.events)) == (1, 1, events)
    position, second, cycles, words, tokens = before
    assert after == [position, second, cycles + 5 + 1, words, tokens]


def test_a_continuation_feeds_one_token(loaded: Host) -> None:
    loaded.write(Region.TAPE, [7])
    loaded.run(RunFlag.RESET | RunFlag.SEED, 1, 8)
    loaded.listen(10)
    loaded.run(RunFlag.CLEAR, 1, 8)
    loaded.listen(10)
    assert [token for _, token in loaded.events] == expected_tokens([7], 16)
    assert loaded.status()[1] == 16
    assert loaded.status()[5] == 8


def test_a_repeated_run_is_acknowledged_only(loaded: Host) -> None:
    loaded.write(Region.TAPE, [7])
    flags = RunFlag.RESET | RunFlag.SEED | RunFlag.CLEAR
    assert loaded.run(flags, 1, 3, number=200) == Result.OK
    assert loaded.run(flags, 1, 3, number=200) == Result.OK
    loaded.listen(5)
    assert loaded.run(flags, 1, 3, number=200) == Result.OK
    loaded.listen(5)
    assert len(loaded.events) == 3
    # Sequence number 0 makes the device forget.
    loaded.ask(Command.IDENTIFY, sequence=0)
    loaded.run(flags, 1, 3, number=200)
    loaded.listen(5)
    assert len(loaded.events) == 6


def test_refused_while_running(loaded: Host) -> None:
    loaded.write(Region.TAPE, [7])
    loaded.run(RunFlag.RESET, 1, 50, number=200)
    assert loaded.write(0, [1]) == Result.BUSY
    assert loaded.write(Region.TAPE, [1]) == Result.BUSY
    assert loaded.read(0, 1) == (Result.BUSY, [])
    assert loaded.read(Region.TAPE, 1) == (Result.OK, [7])
    assert loaded.run(RunFlag.RESET, 1, 50, number=201) == Result.BUSY


def test_stop(loaded: Host) -> None:
    loaded.write(Region.TAPE, [7])
    loaded.run(RunFlag.RESET | RunFlag.SEED, 1, 200)
    loaded.listen(5)
    assert loaded.ask(Command.STOP) == (Result.OK, b"")
    loaded.listen(10)
    assert loaded.status()[0] == 0
    assert loaded.status()[1] in (5, 6)
    assert loaded.write(0, [1]) == Result.OK


def test_a_model_is_read_out_of_memory(loaded: Host) -> None:
    """Two models in turn, of different shapes: nothing of the first remains."""
    loaded.run(RunFlag.RESET | RunFlag.SEED, 1, 3)
    loaded.listen(5)
    loaded.events.clear()
    other = Model.random(ModelConfig(vocab_size=33, d_model=80, n_layers=3, d_hidden=41), 6)
    loaded.load(other)
    loaded.write(Region.TAPE, [30])
    loaded.run(RunFlag.RESET | RunFlag.SEED, 1, 10)
    loaded.listen(12)
    assert [token for _, token in loaded.events] == continue_tokens(
        other, [30], len(loaded.events), seed=SEED, temperature=TEMPERATURE / 256)


@pytest.mark.parametrize(("address", "bit", "text"), [
    (Region.ACTIVATION + 100, 0, "the sigmoid table that was loaded is not the reference's"),
    (Region.ACTIVATION + 200, 0, "the silu table"),
    (Region.GUMBEL, 0, "the gumbel table"),
    (Region.PROGRAM + HEADER_WORDS, 0, "the program that was loaded is none of a model"),
    (Region.PROGRAM + Header.EMBED_BASE, 0, "has the embedding at word"),
    (Region.PROGRAM + Header.EMBED_FLAGS, 3, "contradicts itself on which weight words are"),
    (Region.PROGRAM + Header.EMBED_FLAGS, 4, "contradicts itself on which weight words are"),
    (Region.PROGRAM + HEADER_WORDS + OPERATION_WORDS, 4, "contradicts itself on which weight"),
    (Region.PROGRAM + Header.CHANNELS, 0, "the weights that were loaded go on after column"),
])
def test_only_legal_models_run(loaded: Host, address: int, bit: int, text: str) -> None:
    program = dict(compile_image(MODEL, DEVICE).segments)
    region = Region.of(address)
    changed = int(program[region][address - region]) ^ 1 << bit
    assert loaded.write(address, [changed]) == Result.OK
    with pytest.raises(DeviceError, match=text):
        loaded.run(RunFlag.RESET, 1, 1)


# ---- Two sequences

START = RunFlag.RESET | RunFlag.SEED


def prepare(host: Host, first: list[int], second: list[int]) -> None:
    assert host.write(Region.TAPE, first) == Result.OK
    assert host.write(Region.TAPE + 256, second) == Result.OK


@pytest.mark.parametrize(("first", "second"), [((1, 20), (5, 20)), ((7, 3), (1, 30)),
                                               ((2, 30), (9, 4))])
def test_two_sequences_are_as_each_alone(loaded: Host, first: tuple[int, int],
                                         second: tuple[int, int]) -> None:
    """Prompt lengths and tokens to generate; when one has ended, the other goes on."""
    prompts = [3, 1, 4, 1, 5, 9, 2][:first[0]], [2, 7, 1, 8, 2, 8, 1, 8, 2][:second[0]]
    prepare(loaded, *prompts)
    assert loaded.run(START | RunFlag.CLEAR | RunFlag.HOLD, *first) == Result.OK
    assert loaded.status()[:3] == (0, 0, 0)
    loaded.listen(2)
    assert loaded.status()[:3] == (0, 0, 0)
    assert loaded.run(START | RunFlag.CLEAR, *second, seed=5, sequence=1) == Result.OK
    loaded.listen(1)
    assert loaded.status()[:3] == (1, 1, 1)
    loaded.listen(40)
    tokens = expected_tokens(prompts[0], first[1]), expected_tokens(prompts[1], second[1], 5)
    assert loaded.events == list(enumerate(tokens[0], first[0]))
    assert loaded.second == list(enumerate(tokens[1], second[0]))
    assert loaded.read(Region.TAPE, sum(first)) == (Result.OK, prompts[0] + tokens[0])
    assert loaded.read(Region.TAPE + 256, sum(second)) == (Result.OK, prompts[1] + tokens[1])
    fed = [sum(first) - 1, sum(second) - 1]
    head = CONFIG.head(DEVICE.packing).words
    words = sum(fed) * (CONFIG.weight_words(DEVICE.packing) - head) + (first[1] + second[1]) * head
    assert loaded.status() == (0, *fed, max(fed) + 1, words, sum(fed))


def test_a_run_about_sequence_0_forgets_what_was_prepared(loaded: Host) -> None:
    prepare(loaded, [7], [8])
    loaded.run(START | RunFlag.HOLD, 1, 9, sequence=1)
    assert loaded.run(START, 1, 3) == Result.OK
    loaded.listen(12)
    assert len(loaded.events) == 3
    assert loaded.second == []
    # A prepared sequence 0 starts with the second one, and only once; STOP is about runs.
    loaded.run(START | RunFlag.HOLD, 1, 4)
    loaded.ask(Command.STOP)
    loaded.run(START, 1, 2, sequence=1)
    loaded.listen(12)
    loaded.run(START, 1, 2, sequence=1)
    loaded.listen(12)
    assert (len(loaded.events), len(loaded.second)) == (3 + 4, 2 + 2)


def test_each_sequence_keeps_its_own_state(loaded: Host) -> None:
    """Sequence 1 goes on where it was after sequence 0 has started again."""
    prepare(loaded, [7], [8])
    loaded.run(START | RunFlag.HOLD, 1, 5)
    loaded.run(START, 1, 5, seed=6, sequence=1)
    loaded.listen(7)
    loaded.write(Region.TAPE, [9])
    loaded.run(START, 1, 5)
    loaded.listen(7)
    loaded.run(RunFlag(0), 1, 5, sequence=1)
    loaded.listen(7)
    assert [token for _, token in loaded.second] == expected_tokens([8], 10, 6)
    assert [token for _, token in loaded.events[5:]] == expected_tokens([9], 5)


def test_stop_ends_both_sequences(loaded: Host) -> None:
    prepare(loaded, [7], [8])
    loaded.run(START | RunFlag.HOLD, 1, 200)
    loaded.run(START, 1, 200, sequence=1)
    loaded.listen(5)
    assert loaded.ask(Command.STOP) == (Result.OK, b"")
    loaded.listen(3)
    running, *positions = loaded.status()[:3]
    assert running == 0
    assert set(positions) <= {5, 6}
    assert (len(loaded.events), len(loaded.second)) == (5, 5)


def test_a_device_with_one_sequence() -> None:
    host = Host()
    host.device = ReferenceTransport(replace(DEVICE, sequences=1))
    host.load(MODEL)
    assert host.write(Region.TAPE, [7]) == Result.OK
    assert host.run(START, 1, 5, sequence=1) == Result.BAD_LENGTH
    assert host.run(START, 1, 5) == Result.OK
    host.listen(7)
    assert [token for _, token in host.events] == expected_tokens([7], 5)
    assert host.status()[:2] == (0, 5)


def test_damaged_frames_get_no_answer(host: Host, rng: np.random.Generator) -> None:
    wire = bytearray(encode_frame(Frame(1, Command.STATUS)))
    wire[2] ^= 1 << rng.integers(8)
    host.device.write(bytes(wire))
    assert host.device.read(0) == b""
    assert host.status()[0] == 0


def test_a_state_outlives_that_a_table_is_written_again() -> None:
    tokens = []
    for again in (False, True):
        host = Host()
        host.load(MODEL)
        host.write(Region.TAPE, [3, 1, 4])
        assert host.run(RunFlag.RESET | RunFlag.SEED, 2, 0) == Result.OK
        host.listen(2)
        if again:
            gumbel = dict(compile_image(MODEL, DEVICE).segments)[Region.GUMBEL].tolist()
            host.write(Region.GUMBEL, gumbel[:9])
        host.events.clear()
        assert host.run(RunFlag(0), 1, 5) == Result.OK
        host.listen(5)
        tokens.append(list(host.events))
    assert tokens[0] == tokens[1] != []


@pytest.mark.parametrize("name", board_names())
def test_a_host_understands_the_identity_of_every_board(name: str) -> None:
    device = board_device(name)
    with Board(ReferenceTransport(device)) as board:
        found = board.identity.device
    # Where the weights lie does not matter to the host.
    for size in ("lanes", "trits", *SIZES):
        assert getattr(found, size) == getattr(device, size)
