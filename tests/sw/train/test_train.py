"""Training: corpus, scale folding and shape; with PyTorch also the loop, resuming and export."""

import dataclasses
import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.program import HEADER_WORDS, OPERATION_WORDS, operation_kinds
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.cli import train as command
from trilight.sw.cli.train_resume import CHECKPOINT_NAME
from trilight.sw.errors import (
    BoardError,
    CheckpointError,
    CorpusError,
    ModelDoesNotFitError,
    TrainingError,
    TrilightError,
)
from trilight.sw.model.model import MATRICES, Model
from trilight.sw.quality.evaluate import evaluate, log_softmax
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.train import scales, shape
from trilight.sw.train.corpus import FEWEST_CHARACTERS, Corpus, read_corpus
from trilight.sw.train.export import build_model

DEVICE = board_device()

SMALL = ModelConfig(vocab_size=20, d_model=32, n_layers=2, d_hidden=24)


def write_text(path: Path, seed: int = 5, sentences: int = 500) -> Path:
    """Sentences of random words of a small vocabulary: easy to learn, impossible to know."""
    rng = np.random.default_rng(seed)
    words = ["the", "stone", "moon", "held", "dark", "over", "ember", "valley", "cold"]
    lines = (" ".join(rng.choice(words, 6)).capitalize() + ".\n" for _ in range(sentences))
    path.write_text("".join(lines), encoding="utf-8", newline="")
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path / "words.txt")


@pytest.fixture
def corpus(text: Path) -> Corpus:
    return read_corpus(text, max_vocab=DEVICE.max_vocab)


@pytest.fixture
def torch_side() -> SimpleNamespace:
    """What needs PyTorch; tests that use it are skipped where it is missing."""
    torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install "
                                                "'trilight[train]'")
    from trilight.sw.train import (
        distill,
        float_file,
        float_network,
        loss,
        machine,
        network,
        options,
        reader,
        trainer,
    )

    torch.set_num_threads(1)
    return SimpleNamespace(torch=torch, float_file=float_file, float_network=float_network,
                           distill=distill, network=network, reader=reader, trainer=trainer,
                           loss=loss, machine=machine, options=options)


# Corpus


def test_corpus_is_split_after_nine_tenths(text: Path) -> None:
    content = text.read_text(encoding="utf-8")
    corpus = read_corpus(text, max_vocab=64)
    assert corpus.vocab == tuple(sorted(set(content)))
    whole = "".join(corpus.vocab[t] for t in np.concatenate([corpus.train, corpus.held_out]))
    assert whole == content
    assert len(corpus.train) == len(content) * 9 // 10
    assert corpus.held_out_text == content[len(corpus.train):]


def test_corpus_keeps_characters_beyond_ascii(tmp_path: Path) -> None:
    path = tmp_path / "odd.txt"
    path.write_bytes("\ufeff".encode() + "zażółć\r\n".encode() * FEWEST_CHARACTERS)
    corpus = read_corpus(path, max_vocab=64)
    assert corpus.vocab == tuple(sorted("zażółć\n"))
    assert corpus.changes == ("a byte order mark left out", "10,000 line ends made Unix's")


@pytest.mark.parametrize(("content", "message"), [
    (b"", "must have at least 10,000 characters, not 0;"),
    (b"a" * (FEWEST_CHARACTERS - 1), "must have at least 10,000 characters, not 9,999;"),
    (b"a" * 7 + b"\xff" + b"a" * FEWEST_CHARACTERS, "is not UTF-8 text: byte 0xff at position 7;"),
    (b"a" * 9 + b"\0" + b"a" * FEWEST_CHARACTERS, r"the control character '\x00' at position 9;"),
])
def test_corpus_that_is_no_use_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=re.escape(message)):
        read_corpus(path, max_vocab=64)


def test_corpus_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"gone\.txt cannot be read: No such file"):
        read_corpus(tmp_path / "gone.txt", max_vocab=64)


