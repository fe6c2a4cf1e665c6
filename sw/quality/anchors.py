"""Anchors: what other predictors make of a text, so that a model's bits per byte have company.

A compressor is asked for the text with and without its held-out part; the difference is what that
part costs after the rest is known. It goes on learning through the held-out part, as a model does
that adapts. Cold is what single pieces of it cost, each after the rest alone: as the streams of the
protocol ``stateful``, which carry no more than a state. Memory is what makes the comparison fair:
PPMd is limited to as much as it may have.
"""

import bz2
import lzma
import math
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from trilight.hw.support.extras import pip_install
from trilight.sw.errors import EvaluationError, MissingPackageError

from .ngrams import KneserNey

__all__ = ["Anchor", "anchors", "ppmd_memories"]

_PPMD_ORDERS = (3, 4, 5, 6)
_KNESER_NEY_ORDERS = (4, 5, 6, 7)
_N_GRAM_BYTES = 8
"""Bytes of an n-gram with its two numbers, assumed."""

_KIB, _MIB = 1 << 10, 1 << 20

ppmd_memories = (128 * _KIB, 256 * _KIB, 512 * _KIB, _MIB, 2 * _MIB, 4 * _MIB, 64 * _MIB)
"""Bytes that PPMd is given in turn: the first are those of the bundled model's weights, the last
more than it takes for a megabyte of text."""

_ZPAQ = {
    "orders 1 to 6": "x6,0ci1,1,1,1,2am",
    "and words": "x6,0w2c0,1010,255i1c256ci1,1,1,1,1,1,2ac0,2,0,255i1c0,3,0,0,255i1"
                 "c0,4,0,0,0,255i1mm16ts19t0",
}
"""Methods of zpaq; the second is what its level 5 takes for text, written out, since it chooses for
each file anew."""

_STREAMS = 64
"""Pieces of the held-out part, as of the protocol ``stateful``."""

