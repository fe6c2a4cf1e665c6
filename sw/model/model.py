"""A ternary language model as integers, and its file.

``docs/number-formats.md`` says what the integers mean, ``docs/model-files.md`` how they are stored.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.files import write_whole
from trilight.sw.errors import ModelError, ModelFileError, TokenError, UnknownCharacterError

from .checks import (
    EMBED_SCALE,
    FORGET_BIAS,
    HEAD_BIAS,
    NORM_TAP,
    SCALE,
    TAP,
    check_limits,
    checked_integers,
    checked_provenance,
    checked_vocab,
)
from .file import (
    FORMAT,
    LAYER_TENSORS,
    MATRICES,
    METADATA_KEY,
    VERSION,
    canonical,
    checked_integer,
    checksum,
    matrix_shape,
    read_config,
    read_metadata,
    read_tensors,
)
from .provenance import current_names
from .subword import SubwordTokenizer, token_bytes
from .trits import pack_trits, unpack_trits

__all__ = ["COLUMNS_OF_16_BITS", "MATRICES", "Layer", "Matrix", "Model"]

_HASH_HEADER = struct.Struct("<7H")


COLUMNS_OF_16_BITS = ((1 << 15) - 1) // NUMBERS.act_max
"""Columns whose sums fit 16 bits, for programs that add them up in so many."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """A ternary matrix and its scale.

    Attributes
    ----------
    trits : int8 array [rows, columns]
        Values -1, 0, +1. Read-only.
    scale : int
        The multiplier ``m`` of its sums, times 2**15, in [1, 32767].

    Raises
    ------
    ModelError
        If a value is out of its range.
    """

    trits: NDArray[np.int8]
    scale: int

    def __post_init__(self) -> None:
        shape = np.shape(self.trits)
        if len(shape) != 2 or 0 in shape:
            raise ModelError(f"trits must have shape [rows, columns], not {list(shape)}")
        trits = checked_integers("trits", self.trits, shape, -1, 1, np.int8)
        object.__setattr__(self, "trits", trits)
        object.__setattr__(self, "scale", checked_integer("scale", self.scale, *SCALE))


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: token shift, MLGRU and GLU.

    Attributes
    ----------
    forget, candidate, gate, mix_out : Matrix [d, d]
    glu_gate, glu_up : Matrix [H, d]
    glu_down : Matrix [d, H]
    tap_now, tap_prev : int16 array [d]
        Weights of the present and the previous ``x``, Q0.7, in [-128, 127].
    forget_bias : int16 array [d]
        Added to the forget gate's table index, in [-128, 127].
    glu_tap : int
        Weight of ``x`` before the GLU, Q0.7, in [1, 127].

    Raises
    ------
    ModelError
        If shapes do not agree or a value is out of its range.
    """

    forget: Matrix
    candidate: Matrix
    gate: Matrix
    mix_out: Matrix
    glu_gate: Matrix
    glu_up: Matrix
    glu_down: Matrix
    tap_now: NDArray[np.int16]
    tap_prev: NDArray[np.int16]
    forget_bias: NDArray[np.int16]
    glu_tap: int

    def __post_init__(self) -> None:
        d, hidden = self.glu_down.trits.shape
        for name in MATRICES:
            expected, got = matrix_shape(name, d, hidden), getattr(self, name).trits.shape
            if got != expected:
                raise ModelError(f"{name} must have shape {list(expected)}, not {list(got)}")
        for name, limits in (("tap_now", TAP), ("tap_prev", TAP), ("forget_bias", FORGET_BIAS)):
            values = checked_integers(name, getattr(self, name), (d,), *limits, np.int16)
            object.__setattr__(self, name, values)
        object.__setattr__(self, "glu_tap", checked_integer("glu_tap", self.glu_tap, *NORM_TAP))

    @property
    def matrices(self) -> dict[str, Matrix]:
        """The seven matrices by name, in the order of ``MATRICES``."""
        return {name: getattr(self, name) for name in MATRICES}


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """A whole model. Two models compute the same if and only if ``sha256`` is the same.

    Attributes
    ----------
    config : ModelConfig
    vocab : tuple of str
        The character of each token; of sub-word tokens, their bytes in the byte-level alphabet.
    tokenizer : str, optional
        ``tokenizer.json`` of sub-word tokens (``subword.SubwordTokenizer``); empty if a token is a
        character.
    embedding : int8 array [V, d]
        Trits of the embedding, which is the head's matrix too. Read-only.
    embed_scale : int
        Magnitude of an embedded trit, Q5.6, in [0, 2047].
    head_scale : int
        ``m_head``, in [1, 32767].
    head_tap : int
        Weight of ``x`` before the head, Q0.7, in [1, 127].
    head_bias : int32 array [V]
        Q9.6, in [-32768, 32767].
    layers : tuple of Layer
    provenance : dict
        Where the model comes from: anything that JSON can hold.

    Raises
    ------
    ModelError
        If parts do not agree or a value is out of its range.
    """

    config: ModelConfig
    vocab: tuple[str, ...]
    embedding: NDArray[np.int8]
    embed_scale: int
    head_scale: int
    head_tap: int
    head_bias: NDArray[np.int32]
    layers: tuple[Layer, ...]
    provenance: Mapping[str, Any]
    tokenizer: str = ""

    def __post_init__(self) -> None:
        check_limits(self.config)
        n, d = self.config.vocab_size, self.config.d_model
        replacements = {
            "vocab": checked_vocab(self.vocab, n, characters=not self.tokenizer),
            "embedding": checked_integers("embedding", self.embedding, (n, d), -1, 1, np.int8),
            "embed_scale": checked_integer("embed_scale", self.embed_scale, *EMBED_SCALE),
            "head_scale": checked_integer("head_scale", self.head_scale, *SCALE),
            "head_tap": checked_integer("head_tap", self.head_tap, *NORM_TAP),
            "head_bias": checked_integers("head_bias", self.head_bias, (n,), *HEAD_BIAS, np.int32),
            "layers": tuple(self.layers),
            "provenance": checked_provenance(self.provenance),
        }
        for name, value in replacements.items():
            object.__setattr__(self, name, value)
        if not isinstance(self.tokenizer, str):
            raise ModelError(f"tokenizer must be a text, not {type(self.tokenizer).__name__}")
        if self.tokenizer and self.vocab != self._subwords.vocab:
            raise ModelError("vocab must be the tokenizer's, and is another")
        if len(self.layers) != self.config.n_layers:
            raise ModelError(f"layers must be {self.config.n_layers}, not {len(self.layers)}")
        for number, layer in enumerate(self.layers):
            got, expected = layer.glu_down.trits.shape, (d, self.config.d_hidden)
            if got != expected:
                raise ModelError(f"layer {number} must have d_model, d_hidden = {list(expected)}, "
                                 f"not {list(got)}")

    def __repr__(self) -> str:
        config = self.config
        return (f"<Model {self.sha256[:12]}, {config.ternary_weights:,} ternary weights, "
                f"vocab_size={config.vocab_size}, d_model={config.d_model}, "
                f"n_layers={config.n_layers}, d_hidden={config.d_hidden}>")

    @classmethod
    def random(cls, config: ModelConfig, seed: int, tokenizer: str = "") -> Self:
        """A legal model with random weights, for tests and measurements.

        Scales are such that pre-activations spread over the tables without saturating them and
        that logits differ by some nats.

        Parameters
        ----------
        config : ModelConfig
        seed : int
            Seed of NumPy's default generator.
        tokenizer : str
            Of sub-word tokens, as many as ``config`` has.
        """
        rng = np.random.default_rng(seed)
        d, hidden = config.d_model, config.d_hidden
        # Deviation of normally distributed values whose magnitudes an L1 norm makes add up to 1.
        normed = (1 << NUMBERS.norm_shift) / d * np.sqrt(np.pi / 2)

        def scale(columns: int, activation: float, target: float) -> int:
            """Brings sums over ``columns`` to a deviation of ``target``, where 15 bits can."""
            deviation = activation * np.sqrt(columns * 2 / 3)
            return int(np.clip(round(target / deviation * (1 << NUMBERS.scale_frac)), *SCALE))

        def matrix(rows: int, columns: int, activation: float, target: float) -> Matrix:
            trits = rng.integers(-1, 2, (rows, columns), np.int8)
            return Matrix(trits, scale(columns, activation, target))

        index = 1.5 * (1 << NUMBERS.index_frac)
        update = 1 << NUMBERS.residual_frac
        layers = tuple(
            Layer(
                forget=matrix(d, d, normed, index),
                candidate=matrix(d, d, normed, index),
                gate=matrix(d, d, normed, index),
                mix_out=matrix(d, d, 12, update),
                glu_gate=matrix(hidden, d, normed, index),
                glu_up=matrix(hidden, d, normed, 1.5 * (1 << NUMBERS.gate_frac)),
                glu_down=matrix(d, hidden, 12, update),
                tap_now=rng.integers(8, 56, d, np.int16),
                tap_prev=rng.integers(-32, 49, d, np.int16),
                forget_bias=rng.integers(-16, 49, d, np.int16),
                glu_tap=int(rng.integers(8, 40)),
            )
            for _ in range(config.n_layers)
        )
        return cls(
            config=config,
            vocab=(SubwordTokenizer(tokenizer).vocab if tokenizer
                   else _random_vocab(config.vocab_size)),
            tokenizer=tokenizer,
            embedding=rng.integers(-1, 2, (config.vocab_size, d), np.int8),
            # Small, or the tied head would predict the present token again and again.
            embed_scale=(1 << NUMBERS.residual_frac) // 4,
            head_scale=scale(d, normed, 1 << NUMBERS.logit_frac),
            head_tap=int(rng.integers(8, 40)),
            head_bias=rng.integers(-64, 65, config.vocab_size, np.int32),
            layers=layers,
            provenance={"random_seed": seed},
        )

    @cached_property
    def sha256(self) -> str:
        """Digest of everything that decides the logits: 64 hexadecimal digits.

        Characters and provenance do not count; ``docs/model-files.md`` gives the byte order.
        """
        config = self.config
        digest = hashlib.sha256(_HASH_HEADER.pack(
            config.vocab_size, config.d_model, config.n_layers, config.d_hidden,
            self.embed_scale, self.head_scale, self.head_tap))
        for array in self._tensors().values():
            digest.update(array.tobytes())
        return digest.hexdigest()

    @cached_property
    def _subwords(self) -> SubwordTokenizer:
        return SubwordTokenizer(self.tokenizer)

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """Bytes of text that each token stands for; of sub-word tokens maybe half a character."""
        if self.tokenizer:
            return tuple(token_bytes(token) for token in self.vocab)
        return tuple(character.encode() for character in self.vocab)

    @cached_property
    def _token_of(self) -> dict[str, int]:
        return {character: token for token, character in enumerate(self.vocab)}

    def encode(self, text: str) -> list[int]:
        """Tokens of a text.

        Raises
        ------
        UnknownCharacterError
            If the vocabulary lacks some of its characters.
        """
        if not isinstance(text, str):
            raise ModelError(f"a text must be a str, not {type(text).__name__}")
        if self.tokenizer:
            return self._subwords.encode(text)
        tokens = self._token_of
        if unknown := [character for character in text if character not in tokens]:
            raise UnknownCharacterError(unknown)
        return [tokens[character] for character in text]

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of some tokens; bytes that are no character become U+FFFD.

        Raises
        ------
        TokenError
            If a token is not in [0, V).
        """
        chosen = list(tokens)
        for token in chosen:
            if isinstance(token, bool) or not isinstance(token, int | np.integer):
                raise TokenError(f"tokens must be integers, not {token!r}")
            if not 0 <= token < len(self.vocab):
                raise TokenError(f"tokens must be in [0, {len(self.vocab) - 1}], not {token}")
        return b"".join(self.token_bytes[token] for token in chosen).decode(errors="replace")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file; the same model gives the same bytes."""
        about: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "config": self.config.to_dict(),
            "embed_scale": self.embed_scale,
            "head_scale": self.head_scale,
            "head_tap": self.head_tap,
            "vocab": list(self.vocab),
            "provenance": self.provenance,
            "sha256": self.sha256,
        }
        if self.tokenizer:
            about["tokenizer"] = self.tokenizer
        about["checksum"] = checksum(about)
        # One key only: safetensors writes several in random order.
        write_whole(path, save(self._tensors(), {METADATA_KEY: canonical(about)}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a model from a file and check all of it.

        Raises
        ------
        ModelFileError
            If the file is missing, damaged, of another format version, or holds an illegal model.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                return cls._read(file)
        except ModelFileError as error:
            raise ModelFileError(f"model file {path}: {error}") from error
        except ModelError as error:
            raise ModelFileError(f"model file {path}: {error}; it is damaged, "
                                 "take it again from where it came") from error
        except OSError as error:
            raise ModelFileError(f"model file {path} cannot be read: "
                                 f"{_why_unreadable(path) or error}; check its name") from error
        except (TypeError, ValueError) as error:
            # Such as a number, or a name with a zero byte.
            raise ModelFileError(f"a model file is named by its path, not by {path!r}: {error}"
                                 ) from error
        except SafetensorError as error:
            raise ModelFileError(f"model file {path} is not a whole safetensors file ({error}); "
                                 "take it again from where it came") from error

    @classmethod
    def _read(cls, file: Any) -> Self:
        about = read_metadata(file.metadata())
        config = read_config(about["config"])
        check_limits(config)
        tensors = read_tensors(file, config)
        layers = []
        for number in range(config.n_layers):
            part = {name: tensors[f"layers.{number}.{name}"] for name in LAYER_TENSORS}
            matrices = {
                name: Matrix(unpack_trits(part[name], matrix_shape(name, config.d_model,
                                                             config.d_hidden)[1]), scale)
                for name, scale in zip(MATRICES, part["scales"].tolist(), strict=True)
            }
            layers.append(Layer(**matrices, tap_now=part["taps"][0], tap_prev=part["taps"][1],
                                forget_bias=part["forget_bias"],
                                glu_tap=int(part["glu_tap"][0])))
        model = cls(
            config=config,
            vocab=about["vocab"],
            tokenizer=about.get("tokenizer", ""),
            embedding=unpack_trits(tensors["embedding"], config.d_model),
            embed_scale=about["embed_scale"],
            head_scale=about["head_scale"],
            head_tap=about["head_tap"],
            head_bias=tensors["head_bias"],
            layers=tuple(layers),
            provenance=current_names(checked_provenance(about["provenance"])),
        )
        if model.sha256 != about["sha256"]:
            raise ModelError(f"its weights have SHA-256 {model.sha256}, "
                             f"not {about['sha256']} as written in it")
        return model

    def _tensors(self) -> dict[str, NDArray[Any]]:
        """Tensors of the file, little endian, in the order of the digest."""
        tensors: dict[str, NDArray[Any]] = {
            "embedding": pack_trits(self.embedding),
            "head_bias": self.head_bias.astype("<i2"),
        }
        for number, layer in enumerate(self.layers):
            part: dict[str, NDArray[Any]] = {
                "scales": np.array([matrix.scale for matrix in layer.matrices.values()], "<u2"),
                "taps": np.stack([layer.tap_now, layer.tap_prev]).astype(np.int8),
                "forget_bias": layer.forget_bias.astype(np.int8),
                "glu_tap": np.array([layer.glu_tap], np.int8),
                **{name: pack_trits(matrix.trits) for name, matrix in layer.matrices.items()},
            }
            tensors |= {f"layers.{number}.{name}": part[name] for name in LAYER_TENSORS}
        return tensors


def _why_unreadable(path: str | os.PathLike[str]) -> str | None:
    """Return what the system says.

    safetensors takes a folder, and one that may not be entered, for no file.
    """
    try:
        with open(path, "rb"):
            return None
    except OSError as error:
        return error.strerror
    except ValueError as error:  # a name that no file can have
        return str(error)


def _random_vocab(size: int) -> tuple[str, ...]:
    """Newline, then printable ASCII, then printable characters past it."""
    past = (code for code in range(0xAE, 0x11_0000) if not 0xD800 <= code <= 0xDFFF)
    codes = [0x0A, *range(0x20, 0x7F), *islice(past, size)]
    return tuple(chr(code) for code in codes[:size])


