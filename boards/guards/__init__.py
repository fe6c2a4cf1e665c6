"""What the builds once were: figures that ``trilight guard`` does not let get worse.

A release says what a build is, and follows every change of the gateware. These files say what it
was when someone last agreed to it, and change only by ``trilight guard --update``.
"""

from importlib.resources import files
from pathlib import Path

__all__ = ["record_path"]


def record_path(board: str) -> Path:
    """Where the recorded figures of a board lie."""
    return Path(str(files(__name__) / f"{board}.json"))
