"""Targets of a search: a quality to reach, and limits of what it may cost."""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trilight.sw.errors import DesignError

__all__ = ["COSTS", "QUALITIES", "Target", "parse_targets"]

QUALITIES = {"bits/byte": "<=", "accuracy": ">=", "auc": ">="}
"""Measures of quality, and the side that is better."""

COSTS = {"bytes": "<=", "uJ/token": "<=", "uJ/line": "<=", "ms/line": "<=", "cycles/token": "<=",
         "tokens/s": ">="}
"""Costs of a model on a board, and the side that is better."""

_OPERATORS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}

_FORM = re.compile(r"\s*([A-Za-z/]+)\s*(<=|>=)\s*([0-9.eE+-]+)\s*")


@dataclass(frozen=True)
class Target:
    """A bound, such as ``bits/byte <= 2.3``."""

    name: str
    """Name in ``QUALITIES`` or ``COSTS``."""
    sign: str
    """``<=`` or ``>=``."""
    value: float

    def met(self, value: float | None) -> bool:
        """Tell if a figure keeps to the bound; one that is not known does not."""
        return value is not None and _OPERATORS[self.sign](value, self.value)

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.value:g}"


def parse_targets(texts: Sequence[str], quality: str) -> tuple[Target | None, tuple[Target, ...]]:
    """Return the bound of quality, if one is given, and those of costs.

    Parameters
    ----------
    texts
        Such as ``accuracy >= 0.95`` or ``uJ/token <= 5``.
    quality
        Measure of quality of what is searched for.

    Raises
    ------
    DesignError
        A text is no bound, bounds something else, or on the wrong side.
    """
    found = [_parse(text) for text in texts]
    asked = [target for target in found if target.name in QUALITIES]
    if wrong := [target.name for target in asked if target.name != quality]:
        raise DesignError(f"the quality of this search is {quality}, not {wrong[0]}; a text has "
                          "bits/byte, labelled lines accuracy, lines with anomalies auc")
    if len(asked) > 1:
        raise DesignError(f"one bound of {quality} is wanted, not {len(asked)}")
    return (asked[0] if asked else None), tuple(
        target for target in found if target.name in COSTS)


def _parse(text: str) -> Target:
    match = _FORM.fullmatch(text)
    sides = {**QUALITIES, **COSTS}
    name = next((known for known in sides if match and known.lower() == match[1].lower()), None)
    if match is None or name is None:
        raise DesignError(f"a target is a name, <= or >=, and a number, such as "
                          f"\"bits/byte <= 2.3\", not {text!r}; names are {', '.join(sides)}")
    if match[2] != sides[name]:
        raise DesignError(f"{name} is better the other way: write \"{name} {sides[name]} "
                          f"{match[3]}\", not {text!r}")
    try:
        return Target(name, match[2], float(match[3]))
    except ValueError:
        raise DesignError(f"{match[3]!r} of {text!r} is no number") from None
