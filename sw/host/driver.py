"""The driver: loads a model into a device and streams the tokens that it generates.

It sees a device through a ``Transport`` only, so a board, a simulated one and the emulated one are
driven by the same code.

It recovers from errors by itself where it can: a request gives the same tokens each time, so a
device that was reset is loaded again and the request retried. Tokens that have been yielded already
are compared.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike

import numpy as np

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.protocol import (
    ADDRESS,
    BIASES,
    MAX_WORDS,
    WORD_BYTES,
    Command,
    Region,
    Result,
)
from trilight.hw.support.terminal import visible
from trilight.sw.errors import (
    DeviceError,
    LinkError,
    PromptError,
    TargetError,
    TrilightError,
    WeightsChangedError,
    WrongDeviceError,
    WrongTokenError,
)
from trilight.sw.model.bundled import bundled_model, default_model_path
from trilight.sw.model.image import Image, compile_image
from trilight.sw.model.model import Model
from trilight.sw.model.subword import TextDecoder
from trilight.sw.reference.sampler import Sampler, temperature_to_fixed

from .link import Link, Request, Response, read_request, write_request
from .responses import Counters, Identity, Status
from .session import Runs, SequenceState
from .transport import Transport
from .weight_crc import WeightCheck

__all__ = ["MAX_TOKENS", "RECOVERIES", "Board", "Generated", "LastRun", "Progress", "Token",
           "check_request"]

MAX_TOKENS = 1_000_000
"""Tokens after a prompt, at most: minutes of a board's time, a day of a simulated one's."""

RECOVERIES = 3
"""Retries of a request before its error is raised."""

Progress = Callable[[int, int], None]
"""Called with the 16-bit words done and the words in all."""


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


class Board:
    """A device that runs one model.

    Parameters
    ----------
    transport : Transport
        Reaches the device; ``close`` closes it.

    Attributes
    ----------
    identity : Identity
    model : Model or None
        The model that was loaded last.
    last_run : LastRun or None
        Counters of the last generation, set when it ends or is stopped.
    resident : bool
        Whether the board had the weights of the model that was loaded last: after a boot from
        flash, or from a former host.

    Raises
    ------
    NoResponseError, WrongDeviceError
        No Trilight of this protocol version answers.
    """

    def __init__(self, transport: Transport) -> None:
        if not isinstance(transport, Transport):
            raise TargetError(f"a board is reached by a transport, not by {transport!r}; "
                              "trilight.open_board opens one by its name")
        self.transport = transport
        self.model: Model | None = None
        self.last_run: LastRun | None = None
        self.resident = False
        self._link = Link(transport)
        self._generation = 0
        self._sound = False
        """True while the model is believed to be loaded."""
        self._closed = False
        self.identity = self._identify()
        self._check = WeightCheck(
            self._link, WORD_BYTES * self.identity.device.packing.word_units)
        self._runs = Runs(self._link, self.identity.device)
        self.stop()

    @property
    def repeats(self) -> int:
        """Requests sent again so far."""
        return self._link.repeats

    @property
    def damaged(self) -> int:
        """Frames from the device that were dropped so far."""
        return self._link.damaged

    def _identify(self) -> Identity:
        # Sequence number 0 makes the device forget the last RUN of a former host.
        response = self._link.request(Request(Command.IDENTIFY), sequence=0)
        if response.result != Result.OK:
            raise WrongDeviceError(f"{self.transport.name} does not know IDENTIFY (result "
                                   f"{response.result}); choose another port")
        return Identity.parse(response.payload, self.transport.name)

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the device back; what it does goes on. A second time does nothing."""
        self._closed = True
        self.transport.close()

    def _check_open(self) -> None:
        if self._closed:
            raise LinkError(f"the board {self.transport.name} has been closed; open it again")

    def __repr__(self) -> str:
        """One line: what it is, where, and what it holds."""
        device = self.identity.device
        clock = f", {self.identity.clock_hz / 1e6:g} MHz" if self.identity.clock_hz else ""
        held = f"model {self.model.sha256[:12]}" if self.model else "no model"
        end = ", closed" if self._closed else ""
        return visible(f"<Board {self.transport.name}{clock}, {device.weight_words:,} weight "
                       f"words, {device.sequences} sequences, {held}{end}>")

    def status(self) -> Status:
        """Return the state of the device."""
        self._check_open()
        return self._runs.status()

    def stop(self) -> Status:
        """End the run in progress, if any, after its token, and return how far it went."""
        self._check_open()
        return self._runs.stop()

    def forget(self) -> None:
        """Take what was loaded for lost, as it is when something else has written the memory."""
        self._generation += 1
        self.model = None
        self._sound = False

    def load(self, source: Model | str | PathLike[str] | None = None, *, verify: bool = False,
             progress: Progress | None = None) -> None:
        """Load a model, unless it is the one that this board has already.

        A board whose weights are this model's by their CRC, after a boot from flash or a former
        host's load, gets only what it can not say that it has: program, biases, taps and tables,
        a twentieth of the bundled model. The device then says what it holds, by a CRC.

        Parameters
        ----------
        source : Model or path, optional
            The model or its file; the bundled one unless given.
        verify : bool
            Read the weights back too, to learn where a difference lies.
        progress : callable, optional
            Called with the 16-bit words moved so far and the words in all.

        Raises
        ------
        ModelFileError
            The file is missing or damaged; nothing was sent.
        ModelDoesNotFitError
            The model is too large; nothing was sent.
        DeviceError
            The device refuses a write, or holds other weights than were written.
        LinkError
            The board has been closed, or does not answer any more.
        """
        self._check_open()
        if source is None:
            # The largest that it holds; if it holds none, the error says how large one is.
            source = bundled_model(self.identity.device) or default_model_path()
        model = source if isinstance(source, Model) else Model.load(source)
        image = compile_image(model, self.identity.device)
        self._generation += 1
        if self.model is None or self.model.sha256 != model.sha256 or not self._sound:
            known = self.model is not None
            self.model = None
            self._load(image, verify=verify, keep=not known, progress=progress)
        self.model = model

    def _load(self, image: Image, *, verify: bool = False, keep: bool = False,
              progress: Progress | None = None) -> None:
        """Load a model, again if the device is not as it should be then.

        With ``keep``, weights that the device holds at first are left there.
        """
        self._sound = False
        for left in reversed(range(RECOVERIES + 1)):
            try:
                self._load_once(image, verify=verify, keep=keep, progress=progress)
            except DeviceError as error:
                if not left or isinstance(error, WrongDeviceError):
                    raise
                keep = False
            else:
                break
        self._sound = True

    def _load_once(self, image: Image, *, verify: bool, keep: bool,
                   progress: Progress | None) -> None:
        segments = [(address, words.astype("<u2").tobytes()) for address, words in image.segments]
        weights = [(address, data) for address, data in segments if address < Region.PROGRAM]
        if self.transport.boots:
            for address, data in weights:
                self.transport.place(address, data)
            segments = [segment for segment in segments if segment not in weights]
        done = total = 0

        def count(words: int) -> None:
            nonlocal done
            done += words
            if progress is not None:
                progress(done, total)

        def written(response: Response) -> None:
            response.check()
            count((len(response.request.payload) - ADDRESS.size) // WORD_BYTES)

        self.stop()
        # First, for a reset later on takes it back, and so shows in the CRC.
        self._check.expect(b"".join(data for _, data in weights))
        self.resident = keep and self._check.holds()
        if self.resident:
            segments = [segment for segment in segments if segment not in weights]
        total = sum(len(data) for _, data in segments + (weights if verify else [])) // 2
        pieces = [piece for address, data in segments for piece in _pieces(address, data)]
        self._link.exchange([write_request(*piece) for piece in pieces], on_response=written)
        if verify:
            self._compare(weights, count)
        self._check.confirm()

    def _compare(self, segments: Sequence[tuple[int, bytes]], count: Callable[[int], None]) -> None:
        """Read segments back; ``count`` is called with the words of each response."""
        pieces = [piece for address, data in segments for piece in _pieces(address, data)]

        def read(response: Response) -> None:
            count(len(response.check()) // 2)

        responses = self._link.exchange(
            [read_request(address, len(data) // 2) for address, data in pieces], on_response=read)
        for (address, data), response in zip(pieces, responses, strict=True):
            if response.payload != data:
                raise DeviceError(f"the device holds other weights at {address:#x} than were "
                                  "written; load again, and suspect its memory if it persists")

    def _check_learns(self) -> None:
        self._check_open()
        if not self.identity.device.adapt_orders:
            raise PromptError(f"{self.transport.name} learns nothing while it reads; a board whose "
                              "device has adapt_orders does")

    def learnt(self) -> bytes:
        """Return what the device has learnt while it read, to be kept and restored.

        Raises
        ------
        PromptError
            The device learns nothing.
        DeviceError, LinkError
            As of ``generate``.
        """
        self._check_learns()
        self.stop()
        read = [self._link.request(read_request(address + start, min(MAX_WORDS, depth - start)))
                .check() for address, depth in self._biases()
                for start in range(0, depth, MAX_WORDS)]
        return b"".join(read)[::WORD_BYTES]

    def restore_learnt(self, data: bytes | None = None) -> None:
        """Give the device what ``learnt`` returned; without it, make it forget.

        Raises
        ------
        PromptError
            The device learns nothing, or it learns another number of biases.
        DeviceError, LinkError
            As of ``generate``.
        """
        self._check_learns()
        size = sum(depth for _, depth in self._biases())
        data = bytes(size) if data is None else data
        if len(data) != size:
            raise PromptError(f"{self.transport.name} learns {size:,} biases, and these are "
                              f"{len(data):,}; they come from another kind of device")
        self.stop()
        for address, depth in self._biases():
            part, data = data[:depth], data[depth:]
            words = b"".join(bytes((bias, 0)) for bias in part)
            for place, piece in _pieces(address, words):
                self._link.request(write_request(place, piece)).check()

    def _biases(self) -> list[tuple[int, int]]:
        """Address and number of the biases of each order."""
        return list(zip(BIASES, self.identity.device.adapt_depths, strict=False))

    def _still_sound(self) -> bool:
        """Tell if the device holds what was loaded, and was neither reset nor used by others."""
        if self._sound:
            try:
                self._check.confirm()
            except WeightsChangedError:
                self._sound = False
        return self._sound

    def _restore(self, model: Model) -> None:
        """Load a model into a device that may have lost everything."""
        if self._identify() != self.identity:
            raise WrongDeviceError(f"{self.transport.name} is another device than before; open it "
                                   "again")
        self._load(compile_image(model, self.identity.device))

    def generate(self, prompt: str, *, tokens: int, temperature: float = 0.8,
                 seed: int = 0, adapt: bool = False) -> Generator[Token, None, None]:
        """Generate tokens after a prompt, each yielded as it arrives.

        The device runs on by itself meanwhile. Closing the iterator, or an exception while it
        waits such as that of Ctrl-C, stops the device, which is then ready for the next run.

        Parameters
        ----------
        prompt : str
            At least one character, all of the model's vocabulary.
        tokens : int
            How many, at least 1.
        temperature : float
            0 takes the likeliest token always.
        seed : int
            Of the random generator, 0 ... 2**32 - 1. The same seed gives the same tokens.
        adapt : bool
            Add what the device has learnt to the logits, and let it learn from the prompt; see
            ``trilight.sw.reference.adaptation``. A generation that the device breaks off is then
            not tried again, as it would learn twice.

        Raises
        ------
        PromptError
            The prompt is empty, or a number is out of its range; or the device learns nothing.
        UnknownCharacterError
            The vocabulary lacks a character of the prompt.
        DeviceError
            No model is loaded, or the device does not do as it is told, however often.
        LinkError
            The device does not answer any more.
        WrongTokenError
            The device was reset, its weights have changed, or the like; and by then it had given
            out a token that is another one when it is generated again.
        """
        if adapt:
            self._check_learns()
        return self._begin([prompt], tokens, temperature, [seed], adapt=adapt)

    def generate_many(self, prompts: Sequence[str], *, tokens: int | Sequence[int],
                      temperature: float = 0.8, seeds: Sequence[int] | None = None,
                      ) -> Generator[Token, None, None]:
        """Generate tokens after several prompts, each yielded as it arrives.

        ``Token.prompt`` says which prompt a token goes on from. The device works on as many
        prompts at once as it has sequences, on the next ones when those are done. Each prompt gets
        the tokens that it would get alone. All else is as with ``generate``.

        Parameters
        ----------
        prompts : sequence of str
            At least one.
        tokens : int or sequence of int
            How many after each prompt.
        temperature : float
        seeds : sequence of int, optional
            One for each prompt; 0, 1, 2 and so on unless given, so that equal prompts differ.

        Raises
        ------
        PromptError
            There is no prompt, an empty one, not a number for each, or a number out of its range.
        UnknownCharacterError, DeviceError, LinkError, WrongTokenError
            See ``generate``.
        """
        return self._begin(prompts, tokens, temperature, seeds)

    def _begin(self, prompts: Sequence[str], tokens: int | Sequence[int], temperature: float,
               seeds: Sequence[int] | None, *, adapt: bool = False
               ) -> Generator[Token, None, None]:
        """Check a request, and begin it."""
        self._check_open()
        if self.model is None:
            raise DeviceError("no model is loaded; load one first")
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
            check_request(self.model, prompt, tokens=count, temperature=temperature, seed=seed)
            states.append(SequenceState(number=number, prompt=self.model.encode(prompt),
                                        tokens=count, seed=seed, adapts=adapt))
        self._generation += 1
        return self._generate(self.model, states, temperature_to_fixed(temperature),
                              self._generation)

    def _generate(self, model: Model, states: list[SequenceState], temperature: int,
                  generation: int) -> Generator[Token, None, None]:
        self._check_current(generation)
        work = _Work(model, states, temperature, generation, self._link.repeats)
        first: DeviceError | None = None
        try:
            while True:
                try:
                    yield from self._attempt(work)
                    break
                except DeviceError as error:
                    self._check_current(generation)
                    self._sound = False
                    # What goes wrong later follows from what went wrong at first.
                    first = first or error
                    if work.recoveries == RECOVERIES or isinstance(error, WrongDeviceError) or any(
                            state.adapts for state in states):
                        raise first from (None if first is error else error)
                    work.recoveries += 1
            self._record(work)
        except TrilightError:
            if generation == self._generation:
                self._sound = False
            raise
        except BaseException:
            if generation == self._generation:
                self._abandon(work)
            raise

    def _attempt(self, work: "_Work") -> Generator[Token, None, None]:
        """Generate from the beginning; yield the tokens that have not been yielded before."""
        model, runs, size = work.model, self._runs, self.identity.device.sequences
        work.begin()
        self.stop()
        if not self._still_sound():
            self._restore(model)
        for start in range(0, len(work.states), size):
            group = _on_sequences(work.states[start:start + size])
            work.prompt_spent += runs.feed(group)
            while group := [state for state in group if state.left]:
                runs.start(group, work.temperature)
                work.running = True
                for state in runs.listen():
                    token = state.generated[-1]
                    if token >= len(model.vocab):
                        raise DeviceError(f"the device generated token {token} of a vocabulary "
                                          f"of {len(model.vocab)}; load the model again")
                    if work.emit(state):
                        text = work.decoders[state.number].feed(model.token_bytes[token])
                        yield Token(token, text, state.position - 1, state.number)
                        self._check_current(work.generation)
                work.spent += runs.settle()
                work.running = False
        self._check.confirm()

    def _abandon(self, work: "_Work") -> None:
        """Stop a generation that is not wanted any more."""
        try:
            status = self.stop()
            if work.running:
                work.spent += status.counters
        except TrilightError:
            # The next request loads the model again.
            self._sound = False
        self._record(work)

    def _record(self, work: "_Work") -> None:
        model = work.model
        clock = self.identity.clock_hz != 0
        self.last_run = LastRun(
            generated=tuple(Generated(prompt=model.decode(state.prompt), text=model.decode(tokens),
                                      token_ids=tuple(tokens), seed=state.seed)
                            for state, tokens in zip(work.states, work.emitted, strict=True)),
            sequences=min(self.identity.device.sequences, len(work.states)),
            temperature=work.temperature / (1 << NUMBERS.temperature_frac),
            cycles=work.spent.cycles if clock else None, words=work.spent.words,
            tokens=work.spent.tokens, prompt_cycles=work.prompt_spent.cycles if clock else None,
            host_seconds=work.finished - work.started, repeats=self._link.repeats - work.repeats,
            recoveries=work.recoveries)

    def _check_current(self, generation: int) -> None:
        self._check_open()
        if generation != self._generation:
            raise DeviceError("this generation ended when the board was given something else to "
                              "do; start it again")


class _Work:
    """A generation in progress: its request, the tokens yielded so far, and its counters."""

    def __init__(self, model: Model, states: list[SequenceState], temperature: int, generation: int,
                 repeats: int) -> None:
        self.model = model
        self.states = states
        self.temperature = temperature
        self.generation = generation
        self.repeats = repeats
        """Repeats of the link before the request."""
        self.recoveries = 0
        self.emitted: list[list[int]] = [[] for _ in states]
        self.decoders = [TextDecoder() for _ in states]
        """Of the bytes that have been yielded."""
        """Tokens yielded so far, a list for each sequence."""
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


def _on_sequences(states: Sequence[SequenceState]) -> list[SequenceState]:
    """Assign the states to the device's sequences, and return them in the order of those.

    The longest prompt goes first, so that the first run is about sequence 0 in any case: it makes
    the device forget what an interrupted host may have prepared.
    """
    ordered = sorted(states, key=lambda state: len(state.prompt), reverse=True)
    for sequence, state in enumerate(ordered):
        state.sequence = sequence
    return ordered


def _pieces(address: int, data: bytes) -> list[tuple[int, bytes]]:
    """A segment in parts that fit a frame."""
    size = WORD_BYTES * MAX_WORDS
    return [(address + start // 2, data[start:start + size])
            for start in range(0, len(data), size)]
