"""A small share of the fault campaigns, and what they rest on: virtual time, real processes."""

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sim.verify.faults import campaign, line
from trilight.sim.verify.faults.line import EmulatedDevice, HostKilled, Line
from trilight.sim.verify.faults.loss import KINDS as LOSS_KINDS
from trilight.sim.verify.faults.loss import Losses
from trilight.sim.verify.faults.pins import memories_of_rtl, open_pins
from trilight.sim.verify.faults.plan import DEVICE, KINDS, Fault
from trilight.sim.verify.faults.session import Sessions
from trilight.sim.verify.faults.upsets import Upsets
from trilight.sw.errors import FaultsError, LinkError, UnpluggedError
from trilight.sw.host.driver import Board
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.host.frames import Frame
from trilight.sw.host.responses import Status
from trilight.sw.host.session import STALLED_POLLS
from trilight.sw.host.transport import SerialTransport, Transport
from trilight.sw.model.model import Model

SESSIONS = 20
MODEL = Model.random(ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16), 5)
PROMPT = MODEL.decode([3, 1, 4])


@pytest.fixture(scope="module")
def emulated() -> Sessions:
    return Sessions(EmulatedDevice, 1)


# ---- The campaign


def test_a_share_of_the_campaign(emulated: Sessions) -> None:
    outcomes = [outcome for number in range(SESSIONS) for outcome in emulated.run(number)]
    assert [outcome for outcome in outcomes if outcome.bad] == []
    assert sum(outcome.injected for outcome in outcomes) > 20 * SESSIONS
    summary = campaign.summarise("device", 1, outcomes)
    assert set(summary["kinds"]) == {
        name for name, kind in KINDS.items() if not (kind.pins or kind.apart)}
    assert summary["outcomes"]["recovered"] > len(outcomes) / 2
    assert summary["injected"] == sum(kind["injected"] for kind in summary["kinds"].values())


def test_a_session_is_repeated_by_its_number(emulated: Sessions) -> None:
    assert emulated.run(7) == Sessions(EmulatedDevice, 1).run(7) != emulated.run(8)


