"""Distillation of ``trilight train``: its teachers, their soft targets and synthetic text."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from trilight.hw.support.terminal import Console
from trilight.sw.errors import TrainingError
from trilight.sw.train.corpus import Corpus

from .train_progress import LOG_EVERY_S

if TYPE_CHECKING:
    from trilight.sw.train.distill import DistillationData
    from trilight.sw.train.distill import Progress as TargetProgress
    from trilight.sw.train.float_file import FloatModel

__all__ = ["TARGET_FILES", "load_teachers", "prepare_targets"]

TARGET_FILES = "soft-targets-*.safetensors"
"""Files that ``prepare_targets`` leaves in a folder."""

_ALL_CLASSES, _TOP_CLASSES = 256, 64


def load_teachers(paths: Sequence[Path], corpus: Corpus, device: str, *,
                  bf16: bool) -> "list[FloatModel]":
    """Load the teachers of a training.

    Raises
    ------
    TrainingError
        One is no teacher, or was trained on other text or another part of it.
    """
    from trilight.sw.train.float_file import FloatModel

    ensemble = [FloatModel.load(path, device=device) for path in paths]
    for path, model in zip(paths, ensemble, strict=True):
        if model.kind != "float":
            raise TrainingError(f"{path} is a network of the kind {model.kind!r}; a teacher must "
                                "be one of the kind 'float'")
        model.network.bf16 = bf16
        if model.vocab != corpus.vocab:
            raise TrainingError(f"{path} knows other characters than {corpus.name} has; train the "
                                "teacher on the same text")
        # One that saw less teaches that the rest is unlikely; one that saw more tells of what is
        # held out.
        trained_on = model.provenance.get("corpus_sha256"), model.provenance.get("split")
        if trained_on != (corpus.sha256, corpus.split):
            raise TrainingError(f"{path} was not trained on the same part of the same text "
                                f"({corpus.split}); train it again, with the same --corpus and "
                                f"with{'' if corpus.development else 'out'} --development")
    return ensemble


def prepare_targets(console: Console, folder: Path, ensemble: "list[FloatModel]", corpus: Corpus,
                    synthetic: int, *, writers: int, top: int | None, device: str
                    ) -> "tuple[DistillationData, DistillationData | None]":
    """Make soft targets of the corpus and synthetic text, or find them in the folder.

    They do not depend on the seed of the training, which varies the rest.

    Parameters
    ----------
    synthetic
        Characters of synthetic text; 0 for none.
    writers
        Texts of it that are written side by side.
    top
        Most probable tokens of each place that are kept; unless given, all up to a vocabulary of
        256 and 64 of a larger one.
    """
    from trilight.sw.train.distill import DistillationData, generate_synthetic, soft_targets

    networks = [model.network for model in ensemble]
    if top is None and len(corpus.vocab) > _ALL_CLASSES:
        top = _TOP_CLASSES
    key = sha256(repr((corpus.sha256, corpus.split, corpus.vocab, synthetic, writers, top,
                       [model.sha256 for model in ensemble])).encode()).hexdigest()[:16]

    def stored(name: str, what: str,
               work: "Callable[[TargetProgress], DistillationData]") -> "DistillationData":
        path = folder / f"soft-targets-{name}-{key}.safetensors"
        found = DistillationData.load(path)
        if found is None:
            with Bar(TextColumn(what), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
                     TextColumn("left"), TimeRemainingColumn(), console=console, transient=True,
                     disable=not console.is_terminal) as bar:
                task, logged = bar.add_task("", total=None), monotonic()

                def report(done: int, total: int) -> None:
                    nonlocal logged
                    bar.update(task, completed=done, total=total)
                    if not console.is_terminal and monotonic() - logged >= LOG_EVERY_S:
                        logged = monotonic()
                        console.print(f"{what}: {done:,} of {total:,} characters", highlight=False)

                found = work(report)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                found.save(path)
            except OSError as error:
                raise TrainingError(f"cannot write {path}: {error}; make room, or name another "
                                    "folder with --checkpoint") from error
        return found

    real = stored("corpus", "computing soft targets", lambda progress: soft_targets(
        corpus.train, networks, top=top, device=device, progress=progress))
    if not synthetic:
        return real, None
    return real, stored(
        "synthetic", "generating synthetic text", lambda progress: generate_synthetic(
            corpus.train, networks, synthetic, seed=1, writers=writers, top=top, device=device,
            progress=progress))
