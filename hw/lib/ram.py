"""Attributes of memories whose answers have far to go within a cycle."""

from trilight.hw.contract.device import Device

__all__ = ["early_attributes"]


def early_attributes(device: Device) -> dict[str, str]:
    """Return the attributes of a memory that has to answer early in a cycle: LUT RAM if the
    device's block RAM does not."""
    return {"ram_style": "distributed"} if device.late_block_ram else {}
