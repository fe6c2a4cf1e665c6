"""Sub-word tokens: any text is tokens, half characters wait, a model file keeps its tokenizer."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.errors import ModelError
from trilight.sw.host.driver import Board
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.model.model import Model
from trilight.sw.model.subword import SubwordTokenizer, TextDecoder, byte_alphabet, train_subwords
from trilight.sw.quality.evaluate import evaluate
from trilight.sw.reference.continuation import continue_text

TEXT = "the cat and the hat, the thing and the sting; été, naïve, größer\n" * 20
SIZE = 300
PROMPTS = ["the cat", "été", "日本語 🙂", "\x00\x7f\u0301"]


@pytest.fixture(scope="module")
def tokenizer() -> str:
    return train_subwords([TEXT], SIZE)


@pytest.fixture(scope="module")
def model(tokenizer: str, seed: int) -> Model:
    size = len(SubwordTokenizer(tokenizer).vocab)
    assert 256 < size <= SIZE
    return Model.random(ModelConfig(vocab_size=size, d_model=32, n_layers=1, d_hidden=32), seed,
                        tokenizer)


def test_the_alphabet_is_that_of_the_package() -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    assert set(byte_alphabet()) == set(ByteLevel.alphabet())
    assert sorted(byte_alphabet().values()) == list(range(256))


def test_any_text_is_tokens_and_back(model: Model, rng: np.random.Generator) -> None:
    # Characters of any plane, but for surrogates, which no UTF-8 text has.
    codes = [int(code) for code in rng.integers(1, 0x110000, 200) if not 0xD800 <= code < 0xE000]
    for text in [*PROMPTS, "".join(map(chr, codes))]:
        tokens = model.encode(text)
        assert model.decode(tokens) == text
        assert b"".join(model.token_bytes[token] for token in tokens) == text.encode()
    assert len(model.encode("the the the")) < len("the the the")


def test_half_characters_wait(rng: np.random.Generator) -> None:
    text = "aé日🙂"
    for _ in range(10):
        decoder, data, shown = TextDecoder(), text.encode(), ""
        while data:
            size = int(rng.integers(1, 4))
            piece = decoder.feed(data[:size])
            assert "\ufffd" not in piece
            shown, data = shown + piece, data[size:]
        assert shown + decoder.end() == text
    assert TextDecoder().feed(b"\xc3(") == "\ufffd("


def test_a_file_keeps_the_tokenizer(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "a")
    again = Model.load(tmp_path / "a")
    assert again.tokenizer == model.tokenizer
    assert again.vocab == model.vocab
    assert again.encode(PROMPTS[2]) == model.encode(PROMPTS[2])
    with pytest.raises(ModelError, match="vocab must be the tokenizer's"):
        dataclasses.replace(model, vocab=model.vocab[::-1])


def test_texts_come_whole_from_a_device(model: Model, seed: int) -> None:
    device = dataclasses.replace(board_device(), max_vocab=512, program_words=1024)
    with Board(ReferenceTransport(device)) as board:
        board.load(model)
        for prompt in PROMPTS:
            tokens = list(board.generate(prompt, tokens=12, temperature=1.0, seed=seed))
            assert [token.id for token in tokens] == continue_text(
                model, prompt, 12, seed=seed, temperature=1.0, noise=device.noise)
            decoder = TextDecoder()
            data = b"".join(model.token_bytes[token.id] for token in tokens)
            assert "".join(token.text for token in tokens) == decoder.feed(data)


def test_bits_per_byte_count_bytes(model: Model) -> None:
    found = evaluate(model, TEXT, "stateful", streams=2)
    tokens = model.encode(TEXT)
    # The first token of each stream is not scored.
    skipped = [tokens[0], tokens[len(tokens) // 2]]
    maximum = len(TEXT.encode())
    assert maximum - 2 * max(len(model.token_bytes[token]) for token in tokens) - 1 \
        <= found["bytes_scored"] <= maximum - len(skipped)


@pytest.mark.parametrize(("source", "message"), [
    ("{", "can not be read"),
    (('{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,'
     '"pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{"type":"BPE",'
     '"vocab":{"a":0},"merges":[]}}'), "each of the 256 bytes; it lacks 255"),
])
def test_other_tokenizers_are_refused(source: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        SubwordTokenizer(source)


def test_a_vocabulary_has_all_bytes() -> None:
    with pytest.raises(ModelError, match="at least 256 tokens, one for each byte, not 255"):
        train_subwords([TEXT], 255)
