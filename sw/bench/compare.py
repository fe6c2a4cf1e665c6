"""Rules of what may be compared with what, and the warning where it may not."""

from collections.abc import Mapping, Sequence
from typing import Any

from .figures import BOUNDARIES, ends

__all__ = ["compare_rival", "compare_systems"]

SAME_MODEL_ONLY = "another model: tokens, parameters and quality differ"


def compare_systems(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any] | None:
    """Compare the energy of two systems of a report; ``None`` unless both have one.

    Returns
    -------
    dict
        ``ratio``: how many times more tokens per joule ``first`` has, as a range from the ends of
        both, whose upper end is ``None`` if the other may have none at all; ``warnings``, empty
        only if boundary, provenance and tokens agree.
    """
    ours, theirs = (system["figures"]["tokens_per_joule"] for system in (first, other))
    if ours["value"] is None or theirs["value"] is None:
        return None
    warnings = _differences(ours["boundary"], theirs["boundary"])
    if ours["provenance"] != theirs["provenance"]:
        warnings.append(f"{ours['provenance']} against {theirs['provenance']}")
    if not other["tokens"]["same_as_reference"]:
        warnings.append("the tokens are not the same")
    return _entry(first["name"], other["name"], ours, ends(theirs), warnings)


def compare_rival(first: Mapping[str, Any], rival: Mapping[str, Any]) -> dict[str, Any] | None:
    """Compare the energy of a system with a row of the field; ``None`` if it has none."""
    ours = first["figures"]["tokens_per_joule"]
    if ours["value"] is None:
        return None
    warnings = _differences(ours["boundary"], rival["boundary"])
    if ours["provenance"] != rival["status"]:
        warnings.append(f"{ours['provenance']} against {rival['status']}")
    low, high = rival["tokens_per_joule"]
    return _entry(first["name"], rival["name"], ours, (low, high), [*warnings, SAME_MODEL_ONLY])


def _differences(ours: str, theirs: str) -> list[str]:
    if ours == theirs:
        return []
    return [f"{BOUNDARIES[ours].title} against {BOUNDARIES[theirs].title}"]


def _entry(first: str, other: str, ours: Mapping[str, Any], theirs: tuple[float, float],
           warnings: Sequence[str]) -> dict[str, Any]:
    low, high = ends(ours)
    return {"first": first, "other": other, "quantity": "tokens_per_joule",
            "ratio": [low / theirs[1], high / theirs[0] if theirs[0] else None],
            "warnings": list(warnings)}
