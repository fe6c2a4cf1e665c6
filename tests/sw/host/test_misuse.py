"""Wrong types, numbers without bounds, boards that are closed, identities that no chip has."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trilight.hw.contract.protocol import EVENT, IDENTITY, RESPONSE, TOKEN_EVENT, Command, Result
from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.api import open_board, report
from trilight.sw.errors import (
    DeviceError,
    LinkError,
    ModelDoesNotFitError,
    ModelError,
    ModelFileError,
    PromptError,
    ReportError,
    TargetError,
    TokenError,
    TrilightError,
    WrongDeviceError,
    WrongTokenError,
)
from trilight.sw.host.driver import Board
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.host.frames import Frame, FrameReader, encode_frame
from trilight.sw.host.generation import MAX_TOKENS
from trilight.sw.model.model import Model

MODEL = Model.random(ModelConfig(vocab_size=24, d_model=48, n_layers=2, d_hidden=90), 5)
PROMPT = MODEL.decode([3, 1, 4])


@pytest.fixture
def board() -> Board:
    board = Board(ReferenceTransport())
    board.load(MODEL)
    return board


# ---- Wrong types and numbers


@pytest.mark.parametrize(("settings", "text"), [
    ({"prompt": 5}, "the prompt must be a text, not 5"),
    ({"prompt": b"R"}, "the prompt must be a text, not b'R'"),
    ({"prompt": None}, "the prompt must be a text, not None"),
    ({"prompt": ["R"]}, "the prompt must be a text"),
    ({"tokens": "5"}, "tokens must be a list of integers"),
    ({"tokens": 2.0}, "tokens must be a list of integers"),
    ({"tokens": None}, "tokens must be a list of integers"),
    ({"tokens": True}, "tokens must be an integer, not True"),
    ({"tokens": 0}, "tokens must be at least 1, not 0"),
    ({"tokens": -3}, "tokens must be at least 1, not -3"),
    ({"tokens": MAX_TOKENS + 1}, "at most 1,000,000 after a prompt, not 1,000,001"),
    ({"tokens": 10**30}, "at most 1,000,000 after a prompt"),
    ({"temperature": "hot"}, "temperature must be a number, not 'hot'"),
    ({"temperature": None}, "temperature must be a number, not None"),
    ({"temperature": float("nan")}, "temperature must be in"),
    ({"temperature": float("inf")}, "temperature must be in"),
    ({"seed": 1.5}, "seed must be an integer, not 1.5"),
    ({"seed": "7"}, "seed must be an integer, not '7'"),
    ({"seed": None}, "seed must be an integer, not None"),
    ({"seed": 2**32}, "seed must be in"),
], ids=str)
def test_a_request_of_the_wrong_kind(board: Board, settings: dict[str, Any], text: str) -> None:
    request: dict[str, Any] = {"prompt": PROMPT, "tokens": 3, "temperature": 1.0, "seed": 1}
    with pytest.raises(PromptError, match=text):
        board.generate(**{**request, **settings})


@pytest.mark.parametrize("settings", [
    {"prompts": 5}, {"prompts": None}, {"prompts": {PROMPT}}, {"prompts": [PROMPT, 5]},
    {"prompts": [PROMPT, None]}, {"tokens": [3, "4"]}, {"tokens": [3, 4.0]}, {"tokens": "34"},
    {"seeds": [1, None]}, {"seeds": 3}, {"seeds": "12"}, {"seeds": [1, 2.5]}], ids=str)
def test_requests_of_the_wrong_kind(board: Board, settings: dict[str, Any]) -> None:
    with pytest.raises(PromptError):
        board.generate_many(**{"prompts": [PROMPT, PROMPT], "tokens": 3, **settings})


def test_numbers_of_numpy_will_do(board: Board) -> None:
    plain = [token.id for token in board.generate(PROMPT, tokens=3, temperature=2, seed=7)]
    assert plain == [token.id for token in board.generate(
        PROMPT, tokens=np.int64(3), temperature=np.float32(2), seed=np.uint32(7))]


@pytest.mark.parametrize(("call", "error"), [
    (lambda board: Board("reference"), TargetError),
    (lambda board: Board(None), TargetError),
    (lambda board: open_board(5), TargetError),
    (lambda board: open_board(None), TargetError),
    (lambda board: open_board(Path("reference")), TargetError),
    (lambda board: board.load(3.5), ModelFileError),
    (lambda board: board.load(object()), ModelFileError),
    (lambda board: board.load(["a"]), ModelFileError),
    (lambda board: board.load("a\0b"), ModelFileError),
    (lambda board: board.load("."), ModelFileError),
    (lambda board: board.load(""), ModelFileError),
    (lambda board: MODEL.encode(5), ModelError),
    (lambda board: MODEL.encode(None), ModelError),
    (lambda board: MODEL.decode(["a"]), TokenError),
    (lambda board: MODEL.decode([1.0]), TokenError),
    (lambda board: report("reference"), ReportError),
    (lambda board: report(None), ReportError),
])
def test_other_calls_of_the_wrong_kind(board: Board, call: Callable[[Board], object],
                                       error: type[TrilightError]) -> None:
    with pytest.raises(error) as caught:
        call(board)
    assert len(str(caught.value)) > 20


# ---- Boards that are closed


@pytest.mark.parametrize("use", [
    lambda board: board.generate(PROMPT, tokens=3),
    lambda board: board.generate_many([PROMPT], tokens=3),
    lambda board: board.load(MODEL),
    lambda board: board.status(),
    lambda board: board.stop(),
], ids=["generate", "generate_many", "load", "status", "stop"])
def test_a_closed_board_does_nothing(board: Board, use: Callable[[Board], object]) -> None:
    board.close()
    board.close()
    with pytest.raises(LinkError, match="the board reference has been closed; open it again"):
        use(board)


def test_a_board_that_is_closed_while_it_generates(board: Board) -> None:
    stream = board.generate(PROMPT, tokens=30)
    next(stream)
    board.close()
    with pytest.raises(LinkError, match="has been closed"):
        list(stream)


def test_a_board_that_is_closed_before_the_first_token(board: Board) -> None:
    stream = board.generate(PROMPT, tokens=30)
    board.close()
    with pytest.raises(LinkError, match="has been closed"):
        next(stream)


# ---- One line each


def test_board_and_model_in_one_line(board: Board) -> None:
    shown = repr(board)
    assert re.fullmatch(r"<Board reference, 16,384 weight words, 2 sequences, model \w{12}>", shown)
    assert MODEL.sha256[:12] in shown
    board.close()
    assert repr(board).endswith(", closed>")
    assert repr(MODEL) == (f"<Model {MODEL.sha256[:12]}, {MODEL.config.ternary_weights:,} ternary "
                           "weights, vocab_size=24, d_model=48, n_layers=2, d_hidden=90>")


# ---- Identities that no chip has

FIELDS = ("magic", "version", "trits", "lanes", "clock_hz", "clocks_per_bit", "build_id",
          "weight_words", "max_rows", "max_columns", "max_channels", "program_words", "tape_tokens",
          "max_vocab", "sequences", "adaptation")

BYTES = ("trits", "sequences", "adaptation")
"""Those of them that have 8 bits."""


class Posing(ReferenceTransport):
    """The emulated device, with a field of its identity another one."""

    def __init__(self, **changes: int) -> None:
        super().__init__()
        self._changes = changes
        self._frames = FrameReader()

    def read(self, timeout_s: float) -> bytes:
        return b"".join(encode_frame(self._change(frame))
                        for frame in self._frames.feed(super().read(timeout_s)))

    def _change(self, frame: Frame) -> Frame:
        if frame.command != Command.IDENTIFY | RESPONSE:
            return frame
        said = dict(zip(FIELDS, IDENTITY.unpack(frame.payload[1:]), strict=True))
        return replace(frame, payload=bytes([Result.OK]) + IDENTITY.pack(
            *{**said, **self._changes}.values()))


@pytest.mark.parametrize("changes", [
    {"sequences": 0}, {"sequences": 3}, {"sequences": 255}, {"tape_tokens": 0},
    {"tape_tokens": 1}, {"tape_tokens": 100}, {"tape_tokens": 1 << 20}, {"weight_words": 0},
    {"weight_words": 1 << 30}, {"weight_words": 0xFFFFFFFF}, {"lanes": 0}, {"lanes": 1},
    {"lanes": 97}, {"trits": 4}, {"max_rows": 0}, {"max_rows": 1}, {"max_columns": 0},
    {"max_channels": 0},
    {"program_words": 0}, {"program_words": 10}, {"program_words": 1 << 21}, {"max_vocab": 0},
    {"max_vocab": 257}, {"max_vocab": 1 << 17}, {"adaptation": 15}, {"adaptation": 255},
], ids=json.dumps)
def test_an_identity_that_no_chip_has(changes: dict[str, int]) -> None:
    with pytest.raises(WrongDeviceError, match="says of itself what can not be"):
        Board(Posing(**changes))


@pytest.mark.parametrize("field", FIELDS[2:])
@pytest.mark.parametrize("value", [0, 1, 2, 3, 7, 255, 256, 0xFFFF])
def test_no_identity_crashes_the_driver(field: str, value: int) -> None:
    """Of any number in any field: an error of our own, or the right tokens."""
    if field in BYTES:
        value = min(value, 255)
    board = Board(ReferenceTransport())
    board.load(MODEL)
    right = [token.id for token in board.generate(PROMPT, tokens=5, temperature=2)]
    try:
        board = Board(Posing(**{field: value}))
        board.load(MODEL)
        found = [token.id for token in board.generate(PROMPT, tokens=5, temperature=2)]
    except (WrongDeviceError, ModelDoesNotFitError, DeviceError):
        return
    assert found == right


# ---- Every token of a run is compared with the tape


class Misreading(ReferenceTransport):
    """Announces one token of each run as another one, once; the tape has the right one."""

    def __init__(self, which: int) -> None:
        super().__init__()
        self.left = which
        self._frames = FrameReader()

    def read(self, timeout_s: float) -> bytes:
        out = b""
        for frame in self._frames.feed(super().read(timeout_s)):
            if EVENT <= frame.command < RESPONSE:
                self.left -= 1
                if self.left == -1:
                    position, token = TOKEN_EVENT.unpack(frame.payload)
                    frame = replace(frame, payload=TOKEN_EVENT.pack(position, token ^ 1))
            out += encode_frame(frame)
        return out


@pytest.mark.parametrize("tokens", [1, 2, 5, 255, 257])
def test_no_token_of_a_run_is_believed_unseen(tokens: int) -> None:
    """Not even the last one, which is never fed: all that were announced are on the tape."""
    for which in sorted({0, tokens // 2, tokens - 2, tokens - 1, 254, 255} & set(range(tokens))):
        board = Board(Misreading(which))
        board.load(MODEL)
        with pytest.raises(WrongTokenError, match=f"token {which} after prompt 0"):
            list(board.generate(PROMPT, tokens=tokens, temperature=2, seed=7))
