"""The device that a bench's design was made for.

A bench is a module that cocotb imports in the simulator's process, so its device comes by an
environment variable; without one it is that of the default board.
"""

import os
from collections.abc import Mapping

import msgspec

from trilight.hw.contract.device import Device
from trilight.hw.support.boards import board_device

__all__ = ["DEVICE", "VARIABLE", "device_environment"]

VARIABLE = "TRILIGHT_DEVICE"
"""Environment variable with the device's fields as JSON."""


def device_environment(device: Device) -> dict[str, str]:
    """Return the variable that tells a bench its device."""
    return {VARIABLE: msgspec.json.encode(device).decode()}


def _device(environment: Mapping[str, str]) -> Device:
    if VARIABLE not in environment:
        return board_device()
    return msgspec.json.decode(environment[VARIABLE], type=Device)


DEVICE = _device(os.environ)
