"""Numbers for people."""

from trilight.sw.report import format_number

__all__ = ["span", "with_prefix"]

_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


def with_prefix(value: float, unit: str) -> str:
    """A number of three digits, with the prefix that keeps it from 1 to 1000: ``12.5 µJ``."""
    factor, prefix = next(((f, p) for f, p in _PREFIXES if abs(value) >= f), (1.0, ""))
    return f"{format_number(value / factor)} {prefix}{unit}"


def span(low: float, high: float) -> str:
    """A range, as one number if both ends read the same."""
    ends = format_number(low), format_number(high)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
