"""The fastest form of an imported model that this computer can run."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.imported import FORMATS

from .model import ImportedModel
from .reference import ImportedReference, Saturations

__all__ = ["Progress", "Runner", "Stream", "open_runner", "value_ranges"]

Progress = Callable[[int, int], None]
"""Called with the tokens that are done and those there are."""


class Stream(Protocol):
    """One stream of tokens through an imported model, wherever it runs."""

    @property
    def saturations(self) -> Saturations:
        """Values that were clipped since the stream began."""

    def reset(self) -> None:
        """Begin a stream of tokens."""

    def step(self, token: int, /) -> NDArray[np.int64]:
        """Feed a token; return logits [V] with ``FORMATS.logit_frac`` fraction bits."""


class Runner(Stream, Protocol):
    """One stream of tokens in this process."""

    state: NDArray[np.int64]

    def advance(self, x: NDArray[np.int64], layers: range, /) -> NDArray[np.int64]:
        """Pass a residual vector [hidden] through some of the layers, whose state goes on."""

    def logits(self, x: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Logits [V] of the residual vector behind the last layer."""

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


def value_ranges(model: ImportedModel, tokens: int = 16,
                 progress: Progress | None = None) -> dict[str, Any]:
    """Largest magnitudes that random tokens bring, beside what the formats hold.

    Returns
    -------
    dict
        Ready for JSON: ``tokens``; ``values`` with ``largest`` and ``range`` of the residual
        stream, of the pre-activations ``i``, ``f`` and ``gate``, and of the logits;
        ``saturations``.
    """
    runner = open_runner(model)
    chosen = np.random.default_rng(0).integers(0, model.shape.vocabulary, tokens).tolist()
    for done, token in enumerate(chosen, 1):
        runner.step(token)
        if progress is not None:
            progress(done, tokens)
    found = runner.saturations
    widths = {"residual": (FORMATS.residual_bits, model.residual_frac),
              "logits": (FORMATS.logit_bits, FORMATS.logit_frac)}
    values = {}
    for name, peak in found.peaks.items():
        bits, frac = widths.get(name, (FORMATS.z_bits, FORMATS.z_frac))
        values[name] = {"largest": peak / 2**frac, "range": 2.0**(bits - 1 - frac)}
    return {"tokens": tokens, "values": values, "saturations": found.total}
