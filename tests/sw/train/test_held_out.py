"""What is measured on is never trained on: nothing that is learnt depends on the held-out part."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.train.corpus import Corpus, read_corpus

TEXT = "the cat sat on a mat, and the dog lay by the door. "


@pytest.fixture
def torch_side() -> SimpleNamespace:
    torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install "
                                                "trilight[train]")
    from trilight.sw.cli.train_targets import prepare_targets
    from trilight.sw.train.float_network import FloatNetwork
    from trilight.sw.train.options import Options
    from trilight.sw.train.trainer import Trainer

    torch.set_num_threads(1)
    return SimpleNamespace(torch=torch, prepare_targets=prepare_targets,
                           FloatNetwork=FloatNetwork, Options=Options, Trainer=Trainer)


@pytest.fixture
def twins(tmp_path: Path, rng: np.random.Generator) -> tuple[Corpus, Corpus]:
    """Two sequences with one training part, and held-out parts that differ in every character."""
    path = tmp_path / "text.txt"
    path.write_text("".join(rng.permutation(list(TEXT))) * 220)
    one = read_corpus(path, max_vocab=64)
    other = replace(one, held_out=(one.held_out + 1) % len(one.vocab),
                    held_out_text=one.held_out_text[::-1])
    assert not (one.held_out == other.held_out).any()
    return one, other


def small(corpus: Corpus) -> ModelConfig:
    return ModelConfig(vocab_size=len(corpus.vocab), d_model=16, n_layers=1, d_hidden=16)


def test_training_does_not_depend_on_the_held_out_part(
        torch_side: SimpleNamespace, twins: tuple[Corpus, Corpus]) -> None:
    found: list[dict[str, Any]] = []
    for corpus in twins:
        options = torch_side.Options(characters=len(corpus.train) * 2, batch_size=8,
                                     bptt_length=32, seed=3)
        trainer = torch_side.Trainer(small(corpus), corpus, options)
        for _ in range(len(corpus.train) // (8 * 32) + 2):  # more than once through the text
            trainer.advance()
        found.append({name: value.detach().clone()
                      for name, value in trainer.network.named_parameters()})
    one, other = found
    assert all(torch_side.torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("characters", [0, 600])
def test_teachers_see_the_training_part_alone(
        characters: int, torch_side: SimpleNamespace, twins: tuple[Corpus, Corpus],
        tmp_path: Path) -> None:
    torch_side.torch.manual_seed(1)
    network = torch_side.FloatNetwork(small(twins[0]), bf16=False)
    teacher = SimpleNamespace(network=network, sha256="0" * 64)
    found = [torch_side.prepare_targets(
        Console(quiet=True), tmp_path / str(n), [teacher], corpus, characters, "cpu")
        for n, corpus in enumerate(twins)]
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one.tokens, other.tokens)
    assert len(found[0][0].tokens) == len(twins[0].train)
