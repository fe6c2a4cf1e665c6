"""Errors of the host side: each derives from ``TrilightError``, so one clause catches them all."""

__all__ = ["PowerError", "TrilightError"]


class TrilightError(Exception):
    """Base of the host's errors; the text says what was wrong, what was received, what to try."""


class PowerError(TrilightError):
    """An activity, a coefficient set or an operating point that the power model cannot use."""
