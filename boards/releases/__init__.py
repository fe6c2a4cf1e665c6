"""Figures of the released builds, as ``trilight build --release`` writes them.

They let a report state clock, area and energy without placing and routing anything. They belong
to a design, by its digest: a report uses them for that design only.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

__all__ = ["icebreaker", "icebreaker_module", "load_release", "module_path", "release_path"]


def release_path(board: str) -> Path:
    """Return the path of a board's figures."""
    return Path(str(files(__name__) / f"{board}.json"))


def load_release(board: str) -> dict[str, Any] | None:
    """Return the figures of a board's released build; ``None`` if nothing is released for it."""
    path = release_path(board)
    if not path.is_file():
        return None
    figures: dict[str, Any] = json.loads(path.read_text())
    return figures


def module_path(board: str) -> Path:
    """Return the path of a board's simulated chip: its netlist as WebAssembly, compressed."""
    return Path(str(files(__name__) / f"{board}.wasm.gz"))


def icebreaker_module() -> Path:
    """Return where the iCEBreaker's simulated chip lies."""
    return module_path("icebreaker")


def icebreaker() -> dict[str, Any]:
    """Return the figures of the iCEBreaker's build."""
    figures = load_release("icebreaker")
    assert figures is not None, "its figures are bundled"
    return figures
