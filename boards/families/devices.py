"""Devices of the families' parts: what the chip has room for there. Needs no Amaranth.

A device of a part that another family shares stands in that family's file; these are known to a
host without the gateware's extra, by the entry points group ``trilight.devices``.
"""

from dataclasses import replace

from trilight.hw.contract.device import SPRAM_WORDS, Device

__all__ = ["UP5K", "UP5K_LEARNS"]

UP5K = Device(name="up5k", weight_words=SPRAM_WORDS)
"""The iCE40 UltraPlus 5K: all four of its SPRAMs hold weights."""

UP5K_LEARNS = replace(UP5K, name="up5k-learns", sequences=1, max_vocab=128, adapt_orders=1,
                      adapt_token_rows=8)
"""One that learns while it reads. Its block RAMs are all taken: the second sequence's state leaves
three, and biases by the last token, in 8 rows of 128, take two."""
