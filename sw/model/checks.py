"""Ranges of a model's values, whatever the device, and what is not in them refused."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import ModelError

from .file import canonical

__all__ = [
    "EMBED_SCALE",
    "FORGET_BIAS",
    "HEAD_BIAS",
    "NORM_TAP",
    "SCALE",
    "TAP",
    "check_limits",
    "checked_integers",
    "checked_provenance",
    "checked_vocab",
]


def checked_integers(name: str, values: ArrayLike, shape: tuple[int, ...], low: int, high: int,
                     dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """Return a read-only copy of values that are integers of a shape and between two limits."""
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise ModelError(f"{name} must hold integers, not {array.dtype}")
    if array.shape != shape:
        raise ModelError(f"{name} must have shape {list(shape)}, not {list(array.shape)}")
    if array.min() < low or array.max() > high:
        raise ModelError(f"{name} must be in [{low}, {high}], "
                         f"not {array.min()} ... {array.max()}")
    copy = array.astype(dtype)
    copy.flags.writeable = False
    return copy


def _signed(bits: int) -> tuple[int, int]:
    return -(1 << bits - 1), (1 << bits - 1) - 1


SCALE = (1, (1 << NUMBERS.scale_bits) - 1)

EMBED_SCALE = (0, (1 << NUMBERS.residual_bits - 1) - 1)

TAP = _signed(NUMBERS.tap_bits)

NORM_TAP = (1, TAP[1])

FORGET_BIAS = _signed(NUMBERS.index_bits)

HEAD_BIAS = _signed(NUMBERS.logit_bits)

_MAX_SIZE = 0xFFFF
"""Sizes are 16-bit numbers in the file's digest, and tokens in the protocol."""


def check_limits(config: ModelConfig) -> None:
    """Refuse sizes that the file can not hold, whatever the device."""
    for name, value in config.to_dict().items():
        if value > _MAX_SIZE:
            raise ModelError(f"{name} must be at most {_MAX_SIZE:,} so that it fits 16 bits, not "
                             f"{value:,}")


def checked_vocab(vocab: object, size: int, *, characters: bool) -> tuple[str, ...]:
    """Return the texts of so many tokens, no two the same; of ``characters`` one each."""
    if not isinstance(vocab, Sequence) or isinstance(vocab, bytes):
        raise ModelError(f"vocab must be a sequence of characters, not {type(vocab).__name__}")
    for token, text in enumerate(vocab):
        if not isinstance(text, str) or not text or (characters and (
                len(text) != 1 or "\ud800" <= text <= "\udfff")):
            raise ModelError(f"vocab must hold single characters, not {text!r} for token {token}")
    if len(vocab) != size or len(set(vocab)) != size:
        raise ModelError(f"vocab must hold {size} different characters, "
                         f"not {len(set(vocab))} in {len(vocab)}")
    return tuple(vocab)


def checked_provenance(provenance: object) -> dict[str, Any]:
    """Return a copy of a mapping of what JSON can hold."""
    if not isinstance(provenance, Mapping):
        raise ModelError(f"provenance must be a mapping, not {type(provenance).__name__}")
    try:
        copy: dict[str, Any] = json.loads(canonical(dict(provenance)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"provenance must hold what JSON can: {error}") from error
    return copy
