"""The host's end of the link alone: numbers, counters, events and responses."""

from collections import deque
from collections.abc import Callable, Sequence

import pytest

from trilight.hw.contract.protocol import (
    EVENT,
    RESPONSE,
    REST_SECONDS,
    TOKEN_EVENT,
    Command,
    Result,
)
from trilight.sw.errors import DeviceError
from trilight.sw.host.frames import Frame, FrameReader, encode_frame
from trilight.sw.host.link import TIMEOUT_S, Link, Request, Response, TokenEvent
from trilight.sw.host.transport import Transport

OK = bytes([Result.OK])


def response(frame: Frame) -> Sequence[Frame]:
    return [Frame(frame.sequence, frame.command | RESPONSE, OK)]


class Script(Transport):
    """Answers each request with frames; a read that finds none takes all of its time."""

    def __init__(self, respond: Callable[[Frame], Sequence[Frame]] = response) -> None:
        self.respond = respond
        self.sent: list[Frame] = []
        self.arriving: deque[bytes] = deque()
        self.reads = 0
        self.time = 0.0
        self._reader = FrameReader()

    @property
    def name(self) -> str:
        return "scripted"

    def now(self) -> float:
        return self.time

    def write(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            self.sent.append(frame)
            self.arriving += map(encode_frame, self.respond(frame))

    def read(self, timeout_s: float) -> bytes:
        self.reads += 1
        if self.arriving:
            return self.arriving.popleft()
        self.time += timeout_s
        return b""

    def close(self) -> None:
        pass


def test_nothing_is_counted_at_first() -> None:
    link = Link(Script())
    assert (link.repeats, link.stale, link.damaged, list(link.events)) == (0, 0, 0, [])


def test_requests_are_numbered_from_1_to_255_round() -> None:
    transport = Script()
    link = Link(transport)
    for _ in range(600):
        link.request(Request(Command.STATUS))
    assert [frame.sequence for frame in transport.sent] == [k % 255 + 1 for k in range(600)]


def test_silence_of_a_timeout_has_a_request_sent_again() -> None:
    lost = 3
    transport = Script(lambda frame: response(frame) if len(transport.sent) > lost else [])
    link = Link(transport)
    assert link.request(Request(Command.STATUS)).payload == b""
    assert link.repeats == lost
    assert len(transport.sent) == lost + 1
    assert len({frame.sequence for frame in transport.sent}) == 1
    assert transport.time == pytest.approx(lost * TIMEOUT_S)


def test_listening_for_no_time_hears_nothing() -> None:
    transport = Script()
    link = Link(transport)
    transport.arriving.append(encode_frame(Frame(0, EVENT, TOKEN_EVENT.pack(3, 4))))
    assert not link.listen(0)
    assert transport.reads == 0
    assert link.listen(1)
    assert list(link.events) == [TokenEvent(0, 3, 4)]


@pytest.mark.parametrize("frame", [
    Frame(0, RESPONSE, TOKEN_EVENT.pack(3, 4)),
    Frame(1, EVENT, TOKEN_EVENT.pack(3, 4)),
    Frame(0, EVENT - 1, TOKEN_EVENT.pack(3, 4)),
    Frame(0, EVENT, TOKEN_EVENT.pack(3, 4) + b"\0"),
], ids=["response", "numbered", "below", "long"])
def test_other_frames_are_no_notices(frame: Frame) -> None:
    transport = Script()
    link = Link(transport)
    transport.arriving.append(encode_frame(frame))
    assert link.listen(1)
    assert not link.events


def test_answers_to_forgotten_runs_are_strays() -> None:
    """The last two RUNs may be answered twice; a response to one before them is counted."""
    transport = Script()
    link = Link(transport)
    for _ in range(4):
        link.request(Request(Command.RUN))
    numbers = [frame.sequence for frame in transport.sent]
    for expected, number in enumerate(reversed(numbers), -1):
        transport.arriving.append(encode_frame(Frame(number, Command.RUN | RESPONSE, OK)))
        assert link.listen(1)
        assert link.stale == max(expected, 0)


@pytest.mark.parametrize(("result", "text"), [
    (Result.BUSY, r"the device refused RUN 01 02: BUSY$"), (77, "result 77$")])
def test_a_refusal_says_what_was_refused_and_why(result: int, text: str) -> None:
    with pytest.raises(DeviceError, match=text):
        Response(Request(Command.RUN, b"\1\2"), result, b"").check()


def test_a_device_is_woken_after_silence() -> None:
    class Sleepy(Script):
        woken = 0

        def wake(self) -> None:
            assert self.now() - self.last > REST_SECONDS / 2
            self.woken += 1

        last = -1.0

        def write(self, data: bytes) -> None:
            self.last = self.now()
            super().write(data)

    transport = Sleepy()
    link = Link(transport)
    link.exchange([Request(Command.STATUS)] * 3)
    assert transport.woken == 1
    transport.time += REST_SECONDS / 4
    link.request(Request(Command.STATUS))
    assert transport.woken == 1
    transport.time += REST_SECONDS
    link.request(Request(Command.STATUS))
    assert transport.woken == 2