@pytest.mark.parametrize(("check", "kinds", "numbers"), [
    ("trilight.sw.host.session.Runs._check_tape", ["late", "echo"], range(20, 40)),
    ("trilight.sw.host.weight_crc.WeightCheck.confirm", ["reset", "intruder"], range(10)),
    ("trilight.sw.host.frames.FrameReader.feed", ["flip"], range(1)),
])
def test_the_campaign_finds_what_is_missing(check: str, kinds: list[str], numbers: range,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one of the driver's checks, some session goes as it must not."""
    def without(self: Any, *data: Any) -> Any:
        """Nothing is checked; of frames, not even the CRC."""
        return [Frame(part[0], part[1], part[2:-4]) for part in bytes(*data).split(b"\xc0")
                if len(part) > 5]

    sessions = Sessions(EmulatedDevice, 1)
    monkeypatch.setattr(check, without)
    monkeypatch.setattr(sessions, "_kinds", kinds)
    assert any(outcome.bad for number in numbers for outcome in sessions.run(number))


def test_a_chip_that_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its cycle counter moves; a driver that compares all of STATUS waits for ever."""
    sessions = campaign.sessions_of("hanging", 1)
    outcomes = [outcome for number in range(5) for outcome in sessions.run(number)]
    assert {outcome.kind for outcome in outcomes} == {"hang"}
    assert [outcome for outcome in outcomes if outcome.bad] == []
    refused = [outcome for outcome in outcomes if outcome.outcome == "refused"]
    assert refused
    assert all("is stuck at position" in outcome.detail for outcome in refused)

    seen: list[Status] = []

    def by_all_of_it(self: Any, status: Status) -> bool:
        seen.append(status)
        return len(seen) > STALLED_POLLS and len(set(seen[-STALLED_POLLS - 1:])) == 1

    monkeypatch.setattr("trilight.sw.host.session._StallDetector.ended", by_all_of_it)
    assert any(outcome.outcome == "hung" for number in range(5) for outcome in sessions.run(number))


def test_results_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "BATCH", 2)
    whole = campaign.run_batches("device", 1, 4, tmp_path)
    assert {outcome.session for outcome in whole} == {0, 1, 2, 3}
    [kept] = tmp_path.iterdir()
    about, first, rest = kept.read_text().split("\n", 2)
    kept.write_text(f"{about}\n{first}\n{rest[:100]}")
    seen: list[int] = []
    again = campaign.run_batches("device", 1, 4, tmp_path,
                                 progress=lambda done, faults, bad: seen.append(done))
    assert again == whole
    assert seen == [2, 4]


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FaultsError, match="cannot be kept"):
        campaign.run_batches("device", 1, 2, tmp_path / "file" / "folder")


# ---- Virtual time


class Slow(ReferenceTransport):
    """The emulated device in real time: a read without bytes takes as long as it may."""

    def read(self, timeout_s: float) -> bytes:
        data = super().read(timeout_s)
        if not data and not self.running:
            time.sleep(timeout_s)
        return data


class Losing(Line):
    """Loses every seventh frame of the host."""

    sent = 0
    log: list[bytes]

    def write(self, data: bytes) -> None:
        self.sent += 1
        self.log.append(data)
        if self.sent % 7:
            super().write(data)


def test_virtual_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same frames and tokens in the same order, whether a timeout is waited for or not."""
    monkeypatch.setattr("trilight.sw.host.link.TIMEOUT_S", 0.02)
    logs, tokens = [], []

    class RealDevice(EmulatedDevice):
        def __init__(self) -> None:
            super().__init__()
            self._device = Slow()

        def now(self) -> float:
            return time.monotonic()

        def read(self, timeout_s: float) -> bytes:
            return self._device.read(max(0.0, timeout_s))

    for device in (EmulatedDevice(), RealDevice()):
        transport = Losing(device)
        transport.log = []
        board = Board(transport)
        board.load(MODEL)
        tokens.append([token.id for token in board.generate(PROMPT, tokens=9, temperature=4)])
        assert board.repeats > 2
        logs.append(transport.log)
    assert logs[0] == logs[1]
    assert tokens[0] == tokens[1]


def test_a_driver_that_goes_on_and_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilight.sw.host.link.ATTEMPTS", 10**9)
    sessions = Sessions(EmulatedDevice, 1)
    monkeypatch.setattr(line.Line, "_pass", lambda self, direction, data: b"")
    monkeypatch.setattr(sessions, "_kinds", ["flip"])
    assert sessions.run(0)[0].outcome == "hung"


def test_the_watchdog_is_of_sessions_alone(emulated: Sessions,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends a session that goes on in this computer's time, not the building of a target."""
    def slowly(target: str, seed: int, board: str) -> Sessions:
        time.sleep(1.5)
        return emulated

    monkeypatch.setattr(campaign, "WATCHDOG_S", 1)
    monkeypatch.setattr(campaign, "sessions_of", slowly)
    assert campaign.run_one("device", 1, 3)
    monkeypatch.setattr(Sessions, "request", lambda self, name: time.sleep(1.5))
    assert campaign.run_one("device", 1, 3)[0].outcome == "hung"


# ---- Faults of the line


class Recorder(EmulatedDevice):
    """Keeps what arrives; says something once."""

    def __init__(self, says: bytes) -> None:
        super().__init__()
        self.arrived = b""
        self._says = says

    def write(self, data: bytes) -> None:
        self.arrived += data

    def read(self, timeout_s: float) -> bytes:
        says, self._says = self._says, b""
        return says

    def reset(self, rng: random.Random) -> None:
        self.arrived = b"reset"

    def hang(self) -> None:
        self.arrived = b"hung"


@pytest.mark.parametrize(("kind", "direction"), [
    (name, direction) for name, kind in KINDS.items() if not kind.pins
    for direction in kind.directions])
def test_every_kind_does_something(kind: str, direction: str) -> None:
    plain = bytes(range(64)) + b"\xc0"
    changed = 0
    for number in range(20):
        device = Recorder(plain)
        tested = Line(device, lambda device, rng: device.write(b"intruder"))
        tested.arm([Fault(kind, direction, number, random.Random(number))])
        if direction == DEVICE:
            changed += (tested.read(0) != plain or bool(tested._late) or device.arrived != b"")
        else:
            try:
                tested.write(plain)
            except HostKilled:
                changed += 1
            changed += device.arrived != plain or bool(tested._late)
        assert tested.passed[direction] == len(plain)
    # Noise and a flip of nothing are rare.
    assert changed > (2 if kind == "noise" else 15)


def test_a_line_that_is_closed() -> None:
    tested = Line(EmulatedDevice())
    tested.close()
    with pytest.raises(LinkError, match="has been closed"):
        tested.write(b"?")


# ---- At the pins, and in the memories


def test_a_session_at_the_pins() -> None:
    sessions = Sessions(open_pins("rtl"), 1, requests=4)
    outcomes = [outcome for number in range(2) for outcome in sessions.run(number)]
    assert [outcome for outcome in outcomes if outcome.bad] == []
    assert any(outcome.outcome == "recovered" for outcome in outcomes)


@pytest.mark.parametrize("board", [
    "icebreaker",
    # Block RAM, with memories of whole words and of units.
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("tang-nano-20k", "ulx3s-85f"))])
def test_flipped_bits_of_weights_are_found(board: str) -> None:
    upsets = Upsets(1, checked=True, board=board)
    outcomes = [outcome for number in range(8) for outcome in upsets.run(number)]
    assert {outcome.outcome for outcome in outcomes} <= {"recovered", "refused"}
    assert all(outcome.injected == 1 for outcome in outcomes)


def test_flipped_bits_of_other_memories() -> None:
    upsets = Upsets(1, checked=False)
    outcomes = [outcome for number in range(len(memories_of_rtl()) - 4)
                for outcome in upsets.run(number)]
    assert [outcome for outcome in outcomes if outcome.outcome in ("hung", "crashed")] == []
    assert len({outcome.kind for outcome in outcomes}) == len(outcomes)


@pytest.mark.parametrize("kind", LOSS_KINDS)
def test_a_flipped_bit_changes_the_loss(kind: str) -> None:
    text = MODEL.decode([n * n % 13 for n in range(400)])
    losses = Losses(MODEL, text, 320)
    changes = [change for number in range(8) for change in losses.changes(kind, 1, number)]
    assert any(changes)
    assert changes == [change for number in range(8) for change in losses.changes(kind, 1, number)]


def test_a_text_that_is_too_short() -> None:
    with pytest.raises(FaultsError, match="must have at least"):
        Losses(MODEL, PROMPT, 320)


# ---- Real processes on a pseudo-terminal


class Port:
    """A device behind a pseudo-terminal."""

    def __init__(self, device: ReferenceTransport) -> None:
        self._device = device
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.name = os.ttyname(self._theirs)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            if select.select([self._ours], [], [], 0 if self._device.running else 0.005)[0]:
                self._device.write(os.read(self._ours, 4096))
            if data := self._device.read(0):
                os.write(self._ours, data)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._theirs)
        os.close(self._ours)


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port(ReferenceTransport())
    yield port
    port.close()


