"""Calibration against plain accounts of it, and the command that scales a head."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.cli.app import main
from trilight.sw.errors import EvaluationError
from trilight.sw.model.model import Model
from trilight.sw.quality.calibration import Calibration, scale_head
from trilight.sw.quality.evaluate import evaluate
from trilight.sw.reference.model import ReferenceModel

VOCAB = tuple("abcdefghijklmnopqr\n")
CONFIG = ModelConfig(vocab_size=len(VOCAB), d_model=24, n_layers=1, d_hidden=20)


@pytest.fixture
def model(rng: np.random.Generator) -> Model:
    return replace(Model.random(CONFIG, seed=int(rng.integers(1 << 30))), vocab=VOCAB)


@pytest.mark.parametrize("scale", [0.7, 0.93, 1.0, 1.2])
def test_scale_of_what_was_drawn_is_found(scale: float, rng: np.random.Generator) -> None:
    """Tokens drawn from scaled logits: their own scale is the best one."""
    logits = rng.normal(0, 2, (40_000, 12))
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    likely = np.exp(scale * logits)
    likely /= likely.sum(-1, keepdims=True)
    wanted = (likely.cumsum(-1) < rng.random((len(logits), 1))).sum(-1).clip(max=11)
    calibration = Calibration()
    for part in np.array_split(np.arange(len(logits)), 3):
        calibration.add(log_probs[part], wanted[part])
    found = calibration.figures()
    assert found["best_scale"] == pytest.approx(scale, abs=0.03)

    def loss(factor: float) -> float:
        scaled = factor * logits
        return float(np.mean(np.log(np.exp(scaled).sum(-1))
                             - scaled[np.arange(len(wanted)), wanted]))

    assert found["gain_nats_per_char"] == pytest.approx(loss(1) - loss(found["best_scale"]),
                                                        abs=2e-4)
    best = log_probs.max(-1)
    gap = 0.0
    for low in range(15):
        chosen = (np.exp(best) >= low / 15) & (np.exp(best) < (low + 1) / 15)
        if chosen.any():
            right = log_probs[chosen].argmax(-1) == wanted[chosen]
            gap += chosen.mean() * abs(np.exp(best[chosen]).mean() - right.mean())
    assert found["expected_error"] == pytest.approx(gap)


def test_evaluation_is_calibrated_by_all_that_it_scores(
        model: Model, rng: np.random.Generator) -> None:
    text = "".join(rng.choice(VOCAB[:4], 700))
    # Of a model that knows nothing of this text, less certainty is better.
    assert evaluate(model, text)["calibration"]["best_scale"] < 1


def test_scaled_head_scales_logits(model: Model) -> None:
    # So that no multiplier is clipped where a random model's norm is small.
    model = replace(model, head_scale=1200, head_tap=127)
    half = scale_head(model, 0.5)
    tokens = [1, 5, 2]
    ours, theirs = (np.concatenate([reference.step([token]) for token in tokens])
                    for reference in map(ReferenceModel, (model, half)))
    assert np.abs(ours / 2 - theirs).max() <= 1
    assert scale_head(model, 1.0).sha256 == model.sha256
    with pytest.raises(EvaluationError, match="a scale of 1e-09 cannot be had"):
        scale_head(model, 1e-9)


def test_command_writes_a_model_with_where_it_comes_from(
        model: Model, rng: np.random.Generator, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    paths = {name: tmp_path / f"{name}.txt" for name in ("on", "corpus")}
    for path in paths.values():
        path.write_text("\n".join("".join(rng.choice(VOCAB[:-1], 40)) for _ in range(50)))
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    replace(model, provenance={"seed": 5, "quality": {"nats_per_char": 9.0},
                               "float_nats_per_char": 8.0}).save(before)
    given = ["--model", str(before), "--out", str(after)]
    assert main(["calibrate-head", "--on", str(paths["on"]), "--corpus", str(paths["corpus"]),
                 *given]) == 0
    made = Model.load(after)
    about = made.provenance["head_calibration"]
    on = evaluate(model, paths["on"].read_text())
    assert about["scale"] == on["calibration"]["best_scale"]
    assert made.sha256 == scale_head(model, about["scale"]).sha256 != model.sha256
    assert about["model_sha256"] == model.sha256
    assert about["before"] == {"quality": {"nats_per_char": 9.0}, "float_nats_per_char": 8.0}
    text = paths["corpus"].read_text()
    held_out = text[len(text) * 9 // 10:]
    for key, protocol in (("quality", "stateful"), ("quality_windows", "windows")):
        expected = evaluate(made, held_out, protocol)
        assert made.provenance[key]["nats_per_char"] == expected["nats_per_char"]
    assert made.provenance["seed"] == 5
    assert "float_nats_per_char" not in made.provenance
    assert f"scale {about['scale']:.4f}" in capsys.readouterr().out
    # Not with a text that was read before, nor with another corpus than that of the training.
    assert main(["calibrate-head", "--on", str(paths["corpus"]), "--corpus", str(paths["corpus"]),
                 *given]) == 2
    assert "neither training nor measuring saw" in capsys.readouterr().err
    replace(model, provenance={"corpus_sha256": "0", "corpus": "c"}).save(before)
    assert main(["calibrate-head", "--on", str(paths["on"]), "--corpus", str(paths["corpus"]),
                 *given]) == 2
    assert "not the text that the model was trained on" in capsys.readouterr().err
