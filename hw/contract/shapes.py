"""Shape of a model and of its matrix products. Standard library only."""

from dataclasses import asdict, dataclass, fields

from .device import Device
from .errors import CapacityError
from .trits import Packing, TritCode

__all__ = ["ModelConfig", "OperationShape"]


@dataclass(frozen=True)
class OperationShape:
    """A pass of the engine: a matrix, or interleaved ones, times a vector.

    Parameters
    ----------
    rows, columns : int
    packing : Packing
        That of the device.
    """

    rows: int
    columns: int
    packing: Packing

    @property
    def short(self) -> bool:
        """True if the weight words are short.

        They take more space and less time to fill tables with, so they serve where rows are too
        few to hide the filling.
        """
        def cycles(trits: int) -> int:
            return self._blocks(trits) * max(self.rows, TritCode(trits).entries)

        return cycles(self.packing.short_trits) < cycles(self.packing.trits)

    def _blocks(self, trits: int) -> int:
        return -(-self.columns // (trits * self.packing.lanes))

    @property
    def trits(self) -> int:
        """Trits in a code of a weight word."""
        return self.packing.short_trits if self.short else self.packing.trits

    @property
    def entries(self) -> int:
        """Sums in a table."""
        return TritCode(self.trits).entries

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

    def layer_operations(self, packing: Packing) -> tuple[OperationShape, ...]:
        """Operations of a layer: MLGRU gates, its output, GLU, its output."""
        d, h = self.d_model, self.d_hidden
        return tuple(OperationShape(rows, columns, packing)
                     for rows, columns in ((3 * d, d), (d, d), (2 * h, d), (d, h)))

    def head(self, packing: Packing) -> OperationShape:
        """The last operation."""
        return OperationShape(self.vocab_size, self.d_model, packing)

    def weight_words(self, packing: Packing) -> int:
        """Words of weight memory, padding included."""
        layer = sum(operation.words for operation in self.layer_operations(packing))
        return self.n_layers * layer + self.head(packing).words

    @property
    def program_words(self) -> int:
        """Words of program memory: header, operations, output bias (see ``hw.protocol``)."""
        from trilight.hw.contract.program import HEADER_WORDS, OPERATION_WORDS

        ops = 4 * self.n_layers + 1
        return HEADER_WORDS + OPERATION_WORDS * ops + self.vocab_size

    def violations(self, device: Device) -> list[str]:
        """Every limit of ``device`` that this model breaks, one plain sentence each."""
        rows = {
            "3 * d_model": 3 * self.d_model,
            "2 * d_hidden": 2 * self.d_hidden,
            "vocab_size": self.vocab_size,
            "d_model": self.d_model,
        }
        columns = {"d_model": self.d_model, "d_hidden": self.d_hidden}
        limits = [
            ("weight words", self.weight_words(device.packing), device.weight_words),
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

    def check_fits(self, device: Device) -> None:
        """Raise ``CapacityError`` unless the model fits ``device``."""
        if broken := self.violations(device):
            raise CapacityError(
                f"model {self} does not fit {device.name}:\n  " + "\n  ".join(broken))

    def to_dict(self) -> dict[str, int]:
        return asdict(self)
