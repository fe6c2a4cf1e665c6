"""Every parser that is fuzzed, by name."""

from .bitstreams import BITSTREAM
from .checkpoints import CHECKPOINTS
from .files import CSV, IMAGE, MEASUREMENTS, MODEL, RESULTS, TEXTS
from .links import ANSWERS, DEVICE
from .settings import RECORDS, SETTINGS
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
    "settings": SETTINGS,
    "records": RECORDS,
    "bitstream": BITSTREAM,
    "checkpoints": CHECKPOINTS,
}
