"""An imported model beside anyone's logits: how far they are apart.

The other logits come in an ``.npz`` file with arrays ``ids_0``, ``logits_0``, ``ids_1`` and so on:
token numbers [positions], and logits [positions, vocabulary] after each of them.
"""

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.imported import FORMATS
from trilight.sw.errors import EvaluationError

from .model import ImportedModel
from .run import Progress, Stream, open_runner

__all__ = ["ReferenceSequence", "SequenceRun", "compare", "read_reference", "run_sequences"]


@dataclass(frozen=True, eq=False)
class ReferenceSequence:
    """Tokens, and the logits that something else computed after each.

    Attributes
    ----------
    number : int
        Of the sequence in its file.
    tokens : int64 array [positions]
    logits : float64 array [positions, V]
    """

    number: int
    tokens: NDArray[np.int64]
    logits: NDArray[np.float64]


def read_reference(path: Path, vocabulary: int) -> list[ReferenceSequence]:
    """Read and check the sequences of a file.

    Raises
    ------
    EvaluationError
        It cannot be read, or a sequence does not suit a model of that vocabulary.
    """
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            numbers = sorted((name[4:] for name in file.files
                              if name.startswith("ids_") and name[4:].isdecimal()), key=int)
            found = [(number, file[f"ids_{number}"], _logits(file, number)) for number in numbers]
    except OSError as error:
        raise EvaluationError(f"reference {path} cannot be read: {error.strerror or error}; give "
                              "an .npz file") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, EvaluationError):
            raise
        raise EvaluationError(f"reference {path} is no .npz file of plain arrays: {error}"
                              ) from error
    if not found:
        raise EvaluationError(f"reference {path} has no arrays ids_0, logits_0, ...; write them "
                              "with numpy.savez")
    return [_checked(path, vocabulary, *sequence) for sequence in found]


def _logits(file: Mapping[str, NDArray[Any]], number: str) -> NDArray[Any]:
    if f"logits_{number}" not in file:
        raise EvaluationError(f"the reference has ids_{number} but no logits_{number}")
    return file[f"logits_{number}"]


def _checked(path: Path, vocabulary: int, number: str, tokens: NDArray[Any],
             logits: NDArray[Any]) -> ReferenceSequence:
    if not isinstance(tokens, np.ndarray) or not isinstance(logits, np.ndarray):
        # NumPy gives what else is in an archive as it is.
        raise EvaluationError(f"{path}: ids_{number} and logits_{number} must be arrays; write "
                              "them with numpy.savez")
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer) or not len(tokens):
        raise EvaluationError(f"{path}: ids_{number} must be whole numbers [positions], not "
                              f"{tokens.dtype} {list(tokens.shape)}")
    if tokens.min() < 0 or tokens.max() >= vocabulary:
        raise EvaluationError(f"{path}: ids_{number} must be in [0, {vocabulary - 1}], not "
                              f"{tokens.min()} ... {tokens.max()}; it is of another model")
    if logits.shape != (len(tokens), vocabulary) or logits.dtype.kind not in "fiu":
        raise EvaluationError(f"{path}: logits_{number} must have shape "
                              f"{[len(tokens), vocabulary]}, not {list(logits.shape)} of "
                              f"{logits.dtype}; it is of another model")
    wide = logits.astype(np.float64)
    if not np.isfinite(wide).all():
        raise EvaluationError(f"{path}: logits_{number} has numbers that are not finite")
    return ReferenceSequence(int(number), tokens.astype(np.int64), wide)


@dataclass(frozen=True, eq=False)
class SequenceRun:
    """Result of a model for a sequence.

    Attributes
    ----------
    logits : int64 array [positions, V]
        With ``FORMATS.logit_frac`` fraction bits.
    saturated : dict
        Values that were clipped, by what they are.
    """

    logits: NDArray[np.int64]
    saturated: Mapping[str, int]


def run_sequences(stream: Stream, sequences: Sequence[Sequence[int]],
                  progress: Progress | None = None) -> Iterator[SequenceRun]:
    """Feed sequences one after the other, each from a clean state."""
    total, done = sum(map(len, sequences)), 0
    for tokens in sequences:
        stream.reset()
        rows = []
        for token in tokens:
            rows.append(stream.step(token))
            done += 1
            if progress is not None:
                progress(done, total)
        yield SequenceRun(np.stack(rows), stream.saturations.counts)


def compare(model: ImportedModel, sequences: Sequence[ReferenceSequence],
            runs: Iterable[SequenceRun] | None = None) -> dict[str, Any]:
    """Measure what a model computes for sequences against their logits.

    Parameters
    ----------
    model : ImportedModel
    sequences : sequence of ReferenceSequence
    runs : iterable of SequenceRun, optional
        In the order of the sequences. Default: they are run in this process.

    Returns
    -------
    dict
        Ready for JSON: ``rms_over_std`` (root mean square of the differences over the standard
        deviation of the reference), ``top1`` (share of positions with the same likeliest token),
        ``largest_difference``, ``saturations`` (values that were clipped), ``positions``; the same
        for each of ``sequences``; ``saturated`` by what was clipped; ``model_sha256``.
    """
    if runs is None:
        runs = run_sequences(open_runner(model), [s.tokens.tolist() for s in sequences])
    parts, differences, saturated = [], [], dict[str, int]()
    same_in_all = 0
    for sequence, run in zip(sequences, runs, strict=True):
        logits = np.ldexp(run.logits.astype(np.float64), -FORMATS.logit_frac)
        differences.append(logits - sequence.logits)
        same = logits.argmax(axis=1) == sequence.logits.argmax(axis=1)
        same_in_all += int(same.sum())
        for what, count in run.saturated.items():
            saturated[what] = saturated.get(what, 0) + count
        parts.append({"sequence": sequence.number,
                      **_figures(differences[-1], sequence.logits, same),
                      "saturations": sum(run.saturated.values())})
    everything = np.concatenate([sequence.logits for sequence in sequences])
    overall = _figures(np.concatenate(differences), everything, np.array([]))
    return {**overall, "top1": same_in_all / len(everything),
            "saturations": sum(part["saturations"] for part in parts), "saturated": saturated,
            "sequences": parts, "model_sha256": model.sha256}


def _figures(difference: NDArray[np.float64], reference: NDArray[np.float64],
             same: NDArray[Any]) -> dict[str, Any]:
    spread = float(reference.std())
    rms = float(np.sqrt((difference * difference).mean()))
    return {"positions": len(difference),
            "rms_over_std": rms / spread if spread else (0.0 if rms == 0 else float("inf")),
            "top1": float(same.mean()) if len(same) else 0.0,
            "largest_difference": float(np.abs(difference).max())}
