"""Random generator, noise table and sampling, against algebra and probability."""

import math

import numpy as np
import pytest

from trilight.hw.contract.numbers import NUMBERS
from trilight.sw.errors import PromptError
from trilight.sw.reference.sampler import Rng, Sampler, temperature_to_fixed
from trilight.sw.reference.tables import GUMBEL

PERIOD = 2**32 - 1
TAPS = (0, 1, 2, 3, 5, 7)


def serial_bits(seed: int, count: int) -> list[int]:
    """b[0] ... b[count - 1] of the recurrence, one bit at a time."""
    bits = [seed >> i & 1 for i in range(32)]
    while len(bits) < count:
        bits.append(sum(bits[len(bits) - 32 + tap] for tap in TAPS) % 2)
    return bits


def power_of_x(exponent: int, polynomial: int) -> int:
    """x**exponent modulo a polynomial of degree 32 over GF(2); bit i stands for x**i."""
    def times(a: int, b: int) -> int:
        result = 0
        for i in reversed(range(32)):
            result <<= 1
            if result >> 32:
                result ^= polynomial
            if b >> i & 1:
                result ^= a
        return result

    result, square = 1, 2
    while exponent:
        if exponent & 1:
            result = times(result, square)
        square = times(square, square)
        exponent >>= 1
    return result


def test_polynomial_is_primitive() -> None:
    polynomial = 1 << 32 | sum(1 << tap for tap in NUMBERS.rng_taps)
    assert math.prod((3, 5, 17, 257, 65537)) == PERIOD
    assert power_of_x(PERIOD, polynomial) == 1
    for factor in (3, 5, 17, 257, 65537):
        assert power_of_x(PERIOD // factor, polynomial) != 1


@pytest.mark.parametrize("seed_value", [1, 7, 0x80000000, 0xFFFFFFFF, 0xDEADBEEF])
def test_bytes_follow_the_recurrence(seed_value: int) -> None:
    rng = Rng(seed_value)
    bits = serial_bits(seed_value, 8 * 500 + 32)
    for n in range(500):
        window = bits[8 * n:8 * n + 32]
        assert rng.state == sum(bit << i for i, bit in enumerate(window))
        assert rng.draw() == sum(bit << i for i, bit in enumerate(window[:8]))


def test_seed_zero_is_replaced() -> None:
    assert [Rng(0).draw() for _ in range(4)] == [Rng(0x5EED5EED).draw() for _ in range(4)]
    assert Rng(0).state == 0x5EED5EED


@pytest.mark.parametrize("value", [-1, 2**32])
def test_seeds_have_32_bits(value: int) -> None:
    with pytest.raises(PromptError, match=rf"^seed must be in \[0, 4294967295\], not {value}$"):
        Sampler(value, 1.0)


@pytest.mark.parametrize(("temperature", "fixed"),
                         [(0, 0), (1, 256), (0.8, 205), (0.001, 0), (7.99, 2045)])
def test_temperature_is_rounded(temperature: float, fixed: int) -> None:
    assert temperature_to_fixed(temperature) == fixed


@pytest.mark.parametrize("temperature", [-0.01, 8.0, math.inf, -math.inf, math.nan])
def test_temperature_out_of_range(temperature: float) -> None:
    with pytest.raises(PromptError, match=r"^temperature must be in \[0, 7\.99\], not "):
        temperature_to_fixed(temperature)


def test_gumbel_table_holds_quantiles() -> None:
    assert GUMBEL.tolist() == [round(-256 * math.log(-math.log((2 * i + 1) / 512)))
                               for i in range(256)]
    assert GUMBEL.dtype == np.int32
    assert GUMBEL.min() >= -2048
    assert GUMBEL.max() <= 2047
    assert (np.diff(GUMBEL) > 0).all()


def test_sampling_follows_the_definition(rng: np.random.Generator) -> None:
    for temperature in (0.0, 0.3, 1.0, 7.99):
        fixed = round(temperature * 256)
        sampler, generator = Sampler(99, temperature), Rng(99)
        for _ in range(50):
            logits = rng.integers(-300, 300, 13)
            scores = []
            for logit in logits.tolist():
                u = generator.draw()
                noise = round(256 * -math.log(-math.log((u + 0.5) / 256)))
                scores.append(logit + (fixed * noise + 512) // 1024)
            assert sampler.sample(logits) == scores.index(max(scores))


def test_temperature_zero_takes_the_first_largest_and_still_steps() -> None:
    sampler = Sampler(5, 0.0)
    assert sampler.sample([3, 9, -4, 9, 9]) == 1
    generator = Rng(5)
    for _ in range(5):
        generator.draw()
    assert sampler.rng.state == generator.state


def win_probabilities(logits: list[int], temperature: int) -> np.ndarray:
    """Exact chance of each token when every byte is uniform and independent."""
    noise = (temperature * GUMBEL.astype(np.int64) + 512) >> 10
    chances = []
    for i, logit in enumerate(logits):
        score = logit + noise
        chance = np.ones(256)
        for j, other in enumerate(logits):
            if j != i:
                # An earlier token wins ties, so i must beat it outright.
                below = score[:, None] > other + noise if j < i else score[:, None] >= other + noise
                chance *= below.mean(axis=1)
        chances.append(chance.mean())
    return np.array(chances)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_those_of_softmax(temperature: float) -> None:
    logits = [64, 0, 130, -64, 100, 130, 20, -10]
    expected = win_probabilities(logits, round(256 * temperature))
    assert expected.sum() == pytest.approx(1)
    weights = np.exp(np.array(logits) / 64 / temperature)
    # The table's 256 steps cost a little: total variation below two percent.
    assert np.abs(expected - weights / weights.sum()).sum() / 2 < 0.02

    draws = 10_000
    sampler = Sampler(12345, temperature)
    counts = np.bincount([sampler.sample(logits) for _ in range(draws)], minlength=len(logits))
    chi_square = ((counts - draws * expected) ** 2 / (draws * expected)).sum()
    # 29.9 is exceeded once in 10,000 with 7 degrees of freedom.
    assert chi_square < 29.9
