"""A device: the sizes of a build, and what follows from them. Standard library only."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from .errors import CapacityError
from .noise import BYTE, FINE, NoiseFormat
from .numbers import NUMBERS
from .outside import Outside, WordPort
from .trits import Packing

__all__ = ["SPRAM_WORDS", "Device", "WeightMemory"]


class WeightMemory(enum.Enum):
    """Source of weight words."""

    SPRAM = "spram"
    """Single-port RAM of its own kind, beside block RAM."""
    BLOCK_RAM = "block_ram"
    """A memory that any toolchain infers block RAM from."""
    EXTERNAL = "external"
    """A stream from outside the core, such as a flash or an SDRAM behind a FIFO."""

    @property
    def latency(self) -> int:
        """Cycles from a word's transfer to its data: those of registers around a memory."""
        return 0 if self is WeightMemory.EXTERNAL else 2


LANES = range(2, 97)
TRITS = (3, 5)
SEQUENCES = (1, 2, 4, 8)
MAX_ADAPT_ORDERS = 2
SPRAM_WORDS = 1 << 14
"""Depth of an SPRAM, which is 16 bits wide; several stand side by side."""

MIN_BUFFER = 16
"""Fewest words of a buffer, so that none is empty for the latency of its memory."""

_MAX_ADAPT_ROWS = 1 << 13
"""Most that half a byte of ``IDENTITY`` tells, where 0 and 1 mean something else."""

_NO_SIZE = ("name", "weight_memory", "outside", "terminal", "late_block_ram")
_MAY_BE_NONE = ("tile_rows", "adapt_orders", "adapt_token_rows", "buffer_words")


