"""An imported model on a chip for such models, over the link: token in, logits out.

The embedding stays with the host: it looks a token's row up, writes it as the residual stream, and
runs the token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.errors import CapacityError
from trilight.hw.contract.imported import (
    CHANNEL_WORDS,
    FORMATS,
    IMPORTED_MAGIC,
    LOGIT_WORDS,
    PARAMETER_WORDS,
    SHAPE_WORDS,
    ImportedDevice,
)
from trilight.hw.contract.protocol import (
    IDENTITY,
    MAX_WORDS,
    PROTOCOL_VERSION,
    RUN,
    WORD_BYTES,
    Command,
    Region,
    RunFlag,
    status_struct,
)
from trilight.sw.errors import DeviceError, TokenError, WrongDeviceError
from trilight.sw.host.link import Link, Request, read_request, write_request
from trilight.sw.host.transport import Transport

from .image import core_image
from .model import ImportedModel
from .reference import Saturations
from .run import Progress

__all__ = ["ImportedChipStream", "RunCounts", "check_fits"]

SATURATIONS = Region.WEIGHT_CRC + 3
"""Address of a chip's count of clipped values."""

_STATUS = status_struct(1)
_EVENT_S = 0.25


@dataclass(frozen=True)
class RunCounts:
    """Counters of the chip since its state was reset: cycles, weight words, tokens."""

    cycles: int
    words: int
    tokens: int


