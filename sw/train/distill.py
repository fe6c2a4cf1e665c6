"""Distillation: soft targets of teachers, and synthetic text that they generate.

Soft targets say more than the character that followed, and synthetic text never ends, so a small
network overfits late.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from .network import State

__all__ = ["DistillationData", "Progress", "Teacher", "generate_synthetic", "soft_targets"]

_FLOOR = -20.0
"""Log-probabilities below it are raised to it: they weigh nothing, and fit float16."""

_WARM_UP = 256
"""Characters that are read before a sequence for its state."""

_BATCH = 64
_WINDOW = 128
_GENERATED_BATCH = 256
_GENERATED_LENGTH = 4096
"""Synthetic characters that follow one prompt from the corpus."""

Progress = Callable[[int, int], None]
"""Called with the characters done and the characters in all."""


class Teacher(Protocol):
    """A trained network."""

    def start(self, batch_size: int) -> State: ...
    def __call__(self, tokens: Tensor, state: State) -> tuple[Tensor, State]: ...


@dataclass(frozen=True, eq=False)
class DistillationData:
    """Tokens to learn from, with soft targets of teachers."""

    tokens: NDArray[np.int64]
    """[N]."""
    log_probs: NDArray[np.float16] | None = None
    """Soft targets [N, V]: the teachers' log-probabilities of what follows each token."""

    def save(self, path: Path) -> None:
        """Write both arrays to a safetensors file.

        Raises
        ------
        OSError
            It cannot be written.
        """
        assert self.log_probs is not None
        path.write_bytes(save({"tokens": self.tokens.astype(np.uint8),
                               "log_probs": self.log_probs}))

    @classmethod
    def load(cls, path: Path) -> "DistillationData | None":
        """Read what ``save`` wrote; ``None`` if there is no whole file."""
        try:
            found = load_file(path)
            return cls(found["tokens"].astype(np.int64), found["log_probs"])
        except (OSError, KeyError, SafetensorError):
            return None


class _Ensemble:
    """Teacher ensemble: the mean of the probabilities of several networks."""

    def __init__(self, teachers: Sequence[Teacher], batch_size: int) -> None:
        self._teachers = teachers
        self._states = [teacher.start(batch_size) for teacher in teachers]

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:
        """Return the probabilities ``[T, B, V]`` of what follows each of ``tokens [T, B]``."""
        total = torch.zeros(())
        for number, teacher in enumerate(self._teachers):
            logits, self._states[number] = teacher(tokens, self._states[number])
            total = total + logits.softmax(-1)
        return total / len(self._teachers)


def _stored(probabilities: Tensor) -> NDArray[np.float16]:
    return probabilities.log().clamp(min=_FLOOR).half().cpu().numpy()


def soft_targets(tokens: NDArray[np.int64], teachers: Sequence[Teacher], *,
                      device: str = "cpu", progress: Progress | None = None) -> DistillationData:
    """Return a text with soft targets; the state is carried on along all of it."""
    length = -(-len(tokens) // _BATCH)
    padded = np.concatenate([np.zeros(_WARM_UP, np.int64), tokens,
                             np.zeros(length * _BATCH - len(tokens), np.int64)])
    starts = np.arange(_BATCH) * length
    pieces = torch.from_numpy(padded[starts + np.arange(_WARM_UP + length)[:, None]]).to(device)
    ensemble = _Ensemble(teachers, _BATCH)
    ensemble.read(pieces[:_WARM_UP])
    expected = []
    for begin in range(_WARM_UP, _WARM_UP + length, _WINDOW):
        window = ensemble.read(pieces[begin:begin + _WINDOW])
        expected.append(_stored(window.transpose(0, 1)))
        if progress is not None:
            progress(min((begin - _WARM_UP + _WINDOW) * _BATCH, len(tokens)), len(tokens))
    table = np.concatenate(expected, axis=1)
    return DistillationData(tokens, table.reshape(-1, table.shape[-1])[:len(tokens)])


def generate_synthetic(
    corpus: NDArray[np.int64],
    teachers: Sequence[Teacher],
    characters: int,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress | None = None,
) -> DistillationData:
    """Generate synthetic text: continuations of prompts from a corpus, with soft targets.

    Parameters
    ----------
    corpus
        Tokens, more than 256.
    teachers
        Draw each character from the mean of their probabilities.
    characters
        At least so many are generated.
    seed
        Of the prompts and of the draws.
    """
    generator = torch.Generator(device).manual_seed(seed)
    places = np.random.default_rng(seed)
    rounds = -(-characters // (_GENERATED_BATCH * _GENERATED_LENGTH))
    tokens = torch.empty((_GENERATED_BATCH, rounds * _GENERATED_LENGTH), dtype=torch.int64)
    log_probs: NDArray[np.float16] | None = None
    for first in range(0, rounds * _GENERATED_LENGTH, _GENERATED_LENGTH):
        starts = places.integers(len(corpus) - _WARM_UP, size=_GENERATED_BATCH)
        before = torch.from_numpy(corpus[starts + np.arange(_WARM_UP)[:, None]]).to(device)
        ensemble = _Ensemble(teachers, _GENERATED_BATCH)
        following = ensemble.read(before)[-1]
        for place in range(first, first + _GENERATED_LENGTH):
            drawn = torch.multinomial(following, 1, generator=generator)
            tokens[:, place] = drawn[:, 0].cpu()
            following = ensemble.read(drawn.T)[0]
            if log_probs is None:
                log_probs = np.empty((*tokens.shape, following.shape[-1]), np.float16)
            log_probs[:, place] = _stored(following)
            if progress is not None and place % _WINDOW == 0:
                progress((place + 1) * _GENERATED_BATCH, tokens.numel())
    assert log_probs is not None
    return DistillationData(tokens.flatten().numpy(), log_probs.reshape(-1, log_probs.shape[-1]))