def test_corpus_with_too_many_characters_names_the_rarest(tmp_path: Path) -> None:
    path = tmp_path / "wide.txt"
    path.write_text("abcd" * FEWEST_CHARACTERS + "xx" + "y", encoding="utf-8")
    expected = (r"has 6 distinct characters, but the device can hold 4; replace or remove the "
                r"2 rarest: 'y' \(1x\) 'x' \(2x\)$")
    with pytest.raises(CorpusError, match=expected):
        read_corpus(path, max_vocab=4)
    assert len(read_corpus(path, max_vocab=6).vocab) == 6


# Shape

LARGEST_VOCABULARY = (DEVICE.program_words - HEADER_WORDS
                      - OPERATION_WORDS * len(operation_kinds(n_layers=3)))
"""Beside a program of three layers; the output bias takes a program word for each token."""


@pytest.mark.parametrize("vocab_size", [16, 65, 96, 128, LARGEST_VOCABULARY])
def test_chosen_shape_fills_the_board(vocab_size: int) -> None:
    chip = board_device()
    config = shape.choose_config(vocab_size, chip)
    config.check_fits(chip)
    larger = ModelConfig(**{**config.to_dict(), "d_hidden": config.d_hidden + 1})
    assert larger.violations(chip)
    assert shape.memory_fill(config, chip) >= 0.97
    assert shape.memory_fill(config, chip) == config.ternary_weights / (40 * chip.weight_words)


def test_chosen_shape_is_the_largest_of_what_is_asked_for() -> None:
    config = shape.choose_config(65, DEVICE, d_model=128, layers=2)
    assert (config.d_model, config.n_layers) == (128, 2)
    assert config.d_hidden == DEVICE.max_columns
    sizes = [shape.choose_config(65, DEVICE, d_model=width, layers=3).ternary_weights
             for width in (120, 144, 160)]
    assert max(sizes) <= shape.choose_config(65, DEVICE).ternary_weights


def test_shape_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ModelDoesNotFitError, match=r"(?s)3 \* d_model: 600 needed.*Try a"):
        shape.choose_config(65, DEVICE, d_model=200, layers=1)
    tiny = Device(name="tiny", weight_words=100)
    with pytest.raises(ModelDoesNotFitError, match="does not fit tiny"):
        shape.choose_config(65, tiny, d_model=32, layers=2, hidden=24)
    with pytest.raises(ModelDoesNotFitError, match="does not fit tiny"):
        shape.choose_config(65, tiny)


def test_unknown_board_is_refused() -> None:
    with pytest.raises(BoardError, match=r"no board 'abacus'; there is .*icebreaker"):
        board_device("abacus")


# Scales and export


@given(st.floats(1e-6, 10), st.sampled_from(sorted(scales.SCALES)), st.integers(1, 256))
def test_multiplier_is_the_nearest_in_its_range(weight: float, name: str, d_model: int) -> None:
    scale = scales.SCALES[name]
    step = scale.input_step or scales.norm_step(d_model)
    exact = weight * step * 2.0 ** (NUMBERS.scale_frac + scale.output_frac)
    m = scales.multiplier(weight, scale, d_model)
    assert 1 <= m <= 32767
    assert abs(m - min(max(exact, 1), 32767)) <= 0.5


def test_norm_has_unit_deviation(rng: np.random.Generator) -> None:
    """Of normally distributed values whose magnitudes are scaled to 4096 together."""
    values = rng.normal(0, 3, 200_000)
    counts = values * 4096 / np.abs(values).sum()
    assert (counts * scales.norm_step(len(values))).std() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("name", "unit"), [
    ("forget", 16), ("candidate", 16), ("gate", 16), ("mix_out", 0.5 * 64 / 32),
    ("glu_gate", 16), ("glu_up", 256), ("glu_down", 0.5 * 64 / 16),
])
def test_scales_follow_the_number_formats(name: str, unit: float) -> None:
    """Output counts per input count: table 1/16, residual 1/64, GLU 1/256; u 1/32, v 1/16.

    Halved for the residual stream, whose unit is free; per unit of a norm's output for the others.
    """
    scale = scales.SCALES[name]
    assert (scale.input_step is None) == (name not in ("mix_out", "glu_down"))
    assert (scale.input_step or 1) * 2**scale.output_frac == pytest.approx(unit, rel=1e-12)


