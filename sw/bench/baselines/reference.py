"""Baseline ``numpy``: the integer reference, one stream."""

from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from trilight.sw.model.model import Model
from trilight.sw.reference.model import ReferenceModel

from . import BaselineInfo
from .stepwise import StepwiseBaseline

__all__ = ["ReferenceBaseline", "Stepper"]


class Stepper:
    """The reference with one stream."""

    def __init__(self, model: Model) -> None:
        self._reference = ReferenceModel(model)
        self.reset = self._reference.reset

    def feed(self, token: int) -> None:
        self._reference.feed([token])

    def step(self, token: int) -> NDArray[Any]:
        [logits] = self._reference.step([token])
        return logits


class ReferenceBaseline(StepwiseBaseline):
    """The reference whose integers every target must give."""

    def __init__(self, model: Model) -> None:
        super().__init__(Stepper(model))
        config = model.config
        # Each matrix as float32, and the embedding once more as int32.
        self._bytes = 4 * (config.ternary_weights + config.vocab_size * config.d_model)

    def one_thread(self) -> AbstractContextManager[object]:
        return threadpool_limits(1, "blas")

    @property
    def info(self) -> BaselineInfo:
        return BaselineInfo(
            name="numpy", arithmetic="integers (products as exact float32 in BLAS)",
            software={"numpy": version("numpy")}, model_bytes=self._bytes)
