"""Runs of a device: tokens onto its tapes, RUN, and the tokens that it generates, none lost.

A run is about one sequence, or about as many at once as the device has. What the link
loses is read from the tape. When a run is over, what is on the tape must be what was sent and
announced: a request that came late, after its repeat had been answered, shows there.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import RUN, Command, Region, RunFlag
from trilight.sw.errors import DeviceError

from .link import Link, Request, read_request, write_request
from .responses import Counters, Status

__all__ = ["IDLE_READINGS", "LATE_S", "POLL_S", "SILENCE_S", "STALLED_POLLS", "TAPE_WORDS", "Runs",
           "SequenceState"]

SILENCE_S = 0.05
"""Silence during a run after which the device is asked how far it is."""

POLL_S = 0.01

STALLED_POLLS = 200
"""Responses without progress before a run is taken for stuck: 2 s, more than 1000 tokens of the
slowest chip there is."""

IDLE_READINGS = 2
"""Readings of all weights of all sequences without a token fed after which words are no progress.
"""


LATE_S = 10.0
"""Delay with which a request may come a second time; drivers and hubs hold frames for seconds."""

TAPE_WORDS = 32
"""Maximum of tokens of a tape in one frame: short frames get through a noisy line more often."""


@dataclass(kw_only=True, eq=False)
class SequenceState:
    """A prompt and what has been generated after it so far."""

    number: int
    """Index of its prompt in the request."""
    prompt: Sequence[int]
    """One token or more."""
    tokens: int
    """Number of tokens to generate."""
    seed: int
    sequence: int = 0
    """Number of the sequence of the device that computes it."""
    adapts: bool = False
    """The device learns from the prompt as it reads it."""
    fed: int = 0
    """Tokens that the device has been fed in runs that are over."""
    generated: list[int] = field(default_factory=list)
    """Tokens that have arrived."""

    @property
    def position(self) -> int:
        """Position of the token after those that are known."""
        return len(self.prompt) + len(self.generated)

    @property
    def left(self) -> int:
        """Tokens that have not arrived."""
        return self.tokens - len(self.generated)


class _Part:
    """A sequence's share of a run."""

    def __init__(self, state: SequenceState, n_feed: int, n_generate: int) -> None:
        self.state = state
        self.n_feed = n_feed
        self.n_generate = n_generate
        self.fed = n_feed + max(n_generate - 1, 0)
        """Tokens fed: the last one that is generated is not."""
        self.start = state.fed
        """Position of the sequence before."""
        self.end = state.fed + self.fed
        """Position of the sequence when the run is over."""
        self._left_after = state.left - n_generate

    @property
    def missing(self) -> int:
        """Tokens of this run that have not arrived."""
        return self.state.left - self._left_after


class _StallDetector:
    """Counts responses to STATUS that show no progress of a run.

    Progress is a token fed, or weights read on the way to the next one. The cycle counter tells
    nothing: it moves in a chip that hangs as well. Nothing counts twice, so that no device is
    waited for without end, whatever it sends.

    Parameters
    ----------
    parts
        The run's.
    max_words
        Weight words after which a token should have been fed.
    """

    def __init__(self, parts: Sequence[_Part], max_words: int) -> None:
        self._parts = parts
        self._max_words = max_words
        self._left: int | None = None
        """Fewest tokens that were left to feed."""
        self._words = 0
        """Words at the first response with so few tokens left."""
        self._read = 0
        """Most words since then."""
        self._polls = 0

    def renew(self) -> None:
        """Count from zero: the run has shown progress by other means."""
        self._polls = 0

    def ended(self, status: Status) -> bool:
        """Tell if this response is one too many without progress."""
        left = sum(max(_difference(part.end, status.positions[part.state.sequence]), 0)
                   for part in self._parts)
        words = (status.counters.words - self._words) % (1 << 32)
        if self._left is None or left < self._left:
            self._left, self._words, self._read = left, status.counters.words, 0
            self._polls = 0
        elif self._read < words <= self._max_words:
            self._read = words
            self._polls = 0
        else:
            self._polls += 1
        return self._polls == STALLED_POLLS


