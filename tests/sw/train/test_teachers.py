"""Networks in floating point, and what ternary ones learn from them."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.cli import app as cli
from trilight.sw.cli import train as command
from trilight.sw.cli.compare import published_models
from trilight.sw.errors import CheckpointError, ModelFileError, TrainingError
from trilight.sw.model.model import MATRICES, Model
from trilight.sw.quality.evaluate import character_losses, evaluate
from trilight.sw.report.performance import predict
from trilight.sw.train.corpus import Corpus, read_corpus

SHAPE = ("--d-model", 32, "--layers", 2, "--hidden", 24, "--threads", 1, "--precision", "fp32")


@pytest.fixture
def t() -> SimpleNamespace:
    """What needs PyTorch; tests are skipped where it is missing."""
    torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install "
                                                "'trilight[train]'")
    from trilight.sw.train import distill, float_file, loss, options, trainer

    torch.set_num_threads(1)
    return SimpleNamespace(
        torch=torch, KINDS=float_file.KINDS, FloatModel=float_file.FloatModel,
        FloatPredictor=float_file.FloatPredictor, DistillationData=distill.DistillationData,
        SoftTargets=distill.SoftTargets,
        generate_synthetic=distill.generate_synthetic, soft_targets=distill.soft_targets,
        Options=options.Options, Trainer=trainer.Trainer, windows_loss=loss.windows_loss,
        stateful_loss=loss.stateful_loss)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """The same line again and again, of which one word is random."""
    rng = np.random.default_rng(3)
    path = tmp_path / "words.txt"
    things = rng.choice(["stone", "moon", "ember"], 1000)
    lines = (f"the {thing} held by quick foxes\n" for thing in things)
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def corpus(text: Path) -> Corpus:
    return read_corpus(text, max_vocab=64)


def config(corpus: Corpus) -> ModelConfig:
    return ModelConfig(vocab_size=len(corpus.vocab), d_model=32, n_layers=2, d_hidden=24)


def network(t: SimpleNamespace, corpus: Corpus, kind: str = "float", seed: int = 1) -> Any:
    t.torch.manual_seed(seed)
    return t.KINDS[kind](config(corpus), bf16=False)


def teacher(t: SimpleNamespace, corpus: Corpus, seed: int = 1) -> Any:
    return t.FloatModel("float", network(t, corpus, seed=seed), corpus.vocab,
                        {"corpus_sha256": corpus.sha256, "split": corpus.split})


def run_command(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(command.train_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# Networks


@pytest.mark.parametrize("kind", ["float", "transformer"])
def test_networks_see_no_character_before_they_predict_it(
        t: SimpleNamespace, corpus: Corpus, kind: str) -> None:
    net = network(t, corpus, kind)
    tokens = t.torch.randint(0, len(corpus.vocab), (12, 3))
    changed = tokens.clone()
    changed[7] = (changed[7] + 1) % len(corpus.vocab)
    with t.torch.no_grad():
        before, _ = net(tokens, net.start(3))
        after, _ = net(changed, net.start(3))
    same = (before == after).all(-1).all(-1)
    assert same[:7].all()
    assert not same[7:].any()


def test_state_carries_on_where_a_window_ends(t: SimpleNamespace, corpus: Corpus) -> None:
    net = network(t, corpus)
    tokens = t.torch.randint(0, len(corpus.vocab), (12, 3))
    with t.torch.no_grad():
        whole, _ = net(tokens, net.start(3))
        first, state = net(tokens[:5], net.start(3))
        second, _ = net(tokens[5:], state)
    t.torch.testing.assert_close(t.torch.cat([first, second]), whole)


@pytest.mark.parametrize("kind", ["float", "transformer"])
def test_networks_learn(t: SimpleNamespace, corpus: Corpus, kind: str) -> None:
    trainer = t.Trainer(config(corpus), corpus, t.Options(
        network=kind, characters=60_000, bptt_length=32, learning_rate=4e-3))
    before = t.windows_loss(trainer.result(), corpus.held_out)
    assert trainer.run(report=lambda now: None, stop=lambda: False)
    assert t.windows_loss(trainer.result(), corpus.held_out) < before - 1


def test_masks_drop_the_rate_and_keep_the_mean(t: SimpleNamespace, corpus: Corpus) -> None:
    generator = t.torch.Generator().manual_seed(2)
    masks = network(t, corpus).draw_masks(500, 0.3, generator)
    assert masks.glu.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert masks.glu.mean().item() == pytest.approx(1, abs=0.02)
    assert masks.embedding.unique().tolist() == pytest.approx([0, 1 / 0.9])


# Measures


def test_losses_are_those_of_the_protocols(t: SimpleNamespace, corpus: Corpus) -> None:
    """The same sums as ``trilight.sw.quality.evaluate`` makes, step by step."""
    model = teacher(t, corpus)
    stand_in = dataclasses.replace(Model.random(config(corpus), 1), vocab=corpus.vocab)

    def slowly(protocol: str) -> float:
        nats = character_losses(stand_in, corpus.held_out_text, protocol, streams=8,
                                predictor=lambda streams: t.FloatPredictor(model, streams))
        return float(np.nanmean(nats))

    assert t.stateful_loss(model.network, corpus.held_out, batch_size=8) == pytest.approx(
        slowly("stateful"), rel=1e-5)
    assert t.windows_loss(model.network, corpus.held_out, at_a_time=3) == pytest.approx(
        slowly("windows"), rel=1e-5)


# Files


def test_file_keeps_everything(t: SimpleNamespace, corpus: Corpus, tmp_path: Path) -> None:
    model = teacher(t, corpus)
    model.save(tmp_path / "teacher.safetensors")
    loaded = t.FloatModel.load(tmp_path / "teacher.safetensors")
    assert (loaded.kind, loaded.vocab, loaded.provenance) == ("float", corpus.vocab,
                                                              model.provenance)
    assert loaded.sha256 == model.sha256 != teacher(t, corpus, seed=2).sha256
    for name, value in model.network.state_dict().items():
        assert t.torch.equal(value, loaded.network.state_dict()[name]), name


def test_files_that_are_no_use_are_refused(t: SimpleNamespace, corpus: Corpus,
                                           tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    with pytest.raises(ModelFileError, match=r"there is no file .*teacher\.safetensors"):
        t.FloatModel.load(path)
    Model.random(config(corpus), 1).save(path)
    with pytest.raises(ModelFileError, match="must be of format 'trilight-float-network'"):
        t.FloatModel.load(path)
    teacher(t, corpus).save(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelFileError, match="is damaged"):
        t.FloatModel.load(path)


# DistillationData


def test_expectations_are_the_mean_of_the_teachers(t: SimpleNamespace, corpus: Corpus) -> None:
    """At each place, those after all of the text before it, or after long enough of it."""
    ensemble = [network(t, corpus, seed=seed) for seed in (1, 2)]
    tokens = corpus.train[:20_000]
    distillation = t.soft_targets(tokens, ensemble)
    assert distillation.soft.log_probs.shape == (20_000, len(corpus.vocab))
    with t.torch.no_grad():
        inputs = t.torch.from_numpy(tokens[:, None])
        expected = sum(net(inputs, net.start(1))[0].softmax(-1) for net in ensemble) / 2
    # Not the first piece: it begins after a stretch of one character.
    difference = distillation.soft.log_probs[400:].double().exp() - expected[400:, 0].double()
    assert difference.abs().max() < 2e-3


def test_synthetic_text_is_drawn_from_soft_targets(
        t: SimpleNamespace, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    from trilight.sw.train import distill as module

    monkeypatch.setattr(module, "_GENERATED_LENGTH", 512)
    ensemble = [network(t, corpus)]

    def generate(seed: int, top: int | None = None) -> Any:
        return t.generate_synthetic(corpus.train, ensemble, 6_000, seed=seed, writers=8, top=top)

    made = generate(4)
    assert len(made.tokens) == 8_192
    few = generate(4, top=3)
    assert (made.tokens == few.tokens).all()
    assert (made.tokens != generate(5).tokens).any()
    best = np.sort(made.soft.log_probs.numpy(), axis=-1)[:, :-4:-1]
    assert (few.soft.log_probs.numpy() == best).all()
    at_classes = np.take_along_axis(made.soft.log_probs.numpy(),
                                    few.soft.classes.numpy().astype(int), -1)
    assert (at_classes == best).all()
    # The drawn characters cost what the teacher itself expects them to: its entropy.
    table = made.soft.log_probs.numpy().astype(float).reshape(8, 1024, -1)[:, :-1]
    following = made.tokens.reshape(8, 1024)[:, 1:]
    # A chapter's first character follows from the corpus.
    inside = np.arange(1023) % 512 != 511
    cost = -np.take_along_axis(table, following[..., None], -1)[:, inside].mean()
    entropy = -(np.exp(table) * table).sum(-1)[:, inside].mean()
    assert cost == pytest.approx(entropy, abs=0.05)


def test_many_writers_write_short_texts(t: SimpleNamespace, corpus: Corpus) -> None:
    made = t.generate_synthetic(corpus.train, [network(t, corpus)], 6_000, seed=4, writers=40)
    # Whole windows of 128 characters, as few as do.
    assert len(made.tokens) == len(made.soft.log_probs) == 40 * 2 * 128


@pytest.mark.parametrize("top", [None, 4])
def test_file_of_soft_targets(t: SimpleNamespace, corpus: Corpus, tmp_path: Path,
                              top: int | None) -> None:
    distillation = t.soft_targets(corpus.train[:500], [network(t, corpus)], top=top)
    path = tmp_path / "distillation.safetensors"
    assert t.DistillationData.load(path) is None
    distillation.save(path)
    found = t.DistillationData.load(path)
    assert (found.tokens == distillation.tokens).all()
    assert (found.soft.log_probs == distillation.soft.log_probs).all()
    assert (found.soft.classes is None) == (top is None)
    assert top is None or (found.soft.classes == distillation.soft.classes).all()
    path.write_bytes(path.read_bytes()[:1000])
    assert t.DistillationData.load(path) is None


def test_a_few_classes_are_scaled_to_a_whole(t: SimpleNamespace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, expected = rng.normal(size=(2, 3, 4, 9))
    probabilities = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    order = np.argsort(-probabilities, -1)[..., :5]
    kept = np.take_along_axis(probabilities, order, -1)
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    loss = -(kept / kept.sum(-1, keepdims=True)
             * np.take_along_axis(log_softmax, order, -1)).sum(-1).mean()
    soft = t.SoftTargets(t.torch.from_numpy(np.log(kept)), t.torch.from_numpy(order))
    assert soft.cross_entropy(t.torch.from_numpy(logits)).item() == pytest.approx(loss)


@pytest.mark.parametrize("few", [False, True])
def test_student_comes_to_expect_what_its_teacher_does(
        t: SimpleNamespace, corpus: Corpus, few: bool) -> None:
    """A teacher of a single expectation, which the text contradicts, teaches just that."""
    vocab, length = len(corpus.vocab), len(corpus.train)
    odd = t.torch.full((vocab,), -20.0)
    odd[[2, 5]] = t.torch.tensor([0.7, 0.3]).log()
    soft = (t.SoftTargets(odd[[2, 5]].expand(length, 2), t.torch.tensor([2, 5]).expand(length, 2))
            if few else t.SoftTargets(odd.expand(length, vocab), None))
    trainer = t.Trainer(
        config(corpus),
        corpus,
        t.Options(characters=80_000, bptt_length=32),
        distillation=(t.DistillationData(corpus.train, soft), None),
    )
    trainer.run(report=lambda now: None, stop=lambda: False)
    net = trainer.result()
    with t.torch.no_grad():
        logits, _ = net(t.torch.from_numpy(corpus.train[:50, None]), net.start(1))
    probabilities = logits.softmax(-1).mean((0, 1))
    assert probabilities[2].item() == pytest.approx(0.7, abs=0.08)
    assert probabilities[5].item() == pytest.approx(0.3, abs=0.08)


# Comparison


def test_rounding_to_8_bits_moves_weights_by_half_a_step(
        t: SimpleNamespace, corpus: Corpus) -> None:
    from trilight.sw.train.compare import quantised

    model = teacher(t, corpus)
    rounded = quantised(model)
    assert (model.network.int8_inputs, rounded.network.int8_inputs) == (False, True)
    for name, before in model.network.named_parameters():
        after = dict(rounded.network.named_parameters())[name]
        if before.ndim < 2:
            assert t.torch.equal(before, after)
            continue
        step = before.abs().amax(1, keepdim=True) / 127
        assert ((after - before).abs() <= 0.501 * step).all()
        assert ((after / step) - (after / step).round()).abs().max() < 1e-3
        assert len(after[0].unique()) > 3


def test_inputs_of_8_bits_are_rounded_by_half_a_step(t: SimpleNamespace, corpus: Corpus) -> None:
    net = network(t, corpus)
    x = t.torch.randn(5, 32, generator=t.torch.Generator().manual_seed(6))
    before = net._product(x, t.torch.eye(32))
    net.int8_inputs = True
    after = net._product(x, t.torch.eye(32))
    step = x.abs().amax(1, keepdim=True) / 127
    assert t.torch.equal(before, x)
    assert ((after - x).abs() <= 0.501 * step).all()
    assert not t.torch.equal(after, x)


def test_seeds_of_one_method_are_summed_up(t: SimpleNamespace) -> None:
    from trilight.sw.train.compare import seed_groups

    def row(file: str, command: str, seed: int, nats: float, kind: str = "ternary",
            ) -> dict[str, Any]:
        return {"file": file, "command": f"trilight train --out {file} {command} --seed {seed}",
                "seed": seed, "kind": kind, "nats_per_char_stateful": nats,
                "nats_per_char_windows": nats + 1}

    rows = [row("a", "--dropout 0", 1, 1.5), row("b", "--dropout 0", 2, 1.7),
            row("c", "--dropout 0", 3, 1.3), row("d", "--dropout 0.1", 1, 9.0),
            row("e", "--dropout 0", 1, 9.0, kind="float"), {**row("f", "", 1, 9.0),
                                                            "command": None}]
    [group] = seed_groups(rows)
    assert group["files"] == ["a", "b", "c"]
    assert group["command"] == "trilight train --dropout 0"
    for protocol, more in (("stateful", 0), ("windows", 1)):
        assert group[protocol] == pytest.approx({
            "mean": 1.5 + more, "standard_deviation": 0.2, "lowest": 1.3 + more,
            "highest": 1.7 + more})

    rows = [row("a", "--synthetic 9 --network ternary", 1, 1.5),
            row("b", "--synthetic 9 --synthetic-batch 15 --network ternary --recipe x", 2, 1.7),
            row("c", "--synthetic 9 --synthetic-batch 8 --network ternary --recipe x", 3, 1.3)]
    [group] = seed_groups(rows)
    assert group["files"] == ["a", "b"]


def test_compare_command(t: SimpleNamespace, text: Path, corpus: Corpus, tmp_path: Path,
                         capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.safetensors"
    ours = dataclasses.replace(Model.random(config(corpus), 1), vocab=corpus.vocab)
    ours = dataclasses.replace(ours, provenance={
        "split": corpus.split, "float_nats_per_char": 3.0, "float_nats_per_char_windows": 2.0,
        "command": "trilight train", "teachers": [{"sha256": "5", "command": "teach"}]})
    ours.save(model)
    files = [str(model)]
    for kind in ("float", "transformer"):
        files.append(str(tmp_path / kind))
        t.FloatModel(kind, network(t, corpus, kind), corpus.vocab, {}).save(files[-1])
    json_file = tmp_path / "rows.json"
    assert cli.main(["compare", *files, "--corpus", str(text), "--json", str(json_file)]) == 0
    rows = json.loads(json_file.read_text())["models"]
    assert [(row["kind"], row["format"]) for row in rows] == [
        ("ternary", "trits"), ("float", "float32"), ("float", "int8"),
        ("transformer", "float32"), ("transformer", "int8")]
    assert rows[0]["nats_per_char_windows"] == evaluate(
        ours, corpus.held_out_text, "windows")["nats_per_char"]
    assert rows[1]["nats_per_char_stateful"] == pytest.approx(
        t.stateful_loss(network(t, corpus), corpus.held_out))
    assert rows[1]["nats_per_char_windows"] != rows[2]["nats_per_char_windows"]
    assert rows[3]["nats_per_char_stateful"] is None
    assert rows[0]["float_to_integer_gap"] == {
        "stateful": rows[0]["nats_per_char_stateful"] - 3,
        "windows": rows[0]["nats_per_char_windows"] - 2}
    assert (rows[0]["command"], rows[0]["teachers"][0]["command"]) == ("trilight train", "teach")
    zeros = sum(int((matrix == 0).sum()) for matrix in (
        ours.embedding, *(getattr(layer, name).trits for layer in ours.layers
                          for name in MATRICES)))
    assert rows[0]["zero_share"] == pytest.approx(zeros / ours.config.ternary_weights, rel=1e-12)
    assert 0 <= rows[0]["zero_words"] <= rows[0]["zero_words_by_lane"]
    assert rows[0]["zero_codes"] < rows[0]["zero_share"]
    assert rows[0]["cycles_per_char"] == predict(
        ours.config, device=board_device()).cycles_per_token
    core = rows[0]["fpga_core_energy_per_char"]
    assert core["interval"]["p05"] < core["value"] < core["interval"]["p95"]
    assert rows[1]["fpga_core_energy_per_char"] is None
    energies = [row["energy_per_char"]["value"] for row in rows]
    assert energies[0] < energies[2] < energies[1]
    assert rows[1]["energy_ratio_to_first"]["p50"] == pytest.approx(energies[1] / energies[0],
                                                                    rel=0.1)
    assert rows[0]["energy_ratio_to_first"] == {"p05": 1, "p50": 1, "p95": 1}
    assert "int8" in capsys.readouterr().out


def test_published_figures_are_of_one_text() -> None:
    [_, *others] = names = [model["name"] for model in published_models(
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed")]
    assert names[0].startswith("nanoGPT")
    assert len(others) == 2
    assert published_models("0" * 64) == []


# The commands


def test_evaluate_shows_a_network_beside_the_model(
        t: SimpleNamespace, text: Path, corpus: Corpus, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    path, json_file = tmp_path / "float.safetensors", tmp_path / "quality.json"
    model = tmp_path / "model.safetensors"
    dataclasses.replace(Model.random(config(corpus), 1), vocab=corpus.vocab).save(model)
    teacher(t, corpus).save(path)
    assert cli.main(["evaluate", "--corpus", str(text), "--model", str(model), "--float",
                     str(path), "--json", str(json_file)]) == 0
    results = json.loads(json_file.read_text())
    net = teacher(t, corpus).network
    assert results["float_nats_per_char"] == {
        "stateful": pytest.approx(t.stateful_loss(net, corpus.held_out), rel=1e-5),
        "windows": pytest.approx(t.windows_loss(net, corpus.held_out), rel=1e-5)}
    rows = results["frequency"]["characters"]
    for name, whole in (("model", results["nats_per_char"]),
                        ("float", results["float_nats_per_char"]["stateful"])):
        assert sum(row["share"] * row["nats"][name] for row in rows
                   if row["occurrences"]) == pytest.approx(whole)
    assert "float" in capsys.readouterr().out


def test_evaluate_refuses_a_network_of_another_text(
        t: SimpleNamespace, text: Path, corpus: Corpus, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "float.safetensors"
    teacher(t, corpus).save(path)
    model = tmp_path / "model.safetensors"
    Model.random(config(corpus), 1).save(model)
    assert cli.main(["evaluate", "--corpus", str(text), "--model", str(model), "--float",
                     str(path)]) == 2
    assert "knows other characters than the model" in capsys.readouterr().err


def test_from_a_teacher_to_a_model(t: SimpleNamespace, text: Path, corpus: Corpus,
                                   tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trilight.sw.train import distill as module

    monkeypatch.setattr(module, "_GENERATED_LENGTH", 512)
    first, out = tmp_path / "teacher.safetensors", tmp_path / "model.safetensors"
    result = run_command("--corpus", text, "--out", first, "--network", "float",
                         "--characters", 60_000, *SHAPE)
    assert result.exit_code == 0, result.output
    made = t.FloatModel.load(first)
    assert made.provenance["float_nats_per_char"] == pytest.approx(
        t.stateful_loss(made.network, corpus.held_out))
    arguments = ("--corpus", text, "--out", out, "--teacher", first, "--synthetic", 4_000)
    result = run_command(*arguments, "--characters", 40_000, *SHAPE)
    assert result.exit_code == 0, result.output
    about = Model.load(out).provenance
    assert [each["sha256"] for each in about["teachers"]] == [made.sha256]
    assert "--teacher teacher.safetensors --synthetic 4000" in about["command"]
    assert [path.name for path in tmp_path.glob("*.checkpoint")] == []


@pytest.mark.parametrize(("arguments", "message"), [
    (("--synthetic", 100), "--synthetic needs a --teacher"),
    (("--teacher", "gone.safetensors"), "there is no file gone.safetensors"),
    (("--teacher", "transformer"), "a teacher must be one of the kind 'float'"),
    (("--teacher", "other"), "other knows other characters than words.txt has"),
    (("--teacher", "whole", "--development"), "was not trained on the same part of the same text"),
    (("--board", "abacus"), "no board 'abacus'"),
])
def test_command_refuses_before_it_trains(
        t: SimpleNamespace, text: Path, corpus: Corpus, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    t.FloatModel("transformer", network(t, corpus, "transformer"), corpus.vocab, {}).save(
        "transformer")
    vocab = (*corpus.vocab[:-1], "\u2020")
    t.FloatModel("float", network(t, corpus), vocab, {}).save("other")
    teacher(t, corpus).save("whole")
    result = run_command("--corpus", text, "--out", "m.safetensors", *arguments)
    assert message in str(result.exception)


def test_seeds_share_what_teachers_say(t: SimpleNamespace, text: Path, corpus: Corpus,
                                       tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trilight.sw.train import distill as module

    monkeypatch.setattr(module, "_GENERATED_LENGTH", 512)
    first, folder = tmp_path / "teacher.safetensors", tmp_path / "distillation"
    teacher(t, corpus).save(first)

    def train(seed: int) -> Result:
        return run_command(
            "--corpus", text, "--out", tmp_path / f"{seed}.safetensors", "--teacher", first,
            "--synthetic", 4_000, "--synthetic-writers", 8, "--synthetic-batch", 9,
            "--soft-targets", folder, "--seed", seed,
            "--characters", 4_000, *SHAPE)

    assert train(1).exit_code == 0
    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(files) == 2
    monkeypatch.setattr(module, "generate_synthetic", None)
    monkeypatch.setattr(module, "soft_targets", None)
    assert train(2).exit_code == 0
    assert files == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    command = Model.load(tmp_path / "2.safetensors").provenance["command"]
    assert "--synthetic 4000 --synthetic-batch 9 --synthetic-writers 8" in command
    many = run_command("--corpus", text, "--out", tmp_path / "many.safetensors",
                       "--batch", 4, "--synthetic-batch", 4, *SHAPE)
    assert "so it is at most 3, not 4" in str(many.exception)


def test_checkpoint_goes_on_with_the_same_teachers_only(
        t: SimpleNamespace, corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    t.Trainer(config(corpus), corpus, t.Options(bptt_length=32), teachers="one").save(path)
    with pytest.raises(CheckpointError, match="was made with other teachers"):
        t.Trainer.resume(path, corpus, teachers="two")
    with pytest.raises(CheckpointError, match="was made with another part of the corpus"):
        t.Trainer.resume(path, dataclasses.replace(corpus, development=True), teachers="one")
    t.Trainer.resume(path, corpus, teachers="one")


def test_development_leaves_the_last_tenth_alone(text: Path, corpus: Corpus) -> None:
    part = read_corpus(text, max_vocab=64, development=True)
    whole = np.concatenate([part.train, part.held_out])
    assert (whole == corpus.train).all()
    assert len(part.train) == len(corpus.train) * 95 // 100


def test_resuming_keeps_the_synthetic_data(t: SimpleNamespace, corpus: Corpus,
                                                tmp_path: Path) -> None:
    net = network(t, corpus)
    distillation = (t.soft_targets(corpus.train, [net]),
               t.soft_targets(corpus.train[::-1].copy(), [net]))
    options = t.Options(characters=40 * 16 * 32, bptt_length=32)
    whole = t.Trainer(config(corpus), corpus, options, distillation=distillation)
    whole.run(report=lambda now: None, stop=lambda: False)
    part = t.Trainer(config(corpus), corpus, options, distillation=distillation)
    path = tmp_path / "checkpoint.pt"
    part.run(report=lambda now: None, stop=lambda: part.step == 23, checkpoint=path)
    rest = t.Trainer.resume(path, corpus, distillation=distillation)
    rest.run(report=lambda now: None, stop=lambda: False)
    for name, value in whole.result().state_dict().items():
        assert t.torch.equal(value, rest.result().state_dict()[name]), name


def test_error_of_a_full_disk_names_the_file(t: SimpleNamespace, text: Path, tmp_path: Path,
                                             corpus: Corpus,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(t.DistillationData, "save", full)
    first = tmp_path / "teacher.safetensors"
    teacher(t, corpus).save(first)
    result = run_command("--corpus", text, "--out", tmp_path / "m.safetensors",
                         "--teacher", first, "--characters", 40_000, *SHAPE)
    assert isinstance(result.exception, TrainingError)
    assert "No space left on device; make room" in str(result.exception)


# Speed


@pytest.mark.parametrize("place", [0, 1, 3])
def test_benchmark_counts_tokens_of_a_core(t: SimpleNamespace, place: int) -> None:
    from dataclasses import replace

    from trilight.sw.train.benchmark import FORMS, measure

    result = measure(replace(FORMS[place], compiled=False), bf16=False, steps=2, batch_size=2,
                     context=16)
    assert result.tokens_per_core_s > 0
    # A core's own time is never longer than the clock's, but for the grain of both.
    assert result.tokens_per_s < 1.5 * result.tokens_per_core_s


def test_tensors_kept_for_the_backward_pass(t: SimpleNamespace) -> None:
    from trilight.sw.train.benchmark import _saved

    weight, x = t.torch.ones(3, 4, requires_grad=True), t.torch.ones(5, 4)
    with _saved({weight.untyped_storage().data_ptr()}) as storages:
        # A product keeps its inputs, of which one is a parameter; a square root keeps its result.
        (x @ weight.T).sqrt().sum()
    assert sum(storages.values()) == 4 * (5 * 4 + 5 * 3)


def test_recurrence_written_out_has_the_same_gradient(t: SimpleNamespace, seed: int) -> None:
    from trilight.sw.train.benchmark import _written_out
    from trilight.sw.train.network import Network

    generator = t.torch.Generator().manual_seed(seed)
    given = [t.torch.rand(shape, generator=generator, dtype=t.torch.float64)
             for shape in ((9, 2, 7), (9, 2, 7), (2, 7))]
    gradients = []
    for recurrence in (_written_out, Network.recurrence):
        f, c, before = (part.clone().requires_grad_() for part in given)
        recurrence(f, c, before.detach()).pow(2).sum().backward()
        gradients.append((f.grad, c.grad))
    for one, other in zip(*gradients, strict=True):
        assert t.torch.allclose(one, other)
