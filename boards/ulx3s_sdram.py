"""The ULX3S with weights in its SDRAM, 32 MB at 16 bits."""

from typing import Any

from amaranth.hdl import Module

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.outside import Sdram

from .families.outside import connect_sdram
from .ulx3s import Ulx3s85F

__all__ = ["DEVICE", "Ulx3s85FSdram"]

DEVICE = Device(
    name="ecp5-85f-sdram", outside=Sdram(), lanes=32, weight_words=1 << 20, buffer_words=4096,
    weight_memory=WeightMemory.BLOCK_RAM, max_rows=4096, max_columns=1024, max_channels=4096,
    program_words=8192, max_vocab=4096, tape_tokens=1024, sequences=8)
"""LFE5U-85F with an SDRAM. Of 208 block RAMs, by the sizes of the memories, 64 are the buffer, 32
the tables, 38 the states of 8 sequences, about 45 all others. One sequence would need 4 lanes; 8
of them keep 32 busy."""


class Ulx3s85FSdram(Ulx3s85F):
    """ULX3S 85F whose weights stream from its SDRAM."""

    name = "ulx3s-85f-sdram"
    title = "Radiona ULX3S 85F, weights in SDRAM"
    device = DEVICE
    # A host loads the SDRAM.
    flash = None

    def connect_outside(self, m: Module, platform: Any, pins: Any) -> None:
        connect_sdram(m, platform, pins)
