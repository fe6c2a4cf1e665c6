"""Parts that run some of a model's layers: the integer reference, or a target of another package.

A target is an entry point of the group ``trilight.parts``: a function of a model and its layers
that returns a ``Part``. A part with the last layer has the head too.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trilight.hw.support.extras import missing
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.run import open_runner
from trilight.sw.errors import TargetError

__all__ = ["Part", "ReferencePart", "has_head", "open_part", "part_targets"]

GROUP = "trilight.parts"

Integers = NDArray[np.int64]


class Part(Protocol):
    """One sequence's state in some of the layers."""

    @property
    def saturated(self) -> Mapping[str, int]:
        """Values that were clipped since the sequence began, by what they are."""

    def reset(self) -> None:
        """Begin a sequence."""

    def advance(self, x: Integers, wanted: bool, /) -> Integers:
        """Pass a residual vector [hidden] on: the vector behind the last layer, or logits [V].

        Logits that are not wanted may be left out: an empty array.
        """


def has_head(model: ImportedModel, layers: range) -> bool:
    """Tell if a part with these layers has the head."""
    return layers.stop == model.shape.layers


class ReferencePart:
    """A part by the integer reference, in this process."""

    def __init__(self, model: ImportedModel, layers: range) -> None:
        self._runner = open_runner(model)
        self._layers = layers
        self._head = has_head(model, layers)

    @property
    def saturated(self) -> Mapping[str, int]:
        """Values that were clipped since the sequence began, by what they are."""
        return self._runner.saturations.counts

    def reset(self) -> None:
        """Begin a sequence."""
        self._runner.reset()

    def advance(self, x: Integers, wanted: bool) -> Integers:
        """Pass a residual vector on."""
        x = self._runner.advance(x, self._layers)
        if not self._head:
            return x
        return self._runner.logits(x) if wanted else np.zeros(0, np.int64)


def part_targets() -> list[str]:
    """Names of the targets that run imported models, sorted."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def open_part(target: str, model: ImportedModel, layers: range) -> Part:
    """Open a part on a target.

    Raises
    ------
    TargetError
        There is no such target, or a package that it needs is missing.
    """
    found = entry_points(group=GROUP, name=target)
    if not found:
        raise TargetError(f"boards that share a model cannot run on {target}; their targets are "
                          f"{', '.join(part_targets())}")
    try:
        factory: Callable[[ImportedModel, range], Part] = next(iter(found)).load()
    except ImportError as error:
        raise TargetError(f"target {target!r} needs a package that is not installed: "
                          + missing(error)) from error
    return factory(model, layers)
