"""Generation one token at a time, for baselines that compute logits in Python."""

import abc
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from numpy.typing import NDArray

from trilight.sw.reference.sampler import Sampler

__all__ = ["Stepper", "StepwiseBaseline"]


class Stepper(Protocol):
    """A model with a state."""

    def reset(self) -> None:
        """Zero the state."""
        ...

    def feed(self, token: int) -> None:
        """Feed a token without computing logits."""
        ...

    def step(self, token: int) -> NDArray[Any]:
        """Feed a token and return the logits [V], integers in Q9.6."""
        ...


class StepwiseBaseline(abc.ABC):
    """Baseline that steps a model, and draws by the sampler of the device."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper

    @abc.abstractmethod
    def one_thread(self) -> AbstractContextManager[object]:
        """Context in which it computes on one thread: products this small are slower on several."""

    def generate(self, prompt: Sequence[int], *, tokens: int, temperature: float,
                 seed: int) -> list[int]:
        """Return ``tokens`` tokens after a prompt of one or more, from a clean state."""
        sampler = Sampler(seed, temperature)
        *first, token = prompt
        generated: list[int] = []
        with self.one_thread():
            self._stepper.reset()
            for fed in first:
                self._stepper.feed(fed)
            while len(generated) < tokens:
                token = sampler.sample(self._stepper.step(token))
                generated.append(token)
        return generated
