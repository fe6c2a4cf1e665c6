"""Sampling of tokens: Gumbel noise from a shift register, then the maximum."""

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from trilight.hw.contract.noise import BYTE, NoiseFormat
from trilight.hw.contract.numbers import NUMBERS
from trilight.sw.errors import PromptError

from .model import rshift
from .tables import GUMBEL, Table, gumbel_table

__all__ = ["Rng", "Sampler", "temperature_to_fixed"]

_MAX_TEMPERATURE = (1 << NUMBERS.temperature_bits) - 1
_MAX_SEED = (1 << NUMBERS.rng_bits) - 1
_BYTE = 0xFF


def temperature_to_fixed(temperature: float) -> int:
    """Nearest Q3.8 value of a temperature.

    Raises
    ------
    PromptError
        If it is not in [0, 7.99].
    """
    maximum = _MAX_TEMPERATURE / (1 << NUMBERS.temperature_frac)
    if not 0 <= temperature <= maximum:
        raise PromptError(f"temperature must be in [0, {math.floor(maximum * 100) / 100}], "
                          f"not {temperature}; 0 always takes the likeliest token, 1 follows the "
                          "model's own probabilities")
    return round(temperature * (1 << NUMBERS.temperature_frac))


class Rng:
    """Random bytes from a linear recurrence of period 2**32 - 1.

    Parameters
    ----------
    seed
        Initial state, in [0, 2**32 - 1]; 0 stands for 0x5EED5EED.

    Raises
    ------
    PromptError
        If the seed is out of its range.
    """

    def __init__(self, seed: int) -> None:
        if not 0 <= seed <= _MAX_SEED:
            raise PromptError(f"seed must be in [0, {_MAX_SEED}], not {seed}")
        self.state = seed or NUMBERS.rng_zero_seed

    def draw(self) -> int:
        """The low byte of the state, which then moves on by 8 steps."""
        low = self.state & _BYTE
        # The tap furthest up is bit 7, so eight new bits need only bits that are present.
        new = 0
        for tap in NUMBERS.rng_taps:
            new ^= self.state >> tap
        self.state = (self.state >> NUMBERS.rng_step
                      | (new & _BYTE) << NUMBERS.rng_bits - NUMBERS.rng_step)
        return low


class Sampler:
    """Sampler of tokens from ``softmax(logits / temperature)``.

    Parameters
    ----------
    seed
        In [0, 2**32 - 1].
    temperature
        In [0, 7.99]; 0 always takes the largest logit.
    noise
        ``Device.noise`` of the device that would draw.

    Raises
    ------
    PromptError
        If seed or temperature is out of its range.
    """

    def __init__(self, seed: int, temperature: float, noise: NoiseFormat = BYTE) -> None:
        self.rng = Rng(seed)
        self.noise = noise
        self.temperature = temperature_to_fixed(temperature)

    def sample(self, logits: ArrayLike) -> int:
        """The next token; the generator moves on by a draw's bits for each logit.

        Parameters
        ----------
        logits : integer array [V]
            Q9.6.
        """
        values = np.asarray(logits)
        indices = [self.noise.index(self._draw()) for _ in range(len(values))]
        noise = rshift(self.temperature * _table(self.noise)[indices], NUMBERS.noise_shift)
        return int(np.argmax(values + noise))

    def _draw(self) -> int:
        """A draw's bits, the first ones lowest."""
        return sum(self.rng.draw() << bits
                   for bits in range(0, self.noise.draw_bits, NUMBERS.rng_step))


@cache
def _table(noise: NoiseFormat) -> Table:
    return GUMBEL if noise == BYTE else gumbel_table(noise)