def check_fits(model: ImportedModel, device: ImportedDevice) -> None:
    """Compare a model with a device.

    Raises
    ------
    CapacityError
        With every size that is too large or too small.
    """
    shape, engine = model.shape, device.engine
    image = core_image(model, device)
    maxima = [
        ("hidden", shape.hidden, device.max_hidden),
        ("inner", shape.inner, min(engine.max_columns, engine.max_rows // 2)),
        ("tokens", shape.vocabulary, engine.max_vocab),
        ("state, hidden times layers", shape.hidden * shape.layers, device.state_words),
        ("weight words", len(image.words), engine.weight_words),
        ("parameter words", PARAMETER_WORDS * len(image.parameters), engine.program_words)]
    wrong = [f"{name}: {size:,} of at most {limit:,}" for name, size, limit in maxima
             if size > limit]
    minima = [("hidden", shape.hidden), ("twice inner", 2 * shape.inner),
              ("tokens", shape.vocabulary)]
    wrong += [f"{name}: {size} of at least {engine.min_rows}" for name, size in minima
              if size < engine.min_rows]
    if wrong:
        raise CapacityError(f"the model does not fit {engine.name}; {'; '.join(wrong)}")


class ImportedChipStream:
    """One stream of tokens through a chip; it is a ``run.Stream``.

    Parameters
    ----------
    transport : Transport
    model : ImportedModel
    progress : callable, optional
        Called with the words that are written and those there are.

    Raises
    ------
    WrongDeviceError
        The device is none for imported models.
    CapacityError
        The model does not fit.
    DeviceError, NoResponseError
        The device refuses, or does not answer.
    """

    def __init__(self, transport: Transport, model: ImportedModel,
                 progress: Progress | None = None) -> None:
        self.model = model
        self._link = Link(transport)
        self.device = self._identify()
        check_fits(model, self.device)
        self._fresh = True
        self._load(progress)

    def _identify(self) -> ImportedDevice:
        name = self._link.transport.name
        payload = self._link.request(Request(Command.IDENTIFY)).check()
        if len(payload) != IDENTITY.size or payload[:len(IMPORTED_MAGIC)] != IMPORTED_MAGIC:
            raise WrongDeviceError(f"{name} is no chip for imported models: it calls itself "
                                   f"{payload[:len(IMPORTED_MAGIC)]!r}, not {IMPORTED_MAGIC!r}; "
                                   "choose another target")
        _, version, trits, lanes, _, _, _, *sizes = IDENTITY.unpack(payload)
        if version != PROTOCOL_VERSION:
            raise WrongDeviceError(f"{name} speaks protocol version {version}, and this program "
                                   f"{PROTOCOL_VERSION}; make its bitstream again")
        words, rows, columns, channels, program, tape, vocabulary = sizes[:7]
        engine = Device(name=name, trits=trits, lanes=lanes, sequences=1, weight_words=words,
                        max_rows=rows, max_columns=columns, max_channels=channels,
                        program_words=program, tape_tokens=tape, max_vocab=vocabulary,
                        weight_memory=WeightMemory.BLOCK_RAM)
        return ImportedDevice(engine=engine, max_hidden=min(columns, tape // CHANNEL_WORDS),
                              state_words=channels)

    def _load(self, progress: Progress | None) -> None:
        image = core_image(self.model, self.device)
        unit = WORD_BYTES * self.device.engine.packing.word_units
        weights = np.pad(image.words, ((0, 0), (0, unit - image.words.shape[1]))).tobytes()
        shape = image.shape.to_bytes(WORD_BYTES * SHAPE_WORDS, "little")
        parts = [(Region.PROGRAM, shape), (Region.TAPS, image.parameters.astype("<u8").tobytes()),
                 (Region.WEIGHTS, weights)]
        total, done = sum(len(data) for _, data in parts), 0
        for region, data in parts:
            for first in range(0, len(data), _PIECE):
                piece = data[first:first + _PIECE]
                self._write(region + first // WORD_BYTES, piece)
                done += len(piece)
                if progress is not None:
                    progress(done // WORD_BYTES, total // WORD_BYTES)

    def _write(self, address: int, data: bytes) -> None:
        step = WORD_BYTES * MAX_WORDS
        for response in self._link.exchange(
                write_request(address + first // WORD_BYTES, data[first:first + step])
                for first in range(0, len(data), step)):
            response.check()

    def _read(self, address: int, words: int) -> bytes:
        return b"".join(response.check() for response in self._link.exchange(
            read_request(address + first, min(MAX_WORDS, words - first))
            for first in range(0, words, MAX_WORDS)))

    @property
    def saturations(self) -> Saturations:
        """Values that the chip has clipped since the stream began, of whatever kind."""
        count = int.from_bytes(self._read(SATURATIONS, 1), "little")
        return Saturations(counts={"chip": count} if count else {})

    def reset(self) -> None:
        """Begin a stream of tokens."""
        self._fresh = True

    def step(self, token: int) -> NDArray[np.int64]:
        """Feed a token; return logits [V] with ``FORMATS.logit_frac`` fraction bits.

        Raises
        ------
        TokenError
            The vocabulary has no such token.
        DeviceError, NoResponseError
            The device refuses, does not answer, or announces another token than its logits say.
        """
        vocabulary = self.model.shape.vocabulary
        if not 0 <= token < vocabulary:
            raise TokenError(f"tokens must be in [0, {vocabulary - 1}], not {token}")
        row = self.model.embedding[token].astype("<i8")
        self._write(Region.TAPE, row.tobytes())
        self._link.events.clear()
        flags = RunFlag.RESET | RunFlag.CLEAR if self._fresh else RunFlag(0)
        self._link.request(Request(Command.RUN, RUN.pack(flags, 0, 1, 1, 0, 0))).check()
        self._fresh = False
        while self._running():
            self._link.listen(_EVENT_S)
        raw = self._read(Region.TAPE, LOGIT_WORDS * vocabulary)
        logits = np.frombuffer(raw, "<i4").astype(np.int64)
        likeliest = int(np.argmax(logits))
        announced = [event.token for event in self._link.events]
        if announced not in ([], [likeliest]):
            raise DeviceError(f"{self._link.transport.name} announced token {announced}, and by "
                              f"its logits the likeliest is {likeliest}; load the model again")
        return logits

    def feed(self, sequences: Mapping[int, Sequence[int]]) -> dict[int, NDArray[np.int64]]:
        """Feed tokens to the one sequence that a chip has; it is a ``text.Feed``."""
        logits = {}
        for number, tokens in sequences.items():
            for token in tokens:
                logits[number] = self.step(token)
        return logits

    @property
    def counts(self) -> RunCounts:
        """Counters of the present stream."""
        _, cycles, words, tokens, _ = self._status()
        return RunCounts(cycles, words, tokens)

    def _status(self) -> tuple[int, ...]:
        return _STATUS.unpack(self._link.request(Request(Command.STATUS)).check())

    def _running(self) -> bool:
        return bool(self._status()[0])


_PIECE = WORD_BYTES * MAX_WORDS * 16
"""Bytes written between two reports of progress."""

assert FORMATS.logit_bits == 8 * WORD_BYTES * LOGIT_WORDS
