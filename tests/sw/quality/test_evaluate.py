"""Quality figures, against closed forms and a plain loop."""

import dataclasses
import hashlib
import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import EvaluationError, UnknownCharacterError
from trilight.sw.model.model import Model
from trilight.sw.quality.evaluate import evaluate, log_softmax, quality
from trilight.sw.reference.model import ReferenceModel

VOCAB = "abcdeé€😀"
CONFIG = ModelConfig(vocab_size=len(VOCAB), d_model=12, n_layers=2, d_hidden=9)


@pytest.fixture
def model(seed: int) -> Model:
    return dataclasses.replace(Model.random(CONFIG, seed), vocab=tuple(VOCAB))


@pytest.fixture
def text(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(VOCAB), 600))


def biased(model: Model, bias: np.ndarray) -> Model:
    """A model whose logits are its bias: zero embeddings leave every stage at zero."""
    return dataclasses.replace(model, embedding=np.zeros_like(model.embedding), head_bias=bias)


def constant_loss(bias: np.ndarray, text: str) -> float:
    """Nats of a text's characters when the logits are always ``bias``."""
    total = math.log(sum(math.exp(b / 64) for b in bias))
    return sum(total - bias[VOCAB.index(character)] / 64 for character in text)


def plain_loss(model: Model, text: str) -> float:
    """Nats of each character of a text but the first, from zero state, one by one."""
    reference, nats = ReferenceModel(model), 0.0
    for fed, wanted in pairwise(text):
        logits = (reference.step([VOCAB.index(fed)])[0] / 64).tolist()
        nats += math.log(sum(map(math.exp, logits))) - logits[VOCAB.index(wanted)]
    return nats


@pytest.mark.parametrize("protocol", ["stateful", "windows"])
def test_constant_prediction(model: Model, text: str, protocol: str,
                             rng: np.random.Generator) -> None:
    bias = rng.integers(-200, 200, len(VOCAB))
    constant = biased(model, bias)
    result = evaluate(constant, text, protocol, streams=1)
    scored = text[1:]
    nats = constant_loss(bias, scored)
    assert result["characters_scored"] == len(scored)
    assert result["bytes_scored"] == len(scored.encode())
    assert result["nats_per_char"] == pytest.approx(nats / len(scored))
    assert result["bits_per_char"] == pytest.approx(nats / math.log(2) / len(scored))
    assert result["bits_per_byte"] == pytest.approx(nats / math.log(2) / len(scored.encode()))


def test_uniform_prediction(model: Model, text: str) -> None:
    uniform = biased(model, np.zeros(len(VOCAB), int))
    for result in quality(uniform, text, streams=7).values():
        assert result["nats_per_char"] == pytest.approx(math.log(8))
        assert result["bits_per_char"] == pytest.approx(3)


@pytest.mark.parametrize("streams", [1, 7, 300])
def test_streams_carry_state(model: Model, text: str, streams: int) -> None:
    length = len(text) // streams
    pieces = [text[i * length:(i + 1) * length] for i in range(streams)]
    nats = sum(plain_loss(model, piece) for piece in pieces)
    result = evaluate(model, text, "stateful", streams=streams)
    assert result["streams"] == streams
    assert result["characters_scored"] == streams * (length - 1)
    assert result["bytes_scored"] == sum(len(piece[1:].encode()) for piece in pieces)
    assert result["nats_per_char"] == pytest.approx(nats / (streams * (length - 1)), rel=1e-12)


@pytest.mark.parametrize("length", [2, 256, 257, 258, 600])
@pytest.mark.parametrize("at_a_time", [1, 64])
def test_blocks_start_from_zero(model: Model, text: str, length: int, at_a_time: int) -> None:
    text = text[:length]
    nats = sum(plain_loss(model, text[start:start + 257]) for start in range(0, length - 1, 256))
    result = evaluate(model, text, "windows", streams=at_a_time)
    assert result["window_characters"] == 256
    assert result["characters_scored"] == length - 1
    assert result["nats_per_char"] == pytest.approx(nats / (length - 1), rel=1e-12)


def test_protocols_differ_by_state_only(model: Model, text: str) -> None:
    results = quality(model, text, streams=1)
    assert list(results) == ["stateful", "windows"]
    assert [result["protocol"] for result in results.values()] == list(results)
    assert results["stateful"]["nats_per_char"] != results["windows"]["nats_per_char"]
    short = quality(model, text[:257], streams=1)
    assert short["stateful"]["nats_per_char"] == short["windows"]["nats_per_char"]


def test_result_is_json_and_names_its_inputs(model: Model, text: str) -> None:
    result = evaluate(model, text)
    assert json.loads(json.dumps(result)) == result
    assert result["model_sha256"] == model.sha256
    assert result["text_sha256"] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("protocol", ["stateful", "windows"])
def test_progress_reaches_the_end(model: Model, text: str, protocol: str) -> None:
    calls: list[tuple[int, int]] = []
    result = evaluate(model, text, protocol, streams=2,
                      progress=lambda done, total: calls.append((done, total)))
    scored = result["characters_scored"]
    done = [now for now, _ in calls]
    assert done == sorted(set(done))
    assert {total for _, total in calls} == {scored}
    assert calls[-1] == (scored, scored)


def test_log_softmax_of_large_logits() -> None:
    logits = np.array([[32767, 32767, -32768], [0, 64, 0]], np.int32)
    result = log_softmax(logits)
    assert result[0].tolist() == pytest.approx([-math.log(2), -math.log(2),
                                                -65535 / 64 - math.log(2)])
    assert result[1].tolist() == pytest.approx(
        [z - math.log(2 + math.e) for z in (0, 1, 0)])


@pytest.mark.parametrize(("text", "arguments", "message"), [
    ("abc", {"protocol": "guess"}, "protocol must be stateful or windows, not 'guess'"),
    ("abc", {"streams": 0}, "streams must be positive, not 0"),
    ("abc", {"streams": 2}, "a text must have at least 4 characters for the protocol 'stateful', "),
    ("a", {"protocol": "windows"},
     "a text must have at least 2 characters for the protocol 'windows', not 1; take a longer one"),
])
def test_illegal_evaluation(model: Model, text: str, arguments: dict[str, Any],
                            message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate(model, text, **arguments)
    assert str(caught.value).startswith(message)


def test_unknown_characters(model: Model) -> None:
    with pytest.raises(UnknownCharacterError, match="'z'"):
        evaluate(model, "abz" * 100)
