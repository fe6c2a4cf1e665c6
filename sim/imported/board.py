"""Virtual board of the chip for imported models: its design, simulated from its pins inward."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trilight.hw.contract.imported import ImportedDevice
from trilight.hw.flow.ecp5 import ECP5
from trilight.hw.imported.chip import ImportedChip
from trilight.hw.support.cache import cached, digest
from trilight.hw.support.tools import Progress, no_progress
from trilight.sim.bench.build import component_design
from trilight.sim.board import VirtualBoard
from trilight.sim.native.compile import NativeBench
from trilight.sw.host.targets import TargetOptions

__all__ = ["DEVICE", "imported_rtl_target", "virtual_chip"]

DEVICE = ImportedDevice.on_chip(
    name="chip for imported models", lanes=8, weight_words=1 << 14, max_hidden=256, max_inner=512,
    max_vocabulary=1024, max_layers=8)
"""Sized for the block RAM of an ECP5-85F: 655,360 weights, 256 wide, 1,024 tokens."""

CLOCKS_PER_BIT = 4


@dataclass(frozen=True)
class _Pins:
    """Pins and names that a simulation asks of a board, of one whose pins are the chip's ports."""

    top: str
    name: str = "chip for imported models"
    clock_pin: str = "clk"
    rx_pin: str = "rx"
    tx_pin: str = "tx"
    clocks_per_bit: int = CLOCKS_PER_BIT
    toolchain: Any = ECP5


@dataclass(frozen=True)
class _Chip:
    """The design, as far as it is asked for."""

    board: _Pins
    verilog: Path
    kind: str
    build_info: dict[str, str]


def virtual_chip(device: ImportedDevice = DEVICE, progress: Progress = no_progress) -> VirtualBoard:
    """Compile the chip, once, and put it on a virtual board.

    Raises
    ------
    BuildError, SimulationError
        It cannot be compiled.
    """
    design = component_design(ImportedChip(device=device, clocks_per_bit=CLOCKS_PER_BIT))
    key = digest(design.verilog)

    def write(work: Path) -> None:
        (work / "design.v").write_text(design.verilog)

    verilog = cached("imported-chip", key, write) / "design.v"
    chip: Any = _Chip(_Pins(design.top), verilog, "rtl", {"design_sha256": key})
    return VirtualBoard(NativeBench(chip, progress=progress), "rtl")


def imported_rtl_target(options: TargetOptions) -> VirtualBoard:
    """Target ``rtl`` of an imported model."""
    return virtual_chip(progress=options.progress)
