"""Widths of the contract of imported models, ``docs/imported-formats.md``."""

import enum
from dataclasses import dataclass, fields

from .device import Device, WeightMemory
from .errors import CapacityError

__all__ = ["CHANNEL_WORDS", "FORMATS", "HEADER_FIELDS", "IMPORTED_MAGIC", "LOGIT_WORDS",
           "PARAMETER_FIELDS", "PARAMETER_WORDS", "SHAPE_WORDS", "ImportedDevice",
           "ImportedFormats", "Kind", "shape_fields"]


class Kind(enum.IntEnum):
    """Matrices of a layer in the order of computation, and the head."""

    CANDIDATE = 0
    """``i``: rows become candidates of the state."""
    FORGET = 1
    """``f``: rows become forget gates, and update the state."""
    OUTPUT_GATE = 2
    """``g``: rows gate the state."""
    OUTPUT = 3
    """``o``: rows are added to the residual stream."""
    GLU = 4
    """``gate``: the first half of the rows gates the second."""
    DOWN = 5
    """``down``: rows are added to the residual stream."""
    HEAD = 6

    @property
    def matrix(self) -> str:
        """Name in a model."""
        return ("i", "f", "g", "o", "gate", "down", "head")[self]


@dataclass(frozen=True, kw_only=True)
class ImportedFormats:
    """Every width and constant of the integers of an imported model."""

    act_max: int = 127
    """Largest magnitude of a code of an activation."""
    acc_bits: int = 21
    """Sums of 6,912 columns of 127."""
    residual_bits: int = 36
    residual_frac: int = 24
    """Fraction bits of the residual stream, unless the embedding needs more before the point."""
    embedding_bits: int = 32
    gain_bits: int = 22
    """Gain of a channel before quantising, signed; block norm and BitLinear norm in one."""
    norm_bits: int = 19
    """Gain of a channel in the mean square, signed."""
    max_norm_frac: int = 28
    """Fraction bits of that gain at most: then the epsilon is at most all of the mean square."""
    y_bits: int = 28
    """Magnitude of a value when it is quantised."""
    reciprocal_bits: int = 24
    """Width of 127 / max|y|."""
    square_bits: int = 22
    """Magnitude of a value that is squared."""
    root_bits: int = 24
    """Width of a square root; its argument has twice as many bits."""
    scale_bits: int = 24
    """Mantissa of a scale."""
    z_bits: int = 32
    z_frac: int = 24
    """Pre-activations, results of SiLU, and the recurrent state."""
    sigmoid_bits: int = 24
    """Fraction bits of a sigmoid, and of forget gates and their lower bounds."""
    table_range: int = 16
    table_steps: int = 8
    """Entries of the sigmoid's table for a unit: two to the power of it."""
    product_shift: int = 10
    """Right shift of the product of a SiLU and a sum."""
    epsilon: int = 537
    epsilon_shift: int = 29
    """The norms' 1e-6 is the first over two to the power of the second, within 3e-4 of it."""
    epsilon_drop: int = 12
    """Low bits that a sum of squares loses before it is multiplied by the epsilon."""
    inverse_bits: int = 18
    """Width of a mantissa's reciprocal, which brings the epsilon to the unit of ``down``."""
    max_epsilon: int = 1 << 60
    """Largest share of epsilon in a sum of squares, so that the sum fits 64 bits."""
    logit_bits: int = 32
    logit_frac: int = 16
    max_left_shift: int = 18
    """Largest left shift of a row's scale: beyond it every sum but 0 leaves its range."""

    @property
    def value_bits(self) -> int:
        """Product of a SiLU and a sum, shifted: the widest of what is quantised."""
        return self.acc_bits + self.z_bits - 1 - self.product_shift

    @property
    def y_total_bits(self) -> int:
        """Magnitude of a value times its gain."""
        return self.value_bits + self.gain_bits - 1

    @property
    def reciprocal_shift(self) -> int:
        """Fraction bits of the reciprocal that quantises."""
        return self.reciprocal_bits + self.y_bits - 8

    @property
    def table_entries(self) -> int:
        return self.table_range << self.table_steps


FORMATS = ImportedFormats()

