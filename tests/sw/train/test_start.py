"""Trainings that go on from a model file, and units that are pruned before them."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.cli import train as command
from trilight.sw.errors import CheckpointError, CorpusError, TrainingError
from trilight.sw.model.model import MATRICES, Model
from trilight.sw.quality.evaluate import evaluate
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.train.export import build_model
from trilight.sw.train.prune import Importance, importance, pruned
from trilight.sw.train.start import model_arrays, real_numbers

CONFIG = ModelConfig(vocab_size=20, d_model=32, n_layers=2, d_hidden=24)


@pytest.fixture(scope="module")
def torch_side() -> SimpleNamespace:
    torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install "
                                                "'trilight[train]'")
    from trilight.sw.train import network

    torch.set_num_threads(1)
    return SimpleNamespace(torch=torch, Network=network.Network)


@pytest.fixture
def model(seed: int) -> Model:
    return Model.random(CONFIG, seed)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Path:
    path = tmp_path_factory.mktemp("text") / "words.txt"
    rng = np.random.default_rng(seed)
    words = ["the", "stone", "moon", "held", "dark", "over", "ember", "valley", "cold"]
    path.write_text("".join(" ".join(rng.choice(words, 6)) + ".\n" for _ in range(500)))
    return path


@pytest.fixture
def text(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(source, tmp_path))


def train(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(command.train_command)
    return CliRunner().invoke(app, [str(argument) for argument in (*arguments, "--threads", 1)])


SHAPE = ("--d-model", 32, "--layers", 2, "--hidden", 24)


@pytest.fixture(scope="module")
def once(torch_side: SimpleNamespace, source: Path) -> Path:
    out = source.parent / "first.safetensors"
    assert train("--corpus", source, "--out", out, "--characters", 40_000, "--precision", "fp32",
                 *SHAPE).exit_code == 0
    return out


@pytest.fixture
def trained(once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(once, tmp_path))


# From integers to real numbers


def test_arrays_of_a_model_make_the_same_model(model: Model) -> None:
    again = build_model(CONFIG, model.vocab, model_arrays(model), {})
    assert again.sha256 == model.sha256


@pytest.mark.parametrize("threshold", [0.2, 0.5, 1.0, 1.4])
def test_real_numbers_round_to_the_model(
        torch_side: SimpleNamespace, model: Model, threshold: float) -> None:
    network = torch_side.Network(CONFIG, bf16=False, ternary_threshold=threshold)
    network.load_state_dict({name: torch_side.torch.from_numpy(value) for name, value in
                             real_numbers(model_arrays(model), threshold).items()})
    again = build_model(CONFIG, model.vocab, network.arrays(), {})
    assert again.sha256 == model.sha256


def test_threshold_that_asks_for_more_zeros_is_refused(model: Model) -> None:
    """Two in three weights are not 0."""
    with pytest.raises(TrainingError, match="give the threshold that the model was trained with"):
        real_numbers(model_arrays(model), 2.0)


def test_training_goes_on_where_the_model_was(trained: Path, text: Path) -> None:
    out = text.parent / "second.safetensors"
    result = train("--corpus", text, "--out", out, "--from", trained, "--characters", 20_000)
    assert result.exit_code == 0, result.output
    first, second = Model.load(trained), Model.load(out)
    assert second.config == first.config
    assert second.provenance["start"] == {"file": trained.name, "sha256": first.sha256}
    assert f"--from {trained.name}" in second.provenance["command"]
    held_out = text.read_text()[-2_000:]
    nats = [evaluate(each, held_out)["nats_per_char"] for each in (first, second)]
    assert nats[1] < nats[0] - 0.05


def test_model_decides_the_characters(trained: Path, text: Path) -> None:
    vocab = Model.load(trained).vocab
    fewer = text.with_name("fewer.txt")
    fewer.write_text("the stone held.\n" * 1000)
    out = text.parent / "second.safetensors"
    assert train("--corpus", fewer, "--out", out, "--from", trained,
                 "--characters", 2_048).exit_code == 0
    assert Model.load(out).vocab == vocab
    fewer.write_text("the stone held!\n" * 1000)
    result = train("--corpus", fewer, "--out", out, "--force", "--from", trained)
    assert isinstance(result.exception, CorpusError)
    assert "1 characters that the model of --from does not know" in str(result.exception)
    assert "'!' (1,000x)" in str(result.exception)


def test_checkpoint_goes_on_with_its_model_only(
        torch_side: SimpleNamespace, trained: Path, text: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    out = text.parent / "second.safetensors"
    arguments = ("--corpus", text, "--out", out)
    save = Model.save

    def full(model: Model, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Model, "save", full)
    result = train(*arguments, "--from", trained, "--characters", 2_048)
    assert f"--from {trained}" in str(result.exception)
    monkeypatch.setattr(Model, "save", save)
    result = train(*arguments, "--resume")
    assert isinstance(result.exception, CheckpointError)
    assert "begun with another --from" in str(result.exception)
    assert train(*arguments, "--resume", "--from", trained).exit_code == 0
    assert Model.load(out).provenance["start"]["file"] == trained.name


@pytest.mark.parametrize(("arguments", "message"), [
    (("--hidden", 25), "d_hidden 24, and a training that goes on from it can not make it 25"),
    (("--layers", 1), "n_layers 2, and a training that goes on from it can not make it 1"),
    (("--network", "float"), "--from goes with --network ternary, not float"),
])
def test_command_refuses_what_cannot_go_on(
        torch_side: SimpleNamespace, model: Model, text: Path, arguments: tuple[object, ...],
        message: str) -> None:
    vocab = tuple(sorted(set(text.read_text())))
    base = build_model(CONFIG, (*vocab, *"0123456789"[:20 - len(vocab)]), model_arrays(model), {})
    path = text.parent / "base.safetensors"
    base.save(path)
    result = train("--corpus", text, "--out", text.parent / "m", "--from", path, *arguments)
    assert isinstance(result.exception, TrainingError)
    assert message in str(result.exception)


def test_repeats_are_told_of(trained: Path, text: Path) -> None:
    """Sentences of nine words repeat by chance only; a text that is there twice does."""
    twice = text.with_name("twice.txt")
    twice.write_text(text.read_text() * 2)
    for path, told in ((text, False), (twice, True)):
        result = train("--corpus", path, "--out", text.parent / "m", "--from", trained,
                       "--characters", 2_048, "--force")
        assert ("--drop-repeats leaves" in result.output.replace("\n", " ")) is told


# Pruning


def with_idle_units(model: Model, rng: np.random.Generator) -> tuple[Model, Importance]:
    """A model of which some units do nothing: their columns are 0; and the units that do."""
    arrays: dict[str, NDArray[Any]] = {name: np.array(value) for name, value in
                                       model_arrays(model).items()}
    hidden, state = [], []
    for i in range(CONFIG.n_layers):
        for name, kept, count in (("glu_down", hidden, CONFIG.d_hidden),
                                  ("mix_out", state, CONFIG.d_model)):
            kept.append(np.sort(rng.permutation(count)[:16 + 8 * (name == "mix_out")]))
            idle = np.setdiff1d(np.arange(count), kept[-1])
            arrays[f"layers.{i}.{name}"][:, idle] = 0
    channels = np.sort(rng.permutation(CONFIG.d_model)[:24])
    idle = np.setdiff1d(np.arange(CONFIG.d_model), channels)
    arrays["embedding"][:, idle] = 0
    for i in range(CONFIG.n_layers):
        for name in ("mix_out", "glu_down"):
            arrays[f"layers.{i}.{name}"][idle] = 0
    return (build_model(CONFIG, model.vocab, arrays, {}),
            Importance(channels, tuple(state), tuple(hidden)))


def test_units_that_do_nothing_leave_and_change_nothing(
        model: Model, rng: np.random.Generator) -> None:
    """Norms see none of the channels that are always 0, so that integers are the same ones."""
    base, kept = with_idle_units(model, rng)
    tokens = rng.integers(CONFIG.vocab_size, size=64 * 40)
    scores = importance(base, tokens)
    for found, places, count in ((scores.channels, kept.channels, 24),
                                 *((a, b, 24) for a, b in zip(scores.state, kept.state,
                                                              strict=True)),
                                 *((a, b, 16) for a, b in zip(scores.hidden, kept.hidden,
                                                              strict=True))):
        idle = np.setdiff1d(np.arange(len(found)), places)
        assert (found[idle] == 0).all()
        assert len(places) == count
    after = ModelConfig(vocab_size=20, d_model=24, n_layers=2, d_hidden=16)
    arrays = pruned(model_arrays(base), CONFIG, after, scores)
    # What a norm's product is worth goes with the width: undone, the multipliers are the same.
    for name in arrays:
        if name.endswith(".weight") and name.split(".")[2] not in ("mix_out", "glu_down"):
            arrays[name] = arrays[name] * CONFIG.d_model / after.d_model
    arrays["head_gain"] = arrays["head_gain"] * (CONFIG.d_model / after.d_model) ** 0.5
    small = build_model(after, base.vocab, arrays, {})
    assert small.layers[0].gate.scale == base.layers[0].gate.scale
    assert small.head_scale == base.head_scale
    references = ReferenceModel(base), ReferenceModel(small)
    for token in tokens[:200]:
        whole, part = (reference.step([token]) for reference in references)
        assert (whole == part).all()


def test_importance_is_magnitude_times_trits(model: Model, rng: np.random.Generator) -> None:
    tokens = rng.integers(CONFIG.vocab_size, size=64 * 10)
    scores = importance(model, tokens)
    reference = ReferenceModel(model)
    seen: dict[tuple[str, int], list[NDArray[Any]]] = {}
    for part in tokens.reshape(64, 10):
        reference.reset()
        for token in part:
            reference.step([token], lambda stage, layer, values: seen.setdefault(
                (stage, layer), []).append(np.abs(values[0].astype(float))))
    for i, layer in enumerate(model.layers):
        expected = np.mean(seen["v", i], 0) * (layer.glu_down.trits != 0).sum(0)
        assert scores.hidden[i] / scores.hidden[i].sum() == pytest.approx(
            expected / expected.sum())
        expected = np.mean(seen["u", i], 0) * (layer.mix_out.trits != 0).sum(0)
        assert scores.state[i] / scores.state[i].sum() == pytest.approx(expected / expected.sum())


@pytest.mark.parametrize(("option", "size"), [("--hidden", 16), ("--d-model", 24)])
def test_pruned_training_has_fewer_units_and_goes_on(
        trained: Path, text: Path, option: str, size: int) -> None:
    out = text.parent / "second.safetensors"
    result = train("--corpus", text, "--out", out, "--from", trained, option, size,
                   "--characters", 10_000)
    assert result.exit_code == 0, result.output
    first, second = Model.load(trained), Model.load(out)
    assert second.config == ModelConfig(**(
        first.config.to_dict() | {"d_hidden" if option == "--hidden" else "d_model": size}))
    held_out = text.read_text()[-2_000:]
    nats = [evaluate(each, held_out)["nats_per_char"] for each in (first, second)]
    assert nats[1] < nats[0] + 0.25
    assert set(MATRICES) == set(second.layers[0].matrices)
