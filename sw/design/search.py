"""The search: shapes compared, a ladder of sizes climbed, a curve fitted, its choice confirmed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import DesignError

from .candidates import Candidate, Style, candidates, shape_of, sizes
from .curve import Curve, Run, fit
from .purpose import Purpose
from .target import Target
from .trial import Result, Trial

__all__ = ["Confirmation", "Outcome", "Plan", "Prediction", "search"]

STYLES = (Style(1, 1.5), Style(2, 1.0), Style(2, 1.5), Style(3, 1.5))
"""Depths and widths of the gated unit that are compared at one size."""

_SHORT = 8
"""Part of the whole length that a short training has."""

_EXTRAPOLATION = 4
"""Factor by which the largest candidate exceeds the largest rung."""

RunAll = Callable[[Sequence[Trial]], list[Result]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Aim of a search, and how thorough it is."""

    purpose: Purpose
    target: Target | None
    """Quality to reach; the best is wanted if there is none."""
    limits: tuple[Target, ...]
    """Limits of costs."""
    boards: tuple[str, ...]
    characters: int
    """Length of the whole training, which the quality is predicted for."""
    largest: int
    """Weights of the largest candidate."""
    rungs: int
    confidence: float
    """Probability of reaching the target that a candidate needs."""
    tries: int
    """Confirmations at most."""
    seed: int

    def trial(self, config: ModelConfig, characters: int, *, keep: bool = False) -> Trial:
        """Return a training of this search."""
        return Trial(purpose=self.purpose, config=config, characters=characters, seed=self.seed,
                     keep=keep)

    def loss(self, quality: float) -> float:
        """Return a quality as what is to be small; and back, for it is its own inverse."""
        return quality if self.purpose.kind == "text" else 1.0 - quality


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Quality that a candidate is expected to reach after the whole training."""

    candidate: Candidate
    quality: tuple[float, float, float]
    """Percentiles 5, 50 and 95 of the loss, as quality: the best first."""
    probability: float | None
    """Probability of reaching the target, if there is one."""


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """A candidate that was trained in full."""

    predicted: Prediction
    """Prediction by the curve before that."""
    trial: Trial
    result: Result
    met: bool | None
    """True if it reaches the target on the development part."""


@dataclass(kw_only=True)
class Outcome:
    """Outcome of a search."""

    plan: Plan
    trials: list[tuple[Trial, Result]] = field(default_factory=list)
    """All trainings, in order."""
    style: Style | None = None
    curve: Curve | None = None
    predictions: list[Prediction] = field(default_factory=list)
    """Predictions of every candidate that keeps to the limits, by the last curve."""
    confirmations: list[Confirmation] = field(default_factory=list)
    best: Prediction | None = None
    """Candidate that comes nearest, if no candidate is expected to reach the target."""

    @property
    def chosen(self) -> Confirmation | None:
        """The smallest model that was confirmed."""
        met = [one for one in self.confirmations if one.met is not False]
        return min(met, key=lambda one: one.predicted.candidate.bytes, default=None)

    @property
    def core_seconds(self) -> float:
        """Processor time of all trainings."""
        return sum(result["seconds"] for _, result in self.trials)


def search(plan: Plan, run: RunAll, told: Callable[[str], None]) -> Outcome:
    """Search for a model.

    Parameters
    ----------
    plan
    run
        Runs trainings and returns their results; see ``trial.run_trials``.
    told
        Called with a sentence about each step.

    Raises
    ------
    DesignError
        No shape that the boards hold keeps to the limits.
    """
    outcome = Outcome(plan=plan)
    vocab_size = len(plan.purpose.corpus(development=True).vocab)
    held = _held(plan, sizes(vocab_size, STYLES[0], plan.largest))
    if not held:
        raise DesignError("no model keeps to " + (", ".join(map(str, plan.limits)) or
                          f"{plan.largest:,} weights") + " on " + ", ".join(plan.boards))
    largest = max(one.config.ternary_weights for one in held)
    ladder = np.geomspace(held[0].config.ternary_weights,
                          max(largest / _EXTRAPOLATION, 2 * held[0].config.ternary_weights),
                          plan.rungs)

    def carry_out(trials: list[Trial]) -> list[Result]:
        results = run(trials)
        known = {trial.key for trial, _ in outcome.trials}
        outcome.trials += [(trial, result) for trial, result in zip(trials, results, strict=True)
                           if trial.key not in known]
        return results

    style = outcome.style = _best_style(plan, vocab_size, ladder[1], carry_out)
    told(f"{style.layers} layers, {style.ratio:g} hidden units a channel, are best at "
         f"{ladder[1]:,.0f} weights")
    runs = _climb(plan, [shape_of(vocab_size, style, weights) for weights in ladder], carry_out)
    held = _held(plan, sizes(vocab_size, style, plan.largest))
    _confirm(outcome, runs, held, carry_out, told)
    return outcome


def _held(plan: Plan, configs: Sequence[ModelConfig]) -> list[Candidate]:
    """Candidates that the boards hold and that keep to the limits, by size."""
    purpose = plan.purpose
    found = candidates(configs, plan.boards, line_tokens=purpose.line_tokens,
                       line_head=purpose.kind == "anomalies")
    return sorted((one for one in found if one.keeps(plan.limits)),
                  key=lambda one: one.config.ternary_weights)


def _best_style(plan: Plan, vocab_size: int, weights: float,
                run: Callable[[list[Trial]], list[Result]]) -> Style:
    """Compare the styles at one size, each by a short training."""
    trials = [plan.trial(shape_of(vocab_size, style, weights), plan.characters // _SHORT)
              for style in STYLES]
    losses = [plan.loss(result["quality"]) for result in run(trials)]
    return min(zip(losses, STYLES, strict=True))[1]


def _climb(plan: Plan, ladder: Sequence[ModelConfig],
           run: Callable[[list[Trial]], list[Result]]) -> list[Run]:
    """Train every rung for a short time, the small ones also for a longer one."""
    short = plan.characters // _SHORT
    trials = [plan.trial(config, short) for config in ladder]
    trials += [plan.trial(config, 2 * short) for config in ladder[:2]]
    trials += [plan.trial(ladder[0], 4 * short)]
    return [_as_run(plan, trial, result) for trial, result in zip(trials, run(trials), strict=True)]


def _as_run(plan: Plan, trial: Trial, result: Result) -> Run:
    return Run(weights=trial.config.ternary_weights, characters=trial.characters,
               loss=plan.loss(result["quality"]), standard_error=result["standard_error"])


def _confirm(outcome: Outcome, runs: list[Run], held: Sequence[Candidate],
             run: Callable[[list[Trial]], list[Result]], told: Callable[[str], None]) -> None:
    """Train what is chosen in full, which is a point of the curve too, and choose again."""
    plan, failed = outcome.plan, 0
    while True:
        outcome.curve = fit(runs)
        outcome.predictions = [_predict(plan, outcome.curve, one, runs) for one in held]
        chosen = _choose(plan, [one for one in outcome.predictions
                                if one.candidate.config.ternary_weights > failed])
        if chosen is None:
            outcome.best = max(outcome.predictions, key=lambda one: (
                one.probability or 0, -plan.loss(one.quality[1])))
            return
        config = chosen.candidate.config
        confirmed = outcome.chosen
        if len(outcome.confirmations) == plan.tries or (
                confirmed and config.ternary_weights >= confirmed.trial.config.ternary_weights):
            return
        trial = plan.trial(config, plan.characters, keep=True)
        told(f"confirming {trial.name}: {plan.purpose.quality} {chosen.quality[1]:.4f} predicted, "
             f"{chosen.quality[0]:.4f} to {chosen.quality[2]:.4f}")
        [result] = run([trial])
        met = plan.target.met(result["quality"]) if plan.target else None
        outcome.confirmations.append(Confirmation(predicted=chosen, trial=trial, result=result,
                                                  met=met))
        if met is False:
            failed = config.ternary_weights
        runs = [*runs, _as_run(plan, trial, result)]


def _predict(plan: Plan, curve: Curve, candidate: Candidate, runs: Sequence[Run]) -> Prediction:
    error = median(run.standard_error for run in runs)
    losses = curve.outcomes(candidate.config.ternary_weights, plan.characters, error)
    reached = [plan.loss(loss) for loss in losses]
    low, middle, high = (plan.loss(float(loss)) for loss in np.percentile(losses, (5, 50, 95)))
    probability = (sum(map(plan.target.met, reached)) / len(reached) if plan.target else None)
    return Prediction(candidate=candidate, quality=(low, middle, high), probability=probability)


def _choose(plan: Plan, predictions: Sequence[Prediction]) -> Prediction | None:
    """The smallest model that is likely to reach the target, or the best if there is none; on the
    board with the smallest memory, and of those with equal ones where the energy is known."""
    def size(one: Prediction) -> tuple[int, int, bool, str]:
        candidate = one.candidate
        return (candidate.bytes, candidate.memory_bytes, candidate.power_mw is None,
                candidate.board)

    if plan.target is None:
        return min(predictions, key=lambda one: (plan.loss(one.quality[1]), *size(one)),
                   default=None)
    likely = [one for one in predictions if (one.probability or 0) >= plan.confidence]
    return min(likely, key=size, default=None)
