"""Generation by the integer reference after a prompt."""

from collections.abc import Sequence

from trilight.hw.contract.noise import BYTE, NoiseFormat
from trilight.sw.model.model import Model

from .model import ReferenceModel
from .sampler import Sampler

__all__ = ["continue_text", "continue_tokens"]


def continue_text(model: Model, prompt: str, tokens: int, *, seed: int, temperature: float,
                  noise: NoiseFormat = BYTE) -> list[int]:
    """Generate tokens after a prompt of at least one character; see ``continue_tokens``.

    Raises
    ------
    UnknownCharacterError
        The vocabulary lacks a character of the prompt.
    """
    return continue_tokens(model, model.encode(prompt), tokens, seed=seed,
                           temperature=temperature, noise=noise)


def continue_tokens(model: Model, prompt: Sequence[int], tokens: int, *, seed: int,
                    temperature: float, noise: NoiseFormat = BYTE) -> list[int]:
    """Generate so many tokens after at least one, from a clean state, as a device has to.

    ``seed``, ``temperature`` and ``noise`` are those of ``Sampler``.
    """
    reference, sampler = ReferenceModel(model), Sampler(seed, temperature, noise)
    *before, token = prompt
    for fed in before:
        reference.feed([fed])
    generated = []
    for _ in range(tokens):
        token = sampler.sample(reference.step([token])[0])
        generated.append(token)
    return generated
