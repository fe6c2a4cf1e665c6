"""Kneser-Ney n-grams: against the formulas written out, and as a distribution."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from trilight.sw.quality.ngrams import KneserNey

V = 5


def by_the_formulas(text: list[int], order: int, context: list[int], token: int) -> float:
    """Interpolated modified Kneser-Ney, for the n-gram that a context and a token make."""
    tables = {order: Counter(tuple(text[i:i + order]) for i in range(len(text) - order + 1))}
    for length in range(order - 1, 0, -1):
        tables[length] = Counter(gram[1:] for gram in tables[length + 1])

    def probability(length: int) -> float:
        if length == 0:
            return 1 / V
        table = tables[length]
        of_count = Counter(min(count, 4) if count <= 4 else 0 for count in table.values())
        n = [0, *(max(1, of_count[k]) for k in (1, 2, 3, 4))]
        share = n[1] / (n[1] + 2 * n[2])
        discount = [0.0, *(max(0.0, k - (k + 1) * share * n[k + 1] / n[k]) for k in (1, 2, 3))]
        before = tuple(context[len(context) - length + 1:]) if length > 1 else ()
        follow: defaultdict[int, int] = defaultdict(int)
        for gram, count in table.items():
            if gram[:-1] == before:
                follow[gram[-1]] += count
        if not follow:
            return probability(length - 1)
        total = sum(follow.values())

        def taken(count: int) -> float:
            return min(discount[min(count, 3)], count)

        left = sum(taken(count) for count in follow.values()) / total
        kept = follow[token] - taken(follow[token]) if token in follow else 0.0
        return kept / total + left * probability(length - 1)

    return probability(order)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_losses_are_those_of_the_formulas(order: int, rng: np.random.Generator) -> None:
    text = (rng.integers(0, V, 400) * rng.integers(0, 2, 400)).tolist()
    model = KneserNey(np.array(text), V, order)
    ahead = rng.integers(0, V, 30).tolist()
    nats = model.nats(np.array(text + ahead), len(ahead))
    for place, token in enumerate(ahead):
        context = (text + ahead)[:len(text) + place][-(order - 1):] if order > 1 else []
        assert np.exp(-nats[place]) == pytest.approx(by_the_formulas(text, order, context, token))


def test_probabilities_add_up(rng: np.random.Generator) -> None:
    text = rng.integers(0, V, 600)
    model = KneserNey(text, V, 3)
    for context in ([0, 0], [4, 1]):
        total = sum(np.exp(-model.nats(np.array([*context, token]), 1)[0]) for token in range(V))
        assert total == pytest.approx(1)


def test_n_grams_are_counted() -> None:
    # ab, bc, ca, aa; with a, b, c.
    assert KneserNey(np.array([0, 1, 2, 0, 0, 1]), 3, 2).n_grams == 7
