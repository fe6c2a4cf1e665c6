"""Bundled models."""

from importlib.resources import files
from pathlib import Path

__all__ = ["default_model_path"]


def default_model_path() -> Path:
    """Return the path of the default model."""
    return Path(str(files(__name__) / "shakespeare.safetensors"))
