"""A device emulated in Python: the protocol byte for byte, the numerics by the integer reference.

It knows a model only by what was written into its address space, so that driver, protocol and
image compiler are exercised as by a board. It has no clock: its cycle counter stays 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilight.hw.config import NUMBERS, UP5K, DeviceConfig, ModelConfig
from trilight.hw.protocol import (
    IDENTITY,
    MAX_UNITS,
    NOTICE,
    PROGRAM_HEADER_WORDS,
    PROGRAM_OP_WORDS,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    RESPONSE,
    RUN,
    STATUS,
    Command,
    Op,
    ProgramHeader,
    Result,
    RunFlag,
    Space,
)

from .errors import DeviceError, TargetError
from .frames import NOTICE_PAYLOAD, Frame, FrameReader, encode_frame
from .model import MATRICES, Layer, Matrix, Model, unpack_trits
from .reference.model import ReferenceModel
from .reference.sampler import Sampler
from .reference.tables import GUMBEL, SIGMOID, SILU
from .targets import TargetOptions
from .transport import Transport

__all__ = ["ReferenceTransport", "reference_target"]

SPACE_UNITS = 512
UNITS_PER_WORD = 4
WIDTHS = {
    Space.PROGRAM: 16,
    Space.TAPS: 16,
    Space.FORGET_BIAS: 8,
    Space.ACTIVATION: 12,
    Space.GUMBEL: 12,
    Space.TAPE: 8,
}

Units = NDArray[np.uint16]


@dataclass(frozen=True)
class _Operation:
    kind: Op
    rows: int
    scales: tuple[int, ...]
    codes: NDArray[np.uint8]
    """Trit codes [rows, bytes]."""

    def matrices(self, columns: int) -> list[Matrix]:
        """The matrices whose rows this operation interleaves."""
        n = {Op.MIX: 3, Op.GLU: 2}.get(self.kind, 1)
        trits = unpack_trits(self.codes, columns)
        return [Matrix(trits[k::n], self.scales[k]) for k in range(n)]


class _Memory:
    """The address space, and the model that can be read out of it."""

    def __init__(self, device: DeviceConfig) -> None:
        self.weights: Units = np.zeros(UNITS_PER_WORD * device.weight_words, np.uint16)
        depths = {Space.PROGRAM: device.program_words, Space.GUMBEL: 256,
                  Space.TAPE: device.tape_tokens}
        self.spaces: dict[Space, Units] = {
            space: np.zeros(depths.get(space, SPACE_UNITS), np.uint16) for space in WIDTHS}

    def find(self, address: int) -> tuple[Space, Units, int] | None:
        """Space of an address, its memory and the place in it; ``None`` if there is none.

        A memory of less than a space repeats in it.
        """
        if address < len(self.weights):
            return Space.WEIGHTS, self.weights, address
        if not Space.PROGRAM <= address < Space.TAPE + SPACE_UNITS:
            return None
        space = Space(address - address % SPACE_UNITS)
        units = self.spaces[space]
        return space, units, (address - space) % len(units)

    def words_per_token(self) -> tuple[int, int]:
        """Weight words of a token without logits, and of one with them."""
        words = [operation.codes.size // NUMBERS.bytes_per_word for operation in self._operations()]
        return sum(words[:-1]), sum(words)

    def model(self) -> Model:
        """Decode what has been loaded.

        Raises
        ------
        DeviceError
            It is no legal model, or its tables are not the reference's.
        """
        program = self.spaces[Space.PROGRAM]
        for name, loaded, table in (
                ("sigmoid", self._signed(Space.ACTIVATION, slice(0, 256), 0), SIGMOID),
                ("silu", self._signed(Space.ACTIVATION, slice(256, 512)), SILU),
                ("gumbel", self._signed(Space.GUMBEL, slice(0, 256)), GUMBEL)):
            if (loaded != table).any():
                raise DeviceError(f"the {name} table that was loaded is not the reference's")
        d = int(program[ProgramHeader.CHANNELS]) + 1
        vocab_size = int(program[ProgramHeader.EMBED_STRIDE])
        *body, head = self._operations()
        kinds = [operation.kind for operation in body]
        n_layers = len(body) // 4
        expected = [Op.MIX, Op.RESIDUAL, Op.GLU, Op.RESIDUAL_SHIFT] * n_layers
        expected[-1:] = [Op.RESIDUAL]
        hidden = body[2].rows // 2 if len(body) > 2 else 0
        if (head.kind, head.rows, kinds) != (Op.HEAD, vocab_size, expected):
            raise DeviceError(f"the program that was loaded is none of a model: {kinds}, head of "
                              f"{head.rows} rows for {vocab_size} tokens")
        base = sum(operation.codes.size for operation in body) // NUMBERS.bytes_per_word
        if (int(program[ProgramHeader.EMBED_BASE]), int(program[ProgramHeader.NORM_SCALE])) != (
                base, NUMBERS.norm_gain * d):
            raise DeviceError("the program that was loaded has a wrong embedding or norm scale")
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
                forget_bias=self._signed(Space.FORGET_BIAS, channels).astype(np.int16)))
        [embedding] = head.matrices(d)
        return Model(
            config=ModelConfig(vocab_size=vocab_size, d_model=d, n_layers=n_layers,
                               d_hidden=hidden),
            vocab=tuple(chr(0x100 + token) for token in range(vocab_size)),
            embedding=embedding.trits,
            embed_scale=int(program[ProgramHeader.EMBED_SCALE]),
            head_scale=embedding.scale,
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
            kind, rows, *scales = program[start:start + PROGRAM_OP_WORDS].tolist()
            rows, blocks = rows + 1, (kind >> 4) + 1
            units = self.weights[UNITS_PER_WORD * word:UNITS_PER_WORD * (word + blocks * rows)]
            codes = np.frombuffer(units.astype("<u2").tobytes(), np.uint8)
            if codes.size != blocks * rows * NUMBERS.bytes_per_word:
                raise DeviceError("the program that was loaded runs past the end of the weights")
            codes = codes.reshape(blocks, rows, NUMBERS.bytes_per_word)
            operations.append(_Operation(Op(kind & 15), rows, tuple(scales),
                                         codes.transpose(1, 0, 2).reshape(rows, -1)))
            word += blocks * rows
        return operations


class ReferenceTransport(Transport):
    """The emulated device, and the link to it.

    A run goes on while the host reads: each read that finds nothing to return feeds one token.

    Parameters
    ----------
    device : DeviceConfig
        The capacities that it has and reports.
    """

    def __init__(self, device: DeviceConfig = UP5K) -> None:
        self._device = device
        self._memory = _Memory(device)
        self._reader = FrameReader()
        self._output = bytearray()
        self._reference: ReferenceModel | None = None
        self._words_per_token = (0, 0)
        self._sampler = Sampler(0, 0)
        self._last_run = 0
        self._running = False
        self._n_feed = 0
        self._n_generate = 0
        self._position = 0
        self._words = 0
        self._tokens = 0

    @property
    def name(self) -> str:
        return "reference"

    def write(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            result, payload = self._execute(frame)
            self._output += encode_frame(
                Frame(frame.sequence, frame.command | RESPONSE, bytes((result,)) + payload))

    def read(self, timeout_s: float) -> bytes:
        if self._running and not self._output:
            self._step()
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
                    PROTOCOL_MAGIC, PROTOCOL_VERSION, NUMBERS.block, 0, 0, 0, device.weight_words,
                    device.max_rows, device.max_columns, device.max_channels, device.program_words,
                    device.tape_tokens, device.max_vocab)
            case Command.STOP:
                self._n_feed, self._n_generate = 1, 0
                return Result.OK, b""
            case Command.STATUS:
                return Result.OK, STATUS.pack(self._running, self._position, 0, self._words,
                                              self._tokens)
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
                units[index] = unit & (1 << WIDTHS.get(space, 16)) - 1
                if space != Space.TAPE:
                    self._reference = None
        return Result.OK

    def _read(self, payload: bytes) -> tuple[Result, bytes]:
        if len(payload) != 4 or not 1 <= payload[3] <= MAX_UNITS:
            return Result.BAD_LENGTH, b""
        data = []
        busy = False
        for place in self._find(payload, payload[3]):
            if place is None or place[0] not in (Space.WEIGHTS, Space.TAPE):
                return Result.BAD_ADDRESS, b""
            space, units, index = place
            data.append(units[index])
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
        if n_feed == 0:
            return Result.BAD_LENGTH
        if self._running:
            return Result.BUSY
        self._n_feed, self._n_generate = n_feed, n_generate
        self._last_run = frame.sequence
        self._running = True
        if self._reference is None:
            self._reference = ReferenceModel(self._memory.model())
            self._words_per_token = self._memory.words_per_token()
        if flags & RunFlag.RESET:
            self._reference.reset()
            self._position = 0
        if flags & RunFlag.SEED:
            self._sampler = Sampler(seed, 0)
        if flags & RunFlag.CLEAR:
            self._words = self._tokens = 0
        self._sampler.temperature = temperature & (1 << NUMBERS.temperature_bits) - 1
        return Result.OK

    def _step(self) -> None:
        """Feed the token at the position; generate the next one if the run says so."""
        if self._n_feed == 0 or self._reference is None:
            self._running = False
            return
        tape = self._memory.spaces[Space.TAPE]
        token = [int(tape[self._position % self._device.tape_tokens])]
        head = self._n_feed == 1 and self._n_generate > 0
        self._position = (self._position + 1) % 0x10000
        if head:
            sampled = self._sampler.sample(self._reference.step(token)[0])
            tape[self._position % self._device.tape_tokens] = sampled
            self._output += encode_frame(
                Frame(0, NOTICE, NOTICE_PAYLOAD.pack(self._position, sampled)))
            self._n_generate -= 1
            self._n_feed = int(self._n_generate > 0)
        else:
            self._reference.feed(token)
            self._n_feed -= 1
        self._tokens += 1
        self._words += self._words_per_token[head]
        self._running = self._n_feed > 0


def reference_target(options: TargetOptions) -> ReferenceTransport:
    """Target ``reference``."""
    if options.argument:
        raise TargetError(f"the reference takes no argument, not {options.argument!r}")
    return ReferenceTransport()
