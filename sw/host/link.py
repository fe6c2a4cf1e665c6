"""Requests and responses over a transport that may lose, damage, insert or repeat bytes.

A request is repeated until it is answered, so it must be one that may be executed twice; the
protocol makes RUN such a one by its sequence number. Every wait is bounded.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from trilight.hw.contract.protocol import (
    ACCESS,
    ADDRESS,
    EVENT,
    RESPONSE,
    REST_SECONDS,
    TOKEN_EVENT,
    Command,
    Result,
)
from trilight.sw.errors import DeviceError, NoResponseError, WrongDeviceError

from .frames import Frame, FrameReader, encode_frame
from .transport import Transport

__all__ = ["ATTEMPTS", "TIMEOUT_S", "WINDOWS", "Link", "Request", "Response", "TokenEvent",
           "read_request", "write_request"]

TIMEOUT_S = 0.25
"""Silence after which a request is repeated: 16 ms of USB latency and a frame take a tenth."""

ATTEMPTS = 12

WAKE_AFTER_S = REST_SECONDS / 2
"""Silence of the host after which the device may rest when the next frame arrives, with a margin
for bytes that took longer than those after them."""

WINDOWS = {Command.WRITE: 4}
"""Requests on their way at once, so that the link stays full while responses travel.

One of a command that is not listed: its response may take longer than the next request to arrive,
which the device would then drop.
"""


@dataclass(frozen=True)
class Request:
    """A command and its payload."""

    command: Command
    payload: bytes = b""


def write_request(address: int, data: bytes) -> Request:
    """WRITE of the words in ``data``, two bytes each, to ``address``."""
    return Request(Command.WRITE, ADDRESS.pack(address) + data)


def read_request(address: int, words: int) -> Request:
    """READ of so many words from ``address`` on."""
    return Request(Command.READ, ACCESS.pack(address, words))


@dataclass(frozen=True)
class Response:
    """Response of the device to a request."""

    request: Request
    result: int
    """A ``Result``, or a number that this version does not know."""
    payload: bytes
    """Bytes after the result byte."""

    def check(self) -> bytes:
        """Return the payload.

        Raises
        ------
        DeviceError
            The device refused the request.
        """
        if self.result == Result.OK:
            return self.payload
        try:
            reason = Result(self.result).name
        except ValueError:
            reason = f"result {self.result}"
        raise DeviceError(f"the device refused {self.request.command.name} "
                          f"{self.request.payload[:8].hex(' ')}: {reason}")


@dataclass(frozen=True)
class TokenEvent:
    """A token that the device announced."""

    sequence: int
    """Number of the device's sequence that has generated it."""
    position: int
    """Position there, modulo 65536."""
    token: int


@dataclass
class _Sent:
    request: Request
    index: int
    order: int = 0
    attempts: int = 0


