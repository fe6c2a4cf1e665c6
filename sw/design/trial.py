"""Trials: trainings that a search is made of, run anywhere and kept by content."""

import base64
import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, TypedDict

import msgspec

import trilight.sw
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.cache import digest
from trilight.sw.cli.train_options import NetworkKind, chosen_values, step_size
from trilight.sw.errors import DesignError
from trilight.sw.journal import Journal
from trilight.sw.train.export import build_model
from trilight.sw.workers import open_executor

from .purpose import Purpose

if TYPE_CHECKING:
    from trilight.sw.train.trainer import Trainer

__all__ = ["Result", "Store", "Trial", "run_trials"]


class Result(TypedDict):
    """Result of a trial, as it is kept."""

    quality: float
    """Quality on the development part."""
    standard_error: float
    final: float | None
    """Quality of a confirmation on the part that chose nothing."""
    seconds: float
    """Processor time of training and measuring."""
    model: str | None
    """Model file in base 64, of a confirmation."""


@cache
def source_digest() -> str:
    """Digest of the source that decides what comes of a training."""
    folder = Path(next(iter(trilight.sw.__path__)))
    return digest(*(path.read_bytes() for part in ("train", "task", "reference", "quality")
                    for path in sorted((folder / part).glob("*.py"))))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A training, and the measurement of its model in integers."""

    purpose: Purpose
    config: ModelConfig
    characters: int
    seed: int
    keep: bool = False
    """True if the model is kept and measured on the final part too."""

    @property
    def key(self) -> str:
        """Digest of all that the result depends on."""
        about = {**asdict(self), "purpose": self.purpose.sha256}
        return digest(json.dumps(about, sort_keys=True), source_digest())

    @property
    def name(self) -> str:
        """Description for people."""
        config = self.config
        return (f"d_model {config.d_model}, {config.n_layers} layers, d_hidden {config.d_hidden}: "
                f"{config.ternary_weights:,} weights, {self.characters:,} characters")

    def run(self) -> Result:
        """Train and measure, on one thread."""
        import torch

        torch.set_num_threads(1)
        began = process_time()
        trainer = self._trainer()
        for _ in range(trainer.options.steps):
            trainer.advance()
        trainer.seconds = process_time() - began
        corpus = trainer.corpus
        model = build_model(self.config, corpus.vocab, trainer.result().arrays(),
                            {"labels": dict(corpus.labels)} if corpus.labels else {},
                            corpus.tokenizer)
        quality, error = self.purpose.measure(model, final=False)
        final = self.purpose.measure(model, final=True)[0] if self.keep else None
        return Result(quality=quality, standard_error=error, final=final,
                      seconds=process_time() - began,
                      model=_model_file(trainer) if self.keep else None)

    def _trainer(self) -> "Trainer":
        from trilight.sw.train.options import Options
        from trilight.sw.train.trainer import Trainer

        corpus, weight = self.purpose.corpus(development=True), self.purpose.label_weight
        options = Options(
            seed=self.seed, characters=self.characters,
            **chosen_values(NetworkKind.TERNARY, {}, distilled=False, labelled=bool(weight)),
            **step_size(NetworkKind.TERNARY, corpus, weight, batch=None, context=None,
                        synthetic_batch=None))
        return Trainer(self.config, corpus, options)


def _model_file(trainer: "Trainer") -> str:
    """Return the trained model as ``trilight train`` writes it, with where it comes from."""
    from trilight.hw.support.boards import board_device
    from trilight.hw.support.terminal import Console
    from trilight.sw.cli.train_result import TrainingRun, finish

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "confirmed.safetensors"
        run = TrainingRun(trainer=trainer, out=path, chip=board_device(), teacher_files=(),
                          synthetic=0, writers=0, soft_targets_top=None, ensemble=[], recipe=None,
                          start_file=None)
        finish(Console(quiet=True), run).save(path)
        return base64.b64encode(path.read_bytes()).decode()


class Store:
    """Results of trials by their keys, in the journal of a folder.

    Raises
    ------
    DesignError
        The folder cannot be written to, or its journal cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / "trials.jsonl", {"results": "trilight design"},
                                error=DesignError)

    def get(self, trial: Trial) -> Result | None:
        """Return the result of a trial; ``None`` if there is none, or one that is damaged."""
        try:
            return msgspec.convert(self._journal.results.get(trial.key), Result)
        except msgspec.ValidationError:
            return None

    def put(self, trial: Trial, result: Result) -> None:
        """Keep a result."""
        self._journal.keep(trial.key, result)


def _run(trial: Trial) -> Result:
    return trial.run()


def run_trials(trials: Sequence[Trial], store: Store, done: Callable[[Trial, Result], None], *,
               address: str | None = None, workers: int | None = None) -> list[Result]:
    """Run what has no result yet, keeping each result at once; return all, in order.

    Parameters
    ----------
    done
        Called with each trial that was run, and its result.
    address
        Of a Dask scheduler, whose workers have this release and read the same files.
    workers
        Processes on this computer; by default one for each processor.

    Raises
    ------
    ClusterError
        No scheduler answers, or its address has no certificates.
    DesignError
        A process was ended.
    """
    missing = [trial for trial in dict.fromkeys(trials) if store.get(trial) is None]
    if missing:
        with open_executor(address, workers) as executor:
            # The longest first, so that none is left over at the end.
            running = {executor.submit(_run, trial): trial for trial in sorted(
                missing, key=lambda one: -one.config.ternary_weights * one.characters)}
            for future in as_completed(running):
                try:
                    result = future.result()
                except BrokenExecutor as error:
                    raise DesignError("a process was ended during a training, perhaps for memory; "
                                      "the same command goes on, with fewer --workers if need be"
                                      ) from error
                store.put(running[future], result)
                done(running[future], result)
    found = [store.get(trial) for trial in trials]
    return [result for result in found if result is not None]
