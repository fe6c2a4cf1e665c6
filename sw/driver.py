"""The driver: loads a model into a device and streams the tokens that it generates.

It sees a device through a ``Transport`` only, so a board, a simulated one and the emulated one are
driven by the same code.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike

import numpy as np

from trilight.hw.config import NUMBERS, DeviceConfig
from trilight.hw.protocol import (
    IDENTITY,
    MAX_UNITS,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    RUN,
    STATUS,
    Command,
    Result,
    RunFlag,
    Space,
)

from .errors import (
    DeviceError,
    PromptError,
    TrilightError,
    WrongDeviceError,
)
from .image import compile_image
from .link import Answer, Link, Request
from .model import Model
from .models import default_model_path
from .reference.sampler import Sampler, temperature_to_fixed
from .transport import Transport

__all__ = ["Board", "Counters", "Identity", "LastRun", "Progress", "Status", "Token",
           "check_request"]

Progress = Callable[[int, int], None]
"""Called with the units done and the units in all."""

SILENCE_S = 0.05
"""Silence during a run after which the device is asked how far it is."""

POLL_S = 0.01

STALLED_POLLS = 200
"""Questions answered alike before a run is taken for stuck: 2 s, over 1000 tokens of the UP5K."""


@dataclass(frozen=True)
class Identity:
    """What a device says of itself; see ``IDENTITY`` in ``hw/protocol.py``."""

    lanes: int
    clock_hz: int
    """0 for a device without a clock."""
    clocks_per_bit: int
    build_id: int
    device: DeviceConfig

    @classmethod
    def parse(cls, payload: bytes, name: str) -> "Identity":
        """Check and take apart the answer to IDENTIFY of the device called ``name``.

        Raises
        ------
        WrongDeviceError
            It is no Trilight, or one of another protocol version.
        """
        magic = payload[:len(PROTOCOL_MAGIC)]
        if magic != PROTOCOL_MAGIC:
            raise WrongDeviceError(f"{name} is not a Trilight: it calls itself {magic!r}, not "
                                   f"{PROTOCOL_MAGIC!r}; choose another port")
        version = payload[len(magic)] if len(payload) > len(magic) else None
        if version != PROTOCOL_VERSION or len(payload) != IDENTITY.size:
            raise WrongDeviceError(
                f"{name} speaks protocol version {version} in {len(payload)} bytes, and this "
                f"program version {PROTOCOL_VERSION} in {IDENTITY.size}; flash the bitstream of "
                "this release, or install the release of that bitstream")
        (_, _, lanes, clock_hz, clocks_per_bit, build_id, weight_words, max_rows, max_columns,
         max_channels, program_words, tape_tokens, max_vocab) = IDENTITY.unpack(payload)
        return cls(lanes, clock_hz, clocks_per_bit, build_id, DeviceConfig(
            name=name, weight_words=weight_words, max_rows=max_rows, max_columns=max_columns,
            max_channels=max_channels, program_words=program_words, tape_tokens=tape_tokens,
            max_vocab=max_vocab))


@dataclass(frozen=True)
class Counters:
    """Clock cycles spent running, weight words used and tokens fed, since they were cleared."""

    cycles: int = 0
    words: int = 0
    tokens: int = 0

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(self.cycles + other.cycles, self.words + other.words,
                        self.tokens + other.tokens)


@dataclass(frozen=True)
class Status:
    """How far a device is.

    Parameters
    ----------
    running : bool
    position : int
        Tokens fed since the last reset, modulo 65536.
    counters : Counters
    """

    running: bool
    position: int
    counters: Counters


@dataclass(frozen=True)
class Token:
    """A generated token.

    Parameters
    ----------
    id : int
    text : str
    position : int
        Its place after the start of the prompt, from 0.
    """

    id: int
    text: str
    position: int

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class LastRun:
    """What a generation left behind.

    Parameters
    ----------
    prompt : str
    text : str
        Generated text, without the prompt.
    token_ids : tuple of int
        Generated tokens, in order.
    temperature : float
        As rounded to the device's format.
    seed : int
    cycles : int or None
        Clock cycles over the generated tokens alone; ``None`` of a device without a clock.
    words : int
        Weight words used meanwhile.
    tokens : int
        Tokens fed meanwhile: one per generated token.
    prompt_cycles : int or None
        Clock cycles over the prompt but its last token.
    host_seconds : float
        Time on this computer from the request to the last token.
    repeats : int
        Requests that had to be sent again.
    """

    prompt: str
    text: str
    token_ids: tuple[int, ...] = field(repr=False)
    temperature: float
    seed: int
    cycles: int | None
    words: int
    tokens: int
    prompt_cycles: int | None
    host_seconds: float
    repeats: int

    @property
    def cycles_per_token(self) -> float | None:
        """Clock cycles per generated token."""
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
    if not prompt:
        raise PromptError("the prompt must have at least one character; a newline will do")
    if tokens < 1:
        raise PromptError(f"tokens must be at least 1, not {tokens}")
    Sampler(seed, temperature)
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

    Raises
    ------
    NoAnswerError, WrongDeviceError
        No Trilight of this protocol version answers.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.model: Model | None = None
        self.last_run: LastRun | None = None
        self._link = Link(transport)
        self._generation = 0
        # Sequence number 0 makes the device forget the last RUN of a former host.
        identity = self._link.request(Request(Command.IDENTIFY), sequence=0)
        if identity.result != Result.OK:
            raise WrongDeviceError(f"{transport.name} does not know IDENTIFY (result "
                                   f"{identity.result}); choose another port")
        self.identity = Identity.parse(identity.payload, transport.name)
        self.stop()

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the device back; what it does goes on."""
        self.transport.close()

    def status(self) -> Status:
        """How far the device is."""
        payload = self._link.request(Request(Command.STATUS)).check()
        if len(payload) != STATUS.size:
            raise DeviceError(f"STATUS must answer {STATUS.size} bytes, not {len(payload)}; "
                              "reset the board and try again")
        running, position, *counters = STATUS.unpack(payload)
        return Status(running != 0, position, Counters(*counters))

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

    def load(self, source: Model | str | PathLike[str] | None = None, *, verify: bool = False,
             progress: Progress | None = None) -> None:
        """Load a model, unless it is the one that this board has already.

        Parameters
        ----------
        source : Model or path, optional
            The model or its file; the one that travels with this package unless given.
        verify : bool
            Read the weights back and compare.
        progress : callable, optional
            Called with the units moved so far and the units in all.

        Raises
        ------
        ModelFileError
            The file is missing or damaged; nothing was sent.
        ModelDoesNotFitError
            The model is too large; nothing was sent.
        DeviceError
            The device refuses a write, or holds other weights than were written.
        """
        model = source if isinstance(source, Model) else Model.load(source or default_model_path())
        image = compile_image(model, self.identity.device)
        self._generation += 1
        if self.model is not None and self.model.sha256 == model.sha256:
            self.model = model
            return
        segments = [(address, units.astype("<u2").tobytes()) for address, units in image.segments]
        weights = [(address, data) for address, data in segments if address < Space.PROGRAM]
        total = sum(len(data) for _, data in segments + (weights if verify else [])) // 2
        done = 0

        def count(units: int) -> None:
            nonlocal done
            done += units
            if progress is not None:
                progress(done, total)

        def written(answer: Answer) -> None:
            answer.check()
            count((len(answer.request.payload) - 3) // 2)

        self.stop()
        self.model = None
        pieces = [piece for address, data in segments for piece in _pieces(address, data)]
        self._link.exchange([_write(*piece) for piece in pieces], answered=written)
        if verify:
            pieces = [piece for address, data in weights for piece in _pieces(address, data)]

            def read(answer: Answer) -> None:
                count(len(answer.check()) // 2)

            answers = self._link.exchange(
                [_read(address, len(data) // 2) for address, data in pieces], answered=read)
            for (address, data), answer in zip(pieces, answers, strict=True):
                if answer.payload != data:
                    raise DeviceError(f"the device holds other weights at {address:#x} than were "
                                      "written; load again, and suspect its memory if it persists")
        self.model = model

    def generate(self, prompt: str, *, tokens: int, temperature: float = 0.8,
                 seed: int = 0) -> Generator[Token, None, None]:
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

        Raises
        ------
        PromptError
            The prompt is empty, or a number is out of its range.
        UnknownCharacterError
            The vocabulary lacks a character of the prompt.
        DeviceError
            No model is loaded, or the device stops early.
        LinkError
            The device does not answer any more.
        """
        if self.model is None:
            raise DeviceError("no model is loaded; load one first")
        check_request(self.model, prompt, tokens=tokens, temperature=temperature, seed=seed)
        self._generation += 1
        return self._generate(self.model, prompt, tokens, temperature_to_fixed(temperature), seed,
                              self._generation)

    def _generate(self, model: Model, prompt: str, tokens: int, temperature: int, seed: int,
                  generation: int) -> Generator[Token, None, None]:
        self._check_current(generation)
        ids = model.encode(prompt)
        started = finished = time.monotonic()
        repeats = self._link.repeats
        generated: list[int] = []
        spent = prompt_spent = Counters()
        running = False

        def record() -> None:
            clock = self.identity.clock_hz != 0
            self.last_run = LastRun(
                prompt=prompt, text=model.decode(generated), token_ids=tuple(generated),
                temperature=temperature / (1 << NUMBERS.temperature_frac), seed=seed,
                cycles=spent.cycles if clock else None, words=spent.words, tokens=spent.tokens,
                prompt_cycles=prompt_spent.cycles if clock else None,
                host_seconds=finished - started, repeats=self._link.repeats - repeats)

        try:
            self.stop()
            prompt_spent = self._feed(ids[:-1])
            position = len(ids) - 1
            self._write_tape(position, ids[-1:])
            flags = RunFlag.SEED if position else RunFlag.SEED | RunFlag.RESET
            while len(generated) < tokens:
                # No more than the tape holds: a token whose notice is lost is then still there,
                # however late it is asked for.
                count = min(tokens - len(generated), self.identity.device.tape_tokens)
                self._run(flags, 1, count, temperature, seed)
                running, flags = True, RunFlag(0)
                for token in self._listen(position + 1, count):
                    if token >= len(model.vocab):
                        raise DeviceError(f"the device generated token {token} of a vocabulary of "
                                          f"{len(model.vocab)}; load the model again")
                    generated.append(token)
                    position += 1
                    finished = time.monotonic()
                    yield Token(token, model.vocab[token], position)
                    self._check_current(generation)
                spent += self._settle(position, count)
                running = False
            record()
        except TrilightError:
            if generation == self._generation:
                self.model = None
            raise
        except BaseException:
            if generation == self._generation:
                status = self.stop()
                if running:
                    spent += status.counters
                record()
            raise

    def _check_current(self, generation: int) -> None:
        if generation != self._generation:
            raise DeviceError("this generation ended when the board was given something else to "
                              "do; start it again")

    def _feed(self, ids: Sequence[int]) -> Counters:
        """Feed tokens from a clean state, without computing logits."""
        spent = Counters()
        flags = RunFlag.RESET
        size = self.identity.device.tape_tokens
        for start in range(0, len(ids), size):
            piece = ids[start:start + size]
            self._write_tape(start, piece)
            self._run(flags, len(piece), 0, 0, 0)
            flags = RunFlag(0)
            spent += self._settle(start + len(piece), len(piece))
        return spent

    def _run(self, flags: RunFlag, n_feed: int, n_generate: int, temperature: int,
             seed: int) -> None:
        """Start a run with cleared counters."""
        self._link.notices.clear()
        self._link.request(Request(Command.RUN, RUN.pack(
            flags | RunFlag.CLEAR, n_feed, n_generate, temperature, seed))).check()

    def _listen(self, position: int, count: int) -> Iterator[int]:
        """Tokens of a run that generates ``count`` from ``position`` on, as they arrive."""
        end = position + count
        heard = time.monotonic()
        before, polls = None, 0
        while position < end:
            if self._link.notices:
                notice = self._link.notices.popleft()
                lost = _difference(notice.position, position)
                if 0 <= lost < end - position:
                    for token in (*self._read_tape(position, lost), notice.token):
                        position += 1
                        yield token
                    heard, polls = time.monotonic(), 0
                continue
            patience = SILENCE_S * self.transport.patience
            if self._link.listen(SILENCE_S) and time.monotonic() - heard < patience:
                continue
            status = self.status()
            if self._link.notices:
                continue
            # A token that was fed is on the tape, and so is the last one of a run that has ended.
            ready = _difference(status.position, position) + (not status.running)
            if ready > end - position or not (status.running or ready == end - position):
                raise DeviceError(
                    f"the run ended at position {status.position}, not {end - 1}; was the board "
                    "reset? Load the model again")
            polls = polls + 1 if status == before and ready <= 0 else 0
            before = status
            if polls == STALLED_POLLS:
                raise DeviceError(f"the device is stuck at position {status.position}; reset the "
                                  "board and load the model again")
            for token in self._read_tape(position, max(ready, 0)):
                position += 1
                yield token

    def _settle(self, position: int, fed: int) -> Counters:
        """Wait for the end of a run that feeds ``fed`` tokens up to ``position``."""
        before, polls = None, 0
        while (status := self.status()).running:
            polls = polls + 1 if status.position == before else 0
            before = status.position
            if polls == STALLED_POLLS:
                raise DeviceError(f"the device is stuck at position {before}; reset the board and "
                                  "load the model again")
            self._link.listen(POLL_S)
        if _difference(status.position, position) or status.counters.tokens != fed:
            raise DeviceError(
                f"the run fed {status.counters.tokens} tokens up to position {status.position}, "
                f"not {fed} up to {position}; was the board reset? Load the model again")
        return status.counters

    def _write_tape(self, position: int, ids: Sequence[int]) -> None:
        data = np.asarray(ids, "<u2").tobytes()
        for answer in self._link.exchange([
                _write(address, data[2 * start:2 * (start + units)])
                for start, address, units in self._tape(position, len(ids))]):
            answer.check()

    def _read_tape(self, position: int, count: int) -> list[int]:
        tokens: list[int] = []
        for answer in self._link.exchange([
                _read(address, units) for _, address, units in self._tape(position, count)]):
            tokens += answer.check()[::2]
        if len(tokens) != count:
            raise DeviceError(f"the device read {len(tokens)} tokens from its tape, not {count}; "
                              "reset the board and try again")
        return tokens

    def _tape(self, position: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Parts of a stretch of tape that do not wrap: offset in it, address, units."""
        start = 0
        while start < count:
            place = (position + start) % self.identity.device.tape_tokens
            units = min(count - start, self.identity.device.tape_tokens - place, MAX_UNITS)
            yield start, Space.TAPE + place, units
            start += units


def _difference(position: int, other: int) -> int:
    """How far ``position`` is ahead of ``other``, both modulo 65536."""
    return (position - other + 0x8000) % 0x10000 - 0x8000


def _pieces(address: int, data: bytes) -> list[tuple[int, bytes]]:
    """A segment in parts that fit a frame."""
    size = 2 * MAX_UNITS
    return [(address + start // 2, data[start:start + size])
            for start in range(0, len(data), size)]


def _write(address: int, data: bytes) -> Request:
    return Request(Command.WRITE, address.to_bytes(3, "little") + data)


def _read(address: int, units: int) -> Request:
    return Request(Command.READ, address.to_bytes(3, "little") + bytes((units,)))
