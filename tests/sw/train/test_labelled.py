"""Training on labelled lines: what a step reads, what it weighs, and that labels are learnt."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.task.classifier import accuracy, decide
from trilight.sw.train.corpus import Corpus, read_labelled
from trilight.sw.train.export import build_model

WEIGHT = 4.0


@pytest.fixture
def torch_side() -> SimpleNamespace:
    torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install "
                                                "'trilight[train]'")
    from trilight.sw.train.options import Options
    from trilight.sw.train.reader import LineReader
    from trilight.sw.train.trainer import Trainer

    torch.set_num_threads(1)
    return SimpleNamespace(LineReader=LineReader, Options=Options, Trainer=Trainer)


@pytest.fixture
def corpus(tmp_path: Path, rng: np.random.Generator) -> Corpus:
    """Lines of random letters, labelled by whether the last is of the first half of them."""
    path = tmp_path / "lines.tsv"
    lines = ("".join(rng.choice(list("abcdefghijklmn"), rng.integers(3, 12)))
             for _ in range(2000))
    path.write_text("".join(f"{line}\t{'low' if line[-1] < 'h' else 'high'}\n" for line in lines))
    return read_labelled(path, max_vocab=64, held_out=200)


def test_a_step_reads_whole_lines_and_weighs_their_labels(
        torch_side: SimpleNamespace, corpus: Corpus) -> None:
    reader = torch_side.LineReader(
        corpus.train, newline=corpus.vocab.index("\n"), batch_size=16, label_weight=WEIGHT, seed=3)
    known = "".join(corpus.vocab[token] for token in corpus.train).split("\n")[:-1]
    again = reader.chunk(5)
    for step in range(12):
        chunk = reader.chunk(step)
        assert chunk.first
        assert chunk.soft is None
        tokens, targets, weights = (part.numpy() for part in (
            chunk.tokens, chunk.targets, chunk.weights))
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        at_labels = 0.0
        for column in range(16):
            text = "".join(corpus.vocab[t] for t in (tokens[0, column], *targets[:, column]))
            line = text.rstrip("\n")
            assert line in known
            scored = weights[:, column] > 0
            assert scored.tolist() == [n < len(line) - 1 for n in range(len(scored))]
            assert corpus.vocab[tokens[len(line) - 2, column]] == "\t"
            at_labels += weights[len(line) - 2, column]
        assert at_labels == pytest.approx(WEIGHT / (WEIGHT + 1), abs=1e-5)
        if step == 5:  # a resumed training reads the same
            assert (tokens == again.tokens.numpy()).all()


def test_labels_are_learnt(torch_side: SimpleNamespace, corpus: Corpus) -> None:
    config = ModelConfig(vocab_size=len(corpus.vocab), d_model=24, n_layers=1, d_hidden=20)
    trainer = torch_side.Trainer(config, corpus, torch_side.Options(
        label_weight=WEIGHT, batch_size=32, bptt_length=10, characters=32 * 10 * 400,
        ema_decay=0.9, dropout=0.0, seed=2))
    for _ in range(trainer.options.steps):
        trainer.advance()
    model = build_model(config, corpus.vocab, trainer.result().arrays(),
                        {"labels": dict(corpus.labels)})
    decided = decide(model, [line.text for line in corpus.held_out_lines])
    assert accuracy(decided, corpus.held_out_lines)["accuracy"] > 0.9
