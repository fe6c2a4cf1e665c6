"""How long a run is waited for, on a clock that only moves while the host waits."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, cycle, repeat

import pytest

from trilight.hw.contract.protocol import (
    EVENT,
    RESPONSE,
    TOKEN_EVENT,
    Command,
    Result,
    status_struct,
)
from trilight.hw.support.boards import board_device
from trilight.sw.errors import DeviceError
from trilight.sw.host.frames import Frame, encode_frame
from trilight.sw.host.link import Link
from trilight.sw.host.session import IDLE_READINGS, SILENCE_S, STALLED_POLLS, Runs, SequenceState

from .test_link import Script

DEVICE = board_device()

OK = bytes([Result.OK])
WAITS: list[Callable[[Runs], object]] = [lambda runs: list(runs.listen()), Runs.settle]


class Device(Script):
    """Takes every request, and says that it runs at these positions and has read these words.

    Its cycle counter moves, as that of every chip does that runs.
    """

    def __init__(self, positions: Iterator[int], words: Iterator[int] | None = None) -> None:
        cycles, words = count(), words or repeat(0)

        def respond(frame: Frame) -> Sequence[Frame]:
            payload = (status_struct(2).pack(1, next(cycles), next(words), 0, next(positions), 0)
                       if frame.command == Command.STATUS else b"")
            return [Frame(frame.sequence, frame.command | RESPONSE, OK + payload)]

        super().__init__(respond)


def started(transport: Script) -> Runs:
    runs = Runs(Link(transport), DEVICE)
    runs.start([SequenceState(number=0, prompt=[1], tokens=200, seed=1)], 0)
    transport.sent.clear()
    return runs


@pytest.mark.parametrize("wait", WAITS, ids=["listen", "settle"])
def test_a_device_at_one_place_is_asked_so_often(wait: Callable[[Runs], object]) -> None:
    transport = Device(repeat(0))
    runs = started(transport)
    with pytest.raises(DeviceError, match="stuck"):
        wait(runs)
    assert len(transport.sent) == STALLED_POLLS + 1


def test_a_device_that_moves_is_waited_for() -> None:
    """However slowly: only answers without progress are counted."""
    slow = [position for position in range(4) for _ in range(STALLED_POLLS)]
    transport = Device(chain(slow, repeat(4)))
    runs = started(transport)
    with pytest.raises(DeviceError, match="stuck"):
        runs.settle()
    assert len(transport.sent) == len(slow) + STALLED_POLLS + 1


@pytest.mark.parametrize("wait", WAITS, ids=["listen", "settle"])
def test_words_that_are_read_are_progress(wait: Callable[[Runs], object]) -> None:
    """On the way to a token of a large memory, at a clock that is slow."""
    maximum = IDLE_READINGS * DEVICE.sequences * DEVICE.weight_words
    slow = [words for words in range(0, maximum + 1, maximum // 4) for _ in range(STALLED_POLLS)]
    transport = Device(repeat(0), chain(slow, repeat(maximum + 1)))
    runs = started(transport)
    with pytest.raises(DeviceError, match="stuck"):
        wait(runs)
    assert len(transport.sent) == len(slow) + 1


@pytest.mark.parametrize("wait", WAITS, ids=["listen", "settle"])
@pytest.mark.parametrize(("positions", "words"), [
    (repeat(0), count(0, 1000)), (repeat(0), cycle([0, 1])), (repeat(0), cycle([5, 0, 2**32 - 1])),
    (cycle([0, 1]), repeat(0)), (cycle([0, 0xffff]), cycle([3, 2, 1]))],
    ids=["words alone", "two words", "words wrap", "to and fro", "both"])
def test_what_leads_to_no_token_is_no_progress(wait: Callable[[Runs], object],
                                               positions: Iterator[int], words: Iterator[int]
                                               ) -> None:
    transport = Device(positions, words)
    runs = started(transport)
    with pytest.raises(DeviceError, match="stuck"):
        wait(runs)
    assert len(transport.sent) < 3 * STALLED_POLLS


def test_a_device_that_announces_what_is_known_is_asked_nevertheless() -> None:
    """An event out of the run's order comes with each answer."""
    class Repeating(Device):
        def read(self, timeout_s: float) -> bytes:
            if not self.arriving:
                self.time += timeout_s
            stale = encode_frame(Frame(0, EVENT, TOKEN_EVENT.pack(0xffff, 3)))
            return stale + (self.arriving.popleft() if self.arriving else b"")

    transport = Repeating(repeat(0))
    runs = started(transport)
    with pytest.raises(DeviceError, match="stuck"):
        list(runs.listen())
    assert len(transport.sent) == STALLED_POLLS + 1


def test_a_device_that_babbles_is_asked_after_as_long_a_time() -> None:
    asked = []

    class Babbling(Device):
        def read(self, timeout_s: float) -> bytes:
            if self.arriving:
                return super().read(timeout_s)
            asked.append(len(self.sent))
            self.time += timeout_s
            return b"?"

    transport = Babbling(repeat(0))
    runs = started(transport)
    with pytest.raises(DeviceError, match="stuck"):
        list(runs.listen())
    assert transport.time == pytest.approx(len(asked) * SILENCE_S)
    assert asked == list(range(STALLED_POLLS + 1))
