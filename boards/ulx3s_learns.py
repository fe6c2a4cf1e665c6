"""The ULX3S 45F with a chip that learns while it reads."""

from dataclasses import replace

from .families.ecp5 import DEVICES
from .ulx3s import Ulx3s45F

__all__ = ["DEVICE", "Ulx3s45FLearns"]

DEVICE = replace(DEVICES["45F"], name="ecp5-45f-learns", max_vocab=128, adapt_orders=2,
                 adapt_rows=128)
"""Biases by the last token and by the last two take 8 block RAMs each."""


class Ulx3s45FLearns(Ulx3s45F):
    """ULX3S 45F that learns while it reads."""

    name = "ulx3s-45f-learns"
    title = "Radiona ULX3S 45F, learns while it reads"
    device = DEVICE
