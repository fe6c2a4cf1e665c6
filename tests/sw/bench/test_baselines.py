"""Baselines give the tokens of the reference, or come as close as their arithmetic lets them."""

import importlib

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.bench import baselines
from trilight.sw.bench.baselines import baseline_names, open_baseline
from trilight.sw.errors import BenchError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model

SHAPES = [
    ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16),
    ModelConfig(vocab_size=60, d_model=48, n_layers=3, d_hidden=91),
    ModelConfig(vocab_size=200, d_model=130, n_layers=2, d_hidden=250),
]


@pytest.mark.parametrize("config", SHAPES, ids=str)
@pytest.mark.parametrize(("temperature", "seed"), [(0, 0), (0.8, 1), (5.5, 2**32 - 1)])
@pytest.mark.parametrize("compiled", ["numba", "c"])
def test_compiled_gives_the_integers(compiled: str, config: ModelConfig, temperature: float,
                                     seed: int) -> None:
    model = Model.random(config, seed=seed % 1000)
    prompt = [3, 1, 4, 1, 5, 9, 2, 6]
    expected, got = (
        open_baseline(name, model).generate(prompt, tokens=60, temperature=temperature, seed=seed)
        for name in ("numpy", compiled))
    assert got == expected


def test_numba_gives_the_integers_of_the_model_that_comes_along() -> None:
    model = Model.load(default_model_path())
    expected, got = (
        open_baseline(name, model).generate(model.encode("ROMEO:"), tokens=200, temperature=0.8,
                                            seed=11) for name in ("numpy", "numba"))
    assert got == expected


def test_each_generation_starts_anew() -> None:
    model = Model.random(SHAPES[0], seed=3)
    for name in ("numpy", "numba", "c"):
        baseline = open_baseline(name, model)
        first, second = (baseline.generate([1, 2], tokens=20, temperature=1, seed=4)
                         for _ in range(2))
        assert first == second


def test_torch_comes_close() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed; make test-full brings it")
    floating = importlib.import_module("trilight.sw.bench.baselines.floating")
    reference = importlib.import_module("trilight.sw.bench.baselines.reference")
    model = Model.load(default_model_path())
    exact, real = reference.Stepper(model), floating.Stepper(floating.Network(model))
    text = "First Citizen:\nBefore we proceed any further, hear me speak.\n"
    distances, sizes = [], []
    for token in model.encode(text):
        logits = exact.step(token)
        distances.append(np.abs(logits - real.step(token)).mean())
        sizes.append(np.abs(logits - logits.mean()).mean())
    # Rounding to 8 bits and less, at each of a dozen stages, is what separates them.
    assert 0 < np.mean(distances) < 0.05 * np.mean(sizes)


def test_torch_draws_with_the_sampler_of_the_device() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed; make test-full brings it")
    model = Model.load(default_model_path())
    numpy, torch = (open_baseline(name, model).generate(
        model.encode("ROMEO:"), tokens=100, temperature=0.8, seed=7) for name in
        ("numpy", "torch"))
    same = next((n for n, pair in enumerate(zip(numpy, torch, strict=True))
                 if pair[0] != pair[1]), 100)
    assert same >= 10


def test_no_such_baseline(model: Model) -> None:
    with pytest.raises(BenchError, match="no baseline 'abacus'; there are numpy, numba, c, torch"):
        open_baseline("abacus", model)


@pytest.mark.parametrize("name", baseline_names())
def test_a_missing_package_is_named(name: str, model: Model,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'x'")

    monkeypatch.setattr(baselines, "import_module", missing)
    with pytest.raises(BenchError, match=f"baseline {name} needs a package .* 'x'"):
        open_baseline(name, model)


def test_cuda_needs_a_gpu(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch",
                                reason="PyTorch is not installed; make test-full brings it")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BenchError, match="needs an NVIDIA GPU"):
        open_baseline("cuda", model)
