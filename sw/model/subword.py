"""Sub-word tokens: byte-level BPE, kept inside a model file as the package ``tokenizers`` has it.

Every byte is a token of its own, so every text can be written and no character is unknown. A
token's text in a vocabulary is spelled in the byte-level alphabet: a character for each byte.
"""

import codecs
import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from trilight.hw.support.extras import pip_install
from trilight.sw.errors import MissingPackageError, ModelError

__all__ = ["SubwordTokenizer", "TextDecoder", "token_bytes", "train_subwords"]

SMALLEST = 256
"""Tokens of a vocabulary at least: one for each byte."""


def _package() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise MissingPackageError(
            "models of sub-word tokens need the package tokenizers, which is not installed; run: "
            + pip_install("trilight[tokens]")) from error
    return tokenizers


@cache
def byte_alphabet() -> dict[str, int]:
    """Byte of each character of the byte-level alphabet.

    Printable characters of Latin-1 stand for themselves, the other bytes for the characters from
    U+0100 on, in order (GPT-2's table, which ``tokenizers`` has as ``ByteLevel.alphabet``).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return ({chr(byte): byte for byte in printable}
            | {chr(0x100 + k): byte for k, byte in enumerate(others)})


class SubwordTokenizer:
    """Text to sub-word tokens and back.

    Parameters
    ----------
    source
        A ``tokenizer.json`` of byte-level BPE.

    Attributes
    ----------
    vocab : tuple of str
        Tokens in the byte-level alphabet, in order.

    Raises
    ------
    ModelError
        It is no such tokenizer, or lacks the token of a byte.
    MissingPackageError
        ``tokenizers`` is not installed.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        package = _package()
        try:
            self._tokenizer = package.Tokenizer.from_str(source)
        except Exception as error:  # the package raises nothing narrower
            raise ModelError(f"tokenizer can not be read ({error}); take the model again from "
                             "where it came") from error
        numbers = self._tokenizer.get_vocab()
        if sorted(numbers.values()) != list(range(len(numbers))):
            raise ModelError("tokenizer must number its tokens from 0 on without a gap")
        self.vocab = tuple(sorted(numbers, key=lambda token: numbers[token]))
        alphabet = byte_alphabet()
        if missing := [character for character in alphabet if character not in numbers]:
            raise ModelError(f"tokenizer must have a token for each of the 256 bytes; it lacks "
                             f"{len(missing)} of them")
        if strange := [token for token in self.vocab if set(token) - set(alphabet)]:
            raise ModelError(f"tokenizer must be of byte-level BPE; its token {strange[0]!r} is "
                             "not spelled in bytes")

    def encode(self, text: str) -> list[int]:
        """Tokens of a text; any text has some."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)


def token_bytes(token: str) -> bytes:
    """Bytes of a token that is spelled in the byte-level alphabet."""
    alphabet = byte_alphabet()
    return bytes(alphabet[character] for character in token)


class TextDecoder:
    """Text of a stream of bytes, of which a piece may end within a character.

    The rest of a character is given out with its last byte. Bytes that are none of UTF-8 become
    U+FFFD.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, piece: bytes) -> str:
        """Text that is complete with these bytes."""
        return self._decoder.decode(piece)

    def end(self) -> str:
        """Text of the bytes that are left at the end."""
        return self._decoder.decode(b"", final=True)


def train_subwords(texts: Iterable[str], size: int) -> str:
    """Learn a byte-level BPE of ``size`` tokens; return its ``tokenizer.json``.

    Parameters
    ----------
    size
        Tokens, at least 256. Fewer come out if the texts have no more pairs.

    Raises
    ------
    ModelError
        The size is too small.
    MissingPackageError
        ``tokenizers`` is not installed.
    """
    if size < SMALLEST:
        raise ModelError(f"a vocabulary of sub-words must have at least {SMALLEST} tokens, one for "
                         f"each byte, not {size}")
    package = _package()
    tokenizer = package.Tokenizer(package.models.BPE())
    tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = package.decoders.ByteLevel()
    trainer = package.trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=package.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False, special_tokens=[])
    tokenizer.train_from_iterator(_pieces(texts), trainer)
    # In one form, so that the same texts give the same model file.
    return json.dumps(json.loads(tokenizer.to_str()), sort_keys=True, separators=(",", ":"),
                      ensure_ascii=False)


def _pieces(texts: Iterable[str], length: int = 100_000) -> Iterator[str]:
    """Texts in pieces that a trainer can hold."""
    for text in texts:
        for start in range(0, len(text), length):
            yield text[start:start + length]
