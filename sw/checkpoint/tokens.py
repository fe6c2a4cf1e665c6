"""The tokenizer of a checkpoint, run by the packages that made it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from trilight.hw.support.extras import pip_install
from trilight.sw.errors import CheckpointError, MissingPackageError, TokenError

__all__ = ["Tokenizer", "describe_tokenizer", "licence_of", "open_tokenizer", "read_tokenizer"]

_FILES = ("tokenizer.json", "tokenizer.model")
_MAX_BYTES = 64 << 20
_NEEDS = ("the model's tokenizer needs the package {}, which is not installed; "
          + pip_install("trilight[tokens]"))


class Tokenizer(Protocol):
    """Text to token numbers and back."""

    size: int

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, after the token that begins a text if there is one."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens; those that begin or end a text have none."""


def read_tokenizer(folder: Path) -> bytes:
    """The tokenizer file of a checkpoint's folder; empty without one.

    Raises
    ------
    CheckpointError
        It cannot be read, or is larger than any tokenizer.
    """
    for name in _FILES:
        if (folder / name).is_file():
            try:
                size = (folder / name).stat().st_size
                if size > _MAX_BYTES:
                    raise CheckpointError(f"{folder / name} has {size:,} bytes, which no tokenizer "
                                          "has; download it again")
                return (folder / name).read_bytes()
            except OSError as error:
                raise CheckpointError(f"{folder / name} cannot be read: {error.strerror}"
                                      ) from error
    return b""


def describe_tokenizer(raw: bytes) -> str:
    """Return what a tokenizer file is, without the package that reads it."""
    if not raw:
        return "none in the folder; text can be neither read nor written, only token numbers"
    kind = "tokenizer.json (tokenizers)" if _is_json(raw) else "tokenizer.model (sentencepiece)"
    return f"{kind}, {len(raw):,} bytes"


def open_tokenizer(raw: bytes) -> Tokenizer:
    """Open a tokenizer file.

    Raises
    ------
    TokenError
        The model has none, or it is damaged.
    MissingPackageError
        The package that reads it is missing.
    """
    if not raw:
        raise TokenError("the model has no tokenizer; put tokenizer.json or tokenizer.model into "
                         "the checkpoint's folder and import it again")
    try:
        return _JsonTokenizer(raw) if _is_json(raw) else _PieceTokenizer(raw)
    except ImportError as error:
        raise MissingPackageError(_NEEDS.format(error.name)) from error


def _is_json(raw: bytes) -> bool:
    return raw.lstrip()[:1] == b"{"


class _JsonTokenizer:
    def __init__(self, raw: bytes) -> None:
        import tokenizers

        try:
            self._inner: Any = tokenizers.Tokenizer.from_str(raw.decode())
        except Exception as error:  # the package raises nothing narrower
            raise TokenError(f"the model's tokenizer.json cannot be used: {error}") from error
        self.size: int = self._inner.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        result: list[int] = self._inner.encode(text).ids
        return result

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._inner.decode(list(tokens)))


class _PieceTokenizer:
    def __init__(self, raw: bytes) -> None:
        import sentencepiece

        self._inner: Any = sentencepiece.SentencePieceProcessor()
        try:
            self._inner.LoadFromSerializedProto(raw)
        except Exception as error:  # the package raises nothing narrower
            raise TokenError(f"the model's tokenizer.model cannot be used: {error}") from error
        self.size: int = self._inner.vocab_size()
        begin = self._inner.bos_id()
        self._begin = [begin] if begin >= 0 else []

    def encode(self, text: str) -> list[int]:
        return [*self._begin, *self._inner.EncodeAsIds(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._inner.DecodeIds(list(tokens)))


def licence_of(folder: Path) -> str:
    """The licence that a checkpoint's card (README.md) or config.json names; empty if neither."""
    card = folder / "README.md"
    if card.is_file():
        for line in card.read_text(errors="replace").splitlines()[:60]:
            key, _, value = line.partition(":")
            if key.strip().lower() in ("license", "licence") and value.strip():
                return value.strip()
    try:
        value = json.loads((folder / "config.json").read_bytes()).get("license", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return value if isinstance(value, str) else ""
