"""The parts of a measurement."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Phase"]


@dataclass(frozen=True)
class Phase:
    """A stretch of time in which the device does one thing."""

    kind: Literal["idle", "warm-up", "pause", "window"]
    name: str
    start_s: float
    """Start on the host's monotonic clock."""
    end_s: float
    tokens: int = 0

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s