Size = Callable[[bytes], int]
"""Function that returns the compressed size of data."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """Bits per byte of a held-out part, after the rest of the text."""

    name: str
    note: str = ""
    memory_bytes: int | None = None
    """Memory of the model that the predictor keeps; ``None`` if it is not known."""
    adaptive: float | None = None
    """Bits per byte of the whole part, learnt from while it is read."""
    cold: float | None = None
    """Bits per byte of single pieces, 64 of which make the part."""
    cold_error: float | None = None
    """Standard error of ``cold``, from the spread of the pieces."""
    windows: float | None = None
    """Bits per byte of independent windows of 256 characters."""


@dataclass(frozen=True)
class _Coder:
    name: str
    note: str
    size: Size
    memory: Callable[[], int | None] = lambda: None
    """Memory that it has, or has taken so far."""
    rival: object = None
    """Of coders of one name and rival only the best is shown."""
    cold: bool = False
    """True if pieces are measured too."""


def anchors(known: str, held_out: str, *, pieces: int = 12, progress: Progress | None = None
            ) -> list[Anchor]:
    """Return what compressors and n-grams make of a held-out part.

    Of PPMd the best order is shown for each memory, chosen on the held-out part itself: in its
    favour. zpaq is measured if it is installed, but not cold, as each piece would take it as long
    as the whole text.

    Parameters
    ----------
    known, held_out
        A text, and what follows it.
    pieces
        How many of the 64 pieces are measured cold.
    progress
        Called with the steps done, and all.

    Raises
    ------
    EvaluationError
        The held-out part is too short.
    MissingPackageError
        The package of PPMd is missing.
    """
    if len(held_out) < _STREAMS:
        raise EvaluationError(f"the held-out part of the text has {len(held_out)} characters, and "
                              f"{_STREAMS} are the least; give a longer text")
    before, after = known.encode(), held_out.encode()
    with tempfile.TemporaryDirectory() as folder:
        coders = [*_general(), *_ppmd(), *_zpaq(Path(folder))]
        steps = len(coders) + len(_KNESER_NEY_ORDERS)
        measured: dict[tuple[str, object], tuple[float, int, _Coder]] = {}
        for number, coder in enumerate(coders, 1):
            alone = coder.size(before)
            bits = 8 * (coder.size(before + after) - alone) / len(after)
            key = coder.name, coder.rival
            if key not in measured or bits < measured[key][0]:
                measured[key] = bits, alone, coder
            _tell(progress, number, steps + len(measured))
        found = []
        for bits, alone, coder in measured.values():
            cold = _cold(coder, alone, before, after, pieces) if coder.cold else (None, None)
            found.append(Anchor(name=coder.name, note=coder.note, memory_bytes=coder.memory(),
                                adaptive=bits, cold=cold[0], cold_error=cold[1]))
            _tell(progress, len(coders) + len(found), steps + len(measured))
    found += _kneser_ney(known, held_out)
    _tell(progress, steps + len(measured), steps + len(measured))
    return found


def _tell(progress: Progress | None, done: int, steps: int) -> None:
    if progress is not None:
        progress(done, steps)


def _cold(coder: _Coder, alone: int, known: bytes, held_out: bytes, pieces: int
          ) -> tuple[float, float]:
    """Return the mean of pieces that are spread over the held-out part, and its error.

    ``alone`` is the size of what is known.
    """
    length = len(held_out) // _STREAMS
    chosen = [held_out[length * stream:][:length]
              for stream in np.linspace(0, _STREAMS - 1, pieces).astype(int).tolist()]
    bits = [8 * (coder.size(known + piece) - alone) / length for piece in chosen]
    return fmean(bits), stdev(bits) / math.sqrt(len(bits))


def _general() -> Iterator[_Coder]:
    yield _Coder("zlib -9", "window of 32 KiB", lambda data: len(zlib.compress(data, 9)),
                 lambda: 32 * _KIB)
    yield _Coder("bzip2 -9", "blocks of 900 kB", lambda data: len(bz2.compress(data, 9)))
    yield _Coder("xz -9e", "dictionary of 64 MiB", lambda data: len(
        lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)))


def _ppmd() -> Iterator[_Coder]:
    try:
        import pyppmd
    except ImportError as error:
        raise MissingPackageError("PPMd needs the package pyppmd, which is not installed; "
                                  + pip_install("trilight[anchors]")) from error

    def sized(order: int, memory: int) -> Size:
        def size(data: bytes) -> int:
            encoder = pyppmd.Ppmd8Encoder(order, memory)
            return len(encoder.encode(data)) + len(encoder.flush(True))

        return size

    for memory in ppmd_memories:
        for order in _PPMD_ORDERS:
            yield _Coder("PPMd (var. I)", f"order {order}", sized(order, memory),
                         partial(int, memory), rival=memory, cold=True)


def _zpaq(folder: Path) -> Iterator[_Coder]:
    """Methods of zpaq, with the most memory that the program took; none where it is missing."""
    program = shutil.which("zpaq")
    if program is None:
        return
    for note, method in _ZPAQ.items():
        size = _ZpaqSize(program, method, folder)
        yield _Coder("zpaq", note, size, size.memory, rival=method)


class _ZpaqSize:
    """Size of an archive, and the most memory that zpaq took for one."""

    def __init__(self, program: str, method: str, folder: Path) -> None:
        self._program, self._method, self._folder = program, method, folder
        self._peak_bytes = 0

    def memory(self) -> int:
        """Return the most bytes that the program has taken so far."""
        return self._peak_bytes

    def __call__(self, data: bytes) -> int:
        text, archive = self._folder / "text", self._folder / "archive.zpaq"
        text.write_bytes(data)
        archive.unlink(missing_ok=True)
        process = subprocess.Popen(
            [self._program, "add", archive.name, text.name, "-method", self._method, "-threads",
             "1"], cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise EvaluationError(f"zpaq ended with {process.returncode}; update it, or take it "
                                  "out of the PATH to do without")
        self._peak_bytes = max(self._peak_bytes, usage.ru_maxrss * _KIB)
        return archive.stat().st_size


def _kneser_ney(known: str, held_out: str) -> Iterator[Anchor]:
    """N-grams of the text that is known, which learn nothing more."""
    number = {character: i for i, character in enumerate(sorted(set(known + held_out)))}
    tokens = np.array([number[character] for character in known + held_out], np.int64)
    length = len(held_out.encode())
    for order in _KNESER_NEY_ORDERS:
        model = KneserNey(tokens[:len(known)], len(number), order)
        bits = model.nats(tokens, len(held_out)) / math.log(2)
        means = [piece.sum() / len(piece) for piece in np.array_split(bits, _STREAMS)]
        yield Anchor(name="Kneser-Ney", note=f"order {order}, {model.n_grams:,} n-grams",
                     memory_bytes=_N_GRAM_BYTES * model.n_grams, cold=float(bits.sum()) / length,
                     cold_error=stdev(means) / math.sqrt(_STREAMS))
