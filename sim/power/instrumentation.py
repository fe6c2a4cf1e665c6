"""Netlist instrumentation: what is counted, and how it adds up."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.flow.build import Netlist
from trilight.sim.native.bench import Probe
from trilight.sw.power import COUNTED, Activity

__all__ = ["Instrumentation", "instrument"]

CLOCK_PORTS = {"CLK", "CLKA", "CLKB", "CLOCK", "RCLK", "WCK", "WCLK", "INPUT_CLK",
               "OUTPUT_CLK"}

ALL = slice(None)
"""Bits of a port."""


@dataclass(frozen=True, kw_only=True)
class Instrumentation:
    """Instrumentation of a netlist: the probe, and the cell of each of its counts."""

    probe: Probe
    """Nets: those that are routed. Events: accesses of block RAM, then of SPRAM. Groups: operands
    of multipliers, then output pins. Repeats: reads of block RAM. Apart: reads of SPRAM."""
    drivers: tuple[str, ...]
    """Cells that drive the nets."""
    counts: tuple[tuple[str, str], ...]
    """Meaning of the probe's events, groups and repeats: cell and field of ``Activity``."""
    fan_in: Mapping[str, frozenset[str]]
    """For each cell those that drive its inputs."""
    clock_nets: int
    flip_flops: int

    def activity(self, sums: NDArray[np.uint64]) -> Activity:
        """Events per cycle, from a bench's ``windows`` [columns], of one or added up."""
        cycles = int(sums[-1])
        totals = defaultdict(float, net_transitions=float(sums[0]))
        for (_, event), count in zip(self.counts, sums[1:-1], strict=True):
            totals[event] += float(count)
        return Activity.from_dict({
            **{event: totals[event] / cycles for event in COUNTED},
            "clock_nets": self.clock_nets, "ff_clocked": self.flip_flops, "cycles": cycles})

    def by_part(self, sums: NDArray[np.uint64], transitions: NDArray[np.uint64],
                part_of: Callable[[str], str]) -> dict[str, dict[str, float]]:
        """Numbers of events by part, from a bench's ``slots``: [columns] and [nets].

        Parameters
        ----------
        part_of
            The part that a cell belongs to, by the cell's name.
        """
        counts = [(driver, "net_transitions", float(n))
                  for driver, n in zip(self.drivers, transitions, strict=True) if n]
        counts += [(cell, event, float(n)) for (cell, event), n
                   in zip(self.counts, sums[1:-1], strict=True) if n]
        parts: dict[str, dict[str, float]] = {}
        for cell, event, number in counts:
            events = parts.setdefault(part_of(cell), {})
            events[event] = events.get(event, 0.0) + number
        return {part: dict(sorted(events.items())) for part, events in sorted(parts.items())}


INSIDE = {
    # Families have no types in common. Driver, and what it may feed without leaving its slice.
    ("SB_CARRY", "CO"): {("SB_CARRY", "CI"), ("SB_LUT4", "I3")},
    ("CCU2C", "COUT"): {("CCU2C", "CIN")},
    ("LUT4", "Z"): {("PFUMX", "ALUT"), ("PFUMX", "BLUT")},
    ("PFUMX", "Z"): {("L6MUX21", "D0"), ("L6MUX21", "D1")},
    ("L6MUX21", "Z"): {("L6MUX21", "D0"), ("L6MUX21", "D1")},
    ("ALU", "COUT"): {("ALU", "CIN")},
    **{(f"LUT{k}", "F"): {("MUX2_LUT5", "I0"), ("MUX2_LUT5", "I1")} for k in range(1, 5)},
    **{(f"MUX2_LUT{k}", "O"): {(f"MUX2_LUT{k + 1}", "I0"), (f"MUX2_LUT{k + 1}", "I1")}
       for k in range(5, 8)},
}
"""Nets of dedicated wires."""

