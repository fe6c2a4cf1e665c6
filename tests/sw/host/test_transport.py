"""Serial ports, on a pseudo terminal, and targets by name."""

import errno
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints

import pytest
from serial import Serial, SerialException

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.api import open_board
from trilight.sw.errors import (
    LinkError,
    NoAnswerError,
    PortBusyError,
    TargetError,
    UnpluggedError,
    WrongDeviceError,
)
from trilight.sw.host import link, targets
from trilight.sw.host.driver import Board
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.host.targets import open_transport, target_names
from trilight.sw.host.transport import DEFAULT_BAUD, SerialTransport
from trilight.sw.model.model import Model

MODEL = Model.random(ModelConfig(vocab_size=60, d_model=48, n_layers=1, d_hidden=60), 5)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals")


class Cable:
    """A pseudo terminal: the far end, and the port's name."""

    def __init__(self) -> None:
        self.far, self._near = os.openpty()
        self.port = os.ttyname(self._near)

    def unplug(self) -> None:
        for end in (self.far, self._near):
            if end >= 0:
                os.close(end)
        self.far = self._near = -1


@pytest.fixture
def cable() -> Iterator[Cable]:
    cable = Cable()
    yield cable
    cable.unplug()


def received(transport: SerialTransport, count: int) -> bytes:
    """What comes until there are so many bytes: a read takes what is there."""
    data = b""
    while len(data) < count:
        piece = transport.read(1)
        assert piece
        data += piece
    return data


def test_every_byte_passes(cable: Cable) -> None:
    data = bytes(range(256))
    transport = SerialTransport(cable.port)
    transport.write(data)
    assert os.read(cable.far, 1000) == data
    os.write(cable.far, data)
    assert received(transport, len(data)) == data
    transport.close()
    transport.close()


def test_bytes_that_another_program_has_read(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were announced and are not there, as if the port had gone; but it is there."""
    transport = SerialTransport(cable.port)
    read, stolen = Serial.read, []

    def stealing(port: Serial, size: int = 1) -> bytes:
        if not stolen:
            stolen.append(size)
            raise SerialException("device reports readiness to read but returned no data")
        return read(port, size)

    monkeypatch.setattr(Serial, "read", stealing)
    os.write(cable.far, b"left")
    assert received(transport, 4) == b"left"
    stolen.clear()
    cable.unplug()
    with pytest.raises(UnpluggedError):
        transport.read(1)
    transport.close()


def test_silence_ends_in_time(cable: Cable) -> None:
    transport = SerialTransport(cable.port)
    started = time.monotonic()
    assert transport.read(0.1) == b""
    assert 0.1 <= time.monotonic() - started < 2
    transport.close()


def test_busy_port(cable: Cable) -> None:
    transport = SerialTransport(cable.port)
    with pytest.raises(PortBusyError, match="held by another program; close it"):
        SerialTransport(cable.port)
    transport.close()
    SerialTransport(cable.port).close()


@pytest.mark.parametrize("use", [
    lambda transport: transport.read(0.1),
    lambda transport: transport.write(b"hello"),
], ids=["read", "write"])
def test_unplugged(cable: Cable, use: Callable[[SerialTransport], object]) -> None:
    transport = SerialTransport(cable.port)
    cable.unplug()
    with pytest.raises(UnpluggedError, match="was the board unplugged"):
        use(transport)
    transport.close()


def test_missing_port_names_those_present() -> None:
    with pytest.raises(LinkError, match=r"^cannot open nowhere: .*serial ports present: "):
        SerialTransport("nowhere")


def test_rate_that_no_port_has(cable: Cable) -> None:
    with pytest.raises(LinkError, match="cannot run at -5 baud"):
        SerialTransport(cable.port, -5)


def test_nothing_answers(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "TIMEOUT_S", 0.01)
    with pytest.raises(NoAnswerError, match=r"no answer from serial:.*check that the board has"):
        open_board(f"serial:{cable.port}")
    # The port was given back.
    SerialTransport(cable.port).close()


def test_something_else_answers(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "TIMEOUT_S", 0.01)
    os.write(cable.far, b"login: ")
    transport = SerialTransport(cable.port)
    # Opening a port discards what came before.
    os.write(cable.far, b"login: \xc0login: \xc0")
    with pytest.raises(WrongDeviceError, match="not one frame of 16 bytes is valid"):
        Board(transport)
    transport.close()


@pytest.fixture
def served(cable: Cable) -> Iterator[Cable]:
    """A cable with the emulated device at its far end."""
    device = ReferenceTransport()
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            if select.select([cable.far], [], [], 0.001)[0]:
                device.write(os.read(cable.far, 4096))
            os.write(cable.far, device.read(0))

    thread = threading.Thread(target=serve)
    thread.start()
    yield cable
    ended.set()
    thread.join()


def test_tokens_over_a_serial_port(served: Cable) -> None:
    with open_board(f"serial:{served.port}") as board:
        board.load(MODEL, verify=True)
        tokens = [token.id for token in board.generate("HELLO", tokens=300, temperature=4, seed=7)]
    direct = Board(ReferenceTransport())
    direct.load(MODEL)
    assert tokens == [token.id for token in direct.generate("HELLO", tokens=300, temperature=4,
                                                            seed=7)]


def test_unplugged_during_a_run(cable: Cable, served: Cable,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    with open_board(f"serial:{served.port}") as board:
        board.load(MODEL)
        stream = board.generate("HELLO", tokens=300)
        next(stream)

        def gone(self: Serial) -> int:
            raise OSError(errno.EIO, "Input/output error")

        def vanish(self: Serial, size: int) -> bytes:
            monkeypatch.setattr(Serial, "in_waiting", property(gone))
            raise SerialException("device reports readiness to read but returned no data")

        monkeypatch.setattr(Serial, "read", vanish)
        with pytest.raises(UnpluggedError, match="was the board unplugged"):
            list(stream)


def test_targets_that_are_installed() -> None:
    assert {"reference", "serial"} <= set(target_names())


@pytest.mark.parametrize(("target", "text"), [
    ("abacus", r"^no target 'abacus'; there are .*reference.*serial"),
    ("serial", "^serial needs a port"),
    ("serial:", "^serial needs a port"),
    ("serial:p@fast", f"must be a whole number of baud, as in p@{DEFAULT_BAUD}, not 'fast'$"),
    ("serial:p@0", "must be a whole number of baud"),
    ("reference:5", "^the reference takes no argument, not '5'$"),
])
def test_bad_targets(target: str, text: str) -> None:
    with pytest.raises(TargetError, match=text):
        open_transport(target)


def test_rate_of_a_serial_target(cable: Cable) -> None:
    open_transport(f"serial:{cable.port}@115200").close()


def test_target_that_misses_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("dream", "no_such_package:factory", targets.GROUP)
    monkeypatch.setattr(targets, "entry_points", lambda **_: EntryPoints([entry]))
    with pytest.raises(TargetError, match=r"'dream' needs a package.*no_such_package"):
        open_transport("dream")
