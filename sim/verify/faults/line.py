"""A line between driver and device that does one thing wrong, in virtual time."""

import abc
import random
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilight.hw.contract.protocol import Command
from trilight.sw.errors import DeviceError, LinkError, TokenError
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.host.frames import Frame, encode_frame
from trilight.sw.host.transport import Transport
from trilight.sw.model.model import Model
from trilight.sw.reference.model import ReferenceModel, Trace

from .plan import DEVICE, HOST, Fault

__all__ = ["HANG_S", "EmulatedDevice", "FaultyDevice", "HangError", "HostKilled", "Line", "Pins"]

HANG_S = 60.0
"""Virtual seconds after which a request is taken for hung: a frame that is repeated in vain ends it
after 3, and one that is begun again in vain, three times, ends after 24."""

BYTE_S = 10 / 12e6
STEP_S = 350e-6
"""A token of the default board with a full model."""

_STOP = encode_frame(Frame(1, Command.STOP))

NOISE_BYTES = 4000
END = 0xC0


class HangError(Exception):
    """The driver goes on and on."""


class HostKilled(BaseException):
    """The host's program ends here and now."""


class Pins(Protocol):
    """Two pins, with levels and with bits of some length."""

    def set_rate(self, ratio: float, seconds: float) -> None:
        """Let the host's bit rate be ``ratio`` times the device's for a while."""

    def glitch(self, pin: str, rng: random.Random) -> None:
        """Hold ``rx`` or ``tx`` for some cycles soon."""


class FaultyDevice(Transport):
    """A device with a clock of its own, which ``read`` moves on, and a reset."""

    undefined = ""
    """Reason why the device's further behaviour is not known, if so."""

    pins: Pins | None = None
    """Pins, of a device that has some; faults that need them are not for others."""

    hang: Callable[[], None] | None = None
    """Hang in the run until a reset, of a device that does so at will."""

    @abc.abstractmethod
    def reset(self, rng: random.Random) -> None:
        """Lose everything, as when power returns; at some moment of what is on its way."""


