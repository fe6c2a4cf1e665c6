"""Memories of the emulated device, and the model that is read back from them."""

import zlib

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.program import Operation, Program, operation_kinds
from trilight.hw.contract.protocol import BIASES, REGION_WORDS, WORD_BYTES, Region
from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import DeviceError
from trilight.sw.model.model import MATRICES, Layer, Matrix, Model
from trilight.sw.model.pack import unpack_matrix
from trilight.sw.reference.adaptation import Adaptation
from trilight.sw.reference.tables import SIGMOID, SILU, gumbel_table

__all__ = ["EmulatedMemory", "Words"]

Words = NDArray[np.uint16]

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


class EmulatedMemory:
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
        """Region of an access, its memory and the place ``offset`` words on, if there is one.

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
        """Adaptation in the memory that the host sees; ``None`` of a device that learns nothing."""
        device = self._device
        if not device.adapt_orders:
            return None
        rows = device.adapt_rows if device.adapt_orders > 1 else 0
        made = Adaptation(1 << device.token_bits, rows=rows, token_rows=device.adapt_token_rows)
        for name, address in zip(("first", "second"), BIASES[:device.adapt_orders], strict=False):
            low_bytes = self.regions[address].view(np.int8)[::WORD_BYTES]
            setattr(made, name, low_bytes.reshape(-1, 1 << device.token_bits))
        return made

    def tape(self, sequence: int) -> Words:
        """Tape of a sequence."""
        tokens = self._device.tape_tokens
        return self.regions[Region.TAPE][sequence * tokens:(sequence + 1) * tokens]

    def weight_crc(self) -> tuple[int, int, int, int]:
        """Words that the region of the weight CRC reads as; the check is complete at once."""
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
