"""Options of a training run, and its schedule."""

import math
from dataclasses import dataclass

__all__ = ["Options"]

_FINAL_RATE = 0.02


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that decide the outcome of a training run, besides corpus, shape and teachers."""

    network: str = "ternary"
    """Kind of network, in ``NETWORKS``."""
    characters: int = 15_000_000
    """Characters to train on; the corpus is read again and again."""
    seed: int = 1
    batch_size: int = 16
    """Sequences of the corpus that are read side by side."""
    synthetic_batch: int = 15
    """Number of these that are synthetic, if there is synthetic text."""
    bptt_length: int = 128
    """Length of truncated backpropagation through time; the state is carried on across it."""
    optimizer: str = "adamw"
    """``adamw`` for everything, or ``muon`` for the matrices but the embedding."""
    learning_rate: float = 5e-3
    """Highest rate; it rises for ``warmup`` steps, then falls along a cosine."""
    warmup: int = 100
    weight_decay: float = 0.05
    dropout: float = 0.1
    """Share of a branch's inputs left out, drawn for each chunk."""
    state_reset: float = 0.0
    """Probability that the state of a sequence is reset before a chunk, as a device's is."""
    ternary_threshold: float = 0.5
    """Ternary threshold: magnitude, in parts of a matrix's mean, below which a weight is 0."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema_decay: float = 0.995
    """Decay of the exponential moving average of the weights, which becomes the model."""
    label_weight: float = 0.0
    """Weight, of labelled lines, of the labels in the loss beside all other characters."""
    bf16: bool = False
    """True if matrix products run in bfloat16 instead of float32."""
    start_sha256: str = ""
    """``Model.sha256`` of the model that the training goes on from; empty for random numbers."""
    compiled: bool = False
    """True if the network runs as compiled code."""

    @property
    def steps(self) -> int:
        """Optimizer steps: whole chunks of ``batch_size * bptt_length`` characters."""
        return max(1, round(self.characters / (self.batch_size * self.bptt_length)))

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / max(1, min(self.warmup, self.steps // 4)))
        fall = (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.learning_rate * rise * (_FINAL_RATE + (1 - _FINAL_RATE) * fall)
