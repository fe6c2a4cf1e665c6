"""Errors that gateware and boards share with the host; standard library only.

Each derives from ``TrilightError``, so one clause catches them all; ``trilight.sw.errors`` has the
rest.
"""

from typing import Any

__all__ = ["BoardError", "BuildError", "CacheError", "CapacityError", "RegressionError",
           "TimingError", "TrilightError"]


class TrilightError(Exception):
    """Base of all errors: the text says what was wrong, what was received and what to try."""


class CapacityError(TrilightError, ValueError):
    """A model does not fit a device; the text lists every limit it breaks."""


class BoardError(TrilightError):
    """A clock, a serial speed or a board that cannot be had."""


class BuildError(TrilightError):
    """A tool of a build failed or is missing; the text names its log."""


class CacheError(BuildError):
    """A cache folder that cannot be used; the text names it and what to set."""


class TimingError(BuildError):
    """A placed and routed design that is too slow for its clock.

    Parameters
    ----------
    message : str
    figures : dict
        Of the fastest placement, as of a build that is fast enough.
    """

    def __init__(self, message: str, figures: dict[str, Any]) -> None:
        super().__init__(message)
        self.figures = figures


class RegressionError(TrilightError):
    """Figures of a build that have become worse; the text names them."""
