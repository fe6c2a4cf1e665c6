"""The scaling curve: how a loss falls with weights and with characters trained on.

    L(N, D) = E + a N^-alpha + b D^-beta        E, a, b >= 0

(Hoffmann and others, arXiv 2203.15556, equation 2), fitted by weighted least squares: for each pair
of exponents of a grid the rest is linear. Its uncertainty is a parametric bootstrap: the runs'
losses are drawn again around the curve, with the larger of their stated spread and that of the
residuals, and fitted again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve", "Run", "fit"]

Array = NDArray[np.float64]

_EXPONENTS = np.round(np.geomspace(0.1, 1.2, 12), 3)
"""Exponents that are tried, of both terms."""

_SEED_SPREAD = 0.01
"""Spread of the loss between seeds of short trainings, as a share of it; assumed."""

_FREE = 5
"""Numbers of the curve that the runs decide."""

SAMPLES = 400
_SEED = 1

_TERMS = [terms for terms in product((False, True), repeat=3) if any(terms)]
"""Which of E, a and b are not zero."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training that is done."""

    weights: int
    characters: int
    loss: float
    """Positive, less is better."""
    standard_error: float = 0.0
    """Standard error of the measurement."""

    @property
    def spread(self) -> float:
        """Standard deviation of the loss if all were done again."""
        return float(np.hypot(self.standard_error, _SEED_SPREAD * self.loss))


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """A fitted curve with its bootstrap samples.

    Parameters are rows of ``[E, a, alpha, b, beta]``.
    """

    best: Array
    """``[5]``."""
    samples: Array = field(repr=False)
    """``[samples, 5]``."""
    inflation: float
    """Factor of the runs' stated spreads that their distances from the curve ask for, at least 1.
    """

    def predict(self, weights: float, characters: float) -> float:
        """Return the loss of the best fit."""
        return float(_value(self.best[None], weights, characters)[0])

    def outcomes(self, weights: float, characters: float, standard_error: float) -> Array:
        """Return losses that a new training may reach, a sample of each fit."""
        means = _value(self.samples, weights, characters)
        noise = np.random.default_rng([_SEED, 1]).standard_normal(len(means))
        spread = np.hypot(standard_error, _SEED_SPREAD * means) * self.inflation
        return np.maximum(means + noise * spread, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Best fit and 90 % intervals, ready for JSON."""
        names = ("E", "a", "alpha", "b", "beta")
        low, high = np.percentile(self.samples, (5, 95), axis=0)
        return {"form": "E + a N^-alpha + b D^-beta", "inflation": self.inflation,
                **{name: {"best": float(self.best[k]), "p05": float(low[k]), "p95": float(high[k])}
                   for k, name in enumerate(names)}}


def _value(rows: Array, weights: float, characters: float) -> Array:
    """Losses by rows of parameters; a and b belong to thousands of weights and of characters."""
    limit, a, alpha, b, beta = rows.T
    found: Array = limit + a * (weights / 1e3) ** -alpha + b * (characters / 1e3) ** -beta
    return found


def fit(runs: Sequence[Run]) -> Curve:
    """Fit the curve to runs of several sizes and lengths, four at least."""
    weights, characters, losses, spreads = (
        np.array([getattr(run, name) for run in runs], float)
        for name in ("weights", "characters", "loss", "spread"))
    best, error = _solve(weights, characters, losses[:, None], spreads)
    freedom = max(len(runs) - _FREE, 1)
    inflation = max(1.0, float(np.sqrt(error[0] / freedom)))
    means = np.array([_value(best, n, d)[0] for n, d in zip(weights, characters, strict=True)])
    noise = np.random.default_rng(_SEED).standard_normal((len(runs), SAMPLES))
    drawn = means[:, None] + noise * (spreads * inflation)[:, None]
    samples, _ = _solve(weights, characters, drawn, spreads)
    return Curve(best=best[0], samples=samples, inflation=inflation)


def _solve(weights: Array, characters: Array, losses: Array, spreads: Array
           ) -> tuple[Array, Array]:
    """Return the best parameters [k, 5] and errors [k] of columns of losses [runs, k]."""
    count = losses.shape[1]
    best, least = np.zeros((count, 5)), np.full(count, np.inf)
    scaled = losses / spreads[:, None]
    for alpha, beta in product(_EXPONENTS, repeat=2):
        columns = np.stack([np.ones_like(weights), (weights / 1e3) ** -alpha,
                            (characters / 1e3) ** -beta], 1) / spreads[:, None]
        for terms in _TERMS:
            used = list(terms)
            found = np.linalg.pinv(columns[:, used]) @ scaled
            error = ((columns[:, used] @ found - scaled) ** 2).sum(0)
            better = (error < least) & (found >= 0).all(0)
            if not better.any():
                continue
            linear = np.zeros((3, count))
            linear[used] = found
            rows = np.stack([linear[0], linear[1], np.full(count, alpha), linear[2],
                             np.full(count, beta)], 1)
            best[better], least[better] = rows[better], error[better]
    return best, least
