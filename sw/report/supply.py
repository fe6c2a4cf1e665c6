"""Weight words from outside, as the performance model sees them: when the engine gets them.

``Supply`` follows ``trilight.hw.memory.buffer`` and ``streamed`` from event to event: the ring, the
turns at the memory's port, the rows of the embedding in between.
"""

from collections.abc import Sequence

from trilight.hw.contract.device import Device, WeightMemory

from .sources import SdramPhase, make_source

__all__ = ["LaterError", "Supply"]


class LaterError(Exception):
    """Sign that an event lies behind ``Supply.limit``."""


class Supply:
    """The way of weight words from a memory outside into the engine, in the course of a run.

    Words are numbered as the ring takes them. Cycles are those of the run.

    Parameters
    ----------
    device : Device
    head_word, last_word : int
        First and last word of the head, which is the end of the program.
    phase : SdramPhase
        State of an SDRAM when the run begins.

    Attributes
    ----------
    limit : int or None
        Cycle behind which nothing may happen yet, as something else goes before.
    fetched : int
        Words that have come into the ring.
    """

    def __init__(self, device: Device, head_word: int, last_word: int, phase: SdramPhase) -> None:
        self._size = device.buffer_words
        self._one_port = device.weight_memory is WeightMemory.SPRAM
        self._source = make_source(device, phase)
        self._head_word = head_word
        self._last_word = last_word
        self.limit: int | None = None
        self.fetched = 0
        # The ring; numbers of words only grow.
        self._begin = self._end = self._kept = 0
        self._keeps = self._lost = False
        self._room = 0
        """Cycle from which there is room."""
        # The reader: the word that comes next, in which round, and what it waits for.
        self._coming = 0
        self._round = 0
        self._held: int | None = None
        self._decided: list[tuple[int, bool]] = []
        self._going = 0
        self._first = 0
        self._going_round = 0
        # The port: from when on it can choose, when it will choose the reader, and its request.
        self._idle = 0
        self._choose: int | None = None
        self._accepted: int | None = None
        self._log: list[list[int]] = []
        self._replay: list[list[int]] = []

    # ---- The reader and its turns at the port

    def decide(self, when: int, head: bool) -> None:
        """Tell in cycle ``when`` whether the round has a head."""
        self._decided.append((when, head))

    def row(self, words: Sequence[int], start: int) -> int:
        """Fetch words of the embedding for a look-up at ``start``; return when it may begin."""
        wish = start + 1
        self._run(wish)
        if self._accepted is None or self._choose is not None or self._held is not None:
            choose = max(wish, self._idle)
        else:
            choose = max(wish + 1, self._accepted + 2)
        for word in words:
            self._source.request(choose + 1, word, choose)
            valid = self._source.valid
            self._source.take(valid)
            choose = valid + 1
        self._idle = choose
        if self._held is None:
            self._choose = choose
        return choose

    def _run(self, until: int) -> None:
        """Let words come up to a cycle."""
        while (when := self._next(until)) is not None and when <= until:
            self._arrive(when)

    def _next(self, until: int) -> int | None:
        """Cycle in which the next word comes; None if not before another event, or ``until``."""
        if self.limit is not None:
            until = min(until, self.limit)
        if self._held is not None:
            if self._round >= len(self._decided):
                return None
            when, head = self._decided[self._round]
            goes = max(self._held, when + 1)
            if goes > until:
                return None
            self._held = None
            if not head:
                self._coming = 0
                self._round += 1
            self._choose = max(goes + 1, self._idle)
        if self._choose is not None:
            if self._choose >= until:
                return None
            self._accepted = self._source.request(self._choose + 1, self._coming, self._choose)
            self._choose = None
        return None if self._full or self._accepted is None else max(self._source.valid, self._room)

    @property
    def _full(self) -> bool:
        return self._end - (self._kept if self._keeps else self._begin) >= self._size

    def _arrive(self, when: int) -> None:
        """Take a word from outside in cycle ``when``."""
        self._source.take(when)
        self._end += 1
        self._came(1, when)

    def _came(self, words: int, when: int) -> None:
        """Count words, of which the last one came in cycle ``when``."""
        self.fetched += words
        self._coming += words
        if self._coming == self._head_word:
            self._held = when + 1
            self._idle = when + 2
        elif self._coming == self._last_word + 1:
            self._coming = 0
            self._round += 1
            self._idle = self._choose = when + 2

    # ---- The engine

    def rewind(self, when: int) -> None:
        """Begin a round in cycle ``when``, unless it is the first one."""
        del when
        if self._done():
            return
        self._going = 0
        self._going_round += 1

    def again(self, when: int) -> None:
        """Go back to the first word of the last operation, in cycle ``when``."""
        if self._done():
            return
        self._check(when)
        self._going = self._first
        self._begin = self._kept
        if self._lost:
            self._run(when - 1)
            self._end = self._begin
            self._keeps = self._lost = False
            self._room = when + 1
            self._coming = self._first
            self._round = self._going_round
            self._held = None
            self._idle = max(self._idle, when + 1)
            self._choose = self._idle
            if self._coming == self._head_word:
                self._choose = max(self._idle, when + 2)
        self._note([])

    def _done(self) -> bool:
        """Forget a call that has been answered before."""
        if not self._replay:
            return False
        self._replay.pop(0)
        return True

    def _note(self, times: list[int]) -> None:
        if self.limit is not None:
            self._log.append(times)

    def _check(self, when: int) -> None:
        if self.limit is not None and when > self.limit:
            raise LaterError

    def until(self, limit: int | None) -> None:
        """Set ``limit``. Without one, what has been asked for under it is asked for once more."""
        self.limit = limit
        if limit is None:
            self._replay, self._log = self._log, []

    def stream(self, issue: int, rows: int, *, opens: bool, keeps: bool) -> list[int]:
        """Take words, one a cycle from ``issue`` on as far as they are there; when each is taken.

        ``opens``: they begin an operation, whose words ``keeps`` says will be asked for again.
        """
        times = self._replay.pop(0) if self._replay else []
        now = max(issue, times[-1] + 1) if times else issue
        try:
            self._check(now)
            while len(times) < rows:
                if times and (taken := self._starve(now, rows - len(times))):
                    times.extend(taken)
                    now = taken[-1] + 1
                    continue
                now = self._wait(now)
                self._check(now)
                if opens and not times:
                    count = 1
                    self._move(now, count, opens, keeps)
                else:
                    count = self._burst(now, rows - len(times))
                    self._move(now, count, False, keeps)
                times.extend(range(now, now + count))
                now += count
        finally:
            self._note(times)
        return times

    def _starve(self, now: int, rows: int) -> range:
        """Words that are taken as they come, as long as they come evenly; when each is taken."""
        if (self.limit is not None or self._begin < self._end or self._choose is not None
                or self._held is not None or self._accepted is None
                or self._source.valid < max(now, self._room)):
            return range(0)
        even, pace = self._source.steady()
        until = self._head_word if self._coming < self._head_word else self._last_word + 1
        count = min(rows, even, until - self._coming)
        if self._keeps:
            count = min(count, self._size - self._end + self._kept)
        if count < 1 or pace == 1:
            return range(0)
        first = self._source.valid
        self._source.skip(count)
        self._begin += count
        self._end += count
        self._going += count
        self._came(count, first + (count - 1) * pace)
        return range(first + 1, first + 1 + count * pace, pace)

    def _wait(self, now: int) -> int:
        """The first cycle from ``now`` on in which a word can be taken."""
        while True:
            comes = self._next(now + 1)
            if comes is not None and (comes < now or (comes == now and self._one_port)):
                self._arrive(comes)
                now += comes == now
            elif self._begin < self._end:
                return now
            elif self._full:
                self._keeps, self._lost = False, True
                self._room = now + 1
                now += 1
            else:
                if comes is None:
                    comes = self._await(now)
                self._check(comes + 1)
                self._arrive(comes)
                now = max(now, comes + 1)

    def _await(self, now: int) -> int:
        """The cycle in which the next word comes, which nothing but the limit prevents."""
        far = 1 << 60 if self.limit is None else self.limit
        comes = self._next(far)
        if comes is None:
            assert self.limit is not None, f"no word ever comes after cycle {now}"
            raise LaterError
        return comes

    def _burst(self, now: int, rows: int) -> int:
        """Words that can be taken from ``now`` on, one a cycle, before anything else happens."""
        count = min(rows, self._end - self._begin)
        if self.limit is not None:
            count = min(count, self.limit - now + 1)
        if self._full and not self._keeps:
            return 1
        comes = self._next(now + count)
        return count if comes is None else max(1, min(count, comes - now))

    def _move(self, now: int, count: int, opens: bool, keeps: bool) -> None:
        """Take words out of the ring."""
        full = self._full
        if opens:
            self._kept, self._first = self._begin, self._going
            self._keeps, self._lost = keeps, False
        self._begin += count
        self._going += count
        if full and not self._full:
            self._room = now + 1
