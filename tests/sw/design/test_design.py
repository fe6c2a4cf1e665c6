"""Searches for the smallest model: targets, curve, choice, what is kept; most without training."""

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trilight.hw.support.boards import board_device
from trilight.sw.design import trial as trial_module
from trilight.sw.design.candidates import Style, candidates, shape_of, sizes
from trilight.sw.design.curve import Run, fit
from trilight.sw.design.purpose import find_purpose
from trilight.sw.design.report import commands, results
from trilight.sw.design.search import Plan, search
from trilight.sw.design.target import Target, parse_targets
from trilight.sw.design.trial import Result, Store, Trial, run_trials
from trilight.sw.errors import DesignError
from trilight.sw.report.performance import predict

BOARD = "icebreaker"


def law(weights: float, characters: float) -> float:
    """A loss as of texts."""
    return 1.2 + 2.0 * (weights / 1e3) ** -0.4 + 9.0 * (characters / 1e3) ** -0.5


@pytest.fixture
def text(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(rng.choice(list("abcdefghijklmnopqrst \n"), 14_000)))
    return path


def plan_of(path: Path, **changes: Any) -> Plan:
    settings: dict[str, Any] = {
        "purpose": find_purpose(path, None, None), "target": Target("bits/byte", "<=", 2.0),
        "limits": (), "boards": (BOARD,), "characters": 4_000_000, "largest": 400_000, "rungs": 4,
        "confidence": 0.8, "tries": 3, "seed": 1}
    return Plan(**{**settings, **changes})


def runner(told: list[Trial], loss: Callable[[float, float], float] = law
           ) -> Callable[[Sequence[Trial]], list[Result]]:
    """Trainings whose losses are known."""
    def run(trials: Sequence[Trial]) -> list[Result]:
        told.extend(trials)
        return [Result(quality=loss(one.config.ternary_weights, one.characters),
                       standard_error=0.0, final=3.0 if one.keep else None, seconds=60.0,
                       model="" if one.keep else None) for one in trials]
    return run


@pytest.mark.parametrize(("wrong", "says"), [
    ("bits/byte >= 2", "the other way"), ("bits/byte", "a name, <= or >="),
    ("speed >= 3", "names are"), ("accuracy >= 0.9", "the quality of this search is bits/byte"),
    ("bytes <= 1.2.3", "no number")])
def test_targets_that_are_none(wrong: str, says: str) -> None:
    with pytest.raises(DesignError, match=says):
        parse_targets([wrong], "bits/byte")


def test_targets_bound_quality_and_costs() -> None:
    quality, limits = parse_targets(["uJ/token <= 5", "Bits/Byte <= 2.3", "tokens/s>=3e3"],
                                    "bits/byte")
    assert quality == Target("bits/byte", "<=", 2.3)
    assert limits == (Target("uJ/token", "<=", 5.0), Target("tokens/s", ">=", 3000.0))
    assert [limits[1].met(value) for value in (2999.0, 3000.0, None)] == [False, True, False]


def test_the_curve_finds_the_law_and_knows_how_well(rng: np.random.Generator) -> None:
    places = [(n, d) for n in (5e3, 15e3, 45e3, 120e3) for d in (4e5, 8e5, 1.6e6)]
    noise = rng.standard_normal(len(places)) * 0.005
    curve = fit([Run(weights=round(n), characters=round(d), loss=law(n, d) * (1 + e))
                 for (n, d), e in zip(places, noise, strict=True)])
    truth = law(250e3, 6.4e6)
    low, high = np.percentile(curve.outcomes(250e3, 6.4e6, 0.0), (0.5, 99.5))
    assert low < truth < high
    assert high - low < 0.6
    assert curve.predict(250e3, 6.4e6) == pytest.approx(truth, rel=0.08)


def test_costs_are_those_of_the_performance_model() -> None:
    style = Style(2, 1.5)
    [config] = [shape_of(30, style, 50_000)]
    [found] = candidates([config], [BOARD], line_tokens=41.0, line_head=False)
    device = board_device(BOARD)
    told = predict(config, device=device)
    assert found.bytes == 8 * config.weight_words(device.packing)
    assert found.tokens_per_s == found.clock_hz / told.cycles_per_token
    milliseconds = 1e3 * (40 * told.prompt_cycles_per_token + told.cycles_per_token) / (
        found.clock_hz)
    assert found.ms_per_line == pytest.approx(milliseconds)
    assert found.power_mw is not None
    assert found.cost("uJ/line") == pytest.approx(found.power_mw.p50 * milliseconds)
    # A shape that breaks a limit is no candidate.
    assert not list(candidates(sizes(30, style, 10**7)[-1:], [BOARD], line_tokens=None,
                               line_head=False))


