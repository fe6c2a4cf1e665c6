"""Speeds of a board with a model: cycles and tokens per second, computed from sizes and clock."""

from typing import Any

from trilight.hw.contract.device import Device
from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.model.bundled import bundled_model
from trilight.sw.model.model import Model
from trilight.sw.train.shape import choose_config

from .performance import predict

__all__ = ["board_speed", "speed"]

VOCABULARY = 65
"""Tokens of the largest model: the characters of the bundled ones."""


def speed(config: ModelConfig, device: Device, clock_hz: float) -> dict[str, Any]:
    """Return cycles of a generated token, and tokens per second of all sequences together.

    Both by number of sequences at once, as text, ready for JSON.
    """
    cycles = {str(n): predict(config, sequences=n, device=device).cycles_per_token
              for n in range(1, device.sequences + 1)}
    return {"weights": config.ternary_weights, "cycles_per_token": cycles,
            "tokens_per_s": {n: clock_hz / number for n, number in cycles.items()}}


def board_speed(device: Device, clock_hz: float) -> dict[str, Any]:
    """Figures of a board's chip: what it holds, and how fast it is.

    Cycles are computed, and equal those that the chip counts.

    Returns
    -------
    dict
        ``weights``: ternary weights that its memory holds. ``bundled``: name and figures of the
        bundled model that fits it, the largest; ``None`` if none does. ``largest``: shape and
        figures of the largest model of as many characters. With a bundled model also its
        ``cycles_per_token`` and ``model_sha256``.
    """
    path = bundled_model(device)
    figures: dict[str, Any] = {}
    bundled = None
    if path is not None:
        model = Model.load(path)
        bundled = {"model": path.stem, **speed(model.config, device, clock_hz)}
        figures = {"model_sha256": model.sha256,
                   "cycles_per_token": bundled["cycles_per_token"]["1"]}
    largest = choose_config(VOCABULARY, device)
    return figures | {"capacity": {
        "weights": device.weight_words * device.packing.block,
        "bundled": bundled,
        "largest": {"shape": largest.to_dict(), **speed(largest, device, clock_hz)}}}
