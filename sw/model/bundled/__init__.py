"""Bundled models."""

from importlib.resources import files
from pathlib import Path

__all__ = ["default_model_path"]


def default_model_path() -> Path:
    """Where the model lies that is used unless another is named."""
    return Path(str(files(__name__) / "shakespeare.safetensors"))
