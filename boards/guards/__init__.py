"""Records of earlier builds: figures that ``trilight guard`` does not let get worse.

A release says what a build is, and follows every change of the gateware. These files say what it
was when someone last agreed to it, and change only by ``trilight guard --update``.
"""

from importlib.resources import files
from pathlib import Path

__all__ = ["record_path"]


def record_path(board: str) -> Path:
    """Return the path of a board's recorded figures."""
    return Path(str(files(__name__) / f"{board}.json"))
