"""Blocks that have a bench of their own, by the bench's name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from amaranth.lib import wiring

from trilight.hw.control.divider import EffectiveScale
from trilight.hw.core import Core
from trilight.hw.imported.norm import Norm
from trilight.hw.imported.quantiser import Quantiser
from trilight.hw.imported.rows import RowUnit
from trilight.hw.link.link import Link
from trilight.hw.sampler import Sampler
from trilight.hw.vector.unit import VectorUnit

from . import link
from .device import DEVICE, IMPORTED_DEVICE
from .engine_on_memory import EngineOnMemory

__all__ = ["COMPONENTS", "IMPORTED"]

COMPONENTS: Mapping[str, Callable[[], "wiring.Component[Any]"]] = MappingProxyType({
    "engine": lambda: EngineOnMemory(device=DEVICE),
    "vector": lambda: VectorUnit(device=DEVICE),
    "norm": lambda: EffectiveScale(device=DEVICE),
    "sampler": lambda: Sampler(device=DEVICE),
    "link": lambda: Link(device=DEVICE, clock_hz=link.CLOCK_HZ,
                         clocks_per_bit=link.CLOCKS_PER_BIT, build_id=link.BUILD_ID),
    "core": lambda: Core(device=DEVICE),
})
"""Makers of the block of each bench; the whole chip has a bench too, ``chip``."""

IMPORTED: Mapping[str, Callable[[], "wiring.Component[Any]"]] = MappingProxyType({
    "imported_norm": lambda: Norm(device=IMPORTED_DEVICE),
    "imported_quantiser": lambda: Quantiser(device=IMPORTED_DEVICE),
    "imported_rows": lambda: RowUnit(device=IMPORTED_DEVICE),
})
"""The same of the vector unit of imported models."""
