"""Modified Kneser-Ney smoothing of character n-grams, the classic static model of a text.

Chen and Goodman, *An Empirical Study of Smoothing Techniques for Language Modeling*, 1999, section
3: discounts by count 1, 2 and 3 or more, lower orders by the number of different characters before
an n-gram, all orders interpolated.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["KneserNey"]

Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Order:
    """Probabilities of n-grams of one length, before those of shorter ones are added."""

    grams: Codes
    """Sorted numbers of the n-grams."""
    shares: NDArray[np.float64]
    """Discounted count of each, as a share of its context."""
    contexts: Codes
    """Sorted numbers of the contexts."""
    left: NDArray[np.float64]
    """Share of each context that the shorter order gets."""

    @classmethod
    def count(cls, grams: Codes, counts: Codes, vocabulary: int) -> "_Order":
        kinds = np.minimum(counts, 3)
        of_count = [max(1, int((counts == number).sum())) for number in (1, 2, 3, 4)]
        share = of_count[0] / (of_count[0] + 2 * of_count[1])
        discounts = np.array([0.0, *(max(0.0, number - (number + 1) * share
                                         * of_count[number] / of_count[number - 1])
                                     for number in (1, 2, 3))])
        contexts, place = np.unique(grams // vocabulary, return_inverse=True)
        total = np.bincount(place, counts)
        kept = np.minimum(discounts[kinds], counts)
        return cls(grams, (counts - kept) / total[place], contexts,
                   np.bincount(place, kept) / total)

    def interpolate(self, grams: Codes, vocabulary: int, shorter: NDArray[np.float64]
                    ) -> NDArray[np.float64]:
        """Return probabilities of n-grams, given those by one character of context less."""
        mixed = _found(self.grams, self.shares, grams, 0.0) + shorter * _found(
            self.contexts, self.left, grams // vocabulary, 1.0)
        result: NDArray[np.float64] = mixed
        return result


class KneserNey:
    """N-grams of a text.

    Parameters
    ----------
    tokens
        The text [N], at least ``order`` long.
    vocabulary
        Number of different tokens.
    order
        Length of the longest n-gram.

    Attributes
    ----------
    n_grams : int
        N-grams of all lengths that are kept.
    """

    def __init__(self, tokens: Codes, vocabulary: int, order: int) -> None:
        self._vocabulary, self._order = vocabulary, order
        grams, counts = np.unique(_codes(tokens, order, vocabulary), return_counts=True)
        orders = [_Order.count(grams, counts, vocabulary)]
        for length in range(order - 1, 0, -1):
            grams, counts = np.unique(grams % vocabulary**length, return_counts=True)
            orders.insert(0, _Order.count(grams, counts, vocabulary))
        self._orders = orders
        self.n_grams = sum(len(found.grams) for found in orders)

    def nats(self, tokens: Codes, scored: int) -> NDArray[np.float64]:
        """Return the loss of each of the last ``scored`` tokens, by those before it.

        Parameters
        ----------
        tokens
            At least ``scored + order - 1`` of them.
        """
        whole = _codes(tokens, self._order, self._vocabulary)[-scored:]
        likely = np.full(scored, 1 / self._vocabulary)
        for length, order in enumerate(self._orders, 1):
            likely = order.interpolate(whole % self._vocabulary**length, self._vocabulary, likely)
        result: NDArray[np.float64] = -np.log(likely)
        return result


def _codes(tokens: Codes, length: int, vocabulary: int) -> Codes:
    """Return the n-gram that ends at each token, as a number; the first ones are left out."""
    codes = np.zeros(len(tokens) - length + 1, np.int64)
    for place in range(length):
        codes = codes * vocabulary + tokens[place:place + len(codes)]
    return codes


def _found(keys: Codes, values: NDArray[np.float64], wanted: Codes, missing: float
           ) -> NDArray[np.float64]:
    """Return the value of each wanted key."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    result: NDArray[np.float64] = np.where(keys[places] == wanted, values[places], missing)
    return result
