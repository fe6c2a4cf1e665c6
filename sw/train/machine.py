"""Abilities of this machine: compiler, bfloat16, characters in a time."""

from time import monotonic, process_time

import torch
from torch import Tensor
from torch.nn import functional

from trilight.hw.contract.shapes import ModelConfig

from .corpus import Corpus
from .options import Options
from .trainer import Trainer

__all__ = ["bf16_is_faster", "characters_in", "compiler_works"]


def compiler_works(device: str) -> bool:
    """Return whether PyTorch can compile here: on a processor that takes a C++ compiler."""
    def double(x: Tensor) -> Tensor:
        return x.sin() * 2

    try:
        torch.compile(double)(torch.ones(64, device=device))
    except Exception:  # whatever the compilers of the day raise, training goes on without them
        return False
    return True


def characters_in(minutes: float, config: ModelConfig, corpus: Corpus, options: Options, *,
                  device: str = "cpu") -> int:
    """Return how many characters this machine can train on in a time, from a short trial run."""
    trial = Trainer(config, corpus, options, device=device)
    for _ in range(3):
        trial.advance()
    began, first = monotonic(), trial.characters
    for _ in range(20):
        trial.advance()
    speed = (trial.characters - first) / (monotonic() - began)
    return round(speed * minutes * 60)


def bf16_is_faster(device: str) -> bool:
    """Return whether matrix products of the trainer's size run faster in bfloat16 than float32."""
    if device == "cuda":
        return True
    q, weights = torch.ones(2048, 160), torch.ones(160, 160)

    def seconds(dtype: torch.dtype) -> float:
        a, b = q.to(dtype), weights.to(dtype)
        times = []
        for _ in range(20):
            # Time of the processor, not of the clock: other programs take turns with this one.
            began = process_time()
            functional.linear(a, b)
            times.append(process_time() - began)
        return min(times)

    # Conversions around each product cost about a quarter of a float32 product.
    return seconds(torch.bfloat16) < 0.75 * seconds(torch.float32)
