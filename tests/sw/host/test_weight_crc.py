"""The check of the weights: changed bits are found and put right, a device without end is left."""

import struct
import zlib
from collections.abc import Iterator

import pytest

from trilight.hw.contract.protocol import ADDRESS, WEIGHT_CRC, Command, Region, Result
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.errors import DeviceError, WeightsChangedError
from trilight.sw.host import weight_crc as check
from trilight.sw.host.driver import Board
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.host.frames import Frame, FrameReader, encode_frame
from trilight.sw.host.link import Link
from trilight.sw.host.weight_crc import WeightCheck
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model

DEVICE = board_device()

MODEL = Model.random(ModelConfig(vocab_size=20, d_model=24, n_layers=2, d_hidden=30), 3)
WEIGHTS = dict(compile_image(MODEL, DEVICE).segments)[Region.WEIGHTS].astype("<u2").tobytes()


class Answers(ReferenceTransport):
    """A device whose answers to a READ of the check are given."""

    def __init__(self, answers: list[bytes]) -> None:
        super().__init__()
        self._answers = iter(answers)
        self._frames = FrameReader()

    def write(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            address = int.from_bytes(frame.payload[:ADDRESS.size], "little")
            if frame.command == Command.READ and address == Region.WEIGHT_CRC:
                payload = bytes((Result.OK,)) + next(self._answers)
                self._output += encode_frame(Frame(frame.sequence, 0x80 | Command.READ, payload))
            else:
                super().write(encode_frame(frame))


@pytest.fixture
def board() -> Iterator[Board]:
    with Board(ReferenceTransport()) as board:
        board.load(MODEL)
        yield board


def flip(board: Board, byte: int, bit: int) -> None:
    """Change a bit of the device's weights behind everybody's back, during a run."""
    transport = board.transport
    assert isinstance(transport, ReferenceTransport)
    transport._memory.weights[byte // 2] ^= 1 << 8 * (byte % 2) + bit


def test_any_flipped_bit_is_found_and_the_model_loaded_again(board: Board) -> None:
    """And the generation begun again, so that its tokens are right."""
    prompt = MODEL.decode([1, 2])
    tokens = [token.id for token in board.generate(prompt, tokens=3)]
    for byte in (0, 1, 12, len(WEIGHTS) - 1):
        for bit in range(8):
            generation = board.generate(prompt, tokens=3)
            first = next(generation).id
            flip(board, byte, bit)
            assert [first, *(token.id for token in generation)] == tokens
            assert board.last_run is not None
            assert board.last_run.recoveries == 1


def test_a_bit_that_flips_between_two_generations(board: Board) -> None:
    prompt = MODEL.decode([1, 2])
    tokens = [token.id for token in board.generate(prompt, tokens=3)]
    flip(board, 5, 3)
    assert [token.id for token in board.generate(prompt, tokens=3)] == tokens
    flip(board, 5, 3)
    board.load(MODEL)
    assert [token.id for token in board.generate(prompt, tokens=3)] == tokens


def test_weights_that_always_change() -> None:
    """Loading them again does not help, so it is said."""
    class Weak(ReferenceTransport):
        def write(self, data: bytes) -> None:
            super().write(data)
            self._memory.weights[0] = 0

    with pytest.raises(WeightsChangedError, match="have changed: their CRC is"):
        Board(Weak()).load(MODEL)


def test_what_lies_behind_the_last_word_does_not_matter(board: Board) -> None:
    generation = board.generate(MODEL.decode([1, 2]), tokens=3)
    next(generation)
    flip(board, len(WEIGHTS), 0)
    assert len(list(generation)) == 2


def test_it_waits_until_the_check_is_complete() -> None:
    crc = zlib.crc32(WEIGHTS)
    transport = Answers([WEIGHT_CRC.pack(0, 0), WEIGHT_CRC.pack(0, crc), WEIGHT_CRC.pack(1, crc)])
    weight_check = WeightCheck(Link(transport))
    weight_check.expect(WEIGHTS)
    weight_check.confirm()
    with pytest.raises(StopIteration):
        next(transport._answers)


def test_a_check_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "STALLED_POLLS", 5)
    weight_check = WeightCheck(Link(Answers([WEIGHT_CRC.pack(0, 0)] * 5)))
    weight_check.expect(WEIGHTS)
    with pytest.raises(DeviceError, match="does not finish the check"):
        weight_check.confirm()


def test_an_answer_of_another_length_is_an_error() -> None:
    weight_check = WeightCheck(Link(Answers([struct.pack("<HH", 1, 2)])))
    weight_check.expect(WEIGHTS)
    with pytest.raises(DeviceError, match="must answer 6 bytes, not 4"):
        weight_check.confirm()


@pytest.mark.parametrize("weights", [b"", bytes(7), bytes(12)])
def test_weights_are_whole_words(weights: bytes) -> None:
    with pytest.raises(ValueError, match=f"whole words of 8 bytes, not {len(weights)}"):
        WeightCheck(Link(ReferenceTransport())).expect(weights)