LOGIC = {("SB_LUT4", "O"), ("CCU2C", "S0"), ("CCU2C", "S1"), ("ALU", "SUM"), ("MUX2_LUT8", "O"),
         *(driver for driver in INSIDE if not driver[1].startswith("CO"))}
"""Outputs of logic, each beside a flip-flop that it may feed alone."""

DATA = ("D", "DI")
"""Pins for the data of a flip-flop."""

FLIP_FLOPS = ("SB_DFF", "TRELLIS_FF", "DFF")
"""Beginnings of the types of flip-flops."""

RAM_PORTS: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...] | None, str], ...]] = {
    "SB_RAM40_4K": ((("RE", "RCLKE"), None, "RADDR"), ((), ("WE", "WCLKE"), "")),
    "DP16KD": ((("CEA",), ("CEA", "WEA"), "ADA"), (("CEB",), ("CEB", "WEB"), "ADB")),
    "SP": ((("CE",), ("CE", "WRE"), "AD"),),
    "SPX9": ((("CE",), ("CE", "WRE"), "AD"),),
    "DPB": ((("CEA",), ("CEA", "WREA"), "ADA"), (("CEB",), ("CEB", "WREB"), "ADB")),
    "DPX9B": ((("CEA",), ("CEA", "WREA"), "ADA"), (("CEB",), ("CEB", "WREB"), "ADB")),
    "SDPB": (((), ("CEA",), ""), (("CEB",), None, "ADB")),
    "SDPX9B": (((), ("CEA",), ""), (("CEB",), None, "ADB")),
}
"""Ports of block RAMs: what enables a read, what a write (the read then rests or does not matter),
and the address."""

MULTIPLIERS = {"SB_MAC16": 8, "MULT18X18D": 9, "MULT9X9": 9, "MULT18X18": 9}
"""Multipliers, and the bits of a factor's low half."""

CONSTANTS = (("VCC", "V", "1"), ("GND", "G", "0"))
"""Cells that give a constant, their output, and its value."""

PADS = {"SB_IO": "D_OUT_0", "TRELLIS_IO": "I", "TBUF": "I"}
"""Pins, and what an output shows."""


def _is_clock(kind: str, port: str) -> bool:
    return port in CLOCK_PORTS or (port == "C" and kind.startswith(FLIP_FLOPS))


def _is_packed(driver: tuple[str, str], sinks: list[tuple[str, str]]) -> bool:
    """Tell if a net stays inside a logic cell or slice, or in the carry chain to the next."""
    if driver in LOGIC and len(sinks) == 1:
        [(kind, port)] = sinks
        if kind.startswith(FLIP_FLOPS) and port in DATA:
            return True
    return all(sink in INSIDE.get(driver, ()) for sink in sinks)


