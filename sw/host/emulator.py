"""A device emulated in Python: the protocol byte for byte, the numerics by the integer reference.

It knows a model only by what was written into its address space, so that driver, protocol and
image compiler are exercised as by a board. Its clock is none that time could be told by, so
IDENTIFY says 0 Hz: a cycle is a look of the host at a device that runs. As on a chip, the counter
moves when nothing else does.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.device import UP5K, Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.protocol import (
    IDENTITY,
    MAX_UNITS,
    NOTICE,
    OP_AFTER_SHORT,
    OP_BLOCKS,
    OP_SHORT,
    PROGRAM_HEADER_WORDS,
    PROGRAM_OP_WORDS,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    RESPONSE,
    RUN,
    SPACE_UNITS,
    STATUS,
    Command,
    Op,
    ProgramHeader,
    Result,
    RunFlag,
    Space,
)
from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import DeviceError, TargetError
from trilight.sw.model.model import MATRICES, Layer, Matrix, Model
from trilight.sw.model.pack import unpack_matrix
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.reference.sampler import Sampler
from trilight.sw.reference.tables import GUMBEL, SIGMOID, SILU

from .frames import NOTICE_PAYLOAD, Frame, FrameReader, encode_frame
from .targets import TargetOptions
from .transport import Transport

__all__ = ["ReferenceTransport", "reference_target"]

WIDTHS = {
    Space.PROGRAM: 16,
    Space.TAPS: 16,
    Space.FORGET_BIAS: 8,
    Space.ACTIVATION: 12,
    Space.GUMBEL: 12,
    Space.TAPE: 8,
    Space.CHECK: 14,
}

Units = NDArray[np.uint16]


@dataclass(frozen=True)
class _Operation:
    kind: Op
    flags: int
    rows: int
    words: int
    parameters: tuple[int, ...]
    """Scales, and what else comes after them."""
    trits: NDArray[np.int8]
    """All of its weight words [rows, columns], padding included."""

    def matrices(self, columns: int) -> list[Matrix]:
        """The matrices whose rows this operation interleaves."""
        n = {Op.MIX: 3, Op.GLU: 2}.get(self.kind, 1)
        if self.trits[:, columns:].any():
            raise DeviceError(f"the weights that were loaded go on after column {columns - 1}")
        return [Matrix(self.trits[k::n, :columns], self.parameters[k]) for k in range(n)]


class _Memory:
    """The address space, and the model that can be read out of it."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._word_units = device.packing.word_units
        self._sequences = device.sequences
        self.weights: Units = np.zeros(self._word_units * device.weight_words, np.uint16)
        depths = {Space.PROGRAM: device.program_words, Space.ACTIVATION: 256, Space.GUMBEL: 256,
                  Space.TAPE: device.sequences * device.tape_tokens, Space.CHECK: 1}
        self.spaces: dict[Space, Units] = {
            space: np.zeros(depths.get(space, SPACE_UNITS), np.uint16) for space in WIDTHS}
        self.spaces[Space.CHECK][0] = device.weight_words - 1

    def find(self, address: int) -> tuple[Space, Units, int] | None:
        """Space of an address, its memory and the place in it; ``None`` if there is none.

        A memory of less than a space repeats in it.
        """
        if address < len(self.weights):
            return Space.WEIGHTS, self.weights, address
        if not Space.PROGRAM <= address < Space.CHECK + SPACE_UNITS:
            return None
        space = Space(address - address % SPACE_UNITS)
        units = self.spaces[space]
        return space, units, (address - space) % len(units)

    def tape(self, sequence: int) -> Units:
        """Tape of a sequence."""
        tokens = len(self.spaces[Space.TAPE]) // self._sequences
        return self.spaces[Space.TAPE][sequence * tokens:(sequence + 1) * tokens]

    def check(self) -> tuple[int, int, int, int]:
        """Return what the space of the check reads as; it is complete at once."""
        used = self.weights[:self._word_units * (int(self.spaces[Space.CHECK][0]) + 1)]
        crc = zlib.crc32(used.astype("<u2").tobytes())
        return 1, crc % 0x10000, crc >> 16, crc >> 16

    def words_per_token(self) -> tuple[int, int]:
        """Weight words of a token without logits, and of one with them."""
        words = [operation.words for operation in self._operations()]
        return sum(words[:-1]), sum(words)

    def model(self) -> Model:
        """Decode what has been loaded.

        Raises
        ------
        DeviceError
            It is no legal model, or its tables are not the reference's.
        """
        program = self.spaces[Space.PROGRAM]
        half = len(SIGMOID) // 2
        for name, loaded, table in (
                ("sigmoid", self._signed(Space.ACTIVATION, slice(0, half), 0), SIGMOID[half:]),
                ("silu", self._signed(Space.ACTIVATION, slice(half, None)), SILU[half:]),
                ("gumbel", self._signed(Space.GUMBEL, slice(None)), GUMBEL)):
            if (loaded != table).any():
                raise DeviceError(f"the {name} table that was loaded is not the reference's")
        d = int(program[ProgramHeader.CHANNELS]) + 1
        vocab_size = int(program[ProgramHeader.EMBED_STRIDE])
        operations = self._operations()
        *body, head = operations
        kinds = [operation.kind for operation in body]
        n_layers = len(body) // 4
        expected = [Op.MIX, Op.RESIDUAL, Op.GLU, Op.RESIDUAL_SHIFT] * n_layers
        expected[-1:] = [Op.RESIDUAL]
        hidden = body[2].rows // 2 if len(body) > 2 else 0
        if (head.kind, head.rows, kinds) != (Op.HEAD, vocab_size, expected):
            raise DeviceError(f"the program that was loaded is none of a model: {kinds}, head of "
                              f"{head.rows} rows for {vocab_size} tokens")
        base = sum(operation.words for operation in body)
        if program[ProgramHeader.EMBED_BASE] != base:
            raise DeviceError("the program that was loaded has the embedding at word "
                              f"{program[ProgramHeader.EMBED_BASE]}, and the head at {base}")
        # The embedding makes the first operation's input, out of words such as the head's.
        embedded = int(program[ProgramHeader.EMBED_FLAGS])
        flags = [embedded, *(operation.flags for operation in operations)]
        if (embedded ^ head.flags) & OP_SHORT or any(
                bool(before & OP_AFTER_SHORT) != bool(after & OP_SHORT)
                for before, after in pairwise(flags)):
            raise DeviceError("the program that was loaded contradicts itself on which words are "
                              "short")
        layers = []
        for number in range(n_layers):
            mix, mix_out, glu, glu_down = body[4 * number:4 * number + 4]
            channels = slice(number * d, (number + 1) * d)
            taps = self.spaces[Space.TAPS][channels]
            matrices = [*mix.matrices(d), *mix_out.matrices(d), *glu.matrices(d),
                        *glu_down.matrices(hidden)]
            layers.append(Layer(
                **dict(zip(MATRICES, matrices, strict=True)),
                tap_now=(taps & 0xFF).astype(np.uint8).view(np.int8).astype(np.int16),
                tap_prev=(taps >> 8).astype(np.uint8).view(np.int8).astype(np.int16),
                forget_bias=self._signed(Space.FORGET_BIAS, channels).astype(np.int16),
                glu_tap=mix_out.parameters[1]))
        [embedding] = head.matrices(d)
        return Model(
            config=ModelConfig(vocab_size=vocab_size, d_model=d, n_layers=n_layers,
                               d_hidden=hidden),
            vocab=tuple(chr(0x100 + token) for token in range(vocab_size)),
            embedding=embedding.trits,
            embed_scale=int(program[ProgramHeader.EMBED_SCALE]),
            head_scale=embedding.scale,
            head_tap=body[-1].parameters[1],
            head_bias=self._signed(Space.PROGRAM, slice(256 - vocab_size, 256))[::-1],
            layers=tuple(layers),
            provenance={},
        )

    def _signed(self, space: Space, part: slice, signed: int = 1) -> NDArray[np.int32]:
        """Entries of a space, sign-extended from its width if ``signed`` is 1."""
        width = WIDTHS[space]
        values = self.spaces[space][part].astype(np.int32)
        return values - ((values >> width - 1 & signed) << width)

    def _operations(self) -> list[_Operation]:
        program = self.spaces[Space.PROGRAM]
        operations = []
        word = 0
        for number in range(int(program[ProgramHeader.OPS]) + 1):
            start = PROGRAM_HEADER_WORDS + number * PROGRAM_OP_WORDS
            first, rows, *parameters = program[start:start + PROGRAM_OP_WORDS].tolist()
            rows += 1
            blocks = (first % OP_SHORT >> OP_BLOCKS) + 1
            words = blocks * rows
            units = self.weights[self._word_units * word:self._word_units * (word + words)]
            if len(units) != words * self._word_units:
                raise DeviceError("the program that was loaded runs past the end of the weights")
            short = bool(first & OP_SHORT)
            tiles = self._device.tiles(rows)
            ends = np.cumsum([self._word_units * blocks * tile for tile in tiles])
            trits = np.concatenate([
                unpack_matrix(part, tile, self._device.packing, short)
                for part, tile in zip(np.split(units, ends[:-1]), tiles, strict=True)])
            operations.append(_Operation(
                Op(first % (1 << OP_BLOCKS)), first & (OP_SHORT | OP_AFTER_SHORT), rows, words,
                tuple(parameters), trits))
            word += words
        return operations