Fields = tuple[tuple[str, int], ...]
"""Names and widths of the fields of a word, the lowest first; some are signed."""

PARAMETER_FIELDS: Fields = (("gain", FORMATS.gain_bits), ("norm", FORMATS.norm_bits))
"""A column's gain before quantising and that in the mean square, both signed; or, of the words
that follow those of ``f``, a row's lower bound."""

HEADER_FIELDS: Fields = (
    ("scale", FORMATS.scale_bits), ("norm_frac", 8),
    ("frac", FORMATS.gain_bits + FORMATS.norm_bits - FORMATS.scale_bits - 8))
"""Header before a matrix' parameters: mantissa of ``mean|W| sqrt(columns) / 127``; fraction
bits of the gains in the mean square; those of the mantissa and the gains, added. The last two are
signed."""

IMPORTED_MAGIC = b"TRII"
"""Magic of a chip for imported models, in place of ``PROTOCOL_MAGIC``."""

SHAPE_WORDS = 8
PARAMETER_WORDS = 4
CHANNEL_WORDS = 4
LOGIT_WORDS = 2
"""16-bit words of a shape, a parameter, a channel and a logit in the memory of a chip."""


@dataclass(frozen=True, kw_only=True)
class ImportedDevice:
    """Sizes of a build for imported models.

    Raises
    ------
    CapacityError
        A size is none that can be built.
    """

    engine: Device
    """The engine: ``max_columns`` is the largest width, inner or of the residual stream;
    ``max_rows`` the most rows of a matrix."""
    max_hidden: int
    """Width of the residual stream."""
    state_words: int
    """Recurrent state of all layers: layers times the width of the residual stream."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "engine" and not (type(value) is int and value >= 2):
                raise CapacityError(f"{field.name} of {self.engine.name} must be an integer of at "
                                    f"least 2, not {value!r}")
        if self.max_hidden > self.engine.max_columns:
            raise CapacityError(
                f"max_hidden of {self.engine.name} must be at most its max_columns of "
                f"{self.engine.max_columns:,}, not {self.max_hidden:,}")

    @classmethod
    def on_chip(cls, *, name: str, lanes: int, weight_words: int, max_hidden: int, max_inner: int,
                max_vocabulary: int, max_layers: int) -> "ImportedDevice":
        """A device whose weights and parameters lie in block RAM."""
        # Of each layer: headers, columns of six matrices, lower bounds.
        layer = len(Kind) - 1 + 6 * max_hidden + max_inner
        parameters = PARAMETER_WORDS * (max_layers * layer + 1 + max_hidden)
        shared = max(CHANNEL_WORDS * max_hidden, LOGIT_WORDS * max_vocabulary)
        engine = Device(
            name=name, lanes=lanes, sequences=1, max_columns=max(max_hidden, max_inner),
            max_rows=max(2 * max_inner, max_vocabulary, max_hidden), weight_words=weight_words,
            weight_memory=WeightMemory.BLOCK_RAM, max_channels=max_layers * max_hidden,
            program_words=1 << (max(parameters, max_vocabulary) - 1).bit_length(),
            max_vocab=max_vocabulary, tape_tokens=1 << (shared - 1).bit_length())
        return cls(engine=engine, max_hidden=max_hidden, state_words=max_layers * max_hidden)

    @property
    def max_layers(self) -> int:
        """Layers that a count holds: those of the narrowest model that the engine takes."""
        return max(2, self.state_words // self.engine.min_rows)


def shape_fields(device: ImportedDevice) -> Fields:
    """Sizes of the model in a device, each - 1, and what a token consists of.

    ``hidden_blocks``, ``inner_blocks``: blocks of columns of a vector of that width. ``head``: a
    token ends with logits, and not with the residual stream. ``residual_frac``: its fraction bits,
    signed.
    """
    engine = device.engine
    columns = engine.column_bits
    blocks = max(1, (-(-engine.max_columns // engine.packing.block) - 1).bit_length())
    return (("hidden", columns), ("inner", columns), ("vocabulary", engine.row_bits),
            ("hidden_blocks", blocks), ("inner_blocks", blocks),
            ("layers", (device.max_layers - 1).bit_length()), ("head", 1), ("residual_frac", 8))
