"""An imported model on many texts at a time, divided over workers.

A worker reads the model's file itself, so on other computers it must lie at the same place; its
digest says that it is the same.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path
from typing import Any

from trilight.sw.errors import ClusterError, EvaluationError

from .acceptance import SequenceRun, run_sequences
from .model import ImportedModel
from .run import Progress, open_runner
from .text import text_quality

__all__ = ["ImportedTexts"]


class ImportedTexts:
    """A model on workers.

    Parameters
    ----------
    executor : Executor
        Of ``trilight.sw.workers``.
    path : Path
        Of the model.
    sha256 : str
        Its digest.
    """

    def __init__(self, executor: Executor, path: Path, sha256: str) -> None:
        self._executor = executor
        self._model = (str(path.absolute()), sha256)

    def run(self, sequences: Sequence[Sequence[int]],
            progress: Progress | None = None) -> Iterator[SequenceRun]:
        """Return what the model computes for sequences, in their order."""
        return self._map(_run, [[tokens] for tokens in sequences], progress)

    def score(self, texts: Sequence[tuple[str, str]], max_tokens: int | None = None,
              progress: Progress | None = None) -> dict[str, Any]:
        """Measure how well the model predicts each text, given as name and content, and all.

        Returns
        -------
        dict
            Ready for JSON: what ``text_quality`` gives, over all texts, and for each of ``texts``
            with its ``name``.

        Raises
        ------
        ClusterError
            A worker was ended, or has another file.
        EvaluationError
            A text has fewer than two tokens.
        """
        found = list(self._map(_score, [[name, text, max_tokens] for name, text in texts],
                               progress))
        tokens = sum(score["tokens_scored"] for score in found)
        size = sum(score["bytes_scored"] for score in found)
        nats = sum(score["nats_per_token"] * score["tokens_scored"] for score in found)
        return {"tokens_scored": tokens, "bytes_scored": size, "nats_per_token": nats / tokens,
                "bits_per_byte": nats / math.log(2) / max(size, 1),
                "saturations": sum(score["saturations"] for score in found),
                "model_sha256": self._model[1],
                "texts": [{"name": name, **{key: score[key] for key in (
                    "tokens_scored", "bytes_scored", "nats_per_token", "bits_per_byte",
                    "saturations")}} for (name, _), score in zip(texts, found, strict=True)]}

    def _map(self, work: Callable[..., Any], arguments: Sequence[Sequence[Any]],
             progress: Progress | None) -> Iterator[Any]:
        futures: list[Future[Any]] = [self._executor.submit(work, *self._model, *given)
                                      for given in arguments]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                if progress is not None:
                    progress(done, len(futures))
        except BrokenProcessPool as error:
            raise ClusterError("a process was ended, perhaps for memory; try again with fewer "
                               "--workers") from error
        return iter([future.result() for future in futures])


@lru_cache(maxsize=1)
def _opened(path: str, sha256: str) -> ImportedModel:
    model = ImportedModel.load(Path(path))
    if model.sha256 != sha256:
        raise ClusterError(f"{path} is another model on this worker: its SHA-256 is "
                           f"{model.sha256[:12]}..., not {sha256[:12]}...; copy the file there")
    return model


def _run(path: str, sha256: str, tokens: Sequence[int]) -> SequenceRun:
    return next(run_sequences(open_runner(_opened(path, sha256)), [tokens]))


def _score(path: str, sha256: str, name: str, text: str,
           max_tokens: int | None) -> dict[str, Any]:
    try:
        return text_quality(_opened(path, sha256), text, max_tokens=max_tokens)
    except EvaluationError as error:
        raise EvaluationError(f"{name}: {error}") from error
