"""The fastest form of an imported model that this computer can run."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .model import ImportedModel
from .reference import ImportedReference, Saturations

__all__ = ["Progress", "Runner", "open_runner"]

Progress = Callable[[int, int], None]
"""Called with the tokens that are done and those there are."""


class Runner(Protocol):
    """One stream of tokens through an imported model."""

    state: NDArray[np.int64]

    @property
    def saturations(self) -> Saturations:
        """Values that were clipped since the stream began."""

    def reset(self) -> None:
        """Begin a stream of tokens."""

    def step(self, token: int, /) -> NDArray[np.int64]:
        """Feed a token; return logits [V] with ``FORMATS.logit_frac`` fraction bits."""

    def feed(self, tokens: Sequence[int], /) -> NDArray[np.int64]:
        """Logits [tokens, V] of a sequence from a clean state."""


def open_runner(model: ImportedModel) -> Runner:
    """Make the compiled form where Numba is installed, and the plain one elsewhere.

    Both compute the same integers.
    """
    try:
        from .kernel import CompiledReference
    except ImportError:
        return ImportedReference(model)
    return CompiledReference(model)
