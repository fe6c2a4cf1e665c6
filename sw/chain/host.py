"""The host of a chain: it starts the boards, leads vectors through them, and restarts what fails.

A board's state cannot be asked for. What the host knows of each sequence is its tokens, so after
any failure it begins a new run: every sequence is fed again from its first token, and what was
under way of the old run counts no more. A token is therefore right or absent.
"""

import secrets
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.chain import (
    CHAIN_KINDS,
    NEXT,
    REFUSED,
    ChainCommand,
    Refusal,
)
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.reference import Saturations
from trilight.sw.errors import ChainError, TokenError

from .board import KEY_BYTES
from .cut import cut_layers
from .link import Assembler, Vector
from .member import Member

__all__ = ["Chain", "ChainRunner", "Recovery"]

Logits = NDArray[np.int64]
Progress = Callable[[str], None]

MAX_SEQUENCES = 256

_REASONS = {Refusal.POSITION: "has lost its state",
            Refusal.INCOMPLETE: "received a damaged vector",
            Refusal.NEXT: "cannot reach the next board"}


@dataclass(frozen=True)
class Recovery:
    """A failure after which the chain went on.

    Attributes
    ----------
    board : int
        Counted from 1.
    why : str
    restarted : bool
        Whether its process was started again; else only the connections were.
    tokens : int
        Fed again.
    seconds : float
    """

    board: int
    why: str
    restarted: bool
    tokens: int
    seconds: float


class _LostError(Exception):
    """A board that fails, and why."""

    def __init__(self, board: int, why: str, restart: bool = True) -> None:
        super().__init__(why)
        self.board, self.why, self.restart = board, why, restart