class Link:
    """The host's end of the link.

    Parameters
    ----------
    transport
        Carries the bytes.

    Attributes
    ----------
    events : deque of TokenEvent
        Tokens announced and not yet taken, oldest first.
    repeats : int
        Requests sent again so far.
    stale : int
        Stale responses so far: to a RUN before the last two, which came late and may have been
        executed.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.events: deque[TokenEvent] = deque()
        self.repeats = 0
        self.stale = 0
        self._reader = FrameReader()
        self._frames = 0
        self._sequence = 0
        self._order = 0
        self._last_run = 0
        self._last_runs: deque[int] = deque(maxlen=2)
        self._wrote = -math.inf

    @property
    def damaged(self) -> int:
        """Frames from the device that were dropped so far."""
        return self._reader.damaged

    def request(self, request: Request, sequence: int | None = None) -> Response:
        """Send ``request`` and return its response.

        Parameters
        ----------
        sequence
            Sequence number to use instead of the next one.
        """
        return self.exchange([request], sequence=sequence)[0]

    def exchange(self, requests: Iterable[Request], *, sequence: int | None = None,
                 on_response: Callable[[Response], None] | None = None) -> list[Response]:
        """Send ``requests`` in order and return their responses in order.

        A request is repeated when a later one is answered first, for the device answers in order,
        or when nothing arrives for a while.

        Parameters
        ----------
        sequence
            Sequence number of the first request.
        on_response
            Called with each response as it arrives.

        Raises
        ------
        NoResponseError
            A request stays unanswered.
        WrongDeviceError
            Bytes arrive that have never made up a frame.
        """
        todo = deque(requests)
        waiting: dict[int, _Sent] = {}
        responses: dict[int, Response] = {}
        number = 0
        deadline = 0.0
        while True:
            while todo and len(waiting) < WINDOWS.get(todo[0].command, 1):
                request = todo.popleft()
                sent = _Sent(request, number)
                key = self._next_sequence(waiting) if sequence is None or number else sequence
                if request.command is Command.RUN:
                    self._last_run = key
                    self._last_runs.append(key)
                waiting[key] = sent
                number += 1
                self._send(key, sent)
                deadline = self._deadline()
            if not waiting:
                return [responses[index] for index in range(number)]
            frames = self._receive(deadline - self.transport.now())
            if frames is None:
                for key, sent in waiting.items():
                    self._send(key, sent)
                deadline = self._deadline()
                continue
            for frame in frames:
                done = waiting.get(frame.sequence)
                if done is None or frame.command != done.request.command | RESPONSE:
                    continue
                if not frame.payload:
                    continue
                del waiting[frame.sequence]
                response = Response(done.request, frame.payload[0], frame.payload[1:])
                responses[done.index] = response
                if on_response is not None:
                    on_response(response)
                for key, other in waiting.items():
                    if other.order < done.order:
                        self._send(key, other)
                deadline = self._deadline()

    def listen(self, timeout_s: float) -> bool:
        """Take in what arrives within ``timeout_s`` seconds, and return whether anything did.

        The time is multiplied by the transport's ``timeout_scale``; the wait ends at the first
        byte.
        """
        return self._receive(timeout_s * self.transport.timeout_scale) is not None

    def _deadline(self) -> float:
        return self.transport.now() + TIMEOUT_S * self.transport.timeout_scale

    def _next_sequence(self, waiting: dict[int, _Sent]) -> int:
        """Next number from 1 to 255 that no request waits on and that the last RUN did not have.

        A RUN under the number of the last RUN would be taken for its repeat.
        """
        while True:
            self._sequence = self._sequence % 255 + 1
            if self._sequence != self._last_run and self._sequence not in waiting:
                return self._sequence

    def _send(self, sequence: int, sent: _Sent) -> None:
        if sent.attempts == ATTEMPTS:
            raise self._no_response(sent.request)
        self.repeats += sent.attempts > 0
        sent.attempts += 1
        self._order += 1
        sent.order = self._order
        if self.transport.now() - self._wrote > WAKE_AFTER_S:
            self.transport.wake()
        self._wrote = self.transport.now()
        self.transport.write(
            encode_frame(Frame(sequence, sent.request.command, sent.request.payload)))

    def _receive(self, timeout_s: float) -> list[Frame] | None:
        """Return responses that arrive; ``None`` after ``timeout_s`` of silence. Keep events."""
        data = self.transport.read(timeout_s) if timeout_s > 0 else b""
        if not data:
            return None
        responses = []
        for frame in self._reader.feed(data):
            self._frames += 1
            if EVENT <= frame.command < RESPONSE and frame.sequence == 0:
                if len(frame.payload) == TOKEN_EVENT.size:
                    self.events.append(TokenEvent(frame.command - EVENT,
                                                  *TOKEN_EVENT.unpack(frame.payload)))
            else:
                self.stale += (frame.command == Command.RUN | RESPONSE
                                and frame.sequence not in self._last_runs)
                responses.append(frame)
        return responses

    def _no_response(self, request: Request) -> NoResponseError | WrongDeviceError:
        name = self.transport.name
        if self._frames:
            return NoResponseError(f"{name} no longer answers ({request.command.name} sent "
                                 f"{ATTEMPTS} times); reset the board and try again")
        if self._reader.received:
            return WrongDeviceError(
                f"{name} sends bytes, but not one frame of {self._reader.received} bytes is valid; "
                "choose another port, or check the baud rate and the cable")
        return NoResponseError(
            f"no answer from {name}; check that the board has power and Trilight's bitstream, that "
            "this is its second port if it has two, and the baud rate (serial:PORT@BAUD)")
