"""The driver, against the emulated device behind links of every kind of badness."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import (
    ADDRESS,
    EVENT,
    IDENTITY,
    MAX_WORDS,
    PROTOCOL_VERSION,
    RESPONSE,
    RUN,
    WORD_BYTES,
    Command,
    Region,
    Result,
    RunFlag,
    status_struct,
)
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw import api
from trilight.sw.errors import (
    DeviceError,
    ModelDoesNotFitError,
    ModelFileError,
    NoResponseError,
    PromptError,
    ReportError,
    UnknownCharacterError,
    WrongDeviceError,
    WrongTokenError,
)
from trilight.sw.host import session as runs
from trilight.sw.host.driver import Board
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.host.frames import Frame, FrameReader, encode_frame
from trilight.sw.host.link import ATTEMPTS, TIMEOUT_S, Link, Request
from trilight.sw.host.loader import RECOVERIES
from trilight.sw.host.transport import Transport
from trilight.sw.model.model import Model
from trilight.sw.reference.continuation import continue_text

DEVICE = board_device()

STATUS = status_struct(DEVICE.sequences)
CONFIG = ModelConfig(vocab_size=24, d_model=48, n_layers=2, d_hidden=90)
WORDS = CONFIG.weight_words(DEVICE.packing)
MODEL = Model.random(CONFIG, 5)
OTHER = Model.random(CONFIG, 6)
PROMPT = MODEL.decode([3, 1, 4, 1, 5])
TEMPERATURE, SEED = 4.0, 7

Change = Callable[[Frame], Sequence[Frame]]


def unchanged(frame: Frame) -> Sequence[Frame]:
    return [frame]


class Tamper(Transport):
    """Passes frames on after a change; records those that the host sends."""

    def __init__(self, to_device: Change = unchanged, from_device: Change = unchanged,
                 device: Transport | None = None) -> None:
        self.device = device or ReferenceTransport()
        self.to_device = to_device
        self.from_device = from_device
        self.sent: list[Frame] = []
        self.timeouts: list[float] = []
        self.closed = False
        self._host_reader = FrameReader()
        self._device_reader = FrameReader()

    @property
    def name(self) -> str:
        return "tampered"

    def write(self, data: bytes) -> None:
        for frame in self._host_reader.feed(data):
            self.sent.append(frame)
            for changed in self.to_device(frame):
                self.device.write(encode_frame(changed))

    def read(self, timeout_s: float) -> bytes:
        self.timeouts.append(timeout_s)
        frames = self._device_reader.feed(self.device.read(timeout_s))
        return b"".join(encode_frame(changed) for frame in frames
                        for changed in self.from_device(frame))

    def close(self) -> None:
        self.closed = True

    def commands(self) -> list[int]:
        return [frame.command for frame in self.sent]


class Noise(Transport):
    """Damages single bytes in one direction or both, at a rate that can be set."""

    def __init__(self, kind: str, directions: str, rng: np.random.Generator) -> None:
        self.device = ReferenceTransport()
        self.rate = 0.0
        self.faults = 0
        self._kind = kind
        self._directions = directions
        self._rng = rng

    @property
    def name(self) -> str:
        return "noisy"

    def write(self, data: bytes) -> None:
        self.device.write(self._damage(data) if "out" in self._directions else data)

    def read(self, timeout_s: float) -> bytes:
        data = self.device.read(timeout_s)
        return self._damage(data) if "in" in self._directions else data

    def close(self) -> None:
        pass

    def _damage(self, data: bytes) -> bytes:
        result = bytearray()
        for byte in data:
            if self._rng.random() >= self.rate:
                result.append(byte)
                continue
            self.faults += 1
            match self._kind:
                case "drop":
                    pass
                case "flip":
                    result.append(byte ^ 1 << int(self._rng.integers(8)))
                case "duplicate":
                    result += bytes((byte, byte))
                case "insert":
                    result += bytes((byte, int(self._rng.integers(256))))
        return bytes(result)


@cache
def expected(prompt: str, tokens: int, *, temperature: float = TEMPERATURE, seed: int = SEED,
             model: Model = MODEL) -> list[int]:
    return continue_text(model, prompt, tokens, seed=seed, temperature=temperature)


def generate(board: Board, prompt: str = PROMPT, tokens: int = 40, *,
             temperature: float = TEMPERATURE, seed: int = SEED) -> list[int]:
    return [token.id for token in board.generate(prompt, tokens=tokens, temperature=temperature,
                                                 seed=seed)]


def loaded(transport: Transport) -> Board:
    board = Board(transport)
    board.load(MODEL)
    return board


def text_of(length: int, rng: np.random.Generator) -> str:
    return MODEL.decode(rng.integers(0, CONFIG.vocab_size, length))


# ---- Tokens


def test_expected_tokens_vary() -> None:
    assert len(set(expected(PROMPT, 40))) > 10


@pytest.mark.parametrize(("prompt", "tokens"), [
    (1, 1), (1, 40), (2, 40), (255, 3), (256, 3), (257, 3), (258, 3), (700, 20),
    (5, 255), (5, 256), (5, 257), (250, 520),
])
def test_tokens_equal_the_reference(prompt: int, tokens: int, rng: np.random.Generator) -> None:
    board = loaded(ReferenceTransport())
    text = text_of(prompt, rng)
    assert generate(board, text, tokens) == expected(text, tokens)


def test_the_tape_is_accessed_within_its_length() -> None:
    transport = Tamper()
    board = loaded(transport)
    text = (PROMPT * 40)[:200]
    stream = board.generate(text, tokens=250, temperature=TEMPERATURE, seed=SEED)
    tokens = [next(stream).id]
    while board.status().running:
        transport.device.read(0)
    tokens += [token.id for token in stream]
    assert tokens == expected(text, 250)
    ends = []
    for frame in transport.sent:
        if frame.command not in (Command.READ, Command.WRITE):
            continue
        [address] = ADDRESS.unpack_from(frame.payload)
        if Region.of(address) == Region.TAPE:
            words = (frame.payload[ADDRESS.size] if frame.command == Command.READ
                     else (len(frame.payload) - ADDRESS.size) // WORD_BYTES)
            ends.append(address - Region.TAPE + words)
    assert max(ends) == DEVICE.tape_tokens


def test_settings_reach_the_device() -> None:
    board = loaded(ReferenceTransport())
    for temperature, seed in ((0.0, 1), (7.99, 0), (1.5, 2**32 - 1)):
        assert (generate(board, temperature=temperature, seed=seed)
                == expected(PROMPT, 40, temperature=temperature, seed=seed))


def test_tokens_carry_text_and_position() -> None:
    board = loaded(ReferenceTransport())
    tokens = list(board.generate(PROMPT, tokens=5, temperature=TEMPERATURE, seed=SEED))
    assert "".join(map(str, tokens)) == MODEL.decode(expected(PROMPT, 5))
    assert [token.position for token in tokens] == [5, 6, 7, 8, 9]


def test_tokens_come_while_the_device_runs() -> None:
    board = loaded(ReferenceTransport())
    stream = board.generate(PROMPT, tokens=100, temperature=TEMPERATURE, seed=SEED)
    next(stream)
    assert board.status().running
    assert board.status().positions[0] < len(PROMPT) + 10
    stream.close()


@pytest.mark.slow
def test_positions_wrap() -> None:
    model = Model.random(ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16), 5)
    prompt = model.decode(np.random.default_rng(1).integers(0, 16, 0x10000 - 300))
    board = Board(ReferenceTransport())
    board.load(model)
    assert generate(board, prompt, 700) == expected(prompt, 700, model=model)


# ---- Loading


def test_load_writes_and_verifies_every_unit() -> None:
    transport = Tamper()
    board = Board(transport)
    steps: list[tuple[int, int]] = []
    board.load(MODEL, verify=True, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert all(isinstance(count, int) for step in steps for count in step), "units are counted"
    assert transport.commands().count(Command.READ) == (
        -(-4 * WORDS // MAX_WORDS) + 2), "and the CRC, before and after"


def test_a_model_is_loaded_once() -> None:
    transport = Tamper()
    board = loaded(transport)
    writes = transport.commands().count(Command.WRITE)
    board.load(Model.random(CONFIG, 5))
    assert transport.commands().count(Command.WRITE) == writes
    board.load(OTHER)
    assert transport.commands().count(Command.WRITE) == 2 * writes
    assert generate(board, PROMPT, 9) == expected(PROMPT, 9, model=OTHER)


def test_verify_finds_a_changed_weight() -> None:
    """Whenever they are written; the driver tries more than once."""
    address = MAX_WORDS
    loads = 0

    def flip(frame: Frame) -> Sequence[Frame]:
        nonlocal loads
        if frame.command == Command.WRITE and frame.payload.startswith(
                ADDRESS.pack(address)):
            loads += 1
            return [replace(frame, payload=frame.payload[:-1] + bytes((frame.payload[-1] ^ 1,)))]
        return [frame]

    board = Board(Tamper(to_device=flip))
    with pytest.raises(DeviceError, match=f"holds other weights at {address:#x} than were written"):
        board.load(MODEL, verify=True)
    assert loads == RECOVERIES + 1
    with pytest.raises(DeviceError, match=r"^no model is loaded"):
        board.generate(PROMPT, tokens=1)


def test_an_interrupted_load_is_done_again() -> None:
    board = loaded(ReferenceTransport())

    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        board.load(OTHER, progress=interrupt)
    with pytest.raises(DeviceError, match=r"^no model is loaded"):
        board.generate(PROMPT, tokens=1)
    board.load(MODEL)
    assert generate(board) == expected(PROMPT, 40)


@pytest.mark.parametrize(("device", "text"), [
    (replace(DEVICE, weight_words=WORDS - 1),
     f"weight words: {WORDS:,} needed, {WORDS - 1:,} present"),
    (replace(DEVICE, max_rows=100), r"rows, 3 \* d_model: 144 needed, 100 present"),
    (replace(DEVICE, max_rows=150), r"rows, 2 \* d_hidden: 180 needed, 150 present"),
    (replace(DEVICE, max_columns=47), "columns, d_model: 48 needed, 47 present"),
    (replace(DEVICE, max_columns=80), "columns, d_hidden: 90 needed, 80 present"),
    (replace(DEVICE, max_channels=95), r"channels, d_model \* n_layers: 96 needed, 95 present"),
    (replace(DEVICE, program_words=64, max_vocab=64), "program words: 76 needed, 64 present"),
    (replace(DEVICE, max_vocab=23), "tokens, vocab_size: 24 needed, 23 present"),
])
def test_too_large_in_each_dimension(device: Device, text: str) -> None:
    transport = Tamper(device=ReferenceTransport(device))
    board = Board(transport)
    before = len(transport.sent)
    with pytest.raises(ModelDoesNotFitError, match=text):
        board.load(MODEL)
    assert len(transport.sent) == before


def test_a_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    MODEL.save(path)
    board = Board(ReferenceTransport())
    board.load(path)
    assert generate(board) == expected(PROMPT, 40)
    path.write_bytes(path.read_bytes()[:-1])
    before = board.model
    with pytest.raises(ModelFileError):
        board.load(path)
    assert board.model is before


# ---- Bad requests


@pytest.mark.parametrize(("prompt", "settings", "error", "text"), [
    ("", {}, PromptError, "the prompt must have at least one character"),
    (PROMPT + "\u2020\u2021", {}, UnknownCharacterError, "'\u2020', '\u2021'"),
    (PROMPT, {"tokens": 0}, PromptError, "tokens must be at least 1, not 0"),
    (PROMPT, {"seed": -1}, PromptError, "seed must be"),
    (PROMPT, {"seed": 2**32}, PromptError, "seed must be"),
    (PROMPT, {"temperature": -0.1}, PromptError, "temperature must be"),
    (PROMPT, {"temperature": 8.0}, PromptError, "temperature must be"),
    (PROMPT, {"temperature": float("nan")}, PromptError, "temperature must be"),
])
def test_bad_requests_are_refused_at_once(prompt: str, settings: dict[str, float],
                                          error: type[Exception], text: str) -> None:
    transport = Tamper()
    board = loaded(transport)
    before = len(transport.sent)
    with pytest.raises(error, match=text):
        board.generate(prompt, **{"tokens": 1, **settings})
    assert len(transport.sent) == before


def test_a_model_is_needed() -> None:
    board = Board(ReferenceTransport())
    with pytest.raises(DeviceError, match=r"^no model is loaded"):
        board.generate("A", tokens=1)
    with pytest.raises(ReportError, match="nothing to report yet"):
        api.report(board)


# ---- Wrong devices


def answering(command: int, change: Callable[[bytes], bytes]) -> Change:
    """Changes the payload of the answers to a command."""
    def from_device(frame: Frame) -> Sequence[Frame]:
        wanted = frame.command == command | RESPONSE
        return [replace(frame, payload=change(frame.payload)) if wanted else frame]

    return from_device


@pytest.mark.parametrize(("change", "text"), [
    (lambda payload: b"\0LIRT" + payload[5:], "it calls itself b'LIRT', not b'TRIL'"),
    (lambda payload: b"\0", "it calls itself b'', not b'TRIL'"),
    (lambda payload: payload[:5] + b"\1" + payload[6:],
     f"speaks protocol version 1 .* version {PROTOCOL_VERSION}"),
    (lambda payload: payload + b"\0",
     (f"speaks protocol version {PROTOCOL_VERSION} in {IDENTITY.size + 1} bytes.* in "
     f"{IDENTITY.size};")),
    (lambda payload: payload[:5], "speaks protocol version None"),
    (lambda payload: bytes((Result.BAD_COMMAND,)), "does not know IDENTIFY"),
])
def test_wrong_device(change: Callable[[bytes], bytes], text: str) -> None:
    with pytest.raises(WrongDeviceError, match=text):
        Board(Tamper(from_device=answering(Command.IDENTIFY, change)))


def test_an_old_chip_is_named_and_refused() -> None:
    """IDENTITY of protocol version 3 had sizes of 16 bits."""
    old = struct.pack("<4sBBHIHHHHHHHH", b"TRIL", 3, 40, 0, 0, 0, 16384, 512, 256, 512, 256, 256,
                      256)
    transport = Tamper(from_device=answering(Command.IDENTIFY, lambda _: b"\0" + old))
    with pytest.raises(WrongDeviceError, match=(
            r"speaks protocol version 3 in .* and this program version 4 in .*; flash the "
            r"bitstream of this release, or install the release of that bitstream")):
        Board(transport)


def test_no_answer_is_asked_often_enough() -> None:
    transport = Tamper(from_device=lambda frame: [])
    with pytest.raises(NoResponseError, match=r"^no answer from tampered"):
        Board(transport)
    assert transport.commands() == [Command.IDENTIFY] * ATTEMPTS


def test_an_answer_that_stops_coming() -> None:
    transport = Tamper()
    board = loaded(transport)
    stream = board.generate(PROMPT, tokens=40)
    next(stream)
    transport.from_device = lambda frame: []
    with pytest.raises(NoResponseError, match=f"no longer answers .STATUS sent {ATTEMPTS} times"):
        list(stream)
    transport.device, transport.from_device = ReferenceTransport(), unchanged
    assert generate(board) == expected(PROMPT, 40)


def test_open_board_gives_back_what_it_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = Tamper(from_device=lambda frame: [])
    monkeypatch.setattr(api, "open_transport", lambda *_, **__: transport)
    with pytest.raises(NoResponseError):
        api.open_board("anything")
    assert transport.closed


def test_a_status_of_another_size() -> None:
    with pytest.raises(DeviceError, match=r"STATUS must answer 15 bytes, or 2 more .*, not 3"):
        Board(Tamper(from_device=answering(Command.STATUS, lambda payload: bytes(4))))


def test_a_reset_during_a_run() -> None:
    """The model is loaded again, and the run is repeated; no token comes twice."""
    transport = Tamper()
    board = loaded(transport)
    stream = board.generate(PROMPT, tokens=40, temperature=TEMPERATURE, seed=SEED)
    tokens = [next(stream).id for _ in range(7)]
    transport.device = ReferenceTransport()
    assert tokens + [token.id for token in stream] == expected(PROMPT, 40)
    assert board.last_run is not None
    assert list(board.last_run.token_ids) == expected(PROMPT, 40)
    assert (board.last_run.recoveries, board.last_run.tokens) == (1, 40)
    assert generate(board) == expected(PROMPT, 40)
    assert board.last_run.recoveries == 0


def test_a_device_that_is_always_reset() -> None:
    """In each run; the driver gives up, and goes on when that is over."""
    transport = Tamper()
    board = loaded(transport)
    runs = 0

    def reset(frame: Frame) -> Sequence[Frame]:
        nonlocal runs
        if frame.command == Command.STATUS and transport.sent[-2].command == Command.RUN:
            transport.device = ReferenceTransport()
            runs += 1
        return [frame]

    transport.to_device = reset
    with pytest.raises(DeviceError, match="was the board reset"):
        generate(board)
    assert runs == RECOVERIES + 1
    transport.to_device = unchanged
    assert generate(board) == expected(PROMPT, 40)


def test_a_reset_between_two_runs() -> None:
    transport = Tamper()
    board = loaded(transport)
    for _ in range(3):
        transport.device = ReferenceTransport()
        assert generate(board) == expected(PROMPT, 40)
        assert generate(board) == expected(PROMPT, 40)


def test_a_reset_that_the_check_of_the_weights_does_not_see() -> None:
    """The model fills the memory, which keeps its weights: they are right, and all else is gone."""
    full = replace(DEVICE, weight_words=WORDS)
    transport = Tamper(device=ReferenceTransport(full))
    board = loaded(transport)
    for _ in range(2):
        before = transport.device
        assert isinstance(before, ReferenceTransport)
        transport.device = ReferenceTransport(full)
        transport.device._memory.weights[:] = before._memory.weights
        board._check.confirm()
        assert generate(board) == expected(PROMPT, 40)
        assert board.last_run is not None
        assert board.last_run.recoveries == 1


def test_a_reset_while_a_model_is_loaded() -> None:
    """Before each of the writes in turn: what had been written is lost, and all is written again.
    """
    small = Model.random(ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16), 5)
    prompt = small.decode([1, 2, 3])
    whole = Tamper()
    Board(whole).load(small)
    writes = whole.commands().count(Command.WRITE)
    assert writes > 10
    for reset_at in range(1, writes + 1):
        transport = Tamper()

        def reset(frame: Frame, transport: Tamper = transport, at: int = reset_at
                  ) -> Sequence[Frame]:
            if transport.commands().count(Command.WRITE) == at and frame.command == Command.WRITE:
                transport.device = ReferenceTransport()
            return [frame]

        transport.to_device = reset
        board = Board(transport)
        board.load(small)
        transport.to_device = unchanged
        # Answers that went with the reset are asked for again.
        assert transport.commands().count(Command.WRITE) >= (2 if reset_at > 1 else 1) * writes
        assert generate(board, prompt, 9) == expected(prompt, 9, model=small)


def test_another_host_between_two_runs() -> None:
    """It leaves its own model; with as many tokens run, nothing else tells."""
    device = ReferenceTransport()
    board = loaded(device)
    assert generate(board) == expected(PROMPT, 40)
    other = Board(device)
    other.load(OTHER)
    assert generate(other) == expected(PROMPT, 40, model=OTHER)
    assert generate(board) == expected(PROMPT, 40)


def test_another_device_in_its_place() -> None:
    transport = Tamper()
    board = loaded(transport)
    transport.device = ReferenceTransport(replace(DEVICE, sequences=1))
    with pytest.raises(WrongDeviceError, match="another device than before"):
        generate(board)


@pytest.mark.parametrize("position", [9, len(PROMPT) + 39], ids=["in between", "last token"])
def test_a_token_that_was_damaged_on_its_way(position: int) -> None:
    """Its frame was valid, so it has been given out; that does not stay unsaid."""
    once = True

    def damage(frame: Frame) -> Sequence[Frame]:
        nonlocal once
        if once and frame.command == EVENT and frame.payload[0] == position:
            once = False
            return [replace(frame, payload=frame.payload[:2] + bytes((frame.payload[2] ^ 1, 0)))]
        return [frame]

    transport = Tamper()
    board = loaded(transport)
    transport.from_device = damage
    with pytest.raises(WrongTokenError, match=r"came as .* when it was generated again"):
        generate(board)
    assert generate(board) == expected(PROMPT, 40)


@pytest.mark.parametrize("kept", [Command.WRITE, Command.RUN])
def test_a_request_that_comes_late(kept: Command) -> None:
    """A frame of the last generation comes again after the next prompt: it puts another prompt in
    its place, or runs and generates over it. The tape tells.
    """
    late: list[Frame] = []
    released = False

    def keep(frame: Frame) -> Sequence[Frame]:
        nonlocal released
        if not late and frame.command == kept:
            late.append(frame)
        elif ready and not released and frame.command == Command.RUN:
            released = True
            transport.device.write(encode_frame(late[0]))
            while transport.device.read(0):
                pass
        return [frame]

    ready = False
    transport = Tamper()
    board = loaded(transport)
    transport.to_device = keep
    first = PROMPT[::-1][:3] if kept == Command.WRITE else PROMPT[:1]
    assert generate(board, first, 9) == expected(first, 9)
    # The device still knows the last RUN, and would not execute that one again.
    assert generate(board) == expected(PROMPT, 40)
    ready = True
    assert generate(board) == expected(PROMPT, 40)
    assert released
    assert board.last_run is not None
    assert board.last_run.recoveries == 1


def late_write(same: bool, held: bool) -> tuple[Board, list[int]]:
    """A generation after which a WRITE of before comes a second time, in the place of a token whose
    event is lost; the answer to that WRITE is lost too.

    Parameters
    ----------
    same : bool
        Write what is there already; else another token.
    held : bool
        The WRITE is older than a late frame can be.
    """
    tokens, place = expected(PROMPT, 40), 39
    old = tokens[place] if same else (tokens[place] + 1) % len(MODEL.vocab)
    ready = released = False

    def lose(frame: Frame) -> Sequence[Frame]:
        last = frame.command == EVENT and frame.payload[0] == len(PROMPT) + place
        return [] if ready and last and not released else [frame]

    def late(frame: Frame) -> Sequence[Frame]:
        nonlocal released
        if ready and not released and frame.command == Command.READ and not device.running and (
                ADDRESS.unpack_from(frame.payload)[0] == Region.TAPE + len(PROMPT) + place):
            released = True
            word = ADDRESS.pack(Region.TAPE + len(PROMPT) + place) + bytes([old, 0])
            device.write(encode_frame(Frame(77, Command.WRITE, word)))
            while device.read(0):
                pass
        return [frame]

    device = ReferenceTransport()
    transport = Tamper(late, lose, device)
    board = loaded(transport)
    # A prompt that ends where this generation's last token will be.
    longer = (PROMPT * 20)[:len(PROMPT) + place] + MODEL.vocab[old]
    generate(board, longer, 2)
    if held:
        clock = transport.now
        transport.now = lambda: clock() + runs.LATE_S + 1  # type: ignore[method-assign]
    ready = True
    got = generate(board)
    assert released
    return board, got


@pytest.mark.parametrize("same", [True, False])
def test_a_write_that_comes_late_over_a_token_that_was_lost(same: bool) -> None:
    """No frame tells of it, so a token that was written in its place before is not believed."""
    board, got = late_write(same, held=False)
    assert got == expected(PROMPT, 40)
    assert board.last_run is not None
    assert board.last_run.recoveries == 1


def test_a_slow_line_that_drops_events() -> None:
    """A token equal to one that was written in its place before is then got by a run of its own."""
    tokens = expected(PROMPT, 40)
    alone = False

    def watch(frame: Frame) -> Sequence[Frame]:
        nonlocal alone
        if frame.command == Command.RUN:
            alone = RUN.unpack(frame.payload)[3] == 1
        return [frame]

    def drop(frame: Frame) -> Sequence[Frame]:
        return [frame] if alone or frame.command != EVENT else []

    board = loaded(Tamper(watch, drop, ReferenceTransport()))
    longer = PROMPT + "".join(MODEL.vocab[token] for token in tokens)
    generate(board, longer, 2)
    assert generate(board) == tokens
    assert board.last_run is not None
    assert board.last_run.recoveries == 1
    # The next text is generated in one run again.
    assert generate(board, longer, 2) == expected(longer, 2)


def test_a_write_is_not_late_for_ever() -> None:
    board, got = late_write(same=True, held=True)
    assert got == expected(PROMPT, 40)
    assert board.last_run is not None
    assert board.last_run.recoveries == 0


def test_a_lost_token_is_believed_while_the_device_runs() -> None:
    """Nothing is written during a run, so what is read then is what was generated."""
    def lose(frame: Frame) -> Sequence[Frame]:
        return [] if frame.command == EVENT and frame.payload[0] == len(PROMPT) + 5 else [frame]

    board = loaded(Tamper(from_device=lose))
    tokens = expected(PROMPT, 40)
    longer = (PROMPT * 20)[:len(PROMPT) + 5] + MODEL.vocab[tokens[5]]
    generate(board, longer, 2)
    assert generate(board) == tokens
    assert board.last_run is not None
    assert board.last_run.recoveries == 0


@pytest.mark.parametrize("answered", [True, False])
def test_a_run_that_comes_late_with_another_seed(answered: bool) -> None:
    """Between prompt and tokens, for a prompt as long as its own: only the seed is another."""
    late: list[Frame] = []
    ready = released = False

    def keep(frame: Frame) -> Sequence[Frame]:
        nonlocal released
        if frame.command == Command.RUN:
            if not late:
                late.append(frame)
            elif ready and not released and not frame.payload[0] & RunFlag.RESET:
                released = True
                device.write(encode_frame(late[0]))
                answers = device.read(0)
                while device.running:
                    device.read(0)
                extra.extend(FrameReader().feed(answers) if answered else [])
        return [frame]

    def add(frame: Frame) -> Sequence[Frame]:
        added = [*extra, frame]
        extra.clear()
        return added

    extra: list[Frame] = []
    device = ReferenceTransport()
    transport = Tamper(from_device=add, device=device)
    board = loaded(transport)
    transport.to_device = keep
    other = PROMPT[::-1]
    assert generate(board, other, seed=SEED + 1) == expected(other, 40, seed=SEED + 1)
    ready = True
    assert generate(board) == expected(PROMPT, 40)
    assert released
    assert board.last_run is not None
    assert board.last_run.recoveries == answered


def test_a_reset_during_the_prompt() -> None:
    transport = Tamper()
    board = loaded(transport)

    def reset(frame: Frame) -> Sequence[Frame]:
        if frame.command == Command.STATUS and transport.sent[-2].command == Command.RUN:
            transport.device = ReferenceTransport()
        return [frame]

    transport.to_device = reset
    with pytest.raises(DeviceError, match="fed 0 tokens up to position 0, not 4 up to 4; was the"):
        generate(board)


def test_after_a_failure_that_the_check_of_the_weights_does_not_see_all_is_loaded_again() -> None:
    """A token that no vocabulary has: tables or program may have changed."""
    spoilt: list[Frame] = []

    def spoil(frame: Frame) -> Sequence[Frame]:
        if spoilt or frame.command != EVENT:
            return [frame]
        spoilt.append(frame)
        token = CONFIG.vocab_size.to_bytes(2, "little")
        return [replace(frame, payload=frame.payload[:-2] + token)]

    transport = Tamper(from_device=spoil)
    board = loaded(transport)
    writes = [frame for frame in transport.sent if frame.command == Command.WRITE]
    transport.sent.clear()
    assert generate(board) == expected(PROMPT, 40)
    assert spoilt
    again = [frame for frame in transport.sent if frame.command == Command.WRITE]
    assert {frame.payload for frame in writes} <= {frame.payload for frame in again}
    assert board.last_run is not None
    assert board.last_run.recoveries == 1


def test_after_a_link_that_failed_all_is_loaded_again() -> None:
    transport = Tamper()
    board = loaded(transport)
    loads = transport.commands().count(Command.WRITE)
    stream = board.generate(PROMPT, tokens=300, temperature=TEMPERATURE, seed=SEED)
    next(stream)
    transport.from_device = lambda frame: []
    with pytest.raises(NoResponseError):
        list(stream)
    transport.from_device = unchanged
    transport.sent.clear()
    assert generate(board) == expected(PROMPT, 40)
    assert transport.commands().count(Command.WRITE) > loads


def test_a_run_that_fed_other_tokens() -> None:
    def miscount(payload: bytes) -> bytes:
        running, cycles, words, tokens, *positions = STATUS.unpack(payload[1:])
        return payload[:1] + STATUS.pack(running, cycles, words, max(tokens - 1, 0), *positions)

    transport = Tamper()
    board = loaded(transport)
    transport.from_device = answering(Command.STATUS, miscount)
    with pytest.raises(DeviceError, match="fed 39 tokens up to position 40, not 40 up to 40"):
        generate(board, PROMPT[0])


def test_a_device_that_is_stuck() -> None:
    """It says that it runs, and never gets any further."""
    frozen: list[bytes] = []

    def freeze(payload: bytes) -> bytes:
        return frozen[0] if frozen else payload

    transport = Tamper()
    board = loaded(transport)
    stream = board.generate(PROMPT, tokens=40)
    next(stream)
    status = board.status()
    frozen.append(bytes((Result.OK,)) + STATUS.pack(1, 0, 0, 0, *status.positions))
    transport.from_device = lambda frame: (
        [] if frame.command == EVENT else answering(Command.STATUS, freeze)(frame))
    with pytest.raises(DeviceError, match=f"stuck at position {status.positions[0]}"):
        list(stream)
    with pytest.raises(DeviceError, match="does not stop"):
        board.stop()


def test_a_prompt_that_never_ends() -> None:
    running = bytes((Result.OK,)) + STATUS.pack(1, 0, 0, 0, 2, 0)
    transport = Tamper()
    board = loaded(transport)

    def to_device(frame: Frame) -> Sequence[Frame]:
        if frame.command == Command.RUN:
            transport.from_device = answering(Command.STATUS, lambda payload: running)
        return [frame]

    transport.to_device = to_device
    with pytest.raises(DeviceError, match="stuck at position 2"):
        generate(board)


# ---- Frames lost, doubled, late


def test_lost_answers_do_not_run_twice() -> None:
    """Each answer is lost once; the RUN that was executed must not be executed again."""
    lost: set[tuple[int, int]] = set()

    def lose_once(frame: Frame) -> Sequence[Frame]:
        key = (frame.command, frame.sequence)
        if frame.command == EVENT or key in lost:
            return [frame]
        lost.add(key)
        return []

    transport = Tamper()
    board = loaded(transport)
    transport.from_device = lose_once
    assert generate(board, PROMPT, 300) == expected(PROMPT, 300)
    assert board.last_run is not None
    assert board.last_run.tokens == 300
    assert board.last_run.repeats >= 6
    runs = [frame for frame in transport.sent if frame.command == Command.RUN]
    # The prompt and two pieces of generation, each sent twice under one number.
    assert len(runs) == 6
    assert len({frame.sequence for frame in runs}) == 3


def test_lost_requests() -> None:
    seen: set[tuple[int, int, bytes]] = set()

    def lose_once(frame: Frame) -> Sequence[Frame]:
        key = (frame.command, frame.sequence, frame.payload)
        if key in seen:
            return [frame]
        seen.add(key)
        return []

    board = loaded(Tamper(to_device=lose_once))
    assert generate(board) == expected(PROMPT, 40)


def test_answers_to_a_former_host_are_ignored() -> None:
    """They carry numbers that are in use, but answer other commands, or nothing at all.

    Only an answer to another RUN is not ignored: that one may have been executed.
    """
    def precede(frame: Frame) -> Sequence[Frame]:
        other = Command.STOP if frame.command != Command.STOP | RESPONSE else Command.STATUS
        return [replace(frame, command=other | RESPONSE, payload=bytes((Result.BUSY,))),
                replace(frame, payload=b""),
                *([] if frame.command == Command.RUN | RESPONSE else
                  [replace(frame, sequence=frame.sequence ^ 0x80)]),
                frame]

    board = loaded(Tamper(from_device=precede))
    assert generate(board) == expected(PROMPT, 40)


def test_a_lost_write_is_repeated_without_a_wait() -> None:
    """The answer to a later one tells."""
    lost: list[Frame] = []

    def lose_one(frame: Frame) -> Sequence[Frame]:
        if frame.command == Command.WRITE and frame.payload[1] == 2 and not lost:
            lost.append(frame)
            return []
        return [frame]

    class Impatient(Tamper):
        def read(self, timeout_s: float) -> bytes:
            data = super().read(timeout_s)
            assert data, "waited in vain"
            return data

    transport = Impatient(to_device=lose_one)
    Board(transport).load(MODEL, verify=True)
    assert transport.sent.count(lost[0]) == 2


def test_how_many_requests_are_on_their_way() -> None:
    """Several writes; a read alone, for what comes during its long answer is dropped."""
    maximum = {Command.WRITE: 0, Command.READ: 0}
    waiting = 0

    def ask(frame: Frame) -> Sequence[Frame]:
        nonlocal waiting
        waiting += 1
        if frame.command in maximum:
            maximum[Command(frame.command)] = max(maximum[Command(frame.command)], waiting)
        return [frame]

    def answer(frame: Frame) -> Sequence[Frame]:
        nonlocal waiting
        waiting -= 1
        return [frame]

    Board(Tamper(ask, answer)).load(MODEL, verify=True)
    assert maximum == {Command.WRITE: 4, Command.READ: 1}


def test_doubled_frames() -> None:
    board = loaded(Tamper(lambda frame: [frame, frame], lambda frame: [frame, frame]))
    assert generate(board, PROMPT, 300) == expected(PROMPT, 300)
    assert board.last_run is not None
    assert board.last_run.tokens == 300


@pytest.mark.parametrize("kept", [0, 3, 50])
def test_lost_events_are_read_from_the_tape(kept: int) -> None:
    """Only every so many events arrive, or none."""
    events = 0

    def lose(frame: Frame) -> Sequence[Frame]:
        nonlocal events
        if frame.command != EVENT:
            return [frame]
        events += 1
        return [frame] if kept and events % kept == 0 else []

    board = loaded(Tamper(from_device=lose))
    assert generate(board, PROMPT, 300) == expected(PROMPT, 300)


def test_late_events_of_a_run_that_was_stopped() -> None:
    """They name positions that the next run generates too."""
    late: list[Frame] = []

    def delay(frame: Frame) -> Sequence[Frame]:
        if frame.command == EVENT:
            late.append(frame)
            return []
        held, late[:] = list(late), []
        return [frame, *held]

    transport = Tamper()
    board = loaded(transport)
    stream = board.generate(PROMPT[:2], tokens=100, temperature=TEMPERATURE, seed=SEED)
    next(stream)
    transport.from_device = delay
    for _ in range(10):
        assert transport.read(0) == b""
    stream.close()
    assert late == []
    assert generate(board) == expected(PROMPT, 40)


def test_events_do_not_pile_up_unread() -> None:
    """A host that is slow to take its tokens gets all of them nevertheless."""
    device = ReferenceTransport()
    board = loaded(device)
    stream = board.generate(PROMPT, tokens=300, temperature=TEMPERATURE, seed=SEED)
    tokens = [next(stream).id]
    while board.status().running:
        device.read(0)
    tokens += [token.id for token in stream]
    assert tokens == expected(PROMPT, 300)


@pytest.mark.parametrize("directions", ["out", "in", "out in"])
@pytest.mark.parametrize("kind", ["drop", "flip", "duplicate", "insert"])
def test_noise(kind: str, directions: str, rng: np.random.Generator) -> None:
    transport = Noise(kind, directions, rng)
    transport.rate = 0.0005
    board = Board(transport)
    board.load(MODEL, verify=True)
    transport.rate = 0.01
    for seed in range(3):
        assert generate(board, PROMPT, 60, seed=seed) == expected(PROMPT, 60, seed=seed)
    assert transport.faults > 10


# ---- Stopping


def test_closing_stops_the_device() -> None:
    board = loaded(ReferenceTransport())
    stream = board.generate(PROMPT, tokens=200, temperature=TEMPERATURE, seed=SEED)
    first = [next(stream).id for _ in range(10)]
    stream.close()
    assert not board.status().running
    assert board.last_run is not None
    assert list(board.last_run.token_ids) == first == expected(PROMPT, 10)
    assert board.last_run.tokens in (10, 11, 12)
    assert generate(board) == expected(PROMPT, 40)


@pytest.mark.parametrize("method", ["read", "write"])
def test_ctrl_c_at_any_moment(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted at each read in turn, or in the middle of each frame that is sent."""
    device = ReferenceTransport()
    board = loaded(device)
    whole = getattr(device, method)
    moment = 0
    while True:
        left = moment

        def interrupted(argument: bytes | float) -> bytes | None:
            nonlocal left
            left -= 1
            if left == -1:
                if isinstance(argument, bytes):
                    whole(argument[:len(argument) // 2])
                raise KeyboardInterrupt
            result: bytes | None = whole(argument)
            return result

        monkeypatch.setattr(device, method, interrupted)
        try:
            assert generate(board, PROMPT, 6) == expected(PROMPT, 6)
            break
        except KeyboardInterrupt:
            moment += 1
        finally:
            monkeypatch.setattr(device, method, whole)
        assert not board.status().running
        assert generate(board, PROMPT, 6) == expected(PROMPT, 6)
    assert moment > 5


def test_a_new_generation_ends_the_old_one() -> None:
    board = loaded(ReferenceTransport())
    old = board.generate(PROMPT, tokens=200)
    next(old)
    new = board.generate(PROMPT, tokens=20, temperature=TEMPERATURE, seed=SEED)
    tokens = [next(new).id]
    with pytest.raises(DeviceError, match=r"^this generation ended"):
        next(old)
    tokens += [token.id for token in new]
    assert tokens == expected(PROMPT, 20)


def test_an_old_generation_does_not_stop_a_new_one() -> None:
    board = loaded(ReferenceTransport())
    old = board.generate(PROMPT, tokens=200)
    next(old)
    new = board.generate(PROMPT, tokens=20, temperature=TEMPERATURE, seed=SEED)
    tokens = [next(new).id]
    old.close()
    tokens += [token.id for token in new]
    assert tokens == expected(PROMPT, 20)


def test_a_host_that_vanished() -> None:
    """It left a run going and half a frame; the next host uses the same sequence numbers."""
    device = ReferenceTransport()
    first = loaded(device)
    next(first.generate(PROMPT, tokens=200))
    first._generation += 1
    device.write(encode_frame(Frame(77, Command.WRITE, bytes(50)))[:20])
    second = Board(device)
    assert not second.status().running
    second.load(MODEL)
    assert generate(second) == expected(PROMPT, 40)


def test_the_first_run_of_a_host_is_no_repeat() -> None:
    """Two hosts in turn send as many frames, and so a RUN each under the same number."""
    device = ReferenceTransport()
    for seed in (1, 2):
        tokens = generate(loaded(device), PROMPT[0], 9, seed=seed)
        assert tokens == expected(PROMPT[0], 9, seed=seed)


def test_sequence_numbers_of_runs() -> None:
    """A RUN under the number of the RUN before would not be executed; 0 belongs to new hosts."""
    def accept(frame: Frame) -> Sequence[Frame]:
        return [replace(frame, command=transport.sent[-1].command | RESPONSE)]

    for between in range(250, 260):
        transport = Tamper(lambda frame: [replace(frame, command=Command.STATUS)], accept)
        link = Link(transport)
        for command in (Command.RUN, *[Command.STATUS] * between, Command.RUN):
            link.request(Request(command))
        first, *middle, last = [frame.sequence for frame in transport.sent]
        assert first != last
        assert 0 not in (first, *middle, last)


# ---- Several prompts


def many(board: Board, prompts: Sequence[str], tokens: int | Sequence[int],
         seeds: Sequence[int] | None = None) -> list[list[int]]:
    """Tokens after each prompt."""
    generated: list[list[int]] = [[] for _ in prompts]
    for token in board.generate_many(prompts, tokens=tokens, temperature=TEMPERATURE, seeds=seeds):
        generated[token.prompt].append(token.id)
    return generated


def alone(prompts: Sequence[str], tokens: Sequence[int], seeds: Sequence[int]) -> list[list[int]]:
    """What each prompt should give, by the reference on its own."""
    return [expected(prompt, count, seed=seed)
            for prompt, count, seed in zip(prompts, tokens, seeds, strict=True)]


@pytest.mark.parametrize(("lengths", "tokens"), [
    ((1, 1), (1, 1)), ((5, 9), (40, 40)), ((9, 5), (3, 40)), ((1, 300), (40, 7)),
    ((300, 1), (300, 520)), ((600, 257), (520, 300)), ((5, 5), (257, 256)), ((4, 4, 4), (5, 9, 2)),
    ((3, 400, 1, 2, 5), (9, 8, 300, 1, 4)), ((2,), (9,)),
], ids=str)
def test_each_prompt_gets_what_it_would_get_alone(
        lengths: tuple[int, ...], tokens: tuple[int, ...], rng: np.random.Generator) -> None:
    board = loaded(ReferenceTransport())
    prompts = [text_of(length, rng) for length in lengths]
    seeds = range(7, 7 + len(prompts))
    assert many(board, prompts, tokens, seeds) == alone(prompts, tokens, seeds)
    run = board.last_run
    assert run is not None
    assert run.tokens == sum(tokens)
    assert run.words == sum(tokens) * WORDS
    assert run.sequences == min(2, len(prompts))
    assert [text.prompt for text in run.generated] == prompts
    assert [list(text.token_ids) for text in run.generated] == alone(prompts, tokens, seeds)
    assert [text.text for text in run.generated] == [
        MODEL.decode(text.token_ids) for text in run.generated]
    assert [text.seed for text in run.generated] == list(seeds)
    assert board.status().running is False


def test_prompts_take_turns() -> None:
    """Both sequences grow together, and positions are those of their own."""
    board = loaded(ReferenceTransport())
    tokens = list(board.generate_many([PROMPT, PROMPT[:2]], tokens=20, temperature=TEMPERATURE))
    for number, length in ((0, 5), (1, 2)):
        assert ([token.position for token in tokens if token.prompt == number]
                == list(range(length, length + 20)))
    halves = [sum(token.prompt == number for token in tokens[:20]) for number in (0, 1)]
    assert max(halves) - min(halves) <= 4


def test_what_was_spent_before_an_abandoned_text_counts() -> None:
    """The third prompt begins when the first two are done."""
    board = loaded(ReferenceTransport())
    stream = board.generate_many([PROMPT, PROMPT, PROMPT], tokens=[20, 20, 200])
    next(token for token in stream if token.prompt == 2)
    stream.close()
    run = board.last_run
    assert run is not None
    assert run.tokens > 2 * 20
    assert run.words > 2 * 20 * WORDS


def test_two_prompts_take_half_as_many_turns() -> None:
    """The device works on both at once: the reference feeds one token of each for each read."""
    reads = []
    for prompts in ([PROMPT], [PROMPT, PROMPT[::-1]]):
        transport = Tamper()
        board = loaded(transport)
        before = len(transport.timeouts)
        many(board, prompts, 100)
        reads.append(len(transport.timeouts) - before)
    assert reads[1] < 1.2 * reads[0]


def test_prompts_are_run_once_and_in_pairs() -> None:
    transport = Tamper()
    board = loaded(transport)
    many(board, [PROMPT[:1]] * 5, 3)
    runs = [(RunFlag(frame.payload[0]) & RunFlag.HOLD, frame.payload[1])
            for frame in transport.sent if frame.command == Command.RUN]
    assert runs == [(RunFlag.HOLD, 0), (RunFlag(0), 1)] * 2 + [(RunFlag(0), 0)]


def test_seeds_differ_unless_given() -> None:
    board = loaded(ReferenceTransport())
    prompts = [PROMPT] * 3
    assert many(board, prompts, 20) == alone(prompts, [20] * 3, range(3))
    same = many(board, prompts, 20, [4, 4, 4])
    assert same == [expected(PROMPT, 20, seed=4)] * 3


def test_one_sequence_takes_prompts_one_after_the_other(rng: np.random.Generator) -> None:
    transport = Tamper(device=ReferenceTransport(replace(DEVICE, sequences=1)))
    board = loaded(transport)
    prompts = [text_of(length, rng) for length in (4, 1, 300)]
    assert many(board, prompts, [9, 300, 5]) == alone(prompts, [9, 300, 5], range(3))
    assert board.last_run is not None
    assert board.last_run.sequences == 1
    runs = [frame.payload for frame in transport.sent if frame.command == Command.RUN]
    assert not any(run[0] & RunFlag.HOLD or run[1] for run in runs)


def test_cycles_are_over_all_prompts() -> None:
    """A device that takes 600 cycles a token with two sequences, and 1000 with one."""
    both = False

    def watch(frame: Frame) -> Sequence[Frame]:
        nonlocal both
        if frame.command == Command.RUN:
            both = bool(frame.payload[1])
        return [frame]

    def clocked(frame: Frame) -> Sequence[Frame]:
        if frame.command == Command.STATUS | RESPONSE:
            running, _, words, tokens, *positions = STATUS.unpack(frame.payload[1:])
            cycles = (600 if both else 1000) * tokens
            return [replace(frame, payload=b"\0" + STATUS.pack(
                running, cycles, words, tokens, *positions))]
        if frame.command == Command.IDENTIFY | RESPONSE:
            fields = list(IDENTITY.unpack(frame.payload[1:]))
            fields[4] = 24_000_000
            return [replace(frame, payload=b"\0" + IDENTITY.pack(*fields))]
        return [frame]

    board = loaded(Tamper(watch, clocked))
    many(board, [PROMPT, PROMPT[:3]], 50)
    run = board.last_run
    assert run is not None
    assert run.cycles == 600 * 100
    assert run.cycles_per_token == 600
    assert run.prompt_cycles == 600 * (4 + 2)
    results = api.report(board)
    assert results["cycles_per_token"] == 600
    assert results["sequences"] == 2
    assert [text["text"] for text in results["texts"]] == [text.text for text in run.generated]


def test_many_lost_requests_and_answers(rng: np.random.Generator) -> None:
    """A third of all frames, either way; those of RUN with HOLD among them."""
    def lossy(frame: Frame) -> Sequence[Frame]:
        return [frame] if rng.random() > 0.3 else []

    transport = Tamper()
    board = loaded(transport)
    transport.to_device = transport.from_device = lossy
    prompts, tokens = [PROMPT, text_of(300, rng), PROMPT[:1]], [300, 40, 70]
    assert many(board, prompts, tokens) == alone(prompts, tokens, range(3))
    assert board.last_run is not None
    assert board.last_run.repeats > 5
    assert board.last_run.tokens == sum(tokens)


def test_doubled_frames_of_two_sequences() -> None:
    board = loaded(Tamper(lambda frame: [frame, frame], lambda frame: [frame, frame]))
    prompts = [PROMPT, PROMPT[:3]]
    assert many(board, prompts, 300) == alone(prompts, [300, 300], range(2))


@pytest.mark.parametrize("lost", [{EVENT}, {EVENT + 1}, {EVENT, EVENT + 1}])
def test_lost_events_of_either_sequence_are_read_from_its_tape(lost: set[int]) -> None:
    board = loaded(Tamper(from_device=lambda frame: [] if frame.command in lost else [frame]))
    prompts, tokens = [PROMPT, PROMPT[:3]], [300, 270]
    assert many(board, prompts, tokens) == alone(prompts, tokens, range(2))


def test_every_third_event_arrives() -> None:
    events = 0

    def lose(frame: Frame) -> Sequence[Frame]:
        nonlocal events
        if not EVENT <= frame.command < RESPONSE:
            return [frame]
        events += 1
        return [frame] if events % 3 == 0 else []

    board = loaded(Tamper(from_device=lose))
    prompts, tokens = [PROMPT, PROMPT[:3]], [100, 270]
    assert many(board, prompts, tokens) == alone(prompts, tokens, range(2))


def test_events_of_a_sequence_that_does_not_run_are_ignored() -> None:
    def mislead(frame: Frame) -> Sequence[Frame]:
        other = replace(frame, command=frame.command ^ 1)
        return [other, replace(other, command=EVENT + 5), frame] if frame.command == EVENT else [
            frame]

    board = loaded(Tamper(from_device=mislead))
    assert generate(board) == expected(PROMPT, 40)


@pytest.mark.parametrize("kind", ["drop", "flip", "duplicate", "insert"])
def test_noise_on_two_sequences(kind: str, rng: np.random.Generator) -> None:
    transport = Noise(kind, "out in", rng)
    board = loaded(transport)
    transport.rate = 0.01
    prompts, tokens = [PROMPT, text_of(20, rng)], [60, 80]
    for _ in range(3):
        assert many(board, prompts, tokens) == alone(prompts, tokens, range(2))
    assert transport.faults > 10


def test_closing_stops_both_sequences() -> None:
    board = loaded(ReferenceTransport())
    prompts = [PROMPT, PROMPT[:3]]
    stream = board.generate_many(prompts, tokens=200, temperature=TEMPERATURE)
    got: list[list[int]] = [[], []]
    for _ in range(11):
        token = next(stream)
        got[token.prompt].append(token.id)
    stream.close()
    assert not board.status().running
    assert all(len(tokens) >= 4 for tokens in got)
    assert got == alone(prompts, [len(tokens) for tokens in got], range(2))
    run = board.last_run
    assert run is not None
    assert [list(text.token_ids) for text in run.generated] == got
    assert 11 <= run.tokens <= 16
    assert many(board, prompts, 20) == alone(prompts, [20, 20], range(2))


def test_ctrl_c_at_any_moment_of_two_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two RUNs too: what is prepared then must not join the next generation."""
    device = ReferenceTransport()
    board = loaded(device)
    prompts, tokens = [PROMPT[:2], PROMPT], [5, 3]
    moment = 0
    while True:
        left = moment

        def interrupting(data: bytes) -> None:
            nonlocal left
            left -= 1
            ReferenceTransport.write(device, data)
            if left == -1:
                raise KeyboardInterrupt

        monkeypatch.setattr(device, "write", interrupting)
        try:
            assert many(board, prompts, tokens) == alone(prompts, tokens, range(2))
            break
        except KeyboardInterrupt:
            moment += 1
        finally:
            monkeypatch.undo()
        assert not board.status().running
        # Sequences of which the second only has a prompt to be fed.
        following = [PROMPT[:1], PROMPT[:3]]
        assert many(board, following, 4) == alone(following, [4, 4], range(2))
        assert generate(board, PROMPT, 6) == expected(PROMPT, 6)
    assert moment > 10


def test_a_reset_while_two_sequences_run() -> None:
    transport = Tamper()
    board = loaded(transport)
    stream = board.generate_many([PROMPT, PROMPT[:3]], tokens=40, temperature=TEMPERATURE)
    next(stream)
    transport.device = ReferenceTransport()
    list(stream)
    assert board.last_run is not None
    assert [list(text.token_ids) for text in board.last_run.generated] == alone(
        [PROMPT, PROMPT[:3]], [40, 40], range(2))
    assert board.last_run.recoveries == 1
    assert many(board, [PROMPT], 9) == alone([PROMPT], [9], [0])


def test_one_text_that_is_stuck() -> None:
    """The device says that it runs, and neither sequence gets any further."""
    transport = Tamper()
    board = loaded(transport)
    stream = board.generate_many([PROMPT, PROMPT[:3]], tokens=40)
    next(stream)
    status = board.status()
    frozen = bytes((Result.OK,)) + STATUS.pack(1, 0, 0, 0, *status.positions)
    transport.from_device = lambda frame: (
        [] if EVENT <= frame.command < RESPONSE
        else answering(Command.STATUS, lambda payload: frozen)(frame))
    first, second = status.positions
    with pytest.raises(DeviceError, match=f"stuck at position {first} and {second}"):
        list(stream)


@pytest.mark.parametrize(("prompts", "settings", "error", "text"), [
    ([], {}, PromptError, r"prompts must be a list of at least one text, not \[\]"),
    ("ROMEO", {}, PromptError, "prompts must be a list of at least one text, not 'ROMEO'"),
    ([PROMPT, ""], {}, PromptError, "the prompt must have at least one character"),
    ([PROMPT, "\u2020"], {}, UnknownCharacterError, "'\u2020'"),
    ([PROMPT, PROMPT], {"seeds": [1]}, PromptError, "seeds must be 2 numbers, .* not 1"),
    ([PROMPT, PROMPT], {"tokens": [1, 2, 3]}, PromptError, "tokens must be 2 numbers, .* not 3"),
    ([PROMPT, PROMPT], {"tokens": [1, 0]}, PromptError, "tokens must be at least 1, not 0"),
    ([PROMPT, PROMPT], {"seeds": [1, -1]}, PromptError, "seed must be"),
])
def test_bad_requests_of_several_prompts(prompts: list[str], settings: dict[str, list[int]],
                                         error: type[Exception], text: str) -> None:
    transport = Tamper()
    board = loaded(transport)
    before = len(transport.sent)
    with pytest.raises(error, match=text):
        board.generate_many(prompts, **{"tokens": 1, **settings})
    assert len(transport.sent) == before


# ---- Counters and timing


def test_counters_are_of_the_generated_tokens_alone() -> None:
    """With a clock of 1000 cycles a token, and 10 more for each run."""
    runs = 0

    def clocked(frame: Frame) -> Sequence[Frame]:
        nonlocal runs
        runs += frame.command == Command.RUN | RESPONSE
        if frame.command == Command.STATUS | RESPONSE:
            running, _, words, tokens, *positions = STATUS.unpack(frame.payload[1:])
            return [replace(frame, payload=b"\0" + STATUS.pack(
                running, 1000 * tokens + 10, words, tokens, *positions))]
        if frame.command == Command.IDENTIFY | RESPONSE:
            fields = list(IDENTITY.unpack(frame.payload[1:]))
            fields[4] = 24_000_000
            return [replace(frame, payload=b"\0" + IDENTITY.pack(*fields))]
        return [frame]

    board = loaded(Tamper(from_device=clocked))
    generate(board, PROMPT, 600)
    run = board.last_run
    assert run is not None
    assert run.tokens == 600
    assert run.cycles == 600 * 1000 + 3 * 10
    assert run.cycles_per_token == run.cycles / 600
    assert run.prompt_cycles == 4 * 1000 + 10
    assert run.words == 600 * WORDS
    assert runs == 4
    assert board.identity.clock_hz == 24_000_000


def test_no_clock_no_cycles() -> None:
    board = loaded(ReferenceTransport())
    generate(board)
    assert board.last_run is not None
    assert board.last_run.cycles is None
    assert board.last_run.prompt_cycles is None
    assert board.last_run.cycles_per_token is None
    assert board.last_run.temperature == TEMPERATURE
    assert board.last_run.text == MODEL.decode(expected(PROMPT, 40))


def test_the_temperature_unless_given() -> None:
    board = loaded(ReferenceTransport())
    tokens = [token.id for token in board.generate(PROMPT, tokens=40, seed=SEED)]
    assert tokens == expected(PROMPT, 40, temperature=0.8)
    assert board.last_run is not None
    assert board.last_run.temperature == pytest.approx(0.8, abs=0.01)


def test_repeats_are_those_of_the_run() -> None:
    """Not what a run before has taken."""
    transport = Tamper()
    board = loaded(transport)
    for lost in (3, 2):
        left = [Command.RUN] * lost

        def lose(frame: Frame, left: list[Command] = left) -> Sequence[Frame]:
            if frame.command in left:
                left.remove(Command.RUN)
                return []
            return [frame]

        transport.to_device = lose
        generate(board)
        assert board.last_run is not None
        assert board.last_run.repeats == lost


def test_report_of_a_run() -> None:
    board = loaded(ReferenceTransport())
    generate(board)
    results = api.report(board)
    assert results["token_ids"] == expected(PROMPT, 40)
    assert results["target"] == "reference"
    assert results["clock_hz"] is None


def test_patience_stretches_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tamper, "timeout_scale", 3.0)
    transport = Tamper(from_device=lambda frame: [])
    with pytest.raises(NoResponseError):
        Board(transport)
    assert all(2.9 * TIMEOUT_S < timeout <= 3 * TIMEOUT_S for timeout in transport.timeouts)


def test_a_babbling_device_is_asked_nevertheless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes without meaning keep arriving during the run, and no event does."""
    monkeypatch.setattr(runs, "SILENCE_S", 0.005)

    class Babbling(Tamper):
        def read(self, timeout_s: float) -> bytes:
            return super().read(timeout_s) or b"\xc0?"

    transport = Babbling(from_device=lambda frame: [] if frame.command == EVENT else [frame])
    board = loaded(transport)
    assert generate(board) == expected(PROMPT, 40)