class Chain:
    """Boards that share a model, as processes of this computer.

    Parameters
    ----------
    path : Path
        Of the imported model; each board maps it.
    boards : int
    target : str
        What runs the layers of each.
    timeout_s : float
        Silence after which a board counts as dead.
    restarts : int
        Failures in a row, without a token between, that are recovered from. With 0 the first is
        an error.
    progress : callable, optional
        Told what happens, in a sentence.

    Raises
    ------
    ChainError
        There are more boards than layers, or one does not start.
    """

    def __init__(self, path: Path, boards: int, *, target: str = "reference",
                 timeout_s: float = 20.0, restarts: int = 2,
                 progress: Progress | None = None) -> None:
        if not timeout_s > 0 or restarts < 0:
            raise ChainError("the boards' timeout must be positive and restarts at least 0, not "
                             f"{timeout_s:g} and {restarts}")
        self.model = ImportedModel.load(path)
        self.recoveries: list[Recovery] = []
        parts = cut_layers(self.model.shape, boards)
        self._target = target
        self._members = [Member(path, part, number == len(parts), self.model.sha256, target)
                         for number, part in enumerate(parts, 1)]
        self._timeout_s, self._restarts = timeout_s, restarts
        self._progress = progress or (lambda _: None)
        self._key = secrets.token_bytes(KEY_BYTES)
        self._run = 1
        self._history: dict[int, list[int]] = {}
        self._assembler = Assembler(ChainCommand.LOGITS, self.model.shape.vocabulary)
        self._pending: list[Vector] = []
        try:
            self._start(range(boards))
            self._wire()
        except _LostError as error:
            self.close()
            raise ChainError(self._told(error)) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every board."""
        for member in self._members:
            member.stop()

    @property
    def pids(self) -> list[int]:
        """Process of each board."""
        return [member.pid for member in self._members]

    def begin(self, sequence: int) -> None:
        """Restart a sequence."""
        if not 0 <= sequence < MAX_SEQUENCES:
            raise ChainError(f"sequences are numbered 0 to {MAX_SEQUENCES - 1}, not {sequence}")
        self._history[sequence] = []

    def feed(self, tokens: Mapping[int, Sequence[int]]) -> dict[int, Logits]:
        """Feed tokens to sequences; all boards work at a time.

        Parameters
        ----------
        tokens : mapping
            At least one token for each sequence that goes on.

        Returns
        -------
        dict of int64 array [V]
            Logits after the last token of each sequence.

        Raises
        ------
        TokenError
            The vocabulary has no such token.
        ChainError
            A board fails, and more often than it may.
        """
        size = self.model.shape.vocabulary
        for sequence, more in tokens.items():
            if not more or not all(0 <= token < size for token in more):
                raise TokenError(f"tokens must be in [0, {size - 1}], not {list(more)}")
            if sequence not in self._history:
                self.begin(sequence)
        before = {sequence: len(self._history[sequence]) for sequence in tokens}
        for sequence, more in tokens.items():
            self._history[sequence] += more
        try:
            return self._fed(before)
        except BaseException:
            for sequence, length in before.items():
                del self._history[sequence][length:]
            # What is under way belongs to no later request.
            self._run += 1
            raise

    def saturations(self, sequence: int) -> Saturations:
        """Values of a sequence that were clipped, on all boards."""
        counts: dict[str, int] = {}
        for number, member in enumerate(self._members):
            try:
                found = member.status(sequence, self._timeout_s)[-len(CHAIN_KINDS):]
            except ChainError as error:
                raise ChainError(self._told(self._blame(number, str(error)))) from error
            for kind, count in zip(CHAIN_KINDS, found, strict=True):
                if count:
                    counts[kind] = counts.get(kind, 0) + count
        return Saturations(counts)

    def results(self) -> dict[str, Any]:
        """Return what the boards are and what happened to them, ready for JSON."""
        return {"boards": [{
            "layers": [member.layers.start, member.layers.stop - 1], "head": member.head,
            "starts": member.starts} for member in self._members],
            "recoveries": [asdict(recovery) for recovery in self.recoveries],
            "target": self._target,
            "boundary": "each board is a process of this computer, with its layers on the target; "
                        "embedding and sampling are the host's"}

    def _start(self, numbers: Sequence[int] | range) -> None:
        for number in numbers:
            self._members[number].spawn(self._key)
        for number in numbers:
            member = self._members[number]
            self._progress(f"board {number + 1} of {len(self._members)}: {member.what}")
            try:
                member.connect(self._key, self._timeout_s)
            except ChainError as error:
                raise _LostError(number, str(error)) from error

    def _wire(self) -> None:
        """Connect each board with the next one."""
        for number, (member, after) in enumerate(
                zip(self._members, self._members[1:], strict=False)):
            try:
                member.ask(ChainCommand.NEXT, NEXT.pack(after.port), self._timeout_s)
            except ChainError as error:
                raise self._blame(number, str(error)) from error

    def _fed(self, before: Mapping[int, int]) -> dict[int, Logits]:
        """Logits of the newest token of each sequence; recovers from failures."""
        failures, began, lost = 0, 0.0, None
        begin = dict(before)
        while True:
            try:
                if lost is not None:
                    self._mend(lost)
                    # A new run: from their first tokens, and all sequences that go on.
                    begin = dict.fromkeys(self._history, 0)
                found = self._pass_through(begin)
            except _LostError as error:
                if failures >= self._restarts:
                    raise ChainError(f"{self._told(error)}, failure {failures + 1} in a row; no "
                                     "token of it was taken, run the command again, with more "
                                     "--restarts or a longer --timeout if it was only slow"
                                     ) from error
                if lost is None:
                    began = time.monotonic()
                failures, lost = failures + 1, error
                self._progress(f"{self._told(error)}; the sequences are fed again")
                continue
            if lost is not None:
                again = sum(map(len, self._history.values()))
                self.recoveries.append(Recovery(lost.board + 1, lost.why, lost.restart, again,
                                                time.monotonic() - began))
            return {sequence: found[sequence] for sequence in before}

    def _pass_through(self, begin: Mapping[int, int]) -> dict[int, Logits]:
        """Feed each sequence's tokens from a position on, as many at a time as boards can take."""
        waiting = [(sequence, position) for position in range(
            max(map(len, self._history.values())))
            for sequence in begin
            if begin[sequence] <= position < len(self._history[sequence])]
        window, under_way = 2 * len(self._members) + len(begin), 0
        found: dict[int, Logits] = {}
        awaited = len(waiting)
        queue = iter(waiting)
        while awaited:
            while under_way < window and (job := next(queue, None)) is not None:
                self._send(*job)
                under_way += 1
            vector = self._result()
            under_way, awaited = under_way - 1, awaited - 1
            if vector.wanted:
                found[vector.sequence] = vector.values
        return found

    def _send(self, sequence: int, position: int) -> None:
        tokens = self._history[sequence]
        x = self.model.embedding[tokens[position]].astype(np.int64)
        vector = Vector(ChainCommand.RESIDUAL, self._run, sequence, position,
                        position == len(tokens) - 1, x)
        try:
            link = self._members[0].link
            if link is None:
                raise ChainError("it is not connected")
            link.send(*vector.frames())
        except ChainError as error:
            raise self._blame(0, str(error)) from error

    def _result(self) -> Vector:
        """The next vector of this run from the last board."""
        if self._pending:
            return self._pending.pop(0)
        until = time.monotonic() + self._timeout_s
        with selectors.DefaultSelector() as selector:
            for number, member in enumerate(self._members):
                if member.link is None:
                    raise self._blame(number, "it is not connected")
                selector.register(member.link.socket, selectors.EVENT_READ, number)
            while (left := until - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    self._take(key.data)
                if self._pending:
                    return self._pending.pop(0)
        raise self._silent()

    def _take(self, number: int) -> None:
        """Keep the vectors of this run that a board sends."""
        link = self._members[number].link
        assert link is not None
        try:
            frames = link.receive(0.05)
        except ChainError as error:
            raise self._blame(number, str(error)) from error
        for frame in frames:
            if frame.command == ChainCommand.REFUSED:
                run, _, why, _, _ = REFUSED.unpack(frame.payload)
                if run in (0, self._run):
                    at = number + (why == Refusal.NEXT)
                    raise self._blame(min(at, len(self._members) - 1), _REASONS[Refusal(why)])
            elif frame.command == ChainCommand.LOGITS:
                try:
                    vector = self._assembler.add(frame.payload)
                except ValueError as error:
                    raise _LostError(number, f"sent {error}", restart=False) from error
                if vector is not None and vector.run == self._run:
                    self._pending.append(vector)

    def _silent(self) -> _LostError:
        """Which board it is that nothing comes from."""
        for number, member in enumerate(self._members):
            try:
                member.status(0, self._timeout_s)
            except ChainError as error:
                return self._blame(number, str(error))
        return _LostError(len(self._members) - 1,
                          f"sent nothing for {self._timeout_s:g} s, though every board answers",
                          restart=False)

    def _blame(self, number: int, why: str) -> _LostError:
        """A board's failure, by how its process ended if it did."""
        ended = self._members[number].ended()
        return _LostError(number, ended or why, restart=True)

    def _told(self, error: _LostError) -> str:
        member = self._members[error.board]
        return (f"board {error.board + 1} of {len(self._members)} ({member.what}) {error.why}"
                if not error.why.startswith(("it ", "the ", "nothing ")) else
                f"board {error.board + 1} of {len(self._members)} ({member.what}): {error.why}")

    def _mend(self, lost: _LostError) -> None:
        """Restart a board, and any other that has ended; connect all again."""
        self._run += 1
        self._pending.clear()
        self._assembler = Assembler(ChainCommand.LOGITS, self.model.shape.vocabulary)
        dead = [number for number, member in enumerate(self._members)
                if (number == lost.board and lost.restart) or member.link is None
                or member.ended() is not None]
        for number in dead:
            self._members[number].stop()
        self._start(dead)
        self._wire()


class ChainRunner:
    """One sequence on a chain, as a ``Stream``.

    Parameters
    ----------
    chain : Chain
    sequence : int
    """

    def __init__(self, chain: Chain, sequence: int = 0) -> None:
        self._chain, self._sequence = chain, sequence
        chain.begin(sequence)

    @property
    def saturations(self) -> Saturations:
        """Values that were clipped since the stream began."""
        return self._chain.saturations(self._sequence)

    def reset(self) -> None:
        """Begin a stream of tokens."""
        self._chain.begin(self._sequence)

    def step(self, token: int) -> Logits:
        """Feed a token; return logits [V] with ``FORMATS.logit_frac`` fraction bits."""
        return self._chain.feed({self._sequence: [token]})[self._sequence]
