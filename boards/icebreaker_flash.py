"""The iCEBreaker with weights in its flash memory, for models of millions of weights."""

from dataclasses import replace
from typing import Any

from amaranth.hdl import Module

from trilight.hw.contract.outside import QuadFlash

from .families.devices import UP5K
from .families.outside import connect_flash
from .icebreaker import Icebreaker

__all__ = ["DEVICE", "IcebreakerFlash"]

FLASH = QuadFlash()
"""Winbond W25Q128JV behind the bitstream and other images."""

DEVICE = replace(UP5K, name="up5k-flash", outside=FLASH, weight_words=15 << 17,
                 buffer_words=UP5K.weight_words)
"""UP5K whose SPRAM is a buffer; all other memories are those of weights on the chip."""


class IcebreakerFlash(Icebreaker):
    """iCEBreaker whose weights stream from its flash memory.

    For simulation: a row of the embedding takes four block RAMs beside the 30 of the chip's other
    memories, and a UP5K has 30.
    """

    name = "icebreaker-flash"
    title = "1BitSquared iCEBreaker, weights in flash"
    device = DEVICE
    flash = None  # its pins are the reader's

    def connect_outside(self, m: Module, platform: Any, pins: Any) -> None:
        connect_flash(m, platform, pins)
