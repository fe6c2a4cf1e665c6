"""Weight words from outside, as the performance model sees them: when they are on the chip."""

from bisect import bisect_left
from dataclasses import dataclass, field

from trilight.hw.contract.device import Device
from trilight.hw.memory.timing import OutsideTiming

__all__ = ["Supply"]


@dataclass
class Supply:
    """Arrival of the weight words of a run, counted from its first one, as often as they are read.

    Words come at the memory's pace, one after the other, unless the buffer is full. What interrupts
    them, a row of the embedding or the return to word 0, costs its time.

    Parameters
    ----------
    device : Device
    """

    device: Device
    fetched: int = 0
    """Words read from outside so far."""
    clock: float = 0
    """Cycle in which the last of them was there."""
    _freed: list[tuple[int, int]] = field(default_factory=list)
    """Words whose places were free again, and when; ascending."""

    def __post_init__(self) -> None:
        self._timing = OutsideTiming(self.device)

    @property
    def ahead(self) -> int:
        """Words that may be on the chip before they are used."""
        return self.device.buffer_words

    def row(self, words: int, now: int) -> int:
        """Fetch a row of the embedding, asked for at ``now``; return how long it takes.

        The stream waits meanwhile, and then has to find its place again.
        """
        each = self._timing.seek + self._timing.ACCESS
        if self.clock < now:
            # What has come since then is not counted yet; at most a buffer full.
            behind = min((now - self.clock) // self._timing.word, self._room())
            self._fetch(int(behind))
        self.clock = max(self.clock, now) + words * each
        taken = words * each
        self.clock += self._timing.seek + self._timing.ACCESS - self._timing.word
        return taken

    def _room(self) -> int:
        freed = self._freed[-1][0] if self._freed else 0
        return max(0, freed + self.ahead - self.fetched)

    def _fetch(self, words: int) -> None:
        self.fetched += words
        self.clock += words * self._timing.word

    def arrival(self, word: int) -> int:
        """Cycle in which word number ``word`` of all words read can be transferred."""
        if word >= self.fetched:
            self._fetch(word + 1 - self.fetched)
            # The place that it takes was free only then.
            place = word + 1 - self.ahead
            if place > 0 and self._freed:
                at = bisect_left(self._freed, (place, 0))
                if at < len(self._freed):
                    self.clock = max(self.clock, self._freed[at][1] + self._timing.word)
            return int(self.clock) + 1
        return 0

    def free(self, words: int, when: int) -> None:
        """Free the places of all words before number ``words`` at ``when``."""
        self._freed.append((words, when))

    def wrap(self) -> None:
        """Go back to word 0."""
        self.clock += self._timing.seek + self._timing.ACCESS - self._timing.word
