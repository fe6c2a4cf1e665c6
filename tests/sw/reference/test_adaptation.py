"""Learning while reading: against a plain account of it, its limits, and what it is good for."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import EvaluationError, TokenError
from trilight.sw.model.model import Model
from trilight.sw.quality.adaptive import adaptive_summary, line_bits, read_losses
from trilight.sw.quality.evaluate import character_losses
from trilight.sw.reference.adaptation import Adaptation, hashed_row
from trilight.sw.reference.sampler import Sampler

V = 19


@pytest.mark.parametrize(("rows", "token_rows"), [(0, 0), (4, 0), (64, 8), (0, 1)])
def test_biases_are_the_counts_of_what_came_less_what_was_drawn(
        rows: int, token_rows: int, rng: np.random.Generator) -> None:
    def rows_of(token: int, before: int) -> list[tuple[int, int]]:
        pair = [(2, (17 * token + 5 * before) % rows)] if rows else []
        return [(1, token % token_rows if token_rows else token), *pair]

    adaptation = Adaptation(V, rows=rows, token_rows=token_rows, seed=5)
    sampler = Sampler(5, 1.0)
    counts: defaultdict[tuple[tuple[int, int], int], int] = defaultdict(int)
    token = before = 0
    drawn: int | None = None
    for _ in range(400):
        came = int(rng.integers(V))
        if drawn is not None:
            for row in rows_of(token, before):
                counts[row, came] += 1
                counts[row, drawn] -= 1
        before, token = token, came
        adaptation.read(came)
        logits = rng.integers(-300, 300, V).astype(np.int32)
        bias = [sum(counts[row, v] for row in rows_of(token, before)) for v in range(V)]
        expected = logits + 8 * np.array(bias)
        assert (adaptation.biased(logits) == expected).all()
        drawn = None
        if rng.random() < 0.8:  # after a token that was generated nothing is drawn
            adaptation.draw(expected)
            drawn = sampler.sample(expected)
    assert rows == 0 or hashed_row(3, 2, rows) == (3 * 17 + 2 * 5) % rows


def test_biases_and_logits_saturate() -> None:
    adaptation = Adaptation(V, seed=1)
    adaptation.first[:, 3] = 127
    adaptation.first[:, 4] = -128
    adaptation.read(0)
    adaptation._drawn = 4
    adaptation.read(3)
    assert adaptation.first[0, 3] == 127
    assert adaptation.first[0, 4] == -128
    logits = np.full(V, 32767, np.int32)
    biased = adaptation.biased(logits)
    assert biased[3] == 32767
    assert biased[4] == 32767 - 8 * 128
    assert adaptation.biased(-logits - 1)[4] == -32768


def test_what_was_learnt_is_saved_and_restored(rng: np.random.Generator) -> None:
    adaptation = Adaptation(V, rows=8, seed=2)
    adaptation.first[...] = rng.integers(-128, 128, adaptation.first.shape)
    adaptation.second[...] = rng.integers(-128, 128, adaptation.second.shape)
    data = adaptation.to_bytes()
    again = Adaptation.from_bytes(data, V, rows=8, seed=2)
    assert again.to_bytes() == data
    again.read(7)
    again.reset()
    assert not any(again.to_bytes())
    with pytest.raises(ValueError, match="take 513 bytes, not 512"):
        Adaptation.from_bytes(data[:-1], V, rows=8)
    for rows in ({"rows": 6}, {"token_rows": 6}):
        with pytest.raises(ValueError, match="power of two"):
            Adaptation(V, **rows)
    with pytest.raises(TokenError, match="must be in"):
        again.read(V)


@pytest.fixture
def model(rng: np.random.Generator) -> Model:
    config = ModelConfig(vocab_size=V, d_model=24, n_layers=2, d_hidden=20)
    return replace(Model.random(config, seed=int(rng.integers(1 << 30))),
                   vocab=tuple("abcdefghijklmnopqr\n"))


def test_reading_without_learning_is_the_streamed_protocol_of_one_sequence(
        model: Model, rng: np.random.Generator) -> None:
    text = "".join(rng.choice(list(model.vocab), 300))
    nats = read_losses(model, text)
    assert np.isnan(nats[0])
    assert nats[1:] == pytest.approx(character_losses(model, text, streams=1)[1:], abs=1e-12)


def test_a_habit_is_learnt(model: Model, rng: np.random.Generator) -> None:
    """Of a text with one rule, most of what can be known of it is known after some hundred."""
    text = "".join(rng.choice(["ab", "cd", "ef"], 900))
    means = [read_losses(model, text, adaptation=adaptation)[-400:].mean() for adaptation in (
        None, Adaptation(V, seed=3), Adaptation(V, rows=64, seed=3))]
    # One of three pairs is one in three every second character.
    assert means[0] > 2
    assert all(np.log(3) / 2 < mean < 1.0 for mean in means[1:])
    assert (read_losses(model, text[:200], adaptation=Adaptation(V, seed=3))[1:]
            == read_losses(model, text[:200], adaptation=Adaptation(V, seed=3))[1:]).all()


def test_lines_add_up_to_the_text(model: Model, rng: np.random.Generator) -> None:
    text = "".join(rng.choice(list(model.vocab), 400)) + "\nab"
    nats = read_losses(model, text)
    lines = list(line_bits(text, nats))
    assert [line for line, _ in lines] == text.split("\n")
    assert sum(bits for _, bits in lines) == pytest.approx(np.nansum(nats) / np.log(2))
    summary = adaptive_summary(text, nats)
    assert summary["bits_per_byte"] * len(text[1:]) == pytest.approx(np.nansum(nats) / np.log(2))
    assert np.mean(summary["halves"]) == pytest.approx(summary["nats_per_char"], abs=0.02)
    with pytest.raises(EvaluationError, match="at least 2 characters"):
        read_losses(model, "a")


def test_progress_counts_every_character(model: Model) -> None:
    seen: list[tuple[int, int]] = []
    read_losses(model, "ab" * 1100, progress=lambda *at: seen.append(at))
    assert seen == [(1024, 2199), (2048, 2199), (2199, 2199)]
