"""How long a run is waited for, on a clock that only moves while the host waits."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat

import pytest

from trilight.hw.config import UP5K
from trilight.hw.protocol import RESPONSE, STATUS, Command, Result
from trilight.sw.errors import DeviceError
from trilight.sw.frames import Frame
from trilight.sw.link import Link
from trilight.sw.runs import SILENCE_S, STALLED_POLLS, Runs, Text

from .test_link import Script

OK = bytes([Result.OK])
WAITS: list[Callable[[Runs], object]] = [lambda runs: list(runs.listen()), Runs.settle]


class Device(Script):
    """Takes every request, and says that it runs at these positions."""

    def __init__(self, positions: Iterator[int]) -> None:
        def respond(frame: Frame) -> Sequence[Frame]:
            payload = (STATUS.pack(1, next(positions), 0, 0, 0, 0)
                       if frame.command == Command.STATUS else b"")
            return [Frame(frame.sequence, frame.command | RESPONSE, OK + payload)]

        super().__init__(respond)


def started(transport: Script) -> Runs:
    runs = Runs(Link(transport), UP5K)
    runs.start([Text(number=0, prompt=[1], tokens=200, seed=1)], 0)
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
    """However slowly: only answers alike are counted."""
    slow = [position for position in range(4) for _ in range(STALLED_POLLS)]
    transport = Device(chain(slow, repeat(4)))
    runs = started(transport)
    with pytest.raises(DeviceError, match="stuck"):
        runs.settle()
    assert len(transport.sent) == len(slow) + STALLED_POLLS + 1


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
