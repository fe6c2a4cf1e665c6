"""Anchors: what classic compressors make of a text, so that a model's bits per byte have company.

A compressor is asked for the text with and without its held-out part; the difference is what that
part costs after the rest is known. It goes on learning through the held-out part, as a model does
that adapts. Memory is what makes the comparison fair: PPMd is limited to as much as it may have,
the others have a window or blocks of their own.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from trilight.hw.support.extras import pip_install
from trilight.sw.errors import EvaluationError, MissingPackageError

__all__ = ["Anchor", "anchors", "anchors_svg", "ppmd_memories"]

_PPMD_ORDERS = range(2, 9)

_KIB, _MIB = 1 << 10, 1 << 20

ppmd_memories = (128 * _KIB, 256 * _KIB, 512 * _KIB, _MIB, 2 * _MIB, 4 * _MIB, 64 * _MIB)
"""Bytes that PPMd is given in turn: the first are those of the bundled model's weights, the last
more than it takes for a megabyte of text."""


@dataclass(frozen=True)
class Anchor:
    """Bits per byte of a held-out part, coded after the rest of the text."""

    name: str
    memory_bytes: int | None
    """Memory of the model that the coder keeps; ``None`` if it cannot be set."""
    bits_per_byte: float
    note: str


def anchors(known: bytes, held_out: bytes, *, progress: Callable[[int, int], None] | None = None
            ) -> list[Anchor]:
    """Return what compressors make of a held-out part, PPMd by the memory that it is given.

    Of PPMd the best order is shown, chosen on the held-out part itself: in its favour.

    Raises
    ------
    EvaluationError
        The held-out part is empty.
    MissingPackageError
        The package of PPMd is missing.
    """
    if not held_out:
        raise EvaluationError("the held-out part of the text is empty; give a longer text")
    steps = [*_general(), *_ppmd()]
    found: dict[tuple[str, int | None], Anchor] = {}
    for number, (name, memory, note, size) in enumerate(steps, 1):
        bits = 8 * (size(known + held_out) - size(known)) / len(held_out)
        best = found.get((name, memory))
        if best is None or bits < best.bits_per_byte:
            found[name, memory] = Anchor(name, memory, bits, note)
        if progress is not None:
            progress(number, len(steps))
    return list(found.values())


_Step = tuple[str, int | None, str, Callable[[bytes], int]]


def _general() -> Iterator[_Step]:
    yield "zlib -9", 32 * _KIB, "window of 32 KiB", lambda data: len(zlib.compress(data, 9))
    yield "bzip2 -9", None, "blocks of 900 kB", lambda data: len(bz2.compress(data, 9))
    yield ("xz -9e", None, "dictionary of 64 MiB", lambda data: len(
        lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)))


def _ppmd() -> Iterator[_Step]:
    try:
        import pyppmd
    except ImportError as error:
        raise MissingPackageError("PPMd needs the package pyppmd, which is not installed; "
                                  + pip_install("trilight[anchors]")) from error

    def sized(order: int, memory: int) -> Callable[[bytes], int]:
        def size(data: bytes) -> int:
            encoder = pyppmd.Ppmd8Encoder(order, memory)
            return len(encoder.encode(data)) + len(encoder.flush(True))

        return size

    for memory in ppmd_memories:
        for order in _PPMD_ORDERS:
            yield "PPMd (var. I)", memory, f"order {order}", sized(order, memory)


def anchors_svg(rows: list[Anchor], ours: dict[str, tuple[int, float]]) -> str:
    """Draw bits per byte against memory, PPMd as a line and ours as points.

    Parameters
    ----------
    ours
        By name, bytes and bits per byte.

    Raises
    ------
    MissingPackageError
        Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("a plot needs Matplotlib, which is not installed; "
                                  + pip_install("trilight[plots]")) from error
    import io

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    line: list[Any] = sorted((row.memory_bytes, row.bits_per_byte) for row in rows
                             if row.name.startswith("PPMd") and row.memory_bytes)
    axes.plot(*zip(*line, strict=True), "o-", color="#4063a3", label="PPMd, best order")
    for colour, (name, (size, bits)) in zip(("#c2703d", "#4f8a5b", "#8a4f7d"), ours.items(),
                                            strict=False):
        axes.plot(size, bits, "*", markersize=14, color=colour, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks([size for size, _ in line],
                    [f"{size // _KIB} KiB" if size < _MIB else f"{size // _MIB} MiB"
                     for size, _ in line])
    axes.minorticks_off()
    axes.set_xlabel("memory of the model")
    axes.set_ylabel("bits per byte of held-out text")
    axes.grid(alpha=0.3)
    axes.legend()
    out = io.StringIO()
    figure.savefig(out, format="svg")
    return out.getvalue()