def tokens_of(transport: Transport, tokens: int) -> list[int]:
    board = Board(transport)
    board.load(MODEL)
    return [token.id for token in board.generate(PROMPT, tokens=tokens, temperature=4)]


HOST_PROGRAM = """
import sys
from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.host.driver import Board
from trilight.sw.model.model import Model
from trilight.sw.host.transport import SerialTransport
model = Model.random(ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16), 6)
while True:
    board = Board(SerialTransport(sys.argv[1]))
    print("open", flush=True)
    board.load(model)
    for token in board.generate(model.decode([1]), tokens=10_000):
        if token.position == 5:
            print("running", flush=True)
"""


@pytest.mark.parametrize("moment", ["open", "running"])
def test_a_host_that_is_killed(port: Port, moment: str, rng: np.random.Generator) -> None:
    """Its process gets SIGKILL while it loads or runs, and the next host is served."""
    with subprocess.Popen([sys.executable, "-c", HOST_PROGRAM, port.name], stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != moment:
            assert process.poll() is None
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
    assert tokens_of(SerialTransport(port.name), 9) == tokens_of(ReferenceTransport(), 9)


def test_a_port_that_another_program_reads(port: Port) -> None:
    """It takes bytes away for a while; what they said is asked for again."""
    board = Board(SerialTransport(port.name))
    board.load(MODEL)
    stolen = 0

    def steal() -> None:
        nonlocal stolen
        thief = os.open(port.name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        # Not for ever: whoever takes a byte of each answer for 3 s leaves the driver none.
        while not done.is_set() and stolen < 100:
            with contextlib.suppress(BlockingIOError):
                stolen += len(os.read(thief, 3))
            done.wait(0.0005)
        os.close(thief)

    done = threading.Event()
    thread = threading.Thread(target=steal)
    thread.start()
    stream = board.generate(PROMPT, tokens=200, temperature=4)
    tokens = [next(stream).id for _ in range(60)]
    while not stolen:
        tokens.append(next(stream).id)
    done.set()
    thread.join()
    tokens += [token.id for token in stream]
    assert tokens == tokens_of(ReferenceTransport(), 200)
    board.close()


def test_a_port_that_vanishes_and_returns(tmp_path: Path) -> None:
    """The driver says so, and a new one goes on at the port that comes back under its name."""
    name = tmp_path / "port"
    device = ReferenceTransport()
    port = Port(device)
    name.symlink_to(port.name)
    board = Board(SerialTransport(str(name)))
    board.load(MODEL)
    stream = board.generate(PROMPT, tokens=200)
    next(stream)
    port.close()
    with pytest.raises(UnpluggedError, match="was the board unplugged"):
        list(stream)
    board.close()
    port = Port(device)
    name.unlink()
    name.symlink_to(port.name)
    assert tokens_of(SerialTransport(str(name)), 9) == tokens_of(ReferenceTransport(), 9)
    port.close()