def test_scales_cover_every_matrix_in_order() -> None:
    assert tuple(scales.SCALES) == MATRICES


def random_arrays(config: ModelConfig, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What a network hands to the export, with values beyond every range too."""
    d, hidden = config.d_model, config.d_hidden
    shapes = {"glu_gate": (hidden, d), "glu_up": (hidden, d), "glu_down": (d, hidden)}
    arrays: dict[str, np.ndarray] = {
        "embedding": rng.integers(-1, 2, (config.vocab_size, d), np.int8),
        "embed_scale": np.array(0.4), "head_gain": np.array(0.9),
        "head_tap": np.array(0.3), "head_bias": rng.normal(0, 2, config.vocab_size),
    }
    for i in range(config.n_layers):
        for name in MATRICES:
            arrays[f"layers.{i}.{name}"] = rng.integers(-1, 2, shapes.get(name, (d, d)), np.int8)
            arrays[f"layers.{i}.{name}.weight"] = np.array(rng.uniform(0.02, 0.2))
        for name, spread in (("tap_now", 0.8), ("tap_prev", 0.8), ("forget_bias", 6)):
            arrays[f"layers.{i}.{name}"] = rng.normal(0, spread, d)
        arrays[f"layers.{i}.glu_tap"] = np.array((0.2, 5, -1)[i % 3])
    return arrays


def test_export_rounds_to_nearest_and_clips(rng: np.random.Generator) -> None:
    config = dataclasses.replace(SMALL, n_layers=3)
    arrays = random_arrays(config, rng)
    model = build_model(config, tuple("abcdefghijklmnopqrst"), arrays, {"made": "here"})
    assert model.provenance["made"] == "here"
    assert model.embed_scale == round(0.4 * 64)
    # The head's logits are 0.9 / sqrt(d) for each unit of the norm's output.
    assert abs(model.head_scale - 0.9 / 32**0.5 * scales.norm_step(32) * 2**21) <= 0.5
    assert model.head_tap == round(0.3 * 128)
    assert [layer.glu_tap for layer in model.layers] == [round(0.2 * 128), 127, 1]
    for i, layer in enumerate(model.layers):
        for name, unit in (("tap_now", 128), ("tap_prev", 128), ("forget_bias", 16)):
            exact = np.clip(arrays[f"layers.{i}.{name}"] * unit, -128, 127)
            assert np.abs(getattr(layer, name) - exact).max() <= 0.5
        for name in MATRICES:
            assert (getattr(layer, name).trits == arrays[f"layers.{i}.{name}"]).all()
    assert np.abs(model.head_bias - arrays["head_bias"] * 64).max() <= 0.5


# The network and its training, with PyTorch


def test_scan_is_the_recurrence_and_has_its_gradient(torch_side: SimpleNamespace) -> None:
    torch = torch_side.torch
    generator = torch.Generator().manual_seed(3)
    f, c, h0 = (torch.rand(shape, generator=generator, dtype=torch.float64, requires_grad=True)
                for shape in ((7, 2, 5), (7, 2, 5), (2, 5)))
    weights = torch.rand((7, 2, 5), generator=generator, dtype=torch.float64)

    h, states = h0, []
    for t in range(7):
        h = f[t] * h + (1 - f[t]) * c[t]
        states.append(h)
    plain = torch.autograd.grad((torch.stack(states) * weights).sum(), (f, c))

    scanned = torch.ops.trilight.scan(f, c, h0)
    torch.testing.assert_close(scanned, torch.stack(states))
    ours = torch.autograd.grad((scanned * weights).sum(), (f, c))
    for got, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(got, expected)


def test_state_carries_on_where_a_window_ends(torch_side: SimpleNamespace) -> None:
    torch = torch_side.torch
    torch.manual_seed(1)
    network = torch_side.network.Network(SMALL, bf16=False)
    tokens = torch.randint(0, SMALL.vocab_size, (12, 3))
    whole, _ = network(tokens, network.start(3))
    first, state = network(tokens[:5], network.start(3))
    second, _ = network(tokens[5:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)


def test_dropout_masks_keep_the_mean(torch_side: SimpleNamespace) -> None:
    torch = torch_side.torch
    network = torch_side.network.Network(SMALL, bf16=False)
    masks = network.draw_masks(400, 0.25, torch.Generator().manual_seed(2))
    assert masks.mix.shape == (2, 400, 32)
    assert masks.glu.shape == (2, 400, 24)
    assert masks.glu.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert masks.glu.mean().item() == pytest.approx(1, abs=0.02)


def test_network_agrees_with_the_integer_reference(torch_side: SimpleNamespace) -> None:
    """The logits differ by the roundings of activations only."""
    torch = torch_side.torch
    torch.manual_seed(4)
    config = ModelConfig(vocab_size=20, d_model=64, n_layers=2, d_hidden=48)
    network = torch_side.network.Network(config, bf16=False)
    model = build_model(config, tuple("abcdefghijklmnopqrst"), network.arrays(), {})
    tokens = torch.randint(0, config.vocab_size, (40, 4))
    with torch.no_grad():
        logits, _ = network(tokens, network.start(4))
    reference = ReferenceModel(model, 4)
    integers = np.stack([reference.step(row) for row in tokens.numpy()])
    nats = log_softmax(integers)
    expected = torch.log_softmax(logits.double(), -1).numpy()
    spread = expected.std()
    assert np.abs(nats - expected).mean() < 0.1 * spread
    assert np.corrcoef(nats.ravel(), expected.ravel())[0, 1] > 0.99


def options(torch_side: SimpleNamespace, **changes: object) -> object:
    settings = {"characters": 60 * 16 * 32, "bptt_length": 32, "seed": 7, **changes}
    return torch_side.options.Options(**settings)


def small_config(corpus: Corpus) -> ModelConfig:
    return ModelConfig(vocab_size=len(corpus.vocab), d_model=32, n_layers=2, d_hidden=24)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_lowers_the_loss_and_integers_follow(
        torch_side: SimpleNamespace, corpus: Corpus, optimizer: str) -> None:
    config = small_config(corpus)
    trainer = torch_side.trainer.Trainer(
        config, corpus, options(torch_side, characters=120_000, optimizer=optimizer))
    measure = torch_side.loss.stateful_loss
    before = measure(trainer.result(), corpus.held_out)
    losses: list[float] = []
    assert trainer.run(report=lambda now: losses.append(now.loss), stop=lambda: False)
    after = measure(trainer.result(), corpus.held_out)
    counts = np.bincount(corpus.held_out, minlength=config.vocab_size)
    frequencies = counts[counts > 0] / counts.sum()
    without_context = -(frequencies * np.log(frequencies)).sum()
    assert after < without_context < before + 0.5
    assert after < before - 1
    assert len(losses) == trainer.options.steps
    model = build_model(config, corpus.vocab, trainer.result().arrays(), {})
    assert abs(evaluate(model, corpus.held_out_text)["nats_per_char"] - after) < 0.02


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resuming_gives_the_same_weights(
        torch_side: SimpleNamespace, corpus: Corpus, tmp_path: Path, optimizer: str) -> None:
    torch, trainer_of = torch_side.torch, torch_side.trainer.Trainer
    path = tmp_path / "run" / "checkpoint.pt"
    settings = options(torch_side, optimizer=optimizer)
    whole = trainer_of(small_config(corpus), corpus, settings)
    whole.run(report=lambda now: None, stop=lambda: False)

    part = trainer_of(small_config(corpus), corpus, settings)
    assert not part.run(report=lambda now: None, stop=lambda: part.step == 37, checkpoint=path)
    torch.manual_seed(999)
    rest = trainer_of.resume(path, corpus)
    assert rest.step == 37
    assert rest.run(report=lambda now: None, stop=lambda: False)

    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, rest.network.state_dict()[name]), name
    assert rest.loss == whole.loss
    assert list(path.parent.iterdir()) == [path]


def test_another_seed_gives_another_model(torch_side: SimpleNamespace, corpus: Corpus) -> None:
    def trained(seed: int) -> Model:
        trainer = torch_side.trainer.Trainer(
            small_config(corpus), corpus, options(torch_side, seed=seed))
        for _ in range(3):
            trainer.advance()
        return build_model(trainer.config, corpus.vocab, trainer.network.arrays(), {})

    assert trained(1).sha256 == trained(1).sha256 != trained(2).sha256


def reader_of(torch_side: SimpleNamespace, corpus: Corpus, seed: int = 7) -> Any:
    distillation = torch_side.distill.DistillationData(corpus.train)
    return torch_side.reader.Reader(distillation, batch_size=16, bptt_length=32, seed=seed)


def test_every_pass_reads_each_window_once(torch_side: SimpleNamespace, corpus: Corpus) -> None:
    reader = reader_of(torch_side, corpus)
    for number in range(2):
        chunks = [reader.chunk(number * reader.chunks + i) for i in range(reader.chunks)]
        assert [chunk.first for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
        for chunk in chunks:
            assert (chunk.tokens[1:] == chunk.targets[:-1]).all()
        seen = np.concatenate([chunk.tokens.numpy() for chunk in chunks])
        following = np.concatenate([chunk.targets.numpy() for chunk in chunks])
        assert (seen[1:] == following[:-1]).all()
        unread = len(corpus.train) - seen.size
        assert 0 < unread < 16 * (32 + 1)


def test_passes_and_seeds_start_at_other_places(
        torch_side: SimpleNamespace, corpus: Corpus) -> None:
    def first_window(seed: int, passes: int) -> bytes:
        reader = reader_of(torch_side, corpus, seed)
        tokens: bytes = reader.chunk(passes * reader.chunks).tokens.numpy().tobytes()
        return tokens

    assert first_window(1, 0) == first_window(1, 0)
    assert len({first_window(seed, passes) for seed in (1, 2) for passes in (0, 1)}) == 4


@pytest.mark.parametrize(("change", "message"), [
    ({"version": 99}, "must be of version 4, not 99"),
    ({"corpus": "0" * 64}, "was made with another corpus"),
    (None, "is damaged or no checkpoint"),
])
def test_checkpoint_that_does_not_belong_is_refused(
        torch_side: SimpleNamespace, corpus: Corpus, tmp_path: Path,
        change: dict[str, object] | None, message: str) -> None:
    path = tmp_path / "checkpoint.pt"
    torch_side.trainer.Trainer(small_config(corpus), corpus, options(torch_side)).save(path)
    if change is None:
        path.write_bytes(path.read_bytes()[:1000])
    else:
        found = torch_side.torch.load(path, weights_only=True)
        torch_side.torch.save({**found, **change}, path)
    with pytest.raises(CheckpointError, match=message):
        torch_side.trainer.Trainer.resume(path, corpus)


def test_checkpoint_that_cannot_be_written_ends_before_the_first_step(
        torch_side: SimpleNamespace, corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    trainer = torch_side.trainer.Trainer(small_config(corpus), corpus, options(torch_side))
    with pytest.raises(CheckpointError, match=r"cannot be written: .*name another folder"):
        trainer.run(report=lambda now: None, stop=lambda: False,
                    checkpoint=tmp_path / "file" / "checkpoint.pt")
    assert trainer.step == 0


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that takes so many bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_leaves_the_checkpoint_before_whole(
        torch_side: SimpleNamespace, corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    trainer = torch_side.trainer.Trainer(small_config(corpus), corpus, options(torch_side))
    trainer.advance()
    trainer.save(path)
    trainer.advance()
    with (largest_file(path.stat().st_size // 2),
          pytest.raises(CheckpointError, match="cannot be written: File too large; make room")):
        trainer.save(path)
    assert torch_side.trainer.Trainer.resume(path, corpus).step == 1
    assert list(tmp_path.glob("checkpoint*")) == [path]


def test_full_disk_at_the_end_loses_no_training(
        torch_side: SimpleNamespace, text: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "m.safetensors"
    save = Model.save

    def full(model: Model, path: Path) -> None:
        with largest_file(100):
            save(model, path)

    monkeypatch.setattr(Model, "save", full)
    result = run_command("--corpus", text, "--out", out, "--characters", 4_000, *SHAPE)
    assert isinstance(result.exception, TrainingError)
    assert f"cannot write {out}: File too large; the training is kept" in str(result.exception)
    monkeypatch.setattr(Model, "save", save)
    assert run_command("--corpus", text, "--out", out, "--resume").exit_code == 0
    assert Model.load(out).provenance["characters_seen"] == 4_096


def test_loss_that_is_no_number_ends_the_training(
        torch_side: SimpleNamespace, corpus: Corpus) -> None:
    trainer = torch_side.trainer.Trainer(small_config(corpus), corpus, options(torch_side))
    with torch_side.torch.no_grad():
        trainer.network.head_bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss of step 0 is nan; delete the checkpoint"):
        trainer.advance()


def test_learning_rate_rises_then_falls(torch_side: SimpleNamespace) -> None:
    chosen = torch_side.options.Options(characters=1000 * 16 * 128)
    rates = [chosen.rate(step) for step in range(chosen.steps)]
    top = rates.index(max(rates))
    assert top == chosen.warmup - 1
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(chosen.learning_rate, rel=0.05)
    assert rates[-1] == pytest.approx(0.02 * chosen.learning_rate, rel=0.05)


# The command


def run_command(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(command.train_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


SHAPE = ("--d-model", 32, "--layers", 2, "--hidden", 24, "--threads", 1, "--precision", "fp32")


def test_command_without_pytorch_says_what_to_install(
        text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    result = run_command("--corpus", text, "--out", tmp_path / "m.safetensors",
                         "--characters", 1, *SHAPE)
    assert isinstance(result.exception, TrainingError)
    assert str(result.exception).endswith('-m pip install "trilight[train]"')


@pytest.mark.parametrize(("arguments", "message"), [
    (("--characters", 5, "--minutes", 1), "--characters and --minutes exclude each other"),
    (("--out", "."), "--out must name a file, not the folder ."),
    (("--out", "nowhere/m.safetensors"), "the folder of --out, nowhere, does not exist"),
    (("--resume",), "cannot be read: No such file or directory; train without --resume"),
    (("--d-model", 200), "3 * d_model: 600 needed, 512 present"),
])
def test_command_refuses_before_it_trains(
        torch_side: SimpleNamespace, text: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_command("--corpus", text, "--out", "m.safetensors", "--threads", 1, *arguments)
    assert isinstance(result.exception, TrilightError)
    assert message in str(result.exception)


@pytest.mark.parametrize("faster", [True, False])
def test_command_warns_of_products_that_are_emulated(
        torch_side: SimpleNamespace, text: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, *, faster: bool) -> None:
    monkeypatch.setattr(torch_side.machine, "bf16_is_faster", lambda device: faster)
    result = run_command("--corpus", text, "--out", tmp_path / "m.safetensors",
                         "--characters", 2048, *SHAPE[:-1], "bf16")
    assert result.exit_code == 0
    assert ("train from scratch with --precision auto" in result.stdout) is not faster


def test_command_keeps_an_unfinished_training(
        torch_side: SimpleNamespace, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    saved = tmp_path / "m.safetensors.checkpoint" / CHECKPOINT_NAME
    saved.parent.mkdir()
    saved.touch()
    result = run_command("--corpus", text, "--out", out, "--characters", 1, *SHAPE)
    assert "holds an unfinished training; add --resume" in str(result.exception)
    result = run_command("--corpus", text, "--out", out, "--resume", "--seed", 2, "--d-model", 64)
    assert "leave out --d-model, --seed, or train from scratch" in str(result.exception)
    assert saved.exists()


def test_command_writes_a_measured_model(
        torch_side: SimpleNamespace, text: Path, corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    result = run_command("--corpus", text, "--out", out, "--characters", 50_000, "--seed", 3,
                         "--optimizer", "muon", *SHAPE)
    assert result.exit_code == 0, result.output
    assert f"trilight generate --model {out}" in result.output.replace("\n", "")
    assert list(tmp_path.glob("*.checkpoint")) == []
    model = Model.load(out)
    about = model.provenance
    assert about["corpus_sha256"] == corpus.sha256
    assert about["characters_seen"] == about["steps"] * 16 * 128
    assert "--characters 50000" in about["command"]
    assert "--seed 3" in about["command"]
    assert "--state-reset 0.125" in about["command"]
    assert "--optimizer muon" in about["command"]
    for key, protocol in (("quality", "stateful"), ("quality_windows", "windows")):
        measured = evaluate(model, corpus.held_out_text, protocol)
        assert about[key] == {**measured, "dataset": "words.txt", "split": "last 10 %"}
    assert about["float_to_integer_gap"] == (
        about["quality"]["nats_per_char"] - about["float_nats_per_char"])
    assert about["weight_memory_fill"] == shape.memory_fill(model.config, DEVICE)


def test_ctrl_c_saves_and_resume_ends_alike(
        torch_side: SimpleNamespace, text: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    def train(out: str, *more: object) -> Result:
        return run_command("--corpus", text, "--out", tmp_path / out, *more)

    assert train("whole.safetensors", "--characters", 50_000, *SHAPE).exit_code == 0
    advance, done = torch_side.trainer.Trainer.advance, []

    def interrupted(trainer: Any) -> float:
        done.append(advance(trainer))
        if len(done) == 9:
            signal.raise_signal(signal.SIGINT)
        return done[-1]

    monkeypatch.setattr(torch_side.trainer.Trainer, "advance", interrupted)
    first = train("parts.safetensors", "--characters", 50_000, *SHAPE)
    assert first.exit_code == 130
    assert len(done) == 9
    assert f"Stopped after {9 * 16 * 128:,} characters" in first.output
    assert not (tmp_path / "parts.safetensors").exists()
    assert "--resume" in first.output
    assert train("parts.safetensors", "--resume").exit_code == 0
    digests = [Model.load(tmp_path / f"{name}.safetensors").sha256 for name in ("whole", "parts")]
    assert digests[0] == digests[1]


def test_a_higher_limit_makes_more_zeros(torch_side: SimpleNamespace, corpus: Corpus) -> None:
    def trits(limit: float) -> tuple[Any, Any]:
        trainer = torch_side.trainer.Trainer(
            small_config(corpus), corpus, options(torch_side, ternary_threshold=limit))
        network = trainer.result()
        gate = network.layers[0].gate.detach()
        return network.arrays()["layers.0.gate"], (gate / gate.abs().mean()).numpy()

    for limit in (0.5, 0.8, 1.5):
        found, real = trits(limit)
        assert (found == np.where(np.abs(real) > limit, np.sign(real), 0)).all()
    assert len(np.unique(found)) == 3


@pytest.mark.parametrize("state_reset", [0.0, 0.25, 1.0])
def test_restarts_clear_that_share_of_the_states(
        torch_side: SimpleNamespace, corpus: Corpus, state_reset: float) -> None:
    trainer = torch_side.trainer.Trainer(
        small_config(corpus), corpus, options(torch_side, state_reset=state_reset))
    forward, cleared = trainer._forward, []

    def watched(tokens: Any, state: Any, masks: Any) -> Any:
        cleared.append(np.all([(part.numpy() == 0).all(axis=(0, 2)) for part in state], axis=0))
        return forward(tokens, state, masks)

    trainer._forward = watched
    chunks = trainer._readers[0].chunks
    assert chunks > 20
    for _ in range(chunks):
        trainer.advance()
    assert cleared[0].all()
    share = np.mean(cleared[1:])
    assert (
        abs(share - state_reset)
        <= 4 * (state_reset * (1 - state_reset) / 16 / (chunks - 1)) ** 0.5
    )


def test_muon_makes_steps_without_a_direction_of_their_own(
        torch_side: SimpleNamespace, corpus: Corpus) -> None:
    """No singular value of a matrix's step stands out; AdamW's first step is the rate."""
    settings = options(torch_side, optimizer="muon", weight_decay=0.0)
    trainer = torch_side.trainer.Trainer(small_config(corpus), corpus, settings)
    before = {name: value.detach().numpy().copy()
              for name, value in trainer.network.named_parameters()}
    trainer.advance()
    rate = settings.rate(0)
    for name, value in trainer.network.named_parameters():
        step = (value.detach().numpy() - before[name]) / rate
        if value.ndim == 2 and name != "embedding":
            # Its root mean square is to be 0.2, that of AdamW's steps in the long run.
            spread = np.linalg.svd(step, compute_uv=False) / (0.2 * max(step.shape) ** 0.5)
            assert 0.7 < spread.max() < 1.3, name
        elif name in ("embedding", "layers.0.tap_now"):
            moved = np.abs(step[step != 0])
            assert moved.max() < 1.001, name
            assert np.median(moved) > 0.9, name


def test_minutes_become_characters(torch_side: SimpleNamespace, corpus: Corpus) -> None:
    arguments = (small_config(corpus), corpus, options(torch_side))
    per_minute = torch_side.machine.characters_in(1.0, *arguments)
    assert per_minute > 0
    assert torch_side.machine.characters_in(50.0, *arguments) > 5 * per_minute


def test_batch_and_context(torch_side: SimpleNamespace, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    result = run_command("--corpus", text, "--out", out, "--batch", 8, "--context", 40,
                         "--characters", 3_200, *SHAPE)
    assert result.exit_code == 0, result.output
    about = Model.load(out).provenance
    assert (about["steps"], about["characters_seen"]) == (10, 3_200)
    assert "--batch 8 --context 40" in about["command"]


def test_sub_words_from_text_to_text(torch_side: SimpleNamespace, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="sub-words need tokenizers: pip install "
                                             "'trilight[tokens]'")
    text, out = write_text(tmp_path / "words.txt", sentences=3_000), tmp_path / "m.safetensors"
    teacher = tmp_path / "teacher.safetensors"
    sizes = ("--d-model", 32, "--layers", 2, "--hidden", 24, "--subwords", 300)
    result = run_command("--corpus", text, "--out", teacher, "--network", "float",
                         "--characters", 40_000, "--board", "ulx3s-85f-sdram", *sizes)
    assert result.exit_code == 0, result.output
    result = run_command("--corpus", text, "--out", out, "--teacher", teacher, "--characters",
                         200_000, "--board", "ulx3s-85f-sdram", *sizes)
    assert result.exit_code == 0, result.output
    assert "nats/token" in result.output
    model = Model.load(out)
    written = text.read_text("utf-8")
    assert len(model.vocab) == len(set(model.vocab)) <= 300
    # The words of the corpus are tokens, and nothing of the held-out part is lost.
    assert any("ember" in token for token in model.vocab)
    held_out = written[len(written) * 9 // 10:]
    assert model.decode(model.encode(held_out)) == held_out
    quality = model.provenance["quality"]
    assert quality["bytes_scored"] > 2 * quality["characters_scored"]
    # A vocabulary of nine words costs log2 9 bits, and a word has more than four bytes.
    assert quality["bits_per_byte"] < 2
    assert f"--subwords {len(model.vocab)}" in model.provenance["command"]
    assert model.encode("\u00e6\U0001f600")


def test_more_sub_words_than_the_board_holds(torch_side: SimpleNamespace, text: Path,
                                             tmp_path: Path) -> None:
    result = run_command("--corpus", text, "--out", tmp_path / "m.safetensors",
                         "--subwords", 30_000)
    assert isinstance(result.exception, CorpusError)
    assert f"a vocabulary of {DEVICE.max_vocab} tokens, not 30,000" in str(result.exception)