class Runs:
    """Runs of sequences on a device, one at a time.

    Parameters
    ----------
    device
        Its capacities.
    """

    def __init__(self, link: Link, device: Device) -> None:
        self._link = link
        self._device = device
        self._parts: list[_Part] = []
        self._stale = 0
        self._written: deque[tuple[float, int, int]] = deque()
        """Tokens written within ``LATE_S``: when, at which word of the tapes, and which."""
        self.one_by_one = False
        """True if runs are of one token. A chip makes tokens faster than a slow line takes their
        events and then drops some; that of a single token is sent."""

    def status(self) -> Status:
        """Return the state of the device."""
        return Status.parse(self._link.request(Request(Command.STATUS)).check())

    def stop(self) -> Status:
        """End the run in progress, if any, after its token, and return how far it went."""
        status = self.status()
        if status.running:
            self._link.request(Request(Command.STOP)).check()
            for _ in range(STALLED_POLLS):
                status = self.status()
                if not status.running:
                    break
                self._link.listen(POLL_S)
            else:
                raise DeviceError("the device does not stop; reset the board and try again")
        return status

    def feed(self, states: Sequence[SequenceState]) -> Counters:
        """Feed all tokens of the prompts but the last ones, from a clean state.

        It computes no logits.
        """
        spent = Counters()
        self._stale = self._link.stale
        while unfed := [state for state in states if state.fed < len(state.prompt) - 1]:
            parts = []
            for state in unfed:
                end = min(state.fed + self._device.tape_tokens, len(state.prompt) - 1)
                piece = state.prompt[state.fed:end]
                self._write_tape(state, piece)
                parts.append(_Part(state, len(piece), 0))
            self._run(parts, 0)
            spent += self.settle()
        return spent

    def start(self, states: Sequence[SequenceState], temperature: int) -> None:
        """Start to generate tokens of sequences whose prompts have been fed.

        Of each no more than the tape holds beside the token that is fed first: a token whose event
        is lost is then still there, however late it is asked for.
        """
        most = 1 if self.one_by_one else self._device.tape_tokens - 1
        for state in states:
            if not state.generated:
                self._write_tape(state, state.prompt[-1:])
        self._run([_Part(state, 1, min(state.left, most)) for state in states], temperature)

    def listen(self) -> Iterator[SequenceState]:
        """Take in the tokens of the run as they arrive; yield the sequence that each belongs to."""
        link = self._link
        parts = {part.state.sequence: part for part in self._parts}
        heard = link.transport.now()
        stalled = self._stall_detector()
        while any(part.missing for part in self._parts):
            if link.events:
                event = link.events.popleft()
                part = parts.get(event.sequence)
                lost = _difference(event.position, part.state.position) if part else -1
                if part and 0 <= lost < part.missing:
                    yield from self._add(part.state, self._next_tokens(part.state, lost))
                    yield from self._add(part.state, [event.token])
                    heard = link.transport.now()
                    stalled.renew()
                continue
            if (link.listen(SILENCE_S)
                    and link.transport.now() - heard < SILENCE_S * link.transport.timeout_scale):
                continue
            status = self.status()
            if stalled.ended(status):
                raise self._stuck(status)
            if link.events:
                continue
            ready = [self._ready(part, status) for part in self._parts]
            for part, count in zip(self._parts, ready, strict=True):
                yield from self._add(part.state, self._next_tokens(part.state, max(count, 0)))

    def settle(self) -> Counters:
        """Wait for the end of the run, check it, and return what it took.

        Raises
        ------
        DeviceError
            The device is stuck, or has done something else than it was asked for.
        """
        stalled = self._stall_detector()
        while (status := self.status()).running:
            if stalled.ended(status):
                raise self._stuck(status)
            self._link.listen(POLL_S)
        fed = sum(part.fed for part in self._parts)
        if status.counters.tokens != fed or any(
                _difference(status.positions[part.state.sequence], part.end)
                for part in self._parts):
            raise DeviceError(
                f"the run fed {status.counters.tokens} tokens up to {self._where(status)}, not "
                f"{fed} up to {_listed(part.end for part in self._parts)}; was the board reset? "
                "Load the model again")
        if self._link.stale != self._stale:
            raise DeviceError("an earlier RUN came late, and may have been executed; run it again")
        for part in self._parts:
            self._check_tape(part)
            part.state.fed = part.end
        return status.counters

    def _check_tape(self, part: _Part) -> None:
        """Compare the tape with what the run was to be fed and has announced."""
        state = part.state
        count = part.n_feed + part.n_generate
        known = [*state.prompt, *state.generated][part.start:part.start + count]
        there = self._read_tape(state.sequence, part.start, count)
        for offset, (token, found) in enumerate(zip(known, there, strict=True)):
            if token != found:
                raise DeviceError(
                    f"the device has token {found} at position {part.start + offset}, where "
                    f"{token} was sent or announced; run it again")

    def _run(self, parts: list[_Part], temperature: int) -> None:
        """Start a run with cleared counters."""
        self._link.events.clear()
        self._parts = parts
        for part in parts:
            state = part.state
            flags = RunFlag.CLEAR
            if not state.fed:
                flags |= RunFlag.RESET
            if state.adapts:
                flags |= RunFlag.ADAPT
            # What is learnt from draws with random bytes that another run of the same text goes
            # on with: they are seeded once.
            if not (state.fed if state.adapts else state.generated):
                # As late as can be: a RUN that comes late may bring another seed.
                flags |= RunFlag.SEED
            if part is not parts[-1]:
                flags |= RunFlag.HOLD
            self._link.request(Request(Command.RUN, RUN.pack(
                flags, state.sequence, part.n_feed, part.n_generate, temperature,
                state.seed))).check()

    def _ready(self, part: _Part, status: Status) -> int:
        """Count the missing tokens that are on the tape, less one if not even one is begun.

        A token that was fed is on the tape, and so is the last one of a run that has ended.
        """
        position = status.positions[part.state.sequence]
        ready = _difference(position, part.state.position) + (not status.running)
        if ready > part.missing or not (status.running or ready == part.missing):
            raise DeviceError(
                f"the run ended at position {position}, not {part.end}; was the board reset? "
                "Load the model again")
        return ready

    @staticmethod
    def _add(state: SequenceState, tokens: Sequence[int]) -> Iterator[SequenceState]:
        for token in tokens:
            state.generated.append(token)
            yield state

    def _stall_detector(self) -> _StallDetector:
        device = self._device
        return _StallDetector(self._parts, IDLE_READINGS * device.sequences * device.weight_words)

    def _where(self, status: Status) -> str:
        return "position " + _listed(status.positions[part.state.sequence] for part in self._parts)

    def _stuck(self, status: Status) -> DeviceError:
        return DeviceError(f"the device is stuck at {self._where(status)}; reset the board and "
                           "load the model again")

    def _write_tape(self, state: SequenceState, tokens: Sequence[int]) -> None:
        """Write ``tokens`` where the sequence will be fed next."""
        now = self._link.transport.now()
        self._written.extend((now, self._word(state.sequence, state.fed + offset), int(token))
                             for offset, token in enumerate(tokens))
        data = np.asarray(tokens, "<u2").tobytes()
        for response in self._link.exchange([
                write_request(address, data[2 * start:2 * (start + words)])
                for start, address, words in self._tape(state.sequence, state.fed, len(tokens))]):
            response.check()

    def _next_tokens(self, state: SequenceState, count: int) -> list[int]:
        """Read the next ``count`` generated tokens of a sequence.

        Raises
        ------
        DeviceError
            One of them may be of a WRITE that came a second time, after the run.
        """
        tokens = self._read_tape(state.sequence, state.position, count)
        # While a run is in progress the device refuses to write, late as ever.
        if self._may_be_old(state, tokens) and not self.status().running:
            self.one_by_one = True
            raise DeviceError("a token whose event was lost is one that was written in its place "
                              "before, and may have been written again; run it again")
        return tokens

    def _may_be_old(self, state: SequenceState, tokens: Sequence[int]) -> bool:
        """Tell if one of the next tokens is what was written in its place a short while ago."""
        link = self._link
        until = link.transport.now() - LATE_S * link.transport.timeout_scale
        while self._written and self._written[0][0] < until:
            self._written.popleft()
        if not tokens:
            return False
        old = {(word, token) for _, word, token in self._written}
        return any((self._word(state.sequence, state.position + offset), token) in old
                   for offset, token in enumerate(tokens))

    def _word(self, sequence: int, position: int) -> int:
        """Word of the tapes that a token of a sequence is in."""
        return sequence * self._device.tape_tokens + position % self._device.tape_tokens

    def _read_tape(self, sequence: int, position: int, count: int) -> list[int]:
        """Read ``count`` tokens from a position on."""
        tokens: list[int] = []
        for response in self._link.exchange([
                read_request(address, words)
                for _, address, words in self._tape(sequence, position, count)]):
            payload = response.check()
            tokens += np.frombuffer(payload[:len(payload) & -2], "<u2").tolist()
        if len(tokens) != count:
            raise DeviceError(f"the device read {len(tokens)} tokens from its tape, not {count}; "
                              "reset the board and try again")
        return tokens

    def _tape(self, sequence: int, position: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Parts of a stretch of tape that do not wrap: offset in it, address, words."""
        size = self._device.tape_tokens
        start = 0
        while start < count:
            place = (position + start) % size
            words = min(count - start, size - place, TAPE_WORDS)
            yield start, Region.TAPE + sequence * size + place, words
            start += words


def _difference(position: int, other: int) -> int:
    """Return the lead of ``position`` over ``other``, both modulo 65536."""
    return (position - other + 0x8000) % 0x10000 - 0x8000


def _listed(numbers: Iterator[int]) -> str:
    return " and ".join(map(str, numbers))
