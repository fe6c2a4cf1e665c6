"""A device emulated in Python: the protocol byte for byte, the numerics by the integer reference.

It knows a model only by what was written into its address space, so that driver, protocol and
image compiler are exercised as by a board. Its clock is none that time could be told by, so
IDENTIFY says 0 Hz: a cycle is a look of the host at a device that runs. As on a chip, the counter
moves when nothing else does.
"""

from collections.abc import Callable

import numpy as np

from trilight.hw.contract.device import Device
from trilight.hw.contract.errors import BoardError
from trilight.hw.contract.noise import NoiseFormat
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.program import Header
from trilight.hw.contract.protocol import (
    ACCESS,
    ADDRESS,
    BIASES,
    EVENT,
    IDENTITY,
    MAX_WORDS,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    RESPONSE,
    RUN,
    TOKEN_EVENT,
    WORD_BYTES,
    Command,
    Region,
    Result,
    RunFlag,
    status_struct,
)
from trilight.hw.support.boards import board_device
from trilight.sw.errors import DeviceError, TargetError
from trilight.sw.model.model import Model
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.reference.sampler import Sampler

from .emulated_memory import EmulatedMemory, Words
from .frames import Frame, FrameReader, encode_frame
from .targets import TargetOptions
from .transport import Transport

__all__ = ["ReferenceTransport", "reference_target"]


class _SequenceState:
    """One of the sequences that a device works on, apart from model and tape."""

    def __init__(self, noise: NoiseFormat) -> None:
        self.noise = noise
        self.sampler = Sampler(0, 0, noise)
        self.position = 0
        self.n_feed = 0
        """Tokens that are still to be fed before one is generated; 0 if it neither runs nor is
        prepared."""
        self.n_generate = 0

    def stop(self) -> None:
        """End the run after the next token."""
        self.n_feed, self.n_generate = min(self.n_feed, 1), 0


