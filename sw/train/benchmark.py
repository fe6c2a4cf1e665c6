"""Speed of training on this computer: ``trilight training-speed``."""

from dataclasses import replace
from time import monotonic, process_time

import numpy as np
import torch

from trilight.hw.support.boards import board_device

from .corpus import Corpus
from .options import Options
from .shape import choose_config
from .trainer import Trainer

__all__ = ["measure"]

_VOCABULARY = "".join(map(chr, range(32, 97)))
_WARM_UP_STEPS = 5


def measure(*, compiled: bool, bf16: bool, steps: int = 40) -> dict[str, float | bool]:
    """Train on random text with one thread.

    Returns
    -------
    dict
        ``compiled``, ``bf16``, ``characters_per_core_s`` (by processor time),
        ``characters_per_s`` (by the clock) and ``seconds_to_start``, compilation included.
    """
    torch.set_num_threads(1)
    tokens = np.random.default_rng(1).integers(len(_VOCABULARY), size=200_000)
    corpus = Corpus(name="random", sha256="", vocab=tuple(_VOCABULARY), train=tokens,
                    held_out=tokens[:0], held_out_text="")
    began = monotonic()
    options = replace(Options(), compiled=compiled, bf16=bf16)
    trainer = Trainer(choose_config(len(_VOCABULARY), board_device()), corpus, options)
    for _ in range(_WARM_UP_STEPS):
        trainer.advance()
    ready, busy, first = monotonic(), process_time(), trainer.characters
    for _ in range(steps):
        trainer.advance()
    characters = trainer.characters - first
    return {
        "compiled": compiled,
        "bf16": bf16,
        "characters_per_core_s": characters / (process_time() - busy),
        "characters_per_s": characters / (monotonic() - ready),
        "seconds_to_start": ready - began,
    }
