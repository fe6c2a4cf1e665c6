"""Widths of the contract of imported models, ``docs/imported-formats.md``."""

import enum
from dataclasses import dataclass, fields

from .device import Device
from .errors import CapacityError

__all__ = ["FORMATS", "ImportedDevice", "ImportedFormats", "Kind"]


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

    @property
    def max_layers(self) -> int:
        """Layers that a count holds: those of the narrowest model that the engine takes."""
        return max(2, self.state_words // self.engine.min_rows)