class ReferenceTransport(Transport):
    """The emulated device, and the link to it.

    A run goes on while the host reads: each read that finds nothing to return feeds one token.

    Parameters
    ----------
    device : Device, optional
        The capacities that it has and reports; of the default board unless given.
    compute : callable
        Makes what computes a sequence's tokens, out of the model that was loaded.
    """

    def __init__(self, device: Device | None = None,
                 compute: Callable[[Model], ReferenceModel] = ReferenceModel) -> None:
        self._device = device = board_device() if device is None else device
        self._compute = compute
        self._memory = EmulatedMemory(device)
        self._adaptation = self._memory.adaptation()
        self._learns = False
        self._reader = FrameReader()
        self._output = bytearray()
        self._states = [_SequenceState(device.noise) for _ in range(device.sequences)]
        self._references: list[ReferenceModel] = []
        """One for each sequence, none before a model has run."""
        self._words_per_token = (0, 0)
        self._last_run = 0
        self._running = False
        self._hung = False
        self._cycles = 0
        self._words = 0
        self._tokens = 0

    @property
    def name(self) -> str:
        return "reference"

    @property
    def running(self) -> bool:
        """True while reading from it makes it feed tokens."""
        return self._running

    def hang(self) -> None:
        """Feed no token any more; a run goes on, as does its clock, and all requests are answered.
        """
        self._hung = True

    def write(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            self._cycles += self._running
            result, payload = self._execute(frame)
            self._output += encode_frame(
                Frame(frame.sequence, frame.command | RESPONSE, bytes((result,)) + payload))

    def read(self, timeout_s: float) -> bytes:
        if self._running and not self._output:
            self._cycles += 1
            if not self._hung:
                for number, state in enumerate(self._states):
                    if state.n_feed:
                        self._step(number, state)
                self._running = any(state.n_feed for state in self._states)
        data = bytes(self._output)
        self._output.clear()
        return data

    def close(self) -> None:
        self._running = False

    def _execute(self, frame: Frame) -> tuple[Result, bytes]:
        if frame.sequence == 0:
            self._last_run = 0
        match frame.command:
            case Command.WRITE:
                return self._write(frame.payload), b""
            case Command.READ:
                return self._read(frame.payload)
            case Command.RUN:
                return self._run(frame), b""
            case Command.IDENTIFY | Command.STOP | Command.STATUS if frame.payload:
                return Result.BAD_LENGTH, b""
            case Command.IDENTIFY:
                device = self._device
                return Result.OK, IDENTITY.pack(
                    PROTOCOL_MAGIC, PROTOCOL_VERSION, device.trits, device.lanes, 0, 0, 0,
                    device.weight_words, device.max_rows, device.max_columns, device.max_channels,
                    device.program_words, device.tape_tokens, device.max_vocab, device.sequences,
                    device.adapt_code)
            case Command.STOP:
                if self._running:
                    for state in self._states:
                        state.stop()
                return Result.OK, b""
            case Command.STATUS:
                return Result.OK, status_struct(len(self._states)).pack(
                    self._running, self._cycles % (1 << 32), self._words, self._tokens,
                    *(state.position for state in self._states))
        return Result.BAD_COMMAND, b""

    def _write(self, payload: bytes) -> Result:
        count, odd = divmod(len(payload) - ADDRESS.size, WORD_BYTES)
        if count < 1 or odd:
            return Result.BAD_LENGTH
        places = self._find(payload, count)
        if None in places:
            return Result.BAD_ADDRESS
        if self._running:
            return Result.BUSY
        for place, word in zip(places, np.frombuffer(payload[ADDRESS.size:], "<u2"), strict=True):
            if place is not None:
                region, words, index = place
                value = self._memory.fit(region, int(word))
                # Writing what is there already leaves the state as it is.
                if (region not in (Region.TAPE, Region.WEIGHT_CRC, *BIASES)
                        and words[index] != value):
                    self._references = []
                words[index] = value
        return Result.OK

    def _read(self, payload: bytes) -> tuple[Result, bytes]:
        if len(payload) != ACCESS.size:
            return Result.BAD_LENGTH, b""
        start, count = ACCESS.unpack(payload)
        if not 1 <= count <= MAX_WORDS:
            return Result.BAD_LENGTH, b""
        data: list[int] = []
        busy = False
        places = self._find(payload, count)
        crc = self._memory.weight_crc() if start >= Region.WEIGHT_CRC else ()
        for offset, place in enumerate(places):
            if place is None or place[0] not in (Region.WEIGHTS, Region.TAPE, Region.WEIGHT_CRC,
                                                 *BIASES):
                return Result.BAD_ADDRESS, b""
            region, words, index = place
            if region == Region.WEIGHT_CRC:
                data.append(0 if self._running else crc[(start + offset) % 4])
            else:
                data.append(int(words[index]))
            busy |= self._running and region in (Region.WEIGHTS, *BIASES)
        return (Result.BUSY, b"") if busy else (Result.OK, np.array(data, "<u2").tobytes())

    def _find(self, payload: bytes, count: int) -> list[tuple[int, Words, int] | None]:
        [address] = ADDRESS.unpack_from(payload)
        return [self._memory.find(address, offset) for offset in range(count)]

    def _run(self, frame: Frame) -> Result:
        if len(frame.payload) != RUN.size:
            return Result.BAD_LENGTH
        if frame.sequence == self._last_run != 0:
            return Result.OK
        flags, number, n_feed, n_generate, temperature, seed = RUN.unpack(frame.payload)
        if n_feed == 0 or number >= len(self._states):
            return Result.BAD_LENGTH
        if self._running:
            return Result.BUSY
        self._last_run = frame.sequence
        if not self._memory.regions[Region.PROGRAM][Header.OPS]:
            return Result.OK  # no program since power-on: the run ends at once
        if not self._references:
            try:
                model = self._memory.model()
            except (ValueError, LookupError) as error:
                raise DeviceError(f"what was loaded is no model: {error}") from error
            self._words_per_token = self._memory.program().words_per_token
            self._references = [self._compute(model) for _ in self._states]
        if not number:
            for other in self._states[1:]:
                other.n_feed = 0
        state = self._states[number]
        state.n_feed, state.n_generate = n_feed, n_generate
        if flags & RunFlag.RESET:
            self._references[number].reset()
            state.position = 0
            if self._adaptation and not number:
                self._adaptation.begin()
        if flags & RunFlag.SEED:
            state.sampler = Sampler(seed, 0, state.noise)
        if flags & RunFlag.CLEAR:
            self._cycles = self._words = self._tokens = 0
        for each in self._states:
            each.sampler.temperature = temperature & (1 << NUMBERS.temperature_bits) - 1
        self._running = not flags & RunFlag.HOLD
        self._learns = bool(self._adaptation and flags & RunFlag.ADAPT and not number
                            and self._running)
        return Result.OK

    def _step(self, number: int, state: _SequenceState) -> None:
        """Feed the token at a sequence's position; generate the next one if the run says so."""
        reference, tape = self._references[number], self._memory.tape(number)
        token = [int(tape[state.position % len(tape)])]
        head = state.n_feed == 1 and state.n_generate > 0
        state.position = (state.position + 1) % 0x10000
        adaptation = self._adaptation if self._learns else None
        if adaptation:
            adaptation.read(*token)
        if head or adaptation:
            logits = reference.step(token)[0]
            if adaptation:
                logits = adaptation.biased(logits)
        if head:
            sampled = state.sampler.sample(logits)
            tape[state.position % len(tape)] = sampled
            self._output += encode_frame(
                Frame(0, EVENT + number, TOKEN_EVENT.pack(state.position, sampled)))
            state.n_generate -= 1
            state.n_feed = int(state.n_generate > 0)
        else:
            if adaptation:
                adaptation.draw_with(state.sampler.rng, logits)
            else:
                reference.feed(token)
            state.n_feed -= 1
        self._tokens += 1
        self._words += self._words_per_token[head or adaptation is not None]


def reference_target(options: TargetOptions) -> ReferenceTransport:
    """Target ``reference`` or ``reference:BOARD``: a device with the sizes of a board's."""
    if not options.argument:
        return ReferenceTransport()
    try:
        return ReferenceTransport(board_device(options.argument))
    except BoardError as error:
        raise TargetError(str(error)) from error
