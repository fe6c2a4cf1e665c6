"""Every parser that is fuzzed, by name."""

from .files import CSV, IMAGE, MEASUREMENTS, MODEL, RESULTS, TEXTS
from .target import Target

__all__ = ["TARGETS"]

TARGETS: dict[str, Target] = {
    "image": IMAGE,
    "csv": CSV,
    "model": MODEL,
    "results": RESULTS,
    "measurements": MEASUREMENTS,
    "texts": TEXTS,
}
