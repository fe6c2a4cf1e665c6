"""Flash images of models, which another part of the package makes."""

from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from trilight.hw.contract.device import Device
from trilight.hw.contract.errors import BuildError

__all__ = ["IMAGES", "Speech", "make_image"]

IMAGES = "trilight.flash_images"
"""Entry points group of what makes a flash image of a model: see ``ImageMaker``."""


class ImageMaker(Protocol):
    """Maker of a flash image.

    ``model`` is a file, or ``None`` for the largest bundled model that fits; ``say`` a prompt or
    ``None``. It raises an error that names the boards with room for the model if this device has
    none.
    """

    def __call__(self, model: Path | None, device: Device, *, say: str | None, tokens: int,
                 temperature: float, seed: int) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Speech:
    """Settings of what a chip says by itself at power-up, or after a line that is typed."""

    say: str | None = None
    """Prompt; nothing is said at power-up without one."""
    tokens: int = 1000
    temperature: float = 0.8
    seed: int = 0


def make_image(model: str, device: Device, speech: Speech) -> bytes:
    """Return the flash image of a model file, or of the ``bundled`` model.

    Raises
    ------
    TrilightError
        It can not be made; the text says why.
    """
    makers = list(entry_points(group=IMAGES))
    if not makers:
        raise BuildError("nothing here makes flash images; install trilight again")
    make: ImageMaker = makers[0].load()
    return make(None if model == "bundled" else Path(model), device, say=speech.say,
                tokens=speech.tokens, temperature=speech.temperature, seed=speech.seed)
