"""Bundled models."""

from importlib.resources import files
from pathlib import Path

from trilight.hw.contract.device import Device

__all__ = ["bundled_model", "bundled_models", "default_model_path"]


def bundled_models() -> list[Path]:
    """Return the paths of all bundled models, by name."""
    return sorted(Path(str(files(__name__))).glob("*.safetensors"))


def default_model_path() -> Path:
    """Return the path of the default model."""
    return Path(str(files(__name__) / "shakespeare.safetensors"))


def bundled_model(device: Device) -> Path | None:
    """Return the path of the bundled model with most weights that fits a device, if one does."""
    from trilight.sw.model.model import Model

    configs = {path: Model.load(path).config for path in bundled_models()}
    fitting = [path for path, config in configs.items() if not config.violations(device)]
    return max(fitting, key=lambda path: configs[path].ternary_weights, default=None)
