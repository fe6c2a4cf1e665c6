"""Generation by the integer reference after a prompt."""

from trilight.sw.model.model import Model

from .model import ReferenceModel
from .sampler import Sampler

__all__ = ["continue_text"]


def continue_text(model: Model, prompt: str, tokens: int, *, seed: int,
                  temperature: float) -> list[int]:
    """Generate tokens after a prompt, from a clean state, as a device has to.

    Parameters
    ----------
    model : Model
    prompt : str
        At least one character.
    tokens : int
        How many.
    seed, temperature
        See ``Sampler``.

    Raises
    ------
    UnknownCharacterError
        The vocabulary lacks a character of the prompt.
    """
    reference, sampler = ReferenceModel(model), Sampler(seed, temperature)
    *before, token = model.encode(prompt)
    for fed in before:
        reference.feed([fed])
    generated = []
    for _ in range(tokens):
        token = sampler.sample(reference.step([token])[0])
        generated.append(token)
    return generated
