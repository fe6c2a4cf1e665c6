"""Layouts of what goes between the blocks of imported models."""

from amaranth.hdl import signed
from amaranth.lib import data

from trilight.hw.contract.imported import FORMATS, ImportedDevice, ImportedFormats, Kind

__all__ = ["FRACTION", "block_bits", "header_layout", "operation_layout", "parameter_layout",
           "result_layout", "shape_layout"]

FRACTION = signed(12)
"""Sums of a few fraction bits and exponents, each of at most 10 bits."""


def block_bits(device: ImportedDevice) -> int:
    """Width of a number of blocks of columns - 1."""
    blocks = -(-device.engine.max_columns // device.engine.packing.block)
    return max(1, (blocks - 1).bit_length())


def shape_layout(device: ImportedDevice) -> data.StructLayout:
    """Sizes of the model in a device, each - 1, and what a token consists of.

    ``hidden_blocks``, ``inner_blocks``: blocks of columns of a vector of that width. ``head``: a
    token ends with logits, and not with the residual stream. ``residual_frac``: its fraction bits.
    """
    columns = device.engine.column_bits
    return data.StructLayout({
        "hidden": columns, "inner": columns, "vocabulary": device.engine.row_bits,
        "hidden_blocks": block_bits(device), "inner_blocks": block_bits(device),
        "layers": (device.max_layers - 1).bit_length(), "head": 1, "residual_frac": signed(8),
    })


def operation_layout() -> data.StructLayout:
    """An operation of a token: which matrix, and whether it is the token's first or last."""
    return data.StructLayout({"kind": Kind, "first": 1, "last": 1})


def parameter_layout(formats: ImportedFormats = FORMATS) -> data.StructLayout:
    """A column's gain before quantising, and that in the mean square."""
    return data.StructLayout({"gain": signed(formats.gain_bits), "norm": signed(formats.norm_bits)})


def header_layout(formats: ImportedFormats = FORMATS) -> data.StructLayout:
    """Header before a matrix' parameters, as wide as they are.

    ``scale``: mantissa of ``mean|W| sqrt(columns) / 127``. ``frac``: its fraction bits and those of
    the gains, added. ``norm_frac``: fraction bits of the gains in the mean square.
    """
    rest = formats.gain_bits + formats.norm_bits - formats.scale_bits - 8
    return data.StructLayout({"scale": formats.scale_bits, "norm_frac": signed(8),
                              "frac": signed(rest)})


def result_layout(formats: ImportedFormats = FORMATS) -> data.StructLayout:
    """Multiplier of a matrix' rows: ``mantissa / 2**fraction``."""
    return data.StructLayout({"mantissa": formats.scale_bits, "fraction": FRACTION})
