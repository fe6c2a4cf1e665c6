"""Sizes and number formats, written down once.

``NUMBERS`` mirrors ``docs/number-formats.md``; ``ModelConfig`` is the shape of a model and
``DeviceConfig`` the capacity of a build. The gateware, the integer reference, the trainer and the
image compiler all take their widths from here. Standard library only.
"""

from dataclasses import asdict, dataclass, fields

from .errors import CapacityError

__all__ = ["NUMBERS", "UP5K", "CapacityError", "DeviceConfig", "ModelConfig", "NumberFormats",
           "OperationShape"]


@dataclass(frozen=True, kw_only=True)
class NumberFormats:
    """Widths in bits and binary-point positions; see ``docs/number-formats.md``."""

    act_bits: int = 8
    """Matrix-product inputs ``q, u, v``, in [-127, 127]."""
    act_max: int = 127
    acc_bits: int = 16
    """Accumulators: exact for up to 258 columns of magnitude 127."""
    scale_bits: int = 15
    """Unsigned requantisation multipliers ``m``."""
    scale_frac: int = 15
    residual_bits: int = 12
    residual_frac: int = 6
    prev_bits: int = 8
    """``x_prev``, in [-127, 127]."""
    prev_shift: int = 3
    """``x_prev = clip127(rshift(x, prev_shift))``."""
    tap_bits: int = 8
    tap_frac: int = 7
    norm_bits: int = 15
    """``sum|q|`` of a vector: at most 256 columns of 127."""
    norm_shift: int = 12
    """``m_eff = (m << norm_shift) // sum|q|``: a vector whose magnitudes add up to 4096 leaves
    ``m`` as it is."""
    index_bits: int = 8
    index_frac: int = 4
    gate_bits: int = 12
    """``SILU`` entries, the state ``h`` and the GLU's linear branch."""
    gate_frac: int = 8
    forget_bits: int = 12
    """``SIGMOID`` entries, unsigned, all fraction."""
    mix_shift: int = 11
    """``u = clip127(rshift(g * h, mix_shift))``: 32 counts per unit."""
    glu_shift: int = 12
    """``v = clip127(rshift(a * b, glu_shift))``: 16 counts per unit."""
    logit_bits: int = 16
    logit_frac: int = 6
    gumbel_bits: int = 12
    gumbel_frac: int = 8
    temperature_bits: int = 11
    temperature_frac: int = 8
    noise_shift: int = 10
    """``gumbel_frac + temperature_frac - logit_frac``."""
    rng_bits: int = 32
    rng_taps: tuple[int, ...] = (0, 1, 2, 3, 5, 7)
    rng_step: int = 8
    rng_zero_seed: int = 0x5EED5EED
    trits_per_byte: int = 5
    short_trits: int = 4
    """Trits of a byte in a short word, whose table fills in a third of the time."""
    bytes_per_word: int = 8

    @property
    def block(self) -> int:
        """Columns of a matrix that one weight word covers."""
        return self.trits_per_byte * self.bytes_per_word


NUMBERS = NumberFormats()


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """What a build can hold. Every limit is a memory's depth."""

    name: str
    weight_words: int
    """Depth of the weight memory, in words of 64 bits (40 trits)."""
    max_rows: int = 512
    """Rows of one operation: 3 d_model, 2 d_hidden, vocab_size."""
    max_columns: int = 256
    """Columns of one operation; with int8 activations sums then fit 16 bits."""
    max_channels: int = 512
    """d_model * n_layers: the recurrent state of one sequence."""
    sequences: int = 2
    """Texts that can be worked on at once."""
    min_rows: int = 16
    """Below this a partial sum would be read before it is written."""
    program_words: int = 256
    """Program and output bias together."""
    tape_tokens: int = 256
    """Tokens the device remembers, prompt and generated."""
    max_vocab: int = 256


UP5K = DeviceConfig(name="up5k", weight_words=16384)


