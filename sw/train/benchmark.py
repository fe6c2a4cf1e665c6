"""Speed, memory and energy of a training step: ``trilight training-speed``."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import monotonic, process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trilight.hw.support.boards import board_device

from .corpus import Corpus
from .energy import METER, processor_energy
from .options import Options
from .shape import choose_config
from .trainer import Trainer

__all__ = ["FORMS", "Form", "Speed", "measure"]

_VOCABULARY = "".join(map(chr, range(32, 97)))
_WARM_UP_STEPS = 5


@dataclass(frozen=True)
class Form:
    """Form of a network whose training is timed."""

    name: str
    network: str = "ternary"
    """Kind of network, in ``trainer.NETWORKS``; all have the same matrix weights."""
    plain: bool = False
    """True if the recurrence is written out, an operation of autograd for each character."""
    compiled: bool = False


FORMS = (Form("recurrence written out", plain=True), Form("recurrence as one operator"),
         Form("the same, compiled", compiled=True),
         Form("Transformer, compiled", network="transformer", compiled=True))
"""Forms that are compared."""


@dataclass(frozen=True)
class Speed:
    """Cost of a training step, counted after the first steps."""

    form: str
    device: str
    bf16: bool
    batch_size: int
    context: int
    tokens_per_s: float
    """Speed by the clock."""
    tokens_per_core_s: float | None
    """Speed by the time of the processor's one thread; ``None`` on a GPU."""
    saved_bytes: int
    """Tensors that a step keeps for its backward pass, parameters left out: counted."""
    peak_bytes: int | None
    """Most memory of a GPU that was allocated, all included: measured; ``None`` on a processor."""
    joules_per_step: float | None
    """Energy by the counters of the processor or the GPU, all that ran beside included."""
    seconds_to_start: float
    """Time to the first timed step, compilation included."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def measure(form: Form, *, device: str = "cpu", bf16: bool, steps: int = 40,
            batch_size: int | None = None, context: int | None = None) -> Speed:
    """Train the form that fills the default board on random text, with one thread.

    Parameters
    ----------
    steps
        Steps that are timed.
    batch_size, context
        As in ``Options``, whose values they take unless given.
    """
    torch.set_num_threads(1)
    began = monotonic()
    options = Options(network=form.network, compiled=form.compiled, bf16=bf16,
                      batch_size=batch_size or Options.batch_size,
                      bptt_length=context or Options.bptt_length)
    trainer = _trainer(form, options, device)
    saved = _saved_bytes(trainer)
    for _ in range(_WARM_UP_STEPS):
        trainer.advance()
    _wait(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ready, busy = monotonic(), process_time()
    with processor_energy("nvml" if device == "cuda" else METER) as energy:
        for _ in range(steps):
            trainer.advance()
        _wait(device)
    tokens = steps * options.batch_size * options.bptt_length
    on_gpu = device == "cuda"
    return Speed(
        form.name, device, bf16, options.batch_size, options.bptt_length,
        tokens_per_s=tokens / (monotonic() - ready),
        tokens_per_core_s=None if on_gpu else tokens / (process_time() - busy),
        saved_bytes=saved, peak_bytes=torch.cuda.max_memory_allocated() if on_gpu else None,
        joules_per_step=energy["joules"] / steps if energy else None,
        seconds_to_start=ready - began)


def _trainer(form: Form, options: Options, device: str) -> Trainer:
    tokens = np.random.default_rng(1).integers(
        len(_VOCABULARY), size=2 * options.batch_size * options.bptt_length + 2)
    corpus = Corpus(name="random", sha256="", vocab=tuple(_VOCABULARY), train=tokens,
                    held_out=tokens[:0], held_out_text="")
    trainer = Trainer(choose_config(len(_VOCABULARY), board_device()), corpus, options,
                      device=device)
    if form.plain:
        trainer.network.recurrence = _written_out  # type: ignore[union-attr,method-assign]
    return trainer


def _written_out(f: Tensor, c: Tensor, before: Tensor) -> Tensor:
    """Run the recurrence as autograd has it, one operation after another."""
    states = []
    for f_t, c_t in zip(f, c, strict=True):
        before = f_t * before + (1 - f_t) * c_t
        states.append(before)
    return torch.stack(states)


def _saved_bytes(trainer: Trainer) -> int:
    """Make a step; return the bytes that it keeps for its backward pass, parameters left out."""
    own = {value.untyped_storage().data_ptr() for value in trainer.network.parameters()}
    with _saved(own) as storages:
        trainer.advance()
    return sum(storages.values())


@contextmanager
def _saved(left_out: set[int]) -> Iterator[dict[int, int]]:
    """Collect the storages that autograd keeps: bytes by address."""
    storages: dict[int, int] = {}
    # What is kept must stay, or the next tensor may lie at the same address.
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in left_out:
            storages[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield storages


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()

