"""Models for other programs and devices than the chip."""

from .c import CExport, export_c

__all__ = ["CExport", "export_c"]
