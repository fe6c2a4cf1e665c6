"""Layouts of what goes between the blocks of imported models."""

from amaranth.hdl import signed
from amaranth.lib import data

from trilight.hw.contract.imported import (
    FORMATS,
    HEADER_FIELDS,
    PARAMETER_FIELDS,
    ImportedDevice,
    Kind,
    shape_fields,
)

__all__ = ["FRACTION", "header_layout", "operation_layout", "parameter_layout", "result_layout",
           "shape_layout"]

FRACTION = signed(12)
"""Sums of a few fraction bits and exponents, each of at most 10 bits."""


def shape_layout(device: ImportedDevice) -> data.StructLayout:
    """Sizes of the model in a device: ``shape_fields``."""
    return data.StructLayout({name: signed(bits) if name == "residual_frac" else bits
                              for name, bits in shape_fields(device)})


def operation_layout() -> data.StructLayout:
    """An operation of a token: which matrix, and whether it is the token's first or last."""
    return data.StructLayout({"kind": Kind, "first": 1, "last": 1})


def parameter_layout() -> data.StructLayout:
    """A column's parameters: ``PARAMETER_FIELDS``."""
    return data.StructLayout({name: signed(bits) for name, bits in PARAMETER_FIELDS})


def header_layout() -> data.StructLayout:
    """Header before a matrix' parameters, as wide as they are: ``HEADER_FIELDS``."""
    return data.StructLayout({name: bits if name == "scale" else signed(bits)
                              for name, bits in HEADER_FIELDS})


def result_layout() -> data.StructLayout:
    """Multiplier of a matrix' rows: ``mantissa / 2**fraction``."""
    return data.StructLayout({"mantissa": FORMATS.scale_bits, "fraction": FRACTION})
