"""The Tang Nano 20K with weights in the SDRAM of its package, 8 MB at 32 bits."""

from typing import Any

from amaranth.hdl import Module

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.outside import Sdram

from .families.outside import connect_sdram
from .tang_nano_20k import TangNano20k

__all__ = ["DEVICE", "TangNano20kSdram"]

DEVICE = Device(
    name="gw2a-18-sdram", weight_words=1 << 20, buffer_words=1024,
    outside=Sdram(data_bits=32, column_bits=8, row_bits=11),
    weight_memory=WeightMemory.BLOCK_RAM, max_rows=2048, max_columns=512, max_channels=4096,
    program_words=2048, max_vocab=1024, tape_tokens=512)
"""GW2AR-18 with its SDRAM of 4 banks of 2,048 rows; 4 of 46 block RAMs are the buffer."""


class TangNano20kSdram(TangNano20k):
    """Sipeed Tang Nano 20K whose weights stream from its SDRAM."""

    name = "tang-nano-20k-sdram"
    title = "Sipeed Tang Nano 20K, weights in SDRAM"
    device = DEVICE
    # A host loads the SDRAM.
    flash = None

    def connect_outside(self, m: Module, platform: Any, pins: Any) -> None:
        connect_sdram(m, platform, pins)
