"""Loss by frequency bucket: of frequent, middle and rare characters and words."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from trilight.hw.support.terminal import Console

__all__ = ["BUCKETS", "CUTS", "frequency_buckets", "print_quality"]

BUCKETS = ("frequent", "middle", "rare")

CUTS = {"characters": (0.80, 0.98), "words": (0.50, 0.90)}
"""Shares of the known text that the frequent kinds make up, and these with the middle ones."""

_LEARNING = {"static": "nothing", "order_1": "biases by the last character",
             "orders_1_and_2": "and by the last two"}

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def frequency_buckets(text: str, losses: Mapping[str, NDArray[np.float64]],
                    known: str) -> dict[str, list[dict[str, Any]]]:
    """Mean losses over frequent, middle and rare characters and words.

    The kinds (distinct characters, or words in lower case) are ordered by how often they occur in
    the known text; ``CUTS`` divides the order. A kind that does not occur there is rare.

    Parameters
    ----------
    text
        What was predicted.
    losses
        By name of what predicted: nats of each character of ``text``, NaN where not scored. A word
        counts if all its characters are scored.
    known
        The text that frequencies are taken from, as a rule what was trained on.

    Returns
    -------
    dict
        For ``"characters"`` and ``"words"`` one row a bucket: ``bucket``, ``kinds`` (in ``text``),
        ``occurrences``, ``share`` (of the occurrences) and ``nats``, by name, per character or
        per word; ``None`` of an empty bucket.
    """
    places = {
        "characters": [(character, i, i + 1) for i, character in enumerate(text)],
        "words": [(m[0].lower(), m.start(), m.end()) for m in _WORD.finditer(text)],
    }
    kinds_known: dict[str, Iterable[str]] = {
        "characters": known,
        "words": (m[0].lower() for m in _WORD.finditer(known)),
    }
    return {what: _rows(places[what], losses, _buckets(Counter(kinds_known[what]), CUTS[what]))
            for what in CUTS}


def _buckets(counts: Counter[str], cuts: tuple[float, ...]) -> dict[str, int]:
    """Bucket of each kind: that of the share which more frequent kinds make up."""
    ranked = sorted(counts, key=lambda kind: (-counts[kind], kind))
    shares = np.cumsum([0, *(counts[kind] for kind in ranked)]) / max(counts.total(), 1)
    return dict(zip(ranked, np.searchsorted(cuts, shares[:-1], side="right").tolist(),
                    strict=True))


def _rows(places: list[tuple[str, int, int]], losses: Mapping[str, NDArray[np.float64]],
          bucket_of: Mapping[str, int]) -> list[dict[str, Any]]:
    begins = np.array([begin for _, begin, _ in places], np.int64)
    ends = np.array([end for _, _, end in places], np.int64)
    buckets = np.array([bucket_of.get(kind, len(BUCKETS) - 1) for kind, _, _ in places], np.int64)
    sums = {name: _spans(nats, begins, ends) for name, nats in losses.items()}
    scored = ~np.isnan(np.sum(list(sums.values()), axis=0))
    rows = []
    for number, bucket in enumerate(BUCKETS):
        chosen = scored & (buckets == number)
        count = int(chosen.sum())
        rows.append({
            "bucket": bucket,
            "kinds": len({places[i][0] for i in np.flatnonzero(chosen)}),
            "occurrences": count,
            "share": count / max(int(scored.sum()), 1),
            "nats": {name: float(nats[chosen].sum()) / count if count else None
                     for name, nats in sums.items()},
        })
    return rows


def _spans(nats: NDArray[np.float64], begins: NDArray[np.int64],
           ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums over [begin, end), NaN where a member is."""
    missing = np.concatenate([[0], np.cumsum(np.isnan(nats))])
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(nats))])
    sums: NDArray[np.float64] = total[ends] - total[begins]
    sums[missing[ends] != missing[begins]] = np.nan
    return sums


def print_quality(results: Mapping[str, Any], console: Console) -> None:
    """Show the results of ``trilight evaluate`` as tables."""
    table = Table("\nprotocol", "\nnats/char", "\nbits/char", "\nbits/byte", "\ncharacters",
                  "calibration\nerror", "best scale\nof logits", box=None)
    floats = results.get("float_nats_per_char")
    if floats:
        table.add_column("\nfloat, nats/char")
    for name, figures in results["protocols"].items():
        table.add_row(name, f"{figures['nats_per_char']:.4f}", f"{figures['bits_per_char']:.4f}",
                      f"{figures['bits_per_byte']:.4f}", f"{figures['characters_scored']:,}",
                      f"{figures['calibration']['expected_error']:.3f}",
                      f"{figures['calibration']['best_scale']:.3f}",
                      *([f"{floats[name]:.4f}"] if floats else []))
    console.print(table)
    for what, rows in results["frequency"].items():
        names = list(rows[0]["nats"])
        unit = what.removesuffix("s")
        table = Table(f"\n{what}", "\nkinds", "\nshare", *(f"{name},\nnats/{unit}"
                                                           for name in names), box=None)
        if floats:
            table.add_column("more,\nin parts")
        for row in rows:
            nats = list(row["nats"].values())
            cells = [f"{value:.3f}" if value is not None else "" for value in nats]
            if floats:
                cells.append(f"{nats[0] / nats[1] - 1:+.1%}" if row["occurrences"] else "")
            table.add_row(row["bucket"], f"{row['kinds']:,}", f"{row['share']:.1%}", *cells)
        console.print(table)
    if adaptive := results.get("adaptive"):
        table = Table("\nread once, learning", "\nbytes", "\nnats/char", "standard\nerror",
                      "\nbits/byte", box=None)
        for name, figures in adaptive.items():
            error = figures["standard_error"]
            table.add_row(_LEARNING[name], f"{figures['bytes']:,}",
                          f"{figures['nats_per_char']:.4f}", f"{error:.3f}" if error else "",
                          f"{figures['bits_per_byte']:.4f}")
        console.print(table)
    if agreement := results.get("agreement"):
        console.print(f"\n{agreement['target']} drew the {agreement['tokens_compared']} tokens of "
                      f"the reference at {agreement['places']} places of the text")
