"""Energy of the processor while a training runs, where this computer counts it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from trilight.sw.errors import MeterError
from trilight.sw.meters import open_meter

__all__ = ["processor_energy"]

METER = "rapl,rate=0.1"
"""Often enough for a counter that starts again after an hour at full power."""


@contextmanager
def processor_energy(meter: str = METER) -> Iterator[dict[str, Any]]:
    """Yield a mapping that afterwards holds ``joules``, ``seconds``, ``meter`` and ``covers``.

    It covers the processor packages with all that they did meanwhile, and stays empty where there
    is no counter, as on most virtual machines, or none that may be read.
    """
    found: dict[str, Any] = {}
    try:
        counter = open_meter(meter)
        counter.start()
    except MeterError:
        yield found
        return
    try:
        yield found
    finally:
        recording = counter.stop()
        steps = np.diff(recording.t_s)
        if recording.lost is None and steps.size:
            found.update(joules=float(recording.watts[1:] @ steps), seconds=float(steps.sum()),
                         meter=recording.metadata.type, covers=recording.boundary)
