"""Distillation: soft targets of teachers, and synthetic text that they generate.

Soft targets say more than the character that followed, and synthetic text never ends, so a small
network overfits late.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor
from torch.nn import functional

from .network import State

__all__ = ["WRITERS", "DistillationData", "Progress", "SoftTargets", "Teacher",
           "generate_synthetic", "soft_targets"]

_FLOOR = -20.0
"""Log-probabilities below it are raised to it: they weigh nothing, and fit float16."""

_WARM_UP = 256
"""Characters that are read before a sequence for its state."""

_BATCH = 64
_WINDOW = 128
WRITERS = 256
"""Texts that are written side by side on a processor."""

_GENERATED_LENGTH = 4096
"""Synthetic characters at most that follow one prompt from the corpus."""

Progress = Callable[[int, int], None]
"""Called with the characters done and the characters in all."""


class Teacher(Protocol):
    """A trained network."""

    def start(self, batch_size: int) -> State: ...
    def __call__(self, tokens: Tensor, state: State) -> tuple[Tensor, State]: ...


class SoftTargets(NamedTuple):
    """Soft targets: what teachers expect after each token of a text or of a part of it."""

    log_probs: Tensor
    """Log-probabilities, ``[..., K]``."""
    classes: Tensor | None
    """The tokens that these belong to, ``[..., K]``; ``None`` if they are all, in order."""

    def to(self, device: str | torch.device) -> "SoftTargets":
        """Return the same on a device."""
        return SoftTargets(*(None if part is None else part.to(device) for part in self))

    def at(self, places: Tensor) -> "SoftTargets":
        """Return those of some tokens of the text."""
        return SoftTargets(self.log_probs[places].float(),
                           None if self.classes is None else self.classes[places].long())

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Return the mean cross-entropy of ``logits [..., V]``, in nats.

        What is beyond the K classes is left out; their probabilities are scaled to add up to 1.
        """
        if self.classes is None:
            return functional.cross_entropy(logits.flatten(0, -2),
                                            self.log_probs.flatten(0, -2).exp())
        found = logits.log_softmax(-1).gather(-1, self.classes)
        return -(self.log_probs.softmax(-1) * found).sum(-1).mean()


@dataclass(frozen=True, eq=False)
class DistillationData:
    """Tokens to learn from, with soft targets of teachers."""

    tokens: NDArray[np.int64]
    """[N]."""
    soft: SoftTargets | None = None
    """Soft targets ``[N, K]``, float16 and, if not of all tokens, int16."""

    def save(self, path: Path) -> None:
        """Write all to a safetensors file.

        Raises
        ------
        OSError
            It cannot be written.
        """
        assert self.soft is not None
        classes = {} if self.soft.classes is None else {"classes": self.soft.classes.numpy()}
        path.write_bytes(save({"tokens": self.tokens.astype(np.uint16),
                               "log_probs": self.soft.log_probs.numpy(), **classes}))

    @classmethod
    def load(cls, path: Path) -> "DistillationData | None":
        """Read what ``save`` wrote; ``None`` if there is no whole file."""
        try:
            found = {name: torch.from_numpy(value) for name, value in load_file(path).items()}
            return cls(found["tokens"].numpy().astype(np.int64),
                       SoftTargets(found["log_probs"], found.get("classes")))
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


def _stored(probabilities: Tensor, top: int | None) -> SoftTargets:
    """Return the log-probabilities of the ``top`` most probable tokens, or of all, to be kept."""
    if top is None or top >= probabilities.shape[-1]:
        return SoftTargets(probabilities.log().clamp(min=_FLOOR).half(), None)
    found = probabilities.topk(top)
    return SoftTargets(found.values.log().clamp(min=_FLOOR).half(), found.indices.short())


def _joined(parts: Sequence[SoftTargets], dim: int, length: int) -> SoftTargets:
    """Return parts in a row as soft targets ``[N, K]`` of the first ``length`` tokens."""
    return SoftTargets(*(
        None if column[0] is None else torch.cat(column, dim).flatten(0, 1)[:length]
        for column in zip(*parts, strict=True)))


def soft_targets(tokens: NDArray[np.int64], teachers: Sequence[Teacher], *,
                 top: int | None = None, device: str = "cpu",
                 progress: Progress | None = None) -> DistillationData:
    """Return a text with soft targets; the state is carried on along all of it.

    Parameters
    ----------
    top
        How many of the most probable tokens are kept of each place; all unless given.
    """
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
        expected.append(_stored(window.transpose(0, 1), top).to("cpu"))
        if progress is not None:
            progress(min((begin - _WARM_UP + _WINDOW) * _BATCH, len(tokens)), len(tokens))
    return DistillationData(tokens, _joined(expected, 1, len(tokens)))


def generate_synthetic(
    corpus: NDArray[np.int64],
    teachers: Sequence[Teacher],
    characters: int,
    *,
    seed: int,
    writers: int = WRITERS,
    top: int | None = None,
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
    writers
        Texts that are written side by side; thousands fill a GPU. Nothing leaves the device but
        finished pieces of 128 characters of each.
    top
        How many of the most probable tokens are kept of each place; all unless given.
    """
    generator = torch.Generator(device).manual_seed(seed)
    places = np.random.default_rng(seed)
    length = min(_GENERATED_LENGTH, -(-characters // (writers * _WINDOW)) * _WINDOW)
    total = -(-characters // (writers * length)) * length
    tokens = torch.empty((writers, total), dtype=torch.int64)
    expected: list[SoftTargets] = []
    for first in range(0, total, length):
        starts = places.integers(len(corpus) - _WARM_UP, size=writers)
        before = torch.from_numpy(corpus[starts + np.arange(_WARM_UP)[:, None]]).to(device)
        ensemble = _Ensemble(teachers, writers)
        following = ensemble.read(before)[-1]
        for begin in range(first, first + length, _WINDOW):
            drawn, kept = [], []
            for _ in range(_WINDOW):
                drawn.append(torch.multinomial(following, 1, generator=generator))
                following = ensemble.read(drawn[-1].T)[0]
                kept.append(_stored(following, top))
            tokens[:, begin:begin + _WINDOW] = torch.cat(drawn, 1).cpu()
            expected.append(SoftTargets(*(
                None if column[0] is None else torch.stack(column, 1).cpu()
                for column in zip(*kept, strict=True))))
            if progress is not None:
                progress((begin + _WINDOW) * writers, tokens.numel())
    return DistillationData(tokens.flatten().numpy(), _joined(expected, 1, tokens.numel()))
