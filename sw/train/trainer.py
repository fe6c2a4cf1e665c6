"""The training loop: data order, schedule, checkpoints."""

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trilight.hw.config import ModelConfig
from trilight.sw.errors import CheckpointError, TrainingError

from .corpus import Corpus
from .network import Network, State

__all__ = ["Options", "Progress", "Trainer", "bf16_is_faster", "characters_in", "streamed_loss"]

_VERSION = 1
_FINAL_RATE = 0.02
_MATRIX_DIMENSIONS = 2
_EVALUATED_TOGETHER = 128


@dataclass(frozen=True, kw_only=True)
class Options:
    """What decides the outcome of a training run, besides corpus and shape."""

    characters: int = 15_000_000
    """Characters to train on; the corpus is read again and again."""
    seed: int = 1
    streams: int = 16
    """Places of the corpus that are read side by side."""
    context: int = 128
    """Characters that gradients flow back through; the state is carried on across them."""
    learning_rate: float = 5e-3
    """Highest rate; it rises for ``warmup`` steps, then falls along a cosine."""
    warmup: int = 100
    weight_decay: float = 0.05
    dropout: float = 0.1
    """Share of a branch's inputs left out, chosen anew for each window."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    bf16: bool = False
    """Whether matrix products run in bfloat16 instead of float32."""

    @property
    def steps(self) -> int:
        """Optimizer steps: whole windows of ``streams * context`` characters."""
        return max(1, round(self.characters / (self.streams * self.context)))

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / max(1, min(self.warmup, self.steps // 4)))
        fall = (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.learning_rate * rise * (_FINAL_RATE + (1 - _FINAL_RATE) * fall)


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    step: int
    steps: int
    loss: float
    """Running mean over about 50 steps, in nats per character."""
    characters_per_s: float


class Trainer:
    """Trains a network on a corpus; the same seed gives the same weights on one machine.

    Parameters
    ----------
    config
        Shape of the model.
    corpus
        Its training part is trained on, its held-out part only measured on.
    options
        See ``Options``.
    device
        ``"cpu"`` or ``"cuda"``.

    Attributes
    ----------
    network : Network
    step : int
        Steps made.
    loss : float
        Running mean of the training loss over about 50 steps, in nats per character.
    seconds : float
        Time spent in ``run``, over all interruptions.
    windows : int
        Steps of one pass over the corpus.
    """

    def __init__(self, config: ModelConfig, corpus: Corpus, options: Options, *,
                 device: str = "cpu") -> None:
        if len(corpus.train) <= options.streams * options.context:
            raise TrainingError(
                f"the training part must have more than {options.streams * options.context:,} "
                f"characters for {options.streams} streams of {options.context}, "
                f"not {len(corpus.train):,}")
        self.config = config
        self.corpus = corpus
        self.options = options
        self.device = torch.device(device)
        torch.manual_seed(options.seed)
        self.network = Network(config, bf16=options.bf16).to(self.device)
        self.step = 0
        self.loss = math.nan
        self.seconds = 0.0
        self._generator = torch.Generator().manual_seed(options.seed)
        self._state = self.network.start(options.streams)
        matrices = [p for p in self.network.parameters() if p.ndim == _MATRIX_DIMENSIONS]
        vectors = [p for p in self.network.parameters() if p.ndim != _MATRIX_DIMENSIONS]
        self._optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": options.weight_decay},
             {"params": vectors, "weight_decay": 0.0}],
            lr=options.learning_rate, betas=(0.9, 0.98), fused=True)
        length = (len(corpus.train) - 1) // options.streams
        self.windows = length // options.context
        self._epoch = -1
        self._tokens = torch.empty(0)

    @property
    def characters(self) -> int:
        """Characters trained on so far."""
        return self.step * self.options.streams * self.options.context

    def window(self) -> tuple[Tensor, Tensor]:
        """Return inputs and targets ``[T, B]`` of the present step.

        Each pass over the corpus starts at another place, drawn from seed and pass, and restarts
        the state.
        """
        epoch, window = divmod(self.step, self.windows)
        streams, context = self.options.streams, self.options.context
        if epoch != self._epoch:
            start = np.random.default_rng([self.options.seed, epoch]).integers(
                len(self.corpus.train))
            rolled = np.roll(self.corpus.train, -int(start))
            length = (len(rolled) - 1) // streams
            places = np.arange(length + 1)[:, None] + np.arange(streams) * length
            self._tokens = torch.from_numpy(rolled[places]).to(self.device)
            self._epoch = epoch
        if window == 0:
            self._state = self.network.start(streams)
        chosen = self._tokens[window * context:(window + 1) * context + 1]
        return chosen[:-1].contiguous(), chosen[1:].contiguous()

    def advance(self) -> float:
        """Make one step and return its loss in nats per character.

        Raises
        ------
        TrainingError
            If the loss is no longer a number.
        """
        tokens, targets = self.window()
        masks = self.network.draw_masks(
            self.options.streams, self.options.dropout, self._generator)
        rate = self.options.rate(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        logits, self._state = self.network(tokens, self._state, masks)
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(f"the loss of step {self.step:,} is {value}; train again with a "
                                f"lower --learning-rate than {self.options.learning_rate:g}")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.step += 1
        self.loss = value if math.isnan(self.loss) else self.loss + 0.02 * (value - self.loss)
        return value

    def run(self, *, report: Callable[[Progress], None], stop: Callable[[], bool],
            checkpoint: Path | None = None, checkpoint_every_s: float = 60.0) -> bool:
        """Train to the end of the schedule, or until ``stop()`` is true.

        Parameters
        ----------
        report
            Called after each step.
        stop
            Asked after each step.
        checkpoint
            File that is written at the beginning, from time to time and at the end, or ``None``.
        checkpoint_every_s
            Time between two checkpoints.

        Returns
        -------
        bool
            Whether the schedule was completed.
        """
        if checkpoint is not None:
            self.save(checkpoint)
        began = saved = monotonic()
        first, seconds = self.characters, self.seconds
        stopped = False
        while self.step < self.options.steps and not stopped:
            self.advance()
            now = monotonic()
            self.seconds = seconds + now - began
            report(Progress(self.step, self.options.steps, self.loss,
                            (self.characters - first) / max(now - began, 1e-9)))
            stopped = stop()
            if checkpoint is not None and now - saved >= checkpoint_every_s:
                self.save(checkpoint)
                saved = now
        if checkpoint is not None:
            self.save(checkpoint)
        return self.step >= self.options.steps

    def held_out_loss(self, *, streams: int = 64) -> float:
        """Return the real-valued network's loss on the held-out part, in nats per character."""
        return streamed_loss(self.network, self.corpus.held_out, streams=streams)

    def save(self, path: Path) -> None:
        """Write a checkpoint; an older one stays whole until the new one is.

        Raises
        ------
        CheckpointError
            If it cannot be written.
        """
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(self._checkpoint(), partial)
            os.replace(partial, path)
        except (OSError, RuntimeError) as error:  # PyTorch reports a full disk by the latter
            raise CheckpointError(f"checkpoint {path} cannot be written: {error}; make room, or "
                                  "name another folder with --checkpoint") from error

    def _checkpoint(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "config": self.config.to_dict(),
            "options": asdict(self.options),
            "corpus": self.corpus.sha256,
            "step": self.step,
            "loss": self.loss,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "state": tuple(self._state),
        }

    @classmethod
    def resume(cls, path: Path, corpus: Corpus, *, device: str = "cpu") -> Self:
        """Go on from a checkpoint, as if there had been no interruption.

        Raises
        ------
        CheckpointError
            If the file cannot be read, or is of another version or corpus.
        """
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
            version = found["version"]
        except OSError as error:
            raise CheckpointError(f"checkpoint {path} cannot be read: {error.strerror}; "
                                  "train without --resume to start anew") from error
        except Exception as error:  # torch.load documents none of what damaged files raise
            raise CheckpointError(f"checkpoint {path} is damaged or no checkpoint; "
                                  "delete it and train anew") from error
        if version != _VERSION:
            raise CheckpointError(f"checkpoint {path} must be of version {_VERSION}, not "
                                  f"{version}; delete it and train anew")
        if found["corpus"] != corpus.sha256:
            raise CheckpointError(f"checkpoint {path} was made with another corpus (SHA-256 "
                                  f"{found['corpus'][:12]}..., not {corpus.sha256[:12]}...); "
                                  "give that one, or delete the checkpoint and train anew")
        trainer = cls(ModelConfig(**found["config"]), corpus, Options(**found["options"]),
                      device=device)
        trainer.step = found["step"]
        trainer.loss = found["loss"]
        trainer.seconds = found["seconds"]
        trainer.network.load_state_dict(found["network"])
        trainer._optimizer.load_state_dict(found["optimizer"])
        trainer._generator.set_state(found["generator"])
        trainer._state = State(*(part.to(trainer.device) for part in found["state"]))
        return trainer


@torch.no_grad()
def streamed_loss(network: Network, tokens: NDArray[np.int64], *, streams: int) -> float:
    """Return a network's mean loss in nats per character, without dropout, sums in float32.

    The tokens are cut and scored as by the protocol ``streamed`` of ``trilight.sw.evaluate``.
    """
    length = len(tokens) // streams
    pieces = torch.from_numpy(tokens[:streams * length].reshape(streams, length).T)
    pieces = pieces.contiguous().to(network.embedding.device)
    state, total = network.start(streams), 0.0
    bf16, network.bf16 = network.bf16, False
    try:
        for begin in range(0, length - 1, _EVALUATED_TOGETHER):
            targets = pieces[begin + 1:begin + _EVALUATED_TOGETHER + 1]
            logits, state = network(pieces[begin:begin + len(targets)], state)
            total += functional.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
    finally:
        network.bf16 = bf16
    return total / ((length - 1) * streams)


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
        for _ in range(8):
            began = perf_counter()
            functional.linear(a, b)
            times.append(perf_counter() - began)
        return min(times)

    # Conversions around each product cost about a quarter of a float32 product.
    return seconds(torch.bfloat16) < 0.75 * seconds(torch.float32)
