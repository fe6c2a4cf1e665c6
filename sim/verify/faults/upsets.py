"""Single bits of a running chip's memories, flipped at any cycle."""

import random
from functools import partial

from trilight.hw.support.boards import DEFAULT_BOARD, board_device
from trilight.sw.errors import TrilightError

from .line import HangError
from .pins import memories_of_rtl, open_upsets
from .session import AFTERWARDS, GENERATIONS, LOAD, OPEN, FaultOutcome, Sessions

__all__ = ["CHECKED", "Upsets"]

CHECKED = "core.weights"
"""Prefix of the memories that the chip checks."""


class Upsets(Sessions):
    """Sessions with one flipped bit each: during a request, or before it while the chip rests.

    Parameters
    ----------
    checked
        Whether the bit is one of the weights in use; otherwise it is one of any other memory, of
        which each is as likely as the others.
    board
        Board whose chip it is.
    """

    def __init__(self, seed: int, *, checked: bool, board: str = DEFAULT_BOARD) -> None:
        self._open = partial(open_upsets, board)
        super().__init__(self._open, seed)
        device = self._open()
        self.connect(device)
        self.request(LOAD)
        self._cycles: dict[str, int] = {}
        for name in GENERATIONS:
            before = device.cycles
            self.request(name)
            self._cycles[name] = device.cycles - before
        device.close()
        self._checked = checked
        self._used = self.model.config.weight_words(board_device(board).packing)
        self._memories = {name: memory for name, memory in memories_of_rtl(board).items()
                          if name.startswith(CHECKED) == checked}

    def run(self, session: int) -> list[FaultOutcome]:
        """Flip a bit, and make two requests."""
        rng = random.Random(f"{self._seed}:{session}")
        device = self._open()
        self.connect(device)
        self.request(OPEN)
        self.request(LOAD)
        name = rng.choice(list(GENERATIONS))
        where = list(self._memories)[session % len(self._memories)]
        memory = self._memories[where]
        address = rng.randrange(self._used if self._checked else memory.words)
        wait = 0 if rng.random() < 0.2 else rng.randrange(self._cycles[name])
        device.upset(memory, address, rng.randrange(memory.width), wait)
        start = device.now()
        outcome, detail, recoveries = "unnoticed", "", 0
        try:
            for what in (name, AFTERWARDS):
                try:
                    right = self.request(what)
                except TrilightError as error:
                    outcome, detail = "refused", f"{type(error).__name__}: {error}"
                    continue
                recoveries += self.recoveries
                if not right:
                    outcome = "silent" if self._checked else "wrong"
                    break
                if outcome == "unnoticed" and self.recoveries:
                    outcome = "recovered"
                if outcome != "unnoticed":
                    break
            if self._checked and outcome == "unnoticed":
                outcome, detail = "silent", "a weight has changed and nobody knows"
        except HangError:
            outcome = "hung"
        except Exception as error:
            outcome, detail = "crashed", f"{type(error).__name__}: {error}"
        seconds = device.now() - start - self.seconds[name]
        injected = int(not device.upset_is_due)
        device.close()
        return [
            FaultOutcome(
                session,
                0,
                name,
                "weights" if self._checked else where,
                outcome,
                injected,
                round(max(0.0, seconds), 6),
                0,
                recoveries,
                detail,
            )
        ]
