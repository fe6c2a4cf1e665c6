"""Generation one token at a time, for baselines that compute logits in Python."""

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from trilight.sw.reference.sampler import Sampler

__all__ = ["Stepper", "generate"]


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


def generate(stepper: Stepper, prompt: Sequence[int], *, tokens: int, temperature: float,
             seed: int) -> list[int]:
    """Return ``tokens`` tokens after a prompt, drawn by the sampler of the device."""
    stepper.reset()
    sampler = Sampler(seed, temperature)
    *first, token = prompt
    for fed in first:
        stepper.feed(fed)
    generated: list[int] = []
    while len(generated) < tokens:
        token = sampler.sample(stepper.step(token))
        generated.append(token)
    return generated