class _Remembering(ReferenceModel):
    """The reference, which computes a sequence of tokens only once."""

    _known: ClassVar[dict[tuple[str, tuple[int, ...]], tuple[Any, ...]]] = {}
    """Logits, h and x_prev after the tokens of a model."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._sha256 = model.sha256
        self._fed: tuple[int, ...] = ()

    def reset(self) -> None:
        super().reset()
        self._fed = ()

    def step(self, tokens: ArrayLike, trace: Trace | None = None) -> NDArray[np.int32]:
        self._fed += tuple(np.asarray(tokens).tolist())
        key = self._sha256, self._fed
        if key not in self._known:
            self._known[key] = super().step(tokens, trace), self.h.copy(), self.x_prev.copy()
        logits, self.h[...], self.x_prev[...] = self._known[key]
        known: NDArray[np.int32] = logits
        return known

    def feed(self, tokens: ArrayLike) -> None:
        self.step(tokens)


class EmulatedDevice(FaultyDevice):
    """The emulated device with a virtual clock: time passes as bytes and tokens take it."""

    def __init__(self) -> None:
        self._device = ReferenceTransport(compute=_Remembering)
        self._now = 0.0

    @property
    def name(self) -> str:
        return "emulated"

    def now(self) -> float:
        return self._now

    def reset(self, rng: random.Random) -> None:
        self._device = ReferenceTransport(compute=_Remembering)

    def hang(self) -> None:
        """Feed no token any more."""
        self._device.hang()

    def write(self, data: bytes) -> None:
        self._now += len(data) * BYTE_S
        try:
            self._device.write(data)
        except DeviceError as error:
            # What has been loaded is no model of the reference's. A chip runs it nevertheless.
            self.undefined = str(error)

    def read(self, timeout_s: float) -> bytes:
        end = self._now + timeout_s
        while True:
            try:
                data = self._device.read(0)
            except TokenError as error:
                self.undefined = str(error)
                self._device.write(_STOP)
                data = b""
            self._now += len(data) * BYTE_S if data else STEP_S
            if not data and not self._device.running:
                self._now = max(self._now, end)
            if data or self._now >= end:
                return data

    def close(self) -> None:
        pass


class Line(Transport):
    """Passes bytes on, and injects faults when their bytes come.

    Parameters
    ----------
    intrude
        Called with the device and the fault when another host uses it.

    Attributes
    ----------
    passed : dict of int
        Bytes that were sent, of each direction.
    injected : int
        Faults since ``arm``; of noise, bytes that were damaged.
    """

    def __init__(self, device: FaultyDevice,
                 intrude: Callable[[FaultyDevice, random.Random], None] | None = None) -> None:
        self.device = device
        self.passed = {HOST: 0, DEVICE: 0}
        self._intrude = intrude
        self._dead = False
        self._late: list[tuple[float, str, bytes]] = []
        self._stalled = {HOST: 0.0, DEVICE: 0.0}
        self._silent = {HOST: 0.0, DEVICE: 0.0}
        self._lose = {HOST: 0, DEVICE: 0}
        self._noise_rng = random.Random(0)
        self._rate = 0.0
        self._hung = False
        self.arm([])

    def arm(self, faults: Sequence[Fault]) -> None:
        """A request begins: its bytes count from now on, and its faults are due."""
        self._faults = sorted(faults, key=lambda fault: fault.at)
        self._first = dict(self.passed)
        self._hang_at = self.now() + HANG_S
        self._noisy = 0
        self.injected = 0
        if self._hung:
            # Whoever reads the error does what it says.
            self._hung = False
            self.device.reset(self._noise_rng)

    def reopen(self) -> None:
        """Another host opens the line; what has arrived for the former one is gone."""
        self._dead = False
        self._late = [item for item in self._late if item[1] == HOST]

    @property
    def name(self) -> str:
        return "faulty line"

    def now(self) -> float:
        return self.device.now()

    def write(self, data: bytes) -> None:
        self._check()
        self._deliver()
        self.device.write(self._pass(HOST, data))

    def read(self, timeout_s: float) -> bytes:
        end = self.now() + timeout_s
        while True:
            self._check()
            if data := self._deliver():
                return data
            due = min((item[0] for item in self._late), default=end)
            data = self._pass(DEVICE, self.device.read(min(due, end) - self.now()))
            if data or self.now() >= end:
                return data

    def close(self) -> None:
        self._dead = True

    def _check(self) -> None:
        if self._dead:
            raise LinkError("the line has been closed")
        if self.now() > self._hang_at:
            raise HangError

    def _deliver(self) -> bytes:
        """Bytes that are late and due: those for the device go there, the others are returned."""
        now, data = self.now(), b""
        due = [item for item in self._late if item[0] <= now]
        self._late = [item for item in self._late if item[0] > now]
        for _, direction, late in due:
            if direction == HOST:
                self.device.write(late)
            else:
                data += late
        return data

    def _pass(self, direction: str, data: bytes) -> bytes:
        """Return what becomes of bytes that are sent."""
        first = self.passed[direction] - self._first[direction]
        self.passed[direction] += len(data)
        lost = min(self._lose[direction], len(data))
        self._lose[direction] -= lost
        sent = data
        data = data[lost:]
        for fault in self._faults:
            if fault.direction == direction and fault.at < first + len(sent) and data:
                self._faults.remove(fault)
                data = self._inject(fault, data, min(max(0, fault.at - first), len(data) - 1))
                break
        if self._noisy > 0:
            self._noisy -= len(data)
            data = self._noise(data)
        if self.now() < self._silent[direction]:
            return b""
        if data and self.now() < self._stalled[direction]:
            self._late.append((self._stalled[direction], direction, data))
            return b""
        return data

    def _inject(self, fault: Fault, data: bytes, i: int) -> bytes:
        """Begin the fault at a byte of what is being sent."""
        rng, now = fault.rng, self.now()
        before, byte, after = data[:i], data[i:i + 1], data[i + 1:]
        self.injected += fault.kind != "noise"
        match fault.kind:
            case "drop":
                return before + after
            case "flip":
                return before + bytes((byte[0] ^ 1 << rng.randrange(8),)) + after
            case "replace":
                return before + bytes((byte[0] ^ rng.randrange(1, 256),)) + after
            case "duplicate":
                return before + byte + byte + after
            case "insert":
                return before + byte + rng.randbytes(1) + after
            case "zeros":
                end = data.find(END, i)
                if end > 0 and rng.random() < 0.5:
                    i = end
                return data[:i] + bytes(rng.randint(1, 4)) + data[i:]
            case "swap":
                return before + after[:1] + byte + after[1:]
            case "lost":
                count = rng.randint(2, 64)
                self._lose[fault.direction] = max(0, count - len(data) + i)
                return before + data[i + count:]
            case "burst":
                count = rng.randint(2, 64)
                return before + rng.randbytes(len(data[i:i + count])) + data[i + count:]
            case "scatter":
                flipped = int.from_bytes(data, "big")
                for bit in rng.sample(range(8 * len(data)), min(rng.randint(4, 16), 8 * len(data))):
                    flipped ^= 1 << bit
                return flipped.to_bytes(len(data), "big")
            case "noise":
                self._noise_rng = rng
                self._noisy, self._rate = NOISE_BYTES, 10 ** rng.uniform(-3, -1.7)
            case "stall":
                self._stalled[fault.direction] = now + _duration(rng.random())
            case "late":
                self._late.append((now + _duration(rng.random()), fault.direction, data))
                return b""
            case "echo":
                self._late.append((now + _duration(rng.random()), fault.direction, data))
            case "silence":
                self._silent = dict.fromkeys((HOST, DEVICE), now + rng.uniform(0.01, 5))
            case "thief":
                self._silent[DEVICE] = now + rng.uniform(0.01, 1)
            case "baud":
                assert self.device.pins is not None
                self.device.pins.set_rate(1 + rng.uniform(-0.12, 0.12), _duration(rng.random()))
            case "glitch":
                assert self.device.pins is not None
                self.device.pins.glitch("rx" if fault.direction == HOST else "tx", rng)
            case "killed":
                self.device.write(before)
                self._dead = True
                raise HostKilled
            case "intruder":
                assert self._intrude is not None
                self.device.write(before)
                self._intrude(self.device, rng)
                return data[i:]
            case "hang":
                assert self.device.hang is not None
                self.device.write(before)
                self.device.hang()
                self._hung = True
                return data[i:]
            case "reset":
                if fault.direction == HOST:
                    self.device.write(before)
                    self.device.reset(rng)
                    return data[i:]
                self.device.reset(rng)
                return before
        return data

    def _noise(self, data: bytes) -> bytes:
        rng = self._noise_rng
        result = bytearray()
        for byte in data:
            if rng.random() >= self._rate:
                result.append(byte)
                continue
            self.injected += 1
            match rng.randrange(4):
                case 0:
                    pass
                case 1:
                    result.append(byte ^ 1 << rng.randrange(8))
                case 2:
                    result += bytes((byte, byte))
                case _:
                    result += bytes((byte, rng.randrange(256)))
        return bytes(result)


def _duration(uniform: float) -> float:
    """20 us to 2 s, short ones as often as long ones."""
    return float(20e-6 * 1e5 ** uniform)
