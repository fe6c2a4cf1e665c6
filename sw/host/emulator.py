"""A device emulated in Python: the protocol byte for byte, the numerics by the integer reference.

It knows a model only by what was written into its address space, so that driver, protocol and
image compiler are exercised as by a board. Its clock is none that time could be told by, so
IDENTIFY says 0 Hz: a cycle is a look of the host at a device that runs. As on a chip, the counter
moves when nothing else does.
"""

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.device import Device
from trilight.hw.contract.errors import BoardError
from trilight.hw.contract.noise import NoiseFormat
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.program import Header, Operation, Program, operation_kinds
from trilight.hw.contract.protocol import (
    ACCESS,
    ADDRESS,
    BIASES,
    EVENT,
    IDENTITY,
    MAX_WORDS,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    REGION_WORDS,
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
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.errors import DeviceError, TargetError
from trilight.sw.model.model import MATRICES, Layer, Matrix, Model
from trilight.sw.model.pack import unpack_matrix
from trilight.sw.reference.adaptation import Adaptation
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.reference.sampler import Sampler
from trilight.sw.reference.tables import SIGMOID, SILU, gumbel_table

from .frames import Frame, FrameReader, encode_frame
from .targets import TargetOptions
from .transport import Transport

__all__ = ["ReferenceTransport", "reference_target"]

WIDTHS: dict[int, int] = {
    Region.PROGRAM: 16,
    Region.HEAD_BIAS: 16,
    Region.TAPS: 16,
    Region.FORGET_BIAS: 8,
    Region.ACTIVATION: 12,
    Region.WEIGHT_CRC: 16,
}
"""Bits of an entry; those of a token and of noise follow from the device."""

TABLE_ENTRIES = 256

Words = NDArray[np.uint16]


class _Memory:
    """The address space, and the model that can be read out of it."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._bus_words = device.packing.word_units
        self._widths: dict[int, int] = {**WIDTHS, Region.TAPE: device.token_bits,
                                        Region.GUMBEL: device.noise.value_bits}
        self.weights: Words = np.zeros(self._bus_words * device.weight_words, np.uint16)
        depths = {
            Region.PROGRAM: device.program_words, Region.HEAD_BIAS: device.program_words,
            Region.TAPS: device.max_channels, Region.FORGET_BIAS: device.max_channels,
            Region.ACTIVATION: TABLE_ENTRIES, Region.GUMBEL: device.noise.entries,
            Region.TAPE: device.sequences * device.tape_tokens, Region.WEIGHT_CRC: 2}
        biases = dict(zip(BIASES, device.adapt_depths, strict=False))
        self._widths |= dict.fromkeys(biases, NUMBERS.adapt_bits)
        self.regions: dict[int, Words] = {
            address: np.zeros(depth, np.uint16) for address, depth in (depths | biases).items()}
        self.biases: dict[int, Words] = {
            address: np.zeros(depth, np.uint16)
            for address, depth in zip(BIASES, device.adapt_depths, strict=False)}
        self.regions[Region.WEIGHT_CRC][:] = divmod(device.weight_words - 1, 0x10000)[::-1]

    def fit(self, region: int, word: int) -> int:
        """Return a word as a region keeps it."""
        return word & (1 << self._widths.get(region, 16)) - 1

    def find(self, address: int, offset: int) -> tuple[int, Words, int] | None:
        """Region of an access, its memory and the place ``offset`` words on; ``None`` if there is
        none.

        A memory of less than a region repeats in it, and after its last word comes its first.
        """
        if address < Region.PROGRAM:
            place = address + offset
            return (Region.WEIGHTS, self.weights, place) if place < len(self.weights) else None
        region = address & -REGION_WORDS
        words = self.regions.get(region)
        if words is None:
            return None
        return region, words, (address - region + offset) % REGION_WORDS % len(words)

    def adaptation(self) -> Adaptation | None:
        """What is learnt while reading, in the memory that the host sees; ``None`` if nothing."""
        device = self._device
        if not device.adapt_orders:
            return None
        rows = device.adapt_rows if device.adapt_orders > 1 else 0
        made = Adaptation(1 << device.token_bits, rows=rows)
        for name, address in zip(("first", "second"), BIASES[:device.adapt_orders], strict=False):
            low_bytes = self.regions[address].view(np.int8)[::WORD_BYTES]
            setattr(made, name, low_bytes.reshape(-1, 1 << device.token_bits))
        return made

    def tape(self, sequence: int) -> Words:
        """Tape of a sequence."""
        tokens = self._device.tape_tokens
        return self.regions[Region.TAPE][sequence * tokens:(sequence + 1) * tokens]

    def weight_crc(self) -> tuple[int, int, int, int]:
        """What the region of the weight CRC reads as, again and again: it is complete at once."""
        low, high = self.regions[Region.WEIGHT_CRC].tolist()
        used = self.weights[:self._bus_words * ((high << 16 | low) + 1)]
        crc = zlib.crc32(used.astype("<u2").tobytes())
        return 1, crc % 0x10000, crc >> 16, crc >> 16

    def program(self) -> Program:
        """Decode the program that has been loaded."""
        return Program.decode(self.regions[Region.PROGRAM].tolist())

    def model(self) -> Model:
        """Decode what has been loaded.

        Raises
        ------
        DeviceError
            It is no legal model, or its tables are not the reference's.
        """
        half = len(SIGMOID) // 2
        for name, loaded, table in (
                ("sigmoid", self._signed(Region.ACTIVATION, slice(0, half), 0), SIGMOID[half:]),
                ("silu", self._signed(Region.ACTIVATION, slice(half, None)), SILU[half:]),
                ("gumbel", self._signed(Region.GUMBEL, slice(None)),
                 gumbel_table(self._device.noise))):
            if (loaded != table).any():
                raise DeviceError(f"the {name} table that was loaded is not the reference's")
        program = self.program()
        d, vocab_size = program.channels, program.vocab_size
        kinds = [operation.kind for operation in program.operations]
        n_layers = len(kinds) // 4
        head = program.operations[-1]
        if not n_layers or kinds != operation_kinds(n_layers) or head.rows != vocab_size:
            raise DeviceError(
                f"the program that was loaded is none of a model: {kinds}, head of "
                f"{head.rows} rows for {vocab_size} tokens")
        hidden = program.operations[2].rows // 2
        matrices = self._matrices(program, d, hidden)
        layers = []
        for number in range(n_layers):
            first = 4 * number
            channels = slice(number * d, (number + 1) * d)
            taps = self.regions[Region.TAPS][channels]
            found = [matrix for those in matrices[first:first + 4] for matrix in those]
            layers.append(Layer(
                **dict(zip(MATRICES, found, strict=True)),
                tap_now=(taps & 0xFF).astype(np.uint8).view(np.int8).astype(np.int16),
                tap_prev=(taps >> 8).astype(np.uint8).view(np.int8).astype(np.int16),
                forget_bias=self._signed(Region.FORGET_BIAS, channels).astype(np.int16),
                glu_tap=program.operations[first + 1].parameters[1]))
        [embedding] = matrices[-1]
        return Model(
            config=ModelConfig(vocab_size=vocab_size, d_model=d, n_layers=n_layers,
                               d_hidden=hidden),
            vocab=tuple(chr(0x100 + token) for token in range(vocab_size)),
            embedding=embedding.trits,
            embed_scale=program.embed_scale,
            head_scale=embedding.scale,
            head_tap=program.operations[-2].parameters[1],
            head_bias=self._signed(Region.HEAD_BIAS, slice(vocab_size)),
            layers=tuple(layers),
            provenance={},
        )

    def _signed(self, region: Region, part: slice, signed: int = 1) -> NDArray[np.int32]:
        """Entries of a region, sign-extended from its width if ``signed`` is 1."""
        width = self._widths[region]
        values = self.regions[region][part].astype(np.int32)
        return values - ((values >> width - 1 & signed) << width)

    def _matrices(self, program: Program, d: int, hidden: int) -> list[list[Matrix]]:
        """Matrices of each operation of a program, those whose rows take turns together."""
        matrices = []
        word = 0
        for number, operation in enumerate(program.operations):
            words = self.weights[self._bus_words * word:self._bus_words * (word + operation.words)]
            columns = hidden if number % 4 == 3 else d
            trits = self._trits(operation, words)
            if trits[:, columns:].any():
                raise DeviceError(
                    f"the weights that were loaded go on after column {columns - 1}")
            n = operation.kind.matrices
            matrices.append([Matrix(trits[k::n, :columns], operation.parameters[k])
                             for k in range(n)])
            word += operation.words
        return matrices

    def _trits(self, operation: Operation, words: Words) -> NDArray[np.int8]:
        """Weights of an operation [rows, columns], padding included."""
        if len(words) != self._bus_words * operation.words:
            raise DeviceError("the program that was loaded runs past the end of the weights")
        tiles = self._device.tiles(operation.rows)
        ends = np.cumsum([self._bus_words * operation.blocks * tile for tile in tiles])
        return np.concatenate([
            unpack_matrix(part, tile, self._device.packing, operation.short)
            for part, tile in zip(np.split(words, ends[:-1]), tiles, strict=True)])


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
        self._memory = _Memory(device)
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
