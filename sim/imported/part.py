"""Layers of an imported model on the core's RTL: the target ``rtl`` of imported models."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.imported import ImportedDevice
from trilight.sim.native.imported import NativeImportedCore
from trilight.sw.chain.part import has_head
from trilight.sw.checkpoint.image import core_image
from trilight.sw.checkpoint.model import ImportedModel

from .verify import check_fits, core_device, probe_counts

__all__ = ["CorePart", "core_part"]

LANES = 8
"""Weight bytes a cycle."""


class CorePart:
    """A core that runs some of the layers; it has the head if it has the last of them.

    Attributes
    ----------
    cycles : int
        Of all tokens, as the core counts them.

    Raises
    ------
    ModelDoesNotFitError
        The device is too small, or the model narrower than an engine can work.
    BuildError
        The core could not be compiled.
    """

    def __init__(self, model: ImportedModel, layers: range, device: ImportedDevice) -> None:
        check_fits(model.shape, len(layers), has_head(model, layers), device)
        self._head = has_head(model, layers)
        self._image = core_image(model, device, layers, self._head)
        self._counts = probe_counts(model.shape, len(layers), self._head)
        self._core = NativeImportedCore(device)
        self.cycles = 0
        self.reset()

    @property
    def saturated(self) -> Mapping[str, int]:
        """Values that were clipped since the sequence began; the core counts all kinds as one."""
        return {"any": self._saturations} if self._saturations else {}

    def reset(self) -> None:
        """Begin a sequence."""
        self._begins = True
        self._saturations = 0

    def advance(self, x: NDArray[np.int64], wanted: bool) -> NDArray[np.int64]:
        """Pass a residual vector on; logits are computed whether they are wanted or not."""
        found = self._core.token(self._image, x, self._counts, zero_state=self._begins)
        self._begins = False
        self._saturations = found.saturations
        self.cycles += found.cycles
        if not self._head:
            return found.values["residual"][-len(x):]
        return found.values["logit"] if wanted else np.zeros(0, np.int64)


def core_part(model: ImportedModel, layers: range) -> CorePart:
    """A part on the core for every published model."""
    return CorePart(model, layers, core_device(LANES))
