"""A generation: what is asked for, the tokens that it yields, its course and its result."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trilight.hw.contract.numbers import NUMBERS
from trilight.sw.errors import PromptError, WrongTokenError
from trilight.sw.model.model import Model
from trilight.sw.model.subword import TextDecoder
from trilight.sw.reference.sampler import Sampler

from .responses import Counters
from .session import SequenceState

__all__ = ["MAX_TOKENS", "Generated", "Generation", "LastRun", "Token", "assign_sequences",
           "check_request", "check_requests"]

MAX_TOKENS = 1_000_000
"""Tokens after a prompt, at most: minutes of a board's time, a day of a simulated one's."""


@dataclass(frozen=True)
class Token:
    """A generated token.

    Parameters
    ----------
    id : int
    text : str
        Characters that are complete with it; a token may be a part of one.
    position : int
        Its place after the start of the prompt, from 0.
    prompt : int
        Which of the prompts it goes on from, from 0.
    """

    id: int
    text: str
    position: int
    prompt: int = 0

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Result of a prompt.

    Parameters
    ----------
    prompt : str
    text : str
        Generated text, without the prompt.
    token_ids : tuple of int
        Generated tokens, in order.
    seed : int
    """

    prompt: str
    text: str
    token_ids: tuple[int, ...] = field(repr=False)
    seed: int


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """Result of a generation; counts are over all of its prompts.

    Parameters
    ----------
    generated : tuple of Generated
        One for each prompt, at least one.
    sequences : int
        Number of them that ran at once.
    temperature : float
        As rounded to the device's format.
    cycles : int or None
        Clock cycles over the generated tokens alone; ``None`` of a device without a clock.
    words : int
        Weight words used meanwhile.
    tokens : int
        Tokens fed meanwhile: one per generated token.
    prompt_cycles : int or None
        Clock cycles over the prompts but their last tokens.
    host_seconds : float
        Time on this computer from the request to the last token.
    repeats : int
        Requests that had to be sent again.
    recoveries : int
        How often the device was loaded again and retried, after a reset or the like. The counts
        above are of the last time alone.
    """

    generated: tuple[Generated, ...]
    sequences: int
    temperature: float
    cycles: int | None
    words: int
    tokens: int
    prompt_cycles: int | None
    host_seconds: float
    repeats: int
    recoveries: int = 0

    @property
    def prompt(self) -> str:
        """The first prompt."""
        return self.generated[0].prompt

    @property
    def text(self) -> str:
        """Text generated after the first prompt."""
        return self.generated[0].text

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Tokens that were generated after the first prompt."""
        return self.generated[0].token_ids

    @property
    def seed(self) -> int:
        """Seed of the first prompt."""
        return self.generated[0].seed

    @property
    def cycles_per_token(self) -> float | None:
        """Clock cycles per generated token, whichever prompt it belongs to."""
        return self.cycles / self.tokens if self.cycles is not None and self.tokens else None


def check_request(model: Model, prompt: str, *, tokens: int, temperature: float,
                  seed: int) -> None:
    """Refuse what ``Board.generate`` would refuse once ``model`` is loaded.

    Raises
    ------
    PromptError
        The prompt is empty, or a number is out of its range.
    UnknownCharacterError
        The vocabulary lacks a character of the prompt.
    """
    if not isinstance(prompt, str):
        raise PromptError(f"the prompt must be a text, not {prompt!r}")
    if not prompt:
        raise PromptError("the prompt must have at least one character; a newline will do")
    for name, number in (("tokens", tokens), ("seed", seed)):
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise PromptError(f"{name} must be an integer, not {number!r}")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float | np.number):
        raise PromptError(f"temperature must be a number, not {temperature!r}")
    if tokens < 1:
        raise PromptError(f"tokens must be at least 1, not {tokens}")
    if tokens > MAX_TOKENS:
        raise PromptError(f"tokens must be at most {MAX_TOKENS:,} after a prompt, not {tokens:,}; "
                          "go on from the end of the text in another run")
    Sampler(int(seed), temperature)
    model.encode(prompt)


def check_requests(model: Model, prompts: Sequence[str], *, tokens: int | Sequence[int],
                   temperature: float, seeds: Sequence[int] | None, adapt: bool = False,
                   ) -> list[SequenceState]:
    """Return the states of prompts that are to be generated after, in their order.

    Raises
    ------
    PromptError
        There is no prompt, or not a number for each; or as of ``check_request``.
    UnknownCharacterError
        The vocabulary lacks a character of a prompt.
    """
    if isinstance(prompts, str) or not isinstance(prompts, Sequence) or not prompts:
        raise PromptError(f"prompts must be a list of at least one text, not {prompts!r}")
    counts = [tokens] * len(prompts) if isinstance(tokens, int | np.integer) else tokens
    seeds = range(len(prompts)) if seeds is None else seeds
    for name, numbers in (("tokens", counts), ("seeds", seeds)):
        if isinstance(numbers, str) or not isinstance(numbers, Sequence):
            raise PromptError(f"{name} must be a list of integers, one for each prompt, not "
                              f"{numbers!r}")
    for name, given in (("tokens", counts), ("seeds", seeds)):
        if len(given) != len(prompts):
            raise PromptError(f"{name} must be {len(prompts)} numbers, one for each prompt, "
                              f"not {len(given)}")
    states = []
    for number, (prompt, count, seed) in enumerate(zip(prompts, counts, seeds, strict=True)):
        check_request(model, prompt, tokens=count, temperature=temperature, seed=seed)
        states.append(SequenceState(number=number, prompt=model.encode(prompt), tokens=count,
                                    seed=seed, adapts=adapt))
    return states


def assign_sequences(states: Sequence[SequenceState]) -> list[SequenceState]:
    """Assign the states to the device's sequences, and return them in the order of those.

    The longest prompt goes first, so that the first run is about sequence 0 in any case: it makes
    the device forget what an interrupted host may have prepared.
    """
    ordered = sorted(states, key=lambda state: len(state.prompt), reverse=True)
    for sequence, state in enumerate(ordered):
        state.sequence = sequence
    return ordered


class Generation:
    """A generation in progress: its request, the tokens yielded so far, and its counters."""

    def __init__(self, model: Model, states: list[SequenceState], temperature: int, number: int,
                 repeats: int) -> None:
        self.model = model
        self.states = states
        self.temperature = temperature
        self.number = number
        self.repeats = repeats
        """Repeats of the link before the request."""
        self.recoveries = 0
        self.emitted: list[list[int]] = [[] for _ in states]
        """Tokens yielded so far, a list for each sequence."""
        self.decoders = [TextDecoder() for _ in states]
        """Decoders of the bytes that have been yielded."""
        self.started = self.finished = time.monotonic()
        self.begin()

    def begin(self) -> None:
        """Restart with the first token."""
        self.states = [replace(state, fed=0, generated=[]) for state in self.states]
        self.spent = self.prompt_spent = Counters()
        self.running = False

    def emit(self, state: SequenceState) -> bool:
        """Tell if the newest token of a sequence is to be yielded; it then counts as yielded.

        Raises
        ------
        WrongTokenError
            Another one has been yielded in its place.
        """
        number, token = len(state.generated) - 1, state.generated[-1]
        emitted = self.emitted[state.number]
        if number < len(emitted):
            if emitted[number] != token:
                raise WrongTokenError(
                    f"token {number} after prompt {state.number} came as {emitted[number]}, and as "
                    f"{token} when it was generated again, so one of them is wrong; discard the "
                    "text and run it again")
            return False
        emitted.append(token)
        self.finished = time.monotonic()
        return True

    def result(self, repeats: int, sequences: int, *, clock: bool) -> LastRun:
        """Return how far it went.

        Parameters
        ----------
        repeats : int
            Repeats of the link until now.
        sequences : int
            Of the device.
        clock : bool
            Whether the device has one.
        """
        decode = self.model.decode
        return LastRun(
            generated=tuple(Generated(prompt=decode(state.prompt), text=decode(tokens),
                                      token_ids=tuple(tokens), seed=state.seed)
                            for state, tokens in zip(self.states, self.emitted, strict=True)),
            sequences=min(sequences, len(self.states)),
            temperature=self.temperature / (1 << NUMBERS.temperature_frac),
            cycles=self.spent.cycles if clock else None, words=self.spent.words,
            tokens=self.spent.tokens, prompt_cycles=self.prompt_spent.cycles if clock else None,
            host_seconds=self.finished - self.started, repeats=repeats - self.repeats,
            recoveries=self.recoveries)
