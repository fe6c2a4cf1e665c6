"""Numbers for people."""

from trilight.sw.report.display import format_number

__all__ = ["span", "with_prefix"]

_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


def with_prefix(low: float, unit: str, high: float | None = None) -> str:
    """A number or a range, with the prefix that keeps it from 1 to 1000: ``9.3 to 17 µJ``."""
    largest = low if high is None else high
    factor, prefix = next(((f, p) for f, p in _PREFIXES if abs(largest) >= f), (1.0, ""))
    return f"{span(low / factor, largest / factor)} {prefix}{unit}"


def span(low: float, high: float) -> str:
    """A range, as one number if both ends read the same."""
    ends = format_number(low), format_number(high)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
