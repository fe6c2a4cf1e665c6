"""The device that a bench's design was made for.

A bench is a module that cocotb imports in the simulator's process, so its device comes by an
environment variable; without one it is that of the default board.
"""

import json
import os
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import msgspec

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.imported import ImportedDevice
from trilight.hw.contract.outside import Outside
from trilight.hw.support.boards import board_device

__all__ = ["DEVICE", "IMPORTED_DEVICE", "VARIABLE", "device_environment"]

VARIABLE = "TRILIGHT_DEVICE"
"""Environment variable with the device's fields as JSON."""


def device_environment(device: Device) -> dict[str, str]:
    """Return the variable that tells a bench its device."""
    fields: dict[str, Any] = msgspec.to_builtins(device)
    if device.outside is not None:
        fields["outside"] = {type(device.outside).__name__: fields["outside"]}
    return {VARIABLE: json.dumps(fields)}


def _device(environment: Mapping[str, str]) -> Device:
    if VARIABLE not in environment:
        return board_device()
    fields = json.loads(environment[VARIABLE])
    # msgspec reads no union of dataclasses, so the memory outside goes by the name of its class.
    kinds = {kind.__name__: kind for kind in get_args(Outside)}
    [outside] = [msgspec.convert(memory, kinds[kind])
                 for kind, memory in (fields.pop("outside") or {}).items()] or [None]
    types = get_type_hints(Device)
    return Device(**{name: msgspec.convert(value, types[name]) for name, value in fields.items()},
                  outside=outside)


DEVICE = _device(os.environ)

IMPORTED_DEVICE = ImportedDevice(
    engine=Device(name="benches of imported models", lanes=8, sequences=1, max_columns=6912,
                  max_rows=32_000, tile_rows=1024, weight_words=1 << 20,
                  weight_memory=WeightMemory.EXTERNAL),
    max_hidden=64, state_words=256)
"""Device of the benches of imported models: sums as wide as those of published ones."""
