"""Boundaries of figures of power and energy: the names that may stand under ``boundary``."""

from dataclasses import dataclass

__all__ = ["BOUNDARIES", "Boundary"]


@dataclass(frozen=True)
class Boundary:
    """Boundary of a figure: what is inside, and what of the same system is outside."""

    title: str
    included: tuple[str, ...]
    excluded: tuple[str, ...]


BOUNDARIES = {
    "fpga_core": Boundary(
        "FPGA core rails", ("VCC", "VCCPLL"),
        ("I/O banks", "regulator losses", "flash", "USB bridge", "LEDs", "host")),
    "fpga_rails": Boundary(
        "all FPGA rails", ("VCC", "VCCPLL", "VCCIO"),
        ("regulator losses", "flash", "USB bridge", "LEDs", "host")),
    "fpga": Boundary(
        "FPGA chip", ("the FPGA, which rails is not told",),
        ("regulator losses", "memory beside the FPGA", "host")),
    "asic": Boundary(
        "chip alone", ("the chip",), ("memory beside it", "regulator losses", "host")),
    "board": Boundary(
        "board supply", ("everything that the board's supply feeds",), ("host",)),
    "module": Boundary(
        "computer module", ("processor", "memory", "regulators of the module"),
        ("carrier board", "power supply")),
    "host": Boundary(
        "processor packages", ("the processor packages, or their cores where it says so",),
        ("memory", "mainboard", "power supply")),
    "gpu": Boundary(
        "graphics card", ("GPU", "its memory"), ("host", "power supply")),
}
"""Boundaries by name."""