@dataclass(frozen=True)
class OperationShape:
    """A pass of the engine: a matrix, or interleaved ones, times a vector."""

    rows: int
    columns: int

    @property
    def short(self) -> bool:
        """Whether the weight words are short.

        They take more space and less time to fill tables with, so they serve where rows are too
        few to hide the filling.
        """
        def cycles(trits: int) -> int:
            return self._blocks(trits) * max(self.rows, (3**trits + 1) // 2)

        return cycles(NUMBERS.short_trits) < cycles(NUMBERS.trits_per_byte)

    def _blocks(self, trits: int) -> int:
        return -(-self.columns // (trits * NUMBERS.bytes_per_word))

    @property
    def trits(self) -> int:
        """Trits in a byte of a weight word."""
        return NUMBERS.short_trits if self.short else NUMBERS.trits_per_byte

    @property
    def entries(self) -> int:
        """Sums in a table."""
        return (3**self.trits + 1) // 2

    @property
    def blocks(self) -> int:
        """Weight words per row."""
        return self._blocks(self.trits)

    @property
    def words(self) -> int:
        """Weight words in all, padding included."""
        return self.rows * self.blocks


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape of a MatMul-free language model.

    Raises ``ValueError`` for sizes that are not positive.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    d_hidden: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{field.name} must be a positive integer, not {value!r}")

    @property
    def ternary_weights(self) -> int:
        """Ternary weights of the model, the embedding counted once (it is the head too)."""
        d, h = self.d_model, self.d_hidden
        return self.n_layers * (4 * d * d + 3 * d * h) + self.vocab_size * d

    @property
    def ternary_weights_per_token(self) -> int:
        """Weights in the matrix products of one generated token: all of them, once."""
        return self.ternary_weights

    @property
    def layer_operations(self) -> tuple[OperationShape, ...]:
        """Operations of a layer: MLGRU gates, its output, GLU, its output."""
        d, h = self.d_model, self.d_hidden
        return (OperationShape(3 * d, d), OperationShape(d, d),
                OperationShape(2 * h, d), OperationShape(d, h))

    @property
    def head(self) -> OperationShape:
        """The last operation."""
        return OperationShape(self.vocab_size, self.d_model)

    @property
    def weight_words(self) -> int:
        """Words of weight memory, padding included."""
        layer = sum(operation.words for operation in self.layer_operations)
        return self.n_layers * layer + self.head.words

    @property
    def program_words(self) -> int:
        """Words of program memory: header, operations, output bias (see ``hw.protocol``)."""
        from .protocol import PROGRAM_HEADER_WORDS, PROGRAM_OP_WORDS

        ops = 4 * self.n_layers + 1
        return PROGRAM_HEADER_WORDS + PROGRAM_OP_WORDS * ops + self.vocab_size

    def misfits(self, device: DeviceConfig) -> list[str]:
        """Every limit of ``device`` that this model breaks, one plain sentence each."""
        rows = {
            "3 * d_model": 3 * self.d_model,
            "2 * d_hidden": 2 * self.d_hidden,
            "vocab_size": self.vocab_size,
            "d_model": self.d_model,
        }
        columns = {"d_model": self.d_model, "d_hidden": self.d_hidden}
        limits = [
            ("weight words", self.weight_words, device.weight_words),
            *((f"rows, {name}", n, device.max_rows) for name, n in rows.items()),
            *((f"columns, {name}", n, device.max_columns) for name, n in columns.items()),
            ("channels, d_model * n_layers", self.d_model * self.n_layers, device.max_channels),
            ("program words", self.program_words, device.program_words),
            ("tokens, vocab_size", self.vocab_size, device.max_vocab),
        ]
        broken = [f"{what}: {got:,} needed, {limit:,} present"
                  for what, got, limit in limits if got > limit]
        broken += [f"rows, {name}: {n} is fewer than the engine's minimum of {device.min_rows}"
                   for name, n in rows.items() if n < device.min_rows]
        return broken

    def check_fits(self, device: DeviceConfig) -> None:
        """Raise ``CapacityError`` unless the model fits ``device``."""
        if broken := self.misfits(device):
            raise CapacityError(
                f"model {self} does not fit {device.name}:\n  " + "\n  ".join(broken))

    def to_dict(self) -> dict[str, int]:
        return asdict(self)
