"""Text that a corpus holds twice: how much of its held-out part, and the corpus without it.

Needs no PyTorch.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHORTEST_LINE", "WINDOW", "repeated_share", "without_repeats"]

WINDOW = 32
"""Characters in a row, a power of two: as many that are the same are no chance in prose."""

SHORTEST_LINE = 32
"""Characters of a line, at least, to count as repeated text: shorter ones, such as the names in a
play, may well come twice."""

_FACTOR = 0x9E37_79B9_7F4A_7C15
_MOST_HASHES = 1 << 22
"""Windows of the text that are remembered, so that a long one takes no more memory."""


def repeated_share(train: str, held_out: str) -> float:
    """Return the share of the held-out windows of 32 characters that the training part has too.

    Windows are compared by 64-bit hashes; of a long text by those of a part of the windows, chosen
    by their hash, so that the same ones are chosen in both parts.
    """
    if min(len(train), len(held_out)) < WINDOW:
        return 0.0
    every = np.uint64(1 + len(train) // _MOST_HASHES)
    known, asked = (_hashes(part) for part in (train, held_out))
    asked = asked[asked % every == 0]
    return float(np.isin(asked, known[known % every == 0]).mean()) if len(asked) else 0.0


def _hashes(text: str) -> NDArray[np.uint64]:
    """Return a polynomial hash of each window, modulo 2**64, then mixed."""
    hashes = np.frombuffer(text.encode("utf-32-le"), np.uint32) + np.uint64(1)
    length = 1
    while length < WINDOW:
        shift = np.uint64(pow(_FACTOR, length, 1 << 64))
        hashes = hashes[:-length] * shift + hashes[length:]
        length *= 2
    # The low bits of the sum are of the last few characters alone.
    return np.asarray((hashes ^ hashes >> np.uint64(32)) * np.uint64(_FACTOR) >> np.uint64(8))


def without_repeats(text: str, also: Collection[str] = ()) -> tuple[str, int]:
    """Return a text without the lines that come a second time, and how many those were.

    Parameters
    ----------
    text
    also
        Lines that may not come at all, such as those that are held out.

    Lines of fewer than ``SHORTEST_LINE`` characters stay.
    """
    seen = set(also)
    kept = []
    lines = text.splitlines(keepends=True)
    for line in lines:
        if (content := line.rstrip("\n")) not in seen or len(content) < SHORTEST_LINE:
            kept.append(line)
        seen.add(content)
    return "".join(kept), len(lines) - len(kept)
