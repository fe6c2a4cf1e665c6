"""Report of a search: as JSON, and as the commands that train, build and flash it."""

from collections.abc import Sequence
from shlex import join
from typing import Any

from .candidates import Candidate
from .purpose import LABEL_WEIGHT
from .search import Confirmation, Outcome, Plan, Prediction
from .trial import Result, Trial

__all__ = ["commands", "front", "results"]


def front(predictions: Sequence[Prediction], plan: Plan) -> list[Prediction]:
    """Return the predictions that no other beats in quality, bytes, speed or energy."""
    def merits(one: Prediction) -> tuple[float, ...]:
        candidate = one.candidate
        energy = candidate.cost("uJ/token")
        return (plan.loss(one.quality[1]), candidate.bytes, -candidate.tokens_per_s,
                float("inf") if energy is None else energy)

    every = {id(one): merits(one) for one in predictions}

    def beaten(mine: tuple[float, ...]) -> bool:
        return any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True))
                   for other in every.values())

    return [one for one in predictions if not beaten(every[id(one)])]


def commands(plan: Plan, candidate: Candidate) -> list[str]:
    """Return the command lines that train a candidate in full, build its board and flash both."""
    config, purpose = candidate.config, plan.purpose
    words = ["trilight", "train", "--corpus", str(purpose.corpus_path), "--out",
             "designed.safetensors", "--board", candidate.board,
             "--d-model", str(config.d_model), "--layers", str(config.n_layers),
             "--hidden", str(config.d_hidden), "--characters", str(plan.characters),
             "--seed", str(plan.seed)]
    if purpose.label_weight:
        words += ["--label-weight", f"{LABEL_WEIGHT:g}"]
        if purpose.held_out_lines:
            words += ["--held-out-lines", str(purpose.held_out_lines)]
    return [join(words), join(["trilight", "build", candidate.board]),
            join(["trilight", "flash", candidate.board, "--model", "designed.safetensors"])]


def results(outcome: Outcome) -> dict[str, Any]:
    """Return all of it, ready for JSON; qualities are of the development part."""
    plan = outcome.plan
    best = {id(one) for one in front(outcome.predictions, plan)}
    chosen = outcome.chosen
    wanted = (chosen.predicted if chosen else outcome.best)
    return {
        "purpose": plan.purpose.kind, "quality": plan.purpose.quality,
        "corpus_sha256": plan.purpose.sha256,
        "target": plan.target and str(plan.target), "limits": list(map(str, plan.limits)),
        "boards": list(plan.boards), "characters": plan.characters, "seed": plan.seed,
        "core_minutes": outcome.core_seconds / 60, "trainings": len(outcome.trials),
        "reached": chosen is not None,
        "chosen": wanted and wanted.candidate.to_dict(),
        "style": outcome.style and {"layers": outcome.style.layers, "ratio": outcome.style.ratio},
        "curve": outcome.curve and outcome.curve.to_dict(),
        "trials": [_trial(trial, result) for trial, result in outcome.trials],
        "confirmations": [_confirmation(one) for one in outcome.confirmations],
        "candidates": [_prediction(one) | {"pareto": id(one) in best}
                       for one in outcome.predictions],
        "commands": commands(plan, wanted.candidate) if wanted else [],
    }


def _trial(trial: Trial, result: Result) -> dict[str, Any]:
    return {"shape": trial.config.to_dict(), "ternary_weights": trial.config.ternary_weights,
            "characters": trial.characters, "quality": result["quality"],
            "standard_error": result["standard_error"], "core_seconds": result["seconds"]}


def _prediction(one: Prediction) -> dict[str, Any]:
    low, middle, high = one.quality
    return one.candidate.to_dict() | {"predicted": {"best": low, "median": middle, "worst": high},
                                      "probability": one.probability}


def _confirmation(one: Confirmation) -> dict[str, Any]:
    return _prediction(one.predicted) | {
        "reached": one.result["quality"], "standard_error": one.result["standard_error"],
        "held_out": one.result["final"], "met": one.met,
        "core_seconds": one.result["seconds"]}
