"""Both ends of the link: what a device makes of a host's bytes, and a host of a device's."""

from collections import deque
from collections.abc import Iterator
from copy import deepcopy
from functools import cache

from trilight.hw.contract.protocol import (
    ACCESS,
    ADDRESS,
    EVENT,
    IDENTITY,
    MAX_FRAME_BYTES,
    MIN_FRAME_BYTES,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    RESPONSE,
    RUN,
    Command,
    Region,
    Result,
    RunFlag,
    status_struct,
)
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.errors import DeviceError, LinkError, TokenError, WrongTokenError
from trilight.sw.host.driver import Board
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.host.frames import Frame, FrameReader, encode_frame
from trilight.sw.host.transport import Transport
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model

from .structure import piece, pieces
from .target import Target

__all__ = ["ANSWERS", "DEVICE"]

MODEL = Model.random(ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16), 1)
MAX_READS = 2000
"""Reads after which a host that still waits hangs."""

MAX_PAYLOAD = MAX_FRAME_BYTES - MIN_FRAME_BYTES


@cache
def _template() -> ReferenceTransport:
    device = ReferenceTransport()
    Board(device).load(MODEL)
    return device


def _loaded() -> ReferenceTransport:
    """A device of its own that the model has been loaded into."""
    device = ReferenceTransport()
    device._memory = deepcopy(_template()._memory)
    return device


# The device's end

RAW, FRAMED, READ = range(3)
"""Kinds of pieces, modulo their number: bytes as they are; sequence, command and payload of a
frame; time for the device to go on."""


def _device(data: bytes) -> None:
    """Bytes of a host at an emulated device, which has a model if the first byte is odd."""
    device = _loaded() if data[:1] and data[0] & 1 else ReferenceTransport()
    reader = FrameReader()
    for kind, content in pieces(data[1:]):
        match kind % 3:
            case 0:  # RAW
                device.write(content)
            case 1 if len(content) >= 2:  # FRAMED
                sequence, command = content[:2]
                device.write(encode_frame(Frame(sequence, command, content[2:2 + MAX_PAYLOAD])))
        for frame in reader.feed(device.read(0)):
            _check_answer(frame)
    # Whatever has come, the next frame is heard. A run may be long, but it can be stopped.
    device.write(bytes((0xC0,)) + encode_frame(Frame(7, Command.STOP)))
    for _ in range(8):
        device.read(0)
    device.write(encode_frame(Frame(8, Command.STATUS)))
    [response] = FrameReader().feed(device.read(0))
    assert (response.sequence, response.command, response.payload[:2]) == (
        8, Command.STATUS | RESPONSE, bytes((Result.OK, 0))), f"{response} after a STOP"


def _check_answer(frame: Frame) -> None:
    if frame.command & RESPONSE:
        Result(frame.payload[0])
    else:
        assert frame.sequence == 0, f"{frame}: events have sequence number 0"
        assert frame.command - EVENT in (0, 1), f"{frame} is no event"


def _device_seeds() -> Iterator[bytes]:
    def frames(*parts: tuple[int, bytes]) -> bytes:
        return b"".join(piece(FRAMED, bytes((number, command)) + payload)
                        for number, (command, payload) in enumerate(parts, 1))

    tape = ADDRESS.pack(Region.TAPE)
    begin = RunFlag.RESET | RunFlag.SEED | RunFlag.CLEAR
    yield b"\1" + frames(
        (Command.IDENTIFY, b""), (Command.WRITE, tape + bytes((1, 0, 2, 0))),
        (Command.READ, tape + b"\2"), (Command.RUN, RUN.pack(begin, 0, 2, 2, 205, 7)),
        (Command.STATUS, b""), (Command.STOP, b""))
    yield b"\1" + frames((Command.RUN, RUN.pack(begin | RunFlag.HOLD, 0, 1, 1, 0, 1)),
                         (Command.RUN, RUN.pack(begin, 1, 1, 2, 0, 1)),
                         (Command.READ, ACCESS.pack(0, 4))) + piece(READ, b"")
    yield b"\0" + frames((Command.RUN, RUN.pack(begin, 0, 1, 1, 0, 1)))
    program = ADDRESS.pack(Region.PROGRAM)
    yield b"\1" + frames((Command.WRITE, program + bytes((15, 0))),
                         (Command.RUN, RUN.pack(begin, 0, 1, 1, 0, 1)))
    yield b"\0" + piece(RAW, encode_frame(Frame(1, Command.IDENTIFY)))