def test_the_smallest_model_that_does_it(text: Path) -> None:
    told: list[Trial] = []
    plan = plan_of(text)
    outcome = search(plan, runner(told), lambda _: None)
    chosen = outcome.chosen
    assert chosen is not None
    assert chosen.met
    vocab_size = len(plan.purpose.corpus(development=True).vocab)
    assert outcome.style is not None
    enough = [config.ternary_weights for config in sizes(vocab_size, outcome.style, plan.largest)
              if law(config.ternary_weights, plan.characters) <= 2.0]
    # The next size up at most: the curve is not known for certain.
    assert chosen.trial.config.ternary_weights in enough[:2]
    low, middle, high = chosen.predicted.quality
    assert low < chosen.result["quality"] < high
    assert middle == pytest.approx(chosen.result["quality"], rel=0.03)
    assert outcome.core_seconds == 60 * len(outcome.trials)
    written = json.loads(json.dumps(results(outcome)))
    assert written["reached"]
    assert written["chosen"]["ternary_weights"] == chosen.trial.config.ternary_weights
    first, *_ = commands(plan, chosen.predicted.candidate)
    assert f"--d-model {chosen.trial.config.d_model} " in first


def test_a_model_that_misses_is_followed_by_a_larger_one(text: Path) -> None:
    def worse(weights: float, characters: float) -> float:
        return law(weights, characters) + 0.3 * (characters == 4_000_000)

    outcome = search(plan_of(text), runner([], worse), lambda _: None)
    met = [one.met for one in outcome.confirmations]
    assert met[0] is False
    tried = [one.trial.config.ternary_weights for one in outcome.confirmations]
    assert tried == sorted(tried)


def test_a_target_out_of_reach_says_what_would_be_best(text: Path) -> None:
    told: list[Trial] = []
    outcome = search(plan_of(text, target=Target("bits/byte", "<=", 1.0)), runner(told),
                     lambda _: None)
    assert outcome.chosen is None
    assert not any(one.keep for one in told)
    assert outcome.best is not None
    assert outcome.best.candidate.config.ternary_weights == max(
        one.candidate.config.ternary_weights for one in outcome.predictions)


def test_the_best_model_within_limits(text: Path) -> None:
    limits = (Target("tokens/s", ">=", 12_000.0),)
    outcome = search(plan_of(text, target=None, limits=limits), runner([]), lambda _: None)
    assert outcome.chosen is not None
    chosen = outcome.chosen.predicted.candidate
    assert chosen.tokens_per_s >= 12_000
    # The next size would be too slow.
    assert outcome.style is not None
    larger = outcome.style.config(chosen.config.vocab_size, chosen.config.d_model + 8)
    assert 48e6 / predict(larger, device=board_device(BOARD)).cycles_per_token < 12_000


def test_limits_that_nothing_keeps_to(text: Path) -> None:
    with pytest.raises(DesignError, match="no model keeps to bytes <= 10"):
        search(plan_of(text, limits=(Target("bytes", "<=", 10.0),)), runner([]), lambda _: None)


class _Here:
    """An executor that works at once, in this process."""

    def submit(self, call: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(call(*arguments))
        return future


def test_trainings_are_kept(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="training needs PyTorch: pip install 'trilight[train]'")
    monkeypatch.setattr(trial_module, "open_executor", lambda *_: nullcontext(_Here()))
    plan, ran = plan_of(text), []
    config = Style(1, 1.0).config(22, 16)
    trials = [plan.trial(config, 10_000), plan.trial(config, 10_000, keep=True)]

    def done(trial: Trial, _: Result) -> None:
        ran.append(trial)

    first = run_trials(trials, Store(tmp_path / "kept"), done)
    assert len(ran) == 2
    # Letters at random: not less than their entropy, and not much more than that of all tokens.
    assert all(math.log2(22) - 0.1 < one["quality"] < 6 for one in first)
    assert first[0]["quality"] == first[1]["quality"]
    assert first[0]["final"] is None
    assert first[1]["final"] is not None
    assert first[1]["model"]
    assert run_trials(trials, Store(tmp_path / "kept"), done) == first
    assert len(ran) == 2
    # Of another text, nothing is known.
    text.write_text(text.read_text()[::-1])
    assert Store(tmp_path / "kept").get(plan.trial(config, 10_000)) is None
