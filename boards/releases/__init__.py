"""Figures of the released builds, as ``trilight build --release`` writes them.

They let a report state clock, area and energy without placing and routing anything. They belong
to a design, by its digest: a report uses them for that design only.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

__all__ = ["icebreaker", "release_path"]


def release_path(board: str) -> Path:
    """Where the figures of a board lie."""
    return Path(str(files(__name__) / f"{board}.json"))


def icebreaker() -> dict[str, Any]:
    """Figures of the iCEBreaker's build."""
    figures: dict[str, Any] = json.loads(release_path("icebreaker").read_text())
    return figures
