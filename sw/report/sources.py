"""Memories outside the chip, as the performance model sees them: when each word is there.

Each follows its controller in ``trilight.hw.memory`` from event to event, so that its cycles are
those of the gateware.
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from trilight.hw.contract.device import Device
from trilight.hw.contract.outside import QuadFlash, Sdram
from trilight.hw.memory.timing import FLASH_HEAD, OutsideTiming

__all__ = ["SLOTS", "SdramPhase", "Source", "make_source"]

SLOTS = 16
"""Words that ``SdramController`` asks for before they are taken; a test compares the two."""


@dataclass(frozen=True)
class SdramPhase:
    """State of an SDRAM and its controller when a run begins: all that the sizes do not tell.

    The controller reads on between runs, and its refresh timer counts from power-on. Cycles are
    counted from the run's first, and may be negative.
    """

    refresh: int = 0
    """Cycle from which a refresh is due."""
    read: int = 0
    """Cycle of a READ, the last one that the run itself does not bring about or an earlier one."""
    beat: int = 0
    """Beat of the READ, counted over all columns, banks and rows."""
    activated: int = -16
    """Cycle in which its row was opened."""


class Source(Protocol):
    """A memory that gives words from a request on, one after the other.

    Attributes
    ----------
    valid : int
        Cycle from which the next word can be taken.
    """

    @property
    def valid(self) -> int: ...

    def request(self, when: int, word: int, dropping: int) -> int:
        """Ask for words from number ``word`` on, from cycle ``when`` on.

        Returns the cycle in which that is accepted. Words of the request before are dropped from
        cycle ``dropping`` on.
        """

    def take(self, when: int) -> None:
        """Take the next word in cycle ``when``."""

    def steady(self) -> tuple[int, int]:
        """Words, from the next one on, that come evenly if each is taken at once, and their
        pace."""

    def skip(self, words: int) -> None:
        """Take so many of those at once, each in its cycle."""


class _Port:
    """A ``WordPort`` without pauses: a word in each cycle."""

    def __init__(self, latency: int) -> None:
        self._latency = latency
        self.valid = 0

    def request(self, when: int, word: int, dropping: int) -> int:
        self.valid = when + self._latency
        return when

    def take(self, when: int) -> None:
        self.valid = when + 1

    def steady(self) -> tuple[int, int]:
        return 0, 1

    def skip(self, words: int) -> None:
        self.valid += words


class _Flash:
    """See ``trilight.hw.memory.flash.FlashReader``."""

    FAR = 1 << 30
    """Words that come evenly: all."""

    def __init__(self, flash: QuadFlash, nibbles: int) -> None:
        self._flash = flash
        self._nibbles = nibbles
        self._reading = 0
        """Cycle from which a request is seen."""
        self.valid = 0

    def request(self, when: int, word: int, dropping: int) -> int:
        flash = self._flash
        accepted = max(when, self._reading) + 1 + flash.deselect
        head = FLASH_HEAD + flash.dummy
        self._reading = accepted + head + 1
        self.valid = accepted + head + self._nibbles - 1 + flash.delay + 2
        return accepted

    def take(self, when: int) -> None:
        # The last nibble of a word is asked for when the word before is taken.
        self.valid = max(self.valid + self._nibbles, when + self._flash.delay + 2)

    def steady(self) -> tuple[int, int]:
        return self.FAR, self._nibbles

    def skip(self, words: int) -> None:
        self.valid += words * self._nibbles


class _Sdram:
    """See ``trilight.hw.memory.sdram.SdramController``."""

    def __init__(self, sdram: Sdram, beats: int, phase: SdramPhase) -> None:
        self._sdram = sdram
        self._beats = beats
        self._columns = 1 << sdram.column_bits
        self._latency = sdram.cas + sdram.delay + 2
        """Cycles from a word's last beat being asked for until it can be taken."""
        self._open = True
        self._closing = False
        self._time = phase.read + 1
        """Cycle in which the controller acts next."""
        self._activated = phase.activated
        self._due = phase.refresh
        self._column = 0
        self._asked = 0
        """Beats of a word that have been asked for."""
        self._set_column(phase.beat + 1)
        self._asked = (phase.beat + 1) % beats
        self._closing = self._column == 0
        self._taken: deque[int] = deque([-(1 << 60)] * SLOTS, SLOTS)
        """Cycles in which the last words were taken."""
        self._next: int | None = None

    def _set_column(self, beat: int) -> None:
        self._column = beat % self._columns

    @property
    def valid(self) -> int:
        if self._next is None:
            asked = self._ask(None)
            assert asked is not None
            self._arrive(asked)
            assert self._next is not None
        return self._next

    def _arrive(self, asked: int) -> None:
        self._next = max(asked + self._latency, self._taken[-1] + 1)

    def take(self, when: int) -> None:
        self._taken.append(when)
        self._next = None

    def request(self, when: int, word: int, dropping: int) -> int:
        if self._next is not None:
            self.take(max(self._next, dropping))
        while (asked := self._ask(when)) is not None:
            self._arrive(asked)
            assert self._next is not None
            self.take(max(self._next, dropping))
        accepted = self._time
        self._set_column(word * self._beats)
        self._time += 1
        return accepted

    def _ask(self, request: int | None) -> int | None:
        """Ask for the rest of a word: the cycle of its last beat, or None if a request is next."""
        s, m = self._sdram, self._beats
        free = self._taken[0] + 1
        seen = 1 << 60 if request is None else request
        while True:
            now = self._time
            if self._closing:
                self._closing = self._open = False
                self._time = max(now, self._activated + s.active) + s.precharge
            elif not self._open:
                if now >= self._due:
                    self._time = now + s.refresh
                    self._due += s.interval
                elif not self._asked and now >= seen:
                    return None
                elif self._asked or now >= free:
                    self._open = True
                    self._activated = now
                    self._time = now + s.activate
                else:
                    self._time = min(free, self._due, seen)
            elif now >= self._due or (not self._asked and now >= seen):
                self._closing = True
                self._time = now + 1
            elif self._asked or now >= free:
                n = min(m - self._asked, self._columns - self._column, self._due - now)
                self._asked += n
                self._time = now + n
                self._set_column(self._column + n)
                self._closing = self._column == 0
                if self._asked == m:
                    self._asked = 0
                    return now + n - 1
            else:
                self._time = min(free, self._due, seen)

    def steady(self) -> tuple[int, int]:
        m, asked = self._beats, self.valid - self._latency
        if self._closing or not self._open or self._asked or self._time != asked + 1:
            return 0, m
        more = min(self._columns - self._column, self._due - self._time) // m
        return 1 + max(more, 0), m

    def skip(self, words: int) -> None:
        first, m = self.valid, self._beats
        self._taken.extend(first + k * m for k in range(max(0, words - SLOTS), words))
        self._next = None
        if words > 1:
            self._time += (words - 1) * m
            self._set_column(self._column + (words - 1) * m)
            self._closing = self._column == 0


def make_source(device: Device, phase: SdramPhase) -> Source:
    """Return the memory outside of a device, ``phase`` being the state of an SDRAM."""
    outside = device.outside
    beats = OutsideTiming(device).transfers
    if isinstance(outside, QuadFlash):
        return _Flash(outside, beats)
    if isinstance(outside, Sdram):
        return _Sdram(outside, beats, phase)
    assert outside is not None
    return _Port(outside.latency)
