"""Assumptions by name: the bundled ones, and what a user sets in their place."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from trilight.sw.errors import ImpactError

__all__ = ["OPTIONAL", "Assumption", "load_assumptions", "value_of"]

OPTIONAL = {
    "embodied_kg": ("kgCO2e", "making and shipping the board"),
    "rest_of_board_watts": ("W", "all of the board but the FPGA core, all day"),
    "board_price": ("currency units", "what was paid for the board"),
    "other_idle_watts": ("W", "the other system while it waits, all day"),
    "other_embodied_kg": ("kgCO2e", "making the other system"),
    "other_price": ("currency units", "what was paid for the other system"),
}
"""Unit and meaning of assumptions that have no value unless a user gives one."""


@dataclass(frozen=True)
class Assumption:
    """Number that is taken for granted."""

    value: float
    unit: str
    source: str


def load_assumptions(changes: Sequence[str] = ()) -> dict[str, Assumption]:
    """Return the assumptions, with changes such as ``grid_g_per_kwh=40``.

    Raises
    ------
    ImpactError
        A change names no assumption, or its value is no number of zero or more.
    """
    text = (resources.files("trilight.sw.impact") / "assumptions.toml").read_text("utf-8")
    found = {name: Assumption(float(entry["value"]), entry["unit"], entry["source"])
             for name, entry in tomllib.loads(text).items()}
    for change in changes:
        name, equals, given = change.partition("=")
        if not equals or name not in found.keys() | OPTIONAL.keys():
            raise ImpactError(f"--set must be NAME=VALUE with one of "
                              f"{', '.join([*found, *OPTIONAL])}, not {change!r}")
        try:
            value = float(given)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise ImpactError(f"{name} must be a number of zero or more, not {given!r}")
        unit = found[name].unit if name in found else OPTIONAL[name][0]
        found[name] = Assumption(value, unit, "set by the user")
    return found


def value_of(assumptions: Mapping[str, Assumption], name: str) -> float | None:
    """Return the value of an assumption, ``None`` if it has none."""
    found = assumptions.get(name)
    return None if found is None else found.value
