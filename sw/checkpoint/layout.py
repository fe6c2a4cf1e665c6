"""Layout of an imported model's file: its tensors, in which order, of which kind and shape."""

from collections.abc import Iterator

from trilight.hw.contract.imported import FORMATS
from trilight.sw.errors import CheckpointError

from .shape import LAYER_MATRICES, Shape

__all__ = [
    "FORMAT",
    "GAINS",
    "METADATA_KEY",
    "VERSION",
    "check_width",
    "matrix_names",
    "tensor_key",
    "tensor_sizes",
]

FORMAT = "trilight-imported-model"

VERSION = 2

METADATA_KEY = "trilight"

GAINS = {"i": "attn_norm", "f": "attn_norm", "g": "attn_norm", "o": "g_norm", "gate": "mlp_norm",
         "head": "norm"}
"""The norm before each matrix's own; ``down`` has none."""


def tensor_sizes(shape: Shape, tokenizer_bytes: int,
                 bounded: bool) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Kind and shape of every tensor of a file."""
    sizes: dict[str, tuple[str, tuple[int, ...]]] = {
        "embedding": ("I32", (shape.vocabulary, shape.hidden)),
        "tokenizer": ("U8", (tokenizer_bytes,))}
    if bounded:
        sizes["lower_bounds"] = ("I32", (shape.layers, shape.hidden))
    for layer, name in matrix_names(shape):
        rows, columns = shape.matrix(name)
        key = tensor_key(name, layer)
        sizes[f"{key}.weights"] = ("U8", (-(-columns // 5), rows))
        sizes[f"{key}.gain"] = ("I32", (columns,))
        if name in GAINS:
            sizes[f"{key}.norm"] = ("I32", (columns,))
        sizes[f"{key}.scalars"] = ("I32", (4,))
    return sizes


def matrix_names(shape: Shape) -> Iterator[tuple[int | None, str]]:
    """Layer and name of each matrix, in the order of computation."""
    for layer in range(shape.layers):
        for name in LAYER_MATRICES:
            yield layer, name
    yield None, "head"


def tensor_key(name: str, layer: int | None) -> str:
    """Return the prefix of a matrix's tensors; the head has no layer."""
    return name if layer is None else f"layers.{layer}.{name}"


def check_width(shape: Shape) -> None:
    """Refuse matrices whose sums would not fit their width."""
    widest = ((1 << FORMATS.acc_bits - 1) - 1) // FORMATS.act_max
    if max(shape.hidden, shape.inner) > widest:
        raise CheckpointError(f"a matrix has {max(shape.hidden, shape.inner):,} columns, and sums "
                              f"of {FORMATS.acc_bits} bits hold {widest:,}; no published model is "
                              "as wide")
