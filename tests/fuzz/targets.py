"""Every parser that is fuzzed, by name."""

from .files import CSV, IMAGE, MEASUREMENTS, MODEL, RESULTS, TEXTS
from .links import ANSWERS, DEVICE
from .target import Target

__all__ = ["TARGETS"]

TARGETS: dict[str, Target] = {
    "image": IMAGE,
    "csv": CSV,
    "model": MODEL,
    "device": DEVICE,
    "answers": ANSWERS,
    "results": RESULTS,
    "measurements": MEASUREMENTS,
    "texts": TEXTS,
}
