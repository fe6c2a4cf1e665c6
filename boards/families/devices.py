"""Devices of the families' parts: what the chip has room for there. Needs no Amaranth.

A device of a part that another family shares stands in that family's file; these are known to a
host without the gateware's extra, by the entry points group ``trilight.devices``.
"""

from trilight.hw.contract.device import SPRAM_WORDS, Device

__all__ = ["UP5K"]

UP5K = Device(name="up5k", weight_words=SPRAM_WORDS)
"""The iCE40 UltraPlus 5K: all four of its SPRAMs hold weights."""
