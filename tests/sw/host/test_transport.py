"""Serial ports, on a pseudo terminal, and targets by name."""

import errno
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from serial import Serial, SerialException, rfc2217, serial_for_url

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.api import open_board
from trilight.sw.errors import (
    LinkError,
    MissingPackageError,
    NoResponseError,
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


@pytest.mark.skipif(sys.platform != "linux", reason="how Linux takes a rate without a name")
@pytest.mark.parametrize("baud", [DEFAULT_BAUD, 3_333_333, 115_200])
def test_a_rate_without_a_name(cable: Cable, baud: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The C library may refuse the flag for such rates, as glibc does from 2.42 on."""
    import fcntl
    import struct
    import termios

    real, bother = termios.tcsetattr, 0o010000

    def strict(port: int, when: int, attributes: list[Any]) -> None:
        if bother in attributes[4:6]:
            raise termios.error(errno.EINVAL, "Invalid argument")
        real(port, when, attributes)

    monkeypatch.setattr(termios, "tcsetattr", strict)
    transport = SerialTransport(cable.port, baud)
    # struct termios2 of linux/termbits.h, whose last two numbers are the rates.
    answer = fcntl.ioctl(cable.far, 0x802C542A, bytes(44))
    assert struct.unpack("=2I", answer[36:]) == (baud, baud)
    transport.write(b"heard")
    assert os.read(cable.far, 9) == b"heard"
    transport.close()


@pytest.mark.skipif(sys.platform != "linux", reason="how Linux takes a rate without a name")
def test_a_driver_that_makes_another_rate_of_it(cable: Cable, monkeypatch: pytest.MonkeyPatch
                                                ) -> None:
    import fcntl

    real, get = fcntl.ioctl, 0x802C542A

    def ioctl(port: int, request: int, *rest: Any) -> Any:
        answer = real(port, request, *rest)
        return answer[:36] + (921_600).to_bytes(4, "little") * 2 if request == get else answer

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    with pytest.raises(LinkError, match=r"cannot run at 12,000,000 baud: its driver made 921,600 "
                                        r"of it; .*serial:PORT@BAUD"):
        SerialTransport(cable.port)


def test_an_error_that_is_none_of_the_systems(cable: Cable, monkeypatch: pytest.MonkeyPatch
                                              ) -> None:
    """``termios.error`` derives from ``Exception`` alone."""
    import termios

    def refuse(*_: object) -> None:
        raise termios.error(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(termios, "tcsetattr", refuse)
    with pytest.raises(LinkError, match=r"cannot run at .* baud: .*Invalid argument"):
        SerialTransport(cable.port)


def test_nothing_answers(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "TIMEOUT_S", 0.01)
    with pytest.raises(NoResponseError, match=r"no answer from serial:.*check that the board has"):
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


# ---- Ports of other computers


class Server:
    """The emulated device behind a TCP port, as raw bytes or by RFC 2217; for one connection."""

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self._device = ReferenceTransport()
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"{protocol}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection = self._listener.accept()[0]
        writer = SimpleNamespace(write=connection.sendall)
        manager = rfc2217.PortManager(serial_for_url("loop://"), writer)
        raw = self._protocol == "socket"
        with connection:
            while not self._ended.is_set():
                if select.select([connection], [], [], 0.001)[0]:
                    data = connection.recv(4096)
                    self._device.write(data if raw else b"".join(manager.filter(data)))
                data = self._device.read(0)
                connection.sendall(data if raw else b"".join(manager.escape(data)))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._listener.close()


@pytest.fixture(params=["socket", "rfc2217"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = Server(request.param)
    yield server
    server.close()


def test_tokens_over_a_network(server: Server) -> None:
    with open_board(f"serial:{server.address}@115200") as board:
        assert board.transport.name == f"serial:{server.address}"
        board.load(MODEL)
        tokens = [token.id for token in board.generate("HELLO", tokens=20, temperature=4, seed=7)]
    direct = Board(ReferenceTransport())
    direct.load(MODEL)
    assert tokens == [token.id for token in direct.generate("HELLO", tokens=20, temperature=4,
                                                            seed=7)]


def test_a_connection_that_ends(server: Server) -> None:
    with open_board(f"serial:{server.address}@115200") as board:
        board.load(MODEL)
        stream = board.generate("HELLO", tokens=300)
        next(stream)
        server.close()
        with pytest.raises(UnpluggedError, match=r"the connection to serial:.* has ended"):
            list(stream)


@pytest.mark.parametrize(("address", "text"), [
    ("socket://127.0.0.1:1", "check the address"),
    ("rfc2217://127.0.0.1:1", "check the address"),
    ("socket://127.0.0.1", "check the address"),
    ("carrier-pigeon://127.0.0.1:1", "protocol 'carrier-pigeon' not known"),
])
def test_addresses_that_nobody_serves(address: str, text: str) -> None:
    with pytest.raises(LinkError, match=f"^cannot open {address} at 9,600 baud: .*{text}"):
        open_transport(f"serial:{address}@9600")


def test_an_address_may_name_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(targets, "SerialTransport", lambda *settings: opened.append(settings))
    for argument in ("rfc2217://me@host:1", "rfc2217://me@host:1@9600", "socket://host:1",
                     "socket://host:1@9600", "COM5", "COM5@9600"):
        open_transport(f"serial:{argument}")
    assert opened == [("rfc2217://me@host:1",), ("rfc2217://me@host:1", 9600), ("socket://host:1",),
                      ("socket://host:1", 9600), ("COM5",), ("COM5", 9600)]


# ---- Another package in pyserial's place


@pytest.mark.parametrize(("files", "text"), [
    (["serial/__init__.py"], r"serial.__init__\.py is another package called serial; remove"),
    (["serial.py"], r"serial\.py is another package called serial; remove"),
])
def test_another_package_called_serial(tmp_path: Path, files: list[str], text: str,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("# of another author\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "serial"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(MissingPackageError, match=text):
            SerialTransport("nowhere")
    finally:
        sys.modules.pop("serial", None)


def test_without_pyserial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(MissingPackageError, match=r'not installed.*pip install "pyserial"'):
        SerialTransport("nowhere")


def test_targets_that_are_installed() -> None:
    assert {"reference", "serial"} <= set(target_names())


@pytest.mark.parametrize(("target", "text"), [
    ("abacus", r"^no target 'abacus'; there are .*reference.*serial"),
    ("serial", "^serial needs a port"),
    ("serial:", "^serial needs a port"),
    ("serial:p@fast", f"must be a whole number of baud, as in p@{DEFAULT_BAUD}, not 'fast'$"),
    ("serial:p@0", "must be a whole number of baud"),
    ("reference:5", "^there is no board '5'; there is .*icebreaker"),
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
