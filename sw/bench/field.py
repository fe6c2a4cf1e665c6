"""Published figures of other systems, and what follows from them.

``field.json`` holds what the sources say; joules per token, tokens per joule and ternary weights
per joule are computed here.
"""

import json
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Literal

from trilight.sw.errors import BenchError
from trilight.sw.records import json_ready, read_record

__all__ = ["STATUSES", "FieldEntry", "Rival", "Status", "load_field", "rival_entry"]

Status = Literal["measured", "claimed", "vendor estimate", "projected", "assumed"]

STATUSES: tuple[Status, ...] = ("measured", "claimed", "vendor estimate", "projected", "assumed")
"""Provenance of published numbers, the strongest first."""

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class FieldEntry:
    """A row of the field in a report, of a rival or of a Trilight."""

    name: str
    device: str
    model: str
    source: str
    url: str | None
    boundary: str | None
    status: str | None
    parameters: int
    bits_per_byte: float | None
    quality_data: str | None
    tokens_per_s: float | None
    note: str | None
    joules_per_token: list[float]
    tokens_per_joule: list[float]
    giga_ternary_macs_per_joule: list[float]


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Published figures of one system."""

    name: str
    device: str
    model: str
    source: str
    url: str
    parameters: float | None
    ternary_weights_per_token: float | None
    """``None`` for a model that is not ternary."""
    tokens_per_s: float | None
    tokens_per_s_status: Status | None
    watts: Range | None
    """Smallest and largest value that the source gives."""
    watts_status: Status
    boundary: str
    bits_per_byte: float | None
    quality_data: str | None
    """Data that the bits per byte were measured on."""
    note: str
    stated_joules_per_token: Range | None
    """Only where the source gives it in place of speed and power."""

    @property
    def status(self) -> Status:
        """Status of the weaker one of speed and power, for a figure that rests on both."""
        known = [s for s in (self.tokens_per_s_status, self.watts_status) if s is not None]
        return max(known, key=STATUSES.index)

    @property
    def joules_per_token(self) -> Range:
        if self.stated_joules_per_token is not None:
            return self.stated_joules_per_token
        assert self.watts is not None
        assert self.tokens_per_s is not None
        return self.watts[0] / self.tokens_per_s, self.watts[1] / self.tokens_per_s

    @property
    def tokens_per_joule(self) -> Range:
        low, high = self.joules_per_token
        return 1 / high, 1 / low

    @property
    def giga_ternary_macs_per_joule(self) -> Range | None:
        """Ternary weights used per joule / 1e9; ``None`` for a model that is not ternary."""
        if self.ternary_weights_per_token is None:
            return None
        low, high = self.tokens_per_joule
        return (low * self.ternary_weights_per_token / 1e9,
                high * self.ternary_weights_per_token / 1e9)


@cache
def load_field() -> tuple[Rival, ...]:
    """Return the systems of ``field.json``, in its order."""
    text = resources.files("trilight.sw.bench").joinpath("field.json").read_text(encoding="utf-8")
    return tuple(read_record(Rival, row, BenchError, "row of the field")
                 for row in json.loads(text)["rows"])


def rival_entry(rival: Rival) -> dict[str, Any]:
    """A rival as it stands in a report, derived figures included; ranges as ``[low, high]``."""
    entry: dict[str, Any] = json_ready(
        {field.name: getattr(rival, field.name) for field in fields(FieldEntry)})
    return entry