@dataclass(frozen=True, kw_only=True)
class Device:
    """Sizes of a build: what the gateware is made from, and what a model has to fit.

    Every width and latency of the gateware follows from these.

    Raises
    ------
    CapacityError
        A size is none that can be built, or two do not fit together.
    """

    name: str
    lanes: int = 8
    """Trit codes in a weight word, which are looked up at once: 2 to 96."""
    trits: int = 5
    """Trits of a code: 5, with tables in block RAM, or 3, with tables in LUT RAM."""
    weight_words: int
    """Depth of the weight memory, wherever it is."""
    weight_memory: WeightMemory = WeightMemory.SPRAM
    """Memory on the chip that holds the weights, or those that are on their way from outside."""
    outside: Outside | None = None
    """Memory outside the chip that the weights stream from; ``None`` if they stay on it."""
    buffer_words: int = 0
    """Depth of the memory on the chip that weight words from outside pass through, a power of two.
    An operation that fits is read from outside once for all sequences."""
    max_rows: int = 512
    """Rows of one operation: 3 d_model, 2 d_hidden, vocab_size."""
    tile_rows: int = 0
    """Depth of the memory of row sums; an operation with more rows is worked on in tiles. 0 for
    ``max_rows``, which makes a tile of every operation."""
    max_columns: int = 256
    """Columns of one operation."""
    max_channels: int = 512
    """d_model * n_layers: the recurrent state of one sequence."""
    sequences: int = 2
    """Sequences that can be worked on at once: 1, 2, 4 or 8."""
    program_words: int = 256
    """Program and output bias together."""
    tape_tokens: int = 256
    """Tokens that each sequence's tape holds, prompt and generated; a power of two."""
    max_vocab: int = 256
    adapt_orders: int = 0
    """Orders of the biases that are learnt while reading: 1, by the last token, or 2, by the last
    two as well; 0 for none."""
    adapt_token_rows: int = 0
    """Rows of biases by the last token, a power of two, found by its low bits; 0 for one for each
    token."""
    adapt_rows: int = 256
    """Rows of biases by the last two tokens, found by a hash; a power of two."""
    terminal: bool = False
    """True if a person may type to it, without a host: needs at most 256 tokens."""
    late_block_ram: bool = False
    """True if block RAM answers late in a cycle and LUT RAM does not, as on an ECP5: what adders
    wait for lies in LUT RAM, or is read a cycle earlier, and weights are read in every cycle.
    Changes no latency."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in _MAY_BE_NONE else 1
            if field.name not in _NO_SIZE and not (type(value) is int and value >= least):
                raise CapacityError(f"{field.name} of {self.name} must be a positive integer, "
                                    f"not {value!r}")
        for wrong in self._contradictions():
            raise CapacityError(f"{self.name} can not be built: {wrong}")

    def _contradictions(self) -> Iterator[str]:
        """Sizes that do not fit together, a clause each."""
        if self.lanes not in LANES:
            yield f"lanes must be {LANES[0]} to {LANES[-1]}, not {self.lanes}"
        if self.trits not in TRITS:
            yield f"trits must be 3 or 5, not {self.trits}"
        if self.sequences not in SEQUENCES:
            yield f"sequences must be 1, 2, 4 or 8, not {self.sequences}"
        held = self.buffer_words if self.streamed else self.weight_words
        if self.weight_memory is WeightMemory.SPRAM and held > SPRAM_WORDS:
            yield (f"SPRAM holds {SPRAM_WORDS:,} weight words, not {held:,}; use "
                   "block RAM or an external memory")
        yield from self._wrong_outside()
        if self.weight_memory is WeightMemory.SPRAM and self.trits == 3:
            yield ("tables of 3 trits lie in LUT RAM, which a chip with SPRAM has none of; use 5 "
                   "trits")
        if self.tape_tokens & (self.tape_tokens - 1):
            yield f"tape_tokens must be a power of two, not {self.tape_tokens:,}"
        if self.adapt_orders > MAX_ADAPT_ORDERS:
            yield f"adapt_orders must be 0, 1 or 2, not {self.adapt_orders}"
        if self.adapt_rows & (self.adapt_rows - 1) or self.adapt_rows > _MAX_ADAPT_ROWS:
            yield (f"adapt_rows must be a power of two, at most {_MAX_ADAPT_ROWS:,}, not "
                   f"{self.adapt_rows:,}")
        if (self.adapt_token_rows & (self.adapt_token_rows - 1)
                or self.adapt_token_rows > 1 << self.token_bits):
            yield (f"adapt_token_rows must be a power of two, at most {1 << self.token_bits:,} for "
                   f"a vocabulary of {self.max_vocab:,}, or 0, not {self.adapt_token_rows:,}")
        if self.max_rows < self.min_rows:
            yield (f"max_rows must be at least the {self.min_rows} rows that the pipeline of "
                   f"{self.lanes} lanes needs, not {self.max_rows}")
        if self.program_words & (self.program_words - 1):
            yield (f"program_words must be a power of two, as output biases lie at its end, not "
                   f"{self.program_words:,}")
        if self.max_vocab > self.program_words:
            yield (f"the program memory holds the output bias of each token, so max_vocab must be "
                   f"at most the program_words of {self.program_words:,}, not {self.max_vocab:,}")
        if self.terminal and self.max_vocab > 256:
            yield (f"a terminal has a byte for a token, so max_vocab must be at most 256, not "
                   f"{self.max_vocab:,}")
        if self.tile_rows and not 2 * self.min_rows <= self.tile_rows <= self.max_rows:
            yield (f"tile_rows must be {2 * self.min_rows:,} to the max_rows of "
                   f"{self.max_rows:,}, or 0, not {self.tile_rows:,}")
        if self.tiled and self.max_vocab > self.row_sums:
            yield (f"a token is looked up in a single tile, so max_vocab must be at most the "
                   f"{self.row_sums:,} rows of one, not {self.max_vocab:,}")

    def _wrong_outside(self) -> Iterator[str]:
        """Sizes that do not fit a memory outside the chip, a clause each."""
        if self.outside is None:
            if self.buffer_words:
                yield (f"buffer_words is the depth of a buffer for weights from outside, and there "
                       f"is no memory outside; leave it out, not {self.buffer_words:,}")
            return
        if self.weight_memory is WeightMemory.EXTERNAL:
            yield "weights from outside pass through SPRAM or block RAM; name one of them"
        if self.buffer_words < MIN_BUFFER or self.buffer_words & (self.buffer_words - 1):
            yield (f"buffer_words must be a power of two, at least {MIN_BUFFER}, not "
                   f"{self.buffer_words:,}")
        if self.weight_words > self.outside_words:
            yield (f"the memory outside holds {self.outside_words:,} weight words, not "
                   f"{self.weight_words:,}")

    # ---- Weight words

    @property
    def streamed(self) -> bool:
        """True if weights stream from a memory outside the chip."""
        return self.outside is not None

    @property
    def outside_words(self) -> int:
        """Weight words that the memory outside the chip has room for; 0 if there is none."""
        if self.outside is None:
            return 0
        if isinstance(self.outside, WordPort):
            return self.outside.words
        return self.outside.bytes // (2 * self.packing.word_units)

    @property
    def buffer_bits(self) -> int:
        """Width of a place in the buffer of weight words from outside."""
        return _bits(max(self.buffer_words, 1))

    @property
    def packing(self) -> Packing:
        """Layout of trits in weight words."""
        return Packing(self.lanes, self.trits)

    @property
    def address_bits(self) -> int:
        """Width of a weight word's address."""
        return _bits(self.weight_words)

    # ---- Counts

    @property
    def row_bits(self) -> int:
        """Width of a row's number in its operation."""
        return _bits(self.max_rows)

    @property
    def row_sums(self) -> int:
        """Rows of a tile at most: those of an operation unless it is worked on in tiles."""
        return self.tile_rows or self.max_rows

    @property
    def tiled(self) -> bool:
        """True if an operation may have more rows than there is memory for their sums."""
        return self.row_sums < self.max_rows

    def tiles(self, rows: int) -> list[int]:
        """Rows of each tile of an operation: as many as there is memory for, but that the last one
        has at least ``min_rows``."""
        tiles = []
        while self.tiled and rows > self.row_sums:
            tiles.append(self.row_sums if rows >= self.row_sums + self.min_rows
                         else self.row_sums - self.min_rows)
            rows -= tiles[-1]
        return [*tiles, rows]

    @property
    def column_bits(self) -> int:
        """Width of a column's, or a residual channel's, number."""
        return _bits(self.max_columns)

    @property
    def channel_bits(self) -> int:
        """Width of a channel's number, counted over all layers."""
        return _bits(self.max_channels)

    @property
    def token_bits(self) -> int:
        """Width of a token."""
        return _bits(self.max_vocab)

    @property
    def sequence_bits(self) -> int:
        """Width of a sequence's number, 0 of the only one."""
        return _bits(self.sequences)

    @property
    def program_bits(self) -> int:
        """Width of an address of the program memory."""
        return _bits(self.program_words)

    @property
    def tape_bits(self) -> int:
        """Width of a place on a tape."""
        return _bits(self.tape_tokens)

    @property
    def adapt_depths(self) -> tuple[int, ...]:
        """Biases of each order: a row has a place for each number of ``token_bits``."""
        rows = (self.adapt_token_rows or 1 << self.token_bits, self.adapt_rows)
        return tuple(count << self.token_bits for count in rows[:self.adapt_orders])

    @property
    def adapt_code(self) -> int:
        """Byte of ``IDENTITY``: in its low half 0 if nothing is learnt while reading, 1 with order
        1, and with order 2 as well 2 + log2 of its rows; in its high half 0 if order 1 has a row
        for each token, else 1 + log2 of its rows."""
        if not self.adapt_orders:
            return 0
        folded = 1 + _bits(self.adapt_token_rows) if self.adapt_token_rows else 0
        return folded << 4 | (1 if self.adapt_orders < 2 else 2 + _bits(self.adapt_rows))

    @staticmethod
    def adaptation_of(code: int) -> dict[str, Any]:
        """Fields of a device that ``adapt_code`` stands for."""
        folded, code = divmod(code, 16)
        orders = ({"adapt_orders": code} if code < 2 else
                  {"adapt_orders": 2, "adapt_rows": 1 << code - 2})
        return orders | ({"adapt_token_rows": 1 << folded - 1} if folded else {})

    # ---- Numbers

    @property
    def acc_bits(self) -> int:
        """Width of a row sum: signed, exact for ``max_columns`` of the greatest magnitude."""
        return (self.max_columns * NUMBERS.act_max).bit_length() + 1

    @property
    def norm_bits(self) -> int:
        """Width of the unsigned sum of a vector's magnitudes."""
        return (self.max_columns * NUMBERS.act_max).bit_length()

    @property
    def noise(self) -> NoiseFormat:
        """Noise of the sampler: fine enough for ``max_vocab`` tokens."""
        return BYTE if self.max_vocab <= 1 << BYTE.draw_bits else FINE

    # ---- Latencies

    @property
    def read_latency(self) -> int:
        """Cycles from the transfer of a weight word to its data, and so to its look-up."""
        return self.weight_memory.latency

    @property
    def write_cycles(self) -> int:
        """Cycles from the writing of a unit of the weight memory to that of the next, at least.

        Codes that do not fill units are read, changed and written back.
        """
        return 1 if self.packing.fills_units else 3

    @property
    def tree_depth(self) -> int:
        """Levels of the adder tree, a cycle each."""
        return _bits(self.lanes)

    @property
    def row_latency(self) -> int:
        """Cycles from the transfer of a row's last weight word to its sum.

        After the word's own latency: the look-up, the sign, the tree, the sum so far.
        """
        return self.read_latency + 3 + self.tree_depth

    @property
    def min_rows(self) -> int:
        """Fewest rows of an operation.

        Twice the pipeline of rows: whatever an operation leaves for its next block or the next
        operation, such as a row's sum so far, is there before that one asks for it.
        """
        return 2 * self.row_latency


def _bits(count: int) -> int:
    """Width of a number below ``count``."""
    return (count - 1).bit_length()