def instrument(netlist: Netlist) -> Instrumentation:
    """Find out what there is to count in a netlist."""
    module = json.loads(netlist.json.read_text())["modules"][netlist.board.top]
    cells = {name: cell for name, cell in module["cells"].items()
             if not cell["type"].startswith("$")}

    # Where a family has cells for them, constants are nets.
    constants = {cell["connections"][port][0]: value for cell in cells.values()
                 for kind, port, value in CONSTANTS if cell["type"] == kind}
    for cell in cells.values():
        for bits in cell["connections"].values():
            bits[:] = [constants.get(bit, bit) for bit in bits]

    drivers: dict[int, tuple[str, str, str]] = {}
    sinks: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            output = cell["port_directions"][port] == "output"
            for bit in bits:
                if isinstance(bit, int):
                    if output:
                        drivers[bit] = name, cell["type"], port
                    else:
                        sinks[bit].append((cell["type"], port))
    clocks = {bit for bit, uses in sinks.items() if any(_is_clock(*use) for use in uses)}
    routed = sorted(bit for bit, driver in drivers.items()
                    if sinks[bit] and bit not in clocks and not _is_packed(driver[1:], sinks[bit]))
    index = {bit: k for k, bit in enumerate(routed)}

    # A pin that is not an output of a cell is an input of the design, and never a routed net.
    def pins(cell: dict[str, Any], port: str, select: slice = ALL) -> list[int]:
        """Nets at a port, which an ECP5 has as a pin for each bit."""
        bits = cell["connections"].get(port)
        if bits is None:
            single = re.compile(rf"{port}(\d+)")
            found = {int(number[1]): value[0] for name, value in cell["connections"].items()
                     if (number := single.fullmatch(name)) and value}
            bits = [found[k] for k in sorted(found)]
        return sorted({index[bit] for bit in bits[select] if bit in index})

    def literals(cell: dict[str, Any], ones: tuple[str, ...], zeros: tuple[str, ...] = (),
                 ) -> list[int] | None:
        """Return what has to hold for a cell to do something; ``None`` if it never can."""
        found = []
        for port, wanted in [*((port, "1") for port in ones), *((port, "0") for port in zeros)]:
            bit = cell["connections"][port][0]
            if isinstance(bit, int):
                net = index[bit]
                found.append(net if wanted == "1" else ~net)
            elif bit != wanted:
                return None
        return found

    events: list[tuple[str, str, list[int]]] = []
    groups: list[tuple[str, str, list[int]]] = []
    repeats: list[tuple[str, str, list[int]]] = []
    apart: list[int] = []
    for name, cell in cells.items():
        match cell["type"]:
            case kind if kind in RAM_PORTS:
                for read_pins, write_pins, address in RAM_PORTS[kind]:
                    write = None if write_pins is None else literals(cell, write_pins)
                    # A port that writes in some cycles reads in the others.
                    read = literals(cell, read_pins) if read_pins else None
                    if read is not None:
                        repeats.append((name, "ebr_repeats", [len(events), *pins(cell, address)]))
                        events.append((name, "ebr_accesses", read))
                    elif write is not None:
                        events.append((name, "ebr_accesses", write))
            case "SB_SPRAM256KA":
                if (select := literals(cell, ("CHIPSELECT", "POWEROFF"), ("STANDBY", "SLEEP"))
                        ) is not None:
                    apart.append(len(events))
                    events.append((name, "spram_accesses", select))
            case kind if kind in MULTIPLIERS:
                # A 16x16 product is made of four 8x8 ones. One with a constant factor rests.
                middle = MULTIPLIERS[kind]
                halves = [[half for half in (pins(cell, port, slice(middle)),
                                             pins(cell, port, slice(middle, None))) if half]
                          for port in "AB"]
                groups += [(name, "dsp_ops", sorted({*a, *b})) for a in halves[0]
                           for b in halves[1]]
            case kind if kind in PADS:
                if output_nets := pins(cell, PADS[kind]):
                    groups.append((name, "io_edges", output_nets))

    names: dict[int, str] = {}
    for name, net in module["netnames"].items():
        for k, bit in enumerate(net["bits"]):
            if bit in index:
                suffix = f"[{k + net.get('offset', 0)}]" if len(net["bits"]) > 1 else ""
                names.setdefault(bit, f"\\{name} {suffix}")
    fan_in = {
        name: frozenset(drivers[bit][0] for port, bits in cell["connections"].items()
                        if cell["port_directions"][port] == "input"
                        and not _is_clock(cell["type"], port)
                        for bit in bits if bit in drivers)
        for name, cell in cells.items()}
    return Instrumentation(
        probe=Probe(nets=[names[bit] for bit in index],
                    events=[entry for _, _, entry in events],
                    groups=[entry for _, _, entry in groups],
                    repeats=[entry for _, _, entry in repeats], apart=apart),
        drivers=tuple(drivers[bit][0] for bit in index),
        counts=tuple((name, event) for name, event, _ in [*events, *groups, *repeats]),
        fan_in=fan_in, clock_nets=len(clocks),
        flip_flops=sum(cell["type"].startswith(FLIP_FLOPS) for cell in cells.values()))