DEVICE = Target(what="a host's bytes at a device (ReferenceTransport)", parse=_device,
                refusals=(DeviceError, TokenError), seeds=_device_seeds)


# The host's end

PASS, REPLACE, DROP, INSERT, TAIL = range(5)
"""Fate of a response on its way: none; another payload; it is lost; bytes come before it; other
bytes come in its place."""


class _Meddler(Transport):
    """Carries bytes to a device, and its responses back as an input says."""

    def __init__(self, device: Transport, changes: Iterator[tuple[int, bytes]]) -> None:
        self._device = device
        self.changes = changes
        self._reader = FrameReader()
        self._output: deque[bytes] = deque()
        self._reads = 0

    @property
    def name(self) -> str:
        return "meddler"

    def write(self, data: bytes) -> None:
        self._device.write(data)

    def read(self, timeout_s: float) -> bytes:
        self._reads += 1
        assert self._reads < MAX_READS, "the host waits without end"
        for frame in self._reader.feed(self._device.read(timeout_s)):
            self._output.append(self._meddle(frame))
        return self._output.popleft() if self._output else b""

    def _meddle(self, frame: Frame) -> bytes:
        kind, content = next(self.changes, (PASS, b""))
        match kind % 5:
            case 1:  # REPLACE
                return encode_frame(Frame(frame.sequence, frame.command, content[:MAX_PAYLOAD]))
            case 2:  # DROP
                return b""
            case 3 if len(content) >= 2:  # INSERT
                sequence, command = content[:2]
                return (encode_frame(Frame(sequence, command, content[2:2 + MAX_PAYLOAD]))
                        + encode_frame(frame))
            case 4:  # TAIL
                return content
        return encode_frame(frame)

    def close(self) -> None:
        self._device.close()


def _answers(data: bytes) -> None:
    """Open a board whose responses are meddled with, generate on it, and go on if that fails.

    Only a token that the device announced may be wrong: the link has a CRC for that.
    """
    changes = pieces(data[1:])
    if not data[:1] or not data[0] & 1:
        Board(_Meddler(ReferenceTransport(), changes))
        return
    meddler = _Meddler(_loaded(), iter(()))
    board = Board(meddler)
    board.model = MODEL
    board._check.expect(compile_image(MODEL, board_device()).segments[0][1].astype("<u2").tobytes())
    meddler.changes = changes
    prompts = [MODEL.vocab[1] * 2, MODEL.vocab[2]]
    tokens = list(board.generate_many(prompts, tokens=3, seeds=[1, 2]))
    assert len(tokens) == 6, f"{len(tokens)} tokens of 6"
    assert board.status().running in (False, True)


def _answer_seeds() -> Iterator[bytes]:
    nothing = piece(PASS, b"")
    yield b"\0" + nothing * 3
    yield b"\1" + nothing * 20
    identity = IDENTITY.pack(PROTOCOL_MAGIC, PROTOCOL_VERSION, 5, 8, 0, 0, 0, 64, *[1] * 6, 2, 0)
    yield b"\0" + piece(REPLACE, b"\0" + identity)
    status = piece(REPLACE, bytes((Result.OK, 1)) + bytes(status_struct(2).size - 1))
    event = piece(INSERT, bytes((0, EVENT, 2, 0, 3, 0)))
    yield b"\1" + nothing * 4 + event + status + nothing + piece(DROP, b"") * 2 + status * 3
    yield b"\1" + piece(TAIL, b"\xc0\xdb\1\xc0") + piece(REPLACE, b"\4") + event * 3


ANSWERS = Target(what="a device's bytes at the host (Board)", parse=_answers,
                 refusals=(DeviceError, LinkError, WrongTokenError), seeds=_answer_seeds)
