"""Core power and energy of a design on an FPGA, from what it does in a clock cycle.

Events per cycle, counted on the synthesised netlist (``activity``), times energies per event
(``coefficients``), each with a source and a 90 % band, give power with an interval (``estimate``)
and energy by part of the design, by layer and by stage (``parts``). Measurements of a board of
one's own can replace the published coefficients (``fit``). The boundary is the FPGA core, VCC and
VCCPLL: I/O banks, flash, USB bridge, LEDs and regulator losses are outside. See ``docs/power.md``.
"""

from .activity import COUNTED, EVENTS, STOPPED, Activity
from .coefficients import TERMS, Coefficient, CoefficientSet, families, load_coefficients
from .estimate import BOUNDARY, Interval, PowerEstimate, estimate_power, ratio_interval
from .parts import Breakdown, StageCounts, energy_by_part

__all__ = [
    "BOUNDARY",
    "COUNTED",
    "EVENTS",
    "STOPPED",
    "TERMS",
    "Activity",
    "Breakdown",
    "Coefficient",
    "CoefficientSet",
    "Interval",
    "PowerEstimate",
    "StageCounts",
    "energy_by_part",
    "estimate_power",
    "families",
    "load_coefficients",
    "ratio_interval",
]
