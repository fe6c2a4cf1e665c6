"""Token events that a run must bring, and those that the line had no time for."""

from collections.abc import Collection, Iterable
from operator import itemgetter

from trilight.hw.contract.protocol import EVENT, TOKEN_EVENT
from trilight.hw.lib.uart import DATA_BITS
from trilight.sw.host.frames import Frame, encode_frame

__all__ = ["BYTE_BITS", "TokenEvent", "event_cycles", "in_order", "lost_events"]

BYTE_BITS = DATA_BITS + 2
"""Bits of a byte on the line, with start and stop."""

TokenEvent = tuple[int, int, int]
"""Sequence, position and token."""


def event_cycles(events: Collection[TokenEvent], clocks_per_bit: int) -> int:
    """Return the cycles that the longest of some events takes on the line."""
    longest = max((len(encode_frame(Frame(0, EVENT + number, TOKEN_EVENT.pack(position, token))))
                   for number, position, token in events), default=0)
    return longest * BYTE_BITS * clocks_per_bit


def in_order(expected: Iterable[TokenEvent], came: Collection[TokenEvent]) -> bool:
    """Return whether ``came`` is a part of ``expected``, each sequence's in its order."""
    present = [event for event in expected if event in came]
    return sorted(came, key=itemgetter(0)) == sorted(present, key=itemgetter(0))


def lost_events(expected: Iterable[TokenEvent], came: Collection[TokenEvent],
                ends: Iterable[int], wait: int) -> list[TokenEvent]:
    """Events that should have come and did not.

    The device holds one event of each sequence, so a token that ends before the sequence's event
    before has been sent has none (``docs/protocol.md``). No other event may be missing.

    Parameters
    ----------
    expected
        As their tokens end.
    ends
        Cycles in which these tokens end.
    wait
        Most cycles from the end of a token until its event has been sent.
    """
    lost: list[TokenEvent] = []
    held: dict[int, int] = {}
    for event, end in zip(expected, ends, strict=True):
        number = event[0]
        if event in came:
            held[number] = end
        elif number not in held or end - held[number] >= wait:
            lost.append(event)
    return lost
