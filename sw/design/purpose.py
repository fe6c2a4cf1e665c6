"""Purposes of a model: a text to predict, lines to label, lines among which some are strange."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from trilight.hw.support.cache import digest
from trilight.sw.errors import DesignError
from trilight.sw.model.model import Model
from trilight.sw.quality.evaluate import evaluate
from trilight.sw.task.anomaly import DEVELOPMENT, TEST, TRAIN, anomaly_auc, read_scored
from trilight.sw.task.classifier import accuracy, decide
from trilight.sw.train.corpus import Corpus, read_corpus, read_labelled

__all__ = ["LABEL_WEIGHT", "Purpose", "find_purpose"]

LABEL_WEIGHT = 10.0
"""Weight of labels, as in ``docs/training.md``."""


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """Purpose of a model, and the files that it is trained and measured on.

    Candidates are compared on a development part, which no training reads, and the chosen one is
    measured on the part that ``trilight train`` holds out as well.
    """

    kind: str
    """``text``, ``labels`` or ``anomalies``."""
    path: str
    """Text file, file of labelled lines, or folder of a task of anomalies."""
    held_out_lines: int | None = None
    """Number of labelled lines that are held out; ``None`` for a twentieth."""

    @property
    def quality(self) -> str:
        """Measure of quality, of ``QUALITIES``."""
        return {"text": "bits/byte", "labels": "accuracy", "anomalies": "auc"}[self.kind]

    @property
    def corpus_path(self) -> Path:
        """File that is trained on."""
        return Path(self.path) / TRAIN if self.kind == "anomalies" else Path(self.path)

    def corpus(self, *, development: bool) -> Corpus:
        """Return what is trained on.

        Raises
        ------
        CorpusError
            The file cannot be read, or no model can be trained on it.
        """
        return _corpus(self, development)

    @property
    def label_weight(self) -> float | None:
        return LABEL_WEIGHT if self.kind == "labels" else None

    @property
    def sha256(self) -> str:
        """Digest of all that is trained and measured on."""
        files = [self.corpus_path]
        if self.kind == "anomalies":
            files += [Path(self.path) / name for name in (DEVELOPMENT, TEST)]
        return digest(str(self.held_out_lines), *(path.read_bytes() for path in files))

    @property
    def line_tokens(self) -> float | None:
        """Mean characters of a line, the tab or the line end included; ``None`` of a text."""
        if self.kind == "text":
            return None
        lines = (self.corpus(development=True).held_out_lines if self.kind == "labels" else
                 read_scored(Path(self.path) / DEVELOPMENT))
        return fmean(len(line.text) + 1 for line in lines)

    def measure(self, model: Model, *, final: bool) -> tuple[float, float]:
        """Return the quality of a model and its standard error.

        That of bits per byte is 0: all models are measured on the same text.

        Parameters
        ----------
        final
            On the part that decides nothing, instead of the development part.
        """
        if self.kind == "anomalies":
            return anomaly_auc(model, read_scored(Path(self.path) / (TEST if final else
                                                                     DEVELOPMENT)))
        corpus = self.corpus(development=not final)
        if self.kind == "text":
            return evaluate(model, corpus.held_out_text)["bits_per_byte"], 0.0
        lines = corpus.held_out_lines
        found = accuracy(decide(model, [line.text for line in lines]), lines)
        # The share of a sample is never so sure as its own spread says near 1.
        share = (found["right"] + 1) / (found["lines"] + 2)
        return found["accuracy"], math.sqrt(share * (1 - share) / found["lines"])

    def to_dict(self) -> Mapping[str, Any]:
        return asdict(self)


@cache
def _corpus(purpose: Purpose, development: bool) -> Corpus:
    if purpose.kind == "labels":
        return read_labelled(purpose.path, max_vocab=_MAX_VOCAB, development=development,
                             held_out=purpose.held_out_lines)
    return read_corpus(purpose.corpus_path, max_vocab=_MAX_VOCAB, development=development)


_MAX_VOCAB = 256
"""Characters of every board's chip."""


def find_purpose(corpus: Path | None, task: Path | None, held_out_lines: int | None) -> Purpose:
    """Tell what a model is wanted for by the files that are given.

    Raises
    ------
    DesignError
        None or both are given, or a folder that holds no task.
    """
    if (corpus is None) == (task is None):
        raise DesignError("give --corpus FILE for a model of a text, or --task for one that does a "
                          "task: a file of labelled lines, or a folder of lines with anomalies")
    if corpus is not None:
        return Purpose(kind="text", path=str(corpus))
    assert task is not None
    if not task.is_dir():
        return Purpose(kind="labels", path=str(task), held_out_lines=held_out_lines)
    if missing := [name for name in (TRAIN, DEVELOPMENT, TEST) if not (task / name).is_file()]:
        raise DesignError(f"a task's folder holds {TRAIN}, {DEVELOPMENT} and {TEST}; {task} lacks "
                          f"{', '.join(missing)}; trilight log-lines makes one")
    return Purpose(kind="anomalies", path=str(task))
