"""Sizes of a MatMul-free language model with BitLinear layers (HGRNBit), and its matrices."""

from dataclasses import asdict, dataclass, fields

from trilight.sw.errors import CheckpointError

__all__ = ["LAYER_MATRICES", "SHAPES", "Shape", "named_shape"]

LAYER_MATRICES = ("i", "f", "g", "o", "gate", "down")
"""Ternary matrices of a layer, in the order of computation; ``gate`` holds gate and up."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a model.

    Attributes
    ----------
    layers : int
    hidden : int
        Width of the residual stream, and of the recurrent state of a layer.
    inner : int
        Width of the gated linear unit.
    vocabulary : int

    Raises
    ------
    CheckpointError
        If a size is not a positive integer.
    """

    layers: int
    hidden: int
    inner: int
    vocabulary: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise CheckpointError(f"{field.name} must be a positive integer, not {value!r}")

    def matrix(self, name: str) -> tuple[int, int]:
        """Rows and columns of a layer's matrix, or of ``head``."""
        h = self.hidden
        return {"gate": (2 * self.inner, h), "down": (h, self.inner),
                "head": (self.vocabulary, h)}.get(name, (h, h))

    @property
    def layer_weights(self) -> int:
        """Ternary weights of one layer."""
        return sum(rows * columns for rows, columns in map(self.matrix, LAYER_MATRICES))

    @property
    def ternary_weights(self) -> int:
        """Ternary weights of the model, head included."""
        return self.layers * self.layer_weights + self.vocabulary * self.hidden

    @property
    def products(self) -> int:
        """BitLinear calls of a token."""
        return self.layers * len(LAYER_MATRICES) + 1

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


SHAPES = {
    "370M": Shape(layers=24, hidden=1024, inner=2816, vocabulary=32_000),
    "1.3B": Shape(layers=24, hidden=2048, inner=5632, vocabulary=32_000),
    "2.7B": Shape(layers=32, hidden=2560, inner=6912, vocabulary=32_000),
}
"""The published models, ``ridger/MMfreeLM-*``."""


def named_shape(name: str) -> Shape:
    """Shape of a published model.

    Raises
    ------
    CheckpointError
        If there is none of that name.
    """
    if name not in SHAPES:
        raise CheckpointError(f"there is no published shape {name!r}; take one of "
                              f"{', '.join(SHAPES)}, or give a model file")
    return SHAPES[name]