class _Text:
    """One of the sequences that a device works on, apart from model and tape."""

    def __init__(self) -> None:
        self.sampler = Sampler(0, 0)
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
    device : Device
        The capacities that it has and reports.
    compute : callable
        Makes what computes a sequence's tokens, out of the model that was loaded.
    """

    def __init__(self, device: Device = UP5K,
                 compute: Callable[[Model], ReferenceModel] = ReferenceModel) -> None:
        self._device = device
        self._compute = compute
        self._memory = _Memory(device)
        self._reader = FrameReader()
        self._output = bytearray()
        self._texts = [_Text() for _ in range(device.sequences)]
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
                for number, text in enumerate(self._texts):
                    if text.n_feed:
                        self._step(number, text)
                self._running = any(text.n_feed for text in self._texts)
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
                    PROTOCOL_MAGIC, PROTOCOL_VERSION, device.packing.block, 0, 0, 0,
                    device.weight_words, device.max_rows, device.max_columns, device.max_channels,
                    device.program_words, device.tape_tokens, device.max_vocab, device.sequences)
            case Command.STOP:
                if self._running:
                    for text in self._texts:
                        text.stop()
                return Result.OK, b""
            case Command.STATUS:
                positions = [text.position for text in self._texts] + [0]
                return Result.OK, STATUS.pack(self._running, *positions[:2],
                                              self._cycles % (1 << 32), self._words, self._tokens)
        return Result.BAD_COMMAND, b""

    def _write(self, payload: bytes) -> Result:
        count, odd = divmod(len(payload) - 3, 2)
        if count < 1 or odd:
            return Result.BAD_LENGTH
        places = self._find(payload, count)
        if None in places:
            return Result.BAD_ADDRESS
        if self._running:
            return Result.BUSY
        for place, unit in zip(places, np.frombuffer(payload[3:], "<u2"), strict=True):
            if place is not None:
                space, units, index = place
                value = unit & (1 << WIDTHS.get(space, 16)) - 1
                # A state outlives that what is there already is written again.
                if space not in (Space.TAPE, Space.CHECK) and units[index] != value:
                    self._references = []
                units[index] = value
        return Result.OK

    def _read(self, payload: bytes) -> tuple[Result, bytes]:
        if len(payload) != 4 or not 1 <= payload[3] <= MAX_UNITS:
            return Result.BAD_LENGTH, b""
        data: list[int] = []
        busy = False
        start = int.from_bytes(payload[:3], "little")
        check = self._memory.check() if start + payload[3] > Space.CHECK else ()
        for place in self._find(payload, payload[3]):
            if place is None or place[0] not in (Space.WEIGHTS, Space.TAPE, Space.CHECK):
                return Result.BAD_ADDRESS, b""
            space, units, index = place
            if space == Space.CHECK:
                data.append(0 if self._running else check[(start + len(data)) % 4])
            else:
                data.append(int(units[index]))
            busy |= self._running and space == Space.WEIGHTS
        return (Result.BUSY, b"") if busy else (Result.OK, np.array(data, "<u2").tobytes())

    def _find(self, payload: bytes, count: int) -> list[tuple[Space, Units, int] | None]:
        address = int.from_bytes(payload[:3], "little")
        return [self._memory.find(address + offset) for offset in range(count)]

    def _run(self, frame: Frame) -> Result:
        if len(frame.payload) != RUN.size:
            return Result.BAD_LENGTH
        if frame.sequence == self._last_run != 0:
            return Result.OK
        flags, n_feed, n_generate, temperature, seed = RUN.unpack(frame.payload)
        if n_feed == 0 or (flags & RunFlag.SECOND and len(self._texts) == 1):
            return Result.BAD_LENGTH
        if self._running:
            return Result.BUSY
        number = int(flags & RunFlag.SECOND != 0)
        self._last_run = frame.sequence
        if not self._memory.spaces[Space.PROGRAM][ProgramHeader.OPS]:
            return Result.OK  # no program since power-on: the run ends at once
        if not self._references:
            try:
                model = self._memory.model()
            except (ValueError, LookupError) as error:
                raise DeviceError(f"what was loaded is no model: {error}") from error
            self._words_per_token = self._memory.words_per_token()
            self._references = [self._compute(model) for _ in self._texts]
        if not number:
            for other in self._texts[1:]:
                other.n_feed = 0
        text = self._texts[number]
        text.n_feed, text.n_generate = n_feed, n_generate
        if flags & RunFlag.RESET:
            self._references[number].reset()
            text.position = 0
        if flags & RunFlag.SEED:
            text.sampler = Sampler(seed, 0)
        if flags & RunFlag.CLEAR:
            self._cycles = self._words = self._tokens = 0
        for each in self._texts:
            each.sampler.temperature = temperature & (1 << NUMBERS.temperature_bits) - 1
        self._running = not flags & RunFlag.HOLD
        return Result.OK

    def _step(self, number: int, text: _Text) -> None:
        """Feed the token at a sequence's position; generate the next one if the run says so."""
        reference, tape = self._references[number], self._memory.tape(number)
        token = [int(tape[text.position % len(tape)])]
        head = text.n_feed == 1 and text.n_generate > 0
        text.position = (text.position + 1) % 0x10000
        if head:
            sampled = text.sampler.sample(reference.step(token)[0])
            tape[text.position % len(tape)] = sampled
            self._output += encode_frame(
                Frame(0, NOTICE + number, NOTICE_PAYLOAD.pack(text.position, sampled)))
            text.n_generate -= 1
            text.n_feed = int(text.n_generate > 0)
        else:
            reference.feed(token)
            text.n_feed -= 1
        self._tokens += 1
        self._words += self._words_per_token[head]


def reference_target(options: TargetOptions) -> ReferenceTransport:
    """Target ``reference``."""
    if options.argument:
        raise TargetError(f"the reference takes no argument, not {options.argument!r}")
    return ReferenceTransport()
