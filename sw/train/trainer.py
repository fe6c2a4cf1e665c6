"""The training loop: data order, schedule, checkpoints."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import CheckpointError, TrainingError

from .corpus import Corpus
from .distill import DistillationData
from .float_file import KINDS
from .float_network import FloatNetwork, Transformer
from .network import Network, State
from .options import Options
from .reader import Chunk, LineReader, Reader

__all__ = ["NETWORKS", "Progress", "Trainer"]

_VERSION = 4
_STEPS_BETWEEN_CHECKS = 50
_MATRIX_DIMENSIONS = 2

NETWORKS: dict[str, type[Network | FloatNetwork | Transformer]] = {
    "ternary": Network, **KINDS}
"""Kinds of network, by name."""


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    step: int
    steps: int
    running_loss: Tensor
    characters_per_s: float

    @property
    def loss(self) -> float:
        """Running mean over about 50 steps, in nats per character; a GPU is waited for."""
        return self.running_loss.item()


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
    distillation
        The training part with the teachers' soft targets, and synthetic data or ``None``; the
        plain training part unless given.
    teachers
        Names what the distillation data depend on; a checkpoint goes on with the same only.
    device
        ``"cpu"`` or ``"cuda"``.
    start
        Parameters of the network that is begun with, by name; random ones unless given.

    Attributes
    ----------
    network : Network, FloatNetwork or Transformer
        As the optimizer sees it; ``result`` is what is kept.
    step : int
        Steps made.
    loss : float
        Running mean of the training loss over about 50 steps, in nats per character of the
        corpus; not a number before the first. A GPU is waited for.
    seconds : float
        Time spent in ``run``, over all interruptions.
    """

    def __init__(
        self,
        config: ModelConfig,
        corpus: Corpus,
        options: Options,
        *,
        distillation: tuple[DistillationData, DistillationData | None] | None = None,
        teachers: str = "",
        device: str = "cpu",
        start: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        if len(corpus.train) <= options.batch_size * options.bptt_length:
            raise TrainingError(
                "the training part must have more than "
                f"{options.batch_size * options.bptt_length:,} characters for a batch of "
                f"{options.batch_size} sequences and {options.bptt_length} characters, "
                f"not {len(corpus.train):,}"
            )
        self.config = config
        self.corpus = corpus
        self.options = options
        self.teachers = teachers
        self.device = torch.device(device)
        torch.manual_seed(options.seed)
        self.network = self._network(bf16=options.bf16)
        if start is not None:
            self.network.load_state_dict({name: torch.from_numpy(value)
                                          for name, value in start.items()})
        self.step = 0
        self._loss = torch.tensor(math.nan, dtype=torch.float64, device=self.device)
        self.seconds = 0.0
        self._forward: Callable[..., tuple[Tensor, State]] = (
            torch.compile(self.network.forward) if options.compiled else self.network.forward)
        self._generator = torch.Generator(self.device).manual_seed(options.seed)
        self._state = self.network.start(options.batch_size)
        self._optimizers = self._make_optimizers()
        self._ema = {name: value.detach().clone()
                         for name, value in self.network.named_parameters()}
        real, synthetic = distillation or (DistillationData(corpus.train), None)
        batch_size = options.batch_size - (options.synthetic_batch if synthetic else 0)
        self._readers = [self._reader(real, batch_size)]
        if synthetic:
            self._readers.append(self._reader(synthetic, options.synthetic_batch))

    def _network(self, *, bf16: bool) -> Network | FloatNetwork | Transformer:
        kind = NETWORKS[self.options.network]
        made = (kind(self.config, bf16=bf16, ternary_threshold=self.options.ternary_threshold)
                if issubclass(kind, Network) else kind(self.config, bf16=bf16))
        return made.to(self.device)

    def _make_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return AdamW, preceded by Muon for the matrices but the embedding if that is chosen."""
        options = self.options
        muon, matrices, vectors = [], [], []
        for name, value in self.network.named_parameters():
            if value.ndim != _MATRIX_DIMENSIONS:
                vectors.append(value)
            elif options.optimizer == "muon" and not name.endswith("embedding"):
                muon.append(value)
            else:
                matrices.append(value)
        adamw = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": options.weight_decay},
             {"params": vectors, "weight_decay": 0.0}],
            lr=options.learning_rate, betas=(0.9, 0.98), fused=True)
        if not muon:
            return [adamw]
        # Steps as large as AdamW's, so that one learning rate does for both.
        return [torch.optim.Muon(muon, lr=options.learning_rate, adjust_lr_fn="match_rms_adamw",
                                 weight_decay=options.weight_decay), adamw]

    def _reader(self, distillation: DistillationData, batch_size: int) -> Reader | LineReader:
        if self.options.label_weight:
            return LineReader(distillation.tokens, newline=self.corpus.vocab.index("\n"),
                              batch_size=batch_size, label_weight=self.options.label_weight,
                              seed=self.options.seed)
        return Reader(distillation, batch_size=batch_size, bptt_length=self.options.bptt_length,
                      seed=self.options.seed, device=self.device)

    @property
    def loss(self) -> float:
        return self._loss.item()

    @property
    def characters(self) -> int:
        """Characters trained on so far."""
        return self.step * self.options.batch_size * self.options.bptt_length

    def advance(self) -> None:
        """Make one step. A GPU is not waited for, but once in ``_STEPS_BETWEEN_CHECKS``.

        Raises
        ------
        TrainingError
            If the loss is no longer a number.
        """
        chunks = [reader.chunk(self.step) for reader in self._readers]
        tokens = self._here(torch.cat([chunk.tokens for chunk in chunks], 1))
        self._forget(chunks)
        masks = self.network.draw_masks(
            self.options.batch_size, self.options.dropout, self._generator)
        rate = self.options.rate(self.step)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        logits, self._state = self._forward(tokens, self._state, masks)
        loss, value = self._losses(logits, chunks)
        if self.device.type == "cpu" or self.step % _STEPS_BETWEEN_CHECKS == 0:
            self._refuse_no_number(value)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        # The first weights mean nothing, so the average is short at first.
        kept = min(self.options.ema_decay, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self._ema.values()),
                                 list(self.network.parameters()), 1 - kept)
        self._loss = value if self.step == 0 else self._loss + 0.02 * (value - self._loss)
        self.step += 1

    def _here(self, part: Tensor) -> Tensor:
        """Return a tensor on the device, without waiting for it."""
        if part.device == self.device or self.device.type == "cpu":
            return part
        return part.pin_memory().to(self.device, non_blocking=True)

    def _refuse_no_number(self, value: Tensor) -> None:
        if not math.isfinite(value.item()):
            raise TrainingError(f"the loss of step {self.step:,} is {value.item()}; delete the "
                                "checkpoint, which is from before it, and train again with a "
                                f"lower --learning-rate than {self.options.learning_rate:g}")

    def _forget(self, chunks: Sequence[Chunk]) -> None:
        """Reset the state of sequences that begin a pass over their text, and of some others."""
        if not self.options.state_reset and not any(chunk.first for chunk in chunks):
            return
        kept = torch.cat([torch.full((chunk.tokens.shape[1], 1), float(not chunk.first),
                                     device=self.device) for chunk in chunks])
        if self.options.state_reset:
            kept *= torch.rand(kept.shape, generator=self._generator,
                               device=self.device) >= self.options.state_reset
        self._state = State(*(part * kept for part in self._state))

    def _losses(self, logits: Tensor, chunks: Sequence[Chunk]) -> tuple[Tensor, Tensor]:
        """Return what is minimised, and the loss on the corpus in nats per character."""
        loss, begin, value = logits.new_zeros(()), 0, logits.new_zeros(())
        for chunk in chunks:
            batch_size = chunk.tokens.shape[1]
            part = logits[:, begin:begin + batch_size]
            targets = self._here(chunk.targets).flatten()
            if chunk.weights is None:
                hard = functional.cross_entropy(part.flatten(0, 1), targets)
            else:
                hard = functional.cross_entropy(part.flatten(0, 1), targets, reduction="none") @ (
                    self._here(chunk.weights).flatten())
            mean = hard if chunk.soft is None else chunk.soft.cross_entropy(part)
            loss = loss + mean * (batch_size / self.options.batch_size)
            if begin == 0:
                value = hard.detach().double()
            begin += batch_size
        return loss, value

    def result(self) -> Network | FloatNetwork | Transformer:
        """Return a network with the averaged weights."""
        network = self._network(bf16=False)
        network.load_state_dict(self._ema)
        return network

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
            report(Progress(self.step, self.options.steps, self._loss,
                            (self.characters - first) / max(now - began, 1e-9)))
            stopped = stop()
            if checkpoint is not None and now - saved >= checkpoint_every_s:
                self.save(checkpoint)
                saved = now
        if checkpoint is not None:
            self.save(checkpoint)
        return self.step >= self.options.steps

    def save(self, path: Path) -> None:
        """Write a checkpoint; an older one stays whole until the new one is.

        Raises
        ------
        CheckpointError
            If it cannot be written.
        TrainingError
            If the loss is no longer a number.
        """
        if self.step:
            self._refuse_no_number(self._loss)
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # By way of memory: PyTorch's own writing hides why a disk refuses.
            content = BytesIO()
            torch.save(self._checkpoint(), content)
            partial.write_bytes(content.getbuffer())
            os.replace(partial, path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise CheckpointError(f"checkpoint {path} cannot be written: {error.strerror}; make "
                                  "room, or name another folder with --checkpoint") from error

    def _checkpoint(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "config": self.config.to_dict(),
            "options": asdict(self.options),
            "corpus": self.corpus.sha256,
            "split": self.corpus.split,
            "teachers": self.teachers,
            "step": self.step,
            "loss": self.loss,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "ema": self._ema,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "generator": self._generator.get_state(),
            "state": tuple(self._state),
        }

    @classmethod
    def resume(
        cls,
        path: Path,
        corpus: Corpus,
        *,
        distillation: tuple[DistillationData, DistillationData | None] | None = None,
        teachers: str = "",
        device: str = "cpu",
    ) -> Self:
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
                                  "train without --resume to start again") from error
        except Exception as error:  # torch.load documents none of what damaged files raise
            raise CheckpointError(f"checkpoint {path} is damaged or no checkpoint; "
                                  "delete it and train from scratch") from error
        if version != _VERSION:
            raise CheckpointError(f"checkpoint {path} must be of version {_VERSION}, not "
                                  f"{version}; delete it and train from scratch")
        if found["corpus"] != corpus.sha256:
            raise CheckpointError(f"checkpoint {path} was made with another corpus (SHA-256 "
                                  f"{found['corpus'][:12]}..., not {corpus.sha256[:12]}...); "
                                  "give that one, or delete the checkpoint and train from scratch")
        if found["split"] != corpus.split:
            raise CheckpointError(f"checkpoint {path} was made with another part of the corpus "
                                  f"({found['split']}); give --development or leave it out as then")
        if found["teachers"] != teachers:
            raise CheckpointError(f"checkpoint {path} was made with other teachers; give the same "
                                  "--teacher and --synthetic, or delete it and train from scratch")
        trainer = cls(ModelConfig(**found["config"]), corpus, Options(**found["options"]),
                      distillation=distillation, teachers=teachers, device=device)
        trainer.step = found["step"]
        trainer._loss.fill_(found["loss"])
        trainer.seconds = found["seconds"]
        trainer.network.load_state_dict(found["network"])
        for name, value in found["ema"].items():
            trainer._ema[name].copy_(value)
        for optimizer, state in zip(trainer._optimizers, found["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        trainer._generator.set_state(found["generator"])
        trainer._state = State(*(part.to(trainer.device) for part in found["state"]))
        return trainer


